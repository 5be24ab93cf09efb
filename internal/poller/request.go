package poller

import (
	"context"
	"errors"
	"maps"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// Request takes over work that was handed in through the offsets topic, and
// returns at once. A backfill is taken over into the ledger, a repair or an erasure is done;
// then the request is tombstoned, in the step that makes it true. Each request
// has a lane of its own: none waits for another. What a term does not finish is
// handed to the next.
func (p *Poller) Request(id string, r offsets.Request) {
	p.log.Info("request", zap.String("request", id), zap.String("kind", r.Kind), zap.Time("from", r.From),
		zap.Time("to", r.To), zap.Int("ids", len(r.IDs)), zap.String("by", r.By))
	p.mu.Lock()
	p.requests = append(p.requests, handedIn{id, r})
	p.mu.Unlock()
	select {
	case p.schedule.poke <- struct{}{}:
	default: // it is awake already
	}
}

// handedIn is a request that the schedule has not seen yet.
type handedIn struct {
	id string
	offsets.Request
}

// accept makes lanes of the requests that were handed in.
func (s *schedule) accept() {
	s.p.mu.Lock()
	list := s.p.requests
	s.p.requests = nil
	s.p.mu.Unlock()
	for _, r := range list {
		s.addRequest(r.id, r.Request)
	}
}

func (s *schedule) addRequest(id string, r offsets.Request) {
	if s.requests[id] {
		return
	}
	s.requests[id] = true
	q := &request{p: s.p, s: s, id: id, Request: r, backoff: newBackoff(), what: health.Subject{Kind: health.Other, Op: r.Kind + " request", Of: id}}
	q.lane = &lane{class: chores, single: true}
	switch r.Kind {
	case offsets.KindRepair:
		q.lane.next = q.search
	case offsets.KindErase:
		q.lane.next = q.erase
	default:
		q.lane.next = q.want
	}
	s.lanes = append(s.lanes, q.lane)
}

// request is one request on its way. It belongs to the schedule.
type request struct {
	offsets.Request
	id      string
	p       *Poller
	s       *schedule
	lane    *lane
	what    health.Subject
	backoff retry.Backoff

	work   *repair
	pieces []repairPiece // that are left to read
	unread int           // pieces that were given up
}

// repairPiece is a part of a repair, for one stream.
type repairPiece struct {
	stream   audit.Stream
	interval audit.Interval
	due      time.Time
	backoff  retry.Backoff
}

// halves are tried where something in the piece cannot be read: it must keep no
// more back than its own millisecond.
func (x repairPiece) halves() []repairPiece {
	older, newer := halves(x.interval)
	return []repairPiece{{stream: x.stream, interval: older, backoff: newBackoff()}, {stream: x.stream, interval: newer, backoff: newBackoff()}}
}

// repair is the ids that verify found missing. It belongs to the committer.
type repair struct {
	missing map[string]bool // ids that are still to be published
	// forced are those of them that the memory takes for published: it knew them
	// before the raw topic was read to its end and they were not found there.
	forced map[string]bool
}

// repairTries is how often a piece of a repair is tried. What cannot be read by
// then is left to the next verify, so that the request ends.
const repairTries = 5

// then sets what the lane does after a job that succeeded; a failure is tried again.
func (q *request) then(next func(time.Time) (*job, time.Time)) func(error, time.Time) {
	return func(err error, now time.Time) {
		if err != nil {
			q.lane.due = now.Add(q.p.setback(q.what, err, &q.backoff))
			return
		}
		q.backoff.Reset()
		q.p.cfg.Health.Report(q.what, nil)
		q.lane.next = next
	}
}

// gone is the end: the lane has nothing to do any more.
func (q *request) gone(time.Time) (*job, time.Time) {
	q.s.remove(q.lane)
	delete(q.s.requests, q.id)
	for _, s := range q.s.streams {
		s.backfill.lane.due = time.Time{}
	}
	return nil, time.Now().Add(longestIdle)
}

// want makes the interval of a backfill wanted, as far as the tail has come.
func (q *request) want(time.Time) (*job, time.Time) {
	p := q.p
	iv := audit.Interval{From: q.From, To: earliest(q.To, p.now().Add(-p.cfg.PollOverlap))}
	begun := make(map[string]audit.IntervalSet) // by stream
	lost := func(b *stepBuilder) (lost audit.IntervalSet) {
		ledgers := p.Ledgers()
		maps.Copy(ledgers, b.step.Ledgers)
		for _, s := range p.openStreams() {
			wanted := audit.NewIntervalSet(iv).Subtract(ledgers[s.Name].Covered)
			lost = lost.Union(unremembered(wanted, nil, s.Name, ledgers))
			begun[s.Name] = inherited(wanted, s.Name, ledgers, p.openStreams())
		}
		return lost
	}
	return &job{ended: q.then(q.gone), run: func(ctx context.Context) error {
		return p.recall(ctx, lost, func(b *stepBuilder) {
			b.step.Done = append(b.step.Done, q.id)
			for _, s := range p.openStreams() {
				b.change(s.Name, func(l offsets.Ledger) offsets.Ledger { return keep(l.Want(iv), begun[s.Name]) })
			}
		})
	}}, time.Time{}
}

// search finds which events of a repair the raw topic lacks. This replica alone
// writes there, so what is missing stays so until it publishes it, in the repair or
// otherwise, which the committer notes from before the topic is read: it may be
// forgotten again before the repair comes to it.
func (q *request) search(time.Time) (*job, time.Time) {
	p := q.p
	work := &repair{missing: make(map[string]bool), forced: make(map[string]bool)}
	for _, id := range q.IDs {
		work.missing[id] = true
	}
	q.work, q.pieces = work, nil
	for _, s := range p.openStreams() {
		edge := retentionEdge(p.latestNow(), s.Retention)
		for from := latest(q.From, edge); from.Before(q.To); from = from.Add(p.longest(s)) {
			i := audit.Interval{From: from, To: earliest(q.To, from.Add(p.longest(s)))}
			q.pieces = append(q.pieces, repairPiece{stream: s, interval: i, backoff: newBackoff()})
		}
	}
	return &job{ended: q.then(q.piece), run: func(ctx context.Context) error {
		// What the memory knows now was committed before the raw topic is read.
		err := p.do(ctx, func(*stepBuilder) {
			p.repairs[q.id] = work
			for id := range work.missing {
				work.forced[id] = p.ids.Has(id)
			}
		})
		if err != nil {
			return err
		}
		found := make(map[string]bool)
		err = p.archive.Each(ctx, func(id string, _ time.Time, _ bool) error {
			if _, asked := work.forced[id]; asked { // nobody changes it any more
				found[id] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		return p.do(ctx, func(*stepBuilder) {
			for id := range found {
				delete(work.missing, id)
			}
		})
	}}, time.Time{}
}

// piece reads the next piece of a repair that is due.
func (q *request) piece(now time.Time) (*job, time.Time) {
	q.lane.class = bulk
	due := now.Add(longestIdle)
	for i, x := range q.pieces {
		if x.due.After(now) {
			due = earliest(due, x.due)
			continue
		}
		q.pieces = append(q.pieces[:i], q.pieces[i+1:]...)
		return q.read(x), time.Time{}
	}
	if len(q.pieces) > 0 {
		return nil, due
	}
	return &job{ended: q.then(q.gone), run: func(ctx context.Context) error {
		q.p.log.Info("repair is done", zap.String("request", q.id), zap.Int("asked", len(q.IDs)), zap.Int("pieces_not_read", q.unread))
		return q.p.do(ctx, func(b *stepBuilder) {
			delete(q.p.repairs, q.id)
			b.step.Done = append(b.step.Done, q.id)
		})
	}}, time.Time{}
}

func (q *request) read(x repairPiece) *job {
	like := delivery{read: audit.Read{Stream: x.stream.Name, Purpose: audit.Backfill}, again: true, repair: q.work}
	if x.backoff.Failures() > 0 {
		like.read.Attempts = fewAttempts
	}
	r := q.p.claim(x.stream.Name, true, func(view) audit.Interval { return x.interval })
	return &job{
		reading: r,
		run: func(ctx context.Context) error {
			// The gaps that are known to be unreadable have tries of their own.
			l, _ := q.p.ledger(x.stream.Name)
			for _, i := range readable(l, x.interval) {
				left, err := q.p.coverInParts(ctx, like, i)
				if err != nil || len(left) > 0 {
					return errors.Join(err, leftError(left))
				}
			}
			return nil
		},
		ended: func(err error, now time.Time) {
			if err == nil {
				q.p.cfg.Health.Report(q.what, nil)
				return
			}
			if errors.Is(err, ErrUnreadable) && x.backoff.Failures()+1 >= triesInOne && x.interval.Length() > time.Millisecond && len(q.pieces) < mostParts {
				q.p.cfg.Health.Report(q.what, nil)
				q.pieces = append(q.pieces, x.halves()...)
				return
			}
			if x.backoff.Failures()+1 >= repairTries {
				q.unread++
				q.p.cfg.Health.Report(q.what, nil)
				q.p.log.Error("a piece of the repair cannot be read, it is left out", zap.String("request", q.id),
					zap.String("stream", x.stream.Name), zap.Stringer("interval", x.interval), zap.Error(err))
				return
			}
			x.due = now.Add(q.p.setback(q.what, err, &x.backoff))
			q.pieces = append(q.pieces, x)
		},
	}
}

func leftError(left []audit.Interval) error {
	if len(left) == 0 {
		return nil
	}
	return errors.New(left[0].String() + " is too much for one reading")
}
