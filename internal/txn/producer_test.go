package txn

import (
	"errors"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestCommitAndAbort(t *testing.T) {
	for _, codec := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			fake, _ := fakeKafka(t, 3)
			p := newProducer(t, dialFake(t, fake), ProducerConfig{Compression: codec})
			ready(t, p)
			write(t, p, "one")
			commit(t, p)
			write(t, p, "two")
			if err := p.Abort(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
			write(t, p, "three")
			commit(t, p)
			committed(t, fake.ListenAddrs()).expect(t, "one", "three")
			if s := p.Stats(); s.Commits != 2 || s.Aborts != 1 || s.Records != 2*(partitions+1) || s.Bytes == 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// testAbortOfRefused aborts a transaction that the coordinator never took, after one that it did.
func testAbortOfRefused(t *testing.T, brokers []string) {
	p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{TransactionTimeout: time.Second})
	ready(t, p)
	id := func(name string) string { return t.Name() + " " + name }
	write(t, p, id("one"))
	commit(t, p)
	for _, topic := range []string{topicWide, "absent"} {
		write(t, p, id("refused"))
		if err := p.Produce(topic, 99, &Record{}); err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(within(t, 5*time.Second)); !fateIs(err, ErrRetry) || !errors.Is(err, kafka.UnknownTopicOrPartition) {
			t.Errorf("a partition that is not there: %v", err)
		}
		if err := p.Abort(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, p, id("two"))
	commit(t, p)
	got := committed(t, brokers)
	got.expectOnce(t, id("one"))
	got.expectOnce(t, id("two"))
	if got[id("refused")] != nil {
		t.Errorf("visible: %v", got[id("refused")])
	}
}

func TestAbortOfRefused(t *testing.T) {
	fake, _ := fakeKafka(t, 2)
	testAbortOfRefused(t, fake.ListenAddrs())
}

func TestEmptyTransaction(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	ready(t, p)
	count := countRequests(fake, kmsg.EndTxn)
	for range 2 {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		commit(t, p)
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := p.Abort(within(t, time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if got := count.Load(); got != 0 {
		t.Errorf("%d requests for transactions without records", got)
	}
}
