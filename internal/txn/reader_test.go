package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// line is a record as text, to compare what two readers saw.
func line(offset int64, key, value []byte, headers []Header, time int64) string {
	return fmt.Sprintf("%d %q=%q nil=%v %v @%d", offset, key, value, value == nil, headers, time)
}

func franzLines(records []*kgo.Record) []string {
	var lines []string
	for _, r := range records {
		var headers []Header
		for _, h := range r.Headers {
			headers = append(headers, Header{h.Key, h.Value})
		}
		lines = append(lines, line(r.Offset, r.Key, r.Value, headers, r.Timestamp.UnixMilli()))
	}
	return lines
}

func ownLines(t *testing.T, brokers []string, topic string, partition int32, from int64) []string {
	t.Helper()
	var lines []string
	r := dialBrokers(t, brokers).NewReader(topic, partition, from)
	defer r.Close()
	err := r.ReadToEnd(within(t, 30*time.Second), func(r *Record) error {
		lines = append(lines, line(r.Offset, r.Key, r.Value, slices.Clone(r.Headers), r.Time))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// mixture writes, into one partition, what several producers leave there in any order: commits, aborts, and records
// outside of any transaction.
func mixture(t *testing.T, brokers []string, random *rand.Rand) {
	t.Helper()
	cluster := dialBrokers(t, brokers)
	var producers []*Producer
	for i := range 3 {
		p := newProducer(t, cluster, ProducerConfig{TransactionalID: fmt.Sprint("org-", i), Compression: Compression(random.IntN(5))})
		ready(t, p)
		producers = append(producers, p)
	}
	plain, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	ctx := within(t, 60*time.Second)
	step := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	open := map[*Producer]bool{}
	for i := range 60 {
		p := producers[random.IntN(len(producers))]
		switch action := random.IntN(10); {
		case action == 0:
			step(plain.ProduceSync(ctx, &kgo.Record{Topic: topicLog, Key: fmt.Append(nil, "plain", i), Value: []byte("v")}).FirstErr())
		case !open[p]:
			// Written and left open, so that the transactions of the others lie across it.
			step(p.Begin())
			for j := range 1 + random.IntN(20) {
				r := &Record{Key: fmt.Appendf(nil, "%s-%d-%d", p.config.TransactionalID, i, j), Time: int64(1_700_000_000_000 + i)}
				if random.IntN(4) > 0 {
					r.Value = bytes.Repeat([]byte("value "), random.IntN(100))
					r.Headers = []Header{{"h", []byte("x")}, {"null", nil}}
				}
				step(p.Produce(topicLog, 0, r))
			}
			for _, do := range []func(context.Context) error{p.sealAll, p.addPartitions, p.sendAll} {
				step(do(ctx))
			}
			open[p] = true
		case action < 4:
			step(p.Abort(ctx))
			delete(open, p)
		default:
			step(p.Commit(ctx))
			delete(open, p)
		}
	}
	for p := range open {
		step(p.Abort(ctx))
	}
}

// testReaderAgrees reads a random mixture from every offset with this reader and with franz-go's.
func testReaderAgrees(t *testing.T, brokers []string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	mixture(t, brokers, rand.New(rand.NewPCG(seed, 0)))
	want := franzLines(readByFranz(t, brokers, topicLog, 0))
	all := ownLines(t, brokers, topicLog, 0, First)
	if !slices.Equal(all, want) {
		t.Fatalf("from the start:\n%s\nnot\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
	if len(want) == 0 {
		t.Fatal("nothing was committed")
	}
	var last int64
	_, _ = fmt.Sscan(want[len(want)-1], &last)
	for from := int64(0); from <= last; from += 1 + last/40 { // also within transactions that are open at that offset
		wanted := slices.Clone(want)
		wanted = slices.DeleteFunc(wanted, func(line string) bool {
			var offset int64
			_, _ = fmt.Sscan(line, &offset)
			return offset < from
		})
		if got := ownLines(t, brokers, topicLog, 0, from); !slices.Equal(got, wanted) {
			t.Fatalf("from %d:\n%s\nnot\n%s", from, strings.Join(got, "\n"), strings.Join(wanted, "\n"))
		}
	}
}

func TestReaderAgreesWithFranz(t *testing.T) {
	for range 3 {
		fake, _ := fakeKafka(t, 1)
		testReaderAgrees(t, fake.ListenAddrs())
	}
}

// testCodecs reads every codec back with the other library, and the other library's with this one.
func testCodecs(t *testing.T, brokers []string) {
	p := map[Compression]kgo.CompressionCodec{
		None: kgo.NoCompression(), Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	}
	for codec, theirs := range p {
		t.Run(codec.String(), func(t *testing.T) {
			ours := newProducer(t, dialBrokers(t, brokers), ProducerConfig{TransactionalID: "codec", Compression: codec})
			ready(t, ours)
			if err := ours.Begin(); err != nil {
				t.Fatal(err)
			}
			// More than one LZ4 block and one batch; text, and what does not compress.
			random := rand.NewChaCha8([32]byte{})
			for i := range 40 {
				value := bytes.Repeat(fmt.Appendf(nil, "record %d of many. ", i), 1000)
				if i%3 == 0 {
					_, _ = random.Read(value)
				}
				if err := ours.Produce(topicWide, 1, &Record{Key: fmt.Append(nil, i), Value: value, Time: int64(i)}); err != nil {
					t.Fatal(err)
				}
			}
			commit(t, ours)
			client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(theirs))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			value := []byte(strings.Repeat("theirs ", 20_000))
			if err := client.ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: topicWide, Partition: 1, Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			want, got := franzLines(readByFranz(t, brokers, topicWide, 1)), ownLines(t, brokers, topicWide, 1, First)
			if !slices.Equal(got, want) || len(got) < 41 {
				t.Errorf("%d records differ from %d of franz-go", len(got), len(want))
			}
		})
	}
}

func TestCodecs(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	testCodecs(t, fake.ListenAddrs())
}

// A transaction that is open holds the reader back at its first record; it goes on when that is decided.
func TestReadToEndWaits(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	cluster := dialFake(t, fake)
	blocking, other := newProducer(t, cluster, ProducerConfig{TransactionalID: "blocking"}), newProducer(t, cluster, ProducerConfig{})
	ready(t, blocking)
	ready(t, other)
	write(t, blocking, "blocking")
	ctx := within(t, 20*time.Second)
	for _, do := range []func(context.Context) error{blocking.sealAll, blocking.addPartitions, blocking.sendAll} {
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
	}
	write(t, other, "behind")
	commit(t, other)
	read := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		r := cluster.NewReader(topicLog, 0, First)
		defer r.Close()
		done <- r.ReadToEnd(ctx, func(r *Record) error { read <- string(r.Key); return nil })
	}()
	select {
	case id := <-read:
		t.Fatalf("read %q while an older transaction was open", id)
	case err := <-done:
		t.Fatalf("ended while an older transaction was open: %v", err)
	case <-time.After(700 * time.Millisecond):
	}
	if err := blocking.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(read) != 1 || <-read != "behind" {
		t.Error("the record behind the aborted transaction was not read")
	}
}

func TestReaderSurvivesFaults(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata} {
		for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
			t.Run(fmt.Sprintf("%s %s", key.Name(), when), func(t *testing.T) {
				fake, proxy := fakeKafka(t, 2)
				p := newProducer(t, dialFake(t, fake), ProducerConfig{})
				ready(t, p)
				write(t, p, "one")
				commit(t, p)
				fired := proxy.CutOnce(int16(key), when)
				if got := ownLines(t, fake.ListenAddrs(), topicLog, 0, First); len(got) != 1 {
					t.Errorf("%d records", len(got))
				}
				<-fired
			})
		}
	}
	t.Run("leader moves", func(t *testing.T) {
		fake, _ := fakeKafka(t, 3)
		p := newProducer(t, dialFake(t, fake), ProducerConfig{})
		ready(t, p)
		r := dialFake(t, fake).NewReader(topicLog, 0, First)
		defer r.Close()
		var keys []string
		for i := range 5 {
			write(t, p, fmt.Sprint(i))
			commit(t, p)
			if err := fake.MoveTopicPartition(topicLog, 0, int32(i%3)); err != nil {
				t.Fatal(err)
			}
			err := r.ReadToEnd(within(t, 10*time.Second), func(r *Record) error { keys = append(keys, string(r.Key)); return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(keys) != "[0 1 2 3 4]" {
			t.Error(keys)
		}
	})
	t.Run("not authorized", func(t *testing.T) {
		fake, _ := fakeKafka(t, 1)
		fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed})
		r := dialFake(t, fake).NewReader(topicLog, 0, 0)
		defer r.Close()
		err := r.Poll(within(t, 5*time.Second), time.Second, func(*Record) error { return nil })
		if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "Read on topic log") {
			t.Error(err)
		}
	})
}

func TestReaderPositions(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	cluster := dialFake(t, fake)
	p := newProducer(t, cluster, ProducerConfig{})
	ready(t, p)
	for i := range 3 {
		write(t, p, fmt.Sprint(i))
		commit(t, p)
	}
	ctx := within(t, 10*time.Second)

	r := cluster.NewReader(topicLog, 0, 1000)
	defer r.Close()
	if err := r.Poll(ctx, time.Millisecond, nil); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}

	// An error of the function ends the reading at that record, which comes again.
	failed := errors.New("no")
	again := cluster.NewReader(topicLog, 0, First)
	defer again.Close()
	if err := again.ReadToEnd(ctx, func(r *Record) error {
		if string(r.Key) == "1" {
			return failed
		}
		return nil
	}); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	var keys []string
	if err := again.ReadToEnd(ctx, func(r *Record) error { keys = append(keys, string(r.Key)); return nil }); err != nil || fmt.Sprint(keys) != "[1 2]" {
		t.Errorf("%v, %v", keys, err)
	}
	if lag, ok := again.Lag(); !ok || lag != 0 {
		t.Errorf("lag %d, %v at the end", lag, ok)
	}

	last := cluster.NewReader(topicLog, 0, Last)
	defer last.Close()
	if err := last.Poll(ctx, time.Millisecond, func(*Record) error { return failed }); err != nil {
		t.Error(err)
	}
	write(t, p, "new")
	commit(t, p)
	keys = nil
	if err := last.ReadToEnd(ctx, func(r *Record) error { keys = append(keys, string(r.Key)); return nil }); err != nil || fmt.Sprint(keys) != "[new]" {
		t.Errorf("%v, %v", keys, err)
	}
	count := 0
	if err := cluster.ReadTopic(ctx, topicWide, func(r *Record) error { count++; return nil }); err != nil || count != 4*partitions {
		t.Errorf("ReadTopic: %d records, %v", count, err)
	}
	if err := cluster.ReadTopic(ctx, "absent", nil); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("ReadTopic of an absent topic: %v", err)
	}
}

