package poller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// open opens the source, again and again until it opens, and begins or resumes
// the ledger of each stream. The first step writes the ledgers, so that a start
// that was promised once is kept.
func (p *Poller) open(ctx context.Context) error {
	var streams []audit.Stream
	err := p.untilDone(ctx, health.Subject{Kind: health.API, Op: "open the API"}, func() (err error) {
		streams, err = p.src.Open(ctx)
		return err
	})
	if err != nil {
		return err
	}
	loaded := p.continued(streams)
	fitted := make(map[string]offsets.Ledger, len(streams))
	var lost audit.IntervalSet
	for _, s := range streams {
		for _, name := range append([]string{s.Name, s.Continues}, s.Replaces...) {
			if err := p.damaged[name]; err != nil {
				// Starting anew would publish again whatever was forgotten.
				return fmt.Errorf("%w: the ledger of %s in the offsets topic cannot be read: %w; write back its last good value, or tombstone it and all other keys of this organisation to have the ids read back from the raw topic", ErrConfiguration, name, err)
			}
		}
		l, known := loaded[s.Name]
		now := p.now()
		l = p.fit(l, known, s, now, loaded)
		wanted := l.Wanted.Union(unknown(l, now))
		lost = lost.Union(unremembered(wanted, readAgain(l, p.cfg.PollOverlap), s.Name, loaded))
		fitted[s.Name] = keep(l, inherited(wanted, s.Name, loaded, streams))
		p.log.Info("stream", zap.String("stream", s.Name), zap.Bool("new", !known),
			zap.Time("start", l.Start), zap.Time("covered_to", l.Covered.Last()),
			zap.Duration("wanted", l.Wanted.Length()), zap.Int("gaps", len(l.Gaps)))
	}
	err = p.untilDone(ctx, health.Subject{Kind: health.Kafka, Op: "raw topic"}, func() error {
		return p.recall(ctx, func(*stepBuilder) audit.IntervalSet { return lost }, func(b *stepBuilder) {
			for name, l := range fitted {
				b.change(name, func(offsets.Ledger) offsets.Ledger { return l })
			}
		})
	})
	if err != nil {
		return err
	}
	p.crowded = len(streams) > crowd && slices.ContainsFunc(streams, func(s audit.Stream) bool { return len(s.Previews) > 0 })
	for _, s := range streams {
		p.schedule.addStream(s, missed(s, p.now(), loaded))
	}
	p.schedule.chore(health.Subject{Kind: health.Kafka, Op: "forget"}, forgetEvery, p.forgetAll)
	p.schedule.chore(health.Subject{Kind: health.Other, Op: "summary"}, summaryEvery, p.summarise())
	p.mu.Lock()
	p.streams = streams
	p.mu.Unlock()
	return nil
}

// continued is the ledgers that were loaded, with those of streams that have none and
// go on where another stopped: to them, that one's ledger is as if it were their own.
// That holds for each of several that share it: it says of all events what was read,
// and ids are forgotten by time, whoever reads them. What could not be read or published
// there is left to whichever of them has it.
func (p *Poller) continued(streams []audit.Stream) map[string]offsets.Ledger {
	loaded := p.Ledgers()
	own := maps.Clone(loaded)
	for _, s := range streams {
		before, there := own[s.Continues]
		if _, known := own[s.Name]; known || !there {
			continue
		}
		loaded[s.Name] = before.Retried()
		p.log.Info("stream goes on where another stopped", zap.String("stream", s.Name), zap.String("continues", s.Continues),
			zap.Time("covered_to", before.Covered.Last()))
	}
	return loaded
}

// notHistory is how old what a term before this one has missed may be, and is still
// told from history: that waits for its hours, and this does not.
const notHistory = 24 * time.Hour

