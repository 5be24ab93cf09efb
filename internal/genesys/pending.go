package genesys

import (
	"sync"
	"time"

	"genesys-audit-connector/internal/audit"
)

// A query that takes longer than anybody waits is left running, and looked at
// again by the next reading of its interval: one that was submitted anew each
// time would never be over.
//
// It shows what there was when it was submitted. An event that was shown later,
// while the query ran, is found by the next sweep.

const (
	// mostLooks is how many readings look at one query before its interval is to
	// blame, and is read in halves.
	mostLooks = 3
	// The API keeps results for some time only, and so do we; keepQueries bounds how many.
	expireQueries = 30 * time.Minute
	keepQueries   = 1000
)

// pendingQuery is a query that runs; the zero value is none.
type pendingQuery struct {
	id        string
	submitted time.Time
	looks     int // readings that left it running
}

type queryKey struct {
	stream   string
	from, to int64 // milliseconds
}

func keyOf(stream string, i audit.Interval) queryKey {
	return queryKey{stream, i.From.UnixMilli(), i.To.UnixMilli()}
}

// pendingQueries are those that nobody looks at just now.
type pendingQueries struct {
	mu sync.Mutex
	m  map[queryKey]pendingQuery
}

// take returns the query of an interval, which is the caller's from here on.
// Where there is none it returns one that is to be submitted now.
func (q *pendingQueries) take(stream string, i audit.Interval) pendingQuery {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire()
	key := keyOf(stream, i)
	p, ok := q.m[key]
	if !ok {
		return pendingQuery{submitted: time.Now()}
	}
	delete(q.m, key)
	return p
}

// keep gives a query back that still runs.
func (q *pendingQueries) keep(stream string, i audit.Interval, p pendingQuery, id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire()
	if id == "" || len(q.m) >= keepQueries {
		return
	}
	if q.m == nil {
		q.m = make(map[queryKey]pendingQuery)
	}
	p.id = id
	q.m[keyOf(stream, i)] = p
}

// prefix returns the longest part of i for which a query still runs and with
// which i begins; it is empty where there is none. The end of a tail's interval
// moves from one reading to the next.
func (q *pendingQueries) prefix(stream string, i audit.Interval) audit.Interval {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire()
	whole, to := keyOf(stream, i), int64(0)
	for key := range q.m {
		if key.stream == stream && key.from == whole.from && key.to <= whole.to {
			to = max(to, key.to)
		}
	}
	if to == 0 {
		return audit.Interval{}
	}
	return audit.Interval{From: i.From, To: time.UnixMilli(to).UTC()}
}

// expire forgets those that were submitted too long ago. Needs mu.
func (q *pendingQueries) expire() {
	for key, p := range q.m {
		if time.Since(p.submitted) > expireQueries {
			delete(q.m, key)
		}
	}
}

// looks remembers how long queries took, so that the first look at the next one
// comes when it is probably over: each look is a request.
type looks struct {
	mu   sync.Mutex
	took [audit.Backfill + 1]time.Duration
}

// waits is the pauses before the looks at one query.
type waits struct {
	looks   *looks
	purpose audit.Purpose
	pause   time.Duration // 0 before the first
}

func (l *looks) of(purpose audit.Purpose) *waits { return &waits{looks: l, purpose: purpose} }

func (w *waits) next() time.Duration {
	if w.pause > 0 {
		w.pause = min(w.pause+w.pause/2, longestLook)
		return w.pause
	}
	w.pause = firstLook
	w.looks.mu.Lock()
	defer w.looks.mu.Unlock()
	// A tenth too early: one that was too late would never be found out.
	return min(max(firstLook, w.looks.took[w.purpose]*9/10), longestLook)
}

// done tells how long a query took, as far as anybody looked.
func (w *waits) done(took time.Duration) {
	w.looks.mu.Lock()
	defer w.looks.mu.Unlock()
	before := &w.looks.took[w.purpose]
	*before = (*before + took) / 2
}
