// franz-go as a producer: the command line and the result of bench/src/bin/produce.rs.
package main

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"bench-peer-franz-go/clientrun"
)

func main() {
	arguments := clientrun.Parse()
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(arguments.Bootstrap, ",")...),
		kgo.DefaultProduceTopic(arguments.Topic),
		kgo.ProducerLinger(time.Duration(arguments.TakeNumber("linger.ms", 10)) * time.Millisecond),
		kgo.ProducerBatchMaxBytes(int32(arguments.TakeNumber("batch.size", 1_000_000))),
		kgo.MaxBufferedBytes(arguments.TakeNumber("buffer.memory", 64<<20)),
		kgo.MaxBufferedRecords(1_000_000),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if acks, _ := arguments.Take("acks"); acks != "all" {
		clientrun.Fail("acks must be all")
	}
	if idempotent, _ := arguments.Take("enable.idempotence"); idempotent != "true" {
		clientrun.Fail("enable.idempotence must be true")
	}
	// Its idempotent producer has a fixed number in flight, of at most five.
	arguments.TakeNumber("max.in.flight.requests.per.connection", 5)
	switch compression, _ := arguments.Take("compression.type"); compression {
	case "lz4":
		options = append(options, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	case "none", "":
		options = append(options, kgo.ProducerBatchCompression(kgo.NoCompression()))
	default:
		clientrun.Fail("compression.type must be none or lz4")
	}
	arguments.Done()
	client, err := kgo.NewClient(options...)
	clientrun.Check(err)
	background := context.Background()
	clientrun.Check(client.Ping(background))
	events := clientrun.AdEvents(arguments.ValueBytes)
	sums := make([]uint64, len(events))
	for i, event := range events {
		sums[i] = clientrun.ValueSum(event)
	}

	stopwatch := clientrun.Start()
	var produced clientrun.Checksum
	var failed atomic.Pointer[error]
	delivered := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	for i := range arguments.Records {
		at := i % uint64(len(events))
		client.Produce(background, &kgo.Record{Value: events[at]}, delivered)
		produced.AddSum(len(events[at]), sums[at])
	}
	clientrun.Check(client.Flush(background))
	if err := failed.Load(); err != nil {
		clientrun.Check(*err)
	}
	stopwatch.Stop(arguments, produced)
	client.Close()
}
