package audit

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Interval is the time from From (inclusive) to To (exclusive), in whole
// milliseconds, UTC. It is empty where To is not after From.
type Interval struct{ From, To time.Time }

// Empty reports whether no instant is in the interval.
func (i Interval) Empty() bool { return !i.To.After(i.From) }

// Length is how long the interval is; 0 for an empty one.
func (i Interval) Length() time.Duration { return max(0, i.To.Sub(i.From)) }

// Contains reports whether t is in the interval.
func (i Interval) Contains(t time.Time) bool { return !t.Before(i.From) && t.Before(i.To) }

// Intersect is what is in both.
func (i Interval) Intersect(o Interval) Interval {
	return Interval{later(i.From, o.From), earlier(i.To, o.To)}
}

func (i Interval) String() string {
	return i.From.UTC().Format(TimeFormat) + "/" + i.To.UTC().Format(TimeFormat)
}

// MarshalJSON writes ["FROM","TO"].
func (i Interval) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%q,%q]", i.From.UTC().Format(TimeFormat), i.To.UTC().Format(TimeFormat)), nil
}

// UnmarshalJSON reads ["FROM","TO"] and refuses an empty interval.
func (i *Interval) UnmarshalJSON(b []byte) error {
	var ends []string
	if err := json.Unmarshal(b, &ends); err != nil {
		return fmt.Errorf("interval: %w", err)
	}
	if len(ends) != 2 {
		return fmt.Errorf("interval: %d times where two are expected", len(ends))
	}
	from, ok := ParseTime(ends[0])
	to, ok2 := ParseTime(ends[1])
	if !ok || !ok2 || !to.After(from) {
		return fmt.Errorf("interval: %q to %q is not a time and a later one", ends[0], ends[1])
	}
	*i = Interval{from, to}
	return nil
}

// IntervalSet is a set of instants: sorted, disjoint, non-empty intervals that
// do not touch. It is a value: no method changes the set that it is called on.
type IntervalSet []Interval

// NewIntervalSet is the union of the intervals.
func NewIntervalSet(intervals ...Interval) IntervalSet {
	var s IntervalSet
	for _, i := range intervals {
		s = s.Add(i)
	}
	return s
}

// Add is the set with i in it.
func (s IntervalSet) Add(i Interval) IntervalSet {
	if i.Empty() {
		return s
	}
	// [a,b) is what overlaps or touches i.
	a, _ := slices.BinarySearchFunc(s, i.From, func(e Interval, t time.Time) int { return e.To.Compare(t) })
	b := a
	for b < len(s) && !s[b].From.After(i.To) {
		i = Interval{earlier(i.From, s[b].From), later(i.To, s[b].To)}
		b++
	}
	out := make(IntervalSet, 0, len(s)-(b-a)+1)
	out = append(out, s[:a]...)
	out = append(out, i)
	return append(out, s[b:]...)
}

// Remove is the set without the instants of i.
func (s IntervalSet) Remove(i Interval) IntervalSet {
	if i.Empty() {
		return s
	}
	out := make(IntervalSet, 0, len(s)+1)
	for _, e := range s {
		for _, rest := range [2]Interval{{e.From, earlier(e.To, i.From)}, {later(e.From, i.To), e.To}} {
			if !rest.Empty() {
				out = append(out, rest)
			}
		}
	}
	return out
}

// Union is what is in either set.
func (s IntervalSet) Union(o IntervalSet) IntervalSet {
	for _, i := range o {
		s = s.Add(i)
	}
	return s
}

// Subtract is what is in s and not in o.
func (s IntervalSet) Subtract(o IntervalSet) IntervalSet {
	for _, i := range o {
		s = s.Remove(i)
	}
	return s
}

// Clip is the part of the set that lies in i.
func (s IntervalSet) Clip(i Interval) IntervalSet {
	var out IntervalSet
	for _, e := range s {
		if part := e.Intersect(i); !part.Empty() {
			out = append(out, part)
		}
	}
	return out
}

// Contains reports whether t is in the set.
func (s IntervalSet) Contains(t time.Time) bool {
	n, _ := slices.BinarySearchFunc(s, t, func(e Interval, t time.Time) int {
		if e.To.After(t) {
			return 1
		}
		return -1
	})
	return n < len(s) && s[n].Contains(t)
}

// Covers reports whether all of i is in the set.
func (s IntervalSet) Covers(i Interval) bool {
	return i.Empty() || len(NewIntervalSet(i).Subtract(s)) == 0
}

// Last is the end of the newest interval; zero for an empty set.
func (s IntervalSet) Last() time.Time {
	if len(s) == 0 {
		return time.Time{}
	}
	return s[len(s)-1].To
}

// First is the start of the oldest interval; zero for an empty set.
func (s IntervalSet) First() time.Time {
	if len(s) == 0 {
		return time.Time{}
	}
	return s[0].From
}

// Length is the time that the set holds in all.
func (s IntervalSet) Length() time.Duration {
	var sum time.Duration
	for _, i := range s {
		sum += i.Length()
	}
	return sum
}

// UnmarshalJSON reads a list of intervals in any order.
func (s *IntervalSet) UnmarshalJSON(b []byte) error {
	var list []Interval
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*s = NewIntervalSet(list...)
	return nil
}

// MarshalJSON writes a list, also for the empty set.
func (s IntervalSet) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]Interval{}, s...))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
