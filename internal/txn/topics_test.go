package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func testTopicsAreJudged(t *testing.T, brokers []string) {
	c := dialBrokers(t, brokers)
	ctx := within(t, 30*time.Second)
	compacted := TopicSpec{
		Name: "judged", Partitions: 1, RequireCompacted: true, RequirePartitions: true,
		Configs: map[string]string{"cleanup.policy": "compact"},
	}

	_, err := c.EnsureTopics(ctx, []TopicSpec{compacted, {Name: "absent too", Partitions: 2}}, false)
	var fault *TopicError
	if !errors.As(err, &fault) || fault.Topic != "judged" || fault.Fault != "does not exist" {
		t.Errorf("missing: %v", err)
	}

	for _, created := range []bool{true, false} {
		got, err := c.EnsureTopics(ctx, []TopicSpec{compacted}, true)
		if err != nil {
			t.Fatal(err)
		}
		if g := got[0]; g.Created != created || g.Partitions != 1 || g.CleanupPolicy != "compact" || g.MaxMessageBytes == 0 || g.RetentionMs == 0 {
			t.Errorf("%+v", g)
		}
	}

	plain := TopicSpec{Name: "plain", Partitions: 2, Configs: map[string]string{"retention.ms": "-1", "max.message.bytes": "10485760"}}
	got, err := c.EnsureTopics(ctx, []TopicSpec{plain}, true)
	if err != nil || got[0].RetentionMs != -1 || got[0].MaxMessageBytes != 10485760 || got[0].Partitions != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	plain.RequireCompacted, plain.RequirePartitions, plain.Partitions = true, true, 1
	_, err = c.EnsureTopics(ctx, []TopicSpec{plain, compacted}, true)
	const want = "topic plain has cleanup.policy=delete and must be compacted: kafka-configs --alter --topic plain --add-config cleanup.policy=compact\n" +
		"topic plain has 2 partitions and must have exactly 1: partitions cannot be taken away: use another topic, or delete this one where its content is not needed"
	if err == nil || err.Error() != want {
		t.Errorf("unfit: %v", err)
	}
	if n, err := c.Partitions(ctx, "plain"); n != 2 || err != nil {
		t.Errorf("%d partitions, %v", n, err)
	}
}

func TestTopicsAreJudged(t *testing.T) {
	fake, _ := fakeKafka(t, 2)
	testTopicsAreJudged(t, fake.ListenAddrs())
}

func TestTopicMayNotBeCreated(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed})
	_, err := dialFake(t, fake).EnsureTopics(within(t, 5*time.Second), []TopicSpec{{Name: "new", Partitions: 1}}, true)
	var fault *TopicError
	if !errors.As(err, &fault) || !errors.Is(err, ErrUnauthorized) || !errors.Is(err, kafka.TopicAuthorizationFailed) {
		t.Error(err)
	}
}

// A controller that is not there yet answers that the time is up: that is no fault of the topic.
func TestTopicIsCreatedOnceThereIsAController(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.RequestTimedOut, Count: 2})
	topics, err := dialFake(t, fake).EnsureTopics(within(t, 10*time.Second), []TopicSpec{{Name: "new", Partitions: 1}}, true)
	if err != nil || len(topics) != 1 || !topics[0].Created {
		t.Errorf("%+v, %v", topics, err)
	}
}

// alterTopic changes max.message.bytes behind the producer's back.
func alterTopic(t *testing.T, brokers []string, topic string, limit int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value := fmt.Sprint(limit)
	res, err := kadm.NewClient(client).AlterTopicConfigs(within(t, 10*time.Second),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &value}}, topic)
	if err != nil || res[0].Err != nil {
		t.Fatal(err, res)
	}
}

