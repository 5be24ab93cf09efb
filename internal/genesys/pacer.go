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
	// At or below the reserve a request goes out this often; below stopBelow none.
	reservePace = 2 * time.Second
	stopBelow   = 5
	// inARow is how many turns in a row go to the more urgent before something
	// less urgent that waits gets one: nobody starves.
	inARow = 3

	// realtimeAtOnce is how many requests of realtime are on their way at the same
	// time: "six requests in flight drew 429s; three did not" (GENESYS-API.md, "What
	// live organisations show").
	realtimeAtOnce = 3

	// lookupShare is what names take at most of what we take, and lookupBurst how many
	// requests for them may follow each other after a quiet time: after a start nobody is
	// known. Lists leave all but listBurst of those to steps that wait.
	lookupShare = 0.1
	lookupBurst = 20
	listBurst   = 10

	firstRefusal = time.Second // the pause after a 429 that names none doubles from here
	lastRefusal  = time.Minute
)

// pacer decides when a request may be sent. One pacer is for all requests that
// count against the limit, which is the token's; a family of routes may have a
// lower one (family.go).
//
// The invariants: in no window do we send more than share × limit, of a family no
// more than share × its own; requests are spaced evenly, but for the few that
// spacing.go keeps for what somebody waits for; none is sent before a Retry-After has
// passed or while the server has fewer than stopBelow left; what
// other consumers are seen to take is left to them; a family that must wait holds
// up no other; of four turns at most one goes past something more urgent, so
// that a request which waits behind no other of its kind is overtaken once at most.
//
// It has no goroutine: grants are made by whoever waits, answers, or by a timer.
type pacer struct {
	share   float64
	reserve int

	mu       sync.Mutex
	limit    RateLimit
	families [families]familyState
	queue    [audit.Listing + 1][]*waiter
	row      int // turns since one went past something more urgent
	timer    *time.Timer
	seq      uint64
	sent     []flight // in the last two windows, oldest first
	spacing  spacing
	// bulkShare is the most of the limit that a backfill takes, 0 for what is left;
	// bulkDue is when its next request is due.
	bulkShare float64
	bulkDue   time.Time
	lookupDue time.Time // when the next lookup is due if they are spaced evenly

	throttled      time.Duration // wall time in which the API held requests back
	throttledSince time.Time     // zero while it does not
}

// flight is a request that was sent.
type flight struct {
	seq      uint64
	at       time.Time
	family   family
	answered bool
}

// waiter waits for its turn.
type waiter struct {
	family  family
	purpose audit.Purpose
	turn    chan uint64 // gets the flight's seq
	since   time.Time
}

func newPacer(limit RateLimit, share float64, reserve int, bulkShare float64) *pacer {
	p := &pacer{share: share, reserve: reserve, bulkShare: bulkShare}
	p.setLimit(limit)
	return p
}

// setLimit replaces the limit, before the first request under it.
func (p *pacer) setLimit(limit RateLimit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit == p.limit {
		return
	}
	p.limit = limit
	for f := range p.families {
		p.families[f] = familyState{name: family(f), pace: 1, quota: newQuota(limit)}
	}
}

// wait returns when a request may be sent. Each turn must be given to done.
func (p *pacer) wait(ctx context.Context, f family, purpose audit.Purpose) (turn uint64, err error) {
	w := &waiter{family: f, purpose: purpose, turn: make(chan uint64, 1), since: time.Now()}
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
	f := &p.families[p.land(turn)]
	if o.limit.known {
		f.wide = o.limit.allowed >= p.limit.Requests
	}
	f.quota.report(o.limit, turn, now, func(since time.Time) int {
		n := 0
		for _, x := range p.sent {
			if !x.at.Before(since) && (x.seq <= turn || x.answered) && p.countsFor(f, x.family) {
				n++
			}
		}
		return n
	}, p.flying(turn, func(x family) bool { return p.countsFor(f, x) }))
	switch {
	case o.status == 429:
		pause := f.refused(turn, p.seq, o)
		// Nobody reads less because a lookup of names was refused, unless the server says
		// that nothing is left of the limit of all.
		alone := f.name == namesFamily && !(o.limit.known && o.limit.remaining < stopBelow)
		p.hold(now.Add(pause), func(x family) bool { return x == f.name || !alone && p.countsFor(f, x) })
	case o.status != 0 && turn > f.refusedSeq:
		f.refusals = 0
	}
	if o.status != 429 && o.hasRetry { // who stands in front of the API looks at all requests
		p.hold(now.Add(o.retryAfter+rand.N(100*time.Millisecond)), func(family) bool { return true })
	}
	p.grant()
}

