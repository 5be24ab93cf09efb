package genesys

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
)

// What is whole is proved, not believed. An API that answers with a part (a
// result set cut at a round number, a total that is cut with it, pages that stay
// empty behind the cut) looks like one that answers with all. So a count at which
// such a cut may have been made is doubted: the interval is counted once more, in
// parts. Where the parts add up to the count, and none of them reaches it, no cut
// was made there; where they hold more, the cut is shown.

// UnprovenError says that an API's answers contradict each other, or may have
// been cut: what came was handed on, but nobody can say that it is all. It is a
// poller.ErrTooMuch: shorter intervals have answers that prove themselves.
type UnprovenError struct {
	Op       string
	Interval audit.Interval
	Reason   string
}

func (e *UnprovenError) Error() string {
	return fmt.Sprintf("%s: %s is not proved whole: %s", e.Op, e.Interval, e.Reason)
}

// Unwrap makes it a poller.ErrTooMuch.
func (e *UnprovenError) Unwrap() error { return poller.ErrTooMuch }

const (
	// A count is round at a multiple of roundCount (a page of two dialects, half of
	// one of the third; 1,000, 5,000 and 10,000 are such) or at a power of two from
	// smallestPower on. One honest count of 500 is round, and costs some requests more.
	roundCount    = 500
	smallestPower = 1024
	// surelyCut is a round count that a single millisecond does not hold honestly.
	// It is the default of Elasticsearch's index.max_result_window (its reference,
	// "Index modules"), and the cap that was met most.
	surelyCut = 10_000

	// How many counts the memory holds, and for how long.
	keepCounts     = 256
	believeCutsFor = time.Hour
)

func roundNumber(n int) bool {
	return n >= roundCount && n%roundCount == 0 || n >= smallestPower && n&(n-1) == 0
}

// cuts remembers counts at which answers were shown to be cut, and those of
// whole answers: a count that comes again with other events does not grow with
// the interval, and is as doubtful as a round one.
type cuts struct {
	mu    sync.Mutex
	shown map[int]time.Time // when
	met   map[int]uint64    // which events it was, as a fingerprint
	order []int             // of met, oldest first
}

// note remembers that answers are cut at n.
func (c *cuts) note(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown == nil || len(c.shown) >= keepCounts {
		c.shown = make(map[int]time.Time)
	}
	c.shown[n] = time.Now()
}

// known reports whether answers were shown to be cut at n.
func (c *cuts) known(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, shown := c.shown[n]
	return shown && time.Since(at) < believeCutsFor
}

