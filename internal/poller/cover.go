package poller

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// fewAttempts bounds the attempts of a request whose interval failed before.
const fewAttempts = 2

// cover reads one interval and returns when all of it is durable. like says what
// its deliveries have in common; like.note enters the interval in the ledger, in
// the step that holds its last event (invariant 3). The next page is asked for
// when the one before is durable: no more pages are in memory than intervals are
// being read.
func (p *Poller) cover(ctx context.Context, like delivery, i audit.Interval) error {
	like.read.Interval = i
	to := p.bulk
	if like.read.Purpose == audit.Tail || like.read.Purpose == audit.Preview {
		to = p.urgent
	}
	return p.src.Read(ctx, like.read, func(page audit.Page, last bool) error {
		d := like
		d.page, d.last, d.done = page, last, make(chan struct{})
		select {
		case to <- &d:
		case <-ctx.Done():
			page.Release()
			return context.Cause(ctx)
		}
		select {
		case <-d.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// coverInParts covers an interval that is more than one reading can take by its
// halves, the older one first. left are the milliseconds that are too much even
// so; all else is covered where err is nil.
func (p *Poller) coverInParts(ctx context.Context, like delivery, i audit.Interval) (left []audit.Interval, err error) {
	err = p.cover(ctx, like, i)
	switch {
	case !errors.Is(err, ErrTooMuch):
		return nil, err
	case i.Length() <= time.Millisecond:
		return []audit.Interval{i}, nil
	}
	p.log.Info("interval is read in parts", zap.String("stream", like.read.Stream), zap.Stringer("interval", i), zap.Error(err))
	older, newer := halves(i)
	if left, err = p.coverInParts(ctx, like, older); err != nil {
		return left, err
	}
	more, err := p.coverInParts(ctx, like, newer)
	return append(left, more...), err
}

// halves splits an interval of at least two milliseconds.
func halves(i audit.Interval) (older, newer audit.Interval) {
	half := i.From.Add(max(i.Length()/2, time.Millisecond).Truncate(time.Millisecond))
	return audit.Interval{From: i.From, To: half}, audit.Interval{From: half, To: i.To}
}

// longest returns the longest interval that is read as one piece.
func (p *Poller) longest(s audit.Stream) time.Duration {
	if s.MaxWindow > 0 {
		return min(p.cfg.BackfillChunk, s.MaxWindow)
	}
	return p.cfg.BackfillChunk
}
