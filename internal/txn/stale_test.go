package txn

import (
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// rewriteAnswers decodes each answer to requests of this key, lets change alter it, and
// passes it on where change says that it did.
func rewriteAnswers[T kmsg.Response](t testing.TB, proxy *kafkatest.Proxy, key kmsg.Key, empty func() T, change func(T) bool) {
	proxy.Rewrite(func(of, version int16, answer []byte) []byte {
		if of != int16(key) {
			return answer
		}
		res := empty()
		res.SetVersion(version)
		front := 8                                       // size, correlation id
		if res.IsFlexible() && key != kmsg.ApiVersions { // KIP-511
			front++ // no tags
		}
		if err := res.ReadFrom(answer[front:]); err != nil {
			t.Errorf("%s v%d: %v", key.Name(), version, err)
			return answer
		}
		if !change(res) {
			return answer
		}
		out := res.AppendTo(append([]byte(nil), answer[:front]...))
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		return out
	})
}

// answerAppended makes every answer to a Produce into topicLog say code where it would say
// that the batch was appended, while the counter is not negative; it counts them.
func answerAppended(t testing.TB, proxy *kafkatest.Proxy, code int16, count *atomic.Int32) {
	rewriteAnswers(t, proxy, kmsg.Produce, kmsg.NewPtrProduceResponse, func(res *kmsg.ProduceResponse) (changed bool) {
		for i := range res.Topics {
			for j := range res.Topics[i].Partitions {
				p := &res.Topics[i].Partitions[j]
				if res.Topics[i].Topic == topicLog && p.ErrorCode == 0 && count.Load() >= 0 {
					p.ErrorCode = code
					count.Add(1)
					changed = true
				}
			}
		}
		return changed
	})
}

// appendedCodes are those with which a leader may answer for a batch that it has appended.
var appendedCodes = []*kerr.Error{
	kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.KafkaStorageError,
}

// testAbortedBatchIsNoDuplicate: a batch was appended, the answer says otherwise until the
// transaction is given up, and the same step is written again.
func testAbortedBatchIsNoDuplicate(t *testing.T, brokers []string, proxy *kafkatest.Proxy, codes ...*kerr.Error) {
	for _, c := range codes {
		t.Run(c.Message, func(t *testing.T) {
			defer proxy.Rewrite(nil)
			p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{TransactionTimeout: 5 * time.Second, Compression: LZ4, TransactionalID: t.Name()})
			ready(t, p)
			first, event, next := t.Name()+" first", t.Name()+" event", t.Name()+" next"
			write(t, p, first)
			commit(t, p)
			var count atomic.Int32
			answerAppended(t, proxy, c.Code, &count)
			write(t, p, event)
			if err := p.Commit(within(t, 20*time.Second)); !fateIs(err, ErrRetry) || count.Load() < 2 {
				t.Fatalf("after %d answers: %v", count.Load(), err)
			}
			epoch := p.epoch
			if err := p.Abort(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
			count.Store(-1) // the cluster is well again
			write(t, p, event)
			commit(t, p)
			if p.epoch == epoch || p.Stats().Renewals != 1 {
				t.Errorf("epoch %d, then %d, %d renewals", epoch, p.epoch, p.Stats().Renewals)
			}
			write(t, p, next)
			commit(t, p)
			got := committed(t, brokers)
			for _, id := range []string{first, event, next} {
				got.expectOnce(t, id)
			}
		})
	}
}

func TestAbortedBatchIsNoDuplicate(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	testAbortedBatchIsNoDuplicate(t, fake.ListenAddrs(), proxy, appendedCodes...)
}

// The same where the refusal of another partition is what ends the transaction: the batch
// that was answered with NOT_LEADER was appended.
func TestAbortForAnotherPartitionIsNoDuplicate(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	ready(t, p)
	write(t, p, "before")
	commit(t, p)
	var count atomic.Int32
	answerAppended(t, proxy, kerr.NotLeaderForPartition.Code, &count)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topicWide, Err: kerr.InvalidRecord})
	write(t, p, "event")
	if err := p.Commit(within(t, 10*time.Second)); !fateIs(err, ErrAbort) || count.Load() != 1 {
		t.Fatalf("after %d answers: %v", count.Load(), err)
	}
	if err := p.Abort(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	count.Store(-1)
	write(t, p, "event")
	commit(t, p)
	committed(t, fake.ListenAddrs()).expect(t, "before", "event")
}

// testSequencesCountOn: batches that were acknowledged and then aborted have used their
// sequences up; those that were refused before they were appended have not. Neither costs
// an epoch.
func testSequencesCountOn(t *testing.T, brokers []string, refuse func() (end func())) {
	p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{TransactionTimeout: 2 * time.Second, TransactionalID: t.Name()})
	ready(t, p)
	first, event, next := t.Name()+" first", t.Name()+" event", t.Name()+" next"
	write(t, p, first)
	commit(t, p)
	epoch := p.epoch
	end := refuse() // topicLog's records; topicWide takes its own
	write(t, p, event)
	if err := p.Commit(within(t, 20*time.Second)); !fateIs(err, ErrAbort) {
		t.Fatal(err)
	}
	if err := p.Abort(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	end()
	acknowledged := 0
	for _, l := range p.partitions {
		if l.sequence == 2 {
			acknowledged++
		}
	}
	if acknowledged != partitions {
		t.Errorf("%d partitions have acknowledged what was aborted", acknowledged)
	}
	for _, id := range []string{event, next} {
		write(t, p, id)
		commit(t, p)
	}
	if p.epoch != epoch {
		t.Error("a new epoch though every answer was definite")
	}
	got := committed(t, brokers)
	for _, id := range []string{first, event, next} {
		got.expectOnce(t, id)
	}
}

func TestSequencesCountOn(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	testSequencesCountOn(t, fake.ListenAddrs(), func() func() {
		return fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topicLog, Err: kerr.InvalidRecord, Count: -1}).Remove
	})
}

// A topic that is deleted and made again under a producer has lost what its caller remembers
// having written: nothing more is committed, and the caller reads it again. (kfake refuses the
// first batch of such a topic for its sequence; Kafka appends it, see the tests with tag matrix.)
func TestRecreatedLogIsFatal(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	refused := func(id string) {
		t.Helper()
		rewriteAnswers(t, proxy, kmsg.Produce, kmsg.NewPtrProduceResponse, func(res *kmsg.ProduceResponse) bool {
			for i := range res.Topics {
				if res.Topics[i].Topic == topicLog {
					res.Topics[i].Partitions[0].BaseOffset = 0
				}
			}
			return true
		})
		defer proxy.Rewrite(nil)
		write(t, p, id)
		if err := p.Commit(within(t, 5*time.Second)); !fateIs(err, ErrFatal) || !strings.Contains(err.Error(), where(topicLog, 0)+" was cut off or recreated") {
			t.Fatal(err)
		}
		expectRefusal(t, p)
		ready(t, p)
	}
	ready(t, p)
	write(t, p, "before")
	commit(t, p)
	refused("after an append")
	write(t, p, "read again")
	commit(t, p)
	ready(t, p)
	p.Continues(topicLog, 0, 1)
	refused("after a reading")
	committed(t, fake.ListenAddrs()).expect(t, "before", "read again")
}
