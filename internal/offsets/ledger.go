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
	// Begun is time that is not covered and of which some events may be published:
	// their ids must be remembered until it is.
	Begun audit.IntervalSet
	// Gaps is what cannot be read, or not be published, and why; by time.
	Gaps []Gap
	// Sweeps has a watermark for each sweep age: all that is covered before this
	// instant was read again when it was at least so old.
	Sweeps map[time.Duration]time.Time
	// Forgotten is the instant before which ids may have been tombstoned: a
	// covered time before it must not be read again, or events come out twice.
	Forgotten time.Time
	// Kept is the instant before which ids were tombstoned by anybody while those
	// that this stream needs were kept. Another ledger whose Forgotten is later may
	// have forgotten them. It is zero once ids were tombstoned while nobody read this
	// stream.
	Kept time.Time
}

// GapKind says what has to change for a gap to end.
type GapKind string

// The kinds of gaps.
const (
	// Expired: the API does not hold the time any more.
	Expired GapKind = "expired"
	// Refused: a topic refuses an event, or several of them.
	Refused GapKind = "refused"
	// Unreadable: every reading that includes the time fails.
	Unreadable GapKind = "unreadable"
)

// Gap is a time that is neither covered nor wanted.
type Gap struct {
	audit.Interval
	Kind GapKind
	// Reason says why, and what would end it.
	Reason string
	// ID names the one event that a topic refuses; "" for a gap that is all of its
	// interval. Only Heal, Merge, or a newer gap of the same id, ends it.
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

// Cover returns the ledger after iv was read to its end and published. Events
// that a topic refuses stay gaps.
func (l Ledger) Cover(iv audit.Interval) Ledger {
	free := l.besideRefused(iv)
	l.Covered = l.Covered.Union(free)
	l.Wanted = l.Wanted.Subtract(free)
	l.Begun = l.Begun.Remove(iv)
	l.Gaps = cut(l.Gaps, free)
	return l
}

// Begin returns the ledger after some events of iv were published.
func (l Ledger) Begin(iv audit.Interval) Ledger {
	l.Begun = l.Begun.Union(audit.NewIntervalSet(iv).Subtract(l.Covered.Clip(iv)))
	return l
}

// Want returns the ledger with all of iv wanted that is not covered. A gap in it
// is to be tried again, but for events that a topic refuses: those are tried
// again anyway.
func (l Ledger) Want(iv audit.Interval) Ledger {
	free := l.besideRefused(iv).Subtract(l.Covered.Clip(iv))
	l.Wanted = l.Wanted.Union(free)
	l.Gaps = cut(l.Gaps, free)
	return l
}

// Doubt returns the ledger with what of iv was covered wanted again, its ids
// still being remembered; what is a gap stays one.
func (l Ledger) Doubt(iv audit.Interval) Ledger {
	free := audit.NewIntervalSet(iv)
	for _, g := range l.Gaps {
		free = free.Remove(g.Interval)
	}
	l.Begun = l.Begun.Union(l.Covered.Clip(iv))
	l.Covered = l.Covered.Remove(iv)
	l.Wanted = l.Wanted.Union(free)
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
		if slices.ContainsFunc(l.Gaps, func(m Gap) bool { return m.Kind == Refused && m.ID == "" && m.Contains(g.From) }) {
			return l // a merged gap tells of this event already
		}
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
		l.Gaps = append(l.Gaps, Gap{Interval: part, Kind: g.Kind, Reason: g.Reason})
	}
	l.Gaps = tidy(l.Gaps)
	return l
}

// Heal returns the ledger after the event was published that a topic had refused:
// its time is wanted, for of the other events there not all may have been read.
func (l Ledger) Heal(id string) Ledger {
	at := slices.IndexFunc(l.Gaps, func(g Gap) bool { return g.ID != "" && g.ID == id })
	if at < 0 {
		return l
	}
	healed := l.Gaps[at].Interval
	l.Gaps = slices.Delete(slices.Clone(l.Gaps), at, at+1)
	return l.Begin(healed).Want(healed)
}

// Retried returns the ledger with every gap wanted, but for time that the API does not
// hold any more.
func (l Ledger) Retried() Ledger {
	gaps := l.Gaps
	l = l.Clone()
	l.Gaps = slices.DeleteFunc(l.Gaps, func(g Gap) bool { return g.Kind != Expired })
	for _, g := range gaps {
		if g.Kind != Expired {
			l = l.Begin(g.Interval).Want(g.Interval)
		}
	}
	return l
}

// Merge makes one gap of all gaps of g's kind in g's interval, and of what lies
// between them. Where that was covered, its ids must be remembered: it was begun,
// and is read again with the gap, or when that is wanted again. What is wanted or a gap of another kind stays.
func (l Ledger) Merge(g Gap) Ledger {
	whole := audit.NewIntervalSet(g.Interval).Subtract(l.Wanted.Clip(g.Interval))
	kept := make([]Gap, 0, len(l.Gaps))
	for _, old := range l.Gaps {
		inside := !old.From.Before(g.From) && !old.To.After(g.To)
		if old.Kind == g.Kind && inside {
			continue
		}
		whole = whole.Remove(old.Interval)
		kept = append(kept, old)
	}
	l.Covered = l.Covered.Subtract(whole)
	l.Begun = l.Begun.Union(whole)
	for _, part := range whole {
		kept = append(kept, Gap{Interval: part, Kind: g.Kind, Reason: g.Reason})
	}
	l.Gaps = tidy(kept)
	return l
}

// Fill returns the ledger after a gap without an ID was read again, to its end,
// and all of it published but for what has an ID of its own.
func (l Ledger) Fill(iv audit.Interval) Ledger {
	l.Gaps = slices.DeleteFunc(slices.Clone(l.Gaps), func(g Gap) bool {
		return g.ID == "" && !g.From.Before(iv.From) && !g.To.After(iv.To)
	})
	return l.Cover(iv)
}

// besideRefused returns iv without what a topic refuses.
func (l Ledger) besideRefused(iv audit.Interval) audit.IntervalSet {
	free := audit.NewIntervalSet(iv)
	for _, g := range l.Gaps {
		if g.Kind == Refused && !g.Intersect(iv).Empty() {
			free = free.Remove(g.Interval)
		}
	}
	return free
}

// cut takes s out of the gaps of anything but refused events, into a new slice.
func cut(gaps []Gap, s audit.IntervalSet) []Gap {
	out := make([]Gap, 0, len(gaps)+1)
	for _, g := range gaps {
		if g.Kind == Refused {
			out = append(out, g)
			continue
		}
		for _, rest := range audit.NewIntervalSet(g.Interval).Subtract(s.Clip(g.Interval)) {
			out = append(out, Gap{Interval: rest, Kind: g.Kind, Reason: g.Reason})
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
		if last := len(out) - 1; last >= 0 && g.ID == "" && out[last].ID == "" && out[last].Kind == g.Kind &&
			out[last].Reason == g.Reason && out[last].To.Equal(g.From) {
			out[last].To = g.To
			continue
		}
		out = append(out, g)
	}
	return out
}
