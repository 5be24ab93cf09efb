package offsets

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Ledger is what one stream knows about time. It is a value: its methods leave
// the ledger that they are called on as it is. Whoever changes a field in place
// does so on a Clone.
//
// Covered, Wanted and Gaps are disjoint (but two gaps that tell of single events
// may share a millisecond), and no method lets an instant that is in one of them
// drop out of all three.
type Ledger struct {
	// Start is the oldest instant that was ever ordered.
	Start time.Time
	// Covered is what was read: every event that the API showed of it is published.
	Covered audit.IntervalSet
	// Wanted is what is left to read.
	Wanted audit.IntervalSet
	// Gaps is what cannot be read, or not be published, and why; by time.
	Gaps []Gap
	// Sweeps has a watermark for each sweep age: all that is covered before this
	// instant was read again when it was at least so old.
	Sweeps map[time.Duration]time.Time
	// Forgotten is the instant before which ids may have been tombstoned: a
	// covered time before it must not be read again, or events come out twice.
	Forgotten time.Time
}

// Gap is a time that is neither covered nor wanted.
type Gap struct {
	audit.Interval
	// Reason says why, and what would mend it.
	Reason string
	// ID names the one event that a topic does not take; "" for a gap that is
	// all of its interval. Only Heal, or a newer gap of the same id, ends it.
	ID string
	// Size is the event's size in bytes; 0 where there is no ID.
	Size int
}

// Clone is a copy whose fields can be changed. Its Sweeps is never nil.
func (l Ledger) Clone() Ledger {
	l.Gaps = slices.Clone(l.Gaps)
	if l.Sweeps = maps.Clone(l.Sweeps); l.Sweeps == nil {
		l.Sweeps = make(map[time.Duration]time.Time)
	}
	return l
}

// Cover is the ledger after iv was read to its end and published. The events
// that a topic did not take stay gaps.
func (l Ledger) Cover(iv audit.Interval) Ledger {
	free := l.besideRefused(iv)
	l.Covered = l.Covered.Union(free)
	l.Wanted = l.Wanted.Subtract(free)
	l.Gaps = cut(l.Gaps, free)
	return l
}

// Want is the ledger with all of iv wanted that is not covered. A gap in it is
// to be tried again, but for events that a topic did not take: those are tried
// again anyway.
func (l Ledger) Want(iv audit.Interval) Ledger {
	free := l.besideRefused(iv).Subtract(l.Covered.Clip(iv))
	l.Wanted = l.Wanted.Union(free)
	l.Gaps = cut(l.Gaps, free)
	return l
}

// AddGap enters g. With an ID it takes its interval out of what is covered or
// wanted and replaces the gap of the same event; without, it takes what is not
// covered, and the newer reason counts. An empty gap changes nothing.
func (l Ledger) AddGap(g Gap) Ledger {
	if g.Empty() {
		return l
	}
	if g.ID != "" {
		l = l.Heal(g.ID)
		l.Covered = l.Covered.Remove(g.Interval)
		l.Wanted = l.Wanted.Remove(g.Interval)
		l.Gaps = tidy(append(cut(l.Gaps, audit.NewIntervalSet(g.Interval)), g))
		return l
	}
	free := l.besideRefused(g.Interval).Subtract(l.Covered.Clip(g.Interval))
	l.Wanted = l.Wanted.Subtract(free)
	l.Gaps = cut(l.Gaps, free)
	for _, part := range free {
		l.Gaps = append(l.Gaps, Gap{Interval: part, Reason: g.Reason})
	}
	l.Gaps = tidy(l.Gaps)
	return l
}

// Heal is the ledger after the event was published that a topic had not taken.
func (l Ledger) Heal(id string) Ledger {
	at := slices.IndexFunc(l.Gaps, func(g Gap) bool { return g.ID != "" && g.ID == id })
	if at < 0 {
		return l
	}
	healed := l.Gaps[at].Interval
	l.Gaps = slices.Delete(slices.Clone(l.Gaps), at, at+1)
	return l.Cover(healed)
}

// besideRefused is iv without the events that a topic did not take.
func (l Ledger) besideRefused(iv audit.Interval) audit.IntervalSet {
	free := audit.NewIntervalSet(iv)
	for _, g := range l.Gaps {
		if g.ID != "" && !g.Intersect(iv).Empty() {
			free = free.Remove(g.Interval)
		}
	}
	return free
}

// cut takes s out of the gaps that have no ID, into a new slice.
func cut(gaps []Gap, s audit.IntervalSet) []Gap {
	out := make([]Gap, 0, len(gaps)+1)
	for _, g := range gaps {
		if g.ID != "" {
			out = append(out, g)
			continue
		}
		for _, rest := range audit.NewIntervalSet(g.Interval).Subtract(s.Clip(g.Interval)) {
			out = append(out, Gap{Interval: rest, Reason: g.Reason})
		}
	}
	return out
}

// tidy sorts gaps and joins those that touch and have the same reason, in place.
func tidy(gaps []Gap) []Gap {
	slices.SortFunc(gaps, func(a, b Gap) int {
		return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.ID, b.ID))
	})
	out := gaps[:0]
	for _, g := range gaps {
		if last := len(out) - 1; last >= 0 && g.ID == "" && out[last].ID == "" &&
			out[last].Reason == g.Reason && out[last].To.Equal(g.From) {
			out[last].To = g.To
			continue
		}
		out = append(out, g)
	}
	return out
}
