package poller

import (
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// view is what a plan goes by: a stream's ledger and its readings under way. It
// is valid while the Poller's lock is held.
type view struct {
	offsets.Ledger
	stream   string
	readings map[*reading]struct{}
}

// busy returns what of the stream is being read by the readings that match.
func (v view) busy(match func(*reading) bool) audit.IntervalSet {
	var s audit.IntervalSet
	for r := range v.readings {
		if r.stream == v.stream && match(r) {
			s = s.Add(r.interval)
		}
	}
	return s
}

// first returns what of the stream is being read for the first time.
func (v view) first() audit.IntervalSet {
	return v.busy(func(r *reading) bool { return !r.sweep })
}

// young returns what is being read for the first time by readings that began
// before all of their interval had reached the age: a sweep at that age must not
// pass it, for they may not have seen what the API shows late.
func (v view) young(age time.Duration) audit.IntervalSet {
	return v.busy(func(r *reading) bool { return !r.sweep && r.interval.To.After(r.began.Add(-age)) })
}
