package poller

import (
	"slices"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// The functions of this file decide what to read next. They are pure: a ledger,
// the API's clock and the settings in, intervals out.
//
// The invariant that they keep: every instant from Ledger.Start up to what the
// tail has covered is covered, wanted, or a gap that says why. Whatever the tail
// leaves behind becomes wanted in the same step.

// retentionMargin keeps a request that is planned now from being older than
// the API's retention by the time that it arrives.
const retentionMargin = 2 * time.Second

// retentionEdge is the oldest instant that may be asked for.
func retentionEdge(now time.Time, retention time.Duration) time.Time {
	if retention <= 0 {
		return time.Time{}
	}
	return ceilMilli(now.Add(retentionMargin - retention))
}

// firstReading is how long the first chunk of all there is may take to be read:
// what leaves the API's retention until then is not ordered.
func firstReading(retention time.Duration) time.Duration {
	return min(time.Minute, retention/1000).Truncate(time.Millisecond)
}

func ceilMilli(t time.Time) time.Time {
	if c := t.Truncate(time.Millisecond); c.Equal(t) {
		return c
	} else {
		return c.Add(time.Millisecond)
	}
}

// begin is the ledger of a stream that has none yet: all from start on is wanted,
// up to where the tail will take over.
func begin(start, now time.Time, overlap time.Duration, ages []time.Duration) offsets.Ledger {
	l := offsets.Ledger{Start: earliest(start, now)}
	l = l.Want(audit.Interval{From: l.Start, To: now.Add(-overlap)})
	return resume(l, l.Start, now, ages)
}

// resume fits a ledger that was loaded to the settings of today: an earlier
// start extends what is wanted, a new sweep age starts where ids are still
// remembered, an age that is no longer set is dropped.
func resume(l offsets.Ledger, start, now time.Time, ages []time.Duration) offsets.Ledger {
	l = l.Clone()
	if start.Before(l.Start) {
		l = l.Want(audit.Interval{From: start, To: l.Start})
		l.Start = start
	}
	kept := make(map[time.Duration]time.Time, len(ages))
	for _, age := range ages {
		mark, known := l.Sweeps[age]
		if !known {
			mark = latest(l.Forgotten, l.Start, now.Add(-age))
		}
		kept[age] = mark
	}
	l.Sweeps = kept
	return l
}

// rewind corrects a ledger that claims to have covered the future, as a wrong
// clock makes it do: what is not past yet has not been read. Where it is ahead by
// more than the overlap makes good, what is past for less than the sweeps reach
// may have been read too early and is wanted again; its ids, those of again, must
// be remembered before the ledger is changed: see stepBack.
func rewind(l offsets.Ledger, now time.Time, overlap time.Duration) (rewound offsets.Ledger, again audit.IntervalSet) {
	ahead := audit.Interval{From: now, To: l.Covered.Last()}
	from := now.Add(-overlap)
	for age := range l.Sweeps {
		from = earliest(from, now.Add(-age))
	}
	from = latest(from, l.Start)
	again = audit.NewIntervalSet(audit.Interval{From: from, To: ahead.To})
	l = l.Clone()
	l.Begun = l.Begun.Union(l.Covered.Clip(ahead)) // there may be events: the clock of today may be the wrong one
	l.Covered = l.Covered.Remove(ahead)
	l.Wanted = l.Wanted.Remove(ahead)
	if ahead.Length() > overlap/2 {
		l = l.Doubt(audit.Interval{From: from, To: now.Add(-overlap)})
	}
	for age, mark := range l.Sweeps {
		l.Sweeps[age] = latest(earliest(mark, now.Add(-age)), l.Start)
	}
	l.Forgotten, l.Kept = earliest(l.Forgotten, from), earliest(l.Kept, from)
	return l, again
}

// clockTolerance is by how much the estimate of the API's clock, whose Date
// header counts in seconds, may step back without meaning anything.
const clockTolerance = 2 * time.Second

// newestInterval is what the next poll reads. What lies between it and the newest
// covered instant, where that is longer ago than reach, is left to the backfill.
func newestInterval(l offsets.Ledger, now, edge time.Time, overlap, reach time.Duration) audit.Interval {
	from := now.Add(-overlap)
	if covered := l.Covered.Last(); !covered.Before(now.Add(-max(overlap, reach))) {
		from = covered.Add(-overlap)
	}
	// Nothing before Start was ordered, ids before Forgotten are not known any
	// more, and what is older than retention is never asked for.
	return audit.Interval{From: latest(from, l.Start, l.Forgotten, edge), To: now}
}

// readable is i without what the backfill and the gaps' own tries read: what is
// wanted because it could not be read, and what cannot be read.
func readable(l offsets.Ledger, i audit.Interval) audit.IntervalSet {
	set := audit.NewIntervalSet(i).Subtract(l.Wanted)
	for _, g := range l.Gaps {
		if g.ID == "" {
			set = set.Remove(g.Interval)
		}
	}
	return set
}

// unknown returns what of the time from l.Start up to to the ledger says nothing
// about. It is not enough to look behind the newest of what the ledger knows: a
// request, or an event that was refused, may be entered ahead of the tail.
func unknown(l offsets.Ledger, to time.Time) (holes audit.IntervalSet) {
	known := slices.Concat(l.Covered, l.Wanted)
	for _, g := range l.Gaps {
		known = append(known, g.Interval)
	}
	slices.SortFunc(known, func(a, b audit.Interval) int { return a.From.Compare(b.From) })
	end := l.Start
	for _, k := range append(known, audit.Interval{From: to, To: to}) {
		if hole := (audit.Interval{From: end, To: earliest(k.From, to)}); !hole.Empty() {
			holes = append(holes, hole)
		}
		end = latest(end, k.To)
	}
	return holes
}

// sweep is the next piece to read again at the given age. wait is how long there
// is nothing to do yet; 0 for now. Where the piece is empty all the same, nothing
// up to mark needs a second reading.
func sweep(v view, age time.Duration, now, edge time.Time, every, longest time.Duration) (piece audit.Interval, mark time.Time, wait time.Duration) {
	target, from := now.Add(-age), v.Sweeps[age]
	if gathered := target.Sub(from); gathered < every {
		return audit.Interval{}, from, every - gathered
	}
	// A first reading that began before its interval was age old may not have seen
	// what the API shows late: the sweep waits for it.
	if first := v.young(age).Clip(audit.Interval{From: from, To: target}); len(first) > 0 {
		target = first.First()
	}
	from = latest(from, v.Forgotten, edge)
	parts := v.Covered.Clip(audit.Interval{From: from, To: target})
	switch {
	case len(parts) > 0:
		piece = parts[0]
		piece.To = earliest(piece.To, piece.From.Add(longest))
		return piece, piece.To, 0
	case target.After(v.Sweeps[age]):
		return audit.Interval{}, target, 0
	default:
		return audit.Interval{}, from, time.Second
	}
}

// sweepEvery is how much time gathers before it is swept: often enough that a
// late event is found soon after it has reached the age, seldom enough to be cheap:
// much more seldom where many streams share the limit.
func sweepEvery(age, pollInterval time.Duration, crowded bool) time.Duration {
	if crowded {
		return max(age/2, pollInterval)
	}
	return min(max(age/20, pollInterval), 5*time.Minute)
}

// chunk is the oldest wanted interval that nobody reads yet, or the newest one, at
// most longest; empty where there is none.
func chunk(wanted, busy audit.IntervalSet, longest time.Duration, newest bool) audit.Interval {
	free := wanted.Subtract(busy)
	if len(free) == 0 {
		return audit.Interval{}
	}
	if newest {
		c := free[len(free)-1]
		c.From = latest(c.From, c.To.Add(-longest))
		return c
	}
	c := free[0]
	c.To = earliest(c.To, c.From.Add(longest))
	return c
}

// tooOld is what is wanted but older than the API's retention.
func tooOld(l offsets.Ledger, edge time.Time) audit.IntervalSet {
	return l.Wanted.Clip(audit.Interval{To: edge})
}

// expire turns what is wanted but older than the API's retention into a gap.
func expire(l offsets.Ledger, edge time.Time, retention time.Duration) offsets.Ledger {
	for _, i := range tooOld(l, edge) {
		l = l.AddGap(offsets.Gap{Interval: i, Kind: offsets.Expired, Reason: "older than the API's retention (" + Age(retention) + ")"})
	}
	return l
}

// heldAgain is what expired and is held by the API after all, by more than the
// error of its clock.
func heldAgain(l offsets.Ledger, edge time.Time) (held audit.IntervalSet) {
	for _, g := range l.Gaps {
		if g.Kind == offsets.Expired && g.To.After(edge.Add(time.Minute)) {
			held = held.Add(audit.Interval{From: latest(g.From, edge), To: g.To})
		}
	}
	return held
}

// horizon is the instant before which no covered time of the stream is read again.
func horizon(l offsets.Ledger, overlap time.Duration) time.Time {
	h := l.Covered.Last().Add(-overlap)
	for _, mark := range l.Sweeps {
		h = earliest(h, mark)
	}
	return h
}

// Age spells a duration as the variables do: 10m, 6h, 180d.
func Age(d time.Duration) string { return offsets.FormatAge(d) }

func latest(first time.Time, more ...time.Time) time.Time {
	for _, t := range more {
		if t.After(first) {
			first = t
		}
	}
	return first
}

func earliest(first time.Time, more ...time.Time) time.Time {
	for _, t := range more {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
