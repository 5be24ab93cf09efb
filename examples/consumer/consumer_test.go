package consumer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"genesys-audit-connector/examples/consumer/consumertest"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/kafkatest"
)

const testGroup = "test-group"

// endpoint is a handler that remembers what it was given.
type endpoint struct {
	mu       sync.Mutex
	got      map[string]int // by id
	order    map[int32][]int64
	recalled []string
	fault    func(m *Message) error // what is wrong with a message, nil for nothing
}

func newEndpoint() *endpoint { return &endpoint{got: map[string]int{}, order: map[int32][]int64{}} }

func (e *endpoint) handle(_ context.Context, messages []Message) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		if m.Recalled {
			e.recalled = append(e.recalled, m.ID)
			continue
		}
		if e.fault != nil {
			if err := e.fault(m); err != nil {
				return i, err
			}
		}
		e.got[m.ID]++
		e.order[m.Partition] = append(e.order[m.Partition], m.Offset)
	}
	return len(messages), nil
}

func (e *endpoint) setFault(fault func(*Message) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = fault
}

// has tells whether everything was delivered at least once.
func (e *endpoint) has(ids []string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		if e.got[id] == 0 {
			return false
		}
	}
	return true
}

// judge fails for what was not to be delivered, or not so often.
func (e *endpoint) judge(t *testing.T, ids []string, atMost int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
		if n := e.got[id]; n < 1 || n > atMost {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	for id := range e.got {
		if !wanted[id] {
			t.Errorf("%s was delivered and never committed", id)
		}
	}
}

func configOf(t testing.TB, topic *consumertest.Topic) Config {
	return Config{
		Brokers: topic.Brokers, Topic: topic.Name, GroupID: testGroup, SessionTimeout: 2 * time.Second,
		OnRefused: RefusedRetry, Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)),
	}
}

// start runs a consumer until stop is called, which returns Run's error.
func start(t testing.TB, config Config, handle Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, config, handle) }() // ends with ctx
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("Run does not end")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func delivered(t *testing.T, e *endpoint, ids []string) {
	t.Helper()
	consumertest.Await(t, fmt.Sprintf("%d messages", len(ids)), 20*time.Second, func() bool { return e.has(ids) })
}

func committed(t *testing.T, topic *consumertest.Topic) {
	t.Helper()
	consumertest.Await(t, "offsets at the end", 10*time.Second, func() bool { return topic.Lag(testGroup) == 0 })
}

func testDeliversWhatIsCommitted(t *testing.T, topic *consumertest.Topic) {
	var ids []string
	for range 3 {
		ids = append(ids, topic.Commit(topic.Events(40)...)...)
		topic.Abort(topic.Events(40)...)
	}
	e := newEndpoint()
	stop := start(t, configOf(t, topic), e.handle)
	delivered(t, e, ids)
	topic.Abort(topic.Events(5)...)
	topic.Erase(ids[:2*consumertest.Partitions]...) // nobody stops at them
	ids = append(ids, topic.Commit(topic.Events(5)...)...)
	delivered(t, e, ids)
	topic.Abort(topic.Events(5)...)
	committed(t, topic)
	if err := stop(); err != nil {
		t.Error(err)
	}
	e.judge(t, ids, 1)
	for p, offsets := range e.order {
		if !slices.IsSorted(offsets) {
			t.Errorf("partition %d was delivered out of order", p)
		}
	}
	if len(e.order) != consumertest.Partitions {
		t.Errorf("%d partitions had messages", len(e.order))
	}
}

func TestDeliversWhatIsCommitted(t *testing.T) {
	testDeliversWhatIsCommitted(t, consumertest.New(t))
}

