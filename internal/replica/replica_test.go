package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap/zaptest"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

const (
	org, topic = "org", "offsets"
	group      = "group" // and transactional id
)

// broker is an embedded Kafka with an offsets topic.
type broker struct {
	*testing.T
	*kfake.Cluster
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic), kfake.GroupMinSessionTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return &broker{t, fake}
}

func (b *broker) dial() *txn.Cluster {
	c := txn.Dial(txn.Config{Brokers: b.ListenAddrs(), ClientID: "replica-test", RequestTimeout: 3 * time.Second})
	b.Cleanup(c.Close)
	return c
}

// producer is one that is ready, and has so fenced all that came before.
func (b *broker) producer() *txn.Producer {
	b.Helper()
	p, err := b.dial().NewProducer(txn.ProducerConfig{TransactionalID: group})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	if err := p.Init(b.Context()); err != nil {
		b.Fatal(err)
	}
	return p
}

// append writes a record outside of any transaction.
func (b *broker) append(key, value []byte) {
	b.Helper()
	if err := b.dial().Append(b.Context(), topic, 0, &txn.Record{Key: key, Value: value, Time: 1}); err != nil {
		b.Fatal(err)
	}
}

// request hands in work as a command does.
func (b *broker) request(id string) {
	b.Helper()
	value, err := offsets.Request{Kind: offsets.KindBackfill, From: time.Unix(0, 0), To: time.Unix(1, 0), Created: time.Now()}.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	b.append(offsets.AppendRequestKey(nil, org, id), value)
}

// remember writes an id in a transaction.
func remember(ctx context.Context, p *txn.Producer, id string) error {
	if err := p.Begin(); err != nil {
		return err
	}
	key, value := offsets.AppendSeenKey(nil, org, id), offsets.AppendSeenValue(nil, time.Now())
	if err := p.Produce(topic, 0, &txn.Record{Key: key, Value: value, Time: 1}); err != nil {
		return err
	}
	return p.Commit(ctx)
}

// refuseReading has the broker refuse to tell where the offsets topic ends until
// allow is called.
func (b *broker) refuseReading() (allow func()) {
	var mu sync.Mutex
	refused := true
	b.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		b.KeepControl()
		if !refused {
			return nil, nil, false
		}
		answer := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		part := kmsg.NewListOffsetsResponseTopicPartition()
		part.ErrorCode = kerr.TopicAuthorizationFailed.Code
		answer.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{part}}}
		return answer, nil, true
	})
	return func() { mu.Lock(); defer mu.Unlock(); refused = false }
}

// process is a replica that runs, and whose terms do what the test says.
type process struct {
	*broker
	*Replica
	producer *txn.Producer
	terms    chan *term // as they begin
	stop     context.CancelFunc
	ended    chan error // what Run returned
}

func (b *broker) start() *process {
	b.Helper()
	cluster := b.dial()
	producer, err := cluster.NewProducer(txn.ProducerConfig{TransactionalID: group})
	if err != nil {
		b.Fatal(err)
	}
	p := &process{broker: b, producer: producer, terms: make(chan *term, 10), ended: make(chan error, 1)}
	p.Replica = New(Config{
		Org: org, Cluster: cluster, Producer: producer, Offsets: topic, NewTerm: p.newTerm,
		Election: txn.ElectionConfig{GroupID: group, Topic: topic, SessionTimeout: time.Second},
		Health:   new(health.Monitor), Logger: zaptest.NewLogger(b.T),
	})
	ctx, stop := context.WithCancel(b.Context())
	p.stop = stop
	done := make(chan struct{})
	go func() { defer close(done); p.ended <- p.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done; producer.Close() })
	return p
}

// term is one that a test ends.
type term struct {
	state    *offsets.State
	requests chan string
	end      chan error // what Run is to return
	ended    chan struct{}
}

func (p *process) newTerm(state *offsets.State) Term {
	t := &term{state: state, requests: make(chan string, 10), end: make(chan error, 1), ended: make(chan struct{})}
	p.terms <- t
	return t
}

func (t *term) Run(ctx context.Context) error {
	defer close(t.ended)
	select {
	case err := <-t.end:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (t *term) Request(id string, _ offsets.Request) {
	t.requests <- id
}

// next waits for something.
func next[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
	}
	return v
}

func (p *process) until(what string, met func() bool) {
	p.Helper()
	for deadline := time.Now().Add(20 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("it is never so that %s", what)
		}
	}
}

func (p *process) is(role Role) func() bool {
	return func() bool {
		now, loaded := p.Role()
		return now == role && loaded
	}
}

// failing is what the monitor says of it: no error where it works.
func (p *process) failing(what string) (f health.Failure) {
	for _, f := range p.cfg.Health.Failing() {
		if f.Op == what {
			return f
		}
	}
	return f
}

