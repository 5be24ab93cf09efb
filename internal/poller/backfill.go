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

// backfill reads what is wanted, several chunks at a time, each paged by its
// own cursor chain. A chunk that fails is put aside for a while, so that one
// hour that the API cannot serve does not hold up the others. Events that a
// topic did not take are tried again now and then.
type backfill struct {
	p       *Poller
	streams []audit.Stream

	mu    sync.Mutex
	turn  int                      // the stream that is asked first, so that all take turns
	piece map[string]time.Duration // by stream: the longest chunk that is tried; it adapts
	aside []aside
	retry map[string]time.Time // by id of an event that a topic did not take: its next try
}

// job is a chunk to read.
type job struct {
	stream  audit.Stream
	reading *reading
	again   bool // for an event that a topic did not take
	tries   int
}

// aside is a chunk that could not be read, and when it is tried again.
type aside struct {
	stream   audit.Stream
	interval audit.Interval
	tries    int
	at       time.Time
}

const (
	idlePause = 500 * time.Millisecond // between looks for something to backfill
	gapRetry  = time.Minute            // between tries of an event that a topic did not take
)

func newBackfill(p *Poller, streams []audit.Stream) *backfill {
	b := &backfill{p: p, streams: streams, piece: make(map[string]time.Duration), retry: make(map[string]time.Time)}
	for _, s := range streams {
		b.piece[s.Name] = p.longest(s)
		l, _ := p.ledger(s.Name)
		for _, g := range l.Gaps {
			b.retry[g.ID] = time.Now() // whoever restarts the connector may have mended the topic
		}
	}
	return b
}

// start starts as many workers as chunks may be in flight.
func (b *backfill) start(run func(func(context.Context) error)) {
	for range max(1, b.p.cfg.Chunks) {
		run(b.work)
	}
}

func (b *backfill) work(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := b.expire(ctx); err != nil {
			return err
		}
		j, ok := b.next()
		if !ok {
			sleep(ctx, idlePause)
			continue
		}
		if err := b.do(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// expire enters in the ledger what left the API's retention before it was read.
func (b *backfill) expire(ctx context.Context) error {
	for _, s := range b.streams {
		edge := retentionEdge(b.p.now(), s.Retention)
		l, _ := b.p.ledger(s.Name)
		if _, lost := expire(l, edge, s.Retention); len(lost) == 0 {
			continue
		}
		err := b.p.do(ctx, func(step *stepBuilder) {
			step.change(s.Name, func(l offsets.Ledger) offsets.Ledger {
				l, lost := expire(l, edge, s.Retention)
				for _, i := range lost {
					b.p.log.Warn("this time left the API's retention before it was read: a gap",
						zap.String("stream", s.Name), zap.Stringer("interval", i))
				}
				return l
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// next claims the next job: a chunk that was put aside long enough, else an
// event that a topic did not take, else the oldest wanted chunk of the stream
// whose turn it is.
func (b *backfill) next() (job, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.dropUnwanted()
	for i, a := range b.aside {
		if !a.at.After(now) {
			b.aside = slices.Delete(b.aside, i, i+1)
			return job{stream: a.stream, reading: b.p.claim(a.stream.Name, a.interval), tries: a.tries}, true
		}
	}
	for i := range b.streams {
		s := b.streams[(b.turn+i)%len(b.streams)]
		l, _ := b.p.ledger(s.Name)
		if g, ok := b.refused(s, l, now); ok {
			return job{stream: s, reading: b.p.claim(s.Name, g.Interval), again: true}, true
		}
		if c, ok := chunk(l, b.taken(s.Name), b.piece[s.Name]); ok {
			b.turn = (b.turn + i + 1) % len(b.streams)
			return job{stream: s, reading: b.p.claim(s.Name, c)}, true
		}
	}
	return job{}, false
}

// dropUnwanted cuts what was put aside down to what is still wanted: it may have
// left the API's retention meanwhile.
func (b *backfill) dropUnwanted() {
	b.aside = slices.DeleteFunc(b.aside, func(a aside) bool {
		l, _ := b.p.ledger(a.stream.Name)
		if len(l.Wanted.Clip(a.interval)) > 0 {
			return false
		}
		b.p.stats.succeeded("backfill " + a.stream.Name)
		return true
	})
	for i, a := range b.aside {
		l, _ := b.p.ledger(a.stream.Name)
		b.aside[i].interval = l.Wanted.Clip(a.interval)[0]
	}
}

// refused is an event of the ledger that a topic did not take and whose next try is due.
func (b *backfill) refused(s audit.Stream, l offsets.Ledger, now time.Time) (offsets.Gap, bool) {
	edge := retentionEdge(b.p.now(), s.Retention)
	for _, g := range l.Gaps {
		if g.ID == "" || g.From.Before(edge) {
			continue
		}
		at, known := b.retry[g.ID]
		if !known {
			b.retry[g.ID] = now.Add(gapRetry) // it was tried just now
			continue
		}
		if !at.After(now) {
			b.retry[g.ID] = now.Add(gapRetry)
			return g, true
		}
	}
	return offsets.Gap{}, false
}

// taken is what of a stream is being read or was put aside.
func (b *backfill) taken(stream string) audit.IntervalSet {
	t := b.p.Reading(stream)
	for _, a := range b.aside {
		if a.stream.Name == stream {
			t = t.Add(a.interval)
		}
	}
	return t
}

// do reads a chunk and decides what becomes of it.
func (b *backfill) do(ctx context.Context, j job) error {
	defer b.p.unclaim(j.reading)
	stream, interval := j.stream.Name, j.reading.interval
	err := b.p.cover(ctx, delivery{
		read: audit.Read{Stream: stream, Interval: interval, Purpose: audit.Backfill}, again: j.again,
		finish: func(l offsets.Ledger) offsets.Ledger { return l.Cover(interval) },
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		b.p.stats.succeeded("backfill " + stream)
		b.piece[stream] = min(2*b.piece[stream], b.p.longest(j.stream))
		return nil
	case errors.Is(err, ErrTooMuch) && interval.Length() > time.Millisecond:
		b.piece[stream] = max(interval.Length()/2, time.Millisecond).Truncate(time.Millisecond)
		b.p.log.Info("a chunk is split", zap.String("stream", stream), zap.Stringer("interval", interval),
			zap.Duration("into", b.piece[stream]), zap.Error(err))
		return nil
	}
	b.p.stats.failed("backfill "+stream, err)
	wait := jitter(min(firstBackoff<<min(j.tries, 10), maxBackoff))
	b.p.log.Warn("a chunk could not be read, it is put aside", zap.String("stream", stream),
		zap.Stringer("interval", interval), zap.Error(err), zap.Duration("for", wait))
	if !j.again {
		b.aside = append(b.aside, aside{j.stream, interval, j.tries + 1, time.Now().Add(wait)})
	}
	return nil
}
