package txn

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/kafkatest"
)

// The topics of every test: two that are written together, of which one has several partitions.
const (
	topicLog   = "log"   // 1 partition
	topicWide  = "wide"  // 3 partitions
	partitions = 3       // of topicWide
	testTxnID  = "txn-1" // transactional id
)

// fakeKafka starts an embedded broker behind a proxy.
func fakeKafka(t testing.TB, nodes int, opts ...kfake.Opt) (*kfake.Cluster, *kafkatest.Proxy) {
	t.Helper()
	proxy := kafkatest.NewProxy(t)
	opts = append([]kfake.Opt{
		kfake.NumBrokers(nodes),
		kfake.ListenFn(proxy.Listen),
		kfake.SeedTopics(1, topicLog),
		kfake.SeedTopics(partitions, topicWide),
	}, opts...)
	fake, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return fake, proxy
}

func dialFake(t testing.TB, fake *kfake.Cluster) *Cluster {
	t.Helper()
	return dialBrokers(t, fake.ListenAddrs())
}

func dialBrokers(t testing.TB, brokers []string) *Cluster {
	t.Helper()
	c := Dial(Config{Brokers: brokers, ClientID: "txn-test", RequestTimeout: 3 * time.Second})
	t.Cleanup(c.Close)
	return c
}

func newProducer(t testing.TB, c *Cluster, config ProducerConfig) *Producer {
	t.Helper()
	if config.TransactionalID == "" {
		config.TransactionalID = testTxnID
	}
	p, err := c.NewProducer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// within returns a context for one step of a test.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func ready(t testing.TB, p *Producer) {
	t.Helper()
	if err := p.Init(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// write puts one transaction named id into memory: one record into topicLog, one into each partition of topicWide.
func write(t testing.TB, p *Producer, id string) {
	t.Helper()
	if err := p.Begin(); err != nil {
		t.Fatal(err)
	}
	for part := int32(-1); part < partitions; part++ {
		topic, n := topicWide, part
		if part < 0 {
			topic, n = topicLog, 0
		}
		r := &Record{Key: []byte(id), Value: fmt.Appendf(nil, "%s in %s-%d", id, topic, n), Time: 1_700_000_000_000}
		if err := p.Produce(topic, n, r); err != nil {
			t.Fatal(err)
		}
	}
}

func commit(t testing.TB, p *Producer) {
	t.Helper()
	if err := p.Commit(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// seen is how often each transaction's record is in each partition, by franz-go's consumer, which shares no code with
// this package.
type seen map[string]map[string]int // by id, by topic-partition

// committed reads all that read_committed shows, up to the end as of now.
func committed(t testing.TB, brokers []string) seen {
	t.Helper()
	got := seen{}
	for topic, parts := range map[string]int32{topicLog: 1, topicWide: partitions} {
		for part := range parts {
			for _, r := range readByFranz(t, brokers, topic, part) {
				id := string(r.Key)
				if got[id] == nil {
					got[id] = map[string]int{}
				}
				got[id][where(topic, part)]++
			}
		}
	}
	return got
}

// readByFranz reads a partition with read_committed until its last stable offset is its end, and is reached.
func readByFranz(t testing.TB, brokers []string, topic string, partition int32) []*kgo.Record {
	t.Helper()
	ctx := within(t, 60*time.Second)
	reader := dialBrokers(t, brokers).NewReader(topic, partition, First)
	defer reader.Close()
	end, err := reader.listOffset(ctx, Last)
	if err != nil {
		t.Fatal(err)
	}
	if end == 0 {
		return nil
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for last := int64(-1); last < end-1; {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%s: at %d of %d: %v", where(topic, partition), last, end, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			last = r.Offset
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

// expect checks that exactly these transactions are there, each once in each of its partitions.
func (s seen) expect(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		s.expectOnce(t, id)
	}
	for id := range s {
		if !slices.Contains(ids, id) {
			t.Errorf("%s is visible and was not committed: %v", id, s[id])
		}
	}
}

func (s seen) expectOnce(t testing.TB, id string) {
	t.Helper()
	if len(s[id]) != partitions+1 {
		t.Errorf("%s is in %d of %d partitions: %v", id, len(s[id]), partitions+1, s[id])
	}
	for where, times := range s[id] {
		if times != 1 {
			t.Errorf("%s is %d times in %s", id, times, where)
		}
	}
}
