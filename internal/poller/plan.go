package poller

import (
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// The functions of this file decide what to read next. They are pure: a ledger,
// the API's clock and the settings in, intervals out.
//
// The invariant that they keep: every instant from Ledger.Start up to the
// ledger's frontier is covered, wanted, or a gap that says why. The tail moves
// the frontier; whatever it leaves behind becomes wanted in the same step.

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
// clock of the API makes it do: what is not past yet has not been read, and what
// is past for less than the sweeps reach may have been read too early: they read
// it again. The ids of again, from there on, must be remembered before the
// ledger is changed: see stepBack.
func rewind(l offsets.Ledger, now time.Time, overlap time.Duration) (rewound offsets.Ledger, again audit.Interval, ahead bool) {
	if !l.Covered.Last().After(now.Add(clockTolerance)) {
		return l, audit.Interval{}, false
	}
	again = audit.Interval{From: now.Add(-overlap), To: l.Forgotten}
	for age := range l.Sweeps {
		again.From = earliest(again.From, now.Add(-age))
	}
	l = l.Clone()
	future := audit.Interval{From: now, To: l.Covered.Last()}
	l.Covered = l.Covered.Remove(future)
	l.Wanted = l.Wanted.Remove(future)
	for age, mark := range l.Sweeps {
		l.Sweeps[age] = earliest(mark, now.Add(-age))
	}
	l.Forgotten = earliest(l.Forgotten, again.From)
	return l, again, true
}

// clockTolerance is by how much the estimate of the API's clock, whose Date
// header counts in seconds, may step back without meaning anything.
const clockTolerance = 2 * time.Second

// newest is the interval that the next poll reads, and what it leaves behind for
// the backfill because the newest covered instant is older than the overlap.
func newest(l offsets.Ledger, now, edge time.Time, overlap time.Duration) (read, behind audit.Interval) {
	from := now.Add(-overlap)
	if covered := l.Covered.Last(); !covered.Before(from) {
		from = covered.Add(-overlap)
	}
	// Nothing before Start was ordered, ids before Forgotten are not known any
	// more, and what is older than retention is never asked for.
	read = audit.Interval{From: latest(from, l.Start, l.Forgotten, edge), To: now}
	behind = audit.Interval{From: frontier(l), To: read.From}
	return read, behind
}

// frontier is the end of what the ledger knows about.
func frontier(l offsets.Ledger) time.Time {
	f := latest(l.Start, l.Covered.Last(), l.Wanted.Last())
	for _, g := range l.Gaps {
		f = latest(f, g.To)
	}
	return f
}

// sweep is the next piece to read again at the given age, and the instant that
// the age's watermark moves to once it has been. The piece is empty when all up
// to that instant needs no second reading. due is false when there is nothing
// to do yet. busy is what is being read for the first time at this moment: the
// sweep waits for it, because that reading began before it was age old.
func sweep(l offsets.Ledger, age time.Duration, now, edge time.Time, every, longest time.Duration, busy audit.IntervalSet) (piece audit.Interval, mark time.Time, due bool) {
	target, from := now.Add(-age), l.Sweeps[age]
	if target.Sub(from) < every {
		return audit.Interval{}, from, false
	}
	if first := busy.Clip(audit.Interval{From: from, To: target}); len(first) > 0 {
		target = first.First()
	}
	from = latest(from, l.Forgotten, edge)
	parts := l.Covered.Clip(audit.Interval{From: from, To: target})
	if len(parts) == 0 {
		return audit.Interval{}, target, target.After(l.Sweeps[age])
	}
	piece = parts[0]
	piece.To = earliest(piece.To, piece.From.Add(longest))
	return piece, piece.To, true
}

// sweepEvery is how much time gathers before it is swept: often enough that a
// late event is found soon after it has reached the age, seldom enough to be cheap.
func sweepEvery(age, pollInterval time.Duration) time.Duration {
	return min(max(age/20, pollInterval), 5*time.Minute)
}

// chunk is the oldest wanted interval that nobody reads yet, at most longest.
func chunk(l offsets.Ledger, busy audit.IntervalSet, longest time.Duration) (audit.Interval, bool) {
	free := l.Wanted.Subtract(busy)
	if len(free) == 0 {
		return audit.Interval{}, false
	}
	c := free[0]
	c.To = earliest(c.To, c.From.Add(longest))
	return c, true
}

// expire turns what is wanted but older than the API's retention into a gap.
func expire(l offsets.Ledger, edge time.Time, retention time.Duration) (offsets.Ledger, audit.IntervalSet) {
	lost := l.Wanted.Clip(audit.Interval{From: time.Time{}, To: edge})
	if len(lost) == 0 {
		return l, nil
	}
	l = l.Clone()
	for _, i := range lost {
		l.Wanted = l.Wanted.Remove(i)
		l = l.AddGap(offsets.Gap{Interval: i, Reason: "older than the API's retention (" + Age(retention) + ")"})
	}
	return l, lost
}

// horizon is the instant before which no covered time of the stream is read again.
func horizon(l offsets.Ledger, overlap time.Duration) time.Time {
	h := l.Covered.Last().Add(-overlap)
	for _, mark := range l.Sweeps {
		h = earliest(h, mark)
	}
	return h
}

// mayReturn reports whether an event of time t, which lies before the stream's
// horizon, can be met by a reading that is still to come: invariant 4.
func mayReturn(l offsets.Ledger, t time.Time) bool {
	if l.Wanted.Contains(t) {
		return true
	}
	for _, g := range l.Gaps {
		if g.Contains(t) {
			return true
		}
	}
	return false
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
