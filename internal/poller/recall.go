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
	// Each calls f for the id and time (zero where unknown) of every published event.
	Each(ctx context.Context, f func(id string, at time.Time) error) error
}

// unremembered is the part of what a stream wants, and of what it is to read
// again, whose ids may have been published and forgotten: time that any stream
// (an older filter, say, or this one before another dialect took its place) has
// covered; time before the stream's own start, which an older ledger may have
// covered that was lost with the offsets topic; and all of it where there is no
// ledger at all. Ids are forgotten by time alone, whichever stream found them, so
// the ledger that forgot most counts for all. ledgers are those that were loaded,
// before they are fitted to new settings.
func unremembered(wanted, again audit.IntervalSet, stream string, ledgers map[string]offsets.Ledger) audit.IntervalSet {
	if len(ledgers) == 0 {
		return wanted
	}
	var forgotten time.Time
	for _, l := range ledgers {
		forgotten = latest(forgotten, l.Forgotten)
	}
	lost := again.Clip(audit.Interval{To: forgotten})
	for name, l := range ledgers {
		if name == stream {
			// What it wants of its own time it has not covered, nor forgotten.
			lost = lost.Union(wanted.Clip(audit.Interval{To: l.Start}))
			continue
		}
		for _, c := range l.Covered.Clip(audit.Interval{To: forgotten}) {
			lost = lost.Union(wanted.Clip(c))
		}
	}
	return lost
}

// again is the time that the stream may have covered and is yet to read again:
// what tail and sweeps reach back to, and events that a topic did not take.
// While other streams were read in its place they forgot by their own horizon.
func again(l offsets.Ledger, overlap time.Duration) audit.IntervalSet {
	set := audit.NewIntervalSet(audit.Interval{From: latest(l.Start, l.Forgotten, horizon(l, overlap)), To: frontier(l)})
	for _, g := range l.Gaps {
		if g.ID != "" {
			set = set.Add(g.Interval)
		}
	}
	return set
}

// recall reads the ids of these intervals back from what was published, and then
// makes a change of the ledgers after which they may be read again: that
// publishes nothing twice (invariant 4). Meanwhile nothing is forgotten.
func (p *Poller) recall(ctx context.Context, intervals audit.IntervalSet, change func(*stepBuilder)) error {
	p.recalling.Add(1)
	defer p.recalling.Add(-1)
	if len(intervals) > 0 {
		if err := p.readBack(ctx, intervals); err != nil {
			return err
		}
	}
	return p.do(ctx, change)
}

func (p *Poller) readBack(ctx context.Context, intervals audit.IntervalSet) error {
	started := time.Now()
	ids := make(map[string]time.Time)
	err := p.archive.Each(ctx, func(id string, at time.Time) error {
		// An event without a time may have been read in any interval.
		if at.IsZero() {
			ids[id] = forever
		} else if intervals.Contains(at) {
			ids[id] = at
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return nil
	}
	p.log.Info("ids were read back from the raw topic", zap.Int("ids", len(ids)), zap.Duration("took", time.Since(started)))
	// They are written to the offsets topic too: the next term must know them.
	return p.remember(ctx, ids)
}

func (p *Poller) remember(ctx context.Context, ids map[string]time.Time) error {
	list := make([]Remembered, 0, len(ids))
	for id, at := range ids {
		list = append(list, Remembered{id, at})
	}
	for chunk := range slices.Chunk(list, forgetStep) {
		err := p.do(ctx, func(b *stepBuilder) { b.step.Remember = append(b.step.Remember, chunk...) })
		if err != nil {
			return err
		}
	}
	return nil
}