// Retention and compaction leave gaps; a partition may begin beyond 0, and a batch may have lost its last records.
// An empty partition is read to its end without waiting for records: a topic may have many.
func TestReadToEndOfNothing(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	fake.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		t.Error("a fetch")
		fake.KeepControl()
		return nil, nil, false
	})
	for _, from := range []int64{First, Last} {
		if lines := ownLines(t, fake.ListenAddrs(), topicWide, 0, from); len(lines) > 0 {
			t.Errorf("%d records", len(lines))
		}
	}
}

func TestReaderOverGaps(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	cluster := dialFake(t, fake)
	spec := TopicSpec{Name: "compacted", Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact", "segment.bytes": "200"}}
	if _, err := cluster.EnsureTopics(within(t, 5*time.Second), []TopicSpec{spec}, true); err != nil {
		t.Fatal(err)
	}
	p := newProducer(t, cluster, ProducerConfig{})
	ready(t, p)
	for i := range 50 {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		for j := range 4 {
			r := &Record{Key: fmt.Append(nil, "key ", (i*j)%7), Value: fmt.Append(nil, i), Time: time.Now().UnixMilli()}
			if err := p.Produce("compacted", 0, r); err != nil {
				t.Fatal(err)
			}
		}
		if i%5 == 4 {
			if err := p.Abort(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		commit(t, p)
	}
	fake.Compact()
	brokers := fake.ListenAddrs()
	want, got := franzLines(readByFranz(t, brokers, "compacted", 0)), ownLines(t, brokers, "compacted", 0, First)
	if !slices.Equal(got, want) || len(want) == 0 || len(want) > 150 {
		t.Errorf("%d records, %d by franz-go", len(got), len(want))
	}
}