// TestTermBeginsWithWhatIsCommitted: fenced and aborted is what an older self
// left open; then everything is read, and only then the term begins.
func TestTermBeginsWithWhatIsCommitted(t *testing.T) {
	b := newBroker(t)
	older := b.producer()
	if err := remember(t.Context(), older, "committed"); err != nil {
		t.Fatal(err)
	}
	b.append([]byte("what somebody else wrote"), []byte("?"))
	b.request("waiting")
	// franz-go, for it writes before it commits.
	open, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.TransactionalID(group), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	doubtful := &kgo.Record{Key: offsets.AppendSeenKey(nil, org, "doubtful"), Value: offsets.AppendSeenValue(nil, time.Now())}
	if err := open.ProduceSync(t.Context(), doubtful).FirstErr(); err != nil {
		t.Fatal(err)
	}

	p := b.start()
	first := next(t, "term", p.terms)
	if ids := first.state.IDs; !ids.Has("committed") || ids.Has("doubtful") || ids.Len() != 1 {
		t.Errorf("%d ids: committed %t, doubtful %t", ids.Len(), ids.Has("committed"), ids.Has("doubtful"))
	}
	if err := open.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("what was open before can still be committed")
	}
	p.until("the replica is active", p.is(Active))
	if id := next(t, "request", first.requests); id != "waiting" {
		t.Errorf("request %q", id)
	}
	b.request("later")
	if id := next(t, "request", first.requests); id != "later" {
		t.Errorf("request %q", id)
	}
	p.stop()
	if err := next(t, "end", p.ended); err != nil {
		t.Errorf("Run returned %v", err)
	}
	next(t, "end of the term", first.ended)
}

// TestEpochComesBeforeTheLoad: what an older self commits at the last moment
// before it is fenced is known to the term.
func TestEpochComesBeforeTheLoad(t *testing.T) {
	b := newBroker(t)
	older := b.producer()
	b.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.SleepControl(func() {
			if err := remember(t.Context(), older, "at the last moment"); err != nil {
				t.Error(err)
			}
		})
		return nil, nil, false
	})
	p := b.start()
	if first := next(t, "term", p.terms); !first.state.IDs.Has("at the last moment") {
		t.Error("the term does not know what was committed before its epoch")
	}
	if err := remember(t.Context(), older, "after it"); !errors.Is(err, txn.ErrFenced) {
		t.Errorf("a commit of the older self after that: %v", err)
	}
}

func TestRequestsAreHandedToTheTerm(t *testing.T) {
	b := newBroker(t)
	p := b.start()
	first := next(t, "term", p.terms)
	for _, want := range []string{"one", "two"} {
		b.request(want)
		if id := next(t, "request", first.requests); id != want {
			t.Errorf("request %q was handed on, want %q", id, want)
		}
	}
	if !p.is(Active)() {
		t.Error("the replica is not active any more")
	}
}

// TestAnotherTerm: however a term ends, the next one knows what is in Kafka and
// nothing else.
func TestAnotherTerm(t *testing.T) {
	for name, test := range map[string]struct {
		end    error
		failed bool // is it said to have failed?
	}{
		"asked for": {fmt.Errorf("%w: new services", ErrAgain), false},
		"in doubt":  {fmt.Errorf("commit: %w", txn.ErrFatal), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBroker(t).start()
			first := next(t, "term", p.terms)
			if err := remember(t.Context(), p.producer, "committed"); err != nil {
				t.Fatal(err)
			}
			first.state.IDs.Add("doubtful", time.Now())
			first.end <- test.end
			if test.failed {
				p.until("the failure is told", func() bool { return errors.Is(p.failing("lead").Err, test.end) })
			}
			second := next(t, "second term", p.terms)
			if second.state == first.state || !second.state.IDs.Has("committed") || second.state.IDs.Has("doubtful") {
				t.Error("the second term does not begin with what Kafka holds")
			}
			p.until("the replica is active", p.is(Active))
			if err := p.failing("lead").Err; err != nil {
				t.Errorf("the second term is said to fail: %v", err)
			}
			if told := len(p.cfg.Health.Past()) > 0; told != test.failed {
				t.Errorf("told as a failure: %t", told)
			}
		})
	}
}

// TestOffsetsTopicMadeAnew: what was remembered of a topic that is gone is no
// memory of the one that took its place, for neither replica.
func TestOffsetsTopicMadeAnew(t *testing.T) {
	b := newBroker(t)
	active := b.start()
	next(t, "term", active.terms)
	for _, id := range []string{"a", "b", "c"} {
		if err := remember(t.Context(), active.producer, id); err != nil {
			t.Fatal(err)
		}
	}
	standby := b.start()
	standby.until("it stands by", standby.is(Standby))
	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	if again := next(t, "term with the new topic", active.terms); again.state.IDs.Len() != 0 {
		t.Errorf("the next term remembers %d ids of a topic that is gone", again.state.IDs.Len())
	}
	active.stop()
	if other := next(t, "term of the standby", standby.terms); other.state.IDs.Len() != 0 {
		t.Errorf("the standby remembers %d ids of a topic that is gone", other.state.IDs.Len())
	}
}