// testTooLarge checks that exactly the record that a topic does not take is named, whatever is around it, before and
// after the limit changes, and that it goes through once the topic takes it.
func testTooLarge(t *testing.T, brokers []string) {
	const limit = 20_000
	alterTopic(t, brokers, topicWide, limit)
	p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{TransactionalID: "large"})
	ready(t, p)
	fill := func(large int) {
		t.Helper()
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			r := &Record{Key: fmt.Append(nil, "key ", i), Value: bytes.Repeat([]byte("v"), 1000)}
			if i == 50 {
				r.Key, r.Value = []byte("large"), bytes.Repeat([]byte("v"), large)
			}
			if err := p.Produce(topicWide, 2, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	abort := func() {
		t.Helper()
		if err := p.Abort(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	// Neither limit nor size are known: at worst the content is to be sent again, in smaller batches.
	fill(10)
	if err := p.Commit(within(t, 10*time.Second)); err != nil {
		if !fateIs(err, ErrRetry) {
			t.Fatal(err)
		}
		abort()
		fill(10)
		commit(t, p)
	}
	refused := func(size int) {
		t.Helper()
		fill(size)
		err := p.Commit(within(t, 10*time.Second))
		var tooLarge *TooLargeError
		if !errors.As(err, &tooLarge) || !fateIs(err, ErrAbort) {
			t.Fatalf("%d: %v", size, err)
		}
		if string(tooLarge.Key) != "large" || tooLarge.Topic != topicWide || tooLarge.Partition != 2 || tooLarge.Size < size || tooLarge.Limit >= size+100 {
			t.Errorf("%d: %+v", size, tooLarge)
		}
		abort()
	}
	refused(limit)
	alterTopic(t, brokers, topicWide, 2*limit) // the topic takes more: no one tells the producer
	waitForLimit(t, brokers, 2*limit)
	fill(limit)
	commit(t, p)
	alterTopic(t, brokers, topicWide, limit/2) // less: batches that were sized by the old limit
	waitForLimit(t, brokers, limit/2)
	fill(10)
	if err := p.Commit(within(t, 10*time.Second)); !fateIs(err, ErrRetry) {
		t.Fatalf("batches sized by an old limit: %v", err)
	}
	abort()
	fill(10)
	commit(t, p)
	refused(limit / 2)
}

// waitForLimit waits until the broker applies a changed topic configuration.
func waitForLimit(t *testing.T, brokers []string, want int) {
	t.Helper()
	c := dialBrokers(t, brokers)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := c.readLimit(within(t, 5*time.Second), topicWide)
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("max.message.bytes is %d, not %d: %v", got, want, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	testTooLarge(t, fake.ListenAddrs())
}

// Where DescribeConfigs is not permitted, the leader judges, and a batch of several is not blamed on one record.
func TestTooLargeWithoutDescribe(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	ready(t, p)
	for _, c := range []struct {
		size int
		fate error
	}{{1000, nil}, {2_000_000, ErrAbort}} {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := p.Produce(topicLog, 0, &Record{Key: []byte("k"), Value: make([]byte, c.size)}); err != nil {
			t.Fatal(err)
		}
		err := p.Commit(within(t, 10*time.Second))
		if !errors.Is(err, c.fate) {
			t.Errorf("%d: %v", c.size, err)
		}
		if err != nil {
			if err := p.Abort(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The partitions that kafka-clients' Utils.murmur2 gives these keys.
func TestPartitionIsJavas(t *testing.T) {
	for key, hash := range map[string]int32{ // UtilsTest.testMurmur2
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != hash {
			t.Errorf("murmur2(%q) = %d, not %d", key, got, hash)
		}
	}
	if got := Partition([]byte("21"), 1); got != 0 {
		t.Errorf("partition %d of 1", got)
	}
	other := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for i := range 1000 {
		key := fmt.Append(nil, "key ", i)
		for _, n := range []int32{1, 3, 7, 100} {
			if got, want := Partition(key, n), other.Partition(&kgo.Record{Key: key}, int(n)); int(got) != want {
				t.Fatalf("%q of %d: %d, not %d as franz-go says", key, n, got, want)
			}
		}
	}
}

// How old a record may be is what the topic says, in the words of its release of Kafka.
func TestOldestRecord(t *testing.T) {
	const none = "9223372036854775807"
	for _, c := range []struct {
		kind, before, difference string
		want                     TimeLimit
	}{
		{"CreateTime", none, none, TimeLimit{}},
		{"CreateTime", "3600000", none, TimeLimit{time.Hour, "message.timestamp.before.max.ms"}},
		{"CreateTime", none, "60000", TimeLimit{time.Minute, "message.timestamp.difference.max.ms"}},
		{"CreateTime", "3600000", "60000", TimeLimit{time.Hour, "message.timestamp.before.max.ms"}},
		{"CreateTime", "0", "", TimeLimit{1, "message.timestamp.before.max.ms"}}, // nothing but now
		{"LogAppendTime", "3600000", "60000", TimeLimit{}},
		{"", "", "", TimeLimit{}}, // it may not be read
	} {
		got := oldestRecord(map[string]string{
			"message.timestamp.type": c.kind, "message.timestamp.before.max.ms": c.before, "message.timestamp.difference.max.ms": c.difference,
		})
		if got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