// missed is the time of which what a stream wants is not history: it comes after what
// the stream, or one that it takes the place of, had covered. ledgers are those that
// were loaded.
func missed(s audit.Stream, now time.Time, ledgers map[string]offsets.Ledger) audit.Interval {
	var from time.Time
	if l, known := ledgers[s.Name]; known {
		from = l.Covered.First()
	} else {
		for _, name := range s.Replaces {
			if l := ledgers[name]; len(l.Covered) > 0 && (from.IsZero() || l.Covered.Last().Before(from)) {
				from = l.Covered.Last()
			}
		}
	}
	if from.IsZero() {
		return audit.Interval{}
	}
	return audit.Interval{From: latest(from, now.Add(-notHistory)), To: now}
}

// crowd is how many streams can be polled and swept as often as a single one, at
// the 300 requests a minute of a token and three requests a query.
const crowd = 8

// fit is the stream's ledger, fitted to the settings of today. A stream that takes
// the place of others begins where they did: they may not have seen all of it.
func (p *Poller) fit(l offsets.Ledger, known bool, s audit.Stream, now time.Time, loaded map[string]offsets.Ledger) offsets.Ledger {
	start := p.cfg.Start(now, s.Retention)
	if edge := retentionEdge(now, s.Retention); start.Before(edge) && edge.Sub(start) <= retentionMargin {
		start = edge.Add(firstReading(s.Retention)) // "all there is" is what can still be asked for, and no gap
	}
	if known {
		return takeOver(resume(l, start, now, p.cfg.SweepAges), s, loaded)
	}
	for _, name := range s.Replaces {
		if before, ok := loaded[name]; ok {
			p.log.Info("stream takes the place of another; what that has covered is read again, and published where it is new",
				zap.String("stream", s.Name), zap.String("replaces", name), zap.Time("start", before.Start))
			if start = earliest(start, before.Start); len(before.Wanted) > 0 {
				start = earliest(start, before.Wanted.First())
			}
		}
	}
	return begin(start, now, p.cfg.PollOverlap, p.cfg.SweepAges)
}

// takeOver is the ledger of a stream that was read before with what was ordered of
// time before its start while others were read in its place, and is left to read.
func takeOver(l offsets.Ledger, s audit.Stream, loaded map[string]offsets.Ledger) offsets.Ledger {
	for _, name := range s.Replaces {
		for _, part := range loaded[name].Wanted.Clip(audit.Interval{To: l.Start}) {
			beside := l
			beside.Start = part.From
			for _, i := range unknown(beside, part.To) {
				l = l.Want(i)
			}
		}
	}
	return l
}

// untilDone tries until it works, ctx ends (then it returns its cause) or the
// error is one that only another configuration mends.
func (p *Poller) untilDone(ctx context.Context, what health.Subject, try func() error) error {
	passes := func(err error) bool { return ctx.Err() == nil && !errors.Is(err, ErrConfiguration) }
	failed := func(err error, pause time.Duration) {
		p.cfg.Health.Report(what, err)
		p.log.Warn("operation failed, retrying", zap.Stringer("operation", what), zap.Error(err), zap.Duration("in", pause))
	}
	err := retry.Do(ctx, newBackoff(), passes, failed, try)
	switch {
	case err == nil:
		p.cfg.Health.Report(what, nil)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// summaryEvery is how often the log says that all is well, or not.
const summaryEvery = time.Minute

// summarise returns what says each minute what was done since the last time.
func (p *Poller) summarise() func(context.Context) error {
	before := p.stats.Counts()
	return func(context.Context) error {
		now, counts := p.now(), p.stats.Counts()
		for _, s := range p.openStreams() {
			l, _ := p.ledger(s.Name)
			n, old := counts.Streams[s.Name], before.Streams[s.Name]
			p.log.Info("summary", zap.String("stream", s.Name), zap.Duration("lag", now.Sub(l.Covered.Last())),
				zap.Duration("wanted", l.Wanted.Length()), zap.Int("gaps", len(l.Gaps)),
				zap.Int("published", n.Published-old.Published), zap.Int("seen_again", n.Duplicates-old.Duplicates),
				zap.Int("published_all_streams", counts.Published-before.Published), zap.Int("ids", counts.IDs))
		}
		before = counts
		return nil
	}
}
