package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// Every request of a transaction, cut off before it is applied and after.
var cutCases = []struct {
	key     kmsg.Key
	when    kafkatest.When
	decided string // what a commit that met the fault has become: "in", "out"
}{
	{kmsg.AddPartitionsToTxn, kafkatest.Before, "out"},
	{kmsg.AddPartitionsToTxn, kafkatest.After, "out"},
	{kmsg.Produce, kafkatest.Before, "out"},
	{kmsg.Produce, kafkatest.After, "out"},
	{kmsg.EndTxn, kafkatest.Before, "out"},
	{kmsg.EndTxn, kafkatest.After, "in"},
}

// testCutCommits cuts each request of a commit, recovers by Init, and checks what became of it with franz-go.
func testCutCommits(t *testing.T, brokers []string, proxy *kafkatest.Proxy) {
	for _, c := range cutCases {
		t.Run(fmt.Sprintf("%s %s", c.key.Name(), c.when), func(t *testing.T) {
			p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{Compression: LZ4})
			ready(t, p)
			id := func(name string) string { return t.Name() + " " + name }
			write(t, p, id("before"))
			commit(t, p)

			fired := proxy.CutOnce(int16(c.key), c.when)
			write(t, p, id("cut"))
			err := p.Commit(within(t, 20*time.Second))
			select {
			case <-fired:
			default:
				t.Fatal("the commit did without the request")
			}
			if !fateIs(err, ErrFatal) || errors.Is(err, ErrFenced) {
				t.Fatalf("commit: %v", err)
			}
			expectRefusal(t, p)

			ready(t, p)
			want := []string{id("before"), id("after")}
			got := committed(t, brokers)
			if c.decided == "in" {
				want = append(want, id("cut"))
			} else if got[id("cut")] != nil {
				t.Errorf("visible: %v", got[id("cut")])
			} else { // once more, as a caller does that has read the topics back
				write(t, p, id("cut"))
				commit(t, p)
				want = append(want, id("cut"))
			}
			write(t, p, id("after"))
			commit(t, p)
			got = committed(t, brokers)
			for _, id := range want {
				got.expectOnce(t, id)
			}
		})
	}
}

// expectRefusal checks that a producer sends nothing any more.
func expectRefusal(t *testing.T, p *Producer) {
	t.Helper()
	ctx := within(t, time.Second)
	for name, err := range map[string]error{
		"begin": p.Begin(), "produce": p.Produce(topicLog, 0, &Record{}), "commit": p.Commit(ctx), "abort": p.Abort(ctx),
	} {
		if !errors.Is(err, ErrFatal) || !errors.Is(err, errState) {
			t.Errorf("%s after an indefinite answer: %v", name, err)
		}
	}
}

func TestCutCommits(t *testing.T) {
	fake, proxy := fakeKafka(t, 3)
	testCutCommits(t, fake.ListenAddrs(), proxy)
}

// An abort that was cut is in doubt too; Init decides it.
func TestCutAborts(t *testing.T) {
	for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
		t.Run(when.String(), func(t *testing.T) {
			fake, proxy := fakeKafka(t, 1)
			p := newProducer(t, dialFake(t, fake), ProducerConfig{})
			ready(t, p)
			write(t, p, "aborted")
			// The leader refuses the batch, so that there is a transaction to abort.
			fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topicLog, Err: kerr.InvalidRecord})
			if err := p.Commit(within(t, 5*time.Second)); !fateIs(err, ErrAbort) {
				t.Fatal(err)
			}
			proxy.CutOnce(int16(kmsg.EndTxn), when)
			if err := p.Abort(within(t, 5*time.Second)); !fateIs(err, ErrFatal) {
				t.Fatal(err)
			}
			expectRefusal(t, p)
			ready(t, p)
			write(t, p, "next")
			commit(t, p)
			committed(t, fake.ListenAddrs()).expect(t, "next")
		})
	}
}

// Requests that change nothing, or only fence, are sent again; the caller sees no fault.
func TestCutLookups(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.FindCoordinator, kmsg.InitProducerID, kmsg.Metadata, kmsg.DescribeConfigs, kmsg.ApiVersions} {
		for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
			t.Run(fmt.Sprintf("%s %s", key.Name(), when), func(t *testing.T) {
				fake, proxy := fakeKafka(t, 2)
				p := newProducer(t, dialFake(t, fake), ProducerConfig{})
				fired := proxy.CutOnce(int16(key), when)
				ready(t, p)
				write(t, p, "one")
				commit(t, p)
				select {
				case <-fired:
				default:
					t.Error("nothing was cut")
				}
				committed(t, fake.ListenAddrs()).expect(t, "one")
			})
		}
	}
}

