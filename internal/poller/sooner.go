package poller

import (
	"slices"
	"time"
)

// mostShown is how many events are remembered that one of a stream's two dialects
// has shown and the other has not: some minutes of a busy organisation, and 2 MB.
const mostShown = 20_000

// LeadBounds are the upper bounds of the lead's buckets in seconds, ascending.
var LeadBounds = [...]float64{0.5, 1, 2, 5, 10, 30, 60, 120, 300}

// Lead is by how much one dialect showed events sooner than the other.
type Lead struct {
	Buckets [len(LeadBounds) + 1]int
	Sum     time.Duration
}

// shown is when an event was published, and whether a preview had shown it.
type shown struct {
	at      time.Time
	preview bool
}

// sooner compares a stream's dialect with its previews: which of them shows an
// event first. It belongs to the committer.
type sooner struct {
	events map[string]shown
	order  []string // oldest first
}

func (s *sooner) publish(id string, preview bool) {
	if s.events == nil {
		s.events = make(map[string]shown)
	}
	if len(s.order) >= mostShown {
		half := len(s.order) / 2
		for _, old := range s.order[:half] {
			delete(s.events, old)
		}
		s.order = slices.Clone(s.order[half:])
	}
	s.events[id] = shown{time.Now(), preview}
	s.order = append(s.order, id)
}

// meet takes note that an event which was published is shown again, and returns by
// how much the other dialect was first; not where it was the same one.
func (s *sooner) meet(id string, preview bool) (lead time.Duration, ok bool) {
	first, known := s.events[id]
	if !known || first.preview == preview {
		return 0, false
	}
	delete(s.events, id)
	return time.Since(first.at), true
}
