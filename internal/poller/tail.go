package poller

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// busyWeight is how much more often than an idle stream one is polled that has
// something new each time, where the rate limit is too low for all: the turns go
// by how long a stream has waited, times its weight.
const busyWeight = 4

// tail polls the newest events of a stream.
type tail struct {
	p        *Poller
	s        *streamLanes
	lane     *lane
	what     health.Subject
	activity float64 // 0: nothing new lately; 1: something new each time
	backoff  retry.Backoff
	peek     *lane // see peekAhead
}

func newTail(p *Poller, s *streamLanes) *tail {
	t := &tail{p: p, s: s, what: health.Subject{Kind: health.API, Op: "tail", Of: s.Name}, backoff: newBackoff()}
	t.lane = &lane{class: newest, single: true, next: t.next}
	t.peek = &lane{class: newest, single: true, next: t.peekAhead}
	return t
}

// next is the poll of now, or what has to be put right before it.
func (t *tail) next(now time.Time) (*job, time.Time) {
	p := t.p
	t.lane.weight = 1 + (busyWeight-1)*t.activity
	clock := p.now()
	if l, _ := p.ledger(t.s.Name); l.Covered.Last().After(clock.Add(clockTolerance)) {
		return &job{run: func(ctx context.Context) error { return p.stepBack(ctx, t.s.Name, clock) }, ended: t.ended(now, nil, nil, nil)}, time.Time{}
	}
	var parts, behind audit.IntervalSet
	r := p.claim(t.s.Name, false, func(v view) audit.Interval {
		read := newestInterval(v.Ledger, clock, retentionEdge(p.latestNow(), t.s.Retention), p.cfg.PollOverlap, reachPolls*t.every())
		parts, behind = readable(v.Ledger, read), unknown(v.Ledger, read.From)
		return read
	})
	if r == nil || len(parts) == 0 {
		p.unclaim(r)
		return nil, now.Add(p.cfg.PollInterval)
	}
	var events int
	var left []audit.Interval
	return &job{
		reading: r,
		run: func(ctx context.Context) (err error) {
			like := delivery{
				read:     audit.Read{Stream: t.s.Name, Interval: r.interval, Purpose: t.purpose()},
				lateness: p.cfg.PollOverlap, fresh: &events, note: coverNewest, compare: len(t.s.Previews) > 0,
			}
			for _, part := range parts {
				skipped, err := p.coverNewestFirst(ctx, like, part, t.backoff.Failures() > 0)
				left = append(left, skipped...)
				if err != nil {
					return err
				}
			}
			return p.handOver(ctx, t.s.Name, left, func(l offsets.Ledger) offsets.Ledger { return l })
		},
		ended: t.ended(now, &events, &left, behind),
	}, time.Time{}
}

// ended takes note of a poll that began at started.
// What lies behind it was missed, and is read as soon as possible.
func (t *tail) ended(started time.Time, events *int, left *[]audit.Interval, behind audit.IntervalSet) func(error, time.Time) {
	return func(err error, now time.Time) {
		if err != nil {
			t.lane.due = now.Add(t.p.setback(t.what, err, &t.backoff))
			return
		}
		t.backoff.Reset()
		t.p.cfg.Health.Report(t.what, nil)
		t.s.backfill.lane.due = now // it may have left something behind
		if events == nil {
			return // the ledger was put right: poll at once
		}
		t.lane.due = started.Add(dithered(t.every()))
		t.activity /= 2
		if *events > 0 {
			t.activity += 0.5
		}
		t.p.stats.polled(t.s.Name, now)
		t.s.succeeded = now
		for _, i := range *left {
			t.s.backfill.add(i, time.Time{})
		}
		for _, i := range append(behind, *left...) {
			t.s.backfill.heal(i)
		}
	}
}

// reachPolls is how many times the pause between polls one of them reaches back for
// what was not polled in time: a poll that is a moment late leaves nothing behind,
// which would cost a reading of its own.
const reachPolls = 5

// every is the shortest time between polls. Where many streams share the limit and
// a preview shows most of what this one has, the poll makes sure of the rest.
func (t *tail) every() time.Duration {
	if t.p.crowded && len(t.s.Previews) > 0 {
		return max(t.p.cfg.PollInterval, t.p.cfg.PollOverlap)
	}
	return t.p.cfg.PollInterval
}

// dithered is a pause a little longer, by chance. The API's clock is told in whole
// seconds: polls that all come at the same part of one would learn no more of it, and
// read up to a second less than there is.
func dithered(pause time.Duration) time.Duration { return pause + rand.N(pause/32+1) }

