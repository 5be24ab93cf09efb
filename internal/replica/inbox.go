package replica

import (
	"sync"

	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/txn"
)

// inbox has the requests that arrive for one organisation while it is led. What its memory
// was loaded with is not among them.
type inbox struct {
	org     string
	arrived chan struct{} // has room for one: something is in the inbox
	broken  chan error    // has room for one: the memory is of another topic

	mu       sync.Mutex     // protects what follows
	from     int64          // where the memory ends
	facts    *offsets.Facts // of the memory; nil while that is loaded
	requests map[string]received
}

type received struct {
	offsets.Request
	offset int64
}

func newInbox(org string) *inbox {
	return &inbox{org: org, arrived: make(chan struct{}, 1), broken: make(chan error, 1), requests: make(map[string]received)}
}

// begin tells where the memory ends, and gives the facts in it, which the inbox keeps up to date.
func (in *inbox) begin(from int64, facts *offsets.Facts) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.from, in.facts = from, facts
	for id, r := range in.requests {
		if r.offset < from {
			delete(in.requests, id)
		}
	}
}

// fact takes in a record that may hold one.
func (in *inbox) fact(rec *txn.Record) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.facts == nil || rec.Offset < in.from {
		return nil
	}
	return in.facts.Apply(in.org, rec.Key, rec.Value)
}

// put takes in a request; nil is a tombstone: somebody has taken it over.
func (in *inbox) put(id string, r *offsets.Request, offset int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case offset < in.from:
	case r == nil:
		delete(in.requests, id)
	default:
		in.requests[id] = received{*r, offset}
	}
}

// announce lets the reader of the inbox know that there is something in it.
func (in *inbox) announce() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.requests) == 0 {
		return
	}
	select {
	case in.arrived <- struct{}{}:
	default:
	}
}

// take empties the inbox.
func (in *inbox) take() map[string]received {
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := in.requests
	in.requests = make(map[string]received)
	return taken
}

func (in *inbox) end(err error) {
	select {
	case in.broken <- err:
	default:
	}
}
