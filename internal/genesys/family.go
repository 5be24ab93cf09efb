package genesys

import (
	"math/rand/v2"
	"strings"
	"time"
)

// family is the routes that share a limit beside the token's own: "300 a minute a
// token; routes belong to families with lower limits of their own, so that one
// family's headers say nothing of another's" (GENESYS-API.md, "What live
// organisations show").
type family uint8

const (
	auditlogsFamily family = iota
	queryFamily
	realtimeFamily
	namesFamily // everything else
	families
)

func (f family) String() string {
	return [...]string{"auditlogs", "query", "realtime", "names"}[f]
}

// familyOf returns the family of a route.
func familyOf(path string) family {
	switch {
	case path == auditlogsPath:
		return auditlogsFamily
	case strings.HasPrefix(path, realtimePath):
		return realtimeFamily
	case strings.HasPrefix(path, queryPath):
		return queryFamily
	}
	return namesFamily
}

// familyState is how the limit of one family stands. The pacer's mu protects it.
type familyState struct {
	name  family
	quota quota
	// wide says that what the server tells is the token's limit: its count then
	// includes the requests of all families of which it tells the same.
	wide    bool
	spacing spacing
	last    time.Time // when the last one went out

	refusedUntil time.Time
	refusals     int    // 429 in a row, each to a request sent after the one before
	refusedSeq   uint64 // the newest request when the last 429 came
	// pace is what of the usual pace is left after 429s that came although the
	// limit had room: a route may have a lower one that nobody documents.
	pace       float64
	pacedSince time.Time
}

// refused takes a 429 and returns how long nothing is sent: until Retry-After has
// passed, and then one request alone, because a limit may escalate for who comes
// in numbers. newest is the newest request that was sent.
func (f *familyState) refused(turn, newest uint64, o outcome) (pause time.Duration) {
	if turn > f.refusedSeq {
		f.refusals++
		f.refusedSeq = newest
		f.pace = max(f.pace*0.9, 0.1)
	}
	backoff := min(firstRefusal<<min(f.refusals-1, 10), lastRefusal)
	if !o.hasRetry {
		return 100*time.Millisecond + rand.N(backoff) // full jitter
	}
	pause = o.retryAfter + rand.N(100*time.Millisecond)
	if f.refusals > 1 { // obeying was not enough
		pause += rand.N(min(backoff, max(o.retryAfter, firstRefusal)))
	}
	return pause
}

// Rate is how the limit stands.
type Rate struct {
	Limit     int           // of the organisation or client
	Window    time.Duration // that it counts in
	Used      int           // by us in the last window
	Others    int           // by others, in this window of the server so far
	Remaining int           // by the server's count, or by ours where it tells none
	Throttled time.Duration // how long the API held requests back
	// Families are the families of routes that were used, each with its own limit.
	Families []FamilyRate
}

// FamilyRate is how the limit of a family of routes stands.
type FamilyRate struct {
	Name                           string // auditlogs, query, realtime, names
	Limit, Used, Others, Remaining int
}

func (p *pacer) rate() Rate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	used := func(counts func(family) bool) (n int) {
		for _, x := range p.sent {
			if now.Sub(x.at) < p.limit.Per && counts(x.family) {
				n++
			}
		}
		return n
	}
	r := Rate{Limit: p.limit.Requests, Window: p.limit.Per, Throttled: p.throttled}
	r.Used = used(func(family) bool { return true })
	r.Remaining = max(0, r.Limit-r.Used)
	if !p.throttledSince.IsZero() {
		r.Throttled += now.Sub(p.throttledSince)
	}
	var told *FamilyRate // the server's word on the limit of all
	for x := range p.families {
		f := &p.families[x]
		if f.last.IsZero() {
			continue
		}
		own := FamilyRate{Name: f.name.String(), Limit: f.quota.limit, Used: used(func(x family) bool { return x == f.name }), Others: f.quota.others}
		own.Remaining = max(0, own.Limit-own.Used)
		current := f.quota.known && now.Before(f.quota.endLast)
		if current {
			own.Remaining = max(0, f.quota.left)
		}
		r.Families = append(r.Families, own)
		if current && f.wide && (told == nil || own.Remaining < told.Remaining) {
			told = &own
		}
	}
	if told == nil && len(r.Families) == 1 { // one family: its limit is all there is
		told = &r.Families[0]
	}
	if told != nil {
		r.Limit, r.Others, r.Remaining = told.Limit, told.Others, told.Remaining
	}
	return r
}
