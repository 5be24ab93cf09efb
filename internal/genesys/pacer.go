package genesys

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"genesys-audit-connector/internal/audit"
)

// RateLimit is so many requests in a window of time.
type RateLimit struct {
	Requests int
	Per      time.Duration
}

const (
	// burst is how many requests may follow each other at once after a quiet
	// time. It lets chains that wait for slow answers still use all of the share.
	burst = 2
	// At or below the reserve a request goes out this often; below stopBelow none.
	reservePace = 2 * time.Second
	stopBelow   = 5
	// inARow is how many turns in a row go to the more urgent before something
	// less urgent that waits gets one: nobody starves.
	inARow = 3

	firstRefusal = time.Second // the pause after a 429 that names none doubles from here
	lastRefusal  = time.Minute
)

// pacer decides when a request may be sent. One pacer is for all requests that
// count against the limit.
//
// The invariants: in no window do we send more than share × limit; requests are
// spaced evenly; none is sent before a Retry-After has passed or while the
// server has fewer than stopBelow left; what other consumers are seen to take
// is left to them; of four turns at most one goes past something more urgent, so
// that a request which waits behind no other of its kind is overtaken once at most.
//
// It has no goroutine: grants are made by whoever waits, answers, or by a timer.
type pacer struct {
	share   float64
	reserve int

	mu    sync.Mutex
	limit RateLimit
	queue [audit.Backfill + 1][]*waiter
	row   int // turns since one went past something more urgent
	timer *time.Timer
	seq   uint64
	sent  []flight // in the last two windows, oldest first
	quota quota
	due   time.Time // when the next request is due if they are spaced evenly

	refusedUntil time.Time
	refusals     int    // 429 in a row, each to a request sent after the one before
	refusedSeq   uint64 // the newest request when the last 429 came
	// pace is what of the usual pace is left after 429s that came although the
	// limit had room: an endpoint may have a lower one that nobody documents.
	pace       float64
	pacedSince time.Time

	throttled      time.Duration // wall time in which the API held requests back
	throttledSince time.Time     // zero while it does not
}

// flight is a request that was sent.
type flight struct {
	seq      uint64
	at       time.Time
	answered bool
}

// waiter waits for its turn.
type waiter struct {
	turn  chan uint64 // gets the flight's seq
	since time.Time
}

func newPacer(limit RateLimit, share float64, reserve int) *pacer {
	return &pacer{share: share, reserve: reserve, limit: limit, pace: 1, quota: newQuota(limit)}
}

// setLimit replaces the limit, before the first request under it.
func (p *pacer) setLimit(limit RateLimit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit != p.limit {
		p.limit, p.quota = limit, newQuota(limit)
	}
}

// wait returns when a request may be sent. Each turn must be given to done.
func (p *pacer) wait(ctx context.Context, purpose audit.Purpose) (turn uint64, err error) {
	w := &waiter{turn: make(chan uint64, 1), since: time.Now()}
	p.mu.Lock()
	p.queue[purpose] = append(p.queue[purpose], w)
	p.grant()
	p.mu.Unlock()
	select {
	case turn = <-w.turn:
		return turn, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue[purpose], w); i >= 0 {
		p.queue[purpose] = slices.Delete(p.queue[purpose], i, i+1)
	} else { // granted meanwhile and not used
		p.land(<-w.turn)
	}
	p.grant()
	return 0, context.Cause(ctx)
}

// outcome is what came of a request.
type outcome struct {
	status     int // 0: no answer
	limit      limitReport
	retryAfter time.Duration
	hasRetry   bool
}

// done tells what came of the request that had this turn.
func (p *pacer) done(turn uint64, o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.land(turn)
	p.quota.report(o.limit, turn, now, func(since time.Time) int {
		n := 0
		for _, f := range p.sent {
			if !f.at.Before(since) && (f.seq <= turn || f.answered) {
				n++
			}
		}
		return n
	}, p.flying(turn))
	switch {
	case o.status == 429:
		p.refused(turn, now, o)
	case o.status != 0 && turn > p.refusedSeq:
		p.refusals = 0
	}
	if o.status != 429 && o.hasRetry {
		p.hold(now.Add(o.retryAfter + rand.N(100*time.Millisecond)))
	}
	p.grant()
}

// land notes that a request is not on its way any more.
func (p *pacer) land(turn uint64) {
	if i, ok := slices.BinarySearchFunc(p.sent, turn, func(f flight, seq uint64) int { return cmp.Compare(f.seq, seq) }); ok {
		p.sent[i].answered = true
	}
}

// flying is how many requests after seq are on their way.
func (p *pacer) flying(seq uint64) int {
	n := 0
	for i := len(p.sent) - 1; i >= 0 && p.sent[i].seq > seq; i-- {
		if !p.sent[i].answered {
			n++
		}
	}
	return n
}

// refused takes a 429: nothing is sent before Retry-After has passed, and then
// one request alone, because a limit may escalate for who comes in numbers.
func (p *pacer) refused(turn uint64, now time.Time, o outcome) {
	if turn > p.refusedSeq {
		p.refusals++
		p.refusedSeq = p.seq
		p.pace = max(p.pace*0.9, 0.1)
	}
	backoff := min(firstRefusal<<min(p.refusals-1, 10), lastRefusal)
	pause := 100*time.Millisecond + rand.N(backoff) // full jitter
	if o.hasRetry {
		pause = o.retryAfter + rand.N(100*time.Millisecond)
		if p.refusals > 1 { // obeying was not enough
			pause += rand.N(min(backoff, max(o.retryAfter, firstRefusal)))
		}
	}
	p.hold(now.Add(pause))
}

