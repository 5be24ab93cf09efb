package sandbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// clock is one that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var hour = span(noon.Add(-time.Hour), noon)

// hourWith is the request for the last hour with parameters changed; an empty
// value takes the parameter out.
func hourWith(pairs ...string) url.Values {
	params := url.Values{}
	for name, values := range hour {
		params[name] = slices.Clone(values)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			params.Del(pairs[i])
		} else {
			params.Set(pairs[i], pairs[i+1])
		}
	}
	return params
}

func TestAuditlogsParameters(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1})
	c.org.Backfill(30, noon.Add(-time.Hour), noon)
	for name, test := range map[string]struct {
		params url.Values
		status int
	}{
		"as documented":        {hourWith(), 200},
		"no dateFrom":          {hourWith("dateFrom", ""), 408},
		"no dateTo":            {hourWith("dateTo", ""), 408},
		"not in UTC":           {hourWith("dateTo", "2026-03-02T12:00:00+01:00"), 400},
		"too precise":          {hourWith("dateTo", "2026-03-02T12:00:00.0001Z"), 400},
		"seconds only":         {hourWith("dateTo", "2026-03-02T12:00:00Z"), 200},
		"backwards":            {hourWith("dateTo", "2026-03-02T10:00:00.000Z"), 400},
		"page of 0":            {hourWith("pageSize", "0"), 400},
		"page of 1":            {hourWith("pageSize", "1"), 200},
		"page of 1000":         {hourWith("pageSize", "1000"), 200},
		"page of 1001":         {hourWith("pageSize", "1001"), 400},
		"page of many":         {hourWith("pageSize", "many"), 400},
		"filter without value": {hourWith("filter", "type"), 400},
		"made-up page token":   {hourWith("pageToken", "AAAA"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			if r := c.get("/api/v2/auditlogs?" + test.params.Encode()); r.status != test.status {
				t.Errorf("status %d, want %d: %.200s", r.status, test.status, r.body)
			}
		})
	}
	if got := c.org.Stats().Violations.MissingDates; got != 2 {
		t.Errorf("%d requests without dates were counted, want 2", got)
	}
}

func TestAuditlogsFilter(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1})
	c.org.Backfill(2000, noon.Add(-time.Hour), noon)
	events, _ := c.org.journal.all()
	count := func(match func(*event) bool) (n int) {
		for _, e := range events {
			if match(e) {
				n++
			}
		}
		return n
	}
	configuration := count(func(e *event) bool { return e.scene.typ == typeConfiguration })
	queues := count(func(e *event) bool { return e.scene.flatType == "queue" })
	added := count(func(e *event) bool { return e.scene.flatType == "queue" && e.scene.action == "MemberAdd" })
	if configuration == len(events) || added == 0 || added == queues {
		t.Fatal("the events do not tell filters apart")
	}
	for filter, want := range map[string]int{
		"":                                    len(events),
		"type=configuration":                  configuration,
		"type=configuration,entityType=queue": queues,
		"entityType=queue,action=MemberAdd,type=configuration": added,
		"type=configuration,entityType=Queue":                  0, // case counts
		"type=admin":                                           0,
		"colour=blue":                                          0,
		"type=configuration,colour=":                           0,
		"type=authentication":                                  len(events) - configuration,
		"type= configuration":                                  0,
		"entityType=queue,type=admin":                          0,
		"entityType=queue,action=none":                         0,
	} {
		if got := c.readAll(hourWith("filter", filter)); len(got) != want {
			t.Errorf("filter %q: %d events, want %d", filter, len(got), want)
		}
	}
}

func TestAuditlogsInterval(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1, OtherTypes: -1})
	from, to := noon.Add(-10*time.Minute), noon.Add(-5*time.Minute)
	for _, at := range []time.Time{from.Add(-time.Millisecond), from, to.Add(-time.Millisecond), to} {
		c.org.EmitAt(at, 0, 1)
	}
	got := c.readAll(span(from, to))
	if len(got) != 2 {
		t.Fatalf("%d events, want the one at dateFrom and the one before dateTo", len(got))
	}
	for i, at := range []time.Time{from, to.Add(-time.Millisecond)} {
		var e struct{ Timestamp time.Time }
		if err := json.Unmarshal([]byte(got[i]), &e); err != nil || !e.Timestamp.Equal(at) {
			t.Errorf("event %d is of %v (%v), want %v", i, e.Timestamp, err, at)
		}
	}
}

func TestAuditlogsRetention(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1, OtherTypes: -1, Retention: 24 * time.Hour})
	c.org.EmitAt(noon.Add(-25*time.Hour), 0, 1)
	c.org.EmitAt(noon.Add(-24*time.Hour), 0, 1)
	if got := c.readAll(span(noon.Add(-24*time.Hour), noon)); len(got) != 1 {
		t.Errorf("%d events, want the one in retention", len(got))
	}
	if n := c.org.Stats().Violations.OutsideRetention; n != 0 {
		t.Errorf("%d violations by a request inside retention", n)
	}
	if got := c.readAll(span(noon.Add(-48*time.Hour), noon)); len(got) != 1 {
		t.Errorf("%d events, want the one in retention", len(got))
	}
	if n := c.org.Stats().Violations.OutsideRetention; n != 1 {
		t.Errorf("%d violations, want 1", n)
	}
}

