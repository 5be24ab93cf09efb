package genesys

import (
	"time"

	"genesys-audit-connector/internal/audit"
)

const (
	// burst is how many requests may follow each other at once after a quiet
	// time. It lets chains that wait for slow answers still use all of the share.
	burst = 2
	// A window keeps one of keptOf requests, and mostKept at most, for what somebody
	// waits for: the tail, and the names that a step lacks, are sent before their even
	// turn, and what is less urgent waits a little longer. Half of them are for
	// lookups.
	keptOf   = 25
	mostKept = 8
	// earlyShare is at which share of the even pace the tail may go on so: one that takes
	// all there is leaves others a quarter.
	earlyShare = 0.75
)

// spacing is when the next request under a limit is due.
type spacing struct {
	due   time.Time // if all are spaced evenly
	early time.Time // if those of the tail that are sent before their even turn are
}

// next is when a request may be sent. step is the time between two that are spaced
// evenly, and kept for how many more a window has room.
func (s *spacing) next(step time.Duration, purpose audit.Purpose, kept int) time.Time {
	even := s.due.Add(-(burst - 1) * step)
	lookups := kept / 2
	switch {
	case purpose == audit.Lookup:
		return even.Add(-time.Duration(lookups) * step)
	case purpose == audit.Tail && kept > 0:
		return earlier(even, s.early.Add(-time.Duration(kept-lookups-1)*earlyStep(step)))
	}
	return even
}

// take enters a request that is sent now.
func (s *spacing) take(step time.Duration, purpose audit.Purpose, now time.Time) {
	if purpose == audit.Tail && s.due.Add(-(burst-1)*step).After(now) {
		s.early = later(s.early, now).Add(earlyStep(step))
	}
	s.due = later(s.due, now).Add(step)
}

func earlyStep(step time.Duration) time.Duration {
	return time.Duration(float64(step) / earlyShare)
}

// kept is for how many requests before their even turn a window has room.
func (p *pacer) kept(limit int) int { return min(p.most(limit)/keptOf, mostKept) }

// spaced is the time from one request to the next under a limit.
func (p *pacer) spaced(limit int) time.Duration {
	return p.limit.Per / time.Duration(p.most(limit)-p.kept(limit))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