// purpose says how urgent a poll is among those that share the limit.
func (t *tail) purpose() audit.Purpose {
	switch {
	case !t.p.crowded:
		return audit.Tail
	case len(t.s.Previews) > 0:
		return audit.Sweep
	}
	return audit.Preview
}

// coverNewest enters a part of the newest time in the ledger. What lies behind it
// and is not known becomes wanted in the same step: the backfill reads it, and new
// events do not wait behind it.
func coverNewest(l offsets.Ledger, part audit.Interval) offsets.Ledger {
	l = l.Cover(part)
	for _, behind := range unknown(l, part.From) {
		l = l.Want(behind)
	}
	return l
}

// probes is how often the newest half of what could not be read is tried.
const probes = 3

// coverNewestFirst covers i, in parts where it is too much for one reading. What
// cannot be read is left, if only something newer can be: a tail must get on.
// probing says that the reading has failed before.
func (p *Poller) coverNewestFirst(ctx context.Context, like delivery, i audit.Interval, probing bool) (left []audit.Interval, err error) {
	if probing {
		like.read.Attempts = fewAttempts
	}
	for probe := 0; ; probe++ {
		var too []audit.Interval
		too, err = p.coverInParts(ctx, like, i)
		if err == nil || !probing || probe == probes || !errors.Is(err, ErrUnreadable) || i.Length() <= time.Millisecond {
			return append(left, too...), err
		}
		older, newer := halves(i)
		left, i = append(left, older), newer
	}
}

// handOver makes wanted what a tail or a sweep could not read: the backfill tries
// it in ever smaller parts, and nothing waits for it. also changes the ledger in
// the same step; without parts nothing is changed.
func (p *Poller) handOver(ctx context.Context, stream string, parts []audit.Interval, also func(offsets.Ledger) offsets.Ledger) error {
	if len(parts) == 0 {
		return nil
	}
	p.log.Warn("a part of the interval cannot be read; it is read in smaller parts, apart from the rest",
		zap.String("stream", stream), zap.Stringer("interval", parts[0]), zap.Int("parts", len(parts)))
	return p.do(ctx, func(b *stepBuilder) {
		b.change(stream, func(l offsets.Ledger) offsets.Ledger {
			for _, i := range parts {
				l = l.Doubt(i)
			}
			return also(l)
		})
	})
}

// peekAhead reads what only one of two clocks calls past, where the API's and
// ours contradict each other: it covers nothing, so that nothing is lost whichever
// is wrong, and new events are published at once if the other one is.
func (t *tail) peekAhead(now time.Time) (*job, time.Time) {
	p := t.p
	low, high := p.now(), p.latestNow()
	if !high.After(low) {
		return nil, now.Add(p.cfg.PollInterval)
	}
	r := p.claim(t.s.Name, false, func(v view) audit.Interval {
		return audit.Interval{From: latest(high.Add(-p.cfg.PollOverlap), low, v.Start, v.Forgotten), To: high}
	})
	if r == nil {
		return nil, now.Add(p.cfg.PollInterval)
	}
	return &job{
		reading: r,
		run: func(ctx context.Context) error {
			_, err := p.coverInParts(ctx, delivery{read: audit.Read{Stream: t.s.Name, Interval: r.interval, Purpose: audit.Tail}}, r.interval)
			return err
		},
		ended: func(err error, now time.Time) {
			t.peek.due = now.Add(p.cfg.PollInterval)
			if err != nil {
				p.log.Debug("what is past by one clock only cannot be read", zap.String("stream", t.s.Name), zap.Error(err))
			}
		},
	}, time.Time{}
}

// stepBack rewinds the stream's ledger where it reaches into the future. It may be
// the clock of today that is wrong, and this time published and forgotten: then
// its ids are remembered again first.
func (p *Poller) stepBack(ctx context.Context, stream string, now time.Time) error {
	l, _ := p.ledger(stream)
	p.log.Warn("ledger is ahead of the clock; rewinding",
		zap.String("stream", stream), zap.Time("now", now), zap.Time("covered_to", l.Covered.Last()))
	return p.recall(ctx, func(b *stepBuilder) audit.IntervalSet {
		l := b.ledger(stream)
		_, again := rewind(l, now, p.cfg.PollOverlap)
		return again.Clip(audit.Interval{To: l.Forgotten})
	}, func(b *stepBuilder) {
		p.mu.Lock()
		delete(p.forgetting, stream) // its ids are remembered again
		p.mu.Unlock()
		b.change(stream, func(l offsets.Ledger) offsets.Ledger {
			l, _ = rewind(l, now, p.cfg.PollOverlap)
			return l
		})
	})
}
