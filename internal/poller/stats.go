package poller

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// Stats counts what a process has done. It outlives the terms of a Poller and
// is safe for concurrent use.
type Stats struct {
	mu      sync.Mutex
	buckets []time.Duration // upper bounds of lateness, ascending
	counts  Counts
	failing map[string]Failure
	past    []Failure // that are over, oldest first; at most keepPast
}

// keepPast is how many failures that are over are kept for people to look at.
const keepPast = 10

// Counts are totals since the process started.
type Counts struct {
	Published  int
	Unusable   int // published events that lack an id or a time
	Steps      int
	IDs        int // remembered now
	Streams    map[string]StreamCounts
	LastCommit time.Time
}

// StreamCounts are the totals of one stream.
type StreamCounts struct {
	Duplicates int
	LastPoll   time.Time
	Late       []int // by bucket of lateness; one more than there are bounds
	LateSum    time.Duration
}

// Failure is something that does not work at the moment.
type Failure struct {
	What  string
	Err   error
	Since time.Time // of the first failure in a row
	Last  time.Time
	Times int
	Ended time.Time // when it worked again; zero while it lasts
}

// Lasting tells whether it is more than a hiccup.
func (f Failure) Lasting(now time.Time) bool {
	return f.Ended.IsZero() && (f.Times >= 3 || now.Sub(f.Since) >= lastingAfter)
}

// lastingAfter is how long something may fail before the replica is not ready.
const lastingAfter = 10 * time.Second

// NewStats makes counters whose lateness buckets end at the overlap and at each sweep age.
func NewStats(overlap time.Duration, ages []time.Duration) *Stats {
	buckets := append([]time.Duration{overlap}, ages...)
	slices.Sort(buckets)
	return &Stats{
		buckets: slices.Compact(buckets), failing: make(map[string]Failure),
		counts: Counts{Streams: make(map[string]StreamCounts)},
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

// Failing is what does not work at the moment, the longest standing first.
func (s *Stats) Failing() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.failing), func(a, b Failure) int { return a.Since.Compare(b.Since) })
}

// Past is what did not work lately, the oldest first.
func (s *Stats) Past() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.past)
}

// Failed notes that something did not work, for parts that the poller does not know.
func (s *Stats) Failed(what string, err error) { s.failed(what, err) }

// Succeeded notes that it works again.
func (s *Stats) Succeeded(what string) { s.succeeded(what) }

func (s *Stats) failed(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.failing[what]
	if f.Times == 0 {
		f = Failure{What: what, Since: time.Now()}
	}
	f.Err, f.Last, f.Times = err, time.Now(), f.Times+1
	s.failing[what] = f
}

func (s *Stats) succeeded(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, failed := s.failing[what]
	if !failed {
		return
	}
	delete(s.failing, what)
	f.Ended = time.Now()
	s.past = append(s.past, f)
	s.past = slices.Clone(s.past[max(0, len(s.past)-keepPast):])
}

func (s *Stats) polled(stream string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.counts.Streams[stream]
	sc.LastPoll = at
	s.counts.Streams[stream] = sc
}

func (s *Stats) committed(b *stepBuilder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Steps++
	s.counts.Published += len(b.step.Events)
	for _, e := range b.step.Events {
		if e.Event.Problem != "" {
			s.counts.Unusable++
		}
	}
	s.counts.IDs = b.p.ids.Len()
	s.counts.LastCommit = time.Now()
	for stream, n := range b.duplicates {
		sc := s.counts.Streams[stream]
		sc.Duplicates += n
		s.counts.Streams[stream] = sc
	}
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

// cure tells an operator how to have a refused event taken.
func cure(r *RefusedError) string {
	return fmt.Sprintf("raise max.message.bytes of topic %s above %d", r.Topic, r.Size)
}

// Ledgers is a copy of the ledgers of all streams, those that are not read any more among them.
func (p *Poller) Ledgers() map[string]offsets.Ledger {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.ledgers)
}

// Streams are those that are read.
func (p *Poller) Streams() []audit.Stream { return p.openStreams() }
