package poller

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Stats counts what a process has done. It outlives the terms of a Poller and
// is safe for concurrent use.
type Stats struct {
	mu      sync.Mutex
	buckets []time.Duration // upper bounds of lateness, ascending
	counts  Counts
}

// Counts are totals since the process started.
type Counts struct {
	Published  int
	Steps      int
	IDs        int // remembered now
	Streams    map[string]StreamCounts
	LastCommit time.Time
	// By how much previews, and the streams' own dialects, showed events first.
	PreviewFirst, OwnFirst Lead
}

// StreamCounts are the totals of one stream.
type StreamCounts struct {
	Published  int
	Duplicates int // that were read again and recognised
	LastPoll   time.Time
	Late       []int // by bucket of lateness; one more than there are bounds
	LateSum    time.Duration
}

// NewStats makes counters whose lateness buckets end at the overlap and at each sweep age.
func NewStats(overlap time.Duration, ages []time.Duration) *Stats {
	buckets := append([]time.Duration{overlap}, ages...)
	slices.Sort(buckets)
	return &Stats{
		buckets: slices.Compact(buckets), counts: Counts{Streams: make(map[string]StreamCounts)},
	}
}

// LateBuckets are the upper bounds of the lateness buckets, ascending.
func (s *Stats) LateBuckets() []time.Duration { return s.buckets }

// Counts is a copy of the totals.
func (s *Stats) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Streams = maps.Clone(c.Streams)
	for name, sc := range c.Streams {
		sc.Late = slices.Clone(sc.Late)
		c.Streams[name] = sc
	}
	return c
}

func (s *Stats) polled(stream string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.counts.Streams[stream]
	sc.LastPoll = at
	s.counts.Streams[stream] = sc
}

// led counts an event that one dialect showed sooner than the other.
func (s *Stats) led(preview bool, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lead := &s.counts.OwnFirst
	if preview {
		lead = &s.counts.PreviewFirst
	}
	i, _ := slices.BinarySearch(LeadBounds[:], by.Seconds())
	lead.Buckets[i]++
	lead.Sum += by
}

// heldBack counts what a step without events has recognised.
func (s *Stats) heldBack(b *stepBuilder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recognise(b)
}

func (s *Stats) recognise(b *stepBuilder) {
	for stream, n := range b.duplicates {
		sc := s.counts.Streams[stream]
		sc.Duplicates += n
		s.counts.Streams[stream] = sc
	}
}

func (s *Stats) committed(b *stepBuilder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Steps++
	s.counts.Published += len(b.step.Events)
	s.counts.IDs = b.p.ids.Len()
	s.counts.LastCommit = time.Now()
	for stream, n := range b.published {
		sc := s.counts.Streams[stream]
		sc.Published += n
		s.counts.Streams[stream] = sc
	}
	s.recognise(b)
	for stream, late := range b.late {
		sc := s.counts.Streams[stream]
		if sc.Late == nil {
			sc.Late = make([]int, len(s.buckets)+1)
		}
		for _, d := range late {
			i, _ := slices.BinarySearch(s.buckets, d)
			sc.Late[i]++
			sc.LateSum += d
		}
		s.counts.Streams[stream] = sc
	}
}