// TestOtherReaderShowsAborted says why kafka-go's Reader is not used. When it
// fails, kafka-go has been mended, and most of this package can go.
func TestOtherReaderShowsAborted(t *testing.T) {
	topic := consumertest.New(t)
	aborted := topic.Abort(topic.Events(20)...)
	topic.Commit(topic.Events(20)...)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: topic.Brokers, Topic: topic.Name, GroupID: "kafka-go", IsolationLevel: kafka.ReadCommitted,
		StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond,
	})
	defer func() { _ = r.Close() }()
	for {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("kafka-go's reader has shown no aborted record: %v", err)
		}
		if slices.Contains(aborted, string(m.Key)) {
			return
		}
	}
}

// TestCommitFails loses the connection at a commit of offsets, applied or not.
func TestCommitFails(t *testing.T) {
	const offsetCommit = 8
	for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
		t.Run(when.String(), func(t *testing.T) {
			topic := consumertest.New(t)
			config := configOf(t, topic)
			config.BatchSize = 10
			e := newEndpoint()
			fired := topic.Proxy.CutOnce(offsetCommit, when)
			start(t, config, e.handle)
			ids := topic.Commit(topic.Events(100)...)
			delivered(t, e, ids)
			committed(t, topic)
			select {
			case <-fired:
			default:
				t.Error("no commit was cut off")
			}
			e.judge(t, ids, 2)
		})
	}
}

// TestEndpointFails refuses every fifth attempt, and is down for a while.
func TestEndpointFails(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	config.BatchSize = 7
	down, n := errors.New("down"), 0
	e := newEndpoint()
	e.fault = func(*Message) error {
		if n++; n%50 == 0 {
			return down
		}
		return nil
	}
	stop := start(t, config, e.handle)
	ids := topic.Commit(topic.Events(60)...)
	delivered(t, e, ids)
	e.setFault(func(*Message) error { return down })
	late := topic.Commit(topic.Events(20)...)
	if err := stop(); err != nil { // while nothing can be delivered
		t.Error(err)
	}
	if topic.Lag(testGroup) == 0 {
		t.Error("what was not delivered is committed")
	}
	e.setFault(nil)
	start(t, config, e.handle)
	delivered(t, e, append(ids, late...))
	committed(t, topic)
	e.judge(t, append(ids, late...), 1)
}

// TestRebalance has a member come, and another one go without saying so.
func TestRebalance(t *testing.T) { testRebalance(t, consumertest.New(t)) }

func testRebalance(t *testing.T, topic *consumertest.Topic) {
	first, second := newEndpoint(), newEndpoint()
	stop := start(t, configOf(t, topic), first.handle)
	ids := topic.Commit(topic.Events(50)...)
	delivered(t, first, ids)
	start(t, configOf(t, topic), second.handle)
	consumertest.Await(t, "the second member has a share", 30*time.Second, func() bool {
		ids = append(ids, topic.Commit(topic.Events(6)...)...)
		second.mu.Lock()
		defer second.mu.Unlock()
		return len(second.got) > 0
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	ids = append(ids, topic.Commit(topic.Events(20)...)...)
	both := newEndpoint()
	consumertest.Await(t, "all messages", 30*time.Second, func() bool {
		clear(both.got)
		for _, e := range []*endpoint{first, second} {
			e.mu.Lock()
			for id, n := range e.got {
				both.got[id] += n
			}
			e.mu.Unlock()
		}
		return both.has(ids)
	})
	both.judge(t, ids, 2)
	committed(t, topic)
}

// TestExclusive gives all partitions to one of two members.
func TestExclusive(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	config.Exclusive = true
	owned := map[int]map[int32]bool{0: {}, 1: {}}
	var mu sync.Mutex
	stops := map[int]func() error{}
	for member := range owned {
		stops[member] = start(t, config, func(_ context.Context, messages []Message) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			owned[member][messages[0].Partition] = true
			return len(messages), nil
		})
	}
	consumertest.Await(t, "one member has delivered from every partition", 20*time.Second, func() bool {
		topic.Commit(topic.Events(10)...)
		mu.Lock()
		defer mu.Unlock()
		return len(owned[0]) == consumertest.Partitions || len(owned[1]) == consumertest.Partitions
	})
	mu.Lock()
	clear(owned[0])
	clear(owned[1])
	mu.Unlock()
	topic.Commit(topic.Events(30)...)
	consumertest.Await(t, "all delivered", 20*time.Second, func() bool { return topic.Lag(testGroup) == 0 })
	mu.Lock()
	defer mu.Unlock()
	if len(owned[0]) > 0 && len(owned[1]) > 0 {
		t.Errorf("both members delivered: %v", owned)
	}
}

// TestLatest begins at the end, and stays there when it comes back.
func TestLatest(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	config.StartFrom = "latest"
	topic.Commit(topic.Events(30)...)
	e := newEndpoint()
	stop := start(t, config, e.handle)
	committed(t, topic)
	if err := stop(); err != nil {
		t.Error(err)
	}
	ids := topic.Commit(topic.Events(30)...)
	start(t, config, e.handle)
	delivered(t, e, ids)
	e.judge(t, ids, 1)
}

// TestGrace lets a handler finish when the program is stopped, and commits what it did.
func TestGrace(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	entered, leave := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(entered) })
	e := newEndpoint()
	stop := start(t, config, func(ctx context.Context, messages []Message) (int, error) {
		once()
		<-leave
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return e.handle(ctx, messages)
	})
	ids := topic.Commit(topic.Events(1)...)
	<-entered
	time.AfterFunc(300*time.Millisecond, func() { close(leave) })
	if err := stop(); err != nil {
		t.Error(err)
	}
	e.judge(t, ids, 1)
	if lag := topic.Lag(testGroup); lag > 1 { // the end of the transaction
		t.Errorf("%d offsets of what was delivered are not committed", lag)
	}
}

