package sandbox

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestLimitIsEnforced(t *testing.T) {
	clock := &clock{now: noon}
	c := serveOrg(t, Options{Clock: clock.time, AuditlogsLimit: Limit{Requests: 3, Window: 10 * time.Second, Headers: HeadersBoth}})
	path := "/api/v2/auditlogs?" + hourWith().Encode()
	clock.forward(4 * time.Second)
	for i := range 3 {
		r := c.get(path)
		want := map[string]string{
			"X-Ratelimit-Remaining": strconv.Itoa(2 - i), "X-Ratelimit-Reset": "6",
			"Inin-Ratelimit-Count": strconv.Itoa(i + 1), "Inin-Ratelimit-Allowed": "3", "Inin-Ratelimit-Reset": "6",
		}
		for name, value := range want {
			if got := r.header.Get(name); r.status != 200 || got != value {
				t.Errorf("request %d: status %d, %s %q, want %q", i, r.status, name, got, value)
			}
		}
	}
	if r := c.get(path); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "6" {
		t.Errorf("the fourth: %d, Retry-After %q", r.status, r.header.Get("Retry-After"))
	}
	if r := c.get("/api/v2/organizations/me"); r.status != 200 {
		t.Errorf("under another limit: %d", r.status)
	}
	clock.forward(6 * time.Second)
	if r := c.get(path); r.status != 200 || r.header.Get("X-RateLimit-Remaining") != "2" {
		t.Errorf("in the next window: %d, %q left", r.status, r.header.Get("X-RateLimit-Remaining"))
	}
	stats := c.org.Stats()
	if q := stats.Quotas["auditlogs"]; q.Ours != (Usage{Allowed: 4, Refused: 1}) || q.Peak != 4 {
		t.Errorf("quota %+v", q)
	}
	if v := stats.Violations; v.OverLimit != 1 || v.BeforeRetryAfter != 0 {
		t.Errorf("violations %+v", v)
	}
}

func TestHeaderFamilies(t *testing.T) {
	for family, want := range map[HeaderFamily][2]bool{
		HeadersX: {true, false}, HeadersInin: {false, true}, HeadersBoth: {true, true}, HeadersNone: {false, false},
	} {
		c := serveOrg(t, Options{AuditlogsLimit: Limit{Requests: 3, Window: time.Minute, Headers: family}})
		h := c.get("/api/v2/auditlogs?" + hourWith().Encode()).header
		if got := [2]bool{h.Get("X-RateLimit-Reset") != "", h.Get("inin-ratelimit-reset") != ""}; got != want {
			t.Errorf("%s: %v, want %v", family, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	path := "/api/v2/auditlogs?" + hourWith().Encode()
	start := func(f Fault) (*client, *clock) {
		clock := &clock{now: noon}
		c := serveOrg(t, Options{Clock: clock.time})
		if err := c.org.Inject(f); err != nil {
			t.Fatal(err)
		}
		return c, clock
	}
	c, clock := start(Fault{Kind: TooMany, RetryAfter: 3 * time.Second, HTTPDate: true})
	if got, want := c.get(path).header.Get("Retry-After"), noon.Add(3*time.Second).Format(http.TimeFormat); got != want {
		t.Errorf("as a date: %q, want %q", got, want)
	}
	clock.forward(3 * time.Second)
	if r := c.get(path); r.status != 200 || c.org.Stats().Violations != (Violations{}) {
		t.Errorf("who waits gets %d and violates %+v", r.status, c.org.Stats().Violations)
	}

	c, clock = start(Fault{Kind: TooMany, RetryAfter: 3 * time.Second, Escalate: true})
	for _, want := range []string{"3", "6", "12"} {
		if r := c.get(path); r.status != 429 || r.header.Get("Retry-After") != want {
			t.Errorf("impatient: %d, Retry-After %q, want %q", r.status, r.header.Get("Retry-After"), want)
		}
		clock.forward(time.Second)
	}
	if v := c.org.Stats().Violations; v.BeforeRetryAfter != 2 {
		t.Errorf("violations %+v, want 2 before Retry-After", v)
	}
	clock.forward(12 * time.Second)
	if r := c.get(path); r.status != 200 {
		t.Errorf("after all: %d", r.status)
	}
}

// Where the organisation escalates, who goes on after a refusal waits longer,
// past the end of the window.
func TestEscalation(t *testing.T) {
	for escalate, want := range map[bool]string{false: "4", true: "16"} {
		clock := &clock{now: noon}
		c := serveOrg(t, Options{Clock: clock.time, Escalate: escalate, AuditlogsLimit: Limit{Requests: 1, Window: 6 * time.Second}})
		path := "/api/v2/auditlogs?" + hourWith().Encode()
		c.get(path)
		clock.forward(2 * time.Second)
		for range 2 {
			c.get(path)
		}
		if got := c.get(path).header.Get("Retry-After"); got != want {
			t.Errorf("escalate=%v: Retry-After %s, want %s", escalate, got, want)
		}
	}
}

func TestOtherConsumers(t *testing.T) {
	limit := Limit{Requests: 100, Window: 10 * time.Second}
	for name, test := range map[string]struct {
		consumer Consumer
		allowed  int // of ours, which tries 50 a window for 10 windows
		others   Usage
	}{
		"steady": {Steady(3), 500, Usage{Allowed: 301}},
		"bursty": {Bursty(80, 20*time.Second), 5*50 + 5*20, Usage{Allowed: 6 * 80}},
		"greedy": {Greedy(), 0, Usage{Allowed: 1100, Refused: 1001}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimiter(limit, []Consumer{test.consumer}, false, noon)
			allowed := 0
			for i := range 500 {
				if !l.take(noon.Add(time.Duration(i) * 200 * time.Millisecond)).refused {
					allowed++
				}
			}
			q := l.quota(noon.Add(100 * time.Second))
			if allowed != test.allowed || q.Ours.Allowed != allowed || q.Ours.Allowed+q.Ours.Refused != 500 {
				t.Errorf("ours: %d allowed, want %d; %+v", allowed, test.allowed, q)
			}
			if got := q.Others[test.consumer.Name]; got != test.others {
				t.Errorf("theirs: %+v, want %+v", got, test.others)
			}
		})
	}
	// A clock that jumps does not make the consumers catch up with years.
	l := newLimiter(limit, []Consumer{Greedy()}, false, noon)
	start := time.Now()
	l.take(noon.AddDate(10, 0, 0))
	if took := time.Since(start); took > time.Second {
		t.Errorf("playing ten years took %v", took)
	}
}
