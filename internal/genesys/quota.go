package genesys

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestPause bounds what a Retry-After or a reset header can make us wait; a
// number beyond it is a mistake rather than a limit.
const longestPause = time.Hour

// limitReport is what the headers of an answer say about the limit.
type limitReport struct {
	known     bool
	remaining int           // requests left in the server's window
	allowed   int           // in a whole window; 0 where it is not told
	reset     time.Duration // until the window ends; 0 where it is not told
}

// readLimit reads both families of headers: X-RateLimit-Remaining and -Reset,
// inin-ratelimit-count, -allowed and -reset. Where both are there the stricter counts.
func readLimit(h http.Header) limitReport {
	var r limitReport
	if remaining, ok := headerNumber(h, "X-RateLimit-Remaining"); ok {
		r = limitReport{known: true, remaining: remaining}
		r.reset = readReset(h, "X-RateLimit-Reset")
	}
	count, ok := headerNumber(h, "inin-ratelimit-count")
	allowed, ok2 := headerNumber(h, "inin-ratelimit-allowed")
	if !ok || !ok2 || allowed == 0 {
		return r
	}
	remaining := max(allowed-count, 0)
	if !r.known || remaining < r.remaining {
		r.remaining = remaining
	}
	r.known, r.allowed = true, allowed
	r.reset = max(r.reset, readReset(h, "inin-ratelimit-reset"))
	return r
}

// readReset reads in how many seconds a window ends. Some gateways tell the
// time instead, in seconds since 1970.
func readReset(h http.Header, name string) time.Duration {
	reset, _ := headerNumber(h, name)
	const longAgo = 1_000_000_000 // 2001
	if reset < longAgo {
		return seconds(float64(reset))
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return seconds(float64(int64(reset) - now.Unix()))
}

// headerNumber reads a whole number of 0 or more; a fraction is rounded up.
func headerNumber(h http.Header, name string) (int, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(h.Get(name)), 64)
	if err != nil || math.IsNaN(f) || f > math.MaxInt32 {
		return 0, false
	}
	return int(math.Ceil(max(f, 0))), true
}

// seconds is a duration, at most longestPause.
func seconds(s float64) time.Duration {
	if s >= longestPause.Seconds() {
		return longestPause
	}
	return time.Duration(max(s, 0) * float64(time.Second))
}

// readRetryAfter reads both forms of Retry-After. A date is compared with the
// Date of the same answer, which is the same clock; now stands in for a missing
// one. Both are cut to seconds, so a second is added.
func readRetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(s) {
		return seconds(s), true
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return seconds(until.Sub(now).Seconds() + 1), true
}

// quota is the server's side of the limit, as far as its headers tell. It
// assumes windows that begin when the one before ends; the server's clock is
// not needed, only how long it says a window still lasts.
type quota struct {
	configured int // the limit that we were told of
	limit      int // the one that counts: the server's where that is lower
	window     time.Duration
	// most is the most that a window was ever seen to hold: what was left of it
	// and what we had taken. Where a server does not tell its limit, and we were
	// told of a higher one, it keeps the difference from looking taken by others,
	// once a window was seen to begin: until then they may well have taken it.
	most  int
	begun bool

	known bool
	// left is how many requests the server still takes in this window: its
	// count less what we have sent since.
	left int
	// The window ends between these: the server counts in whole seconds, and
	// nobody says whether it rounds up or down.
	endFirst, endLast time.Time
	newest            uint64 // the request whose answer told left
	// What others took in this window up to seen, and in the two before: a
	// consumer that comes in bursts is quiet in between.
	others, before, beforeThat int
	seen                       time.Time
}

func newQuota(limit RateLimit) quota {
	return quota{configured: limit.Requests, limit: limit.Requests, window: limit.Per}
}

// margin is the error of a reset header.
func (q *quota) margin() time.Duration { return min(time.Second, q.window/10) }

// roll begins a new window where the old one has surely ended.
func (q *quota) roll(now time.Time) {
	if q.known && !now.Before(q.endLast) {
		q.begin(now, q.endLast)
		q.endFirst, q.endLast = now.Add(q.window), now.Add(q.window)
	}
}

func (q *quota) begin(now, ended time.Time) {
	// What they took after we last looked is not known: as much as before it.
	looked := q.window - q.endFirst.Sub(q.seen)
	q.beforeThat, q.before = q.before, int(float64(q.others)*min(2, float64(q.window)/float64(max(looked, 1))))
	if now.Sub(ended) > q.window {
		q.beforeThat = q.before // nobody looked in between
	}
	q.others, q.left, q.seen, q.begun = 0, q.limit, now, true
}

// report takes the headers of an answer to request seq, received at now. ours
// counts our requests since an instant that the server had counted by then;
// later is how many of ours it had not.
func (q *quota) report(r limitReport, seq uint64, now time.Time, ours func(since time.Time) int, later int) {
	if !r.known || seq < q.newest {
		return
	}
	q.roll(now)
	total := q.configured
	if r.allowed > 0 {
		total = r.allowed
	}
	q.limit = min(q.configured, total)
	reset := r.reset
	if reset == 0 {
		reset = q.margin()
	}
	end := now.Add(reset)
	if !q.known || end.After(q.endFirst.Add(q.window/2)) {
		if q.known {
			q.begin(now, q.endFirst)
		}
		q.known, q.endFirst = true, end
	}
	if end.Before(q.endFirst) {
		q.endFirst = end
	}
	q.endLast = end.Add(q.margin())
	q.newest, q.seen = seq, now
	q.left = r.remaining - later
	taken := ours(q.endFirst.Add(-q.window))
	if q.most = max(q.most, r.remaining+taken); r.allowed == 0 && q.begun {
		total = min(total, q.most)
	}
	q.others = max(q.others, total-r.remaining-taken)
}

// room is how many requests the rest of the window has for us beside the
// reserve and what the others are expected to take, and how long that rest is.
func (q *quota) room(now time.Time, reserve int) (requests int, rest time.Duration) {
	rest = max(q.endFirst.Sub(now), 0)
	usual := max(q.before, q.beforeThat)
	expected := usual - q.others
	if q.others > usual {
		// More than ever: it may go on like that.
		elapsed := max(q.window-rest, q.window/10)
		expected = int(float64(q.others) * float64(rest) / float64(elapsed))
	}
	return q.left - reserve - expected, rest
}
