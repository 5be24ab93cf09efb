package poller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

const (
	// tailsAtOnce is how many streams are polled at the same time: enough to use
	// up a rate limit whatever the API's latency, and few enough that under a
	// limit the order is decided here and not in the pacer's queue.
	tailsAtOnce = 10
	// busyWeight is how much more often than an idle stream one is polled that has
	// something new each time, where the rate limit is too low for all.
	busyWeight = 4
)

// tails decides which stream is polled next. As long as the rate limit suffices
// each is polled once per interval. Where it does not, the turns go by how long a
// stream has waited, times its weight: periods are in proportion, busy streams
// come more often and no stream is left out.
type tails struct {
	interval time.Duration

	mu      sync.Mutex
	waiting []*tail // in no order
}

// tail is one stream's turn. It belongs to whoever took it until it is given back.
type tail struct {
	stream   audit.Stream
	started  time.Time // when it was polled last; zero before the first time
	due      time.Time
	activity float64 // 0: nothing new lately; 1: something new each time
	backoff  time.Duration
}

func newTails(streams []audit.Stream, interval time.Duration) *tails {
	q := &tails{interval: interval}
	for _, s := range streams {
		q.waiting = append(q.waiting, &tail{stream: s})
	}
	return q
}

// take hands out the turn that is due and has the most weight. Where none is due
// it is nil, and wait is how long to wait for the next.
func (q *tails) take(now time.Time) (t *tail, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait, best := q.interval, -1
	for i, t := range q.waiting {
		if early := t.due.Sub(now); early > 0 {
			wait = min(wait, early)
		} else if best < 0 || t.weight(now) > q.waiting[best].weight(now) {
			best = i
		}
	}
	if best < 0 {
		return nil, wait
	}
	t = q.waiting[best]
	q.waiting = slices.Delete(q.waiting, best, best+1)
	t.started, t.due = now, now.Add(q.interval)
	return t, 0
}

func (t *tail) weight(now time.Time) float64 {
	return float64(now.Sub(t.started)) * (1 + (busyWeight-1)*t.activity)
}

// polled gives back a turn that found so many new events.
func (q *tails) polled(t *tail, events int) {
	t.activity /= 2
	if events > 0 {
		t.activity += 0.5
	}
	t.backoff = 0
	q.giveBack(t)
}

// failed gives back a turn that failed, to be taken again after wait.
func (q *tails) failed(t *tail, now time.Time, wait time.Duration) {
	t.due = now.Add(wait)
	q.giveBack(t)
}

func (q *tails) giveBack(t *tail) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, t)
}

// tailLoop polls the newest events of one stream after the other until ctx ends.
// Several of it share q.
func (p *Poller) tailLoop(ctx context.Context, q *tails) error {
	for ctx.Err() == nil {
		t, wait := q.take(time.Now())
		if t == nil {
			sleep(ctx, wait)
			continue
		}
		what := "tail " + t.stream.Name
		events, err := p.poll(ctx, t.stream)
		switch {
		case err == nil:
			p.stats.succeeded(what)
			q.polled(t, events)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrConfiguration):
			return err
		default:
			t.backoff = min(max(2*t.backoff, firstBackoff), maxBackoff)
			q.failed(t, time.Now(), p.setback(what, err, t.backoff))
		}
	}
	return nil
}

// poll reads the newest events of a stream once, and counts those that are new.
func (p *Poller) poll(ctx context.Context, s audit.Stream) (events int, err error) {
	now := p.now()
	if err := p.stepBack(ctx, s.Name, now); err != nil {
		return 0, err
	}
	l, _ := p.ledger(s.Name)
	read, behind := newest(l, now, retentionEdge(now, s.Retention), p.cfg.PollOverlap)
	if read.Empty() {
		return 0, nil
	}
	err = p.coverInParts(ctx, delivery{
		read: audit.Read{Stream: s.Name, Interval: read, Purpose: audit.Tail}, lateness: p.cfg.PollOverlap, fresh: &events,
		finish: func(l offsets.Ledger) offsets.Ledger { return l.Cover(read).Want(behind) },
	})
	if err != nil {
		return 0, err // events may still be the committer's
	}
	p.stats.polled(s.Name, time.Now())
	return events, nil
}

// stepBack rewinds the stream's ledger where it reaches into the future of the
// API's clock. It may be the clock of today that is wrong, and this time
// published and forgotten: then its ids are remembered again first.
func (p *Poller) stepBack(ctx context.Context, stream string, now time.Time) error {
	l, _ := p.ledger(stream)
	_, again, ahead := rewind(l, now, p.cfg.PollOverlap)
	if !ahead {
		return nil
	}
	p.log.Warn("the ledger reaches into the future of the API's clock; what is not past is read again",
		zap.String("stream", stream), zap.Time("api_now", now), zap.Time("covered_to", l.Covered.Last()))
	return p.recall(ctx, audit.NewIntervalSet(again), func(b *stepBuilder) {
		b.change(stream, func(l offsets.Ledger) offsets.Ledger {
			l, _, _ = rewind(l, now, p.cfg.PollOverlap)
			return l
		})
	})
}
