package poller

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/retry"
)

// All work of a term is jobs of one schedule. A lane is a sequence of jobs that
// are alike: the polls of a stream, its sweeps at one age, the chunks of its
// backfill. Lanes differ in their class, in how they find the next job, and in
// what their jobs write into the ledger; the schedule treats them alike. A lane
// whose job fails waits for a backoff of its own, and no other lane waits with it.

// class says which lanes compete for the same places.
type class int

const (
	priority class = iota // previews that are read as often as possible
	newest                // the tail: new events come before everything else
	previews              // the other previews
	again                 // sweeps
	bulk                  // backfill, events that were refused, repairs
	chores                // what reads no events; it never waits for a place
	classes               // how many there are
)

const (
	// tailsAtOnce is how many streams are polled at the same time: enough to use
	// up a rate limit whatever the API's latency, and few enough that under a
	// limit the order is decided here and not in the pacer's queue.
	tailsAtOnce = 10
	// sweepsAtOnce is how many sweeps are under way at the same time.
	sweepsAtOnce = 4
	// holdsPlace is how long a poll, a preview or a sweep keeps its place from others. One
	// that takes longer (the API hangs) must not hold up the streams that work.
	holdsPlace = 10 * time.Second
	// longestIdle bounds how long the schedule waits without a look.
	longestIdle = time.Minute
)

// The bounds of the pause after a failure.
const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = time.Minute
)

func newBackoff() retry.Backoff { return retry.Backoff{First: firstBackoff, Most: maxBackoff} }

// lane belongs to the schedule's goroutine.
type lane struct {
	class class
	// due is when next is worth a call.
	due time.Time
	// served is when a job was taken last; of the lanes of a class that are due, the
	// one that has waited longest times its weight comes first.
	served time.Time
	weight float64 // 1 where it is 0
	// single says that one job is under way at most.
	single  bool
	running int
	// next returns the job to do now, or nil and when to ask again.
	next func(now time.Time) (*job, time.Time)
}

// job is one piece of work.
type job struct {
	// reading is the interval that it reads; nil where it reads none. The schedule
	// gives it back when the job has ended.
	reading *reading
	run     func(ctx context.Context) error
	// ended is called in the schedule's goroutine. The lane's due is already set to
	// now; ended may move it.
	ended func(err error, now time.Time)

	lane    *lane
	started time.Time
	err     error
}

// schedule hands out jobs until its context ends or a job fails for good.
type schedule struct {
	p        *Poller
	places   [classes]int
	lanes    []*lane
	streams  []*streamLanes
	requests map[string]bool // by id: those that have a lane
	active   map[*job]struct{}
	ended    chan *job
	// poke wakes the schedule: something was handed in.
	poke chan struct{}
}

func newSchedule(p *Poller) *schedule {
	return &schedule{
		p: p, places: [classes]int{priority: previewsAtOnce, newest: tailsAtOnce, previews: previewsAtOnce,
			again: sweepsAtOnce, bulk: max(1, p.cfg.Chunks), chores: 1 << 20},
		requests: make(map[string]bool), active: make(map[*job]struct{}), ended: make(chan *job), poke: make(chan struct{}, 1),
	}
}

