package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// backfill reads what a stream wants, oldest first, several chunks at a time,
// each paged by its own cursor chain. A chunk that fails becomes a piece that is
// tried again by itself and then in halves, down to the millisecond that cannot
// be read: that one is a gap with its reason, and everything around it is covered.
type backfill struct {
	p    *Poller
	s    *streamLanes
	lane *lane
	size time.Duration // the longest chunk that is tried; it adapts
	// pieces are what failed, or was handed over by a tail or a sweep. No two of
	// them overlap.
	pieces []*piece
	// Where nothing of the stream can be read, pieces are tried one at a time, with
	// the pauses of this backoff between them.
	backoff retry.Backoff
	failed  time.Time // when a piece last did
	apieced bool      // the job before was one of a piece: it is a chunk's turn
	// healing is what was not read in time: it waits for no hours, as history does.
	healing audit.IntervalSet
	pace    pace
	// ahead is how far behind the API's retention a reading begins, for its turn comes
	// late: what is gone by then would have all of it refused, again and again.
	ahead time.Duration
}

// piece is wanted time that is read apart from the rest.
type piece struct {
	what     health.Subject
	interval audit.Interval
	reading  bool // at the moment
	due      time.Time
	failed   time.Time // for the first time; zero for not yet
	backoff  retry.Backoff
}

const (
	// triesInOne is how often a piece is tried before its halves are.
	triesInOne = 2
	// mostPieces is how many failed pieces of a stream there may be before its newest
	// chunks are read and not its oldest, which may be more than the API holds; at
	// twice as many no further one is begun: it is the stream that fails.
	mostPieces = 16
	// mostParts is how many pieces there may be before none is split any more.
	mostParts = 512
	// idleLook bounds how long the backfill waits without a look at its ledger.
	idleLook = 30 * time.Second
)

func newBackfill(p *Poller, s *streamLanes) *backfill {
	b := &backfill{p: p, s: s, size: p.longest(s.Stream), backoff: newBackoff()}
	b.lane = &lane{class: bulk, next: b.next}
	return b
}

func (b *backfill) what(i audit.Interval) health.Subject {
	return health.Subject{Kind: health.API, Op: "backfill", Of: b.s.Name + " " + i.String()}
}

// add has an interval read apart, as far as it is not already. It must be wanted.
// failed says since when it fails; zero for not known.
func (b *backfill) add(i audit.Interval, failed time.Time) {
	for _, part := range audit.NewIntervalSet(i).Subtract(b.apart()) {
		b.pieces = append(b.pieces, &piece{what: b.what(part), interval: part, failed: failed, backoff: newBackoff()})
	}
	b.lane.due = time.Time{}
}

// heal has an interval read whatever the hours, apart from the rest where it failed.
func (b *backfill) heal(i audit.Interval) {
	b.healing = b.healing.Add(i)
	b.lane.due = time.Time{}
}

// allowed returns what of the wanted time may be read now.
func (b *backfill) allowed(wanted audit.IntervalSet, now time.Time) (some audit.IntervalSet) {
	if !b.p.cfg.Hours.Opens(now).After(now) {
		return wanted
	}
	for _, i := range b.healing {
		some = some.Union(wanted.Clip(i))
	}
	return some
}

// apart returns what is read in pieces.
func (b *backfill) apart() audit.IntervalSet {
	all := make(audit.IntervalSet, len(b.pieces))
	for i, x := range b.pieces {
		all[i] = x.interval
	}
	slices.SortFunc(all, func(a, b audit.Interval) int { return a.From.Compare(b.From) })
	joined := all[:0]
	for _, i := range all {
		if last := len(joined) - 1; last >= 0 && joined[last].To.Equal(i.From) {
			joined[last].To = i.To
			continue
		}
		joined = append(joined, i)
	}
	return joined
}

// next is a piece that is due or a wanted chunk that nobody reads yet, by turns:
// pieces whose readings hang must not take all the time.
func (b *backfill) next(now time.Time) (*job, time.Time) {
	edge := retentionEdge(b.p.latestNow(), b.s.Retention)
	b.dropUnwanted()
	b.progress(now)
	if b.apieced {
		if j := b.nextChunk(now, edge); j != nil {
			return j, time.Time{}
		}
	}
	j, due := b.nextPiece(now, edge)
	if j == nil && !b.apieced {
		j = b.nextChunk(now, edge)
	}
	return j, due
}

// nextPiece is a piece that is due, or nil and when one will be.
func (b *backfill) nextPiece(now, edge time.Time) (*job, time.Time) {
	p := b.p
	due := now.Add(idleLook)
	for _, x := range b.pieces {
		if x.reading {
			continue
		}
		if x.due.After(now) {
			due = earliest(due, x.due)
			continue
		}
		if len(b.allowed(audit.NewIntervalSet(x.interval), now)) == 0 {
			continue
		}
		r := p.claim(b.s.Name, false, func(v view) audit.Interval {
			if len(v.first().Clip(x.interval)) > 0 {
				return audit.Interval{}
			}
			if held := (audit.Interval{From: latest(x.interval.From, edge.Add(b.ahead)), To: x.interval.To}); !held.Empty() {
				return held
			}
			return audit.Interval{From: latest(x.interval.From, edge), To: x.interval.To}
		})
		if r == nil { // a tail reads it at the moment
			x.due = now.Add(firstBackoff)
			due = earliest(due, x.due)
			continue
		}
		b.apieced = true
		return b.read(r, x), time.Time{}
	}
	return nil, due
}

