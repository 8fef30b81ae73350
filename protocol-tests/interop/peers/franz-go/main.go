// franz-go as a peer of the interoperability matrix: one request a line on standard input, one
// answer a line on standard output (../../README.md).
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	timeout = 30 * time.Second
	settle  = 400 * time.Millisecond
)

type transaction struct {
	Records []record `json:"records"`
	Commit  bool     `json:"commit"`
}

type request struct {
	Verb             string        `json:"verb"`
	Bootstrap        string        `json:"bootstrap"`
	Topic            string        `json:"topic"`
	Codec            string        `json:"codec"`
	BatchBytes       int32         `json:"batch_bytes"`
	Records          []record      `json:"records"`
	TransactionalID  string        `json:"transactional_id"`
	Transactions     []transaction `json:"transactions"`
	Partitions       int32         `json:"partitions"`
	Count            int           `json:"count"`
	Isolation        string        `json:"isolation"`
	Group            string        `json:"group"`
	Metadata         string        `json:"metadata"`
	Assignor         string        `json:"assignor"`
	SessionTimeoutMs int           `json:"session_timeout_ms"`
}

type record struct {
	Partition *int32       `json:"partition"`
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

type answer map[string]any

func unhex(text *string) []byte {
	if text == nil {
		return nil
	}
	bytes, err := hex.DecodeString(*text)
	if err != nil {
		panic(err)
	}
	return bytes
}

func hexed(bytes []byte) *string {
	if bytes == nil {
		return nil
	}
	text := hex.EncodeToString(bytes)
	return &text
}

func version() (answer, error) {
	client := "franz-go"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == "github.com/twmb/franz-go" {
				client += " " + dependency.Version
			}
		}
	}
	cannot := answer{"transactional_offsets": "only through a session that consumes too"}
	return answer{"client": client, "cannot": cannot}, nil
}

func (r *request) producer(records []record) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	partitioner := kgo.StickyKeyPartitioner(nil)
	if len(records) > 0 && records[0].Partition != nil {
		partitioner = kgo.ManualPartitioner()
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(r.Bootstrap),
		kgo.ProducerBatchCompression(codecs[r.Codec]),
		kgo.ProducerBatchMaxBytes(r.BatchBytes),
		kgo.ProducerLinger(5 * time.Second), // Batches are cut by flush, not by time.
		kgo.RecordPartitioner(partitioner),
	}
	if r.TransactionalID != "" {
		options = append(options, kgo.TransactionalID(r.TransactionalID))
	}
	return kgo.NewClient(options...)
}

func (r *request) send(ctx context.Context, client *kgo.Client, records []record) ([][2]int64, error) {
	placed := make([][2]int64, len(records))
	failures := make([]error, len(records))
	var pending sync.WaitGroup
	for at, given := range records {
		sent := &kgo.Record{
			Topic:     r.Topic,
			Key:       unhex(given.Key),
			Value:     unhex(given.Value),
			Timestamp: time.UnixMilli(given.Timestamp),
		}
		if given.Partition != nil {
			sent.Partition = *given.Partition
		}
		for _, header := range given.Headers {
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: string(unhex(header[0])), Value: unhex(header[1])})
		}
		pending.Add(1)
		client.Produce(ctx, sent, func(delivered *kgo.Record, err error) {
			placed[at] = [2]int64{int64(delivered.Partition), delivered.Offset}
			failures[at] = err
			pending.Done()
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, err
	}
	pending.Wait()
	return placed, errors.Join(failures...)
}

func (r *request) produce(ctx context.Context) (answer, error) {
	client, err := r.producer(r.Records)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	placed, err := r.send(ctx, client, r.Records)
	return answer{"placed": placed}, err
}

func (r *request) transact(ctx context.Context) (answer, error) {
	client, err := r.producer(r.Transactions[0].Records)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for _, transaction := range r.Transactions {
		if err := client.BeginTransaction(); err != nil {
			return nil, err
		}
		if _, err := r.send(ctx, client, transaction.Records); err != nil {
			return nil, err
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(transaction.Commit)); err != nil {
			return nil, err
		}
	}
	return answer{"ended": len(r.Transactions)}, nil
}