// Each code has its fate, and the fate is what the producer makes of it.
func TestErrorCodes(t *testing.T) {
	const again = 2 // refusals before the broker takes the request
	for _, c := range []struct {
		key  kmsg.Key
		err  *kerr.Error
		fate error // nil: retried until it succeeds
	}{
		{kmsg.InitProducerID, kerr.CoordinatorLoadInProgress, nil},
		{kmsg.InitProducerID, kerr.ConcurrentTransactions, nil},
		{kmsg.InitProducerID, kerr.NotCoordinator, nil},
		{kmsg.InitProducerID, kerr.TransactionalIDAuthorizationFailed, ErrUnauthorized},
		{kmsg.InitProducerID, kerr.InvalidTransactionTimeout, ErrFatal},
		{kmsg.FindCoordinator, kerr.CoordinatorNotAvailable, nil},
		{kmsg.FindCoordinator, kerr.TransactionalIDAuthorizationFailed, ErrUnauthorized},

		{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions, nil},
		{kmsg.AddPartitionsToTxn, kerr.CoordinatorNotAvailable, nil},
		{kmsg.AddPartitionsToTxn, kerr.NotCoordinator, nil},
		{kmsg.AddPartitionsToTxn, kerr.UnknownTopicOrPartition, nil},
		{kmsg.AddPartitionsToTxn, kerr.TopicAuthorizationFailed, ErrAbort},
		{kmsg.AddPartitionsToTxn, kerr.TransactionalIDAuthorizationFailed, ErrAbort},
		{kmsg.AddPartitionsToTxn, kerr.InvalidProducerEpoch, ErrFenced},
		{kmsg.AddPartitionsToTxn, kerr.ProducerFenced, ErrFenced},
		{kmsg.AddPartitionsToTxn, kerr.InvalidTxnState, ErrFatal},
		{kmsg.AddPartitionsToTxn, kerr.InvalidProducerIDMapping, ErrFatal},
		{kmsg.AddPartitionsToTxn, kerr.RequestTimedOut, ErrFatal},
		{kmsg.AddPartitionsToTxn, kerr.UnknownServerError, ErrFatal},

		{kmsg.Produce, kerr.NotLeaderForPartition, nil},
		{kmsg.Produce, kerr.NotEnoughReplicas, nil},
		{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend, nil},
		{kmsg.Produce, kerr.KafkaStorageError, nil},
		{kmsg.Produce, kerr.UnknownTopicOrPartition, nil},
		{kmsg.Produce, kerr.InvalidRecord, ErrAbort},
		{kmsg.Produce, kerr.InvalidTimestamp, ErrAbort},
		{kmsg.Produce, kerr.TopicAuthorizationFailed, ErrAbort},
		{kmsg.Produce, kerr.PolicyViolation, ErrAbort},
		{kmsg.Produce, kerr.InvalidConfig, ErrAbort},
		{kmsg.Produce, kerr.UnsupportedForMessageFormat, ErrAbort},
		{kmsg.Produce, kerr.UnsupportedCompressionType, ErrAbort},
		{kmsg.Produce, kerr.ClusterAuthorizationFailed, ErrAbort},
		{kmsg.Produce, kerr.InvalidTopicException, ErrAbort},
		{kmsg.Produce, kerr.CorruptMessage, nil},
		{kmsg.Produce, kerr.DuplicateSequenceNumber, ErrFatal}, // of a batch that was not sent before
		{kmsg.Produce, kerr.MessageTooLarge, ErrAbort},
		{kmsg.Produce, kerr.RecordListTooLarge, ErrAbort},
		{kmsg.Produce, kerr.OutOfOrderSequenceNumber, ErrFatal},
		{kmsg.Produce, kerr.UnknownProducerID, ErrFatal},
		{kmsg.Produce, kerr.RequestTimedOut, ErrFatal},
		{kmsg.Produce, kerr.UnknownServerError, ErrFatal},
		{kmsg.Produce, kerr.InvalidProducerEpoch, ErrFenced},

		{kmsg.EndTxn, kerr.ConcurrentTransactions, nil},
		{kmsg.EndTxn, kerr.NotCoordinator, nil},
		{kmsg.EndTxn, kerr.CoordinatorNotAvailable, nil},
		{kmsg.EndTxn, kerr.CoordinatorLoadInProgress, nil},
		{kmsg.EndTxn, kerr.InvalidTxnState, ErrFatal},
		{kmsg.EndTxn, kerr.TransactionalIDAuthorizationFailed, ErrUnauthorized},
		{kmsg.EndTxn, kerr.InvalidProducerEpoch, ErrFenced},
		{kmsg.EndTxn, kerr.ProducerFenced, ErrFenced},
		{kmsg.EndTxn, kerr.UnknownServerError, ErrFatal},
	} {
		t.Run(fmt.Sprintf("%s %s", c.key.Name(), c.err.Message), func(t *testing.T) {
			fake, _ := fakeKafka(t, 2)
			p := newProducer(t, dialFake(t, fake), ProducerConfig{})
			fault := kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: again}
			if c.fate != nil {
				fault.Count = 1
			}
			early := c.key == kmsg.InitProducerID || c.key == kmsg.FindCoordinator
			if early {
				fake.Fault(fault)
				err := p.Init(within(t, 5*time.Second))
				if !errors.Is(err, c.fate) {
					t.Fatalf("init: %v", err)
				}
				if c.fate != nil && !errors.Is(err, ErrFatal) {
					t.Fatalf("init: %v is not fatal", err)
				}
			}
			ready(t, p)
			if !early {
				fake.Fault(fault)
			}
			write(t, p, "one")
			err := p.Commit(within(t, 5*time.Second))
			if early {
				c.fate = nil
			}
			settle(t, p, err, c.fate)
			// Whatever it was: in the end it is there once, and nothing else.
			if c.fate != nil {
				write(t, p, "one")
				commit(t, p)
			}
			write(t, p, "two")
			commit(t, p)
			committed(t, fake.ListenAddrs()).expect(t, "one", "two")
			if c.fate == nil && p.Stats().Retries == 0 && !early {
				t.Error("no retry was counted")
			}
		})
	}
}