// hold keeps all requests back until then.
func (p *pacer) hold(until time.Time) {
	if until.After(p.refusedUntil) {
		p.refusedUntil = until
	}
}

// grant gives turns as long as a request may be sent now, and sets the timer
// for the next one. Needs mu.
func (p *pacer) grant() {
	now := time.Now()
	p.forget(now)
	throttled := false
	for p.waiting() {
		at, why := p.next(now)
		if at.After(now) {
			throttled = why
			p.wake(at.Sub(now))
			break
		}
		w := p.pick()
		p.depart(now)
		w.turn <- p.seq
	}
	switch {
	case throttled && p.throttledSince.IsZero():
		p.throttledSince = now
	case !throttled && !p.throttledSince.IsZero():
		p.throttled += now.Sub(p.throttledSince)
		p.throttledSince = time.Time{}
	}
}

func (p *pacer) waiting() bool {
	return slices.ContainsFunc(p.queue[:], func(q []*waiter) bool { return len(q) > 0 })
}

func (p *pacer) wake(in time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(in, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.grant()
		})
		return
	}
	p.timer.Reset(in)
}

// never is a time that only an answer brings nearer.
const never = time.Hour

// next is when a request may be sent, and whether it is the API that makes it wait.
func (p *pacer) next(now time.Time) (at time.Time, throttled bool) {
	p.quota.roll(now)
	step := p.step(now)
	at = now
	if even := p.due.Add(-(burst - 1) * step); even.After(at) {
		at = even
	}
	if most := p.most(); len(p.sent) >= most {
		if free := p.sent[len(p.sent)-most].at.Add(p.limit.Per); free.After(at) {
			at = free
		}
	}
	hold := func(until time.Time) {
		if until.After(at) {
			at, throttled = until, true
		}
	}
	hold(p.refusedUntil)
	if p.refusals > 0 && p.flying(p.refusedSeq) > 0 {
		hold(now.Add(never))
	}
	if q := &p.quota; q.known {
		switch {
		case q.left < stopBelow:
			hold(q.endLast)
		case q.left <= p.reserve && len(p.sent) > 0:
			hold(p.sent[len(p.sent)-1].at.Add(reservePace))
		}
	}
	return at, throttled
}

// most is how many requests of ours a window may hold.
func (p *pacer) most() int {
	return max(1, int(p.share*float64(p.quota.limit)+1e-9))
}

// step is the time from one request to the next.
func (p *pacer) step(now time.Time) time.Duration {
	if now.Sub(p.pacedSince) >= p.limit.Per { // what was slowed down recovers by a tenth a window
		p.pace, p.pacedSince = min(1, p.pace+0.1), now
	}
	usual := time.Duration(float64(p.limit.Per) / float64(p.most()) / p.pace)
	if !p.quota.known {
		return usual
	}
	room, rest := p.quota.room(now, p.reserve)
	if room <= 0 {
		return max(usual, reservePace)
	}
	return max(usual, min(rest/time.Duration(room), reservePace))
}

// pick takes the waiter whose turn it is: the most urgent, unless something less
// urgent has let enough others go first. Of several such the one that has waited
// longest goes.
func (p *pacer) pick() *waiter {
	turn := slices.IndexFunc(p.queue[:], func(q []*waiter) bool { return len(q) > 0 })
	p.row++
	if first := turn; p.row > inARow {
		for i := first + 1; i < len(p.queue); i++ {
			if q := p.queue[i]; len(q) > 0 && (turn == first || q[0].since.Before(p.queue[turn][0].since)) {
				turn, p.row = i, 0
			}
		}
	}
	w := p.queue[turn][0]
	p.queue[turn] = slices.Delete(p.queue[turn], 0, 1)
	return w
}

// depart enters a request that goes out now. Needs mu.
func (p *pacer) depart(now time.Time) {
	p.seq++
	p.sent = append(p.sent, flight{seq: p.seq, at: now})
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(p.step(now))
	p.quota.left--
}

// alsoSent counts requests that went out without a turn.
func (p *pacer) alsoSent(n int) {
	if n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); n > 0; n-- {
		p.depart(now)
		p.land(p.seq)
	}
}

// forget drops flights that no rule looks at any more.
func (p *pacer) forget(now time.Time) {
	old := 0
	for old < len(p.sent)-1 && now.Sub(p.sent[old].at) > 2*p.limit.Per {
		old++
	}
	p.sent = slices.Delete(p.sent, 0, old)
}

// Rate is how the limit stands.
type Rate struct {
	Limit     int           // of the organisation or client
	Window    time.Duration // that it counts in
	Used      int           // by us in the last window
	Others    int           // by others, in this window of the server so far
	Remaining int           // by the server's count, or by ours where it tells none
	Throttled time.Duration // how long the API held requests back
}

func (p *pacer) rate() Rate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	r := Rate{Limit: p.quota.limit, Window: p.limit.Per, Throttled: p.throttled, Others: p.quota.others}
	for _, f := range p.sent {
		if now.Sub(f.at) < p.limit.Per {
			r.Used++
		}
	}
	r.Remaining = max(0, p.quota.limit-r.Used)
	if p.quota.known && now.Before(p.quota.endLast) {
		r.Remaining = max(0, p.quota.left)
	}
	if !p.throttledSince.IsZero() {
		r.Throttled += now.Sub(p.throttledSince)
	}
	return r
}
