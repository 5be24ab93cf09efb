package poller

import (
	"context"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
)

// streamLanes are the lanes of one stream. They belong to the schedule.
type streamLanes struct {
	audit.Stream
	tail     *tail
	backfill *backfill
	gaps     *gaps
	// succeeded is when a reading of the stream last did: what fails before and
	// after it fails for a reason of its own.
	succeeded time.Time
}

const (
	retentionEvery = 5 * time.Second
	mergeEvery     = 30 * time.Second
)

// addStream adds the lanes of a stream whose ledger is there. missed is the time of
// which what is wanted waits for no hours.
func (s *schedule) addStream(stream audit.Stream, missed audit.Interval) {
	lanes := &streamLanes{Stream: stream}
	lanes.backfill = newBackfill(s.p, lanes)
	if !missed.Empty() {
		lanes.backfill.heal(missed)
	}
	lanes.tail = newTail(s.p, lanes)
	lanes.gaps = newGaps(s.p, lanes)
	l, _ := s.p.ledger(stream.Name)
	lanes.backfill.warn(s.p.now(), l.Wanted)
	g := lanes.gaps
	s.streams = append(s.streams, lanes)
	s.lanes = append(s.lanes, lanes.tail.lane, lanes.tail.peek, lanes.backfill.lane, g.lane)
	for _, of := range stream.Previews {
		s.lanes = append(s.lanes, newPreview(s.p, lanes, of).lane)
	}
	for _, age := range s.p.cfg.SweepAges {
		s.lanes = append(s.lanes, newSweeper(s.p, lanes, age).lane)
	}
	s.chore(health.Subject{Kind: health.Kafka, Op: "merge gaps", Of: stream.Name}, mergeEvery, g.merge)
	s.chore(health.Subject{Kind: health.Kafka, Op: "retention", Of: stream.Name}, retentionEvery, lanes.retention(s.p))
}

// retention enters in the ledger what has left the API's retention, and wants
// again what the API holds after all: a shorter retention may have been a mistake
// of a moment.
func (s *streamLanes) retention(p *Poller) func(context.Context) error {
	return func(ctx context.Context) error {
		edge := retentionEdge(p.now(), s.Retention)
		l, _ := p.ledger(s.Name)
		expired, held := tooOld(l, edge), heldAgain(l, edge)
		if len(expired) == 0 && len(held) == 0 {
			return nil
		}
		for _, i := range expired {
			p.log.Warn("interval expired from API retention; recorded as a gap", zap.String("stream", s.Name), zap.Stringer("interval", i))
		}
		for _, i := range held {
			p.log.Info("the API holds an expired interval again; it is read", zap.String("stream", s.Name), zap.Stringer("interval", i))
		}
		return p.note(ctx, func(step *stepBuilder) {
			step.change(s.Name, func(l offsets.Ledger) offsets.Ledger {
				for _, i := range held {
					l = l.Want(i)
				}
				return expire(l, edge, s.Retention)
			})
		})
	}
}