// settle does what a caller does about the error of a commit, after checking its fate.
func settle(t *testing.T, p *Producer, err, fate error) {
	t.Helper()
	if fate == nil && err != nil || !errors.Is(err, fate) {
		t.Fatalf("commit: %v, not %v", err, fate)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrFatal):
		expectRefusal(t, p)
		ready(t, p)
	default:
		if errors.Is(err, ErrAbort) == errors.Is(err, ErrRetry) {
			t.Errorf("%v has not one fate", err)
		}
		if err := p.Abort(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
}

// A code that never passes ends in ErrRetry when the time is up: nothing is committed, Abort and the same step again.
func TestRetryRunsOut(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{TransactionTimeout: time.Second})
	ready(t, p)
	fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	write(t, p, "one")
	err := p.Commit(context.Background())
	// The time may be up in the middle of looking for another leader, too.
	if !fateIs(err, ErrRetry) || !errors.Is(err, kafka.NotEnoughReplicas) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	fault.Remove()
	// kfake and Kafka end a transaction at its time-out, so the abort comes either in time or is told that it is fenced.
	if err := p.Abort(within(t, 5*time.Second)); err != nil {
		if !errors.Is(err, ErrFatal) {
			t.Fatal(err)
		}
		ready(t, p)
	}
	write(t, p, "one")
	commit(t, p)
	committed(t, fake.ListenAddrs()).expect(t, "one")
}

// An EndTxn that was answered with "try again" may have been applied; running out of time then is not definite.
func TestEndTxnRetriesRunOut(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{TransactionTimeout: time.Second})
	ready(t, p)
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.CoordinatorNotAvailable, Count: -1})
	write(t, p, "one")
	if err := p.Commit(context.Background()); !fateIs(err, ErrFatal) {
		t.Fatal(err)
	}
}

// A hung broker is given up before the transaction's time is over.
func TestHungStep(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	const timeout = time.Second
	p := newProducer(t, dialFake(t, fake), ProducerConfig{TransactionTimeout: timeout})
	ready(t, p)
	write(t, p, "before")
	commit(t, p)
	proxy.Delay(10 * time.Second)
	write(t, p, "hung")
	began := time.Now()
	err := p.Commit(context.Background())
	if took := time.Since(began); took > timeout {
		t.Errorf("a hung step took %v, longer than the transaction may", took)
	}
	if !fateIs(err, ErrFatal) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	proxy.Delay(0)
	ready(t, p)
	write(t, p, "after")
	commit(t, p)
	committed(t, fake.ListenAddrs()).expect(t, "before", "after")
}

