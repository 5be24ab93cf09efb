package poller

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = time.Minute
	// forgetEvery and forgetStep bound how long ids outlive their use, and how
	// much of a step their tombstones may be.
	forgetEvery = 15 * time.Second
	forgetStep  = 10_000
	// rememberFreely is how many ids are kept while there is something to
	// backfill, though no reading should meet them: an organisation that used an
	// id twice would be caught. It is some 20 MB.
	rememberFreely = 500_000
)

// cover reads one interval and returns when all of it is durable. like says what
// its deliveries have in common; like.finish enters the interval in the ledger,
// in the step that holds its last page (invariant 3). The next page is asked for
// when the one before is durable: no more pages are in memory than intervals are
// being read.
func (p *Poller) cover(ctx context.Context, like delivery) error {
	to := p.bulk
	if like.read.Purpose == audit.Tail {
		to = p.urgent
	}
	return p.src.Read(ctx, like.read, func(page audit.Page, last bool) error {
		d := like
		d.page, d.done = page, make(chan struct{})
		if !last {
			d.finish = nil
		}
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

// coverInParts covers an interval that is more than can be read in one piece by
// its halves, the earlier one first. Only the last part enters it in the ledger:
// all before it is durable by then.
func (p *Poller) coverInParts(ctx context.Context, like delivery) error {
	err := p.cover(ctx, like)
	i := like.read.Interval
	if !errors.Is(err, ErrTooMuch) || i.Length() <= time.Millisecond {
		return err
	}
	half := i.From.Add(max(i.Length()/2, time.Millisecond).Truncate(time.Millisecond))
	p.log.Info("an interval is read in parts", zap.String("stream", like.read.Stream), zap.Stringer("interval", i), zap.Error(err))
	first, second := like, like
	first.read.Interval.To, second.read.Interval.From = half, half
	first.finish = nil
	if err := p.coverInParts(ctx, first); err != nil {
		return err
	}
	return p.coverInParts(ctx, second)
}

// sweepLoop reads again, at every age, what was covered when it was younger.
func (p *Poller) sweepLoop(ctx context.Context, streams []audit.Stream) error {
	for {
		worked := false
		for _, s := range streams {
			for _, age := range p.cfg.SweepAges {
				err := p.persist(ctx, "sweep "+s.Name, func() error {
					did, err := p.sweepOnce(ctx, s, age)
					worked = worked || did
					return err
				})
				if err != nil {
					return err
				}
			}
		}
		if !worked && !sleep(ctx, min(p.cfg.PollInterval, time.Second)) {
			return nil
		}
	}
}

func (p *Poller) sweepOnce(ctx context.Context, s audit.Stream, age time.Duration) (worked bool, err error) {
	now := p.now()
	young := p.youngReadings(s.Name, age) // before the ledger: a reading that ends in between is in both
	l, _ := p.ledger(s.Name)
	piece, mark, due := sweep(l, age, now, retentionEdge(now, s.Retention),
		sweepEvery(age, p.cfg.PollInterval), p.longest(s), young)
	if !due {
		return false, nil
	}
	finish := func(l offsets.Ledger) offsets.Ledger {
		l = l.Clone()
		l.Sweeps[age] = mark
		return l
	}
	if piece.Empty() {
		return true, p.do(ctx, func(b *stepBuilder) { b.change(s.Name, finish) })
	}
	return true, p.coverInParts(ctx, delivery{
		read: audit.Read{Stream: s.Name, Interval: piece, Purpose: audit.Sweep}, lateness: age, finish: finish,
	})
}

// longest is the longest interval that is read as one piece.
func (p *Poller) longest(s audit.Stream) time.Duration {
	if s.MaxWindow > 0 {
		return min(p.cfg.BackfillChunk, s.MaxWindow)
	}
	return p.cfg.BackfillChunk
}

// forgetLoop tombstones ids that no reading can meet any more.
func (p *Poller) forgetLoop(ctx context.Context) error {
	for sleep(ctx, forgetEvery) {
		for more := true; more; {
			if err := p.do(ctx, func(b *stepBuilder) { more = b.forget(forgetStep) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// summaryEvery is how often the log says that all is well, or not.
const summaryEvery = time.Minute

// summaryLoop says each minute what was done.
func (p *Poller) summaryLoop(ctx context.Context) error {
	before := p.stats.Counts()
	for sleep(ctx, summaryEvery) {
		now, counts := p.now(), p.stats.Counts()
		for _, s := range p.openStreams() {
			l, _ := p.ledger(s.Name)
			p.log.Info("summary", zap.String("stream", s.Name), zap.Duration("lag", now.Sub(l.Covered.Last())),
				zap.Duration("wanted", l.Wanted.Length()), zap.Int("gaps", len(l.Gaps)),
				zap.Int("seen_again", counts.Streams[s.Name].Duplicates-before.Streams[s.Name].Duplicates),
				zap.Int("published", counts.Published-before.Published), zap.Int("ids", counts.IDs))
		}
		before = counts
	}
	return nil
}

// persist tries until it works, ctx ends (then it returns its cause) or the
// error is one that only another configuration mends.
func (p *Poller) persist(ctx context.Context, what string, try func() error) error {
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := try()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			p.stats.succeeded(what)
			return nil
		case errors.Is(err, ErrConfiguration):
			return err
		}
		if !sleep(ctx, p.setback(what, err, backoff)) {
			return context.Cause(ctx)
		}
	}
}

// setback notes that something failed, and is how long to wait before it is tried again.
func (p *Poller) setback(what string, err error, backoff time.Duration) time.Duration {
	p.stats.failed(what, err)
	wait := jitter(backoff)
	p.log.Warn("reading failed, trying again", zap.String("what", what), zap.Error(err), zap.Duration("in", wait))
	return wait
}

// jitter spreads a pause over its second half, so that replicas and chunks that
// failed together do not come back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
