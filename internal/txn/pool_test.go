package txn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// each runs f for n producers at the same time, which share a cluster's connections.
func each(t *testing.T, c *Cluster, n int, f func(p *Producer, name string) error) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		name := fmt.Sprintf("%s-%d", t.Name(), i)
		p := newProducer(t, c, ProducerConfig{TransactionalID: name, Compression: LZ4})
		all.Go(func() {
			if err := f(p, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
}

// writeTo is write without a test.
func writeTo(p *Producer, id string) error {
	if err := p.Begin(); err != nil {
		return err
	}
	for part := range int32(partitions) {
		if err := p.Produce(topicWide, part, &Record{Key: []byte(id), Value: []byte(id)}); err != nil {
			return err
		}
	}
	return p.Produce(topicLog, 0, &Record{Key: []byte(id), Value: []byte(id)})
}

// Two hundred producers need no more connections than a few do, and nobody is refused.
func TestProducersShareConnections(t *testing.T) {
	const nodes, producers = 3, 200
	fake, proxy := fakeKafka(t, nodes)
	c := dialFake(t, fake)
	each(t, c, producers, func(p *Producer, name string) error {
		ctx := within(t, 60*time.Second)
		if err := p.Init(ctx); err != nil {
			return err
		}
		for i := range 2 {
			if err := errors.Join(writeTo(p, fmt.Sprintf("%s %d", name, i)), p.Commit(ctx)); err != nil {
				return err
			}
		}
		return nil
	})
	if most := proxy.Most(); most > 2*sharedConns*nodes || most < sharedConns {
		t.Errorf("%d connections at once", most)
	}
	got := committed(t, fake.ListenAddrs())
	for i := range producers {
		got.expectOnce(t, fmt.Sprintf("%s-%d 1", t.Name(), i))
	}
}

// testSharedCuts has several producers commit at the same time over connections that they share and that are cut at
// random. Each does after an error what the connector does. In the end every transaction is there exactly once.
func testSharedCuts(t *testing.T, brokers []string, proxy *kafkatest.Proxy, producers, transactions int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	keys := []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.EndTxn, kmsg.InitProducerID, kmsg.FindCoordinator, kmsg.Metadata}
	c := dialBrokers(t, brokers)
	var doubts atomic.Int32
	each(t, c, producers, func(p *Producer, name string) error {
		random := rand.New(rand.NewPCG(seed, uint64(len(name))+uint64(name[len(name)-1])))
		reader := c.NewReader(topicLog, 0, First)
		defer reader.Close()
		present := map[string]bool{}
		reload := func() error {
			if err := p.Init(within(t, 30*time.Second)); err != nil {
				return err
			}
			return reader.ReadToEnd(within(t, 30*time.Second), func(r *Record) error { present[string(r.Key)] = true; return nil })
		}
		if err := reload(); err != nil {
			return err
		}
		for i := range transactions {
			for id := fmt.Sprintf("%s %d", name, i); !present[id]; {
				if random.IntN(3) == 0 {
					proxy.CutOnce(int16(keys[random.IntN(len(keys))]), kafkatest.When(random.IntN(2)))
				}
				if err := writeTo(p, id); err != nil {
					return err
				}
				err := p.Commit(within(t, 20*time.Second))
				if err == nil {
					break
				}
				if !fateIs(err, ErrFatal) {
					err = p.Abort(within(t, 20*time.Second))
				}
				if err == nil {
					continue
				}
				doubts.Add(1)
				if err := reload(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	proxy.Clear()
	got := committed(t, brokers)
	for i := range producers {
		for j := range transactions {
			got.expectOnce(t, fmt.Sprintf("%s-%d %d", t.Name(), i, j))
		}
	}
	if doubts.Load() == 0 {
		t.Error("no commit met a fault")
	}
	t.Logf("%d producers, %d transactions each, %d in doubt", producers, transactions, doubts.Load())
}

func TestSharedCuts(t *testing.T) {
	fake, proxy := fakeKafka(t, 3)
	testSharedCuts(t, fake.ListenAddrs(), proxy, 12, 20)
}

// A producer whose connection is cut, or that gives up, cuts no other's: neither a transaction that is open, nor a
// request that is under way.
func TestCutsAreNobodyElses(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	c := dialFake(t, fake)
	one := newProducer(t, c, ProducerConfig{TransactionalID: "one"})
	other := newProducer(t, c, ProducerConfig{TransactionalID: "other"})
	for i, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.EndTxn} {
		ctx := within(t, 20*time.Second)
		ready(t, one)
		if i == 0 {
			ready(t, other)
		}
		write(t, other, fmt.Sprint("open ", i))
		if err := errors.Join(other.sealAll(ctx), other.addPartitions(ctx)); err != nil {
			t.Fatal(err)
		}
		write(t, one, fmt.Sprint("cut ", i))
		proxy.CutOnce(int16(key), kafkatest.Before)
		if err := one.Commit(ctx); !fateIs(err, ErrFatal) {
			t.Fatalf("%s: %v", key.Name(), err)
		}
		if err := errors.Join(other.sendAll(ctx), other.end(ctx, true)); err != nil {
			t.Errorf("%s: another's cut connection: %v", key.Name(), err)
		}
		other.discard()
		other.state = stateReady

		ready(t, one)
		proxy.Delay(150 * time.Millisecond)
		write(t, other, fmt.Sprint("under way ", i))
		ended := make(chan error)
		go func() { ended <- other.Commit(ctx) }()
		write(t, one, fmt.Sprint("given up ", i))
		soon, cancel := context.WithTimeout(ctx, time.Duration(50+150*i)*time.Millisecond) // in each of the three requests
		if err := one.Commit(soon); err == nil {
			t.Error("it was not given up")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: another gave up: %v", key.Name(), err)
		}
		proxy.Delay(0)
	}
	got := committed(t, fake.ListenAddrs())
	for i := range 3 {
		got.expectOnce(t, fmt.Sprint("open ", i))
		got.expectOnce(t, fmt.Sprint("under way ", i))
	}
}

// A broker that takes connections and never answers holds as many as there may be of it, and nobody for longer than
// he wants to wait; requests to other brokers do not wait with them.
func TestHangingBrokerHoldsNobodyElse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var dialled atomic.Int32
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			defer func() { _ = conn.Close() }()
		}
	}()
	fake, _ := fakeKafka(t, 1)
	c := dialFake(t, fake)
	const patience = time.Second
	var all sync.WaitGroup
	for range 5 * sharedConns {
		all.Go(func() {
			began := time.Now()
			_, err := c.control.roundTrip(within(t, patience), ln.Addr().String(), initRequest())
			if !errors.Is(err, errNotSent) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*patience {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	}
	time.Sleep(patience / 5)
	began := time.Now()
	if _, err := c.control.roundTrip(within(t, patience), fake.ListenAddrs()[0], initRequest()); err != nil || time.Since(began) > patience/2 {
		t.Errorf("another broker: %v after %v", err, time.Since(began))
	}
	if n := dialled.Load(); n != sharedConns {
		t.Errorf("%d connections to the broker that hangs", n)
	}
	all.Wait()
}

// A connection that a broker throttles is left alone until its time has come (KIP-219): others are used, never more
// than there may be, and it is used again later.
func TestMutedConnectionsRest(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	c := dialFake(t, fake)
	throttled := true
	rewriteAnswers(t, proxy, kmsg.InitProducerID, kmsg.NewPtrInitProducerIDResponse, func(r *kmsg.InitProducerIDResponse) bool {
		if throttled {
			r.ThrottleMillis = 60_000
		}
		return throttled
	})
	ask := func() {
		t.Helper()
		if _, err := c.control.roundTrip(within(t, 5*time.Second), fake.ListenAddrs()[0], initRequest()); err != nil {
			t.Fatal(err)
		}
	}
	resting := func() int { return len(c.control.brokers[fake.ListenAddrs()[0]].idle) }
	for i := range 2 * sharedConns {
		ask()
		if n := resting(); n != min(i+1, sharedConns) {
			t.Fatalf("%d connections after %d throttled answers", n, i+1)
		}
	}
	throttled = false
	ask() // by a new one
	for _, idle := range c.control.brokers[fake.ListenAddrs()[0]].idle {
		idle.muted = time.Now()
	}
	before := proxy.Most()
	for range 5 {
		ask()
	}
	if n := resting(); n != sharedConns || proxy.Most() != before {
		t.Errorf("%d connections, %d before", n, before)
	}
}

// heldBy returns how much memory n producers hold that have written something and are idle.
func heldBy(tb testing.TB, c *Cluster, n int, codec Compression) uint64 {
	producers := make([]*Producer, n)
	for i := range producers {
		p, err := c.NewProducer(ProducerConfig{TransactionalID: fmt.Sprint("idle-", i), Compression: codec})
		if err != nil {
			tb.Fatal(err)
		}
		ready(tb, p)
		write(tb, p, "something")
		commit(tb, p)
		producers[i] = p
	}
	measure := func() uint64 {
		var m runtime.MemStats
		for range 4 { // what lies in a sync.Pool goes with the second
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	with := measure()
	runtime.KeepAlive(producers)
	clear(producers)
	without := measure()
	return max(with, without) - without
}

func TestIdleProducersAreSmall(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	c := dialFake(t, fake)
	for _, codec := range []Compression{Gzip, LZ4, Zstd} {
		const n = 30
		if size := heldBy(t, c, n, codec) / n; size > 20<<10 {
			t.Errorf("an idle producer that compresses by %v holds %d bytes", codec, size)
		}
	}
}

// BenchmarkIdleProducer prints what a producer holds that has nothing to write.
func BenchmarkIdleProducer(b *testing.B) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topicLog), kfake.SeedTopics(partitions, topicWide), kfake.BlackholeProduce())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(fake.Close)
	c := dialFake(b, fake)
	for b.Loop() {
		const n = 200
		b.ReportMetric(float64(heldBy(b, c, n, LZ4))/n, "bytes/producer")
	}
}
