package sink

import (
	"sync"

	"genesys-audit-connector/internal/poller"
)

// A step holds no more than this where nothing slows the producer down: it bounds memory and
// the time that a new event waits for a transaction full of old ones.
const (
	stepEvents = 4000
	stepBytes  = 2 << 20 // of the events' JSON
)

// cost is what steps of late came to on the wire, the newest counting most. It is safe for
// concurrent use.
type cost struct {
	mu                sync.Mutex
	events, raw, sent float64
}

// add notes that a step was written, in so many bytes.
func (c *cost) add(step *poller.Step, sent uint64) {
	if len(step.Events) == 0 {
		return
	}
	raw := 0
	for i := range step.Events {
		raw += len(step.Events[i].Event.Raw)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = c.events/2 + float64(len(step.Events))
	c.raw = c.raw/2 + float64(raw)
	c.sent = c.sent/2 + float64(sent)
}

// within returns how many events, and bytes of their JSON, come to a number of bytes on the wire.
func (c *cost) within(budget int) (events, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent == 0 || c.raw == 0 { // nothing is known yet: as if nothing could be compressed
		return max(1, budget>>10), max(1, budget)
	}
	share := float64(budget) / c.sent
	return max(1, int(share*c.events)), max(1, int(share*c.raw))
}

// Capacity returns how much one step should hold at the moment: so many events and bytes of
// their JSON. It is less where a broker's quota throttles the producer, so that a step costs
// a second or two of the quota; but always one event.
func (s *Sink) Capacity() (events, bytes int) {
	budget := s.producer.Budget()
	if budget == 0 {
		return stepEvents, stepBytes
	}
	events, bytes = s.cost.within(budget)
	return min(events, stepEvents), min(bytes, stepBytes)
}

// Throttled reports whether a broker's quota slows the producer down.
func (s *Sink) Throttled() bool { return s.producer.Throttled() }