// TestFencedReplicaStandsBy: who is fenced gives the lead away, keeps its memory
// warm, and leads with that when it is needed again.
func TestFencedReplicaStandsBy(t *testing.T) {
	b := newBroker(t)
	a := b.start()
	ofA := next(t, "term", a.terms)
	other := b.start()
	other.until("the other is warm", other.is(Standby))

	newer := b.producer()
	err := remember(t.Context(), a.producer, "fenced")
	if !errors.Is(err, txn.ErrFenced) {
		t.Fatalf("commit of a fenced producer: %v", err)
	}
	if err := remember(t.Context(), newer, "newer"); err != nil {
		t.Fatal(err)
	}
	ofA.end <- fmt.Errorf("step: %w", err)
	ofOther := next(t, "term of the other", other.terms)
	if ids := ofOther.state.IDs; !ids.Has("newer") || ids.Has("fenced") {
		t.Errorf("the other knows newer: %t, fenced: %t", ids.Has("newer"), ids.Has("fenced"))
	}
	a.until("the fenced one stands by", a.is(Standby))
	if a.Fenced() != 1 || other.Fenced() != 0 || a.failing("kafka").Err != nil {
		t.Errorf("fenced %d and %d times, failing: %v", a.Fenced(), other.Fenced(), a.failing("kafka").Err)
	}

	if err := remember(t.Context(), other.producer, "of the other"); err != nil {
		t.Fatal(err)
	}
	other.stop()
	if err := next(t, "end", other.ended); err != nil {
		t.Errorf("the other's Run returned %v", err)
	}
	again := next(t, "term", a.terms)
	if ids := again.state.IDs; !ids.Has("newer") || !ids.Has("of the other") || ids.Has("fenced") {
		t.Errorf("%d ids when it leads again", ids.Len())
	}
}

// TestFailedLoadIsTriedAgain: a topic that cannot be read is waited for, and nobody
// polls meanwhile.
func TestFailedLoadIsTriedAgain(t *testing.T) {
	b := newBroker(t)
	allow := b.refuseReading()
	p := b.start()
	p.until("the failure is told", func() bool { return errors.Is(p.failing("lead").Err, txn.ErrUnauthorized) })
	if role, loaded := p.Role(); role != Starting || loaded {
		t.Errorf("%s, loaded %t, though nothing could be read", role, loaded)
	}
	allow()
	next(t, "term", p.terms)
	p.until("the replica is active", p.is(Active))
	if err := p.failing("lead").Err; err != nil {
		t.Errorf("still said to fail: %v", err)
	}
}

func TestStandbyTriesAgain(t *testing.T) {
	b := newBroker(t)
	active := b.start()
	next(t, "term", active.terms)
	active.until("the first one is active", active.is(Active))
	allow := b.refuseReading()
	p := b.start()
	p.until("the failure is told", func() bool { return errors.Is(p.failing("offsets topic").Err, txn.ErrUnauthorized) })
	if _, loaded := p.Role(); loaded {
		t.Error("loaded, though nothing could be read")
	}
	allow()
	p.until("it stands by", p.is(Standby))
	p.until("all is well", func() bool { return p.failing("offsets topic").Err == nil })
}

// TestFailureOfTheStandbyEndsWithIt: who leads has read the topic, whatever he met while he stood by.
func TestFailureOfTheStandbyEndsWithIt(t *testing.T) {
	b := newBroker(t)
	active := b.start()
	next(t, "term", active.terms)
	active.until("the first one is active", active.is(Active))
	allow := b.refuseReading()
	p := b.start()
	p.until("the failure is told", func() bool { return p.failing("offsets topic").Err != nil })
	active.stop()
	p.until("its load failed too", func() bool { return p.failing("lead").Err != nil })
	allow()
	next(t, "term", p.terms)
	p.until("it is active", p.is(Active))
	if f := p.failing("offsets topic"); f.Err != nil {
		t.Errorf("an active replica is said to fail at following: %v", f.Err)
	}
}

func TestStopWhileTheLoadFails(t *testing.T) {
	b := newBroker(t)
	b.refuseReading()
	p := b.start()
	p.until("it pauses for two seconds", func() bool { return p.failing("lead").Times >= 2 })
	began := time.Now()
	p.stop()
	if err := next(t, "end", p.ended); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("it took %v to end", took)
	}
	if len(p.terms) > 0 {
		t.Error("a term began with a memory that was not loaded")
	}
}

// TestOnlyAnotherConfigurationHelps: these errors end the process.
func TestOnlyAnotherConfigurationHelps(t *testing.T) {
	t.Run("a term says so", func(t *testing.T) {
		p := newBroker(t).start()
		first := next(t, "term", p.terms)
		first.end <- fmt.Errorf("GENESYS_FILTER: %w", poller.ErrConfiguration)
		if err := next(t, "end", p.ended); !errors.Is(err, poller.ErrConfiguration) {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Run("a ledger of a later version", func(t *testing.T) {
		b := newBroker(t)
		b.append(offsets.AppendLedgerKey(nil, org, "stream"), []byte(`{"version":99}`))
		p := b.start()
		var version *offsets.VersionError
		if err := next(t, "end", p.ended); !errors.As(err, &version) || version.Version != "99" {
			t.Errorf("Run returned %v", err)
		}
		if len(p.terms) > 0 {
			t.Error("a term began with a ledger that cannot be read")
		}
	})
}
