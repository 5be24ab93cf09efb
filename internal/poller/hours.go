package poller

import (
	"cmp"
	"slices"
	"time"
)

// Hours are when a backfill may run; none means always. A window whose end is not
// after its begin lasts past midnight.
type Hours []Window

// Window is a part of each day, by the clocks of a place.
type Window struct {
	From, To time.Duration // after midnight, as clocks show it
	Place    *time.Location
}

// on returns the window that begins on the day of t, moved by so many days.
func (w Window) on(t time.Time, days int) (from, to time.Time) {
	y, m, d := t.In(w.Place).Date()
	at := func(days int, clock time.Duration) time.Time {
		return time.Date(y, m, d+days, 0, int(clock/time.Minute), 0, 0, w.Place)
	}
	if w.To <= w.From {
		return at(days, w.From), at(days+1, w.To)
	}
	return at(days, w.From), at(days, w.To)
}

// Opens returns when a backfill may run from t on: t itself where it may at once.
func (h Hours) Opens(t time.Time) time.Time {
	if len(h) == 0 {
		return t
	}
	var next time.Time
	for _, w := range h {
		for days := -1; days <= 1; days++ {
			from, to := w.on(t, days)
			if !to.After(t) {
				continue
			}
			if !from.After(t) {
				return t
			}
			if next.IsZero() || from.Before(next) {
				next = from
			}
		}
	}
	return next
}

// Closes returns until when a backfill that may run at t may go on; zero for ever.
func (h Hours) Closes(t time.Time) time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	type window struct{ from, to time.Time }
	var list []window
	for _, w := range h {
		for days := -1; days <= 2; days++ {
			from, to := w.on(t, days)
			list = append(list, window{from, to})
		}
	}
	slices.SortFunc(list, func(a, b window) int { return cmp.Compare(a.from.UnixNano(), b.from.UnixNano()) })
	end := t
	for _, w := range list {
		if !w.from.After(end) && w.to.After(end) {
			end = w.to
		}
	}
	if end.Sub(t) > 24*time.Hour { // the windows leave no pause
		return time.Time{}
	}
	return end
}

// after returns when a backfill that needs so much time, and may begin at t, is done.
func (h Hours) after(t time.Time, needs time.Duration) time.Time {
	const mostPauses = 10_000 // some years
	for range mostPauses {
		t = h.Opens(t)
		end := h.Closes(t)
		if end.IsZero() || end.Sub(t) >= needs {
			return t.Add(needs)
		}
		needs -= end.Sub(t)
		t = end
	}
	return t
}
