package sandbox

import (
	"net/http"
	"sync"
	"time"
)

// HeaderFamily is how a limit shows itself in answers.
type HeaderFamily string

// The header families.
const (
	HeadersX    HeaderFamily = "x"    // X-RateLimit-Remaining, X-RateLimit-Reset
	HeadersInin HeaderFamily = "inin" // inin-ratelimit-count, -allowed, -reset
	HeadersBoth HeaderFamily = "both"
	HeadersNone HeaderFamily = "none"
)

// Limit is how many requests are taken in a window of time. A negative number
// is no limit.
type Limit struct {
	Requests int
	Window   time.Duration
	Headers  HeaderFamily
}

// Consumer is another client that eats from the same quota: every Every it
// sends Requests at once. A greedy one goes on until it is refused.
type Consumer struct {
	Name     string
	Every    time.Duration
	Requests int
	Greedy   bool
}

// Steady takes so many requests a second, evenly.
func Steady(perSecond float64) Consumer {
	return Consumer{Name: "steady", Every: time.Duration(float64(time.Second) / perSecond), Requests: 1}
}

// Bursty takes n requests at once every now and then.
func Bursty(n int, every time.Duration) Consumer {
	return Consumer{Name: "bursty", Every: every, Requests: n}
}

// Greedy takes whatever is left, ten times a second.
func Greedy() Consumer { return Consumer{Name: "greedy", Every: 100 * time.Millisecond, Greedy: true} }

// Usage counts what became of requests under a limit.
type Usage struct {
	Allowed int `json:"allowed"`
	Refused int `json:"refused"`
}

// Quota is how a limit was used.
type Quota struct {
	Ours   Usage            `json:"ours"` // real requests over HTTP
	Peak   int              `json:"peak"` // the most of ours that was sent in one window
	Others map[string]Usage `json:"others"`
}

// limiter enforces a limit in fixed windows. Consumers are played up to the
// moment whenever somebody looks, so they need no goroutines and follow the
// organisation's clock.
type limiter struct {
	Limit
	escalates bool

	mu        sync.Mutex
	window    time.Time // start of the current one
	used      int       // in it, by all
	mine      int       // in it, by real requests, refused ones too
	peak      int
	ours      Usage
	consumers []*consumer
	banned    time.Time     // nothing is taken before
	penalty   time.Duration // the last Retry-After that banned
	harsh     bool          // the ban doubles when it is ignored
}

type consumer struct {
	Consumer
	next  time.Time
	usage Usage
}

func newLimiter(limit Limit, consumers []Consumer, escalates bool, now time.Time) *limiter {
	l := &limiter{Limit: limit, escalates: escalates}
	setDefault(&l.Window, time.Minute)
	l.window = now.Truncate(l.Window)
	for _, c := range consumers {
		l.consumers = append(l.consumers, &consumer{Consumer: c, next: now})
	}
	return l
}

// verdict is what a limit says to a request.
type verdict struct {
	refused    bool
	early      bool // it came before Retry-After had passed
	retryAfter time.Duration
	header     http.Header
}

// take counts a real request.
func (l *limiter) take(now time.Time) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.play(now)
	l.mine++
	l.peak = max(l.peak, l.mine)
	v := verdict{}
	switch {
	case now.Before(l.banned):
		v.refused, v.early = true, true
		if l.harsh {
			l.penalty *= 2
			l.banned = now.Add(l.penalty)
		}
		v.retryAfter = l.banned.Sub(now)
	case l.Requests >= 0 && l.used >= l.Requests:
		v.refused = true
		v.retryAfter = l.window.Add(l.Window).Sub(now)
		if l.escalates {
			l.banned, l.penalty, l.harsh = now.Add(v.retryAfter), v.retryAfter, true
		}
	default:
		l.used++
	}
	if v.refused {
		l.ours.Refused++
	} else {
		l.ours.Allowed++
	}
	v.header = l.header(now)
	return v
}

// punish lets nothing through before retryAfter has passed.
func (l *limiter) punish(now time.Time, retryAfter time.Duration, harsh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.banned, l.penalty, l.harsh = now.Add(retryAfter), retryAfter, harsh
	l.ours.Allowed--
	l.ours.Refused++
}

// play lets the other consumers send what they would have sent until now.
// Needs mu.
func (l *limiter) play(now time.Time) {
	const memory = 10 // windows that a long silence is played for
	for {
		next := l.earliest()
		if next == nil || next.next.After(now) {
			l.turn(now)
			return
		}
		if behind := now.Sub(next.next); behind > memory*l.Window {
			next.next = now.Add(-memory * l.Window)
		}
		l.turn(next.next)
		l.consume(next)
		next.next = next.next.Add(next.Every)
	}
}

func (l *limiter) earliest() *consumer {
	var first *consumer
	for _, c := range l.consumers {
		if first == nil || c.next.Before(first.next) {
			first = c
		}
	}
	return first
}

// turn begins a new window where one is due. Needs mu.
func (l *limiter) turn(now time.Time) {
	if start := now.Truncate(l.Window); start.After(l.window) {
		l.window, l.used, l.mine = start, 0, 0
	}
}

func (l *limiter) consume(c *consumer) {
	left := max(l.Requests-l.used, 0)
	if l.Requests < 0 {
		left = c.Requests
	}
	taken := min(c.Requests, left)
	refused := c.Requests - taken
	if c.Greedy {
		taken, refused = left, 1
	}
	l.used += taken
	c.usage.Allowed += taken
	c.usage.Refused += refused
}

// header is what the limit tells in an answer. Needs mu.
func (l *limiter) header(now time.Time) http.Header {
	h := http.Header{}
	if l.Requests < 0 {
		return h
	}
	reset := seconds(l.window.Add(l.Window).Sub(now))
	number := func(n int) string { return string(appendJSON(nil, n)) }
	if l.Headers == HeadersX || l.Headers == HeadersBoth {
		h.Set("X-RateLimit-Remaining", number(max(l.Requests-l.used, 0)))
		h.Set("X-RateLimit-Reset", reset)
	}
	if l.Headers == HeadersInin || l.Headers == HeadersBoth {
		h.Set("inin-ratelimit-count", number(l.used))
		h.Set("inin-ratelimit-allowed", number(l.Requests))
		h.Set("inin-ratelimit-reset", reset)
	}
	return h
}

func (l *limiter) quota(now time.Time) Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.play(now)
	q := Quota{Ours: l.ours, Peak: l.peak, Others: map[string]Usage{}}
	for _, c := range l.consumers {
		q.Others[c.Name] = c.usage
	}
	return q
}
