package sandbox

import (
	"maps"
	"sync"
	"time"
)

// Violations counts what a good client never does.
type Violations struct {
	OutsideRetention int `json:"outsideRetention"` // asked for a time that is held no more
	OverLimit        int `json:"overLimit"`        // sent although nothing was left
	BeforeRetryAfter int `json:"beforeRetryAfter"` // sent before Retry-After had passed
	MissingDates     int `json:"missingDates"`     // without dateFrom or dateTo
	TokenToDownload  int `json:"tokenToDownload"`  // the bearer token was sent to the download host
}

// Stats is what happened at the API so far.
type Stats struct {
	Requests      map[Endpoint]map[int]int `json:"requests"` // by status; 0: no answer
	Faults        map[FaultKind]int        `json:"faults"`   // struck
	ArmedFaults   []string                 `json:"armedFaults"`
	MaxConcurrent int                      `json:"maxConcurrent"`
	Violations    Violations               `json:"violations"`
	Quotas        map[string]Quota         `json:"quotas"`   // "auditlogs", "platform", and those of families
	Entities      int                      `json:"entities"` // in answers, spoilt ones too
}

// Request is one request, as it was answered.
type Request struct {
	At       time.Time `json:"at"` // on the organisation's clock
	Endpoint Endpoint  `json:"endpoint"`
	Query    string    `json:"query"`
	Status   int       `json:"status"`          // 0: no answer
	Fault    FaultKind `json:"fault,omitempty"` // which may have spoilt the answer on its way
	Entities int       `json:"entities"`

	CorrelationID string `json:"correlationId,omitempty"` // that the answer named
}

// requestsKept bounds the memory of single requests.
const requestsKept = 100_000

type statistics struct {
	mu         sync.Mutex
	requests   map[Endpoint]map[int]int
	log        []Request
	current    int
	most       int
	entities   int
	violations Violations
}

func (s *statistics) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current++
	s.most = max(s.most, s.current)
}

func (s *statistics) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current--
}

func (s *statistics) record(c *call, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests = map[Endpoint]map[int]int{}
	}
	if s.requests[c.endpoint] == nil {
		s.requests[c.endpoint] = map[int]int{}
	}
	s.requests[c.endpoint][a.status]++
	s.entities += len(a.shown)
	r := Request{At: c.now, Endpoint: c.endpoint, Query: c.URL.RawQuery, Status: a.status, Entities: len(a.shown), CorrelationID: c.correlation}
	if c.fault != nil {
		r.Fault = c.fault.Kind
	}
	if len(s.log) < requestsKept {
		s.log = append(s.log, r)
	}
}

func (s *statistics) violate(count func(*Violations)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	count(&s.violations)
}

// Stats returns a copy of the statistics.
func (o *Org) Stats() Stats {
	now := o.now()
	stats := Stats{
		Requests:    map[Endpoint]map[int]int{},
		ArmedFaults: o.faults.describe(),
		Quotas:      map[string]Quota{"auditlogs": o.auditlogsLimit.quota(now), "platform": o.platformLimit.quota(now)},
	}
	for family, limit := range o.families {
		stats.Quotas[string(family)] = limit.quota(now)
	}
	o.faults.mu.Lock()
	stats.Faults = maps.Clone(o.faults.struck)
	o.faults.mu.Unlock()
	s := &o.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	for endpoint, statuses := range s.requests {
		stats.Requests[endpoint] = maps.Clone(statuses)
	}
	stats.MaxConcurrent, stats.Violations, stats.Entities = s.most, s.violations, s.entities
	return stats
}

// Requests lists the requests so far, the first 100,000 of them.
func (o *Org) Requests() []Request {
	o.stats.mu.Lock()
	defer o.stats.mu.Unlock()
	return append([]Request(nil), o.stats.log...)
}