// again reports whether n was met with other events before, and remembers these.
// It does so for counts of several pages only.
func (c *cuts) again(n int, fingerprint uint64) bool {
	if n <= realtimePage {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before, met := c.met[n]
	if !met {
		if len(c.order) >= keepCounts {
			delete(c.met, c.order[0])
			c.order = slices.Delete(c.order, 0, 1)
		}
		if c.met == nil {
			c.met = make(map[int]uint64)
		}
		c.order = append(c.order, n)
	}
	c.met[n] = fingerprint
	return met && before != fingerprint
}

// tally counts the events of an interval.
type tally struct {
	rows int
	// middles are the times of one event of each page, from which a good place to
	// part the interval is known.
	middles []time.Time
}

func (t *tally) add(events []audit.Event) {
	t.rows += len(events)
	if len(events) == 0 {
		return
	}
	if at := events[len(events)/2].Time; !at.IsZero() {
		t.middles = append(t.middles, at)
	}
}

// middle returns the millisecond of i that about half of the events lie before.
func (t *tally) middle(i audit.Interval) audit.Interval {
	at := i.From.Add(i.Length() / 2)
	if len(t.middles) > 0 {
		slices.SortFunc(t.middles, time.Time.Compare)
		at = t.middles[len(t.middles)/2]
	}
	if at.Before(i.From) || !at.Before(i.To) { // an event that is shown outside its own time
		at = i.From.Add(i.Length() / 2)
	}
	at = at.Truncate(time.Millisecond)
	return audit.Interval{From: at, To: at.Add(time.Millisecond)}.Intersect(i)
}

// proveCount looks whether an answer of n events was cut, by counting the interval
// in three parts. moment has the last word where all events are of one millisecond.
func (c *Client) proveCount(ctx context.Context, r *reading, i audit.Interval, t *tally, n int,
	count func(context.Context, audit.Interval) (int, error), moment func() error) error {
	unproven := func(format string, args ...any) error {
		return &UnprovenError{Op: r.stream.dialect, Interval: i, Reason: fmt.Sprintf(format, args...)}
	}
	c.log.Debug("count is doubted, counting in parts", zap.String("stream", r.Stream), zap.Stringer("interval", i), zap.Int("events", n))
	inMoment := func() error {
		if n >= surelyCut || c.cuts.known(n) {
			return unproven("%d events in one millisecond, a count at which answers are cut", n)
		}
		return moment()
	}
	middle := t.middle(i)
	if middle == i {
		return inMoment()
	}
	sum, inMiddle := 0, 0
	for _, part := range []audit.Interval{{From: i.From, To: middle.From}, middle, {From: middle.To, To: i.To}} {
		if part.Empty() {
			continue
		}
		k, err := count(ctx, part)
		if err != nil {
			return err
		}
		if sum += k; part == middle {
			inMiddle = k
		}
	}
	switch {
	case sum > n:
		c.cuts.note(n)
		return unproven("it was answered with %d events, its parts hold %d", n, sum)
	case sum < n:
		return unproven("it was answered with %d events, its parts with %d", n, sum)
	case inMiddle == n:
		return inMoment()
	}
	return nil
}

// finish hands on the last page of a chain of cursors: as the last one when
// nothing speaks against the chain's being whole. Nobody tells how many events it
// should have, so it is doubted when it ends at a round number of them.
func (c *Client) finish(ctx context.Context, r *reading, i audit.Interval, page audit.Page, last bool, t *tally,
	count func(context.Context, audit.Interval) (int, error)) error {
	r.counted = t.rows
	if r.counts || !roundNumber(t.rows) && !c.cuts.known(t.rows) {
		return r.hand(page, last)
	}
	if err := r.hand(page, false); err != nil {
		return err
	}
	if err := c.proveCount(ctx, r, i, t, t.rows, count, func() error { return nil }); err != nil {
		return err
	}
	if last {
		return r.hand(audit.Page{}, true)
	}
	return nil
}

// counting returns a reading of a part of r that hands nothing on.
func (r *reading) counting(i audit.Interval) *reading {
	part := &reading{Read: r.Read, stream: r.stream, counts: true, withoutFiles: r.withoutFiles, take: func(p audit.Page, _ bool) error {
		p.Release()
		return nil
	}}
	part.Interval = i
	return part
}

// idSet is which events came, by id and time: an organisation may use an id twice,
// but a row that moved has its time too. It holds 64 bits of each: two that share
// them look like one that came twice, which makes doubt where there should be
// none, and never proof. At maxIDs it takes some 3 MB.
type idSet struct {
	ids         map[uint64]struct{}
	fingerprint uint64 // the same for the same events in any order
}

// maxIDs bounds the ids of one reading. Pages by number are slow so deep: what
// has more events is read in halves.
const maxIDs = 100_000

var idSeed = maphash.MakeSeed()

// add takes the events of a page and returns how many of them are new.
func (s *idSet) add(events []audit.Event) (fresh int) {
	if s.ids == nil {
		s.ids = make(map[uint64]struct{})
	}
	for i := range events {
		h := maphash.String(idSeed, events[i].ID)
		if at := events[i].Time; !at.IsZero() {
			const spread = 0x9e3779b97f4a7c15 // odd, its bits evenly spread
			h += uint64(at.UnixMilli()) * spread
		}
		if _, there := s.ids[h]; !there {
			s.ids[h] = struct{}{}
			s.fingerprint += h
			fresh++
		}
	}
	return fresh
}
