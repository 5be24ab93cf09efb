package poller

import (
	"context"
	"slices"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

const (
	// forgetEvery and forgetStep bound how long ids outlive their use, and how
	// much of a step their tombstones may be.
	forgetEvery = 15 * time.Second
	forgetStep  = 10_000
	// rememberFreely is how many ids are kept while there is something to
	// backfill, though no reading should meet them: an organisation that used an
	// id twice would be caught. It is some 20 MB.
	rememberFreely = 500_000
)

// forgetAll tombstones the ids that no reading can meet any more.
func (p *Poller) forgetAll(ctx context.Context) error {
	for more := true; more; {
		if err := p.note(ctx, func(b *stepBuilder) { more = b.forget(forgetStep) }); err != nil {
			return err
		}
	}
	return nil
}

// needed returns the time whose ids a stream needs: what it will read again, and
// what it has begun to read (invariant 4). Of a stream that cannot be read at the
// moment this does not grow.
func needed(l offsets.Ledger, overlap time.Duration) audit.IntervalSet {
	set := l.Begun.Union(l.Covered.Clip(audit.Interval{From: horizon(l, overlap), To: l.Covered.Last()}))
	for _, g := range l.Gaps {
		if g.Kind != offsets.Expired {
			set = set.Add(g.Interval)
		}
	}
	return set
}

// forget tombstones ids that no reading can meet any more, at most n of them. It
// reports whether there may be more.
func (b *stepBuilder) forget(n int) (more bool) {
	p := b.p
	streams := p.openStreams()
	if p.recalling > 0 || len(streams) == 0 || len(b.step.Forget) > 0 { // those would be found again
		return false
	}
	if p.ids.Len() < p.rememberFree && slices.ContainsFunc(streams, func(s audit.Stream) bool { return len(b.ledger(s.Name).Wanted) > 0 }) {
		return false
	}
	var keep audit.IntervalSet
	var limit time.Time
	horizons := make(map[string]time.Time, len(streams))
	for _, s := range streams {
		l := b.ledger(s.Name)
		keep = keep.Union(needed(l, p.cfg.PollOverlap))
		horizons[s.Name] = latest(l.Forgotten, horizon(l, p.cfg.PollOverlap))
		limit = latest(limit, horizons[s.Name])
	}
	keep = keep.Union(p.beginForgetting(horizons))
	n = min(n, 3*b.events) // a step is small where the broker throttles
	p.ids.Before(limit, n, keep.Contains, func(id string) { b.step.Forget = append(b.step.Forget, id) })
	if len(b.step.Forget) == 0 {
		return false
	}
	for stream, h := range horizons {
		b.change(stream, func(l offsets.Ledger) offsets.Ledger {
			l = l.Clone()
			l.Forgotten, l.Kept = latest(l.Forgotten, h), latest(l.Kept, limit)
			return l
		})
	}
	for stream := range p.Ledgers() {
		if _, heeded := horizons[stream]; !heeded {
			b.unheed(stream)
		}
	}
	more = len(b.step.Forget) >= n
	b.urgent = b.urgent || more
	return more
}

// unheed enters in the ledger of a stream that nobody reads that ids were forgotten
// which it may need. That others' Forgotten is later than its Kept does not tell: by
// a slower clock they forget what is older than what was forgotten when it was read.
func (b *stepBuilder) unheed(stream string) {
	if b.ledger(stream).Kept.IsZero() {
		return
	}
	b.change(stream, func(l offsets.Ledger) offsets.Ledger {
		l.Kept = time.Time{}
		return l
	})
}

// beginForgetting keeps readings that are planned from now on out of what is being
// forgotten, and returns what is being read at this moment.
func (p *Poller) beginForgetting(horizons map[string]time.Time) (reading audit.IntervalSet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, h := range horizons {
		p.forgetting[stream] = latest(p.forgetting[stream], h)
	}
	for r := range p.readings {
		reading = reading.Add(r.interval)
	}
	return reading
}
