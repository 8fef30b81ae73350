// franz-go as a consumer: the command line and the result of bench/src/bin/consume.rs. It always checks CRCs.
package main

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"bench-peer-franz-go/clientrun"
)

func main() {
	arguments := clientrun.Parse()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(arguments.Bootstrap, ",")...),
		kgo.FetchMinBytes(int32(arguments.TakeNumber("fetch.min.bytes", 1))),
		kgo.FetchMaxBytes(int32(arguments.TakeNumber("fetch.max.bytes", 50<<20))),
		kgo.FetchMaxPartitionBytes(int32(arguments.TakeNumber("max.partition.fetch.bytes", 1<<20))),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
	)
	clientrun.Check(err)
	arguments.Done()
	deadline, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	partitions, expected := ends(deadline, client, arguments.Topic)

	stopwatch := clientrun.Start()
	assigned := map[int32]kgo.Offset{}
	for _, partition := range partitions {
		assigned[partition] = kgo.NewOffset().AtStart()
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{arguments.Topic: assigned})
	var values clientrun.Checksum
	for values.Records < expected {
		fetches := client.PollFetches(deadline)
		clientrun.Check(fetches.Err0())
		fetches.EachError(func(_ string, _ int32, err error) { clientrun.Check(err) })
		fetches.EachRecord(func(record *kgo.Record) { values.Add(record.Value) })
	}
	stopwatch.Stop(arguments, values)
	client.Close()
}

// ends gives the topic's partitions and the number of records in them; the topic is new and has no holes.
func ends(deadline context.Context, client *kgo.Client, topic string) ([]int32, uint64) {
	metadata := kmsg.NewPtrMetadataRequest()
	wanted := kmsg.NewMetadataRequestTopic()
	wanted.Topic = kmsg.StringPtr(topic)
	metadata.Topics = append(metadata.Topics, wanted)
	described, err := metadata.RequestWith(deadline, client)
	clientrun.Check(err)
	list := kmsg.NewPtrListOffsetsRequest()
	list.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	var partitions []int32
	for _, found := range described.Topics[0].Partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition = found.Partition
		partition.Timestamp = -1
		asked.Partitions = append(asked.Partitions, partition)
		partitions = append(partitions, found.Partition)
	}
	list.Topics = append(list.Topics, asked)
	listed, err := list.RequestWith(deadline, client)
	clientrun.Check(err)
	var total uint64
	for _, partition := range listed.Topics[0].Partitions {
		total += uint64(partition.Offset)
	}
	return partitions, total
}