func TestPageTokens(t *testing.T) {
	clock := &clock{now: noon}
	c := serveOrg(t, Options{Seed: 1, Clock: clock.time, PageTokenLife: time.Minute, Odd: -1, OtherTypes: -1})
	c.org.Backfill(300, noon.Add(-time.Hour), noon)
	token := c.page(hourWith()).next()
	if token == "" {
		t.Fatal("300 events in pages of 100 need a token")
	}
	damaged := []byte(token)
	damaged[len(damaged)/2] ^= 1
	for name, params := range map[string]url.Values{
		"damaged":        hourWith("pageToken", string(damaged)),
		"other filter":   hourWith("pageToken", token, "filter", "type=authentication"),
		"other interval": hourWith("pageToken", token, "dateFrom", "2026-03-02T11:00:00.001Z"),
	} {
		if r := c.get("/api/v2/auditlogs?" + params.Encode()); r.status != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", name, r.status)
		}
	}
	clock.forward(59 * time.Second)
	c.page(hourWith("pageToken", token))
	clock.forward(time.Second)
	r := c.get("/api/v2/auditlogs?" + hourWith("pageToken", token).Encode())
	var failure struct{ Code string }
	if err := json.Unmarshal(r.body, &failure); err != nil || r.status != 400 || failure.Code != "invalid.page.token" {
		t.Errorf("an old token: %d %s (%v)", r.status, r.body, err)
	}
}

// The end of a chain of pages looks different from time to time.
func TestLastPageVaries(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1, OtherTypes: -1, AuditlogsLimit: Limit{Requests: -1}})
	for i := range 50 {
		c.org.EmitAt(noon.Add(-time.Duration(i+1)*time.Second), 0, 1)
	}
	looks := map[string]int{}
	for i := range 50 {
		from := noon.Add(-time.Duration(i+1) * time.Second)
		params := span(from, from.Add(time.Second))
		params.Set("pageSize", "1")
		r := c.get("/api/v2/auditlogs?" + params.Encode())
		var p map[string]json.RawMessage
		if err := json.Unmarshal(r.body, &p); err != nil {
			t.Fatal(err)
		}
		switch next, there := p["nextPage"]; {
		case !there:
			looks["absent"]++
		case string(next) == "null" || string(next) == `""`:
			looks[string(next)]++
		default:
			looks["empty page follows"]++
			var token string
			_ = json.Unmarshal(next, &token)
			params.Set("pageToken", token)
			if p := c.page(params); len(p.Entities) != 0 || p.next() != "" {
				t.Errorf("after the last event: %d events and token %q", len(p.Entities), p.next())
			}
		}
	}
	if len(looks) != 4 {
		t.Errorf("last pages look like %v, want four kinds", looks)
	}
}

// Events become visible between pages, before and behind the cursor: nothing is
// shown twice, and everything that was visible all the time is shown.
func TestPagesWhileEventsAppear(t *testing.T) {
	clock := &clock{now: noon}
	c := serveOrg(t, Options{Seed: 7, Clock: clock.time, Odd: -1, OtherTypes: -1, AuditlogsLimit: Limit{Requests: -1}})
	early := c.org.Backfill(500, noon.Add(-time.Hour), noon)
	d := roll(7, 7)
	for range 500 { // many share the millisecond of an early one
		at := noon.Add(-time.Duration(d.n(3600_000)) * time.Millisecond)
		if d.chance(0.5) {
			events, _ := c.org.journal.all()
			at = events[d.n(500)].time()
		}
		c.org.EmitAt(at, time.Duration(1+d.n(50))*time.Second, 1)
	}
	seen := map[string]int{}
	params := hourWith("pageSize", "17")
	for range 1000 {
		p := c.page(params)
		for _, e := range p.Entities {
			id, err := usableID(e, "auditId")
			if err != nil {
				t.Fatal(err)
			}
			seen[id]++
		}
		clock.forward(time.Second)
		if p.next() == "" {
			break
		}
		params.Set("pageToken", p.next())
	}
	for id, times := range seen {
		if times > 1 {
			t.Errorf("%s was shown %d times", id, times)
		}
	}
	for _, id := range early {
		if seen[id] == 0 {
			t.Errorf("%s was visible all the time and never shown", id)
		}
	}
	if len(seen) <= 500 || len(seen) >= 1000 {
		t.Errorf("%d events were seen: none of the late ones, or all of them", len(seen))
	}
	clock.forward(time.Minute)
	if all := c.readAll(hourWith()); len(all) != 1000 {
		t.Errorf("a second reading shows %d events, want all 1000", len(all))
	}
}
