package poller

import (
	"context"
	"errors"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// sweeper reads again what was covered when it was younger than its age.
type sweeper struct {
	p       *Poller
	s       *streamLanes
	age     time.Duration
	lane    *lane
	what    health.Subject
	backoff retry.Backoff
	failed  time.Time // since when it fails; zero where it does not
}

func newSweeper(p *Poller, s *streamLanes, age time.Duration) *sweeper {
	w := &sweeper{p: p, s: s, age: age, backoff: newBackoff(),
		what: health.Subject{Kind: health.API, Op: "sweep " + Age(age), Of: s.Name}}
	w.lane = &lane{class: again, single: true, next: w.next}
	return w
}

func (w *sweeper) next(now time.Time) (*job, time.Time) {
	p := w.p
	clock := p.now()
	every := sweepEvery(w.age, p.cfg.PollInterval, p.crowded)
	var wait time.Duration
	var mark time.Time
	r := p.claim(w.s.Name, true, func(v view) (piece audit.Interval) {
		gone, edge := retentionEdge(clock, w.s.Retention), retentionEdge(p.latestNow(), w.s.Retention)
		if doubted := (audit.Interval{From: latest(v.Sweeps[w.age], gone), To: earliest(edge, clock.Add(-w.age))}); len(v.Covered.Clip(doubted)) > 0 {
			wait = firstGapTry // it is too old by one of two clocks: not to be read now, nor passed
			return audit.Interval{}
		}
		piece, mark, wait = sweep(v, w.age, clock, edge, every, p.longest(w.s.Stream))
		return piece
	})
	note := func(l offsets.Ledger, part audit.Interval) offsets.Ledger {
		l = l.Clone()
		l.Sweeps[w.age] = latest(l.Sweeps[w.age], part.To)
		return l
	}
	switch {
	case wait > 0:
		return nil, now.Add(wait)
	case r == nil: // nothing is covered up to mark
		pass := audit.Interval{To: mark}
		return &job{ended: w.ended, run: func(ctx context.Context) error {
			return p.note(ctx, func(b *stepBuilder) {
				b.change(w.s.Name, func(l offsets.Ledger) offsets.Ledger { return note(l, pass) })
			})
		}}, time.Time{}
	}
	like := delivery{read: audit.Read{Stream: w.s.Name, Interval: r.interval, Purpose: audit.Sweep}, lateness: w.age, note: note}
	if !w.failed.IsZero() {
		like.read.Attempts = fewAttempts
	}
	pass := !w.failed.IsZero() && w.s.succeeded.After(w.failed)
	var left []audit.Interval
	ended := func(err error, now time.Time) {
		w.ended(err, now)
		for i := range left {
			w.s.backfill.add(left[i], time.Time{})
			w.s.backfill.heal(left[i])
		}
	}
	return &job{reading: r, ended: ended, run: func(ctx context.Context) (err error) {
		left, err = p.coverInParts(ctx, like, r.interval)
		if errors.Is(err, ErrUnreadable) && pass {
			// The stream can be read, this piece of it cannot: it must not hold up the next.
			left, err = []audit.Interval{r.interval}, nil
		}
		if err != nil {
			return err
		}
		return p.handOver(ctx, w.s.Name, left, func(l offsets.Ledger) offsets.Ledger { return note(l, r.interval) })
	}}, time.Time{}
}

func (w *sweeper) ended(err error, now time.Time) {
	w.s.backfill.lane.due = now // something may have been handed over
	if err != nil {
		if w.failed.IsZero() {
			w.failed = now
		}
		w.lane.due = now.Add(w.p.setback(w.what, err, &w.backoff))
		return
	}
	w.failed = time.Time{}
	w.backoff.Reset()
	w.s.succeeded = now
	w.p.cfg.Health.Report(w.what, nil)
}
