package poller

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// Archive is what was published, to be read back.
type Archive interface {
	// Each calls f for every published event: its id, its time (zero where
	// unknown), and whether it may have been read in an interval that does not hold
	// its time.
	// An event that was erased counts as published, at a time that is unknown.
	Each(ctx context.Context, f func(id string, at time.Time, astray bool) error) error
	// Find returns the records of the events with these ids, as far as they are there.
	Find(ctx context.Context, ids []string) (map[string]Records, error)
}

// unremembered is the part of what a stream wants, and of what it is to read
// again, whose ids may have been published and forgotten: time of which any stream
// (an older filter, say, or this one before another dialect took its place) has
// read something; time before the stream's own start, which an older ledger may have
// covered that was lost with the offsets topic; and all of it where there is no
// ledger at all. Ids are forgotten by time alone, whichever stream found them, so
// the ledger that forgot most counts for all: but not for what this stream knew of
// while the others forgot, for that was kept. ledgers are those that were loaded,
// before they are fitted to new settings.
func unremembered(wanted, again audit.IntervalSet, stream string, ledgers map[string]offsets.Ledger) audit.IntervalSet {
	if len(ledgers) == 0 {
		return wanted
	}
	own := ledgers[stream]
	var forgotten, unheeded time.Time // by anybody; by others since this stream was heeded last
	for name, l := range ledgers {
		forgotten = latest(forgotten, l.Forgotten)
		if name != stream && l.Forgotten.After(own.Kept) {
			unheeded = latest(unheeded, l.Forgotten)
		}
	}
	lost := again.Clip(audit.Interval{To: unheeded})
	ordered := wanted.Subtract(own.Wanted) // what the ledger did not know of
	for name, l := range ledgers {
		if name == stream {
			// What it wants of its own time it has not covered, nor forgotten.
			lost = lost.Union(wanted.Clip(audit.Interval{To: l.Start}))
			continue
		}
		for _, i := range touched(l).Clip(audit.Interval{To: forgotten}) {
			lost = lost.Union(ordered.Clip(i)).Union(wanted.Clip(i.Intersect(audit.Interval{To: unheeded})))
		}
	}
	return lost
}

// touched is the time of which the ledger's stream has published something, or may have.
func touched(l offsets.Ledger) audit.IntervalSet {
	set := l.Covered.Union(l.Begun)
	for _, g := range l.Gaps {
		if g.Kind != offsets.Expired {
			set = set.Add(g.Interval)
		}
	}
	return set
}

// inherited is the part of what a stream wants whose ids must be remembered until it
// is covered, though the stream itself has not begun to read it: time that the
// ledgers of streams which are not read any more know about, and what unremembered
// says of time before the stream's own start, and of no ledgers at all. Streams that
// are read side by side show different events: one that cannot be read must not
// keep the ids of the others.
func inherited(wanted audit.IntervalSet, stream string, ledgers map[string]offsets.Ledger, open []audit.Stream) (set audit.IntervalSet) {
	if len(ledgers) == 0 {
		return wanted
	}
	for name, l := range ledgers {
		of := touched(l)
		switch {
		case name == stream:
			of = audit.NewIntervalSet(audit.Interval{To: l.Start})
		case slices.ContainsFunc(open, func(s audit.Stream) bool { return s.Name == name }):
			continue
		}
		for _, i := range of {
			set = set.Union(wanted.Clip(i))
		}
	}
	return set
}

// readAgain is the time that the stream may have covered and is yet to read again:
// what tail and sweeps reach back to, what was begun, and gaps that are tried
// again. While other streams were read in its place they forgot by their own
// horizon.
func readAgain(l offsets.Ledger, overlap time.Duration) audit.IntervalSet {
	set := audit.NewIntervalSet(audit.Interval{From: latest(l.Start, l.Forgotten, horizon(l, overlap)), To: l.Covered.Last()})
	set = set.Union(l.Begun)
	for _, g := range l.Gaps {
		if g.Kind != offsets.Expired {
			set = set.Add(g.Interval)
		}
	}
	return set
}

// recall reads the ids of the intervals that lost returns back from what was
// published, and then makes a change of the ledgers after which they may be read
// again: that publishes nothing twice (invariant 4). Nothing is forgotten from
// before lost is called until the change is durable. lost and change are called
// in the committer; lost goes by the ledgers as the step leaves them, for the same
// step may forget. What change makes wanted is begun (keep), or its ids would be
// forgotten again before it is read.
func (p *Poller) recall(ctx context.Context, lost func(*stepBuilder) audit.IntervalSet, change func(*stepBuilder)) error {
	var intervals audit.IntervalSet
	err := p.do(ctx, func(b *stepBuilder) {
		p.recalling++
		intervals = lost(b)
	})
	if err != nil {
		return err
	}
	if len(intervals) > 0 {
		err = p.readBack(ctx, intervals)
	}
	done := p.do(ctx, func(b *stepBuilder) {
		p.recalling--
		if err == nil {
			change(b)
		}
	})
	if err == nil {
		err = done
	}
	return err
}

// keep enters in the ledger that events of set may be published.
func keep(l offsets.Ledger, set audit.IntervalSet) offsets.Ledger {
	for _, i := range set {
		l = l.Begin(i)
	}
	return l
}

// readBack remembers the ids of what was published in the intervals, in memory
// and in the offsets topic: the next term must know them too. They go to the
// committer as they come, so that nothing holds them a second time.
func (p *Poller) readBack(ctx context.Context, intervals audit.IntervalSet) error {
	started, ids := time.Now(), 0
	batch := make([]Remembered, 0, recallStep)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		ids += len(batch)
		err := p.do(ctx, func(b *stepBuilder) { b.remember(batch) })
		batch = batch[:0] // the step is durable: nobody else holds it
		return err
	}
	err := p.archive.Each(ctx, func(id string, at time.Time, astray bool) error {
		switch {
		case at.IsZero() || astray: // it may have been read in any interval
			at = forever
		case !intervals.Contains(at):
			return nil
		}
		if batch = append(batch, Remembered{id, at}); len(batch) < recallStep {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	p.log.Info("ids were read back from the raw topic", zap.Int("ids", ids), zap.Duration("took", time.Since(started)))
	return nil
}

// recallStep is how many ids that were read back a step holds.
const recallStep = 5000