func (r *request) consumer(more ...kgo.Opt) (*kgo.Client, error) {
	isolation := kgo.ReadCommitted()
	if r.Isolation == "read_uncommitted" {
		isolation = kgo.ReadUncommitted()
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(r.Bootstrap),
		kgo.FetchIsolationLevel(isolation),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.FetchMaxPartitionBytes(16 << 20),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	return kgo.NewClient(append(options, more...)...)
}

func described(read *kgo.Record) record {
	headers := [][2]*string{}
	for _, header := range read.Headers {
		headers = append(headers, [2]*string{hexed([]byte(header.Key)), hexed(header.Value)})
	}
	return record{
		Partition: &read.Partition,
		Offset:    read.Offset,
		Timestamp: read.Timestamp.UnixMilli(),
		Key:       hexed(read.Key),
		Value:     hexed(read.Value),
		Headers:   headers,
	}
}

// What comes within a moment, at most so many records.
func poll(ctx context.Context, client *kgo.Client, limit int) ([]*kgo.Record, error) {
	moment, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	fetches := client.PollRecords(moment, limit)
	for _, failure := range fetches.Errors() {
		if !errors.Is(failure.Err, context.DeadlineExceeded) {
			return nil, failure.Err
		}
	}
	return fetches.Records(), nil
}

func (r *request) consume(ctx context.Context) (answer, error) {
	offsets := map[int32]kgo.Offset{}
	for partition := range r.Partitions {
		offsets[partition] = kgo.NewOffset().AtStart()
	}
	client, err := r.consumer(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: offsets}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := []record{}
	// A moment longer than needed: what should not be there must have its chance to appear.
	deadline, settling := time.Now().Add(timeout), false
	for time.Now().Before(deadline) {
		polled, err := poll(ctx, client, 10_000)
		if err != nil {
			return nil, err
		}
		for _, read := range polled {
			records = append(records, described(read))
		}
		if !settling && len(records) >= r.Count {
			deadline, settling = time.Now().Add(settle), true
		}
	}
	return answer{"records": records}, nil
}

func (r *request) resume(ctx context.Context) (answer, error) {
	client, err := r.consumer(kgo.ConsumerGroup(r.Group), kgo.ConsumeTopics(r.Topic), kgo.DisableAutoCommit())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records, positions := []record{}, map[int32]kgo.EpochOffset{}
	for deadline := time.Now().Add(timeout); len(records) < r.Count && time.Now().Before(deadline); {
		polled, err := poll(ctx, client, 1)
		if err != nil {
			return nil, err
		}
		for _, read := range polled {
			records = append(records, described(read))
			positions[read.Partition] = kgo.EpochOffset{Epoch: read.LeaderEpoch, Offset: read.Offset + 1}
		}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(commit *kmsg.OffsetCommitRequest) error {
		for topic := range commit.Topics {
			for partition := range commit.Topics[topic].Partitions {
				commit.Topics[topic].Partitions[partition].Metadata = kmsg.StringPtr(r.Metadata)
			}
		}
		return nil
	})
	var failure error
	client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{r.Topic: positions},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
			failure = err
		})
	return answer{"records": records}, failure
}

func (r *request) committed(ctx context.Context) (answer, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Bootstrap))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic = r.Topic
	for partition := range r.Partitions {
		topic.Partitions = append(topic.Partitions, partition)
	}
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = r.Group
	group.Topics = append(group.Topics, topic)
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Groups = append(fetch.Groups, group)
	fetched, err := fetch.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	offsets := []answer{}
	for _, group := range fetched.Groups {
		for _, topic := range group.Topics {
			for _, at := range topic.Partitions {
				if at.Offset >= 0 {
					offsets = append(offsets, answer{"partition": at.Partition, "offset": at.Offset, "metadata": at.Metadata})
				}
			}
		}
	}
	return answer{"offsets": offsets}, nil
}

// Several goroutines of a client tell: a line at a time.
var output sync.Mutex

func tell(line any) {
	encoded, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(encoded))
}

func (r *request) member(ctx context.Context, input *bufio.Reader) error {
	balancers := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer()}
	owned := map[int32]bool{}
	change := func(owns bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			for _, partition := range changed[r.Topic] {
				if owns {
					owned[partition] = true
				} else {
					delete(owned, partition)
				}
			}
			assigned := []int{}
			for partition := range owned {
				assigned = append(assigned, int(partition))
			}
			sort.Ints(assigned)
			tell(answer{"assigned": assigned})
		}
	}
	client, err := r.consumer(
		kgo.ConsumerGroup(r.Group),
		kgo.ConsumeTopics(r.Topic),
		kgo.DisableAutoCommit(),
		kgo.Balancers(balancers[r.Assignor]),
		kgo.SessionTimeout(time.Duration(r.SessionTimeoutMs)*time.Millisecond),
		kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.OnPartitionsAssigned(change(true)),
		kgo.OnPartitionsRevoked(change(false)),
		kgo.OnPartitionsLost(change(false)),
	)
	if err != nil {
		return err
	}
	asked := make(chan struct{})
	go func() {
		_, _ = input.ReadString('\n') // Also its end means to leave.
		close(asked)
	}()
	for {
		select {
		case <-asked:
			client.Close()
			tell(answer{"left": true})
			return nil
		default:
		}
		polled, err := poll(ctx, client, 1_000)
		if err != nil {
			return err
		}
		for _, read := range polled {
			tell(answer{"record": answer{"partition": read.Partition, "offset": read.Offset}})
		}
	}
}

func (r *request) perform() (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*timeout)
	defer cancel()
	switch r.Verb {
	case "version":
		return version()
	case "produce":
		return r.produce(ctx)
	case "transact":
		return r.transact(ctx)
	case "consume":
		return r.consume(ctx)
	case "resume":
		return r.resume(ctx)
	case "committed":
		return r.committed(ctx)
	}
	return nil, fmt.Errorf("unknown verb %q", r.Verb)
}

func main() {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked request
		if err = json.Unmarshal(line, &asked); err == nil && asked.Verb == "member" {
			if err := asked.member(context.Background(), input); err != nil {
				tell(answer{"error": err.Error()})
				os.Exit(1)
			}
			return
		}
		var told answer
		if err == nil {
			told, err = asked.perform()
		}
		if err != nil {
			told = answer{"error": err.Error()}
		}
		tell(told)
	}
}
