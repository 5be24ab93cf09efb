package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"
)

// Everything at once: live and late events, readers of all dialects, faults,
// checkers. Run with -race; in the end each reader has had what was shown.
func TestManyAtOnce(t *testing.T) {
	c := serveOrg(t, Options{
		Seed: 3, Clock: time.Now, AuditlogsLimit: Limit{Requests: -1}, PlatformLimit: Limit{Requests: -1},
		Consumers: []Consumer{Greedy()}, Lateness: Lateness{Probability: 0.3, Max: 200 * time.Millisecond},
	})
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	start := time.Now().UTC()
	seen := struct {
		sync.Mutex
		bodies map[string]bool
	}{bodies: map[string]bool{}}
	hours := span(start.Add(-time.Hour), start.Add(time.Hour))
	hours.Set("pageSize", "1000")
	body := fmt.Appendf(nil, `{"interval":"%s/%s","serviceName":"Routing","pageSize":500}`, hours.Get("dateFrom"), hours.Get("dateTo"))
	take := func(r received) {
		var p page
		if whole(r) && json.Unmarshal(r.body, &p) == nil {
			seen.Lock()
			for _, e := range p.Entities {
				seen.bodies[string(e)] = true
			}
			seen.Unlock()
		}
	}
	var running sync.WaitGroup
	until := func(work func()) {
		running.Go(func() {
			for ctx.Err() == nil {
				work()
			}
		})
	}
	running.Go(func() { c.org.Run(ctx, 500) })
	until(func() { take(c.get("/api/v2/auditlogs?" + hours.Encode())) })
	until(func() { take(c.get("/api/v2/auditlogs?" + hours.Encode())) })
	until(func() { take(c.do("POST", "/api/v2/audits/query/realtime", body, nil)) })
	until(func() { c.org.Stats(); c.org.Counts(); time.Sleep(10 * time.Millisecond) })
	until(func() {
		_ = c.org.Inject(Fault{Kind: MovingPages, Events: 1}, Fault{Kind: CutJSON}, Fault{Kind: ResetBody})
		time.Sleep(20 * time.Millisecond)
	})
	until(func() {
		c.do("POST", "/api/v2/audits/query", body, nil)
		time.Sleep(5 * time.Millisecond)
	})
	running.Wait()
	settle(t, c.org)
	shown := c.org.Shown()
	for id, truth := range shown {
		for _, body := range truth.Bodies {
			if !seen.bodies[string(body)] {
				t.Errorf("%s was shown and not seen: %.200s", id, body)
			}
		}
	}
	if len(shown) < 200 {
		t.Errorf("only %d events were shown", len(shown))
	}
}