// land notes that a request is not on its way any more, and returns its family.
// It is there: what has no answer is kept.
func (p *pacer) land(turn uint64) family {
	i, _ := slices.BinarySearchFunc(p.sent, turn, func(f flight, seq uint64) int { return cmp.Compare(f.seq, seq) })
	p.sent[i].answered = true
	return p.sent[i].family
}

// flying is how many requests after seq are on their way, of the families that count.
func (p *pacer) flying(seq uint64, counts func(family) bool) int {
	n := 0
	for i := len(p.sent) - 1; i >= 0 && p.sent[i].seq > seq; i-- {
		if !p.sent[i].answered && counts(p.sent[i].family) {
			n++
		}
	}
	return n
}

// countsFor reports whether the server counts requests of x where it tells the
// count of f: one that tells the token's count tells the same with every family.
func (p *pacer) countsFor(f *familyState, x family) bool {
	return x == f.name || f.wide && p.families[x].wide
}

// hold keeps requests back until then.
func (p *pacer) hold(until time.Time, which func(family) bool) {
	for x := range p.families {
		if f := &p.families[x]; which(f.name) && until.After(f.refusedUntil) {
			f.refusedUntil = until
		}
	}
}

// grant gives turns as long as a request may be sent now, and sets the timer
// for the next one. Needs mu.
func (p *pacer) grant() {
	now := time.Now()
	p.forget(now)
	throttled := false
	for {
		var open func(*waiter) bool
		var at time.Time
		if open, at, throttled = p.open(now); at.IsZero() {
			break
		}
		if at.After(now) {
			p.wake(at.Sub(now))
			break
		}
		w := p.pick(open)
		p.depart(&p.families[w.family], w.purpose, now)
		if w.purpose == audit.Backfill && p.bulkShare > 0 {
			step := time.Duration(float64(p.limit.Per) / (p.bulkShare * float64(p.limit.Requests)))
			if p.bulkDue.Before(now.Add(-step)) { // what it did not take before is not kept for it
				p.bulkDue = now.Add(-step)
			}
			p.bulkDue = p.bulkDue.Add(step)
		}
		if w.purpose >= audit.Lookup {
			p.lookupDue = later(p.lookupDue, now).Add(p.lookupStep())
		}
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

// open tells whose turn may come now, and when the first turn may; zero where nobody
// waits. throttled says that it is the API that makes somebody wait.
func (p *pacer) open(now time.Time) (open func(*waiter) bool, first time.Time, throttled bool) {
	var at [families][len(p.queue)]time.Time // zero for not known
	due := func(w *waiter) time.Time {
		at := at[w.family][w.purpose]
		switch w.purpose {
		case audit.Backfill:
			return later(at, p.bulkDue)
		case audit.Lookup:
			return later(at, p.lookupDue.Add(-(lookupBurst-1)*p.lookupStep()))
		case audit.Listing:
			return later(at, p.lookupDue.Add(-(listBurst-1)*p.lookupStep()))
		}
		return at
	}
	for _, q := range p.queue {
		for _, w := range q {
			if at := &at[w.family][w.purpose]; at.IsZero() {
				var why bool
				*at, why = p.next(&p.families[w.family], w.purpose, now)
				throttled = throttled || why && at.After(now)
			}
			if d := due(w); first.IsZero() || d.Before(first) {
				first = d
			}
		}
	}
	return func(w *waiter) bool { return !due(w).After(now) }, first, throttled
}

// lookupStep is the time from one lookup of names to the next.
func (p *pacer) lookupStep() time.Duration {
	return time.Duration(float64(p.usual()) / lookupShare)
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

// next is when a request of the family may be sent, and whether it is the API
// that makes it wait.
func (p *pacer) next(f *familyState, purpose audit.Purpose, now time.Time) (at time.Time, throttled bool) {
	f.quota.roll(now)
	at = p.paced(f, purpose, now)
	wait := func(until time.Time) { at = later(at, until) }
	hold := func(until time.Time) {
		if until.After(at) {
			at, throttled = until, true
		}
	}
	hold(f.refusedUntil)
	if f.name == realtimeFamily && p.flying(0, func(x family) bool { return x == f.name }) >= realtimeAtOnce {
		wait(now.Add(never))
	}
	if f.refusals > 0 && p.flying(f.refusedSeq, func(x family) bool { return x == f.name }) > 0 {
		hold(now.Add(never))
	}
	if q := &f.quota; q.known {
		switch {
		case q.left < max(1, min(stopBelow, q.limit/2)): // a family's limit may be as low as that
			hold(q.endLast)
		case q.left <= p.reserve && !f.last.IsZero():
			hold(f.last.Add(reservePace))
		}
	}
	return at, throttled
}

// paced is when our own pace has a turn for a request of the family.
func (p *pacer) paced(f *familyState, purpose audit.Purpose, now time.Time) time.Time {
	all, own := p.kept(p.limit.Requests), p.kept(f.quota.limit)
	if purpose == audit.Lookup && p.tailWaits(now) {
		all, own = 0, 0
	}
	at := later(now, p.spacing.next(p.usual(), purpose, all))
	at = later(at, f.spacing.next(p.step(f, now), purpose, own))
	at = later(at, p.roomAt(p.most(p.limit.Requests), func(family) bool { return true }))
	return later(at, p.roomAt(p.most(f.quota.limit), func(x family) bool { return p.countsFor(f, x) }))
}

// tailWaits reports whether a request of the tail waits for our own pace.
func (p *pacer) tailWaits(now time.Time) bool {
	for _, w := range p.queue[audit.Tail] {
		if p.paced(&p.families[w.family], audit.Tail, now).After(now) {
			return true
		}
	}
	return false
}

// roomAt is when a window of the requests that count has room for one more.
func (p *pacer) roomAt(most int, counts func(family) bool) time.Time {
	for i := len(p.sent) - 1; i >= 0; i-- {
		if !counts(p.sent[i].family) {
			continue
		}
		if most--; most == 0 {
			return p.sent[i].at.Add(p.limit.Per)
		}
	}
	return time.Time{}
}

// most is how many requests of ours a window may hold under a limit.
func (p *pacer) most(limit int) int {
	return max(1, int(p.share*float64(limit)+1e-9))
}

// usual is the time from one request to the next, under the limit of all.
func (p *pacer) usual() time.Duration { return p.spaced(p.limit.Requests) }

// step is the time from one request of the family to its next.
func (p *pacer) step(f *familyState, now time.Time) time.Duration {
	if now.Sub(f.pacedSince) >= p.limit.Per { // what was slowed down recovers by a tenth a window
		f.pace, f.pacedSince = min(1, f.pace+0.1), now
	}
	usual := time.Duration(float64(p.spaced(f.quota.limit)) / f.pace)
	if !f.quota.known {
		return usual
	}
	room, rest := f.quota.room(now, p.reserve)
	if room <= 0 {
		return max(usual, reservePace)
	}
	return max(usual, min(rest/time.Duration(room), reservePace))
}

// pick takes the waiter whose turn it is, of those whose family may send: the most
// urgent, unless something less urgent has let enough others go first. Of several
// such the one that has waited longest goes; a lookup of names never goes past the
// tail. There must be one.
func (p *pacer) pick(open func(*waiter) bool) *waiter {
	turn, at := -1, 0
	tail := slices.IndexFunc(p.queue[audit.Tail], open) >= 0
	p.row++
	for i, q := range p.queue {
		first := slices.IndexFunc(q, open)
		switch {
		case first < 0, tail && i >= int(audit.Lookup):
		case turn < 0:
			turn, at = i, first
			if p.row <= inARow {
				return p.take(turn, at)
			}
		case p.row > 0 || q[first].since.Before(p.queue[turn][at].since):
			turn, at, p.row = i, first, 0
		}
	}
	return p.take(turn, at)
}

func (p *pacer) take(purpose, at int) *waiter {
	w := p.queue[purpose][at]
	p.queue[purpose] = slices.Delete(p.queue[purpose], at, at+1)
	return w
}

// depart enters a request that goes out now. Needs mu.
func (p *pacer) depart(f *familyState, purpose audit.Purpose, now time.Time) {
	p.seq++
	p.sent = append(p.sent, flight{seq: p.seq, at: now, family: f.name})
	p.spacing.take(p.usual(), purpose, now)
	f.spacing.take(p.step(f, now), purpose, now)
	f.last = now
	for x := range p.families {
		if o := &p.families[x]; p.countsFor(f, o.name) {
			o.quota.left--
		}
	}
}

// alsoSent counts requests of a family that went out without a turn.
func (p *pacer) alsoSent(f family, purpose audit.Purpose, n int) {
	if n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); n > 0; n-- {
		p.depart(&p.families[f], purpose, now)
		p.land(p.seq)
	}
}

// forget drops flights that no rule looks at any more; not those without an answer.
func (p *pacer) forget(now time.Time) {
	old := 0
	for old < len(p.sent)-1 && p.sent[old].answered && now.Sub(p.sent[old].at) > 2*p.limit.Per {
		old++
	}
	p.sent = slices.Delete(p.sent, 0, old)
}