// nextChunk is the oldest wanted chunk that nobody reads yet: it leaves the API's
// retention first. Where many fail it is the newest one. nil for none.
func (b *backfill) nextChunk(now, edge time.Time) *job {
	if len(b.pieces) >= 2*mostPieces {
		return nil
	}
	r := b.p.claim(b.s.Name, false, func(v view) audit.Interval {
		for _, from := range []time.Time{edge.Add(b.ahead), edge} {
			wanted := b.allowed(v.Wanted.Clip(audit.Interval{From: from, To: v.Wanted.Last()}), now)
			if c := chunk(wanted, v.first().Union(b.apart()), b.size, len(b.pieces) >= mostPieces); !c.Empty() {
				return c
			}
		}
		return audit.Interval{}
	})
	if r == nil {
		return nil
	}
	b.apieced = false
	x := &piece{what: b.what(r.interval), interval: r.interval, backoff: newBackoff()}
	b.pieces = append(b.pieces, x)
	return b.read(r, x)
}

func (b *backfill) read(r *reading, x *piece) *job {
	x.reading = true
	like := delivery{
		read: audit.Read{Stream: b.s.Name, Purpose: audit.Backfill},
		note: func(l offsets.Ledger, part audit.Interval) offsets.Ledger { return l.Cover(part) },
	}
	if !x.failed.IsZero() {
		like.read.Attempts = fewAttempts
	}
	smallest := r.interval.Length() <= time.Millisecond
	hopeless := smallest && b.alone(x)
	gap := false
	return &job{
		reading: r,
		run: func(ctx context.Context) error {
			err := b.p.cover(ctx, like, r.interval)
			if smallest && errors.Is(err, ErrTooMuch) || hopeless && errors.Is(err, ErrUnreadable) {
				gap = true
				return b.giveUp(ctx, r.interval, err)
			}
			return err
		},
		ended: func(err error, now time.Time) {
			x.reading = false
			if gap && err == nil {
				b.remove(x)
				b.s.gaps.lane.due = now
				return
			}
			if gone := retentionEdge(b.p.latestNow(), b.s.Retention).Sub(r.interval.From); err == nil {
				b.ahead -= (b.ahead / 4).Truncate(time.Millisecond)
			} else if b.s.Retention > 0 && gone > 0 {
				b.ahead = min(b.ahead+2*gone, b.s.Retention/2)
			}
			b.ended(x, err, now)
		},
	}
}

// alone reports whether a piece has failed while the stream could be read
// otherwise: then it is the piece that cannot be read, and not the stream.
func (b *backfill) alone(x *piece) bool {
	return b.s.succeeded.After(x.failed) && x.backoff.Failures() >= triesInOne
}

// remove takes a piece out that is read, or is no piece any more.
func (b *backfill) remove(x *piece) {
	b.p.cfg.Health.Report(x.what, nil)
	b.pieces = slices.DeleteFunc(b.pieces, func(y *piece) bool { return y == x })
}

// ended decides what becomes of a piece.
func (b *backfill) ended(x *piece, err error, now time.Time) {
	splits := x.interval.Length() > time.Millisecond && len(b.pieces) < mostParts
	switch {
	case err == nil:
		b.s.succeeded = now
		b.pace.done += x.interval.Length()
		b.backoff.Reset()
		b.remove(x)
		b.size = min(2*b.size, b.p.longest(b.s.Stream))
		return
	case errors.Is(err, ErrTooMuch) && splits:
		b.s.succeeded = now // the stream answers
		b.size = min(b.size, max(x.interval.Length()/2, time.Millisecond).Truncate(time.Millisecond))
		b.split(x, err, x.failed)
		return
	}
	if x.failed.IsZero() {
		x.failed = now
	}
	x.due = now.Add(b.p.setback(x.what, err, &x.backoff))
	if b.s.succeeded.After(b.failed) {
		b.backoff.Reset()
	} else {
		b.lane.due = now.Add(b.backoff.Next())
	}
	b.failed = now
	if errors.Is(err, ErrUnreadable) && splits && b.alone(x) {
		b.split(x, err, now)
	}
}

// split has the halves of a piece read apart.
func (b *backfill) split(x *piece, err error, failed time.Time) {
	b.p.log.Info("chunk is split", zap.String("stream", b.s.Name), zap.Stringer("interval", x.interval), zap.Error(err))
	b.remove(x) // its halves report for themselves
	older, newer := halves(x.interval)
	b.add(older, failed)
	b.add(newer, failed)
}

// giveUp makes a gap of a millisecond that cannot be read. It is tried again now and then.
func (b *backfill) giveUp(ctx context.Context, i audit.Interval, err error) error {
	b.p.log.Warn("interval cannot be read; recorded as a gap", zap.String("stream", b.s.Name), zap.Stringer("interval", i), zap.Error(err))
	return b.p.do(ctx, func(step *stepBuilder) {
		step.change(b.s.Name, func(l offsets.Ledger) offsets.Ledger {
			for _, wanted := range l.Wanted.Clip(i) {
				l = l.AddGap(offsets.Gap{Interval: wanted, Kind: offsets.Unreadable, Reason: unreadableReason(err)})
			}
			return l
		})
	})
}

func unreadableReason(err error) string {
	return fmt.Sprintf("cannot be read, tried again now and then: %.300s", err)
}

// dropUnwanted cuts the pieces down to what is still wanted: it may have left the
// API's retention meanwhile.
func (b *backfill) dropUnwanted() {
	l, _ := b.p.ledger(b.s.Name)
	var kept []*piece
	for _, x := range b.pieces {
		parts := l.Wanted.Clip(x.interval)
		if x.reading {
			kept = append(kept, x)
			continue
		}
		if len(parts) == 1 {
			x.interval = parts[0]
			kept = append(kept, x)
			continue
		}
		b.p.cfg.Health.Report(x.what, nil)
		for _, part := range parts {
			y := *x
			y.what, y.interval = b.what(part), part
			kept = append(kept, &y)
		}
	}
	b.pieces = kept
}