// run dispatches until ctx ends, or a job's error is one that only another
// configuration mends, which it returns. Jobs that are under way end with ctx;
// run returns when they have.
func (s *schedule) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer s.drain()
	defer stop()
	idle := time.NewTimer(0)
	defer idle.Stop()
	for {
		idle.Reset(s.dispatch(ctx, time.Now()))
		select {
		case j := <-s.ended:
			if err := s.finish(ctx, j); err != nil {
				return err
			}
		case <-s.poke:
			s.accept()
		case <-idle.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *schedule) drain() {
	for len(s.active) > 0 {
		j := <-s.ended
		delete(s.active, j)
		s.p.unclaim(j.reading)
	}
}

// dispatch starts every job that is due and has a place, and returns how long
// there is nothing to do unless something ends or changes.
func (s *schedule) dispatch(ctx context.Context, now time.Time) time.Duration {
	taken, freed := s.taken(now)
	wake := now.Add(longestIdle)
	for {
		l := s.urgent(now, &taken)
		if l == nil {
			break
		}
		j, due := l.next(now)
		if j == nil {
			if l.due = due; !due.After(now) {
				l.due = now.Add(time.Millisecond) // it must not be asked for ever
			}
			continue
		}
		l.served, l.running, l.due = now, l.running+1, now
		taken[l.class]++
		j.lane, j.started = l, now
		s.active[j] = struct{}{}
		go func() {
			j.err = s.p.guarded(func() error { return j.run(ctx) })
			s.ended <- j // run, or drain, takes it
		}()
	}
	for _, l := range s.lanes {
		switch {
		case l.single && l.running > 0:
		case !l.due.After(now): // it waits for a place
			if at := freed[l.class]; !at.IsZero() {
				wake = earliest(wake, at)
			}
		default:
			wake = earliest(wake, l.due)
		}
	}
	return max(wake.Sub(now), 0)
}

// taken counts the places that are taken, and returns when the next one is
// given up because its job takes long; zero for never.
func (s *schedule) taken(now time.Time) (taken [classes]int, freed [classes]time.Time) {
	for j := range s.active {
		c := j.lane.class
		if c == bulk || c == chores {
			taken[c]++
			continue
		}
		at := j.started.Add(holdsPlace)
		if !at.After(now) {
			continue
		}
		taken[c]++
		if freed[c].IsZero() || at.Before(freed[c]) {
			freed[c] = at
		}
	}
	return taken, freed
}

// urgent returns the lane that is due, has a place, and has waited longest for
// its weight; nil where there is none.
func (s *schedule) urgent(now time.Time, taken *[classes]int) (best *lane) {
	for _, l := range s.lanes {
		if l.due.After(now) || l.single && l.running > 0 || taken[l.class] >= s.places[l.class] {
			continue
		}
		if best == nil || l.class < best.class || l.class == best.class && l.waited(now) > best.waited(now) {
			best = l
		}
	}
	return best
}

// waited is how long the lane has waited, times its weight. A lane with jobs
// under way comes behind those that have none.
func (l *lane) waited(now time.Time) float64 {
	w := float64(now.Sub(l.served))
	if l.weight > 0 {
		w *= l.weight
	}
	return w / float64(1+l.running)
}

// finish lets the lane know how its job ended.
func (s *schedule) finish(ctx context.Context, j *job) error {
	delete(s.active, j)
	s.p.unclaim(j.reading)
	j.lane.running--
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(j.err, ErrConfiguration) {
		return j.err
	}
	now := time.Now()
	j.lane.due = now
	j.ended(j.err, now)
	return nil
}

// remove takes a lane out whose work is done.
func (s *schedule) remove(l *lane) {
	for i := range s.lanes {
		if s.lanes[i] == l {
			s.lanes = append(s.lanes[:i], s.lanes[i+1:]...)
			return
		}
	}
}

// chore makes a lane of work that reads no events: every period, and after a
// failure with backoff.
func (s *schedule) chore(what health.Subject, every time.Duration, run func(context.Context) error) {
	b := newBackoff()
	l := &lane{class: chores, single: true, due: time.Now().Add(every)}
	l.next = func(time.Time) (*job, time.Time) {
		return &job{run: run, ended: func(err error, now time.Time) {
			l.due = now.Add(every)
			if err != nil {
				l.due = now.Add(s.p.setback(what, err, &b))
				return
			}
			b.Reset()
			s.p.cfg.Health.Report(what, nil)
		}}, time.Time{}
	}
	s.lanes = append(s.lanes, l)
}

// setback reports a failure and returns how long to wait before the next try.
func (p *Poller) setback(what health.Subject, err error, b *retry.Backoff) time.Duration {
	p.cfg.Health.Report(what, err)
	pause := b.Next()
	p.log.Warn("operation failed, retrying", zap.Stringer("operation", what), zap.Error(err), zap.Duration("in", pause))
	return pause
}

// reading is an interval of a stream that is being read. As long as it is, no id
// of its time is forgotten (invariant 4).
type reading struct {
	stream   string
	interval audit.Interval
	began    time.Time // on the clock that plans go by
	sweep    bool      // it covers nothing that is not covered already: a sweep, a preview
}

// claim plans a reading and registers it, in one step: nothing is forgotten in
// between. plan gets the stream's ledger, whose Forgotten also counts what is
// being forgotten at this moment, and what of the stream is being read; an empty
// interval claims nothing.
func (p *Poller) claim(stream string, sweep bool, plan func(l view) audit.Interval) *reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, _ := p.newestLedger(stream)
	v := view{Ledger: l, readings: p.readings, stream: stream}
	v.Forgotten = latest(v.Forgotten, p.forgetting[stream])
	i := plan(v)
	if i.Empty() {
		return nil
	}
	r := &reading{stream, i, p.now(), sweep}
	p.readings[r] = struct{}{}
	return r
}

// unclaim gives a reading back; nil is none.
func (p *Poller) unclaim(r *reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.readings, r)
}

// Reading returns what of a stream is being read at the moment, for whatever purpose.
func (p *Poller) Reading(stream string) audit.IntervalSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return view{readings: p.readings, stream: stream}.busy(func(*reading) bool { return true })
}
