// Package health knows what fails at the moment and what failed lately. Every
// part of the connector reports to it in the same way; the status page,
// /readyz, lastError and the metrics read it.
//
// It promises that one subject's success clears nothing but that subject. It
// refuses to know who reports and who asks.
package health

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"
)

// Kind says where an operator looks for the cause of a failure. Alert rules
// name it.
type Kind string

// The kinds.
const (
	Credentials Kind = "credentials" // refused: token, permission, client
	API         Kind = "api"         // unreachable, or answers with faults
	Kafka       Kind = "kafka"       // brokers, topics, transactions
	Registry    Kind = "registry"
	Other       Kind = "other"
)

// Kinds are all of them.
var Kinds = []Kind{Credentials, API, Kafka, Registry, Other}

// Subject names what fails or works. Two reports are about the same thing if
// and only if their subjects are equal.
type Subject struct {
	Kind Kind   // where to look, unless the error says otherwise (KindError)
	Op   string // what is tried: "tail", "sweep 6h", "backfill", "commit"
	// Of is what it is tried on: a stream, a stream and an interval, a topic; ""
	// where there is only one.
	Of string
	// Warning says that the work goes on all the same (the producer is throttled,
	// a clock is doubted): people are told, but the replica stays ready.
	Warning bool
}

func (s Subject) String() string {
	if s.Of == "" {
		return s.Op
	}
	return s.Op + " " + s.Of
}

// KindError is an error that knows better than its subject where to look.
type KindError interface {
	error
	HealthKind() Kind
}

// Failure is something that fails, or failed until Ended.
type Failure struct {
	Subject
	Err   error
	Since time.Time // of the first failure in a row
	Last  time.Time
	Times int
	Ended time.Time // when it worked again; zero while it lasts
}

// lastingAfter and lastingTimes say when a failure is more than a hiccup.
const (
	lastingAfter = 10 * time.Second
	lastingTimes = 3
)

// Lasting reports whether the failure is more than a hiccup: then the replica
// is not ready, unless it is a Warning.
func (f Failure) Lasting(now time.Time) bool {
	return f.Ended.IsZero() && (f.Times >= lastingTimes || now.Sub(f.Since) >= lastingAfter)
}

// keepPast is how many failures that ended are kept for people to look at.
const keepPast = 10

// Monitor holds the failures of one process. The zero Monitor is ready. It is
// safe for concurrent use.
type Monitor struct {
	mu      sync.Mutex
	failing map[Subject]*Failure
	past    []Failure // the newest last; at most keepPast
	panics  int
}

// Report notes that the subject failed, or, with nil, that it works.
func (m *Monitor) Report(s Subject, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.failing[s]
	if err == nil {
		if f != nil {
			m.end(s, now)
		}
		return
	}
	if f == nil {
		if m.failing == nil {
			m.failing = make(map[Subject]*Failure)
		}
		f = &Failure{Subject: s, Since: now}
		m.failing[s] = f
	}
	f.Kind = s.Kind
	var known KindError
	if errors.As(err, &known) {
		f.Kind = known.HealthKind()
	}
	f.Err, f.Last = err, now
	f.Times++
}

// Drop ends the failures of all subjects that match: nobody tries them any more.
func (m *Monitor) Drop(match func(Subject) bool) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.failing {
		if match(s) {
			m.end(s, now)
		}
	}
}

func (m *Monitor) end(s Subject, now time.Time) {
	f := *m.failing[s]
	delete(m.failing, s)
	f.Ended = now
	m.past = append(m.past, f)
	if over := len(m.past) - keepPast; over > 0 {
		m.past = slices.Delete(m.past, 0, over)
	}
}

// Failing returns what fails at the moment, the longest standing first.
func (m *Monitor) Failing() []Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Failure, 0, len(m.failing))
	for _, f := range m.failing {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Failure) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.String(), b.String()))
	})
	return list
}

// Past returns what failed lately and works now, the oldest first.
func (m *Monitor) Past() []Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.past)
}
