package txn

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/retry"
)

// holdings are the partitions of one replica: those that its group has given it, and the leads that run. Owned by the
// goroutine of Election.Run; leads tell of their end by closing done.
type holdings struct {
	log      *zap.Logger
	lead     func(context.Context, int32) error
	patience time.Duration // for a lead that is to stop; afterwards others may start beside it

	generation, joined, gained int32           // see standing
	given                      map[int32]int32 // by partition: the generation since which it is this replica's
	leads                      map[int32]*leading
	rests                      map[int32]*rest
	told                       standing      // at the last join
	changed                    chan struct{} // holds a token when a lead has returned, or a rest is over
}

// leading is a partition's lead while it runs.
type leading struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	began   time.Time
	stopped time.Time // when it was told to stop; zero where it was not
	done    chan struct{}
	// What follows may be read when done is closed.
	err    error
	itself bool // it returned before its context ended
}

// rest is the pause of a partition whose lead returned by itself.
type rest struct {
	retry.Backoff
	until time.Time
}

func newHoldings(log *zap.Logger, patience time.Duration) *holdings {
	return &holdings{
		log: log, patience: patience, given: map[int32]int32{}, leads: map[int32]*leading{}, rests: map[int32]*rest{},
		changed: make(chan struct{}, 1),
	}
}

// standing returns what to say at a join, and remembers it: who said that he holds a partition must say so when he no
// longer does.
func (h *holdings) standing(name string) standing {
	s := standing{name: name, generation: h.generation, joined: h.joined, gained: h.gained}
	for p, since := range h.given {
		if !h.resting(p) {
			s.owned = append(s.owned, holding{partition: p, since: since})
		}
	}
	for p, l := range h.leads {
		if _, given := h.given[p]; !given && h.stops(l) {
			s.stopping = append(s.stopping, p)
		}
	}
	for p := range h.rests {
		if h.resting(p) {
			s.resting = append(s.resting, p)
		}
	}
	h.told = s
	return s
}

// take makes the partitions those that are given to this replica from a generation on. The leads of others are told to
// stop.
func (h *holdings) take(generation int32, partitions []int32) {
	before := h.given
	h.given = make(map[int32]int32, len(partitions))
	h.generation = generation
	if h.joined == 0 {
		h.joined = generation
	}
	for _, p := range partitions {
		since, had := before[p]
		if !had {
			since, h.gained = generation, generation
		}
		h.given[p] = since
	}
	h.stopOthers(errOwnershipLost)
}

// lose takes all partitions away: the group no longer knows this replica.
func (h *holdings) lose(cause error) {
	clear(h.given)
	h.generation, h.joined, h.gained = 0, 0, 0
	h.stopOthers(cause)
}

func (h *holdings) stopOthers(cause error) {
	for p, l := range h.leads {
		if _, given := h.given[p]; !given && l.stopped.IsZero() {
			l.stopped = time.Now()
			l.cancel(cause)
		}
	}
}

// tend takes note of leads that have returned and starts those that are missing, in ctx. It reports whether the group
// must know: a partition was given back, or is at rest after it was taken away, or may be led here again.
func (h *holdings) tend(ctx context.Context) (news bool) {
	for p, l := range h.leads {
		select {
		case <-l.done:
			delete(h.leads, p)
			l.cancel(nil)
			news = h.returned(p, l) || news
		default:
		}
	}
	for p := range h.given {
		if h.leads[p] == nil && !h.resting(p) && ctx.Err() == nil {
			h.start(ctx, p)
		}
	}
	return news || h.outdated()
}

// returned reports whether a lead returned by itself, so that its partition is given back.
func (h *holdings) returned(p int32, l *leading) bool {
	log := h.log.With(zap.Int32("partition", p), zap.Error(l.err))
	if !l.itself {
		if l.err != nil && !errors.Is(l.err, context.Canceled) {
			log.Info("leadership ended")
		}
		return false
	}
	r := h.rests[p]
	if r == nil {
		r = &rest{Backoff: retry.Backoff{First: firstBackoff, Most: lastBackoff}}
		h.rests[p] = r
	}
	if time.Since(l.began) > steadyLeadership {
		r.Reset()
	}
	pause := r.Next()
	r.until = time.Now().Add(pause)
	time.AfterFunc(pause, h.change)
	log.Warn("stepped down", zap.Duration("pause", pause))
	return true
}

// outdated reports whether what was told at the last join keeps others from partitions that they might lead.
func (h *holdings) outdated() bool {
	free := func(p int32) bool {
		l := h.leads[p]
		_, given := h.given[p]
		return !given && (l == nil || !h.stops(l))
	}
	return slices.ContainsFunc(h.told.owned, func(o holding) bool { return free(o.partition) }) ||
		slices.ContainsFunc(h.told.stopping, free) ||
		slices.ContainsFunc(h.told.resting, func(p int32) bool { return free(p) && !h.resting(p) })
}

// stops reports whether others are to wait for a lead that may have been told to stop.
func (h *holdings) stops(l *leading) bool {
	return l.stopped.IsZero() || time.Since(l.stopped) < h.patience
}

func (h *holdings) resting(p int32) bool {
	r := h.rests[p]
	return r != nil && time.Now().Before(r.until)
}

func (h *holdings) start(ctx context.Context, p int32) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &leading{ctx: ctx, cancel: cancel, began: time.Now(), done: make(chan struct{})}
	h.leads[p] = l
	go func() { // ends when lead does, which Run waits for
		l.err = h.lead(ctx, p)
		l.itself = ctx.Err() == nil
		close(l.done)
		h.change()
	}()
}

// change wakes up the goroutine that tends.
func (h *holdings) change() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// led returns the partitions that are led and are not about to be lost, in order.
func (h *holdings) led() []int32 {
	all := slices.Collect(maps.Keys(h.leads))
	all = slices.DeleteFunc(all, func(p int32) bool { return h.leads[p].ctx.Err() != nil })
	slices.Sort(all)
	return all
}

// stop ends all leads and waits until they have returned.
func (h *holdings) stop(cause error) {
	clear(h.given)
	h.stopOthers(cause)
	for _, l := range h.leads {
		<-l.done
	}
}