// TestTopicComesLater begins before the connector has made its topic and registered its schema.
func TestTopicComesLater(t *testing.T) {
	const schemaID = 7
	var lookups atomic.Int32
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/subjects/later.changes-value" || lookups.Add(1) == 1 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error_code":40403,"message":"Schema not found"}`)
			return
		}
		fmt.Fprintf(w, `{"subject":"later.changes-value","id":%d,"version":1,"schema":"\"string\""}`, schemaID)
	}))
	defer registry.Close()
	other := consumertest.New(t)
	config := configOf(t, other)
	config.Topic, config.Registry.URL = "later.changes", registry.URL
	logs, seen := observer.New(zap.WarnLevel)
	config.Log = zap.New(logs)
	e := newEndpoint()
	start(t, config, e.handle)
	waiting := func() int { return seen.FilterMessage("waiting").Len() }
	consumertest.Await(t, "it waits for the topic", 10*time.Second, func() bool { return waiting() > 0 })
	topic := consumertest.On(t, other.Brokers, config.Topic, codec.ConfluentFraming(schemaID))
	ids := topic.Commit(topic.Events(20)...)
	delivered(t, e, ids)
	e.judge(t, ids, 1)
	if lookups.Load() < 2 || waiting() < 2 {
		t.Errorf("%d lookups, %d times waiting: it has not waited for the schema", lookups.Load(), waiting())
	}
}

func TestConfig(t *testing.T) {
	var c Config
	err := Load(context.Background(), envconfig.MapLookuper(map[string]string{"KAFKA_BROKERS": "a:1,b:2", "KAFKA_TOPIC_CHANGES": "", "KAFKA_SASL_MECHANISM": "NONE"}), &c)
	if err != nil || !slices.Equal(c.Brokers, []string{"a:1", "b:2"}) || c.Topic != "genesys.audit.changes" {
		t.Fatalf("%+v: %v", c, err)
	}
	c.OnRefused, c.StartFrom, c.SessionTimeout = "no", "middle", 0
	err = Run(context.Background(), c, nil)
	for _, name := range []string{"ON_REFUSED", "START_FROM", "KAFKA_CONSUMER_GROUP", "KAFKA_SESSION_TIMEOUT"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}
