package txn

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// sharedConns is how many connections to a broker the producers of a Cluster share, of each kind: so many
// organisations cost no more of them than a few do.
const sharedConns = 8

// conns are connections to brokers which requests share. A request owns one from its first byte to its answer, so that
// each has at most one in flight, and nobody's failure cuts another's. When roundTrip has returned, its request is
// answered or its connection is closed: no request of a caller whose calls have all returned is anywhere but in a
// broker's hands.
//
// A broker that hangs keeps as many callers waiting as there are, but no connection to another broker from anyone.
type conns struct {
	cluster *Cluster
	most    int // to one broker

	mu      sync.Mutex
	closed  bool
	brokers map[string]*brokerConns // by address
}

// brokerConns are the connections to one broker.
type brokerConns struct {
	places chan struct{} // holds one element for each request under way

	// With the mutex of conns.
	busy   map[*conn]struct{}
	idle   []*conn // the one that was used last at the end
	served served  // by the broker, as of the last time that it was dialled
}

func newConns(c *Cluster, most int) *conns {
	return &conns{cluster: c, most: most, brokers: map[string]*brokerConns{}}
}

// roundTrip sends a request and returns its answer, dialling first where needed. It never sends twice. When it returns
// an error, either errNotSent is in it, or the connection is closed and whether the request was applied is unknown.
func (s *conns) roundTrip(ctx context.Context, addr string, req protocol.Message) (protocol.Message, error) {
	b := s.at(addr)
	c, err := s.take(ctx, b, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	}
	defer s.giveBack(b, c)
	return c.roundTrip(ctx, s.cluster, req)
}

func (s *conns) at(addr string) *brokerConns {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.brokers[addr]
	if b == nil {
		b = &brokerConns{places: make(chan struct{}, s.most), busy: map[*conn]struct{}{}}
		s.brokers[addr] = b
	}
	return b
}

// take waits for a place in line and returns a connection that nobody else uses, not yet dialled where it is new.
func (s *conns) take(ctx context.Context, b *brokerConns, addr string) (*conn, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	select {
	case b.places <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: all %d connections are in use: %w", addr, s.most, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		<-b.places
		return nil, net.ErrClosed
	}
	c := b.ready(time.Now())
	if c == nil {
		c = &conn{addr: addr}
		if len(b.idle)+len(b.busy) >= s.most { // those that rest are muted: the request must not wait with them
			b.idle[0].hangUp()
			b.idle = b.idle[1:]
		}
	}
	b.busy[c] = struct{}{}
	return c, nil
}

// ready returns the connection that was used last of those that may be used now, nil for none.
func (b *brokerConns) ready(now time.Time) *conn {
	for i := len(b.idle) - 1; i >= 0; i-- {
		if c := b.idle[i]; !c.muted.After(now) {
			b.idle = append(b.idle[:i], b.idle[i+1:]...)
			return c
		}
	}
	return nil
}

// giveBack lets the next in line have the connection, or its place where it is closed. Those that have rested for too
// long are closed.
func (s *conns) giveBack(b *brokerConns, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { <-b.places }()
	delete(b.busy, c)
	if c.served != nil {
		b.served = c.served
	}
	switch {
	case s.closed:
		c.hangUp()
	case c.isOpen():
		b.idle = append(b.idle, c)
	}
	for now := time.Now(); len(b.idle) > 0 && b.idle[0].rested(now); b.idle = b.idle[1:] {
		b.idle[0].hangUp()
	}
}

// connected reports whether a connection to the address is open and free.
func (s *conns) connected(addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.brokers[addr]
	return b != nil && len(b.idle) > 0
}

// servedBy returns what the broker at an address said that it serves when it was last dialled, nil where it never was.
func (s *conns) servedBy(addr string) served {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.brokers[addr]; b != nil {
		return b.served
	}
	return nil
}

// close closes every connection, also under a request, and lets none be opened again.
func (s *conns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, b := range s.brokers {
		for c := range b.busy {
			c.hangUp()
		}
		for _, c := range b.idle {
			c.hangUp()
		}
		b.idle = nil
	}
}

// throttle returns for how long the broker reads nothing from the connection that it gave the answer on.
func throttle(answer protocol.Message) time.Duration {
	var ms int32
	switch a := answer.(type) {
	case *produce.Response:
		ms = a.ThrottleTimeMs
	case *addpartitionstotxn.Response:
		ms = a.ThrottleTimeMs
	case *endtxn.Response:
		ms = a.ThrottleTimeMs
	case *initproducerid.Response:
		ms = a.ThrottleTimeMs
	case *findcoordinator.Response:
		ms = a.ThrottleTimeMs
	case *metadata.Response:
		ms = a.ThrottleTimeMs
	}
	return time.Duration(ms) * time.Millisecond
}
