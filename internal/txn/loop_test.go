package txn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// testRandomCuts commits transactions in a row, each with a chance that one of its requests, or one of the recovery, is
// cut off, and does after each error what the connector does: Init, read back, repeat what is not there. In the end
// every transaction is there exactly once.
func testRandomCuts(t *testing.T, brokers []string, proxy *kafkatest.Proxy, transactions int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	keys := []kmsg.Key{
		kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.EndTxn, kmsg.InitProducerID, kmsg.FindCoordinator, kmsg.Metadata, kmsg.Fetch, kmsg.ListOffsets,
	}
	cluster := dialBrokers(t, brokers)
	p := newProducer(t, cluster, ProducerConfig{TransactionalID: "loop", Compression: LZ4})
	reader := cluster.NewReader(topicLog, 0, First)
	defer reader.Close()
	present := map[string]int{}
	reload := func() {
		t.Helper()
		ready(t, p)
		err := reader.ReadToEnd(within(t, 30*time.Second), func(r *Record) error { present[string(r.Key)]++; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	reload()
	var ids []string
	doubts := 0
	for i := range transactions {
		id := fmt.Sprintf("%s %d", t.Name(), i)
		ids = append(ids, id)
		for done := false; !done; {
			if random.IntN(3) == 0 {
				proxy.CutOnce(int16(keys[random.IntN(len(keys))]), kafkatest.When(random.IntN(2)))
			}
			write(t, p, id)
			err := p.Commit(within(t, 20*time.Second))
			switch {
			case err == nil:
				done = true
			case fateIs(err, ErrFatal):
				doubts++
				reload()
				done = present[id] > 0
			default:
				if err := p.Abort(within(t, 20*time.Second)); errors.Is(err, ErrFatal) {
					reload()
				}
			}
		}
	}
	proxy.Clear()
	reload()
	got := committed(t, brokers)
	for _, id := range ids {
		got.expectOnce(t, id)
		if present[id] != 1 {
			t.Errorf("%s: read %d times", id, present[id])
		}
	}
	if doubts == 0 {
		t.Error("no commit met a fault")
	}
	t.Logf("%d transactions, %d in doubt", transactions, doubts)
}

func TestRandomCuts(t *testing.T) {
	fake, proxy := fakeKafka(t, 3)
	testRandomCuts(t, fake.ListenAddrs(), proxy, 200)
}

// Whatever a transaction held, the producer keeps little of it.
func TestLargeBuffersAreLetGo(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	alterTopic(t, fake.ListenAddrs(), topicWide, 20<<20)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{Compression: LZ4})
	ready(t, p)
	noise := make([]byte, 2*keepBuffer)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for range 2 {
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
		for part := range int32(partitions) {
			for _, size := range []int{100, len(noise), 1000} {
				if err := p.Produce(topicWide, part, &Record{Value: noise[:size]}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := p.scratch
		commit(t, p)
		kept := cap(s.packed) + cap(s.arena)
		for _, b := range s.buffers {
			kept += cap(b)
		}
		if kept > (partitions+2)*keepBuffer {
			t.Errorf("%d bytes are kept", kept)
		}
		for _, l := range p.partitions {
			if p.scratch != nil || l.open.buf != nil {
				t.Errorf("the producer keeps the memory of %v", l.topicPartition)
			}
		}
	}
}
