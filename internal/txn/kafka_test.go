//go:build kafka

package txn

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/kafkatest"
)

var (
	chaosSeed = flag.Uint64("chaos.seed", 0, "seed of the three-node test; 0 takes one from the clock")
	chaosFor  = flag.Duration("chaos.for", 40*time.Second, "how long brokers are killed")
)

func TestOneNode(t *testing.T) {
	cluster := kafkatest.Start(t, kafkatest.Options{Proxy: true})
	testTopics(t, cluster.Brokers())
	t.Run("Cut", func(t *testing.T) { testCutCommits(t, cluster.Brokers(), cluster.Proxy) })
	t.Run("RandomCuts", func(t *testing.T) { testRandomCuts(t, cluster.Brokers(), cluster.Proxy, 300) })
	t.Run("SharedCuts", func(t *testing.T) { testSharedCuts(t, cluster.Brokers(), cluster.Proxy, 10, 15) })
	t.Run("DelayedEndTxn", func(t *testing.T) { testDelayedEndTxn(t, cluster.Brokers(), cluster.Proxy) })
	t.Run("AbortOfRefused", func(t *testing.T) { testAbortOfRefused(t, cluster.Brokers()) })
	t.Run("Codecs", func(t *testing.T) { testCodecs(t, cluster.Brokers()) })
	t.Run("ReaderAgreesWithFranz", func(t *testing.T) { testReaderAgrees(t, cluster.Brokers()) })
	t.Run("TooLarge", func(t *testing.T) { testTooLarge(t, cluster.Brokers()) })
	t.Run("TopicsAreJudged", func(t *testing.T) { testTopicsAreJudged(t, cluster.Brokers()) })
	t.Run("QuestionsDisturbNobody", func(t *testing.T) { testQuestionsDisturbNobody(t, cluster.Brokers()) })
	t.Run("AbortedBatchIsNoDuplicate", func(t *testing.T) {
		testAbortedBatchIsNoDuplicate(t, cluster.Brokers(), cluster.Proxy, appendedCodes...)
	})
	t.Run("SequencesCountOn", func(t *testing.T) {
		testSequencesCountOn(t, cluster.Brokers(), func() func() { // the records are of 2023
			alterConfig(t, cluster.Brokers(), topicLog, "message.timestamp.before.max.ms", "3600000")
			return func() { alterConfig(t, cluster.Brokers(), topicLog, "message.timestamp.before.max.ms", "") }
		})
	})
	t.Run("RenewalFencesNobody", func(t *testing.T) { testRenewalFencesNobody(t, cluster.Brokers(), cluster.Proxy) })
	t.Run("RefusedTimestamp", func(t *testing.T) { testRefusedTimestamp(t, cluster.Brokers()) })
	t.Run("HangingTransactionIsNamed", func(t *testing.T) { testHangingTransactionIsNamed(t, cluster.Brokers()) })
	t.Run("QuotaThatCounts", func(t *testing.T) { testQuotaThatCounts(t, cluster.Brokers()) })
	t.Run("Election", func(t *testing.T) { testElection(t, cluster.Brokers(), 3*time.Second) })
	t.Run("Fleet", func(t *testing.T) { testFleet(t, cluster.Brokers(), 3*time.Second) })
}

