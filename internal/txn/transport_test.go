package txn

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// countRequests counts the requests of a key that reach the broker.
func countRequests(fake *kfake.Cluster, key kmsg.Key) *atomic.Int32 {
	var count atomic.Int32
	fake.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		count.Add(1)
		return nil, nil, false
	})
	return &count
}

func initRequest() protocol.Message {
	return &initproducerid.Request{TransactionalID: testTxnID, TransactionTimeoutMs: 1000, ProducerID: -1, ProducerEpoch: -1}
}

// What the package comment says of kafka-go's Transport, and that the connections here do better. A newer kafka-go
// that fails the Transport halves of these tests makes the comment, and perhaps conn.go, unnecessary.

func TestNothingIsResent(t *testing.T) {
	for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
		t.Run(when.String(), func(t *testing.T) {
			fake, proxy := fakeKafka(t, 1)
			count := countRequests(fake, kmsg.InitProducerID)
			want := int32(0)
			if when == kafkatest.After {
				want = 1
			}
			addr := fake.ListenAddrs()[0]

			transport := &kafka.Transport{}
			defer transport.CloseIdleConnections()
			proxy.CutOnce(int16(kmsg.InitProducerID), when)
			if _, err := transport.RoundTrip(within(t, 5*time.Second), kafka.TCP(addr), initRequest()); err == nil {
				t.Error("Transport: no error for a cut connection")
			}
			if got := count.Swap(0); got != want {
				t.Errorf("Transport: %d requests reached the broker, not %d", got, want)
			}

			c := dialFake(t, fake)
			proxy.CutOnce(int16(kmsg.InitProducerID), when)
			if _, err := c.control.roundTrip(within(t, 5*time.Second), addr, initRequest()); err == nil {
				t.Error("no error for a cut connection")
			}
			if got := count.Load(); got != want {
				t.Errorf("%d requests reached the broker, not %d", got, want)
			}
		})
	}
}

func TestCancelledRequestIsNotSent(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	addr := fake.ListenAddrs()[0]
	count := countRequests(fake, kmsg.FindCoordinator)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	// Routed to any broker, as a Produce is to its leader: without a lookup before, which would notice.
	lookup := &findcoordinator.Request{Key: testTxnID, KeyType: 1}

	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	if _, err := transport.RoundTrip(within(t, 5*time.Second), kafka.TCP(addr), lookup); err != nil { // connects
		t.Fatal(err)
	}
	// Whether an ended context is noticed first is left to select, so this takes a few attempts.
	deadline := time.Now().Add(5 * time.Second)
	for count.Load() < 2 && time.Now().Before(deadline) {
		_, _ = transport.RoundTrip(cancelled, kafka.TCP(addr), lookup)
		time.Sleep(time.Millisecond)
	}
	if count.Load() < 2 {
		t.Error("Transport no longer sends requests whose context has ended: the package comment is out of date")
	}

	c := dialFake(t, fake)
	if _, err := c.control.roundTrip(within(t, 5*time.Second), addr, lookup); err != nil {
		t.Fatal(err)
	}
	count.Store(0)
	for range 100 {
		if _, err := c.control.roundTrip(cancelled, addr, lookup); err == nil {
			t.Fatal("no error for an ended context")
		}
	}
	if _, err := c.control.roundTrip(within(t, 5*time.Second), addr, lookup); err != nil {
		t.Fatal(err)
	}
	if got := count.Load(); got != 1 {
		t.Errorf("%d requests reached the broker, not 1", got)
	}
}

// A call that is cancelled while its request is in flight leaves no connection behind.
func TestCancelClosesTheConnection(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	addr := fake.ListenAddrs()[0]
	c := dialFake(t, fake)
	if _, err := c.control.roundTrip(within(t, 5*time.Second), addr, initRequest()); err != nil {
		t.Fatal(err)
	}
	proxy.Delay(5 * time.Second)
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.control.roundTrip(ctx, addr, initRequest()); err == nil {
		t.Fatal("no error")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("returned after %v", took)
	}
	if c.control.alive() {
		t.Error("the connection is still open")
	}
}

// A connection that the broker closed while it rested is found out before it is used, so that a restart of a broker
// between two transactions costs no reload.
func TestConnectionClosedWhileIdle(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	ready(t, p)
	write(t, p, "one")
	commit(t, p)
	proxy.Cut()
	deadline := time.Now().Add(5 * time.Second)
	for p.cluster.produce.alive() && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	write(t, p, "two")
	commit(t, p)
	committed(t, fake.ListenAddrs()).expect(t, "one", "two")
}

// alive tells whether a connection is left that looks open.
func (s *conns) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.brokers {
		for _, c := range append(slices.Collect(maps.Keys(b.busy)), b.idle...) {
			c.mu.Lock()
			open := c.net != nil && !hungUp(c.net)
			c.mu.Unlock()
			if open {
				return true
			}
		}
	}
	return false
}