// testFencing: who is overtaken by another producer of its transactional id commits nothing more.
func testFencing(t *testing.T, brokers []string) {
	config := ProducerConfig{TransactionalID: t.Name()}
	older, newer := newProducer(t, dialBrokers(t, brokers), config), newProducer(t, dialBrokers(t, brokers), config)
	ready(t, older)
	write(t, older, t.Name()+" older 1")
	commit(t, older)
	write(t, older, t.Name()+" older 2")
	ready(t, newer)
	if err := older.Commit(within(t, 5*time.Second)); !errors.Is(err, ErrFenced) || !errors.Is(err, ErrFatal) {
		t.Fatalf("a fenced commit: %v", err)
	}
	expectRefusal(t, older)
	write(t, newer, t.Name()+" newer")
	commit(t, newer)
	got := committed(t, brokers)
	got.expectOnce(t, t.Name()+" older 1")
	got.expectOnce(t, t.Name()+" newer")
	if got[t.Name()+" older 2"] != nil {
		t.Errorf("visible: %v", got[t.Name()+" older 2"])
	}
}

func TestFencing(t *testing.T) {
	fake, _ := fakeKafka(t, 2)
	testFencing(t, fake.ListenAddrs())
}

// An EndTxn of an older epoch that arrives late must not end a later transaction.
func testDelayedEndTxn(t *testing.T, brokers []string, proxy *kafkatest.Proxy) {
	for _, delayedCommit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit=%v", delayedCommit), func(t *testing.T) {
			p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{})
			ready(t, p)
			proxy.CutOnce(int16(kmsg.EndTxn), kafkatest.Before)
			write(t, p, t.Name()+" cut")
			if err := p.Commit(within(t, 5*time.Second)); !fateIs(err, ErrFatal) {
				t.Fatal(err)
			}
			delayed := &endtxn.Request{
				TransactionalID: testTxnID, ProducerID: p.producerID, ProducerEpoch: p.epoch, Committed: delayedCommit,
			}
			ready(t, p)
			write(t, p, t.Name()+" later")
			ctx := within(t, 5*time.Second)
			for _, step := range []func(context.Context) error{p.sealAll, p.addPartitions, p.sendAll} {
				if err := step(ctx); err != nil {
					t.Fatal(err)
				}
			}
			answer, err := p.atCoordinator(ctx, delayed)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.refused(kafka.Error(answer.(*endtxn.Response).ErrorCode)); !errors.Is(err, ErrFenced) {
				t.Fatalf("the delayed EndTxn was answered with %v", err)
			}
			if delayedCommit { // the later transaction aborts, so nothing of it may be there
				if err := p.Abort(ctx); err != nil {
					t.Fatal(err)
				}
			} else { // the later transaction commits, so all of it must be there
				commit(t, p)
			}
			got := committed(t, brokers)
			if delayedCommit && got[t.Name()+" later"] != nil {
				t.Errorf("the delayed EndTxn committed: %v", got)
			}
			if !delayedCommit {
				got.expectOnce(t, t.Name()+" later")
			}
			if got[t.Name()+" cut"] != nil {
				t.Errorf("the cut transaction is visible: %v", got)
			}
		})
	}
}

func TestDelayedEndTxn(t *testing.T) {
	fake, proxy := fakeKafka(t, 2)
	testDelayedEndTxn(t, fake.ListenAddrs(), proxy)
}

func TestLeaderAndCoordinatorMove(t *testing.T) {
	fake, _ := fakeKafka(t, 3)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	ready(t, p)
	var ids []string
	for i := range 10 {
		ids = append(ids, fmt.Sprint("txn ", i))
		write(t, p, ids[i])
		switch i % 2 {
		case 0:
			fake.ShufflePartitionLeaders()
		case 1:
			fake.RehashCoordinators()
		}
		err := p.Commit(within(t, 10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
	}
	committed(t, fake.ListenAddrs()).expect(t, ids...)
}

func TestUnauthorizedNamesOperationAndResource(t *testing.T) {
	for code, want := range map[kafka.Error]string{
		kafka.TransactionalIDAuthorizationFailed: "not authorized: Write on transactional id txn-1",
		kafka.TopicAuthorizationFailed:           "not authorized: Write on topic log",
	} {
		p := &Producer{config: ProducerConfig{TransactionalID: testTxnID}}
		err := p.refusedFor(code, topicLog, 0, "")
		if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