// Three nodes, of which one at a time is killed, frozen or stopped while transactions are committed without a break.
// What the producer says of each must hold; in doubt it reads the topics back, as the connector does.
func TestThreeNodesChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed: -chaos.seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	cluster := kafkatest.Start(t, kafkatest.Options{Nodes: 3})
	testTopics(t, cluster.Brokers())

	ctx, stop := context.WithTimeout(t.Context(), *chaosFor)
	defer stop()
	var chaos sync.WaitGroup
	chaos.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Duration(200+random.IntN(2000)) * time.Millisecond)
			node := random.IntN(3)
			down := time.Duration(random.IntN(3000)) * time.Millisecond
			switch random.IntN(4) {
			case 0:
				cluster.Stop(node)
			case 1:
				cluster.Pause(node)
				time.Sleep(down)
				cluster.Resume(node)
				continue
			default:
				cluster.Kill(node)
			}
			time.Sleep(down)
			cluster.Restart(node)
		}
	})

	p := newProducer(t, dialBrokers(t, cluster.Brokers()), ProducerConfig{Compression: LZ4, TransactionTimeout: 10 * time.Second})
	var in []string
	doubts, sure := 0, 0
	ready := false
	for i := 0; ctx.Err() == nil; {
		if !ready {
			if err := p.Init(within(t, 60*time.Second)); err != nil {
				t.Fatal(err)
			}
			ready = true
			if i > len(in) { // the last one is in doubt
				doubts++
				if ownReader(t, cluster.Brokers())[fmt.Sprint("txn ", len(in))] > 0 {
					in = append(in, fmt.Sprint("txn ", len(in)))
				}
			}
			i = len(in)
		}
		write(t, p, fmt.Sprint("txn ", i))
		i++
		switch err := p.Commit(context.Background()); {
		case err == nil:
			in = append(in, fmt.Sprint("txn ", i-1))
			sure++
		case errors.Is(err, ErrFatal):
			t.Logf("txn %d: %v", i-1, err)
			ready = false
		default:
			t.Logf("txn %d: %v", i-1, err)
			i--
			ready = p.Abort(context.Background()) == nil
		}
	}
	chaos.Wait()
	if !ready {
		if err := p.Init(within(t, 60*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	got := committed(t, cluster.Brokers())
	if !ready && got[fmt.Sprint("txn ", len(in))] != nil {
		in = append(in, fmt.Sprint("txn ", len(in)))
	}
	got.expect(t, in...)
	t.Logf("%d transactions committed, %d more were in doubt and decided by reading; %+v", sure, doubts, p.Stats())
	if sure < 20 {
		t.Errorf("only %d transactions were committed", sure)
	}
}

// ownReader counts what this package's Reader sees in topicLog.
func ownReader(t *testing.T, brokers []string) map[string]int {
	t.Helper()
	count := map[string]int{}
	r := dialBrokers(t, brokers).NewReader(topicLog, 0, First)
	defer r.Close()
	if err := r.ReadToEnd(within(t, 60*time.Second), func(r *Record) error { count[string(r.Key)]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return count
}

// A rolling restart of the brokers, one of them by a crash, moves the group's coordinator and no leadership.
func TestThreeNodesElection(t *testing.T) {
	cluster := kafkatest.Start(t, kafkatest.Options{Nodes: 3})
	testTopics(t, cluster.Brokers())
	const session = 10 * time.Second
	a := startReplica(t, "a", cluster.Brokers(), session)
	a.expect("leads", 20*time.Second)
	b := startReplica(t, "b", cluster.Brokers(), session)
	for i := range 3 {
		if i == 1 {
			cluster.Kill(i)
		} else {
			cluster.Stop(i)
		}
		a.quiet(2 * time.Second)
		cluster.Restart(i)
		a.quiet(time.Second)
		b.quiet(0)
	}
	a.signal(syscall.SIGTERM)
	a.expect("lost", 2*time.Second)
	a.expect("left", 4*time.Second)
	b.expect("leads", 4*time.Second)
}

// alterConfig sets a configuration of a topic, or, with "", lets it be the default again, and
// waits until a broker has it.
func alterConfig(t *testing.T, brokers []string, topic, key, value string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	alter := kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value}
	if value == "" {
		alter.Op = kadm.DeleteConfig
	}
	results, err := kadm.NewClient(client).AlterTopicConfigs(within(t, 10*time.Second), []kadm.AlterConfig{alter}, topic)
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	time.Sleep(time.Second) // the broker applies it a moment later
}

// testRenewalFencesNobody: a producer that needs a new epoch is refused one where another
// has taken over meanwhile, whose epoch goes on: what the older one remembers is outdated.
func testRenewalFencesNobody(t *testing.T, brokers []string, proxy *kafkatest.Proxy) {
	config := ProducerConfig{TransactionTimeout: 2 * time.Second, TransactionalID: t.Name()}
	older, newer := newProducer(t, dialBrokers(t, brokers), config), newProducer(t, dialBrokers(t, brokers), config)
	ready(t, older)
	var count atomic.Int32
	answerAppended(t, proxy, kerr.NotEnoughReplicasAfterAppend.Code, &count)
	write(t, older, t.Name()+" older")
	if err := older.Commit(within(t, 20*time.Second)); !fateIs(err, ErrRetry) {
		t.Fatal(err)
	}
	proxy.Rewrite(nil)
	if err := older.Abort(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	ready(t, newer)
	write(t, newer, t.Name()+" newer 1")
	commit(t, newer)
	write(t, older, t.Name()+" older")
	if err := older.Commit(within(t, 20*time.Second)); !errors.Is(err, ErrFenced) {
		t.Errorf("renewed beside a newer producer: %v", err)
	}
	expectRefusal(t, older)
	write(t, newer, t.Name()+" newer 2")
	commit(t, newer)
	got := committed(t, brokers)
	got.expectOnce(t, t.Name()+" newer 1")
	got.expectOnce(t, t.Name()+" newer 2")
	if got[t.Name()+" older"] != nil {
		t.Errorf("visible: %v", got)
	}
}

// testRefusedTimestamp: a record that is older than its topic allows is refused at once, in
// words that name the topic and the setting; nothing is committed, and the producer goes on
// once the topic takes it.
func testRefusedTimestamp(t *testing.T, brokers []string) {
	p := newProducer(t, dialBrokers(t, brokers), ProducerConfig{TransactionalID: t.Name()})
	ready(t, p)
	alterConfig(t, brokers, topicWide, "message.timestamp.before.max.ms", "3600000")
	for range 2 {
		write(t, p, t.Name())
		began := time.Now()
		err := p.Commit(within(t, 20*time.Second))
		refusal, ok := errors.AsType[*RefusalError](err)
		if !fateIs(err, ErrAbort) || !ok || refusal.Topic != topicWide || refusal.Code != kafka.InvalidTimestamp ||
			!strings.Contains(err.Error(), "message.timestamp.before.max.ms") || time.Since(began) > 2*time.Second {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if err := p.Abort(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	alterConfig(t, brokers, topicWide, "message.timestamp.before.max.ms", "")
	write(t, p, t.Name())
	commit(t, p)
	committed(t, brokers).expectOnce(t, t.Name())
}
