package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Each family of routes has a limit of its own beside that of the token, and its
// headers tell of no other.
func TestLimitsByFamily(t *testing.T) {
	limit := func(n int) Limit { return Limit{Requests: n, Window: time.Minute} }
	options := Options{Seed: 1, PlatformLimit: Limit{Requests: 12, Window: time.Minute, Headers: HeadersInin},
		FamilyLimits: map[Family]Limit{FamilyQuery: limit(3), FamilyRealtime: limit(5)}}
	clock := &clock{now: noon}
	options.Clock = clock.time
	c := serveOrg(t, options)
	send := func(path string) received {
		if path == "/realtime" {
			return c.do("POST", "/api/v2/audits/query"+path, ask("Groups", ""), nil)
		}
		if path == "" {
			return c.do("POST", "/api/v2/audits/query", ask("Groups", ""), nil)
		}
		return c.get(path)
	}
	check := func(path string, status int, allowed, count string) {
		t.Helper()
		r := send(path)
		if r.status != status || r.header.Get("inin-ratelimit-allowed") != allowed || r.header.Get("inin-ratelimit-count") != count {
			t.Errorf("%q: %d, %s of %s, want %d, %s of %s", path, r.status, r.header.Get("inin-ratelimit-count"),
				r.header.Get("inin-ratelimit-allowed"), status, count, allowed)
		}
		if (r.header.Get("Retry-After") != "") != (status == 429) {
			t.Errorf("%q: %d with Retry-After %q", path, r.status, r.header.Get("Retry-After"))
		}
	}
	for _, count := range []string{"1", "2", "3"} {
		check("", 202, "3", count)
	}
	check("", 429, "3", "3")
	check("/realtime", 200, "5", "1") // another family's limit is not used up by it
	check("/api/v2/users", 200, "12", "6")
	for range 6 {
		send("/api/v2/users")
	}
	check("/api/v2/users", 429, "12", "12")
	check("/realtime", 429, "12", "12") // the token's own limit stops them all
	quotas := c.org.Stats().Quotas
	if q := quotas["query"].Ours; q.Allowed != 3 || q.Refused != 1 {
		t.Errorf("query: %+v", q)
	}
	clock.forward(time.Minute)
	check("", 202, "3", "1")
}

// More requests of dialect realtime at once than the organisation likes are refused.
func TestRealtimeAtOnce(t *testing.T) {
	for _, tc := range []struct{ atOnce, refused int }{{5, 0}, {8, 3}} {
		c := serveOrg(t, Options{Seed: 1, InFlight: 5, Latency: 300 * time.Millisecond})
		var asking sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		for range tc.atOnce {
			asking.Go(func() {
				r := c.do("POST", "/api/v2/audits/query/realtime", ask("Groups", ""), nil)
				mu.Lock()
				defer mu.Unlock()
				statuses[r.status]++
			})
		}
		asking.Wait()
		if statuses[429] != tc.refused || statuses[200]+statuses[429] != tc.atOnce {
			t.Errorf("%d at once: %v", tc.atOnce, statuses)
		}
	}
}

// A query without a service is about all of them, where the organisation allows it.
func TestQueryWithoutService(t *testing.T) {
	c := busy(t, Options{})
	everything := []byte(`{"interval":"2026-03-02T11:00:00.000Z/2026-03-02T12:00:00.000Z"}`)
	id := c.query("POST", "", everything, 202).ID
	services, n := map[string]bool{}, 0
	for path := "/" + id + "/results?pageSize=500"; path != ""; {
		page := c.query("GET", path, nil, 200)
		for _, body := range page.Entities {
			var e auditEvent
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatal(err)
			}
			services[e.ServiceName] = true
			n++
		}
		if path = ""; page.Cursor != "" {
			path = "/" + id + "/results?pageSize=500&cursor=" + page.Cursor
		}
	}
	events, _ := c.org.journal.all()
	if n != len(events) || len(services) < 40 {
		t.Errorf("%d of %d events, of %d services", n, len(events), len(services))
	}
	c = busy(t, Options{RequireService: true})
	r := c.do("POST", "/api/v2/audits/query", everything, nil)
	if r.status != 400 || !strings.Contains(string(r.body), "service") {
		t.Errorf("%d %s, want a 400 that speaks of a service", r.status, r.body)
	}
	c.query("POST", "", ask("Groups", ""), 202)
}

// Dialect realtime times out on more than a day; a day works.
func TestRealtimeTimesOutOnDays(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, RealtimeSpan: 24 * time.Hour, RealtimeHang: 50 * time.Millisecond})
	inquire := func(interval string) (int, time.Duration) {
		began := time.Now()
		r := c.do("POST", "/api/v2/audits/query/realtime", fmt.Appendf(nil, `{"interval":%q,"serviceName":"Groups"}`, interval), nil)
		return r.status, time.Since(began)
	}
	if status, _ := inquire("2026-03-01T12:00:00Z/2026-03-02T12:00:00Z"); status != 200 {
		t.Errorf("a day: %d", status)
	}
	if status, took := inquire("2026-03-01T11:59:59Z/2026-03-02T12:00:00Z"); status != 504 || took < 50*time.Millisecond {
		t.Errorf("a day and a second: %d after %s", status, took)
	}
}

// Large results are several files: each a bare array at the downloadUrl of a
// 302's body, whose cursor leads to the next.
func TestFilesOfResults(t *testing.T) {
	for _, files := range []Files{{Events: 100}, {Events: 100, Location: true}, {Events: 70, Notification: true}, {}} {
		c := serveRealistic(t, Options{Seed: 1, Odd: -1, Noise: -1, DownloadOver: 150, Files: &files})
		c.org.Backfill(1000, noon.Add(-time.Hour), noon)
		id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
		if page := c.query("GET", "/"+id+"/results?pageSize=25", nil, 200); len(page.Entities) != 25 || page.DownloadURL != "" {
			t.Errorf("%+v: unasked for, %d entities and %q", files, len(page.Entities), page.DownloadURL)
		}
		seen, fetched := map[string]bool{}, 0
		for cursor := "start"; cursor != ""; fetched++ {
			path := "/api/v2/audits/query/" + id + "/results?pageSize=500&allowRedirect=true"
			if cursor != "start" {
				path += "&cursor=" + cursor
			}
			r := c.get(path)
			var said queryAnswer
			if err := json.Unmarshal(r.body, &said); err != nil || r.status != 302 || said.ID != id || said.DownloadURL == "" {
				t.Fatalf("%+v: %d %s", files, r.status, r.body)
			}
			if location := r.header.Get("Location"); files.Location && location != said.DownloadURL || !files.Location && location != "" {
				t.Errorf("%+v: Location %q", files, location)
			}
			var events []map[string]json.RawMessage
			file := (&client{t: t, url: said.DownloadURL, http: c.http}).get("")
			if err := json.Unmarshal(file.body, &events); err != nil || file.status != 200 {
				t.Fatalf("%+v: no bare array: %d %.200s", files, file.status, file.body)
			}
			for _, e := range events {
				seen[string(e["id"])] = true
				inTopic := e["eventTime"] != nil && e["username"] != nil && e["userId"] != nil && e["clientId"] != nil && e["eventDate"] == nil
				if inTopic != files.Notification || (e["eventDate"] != nil) == files.Notification {
					t.Fatalf("%+v: %v", files, e)
				}
			}
			cursor = said.Cursor
		}
		n := c.expected("ContactCenter")
		want := 1
		if files.Events > 0 {
			want = (n + files.Events - 1) / files.Events
		}
		if len(seen) != n || fetched != want {
			t.Errorf("%+v: %d of %d events in %d files, want %d files", files, len(seen), n, fetched, want)
		}
		settle(t, c.org)
		if shown := len(c.org.Shown()); shown != n {
			t.Errorf("%+v: %d events count as shown, want %d", files, shown, n)
		}
	}
}

// A mapping may spell its members in another way, and says the same.
func TestMappingNames(t *testing.T) {
	type pair struct{ service, entityType string }
	read := func(names MappingNames) (pairs []pair) {
		c := serveOrg(t, Options{Seed: 1, MappingNames: names})
		for _, path := range []string{"/servicemapping", "/realtime/servicemapping"} {
			var said struct {
				Services []struct {
					Name, ServiceName string
					Entities          []struct{ Name string }
					EntityTypes       []struct{ EntityType string }
				}
			}
			if err := json.Unmarshal(c.get("/api/v2/audits/query"+path).body, &said); err != nil {
				t.Fatal(err)
			}
			for _, s := range said.Services {
				if (s.Name == "") != (names == MappingLong) || (s.Entities == nil) != (names == MappingLong) {
					t.Fatalf("%q: %+v", names, s)
				}
				for _, e := range s.Entities {
					pairs = append(pairs, pair{s.Name, e.Name})
				}
				for _, e := range s.EntityTypes {
					pairs = append(pairs, pair{s.ServiceName, e.EntityType})
				}
			}
		}
		return pairs
	}
	if short, long := read(MappingShort), read(MappingLong); !slices.Equal(short, long) || len(short) < 300 {
		t.Errorf("%d and %d types", len(short), len(long))
	}
}

// An eleventh token of a client ends the first.
func TestTokensAtOnce(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1})
	tokens := []string{c.token}
	for range 10 {
		c.login()
		tokens = append(tokens, c.token)
	}
	for i, token := range tokens {
		c.token = token
		want := http.StatusOK
		if i == 0 {
			want = http.StatusUnauthorized
		}
		if r := c.get("/api/v2/organizations/me"); r.status != want {
			t.Errorf("token %d of %d: %d, want %d", i+1, len(tokens), r.status, want)
		}
	}
}

// Realistic and Load are what they promise.
func TestRealistic(t *testing.T) {
	for name, options := range map[string]Options{"Realistic": Realistic(1), "Load": Load(1)} {
		clock := &clock{now: noon}
		options.Clock = clock.time
		options.RealtimeHang = time.Millisecond
		c := serveRealistic(t, options)
		c.org.Backfill(6000, noon.Add(-time.Hour), noon)
		if r := c.get("/api/v2/auditlogs?" + hourWith().Encode()); r.status != 404 {
			t.Errorf("%s: auditlogs: %d", name, r.status)
		}
		if n := len(c.query("GET", "/servicemapping", nil, 200).Services); n != 58 {
			t.Errorf("%s: %d services", name, n)
		}
		if n := len(c.query("GET", "/realtime/servicemapping", nil, 200).Services); n != 46 {
			t.Errorf("%s: %d services in realtime", name, n)
		}
		id := c.query("POST", "", []byte(`{"interval":"2026-03-02T11:00:00.000Z/2026-03-02T12:00:00.000Z"}`), 202).ID
		clock.forward(2900 * time.Millisecond)
		if state := c.query("GET", "/"+id, nil, 200).State; state != "Running" {
			t.Errorf("%s: after 2.9 s the query is %s", name, state)
		}
		clock.forward(100 * time.Millisecond)
		if state := c.query("GET", "/"+id, nil, 200).State; state != "Succeeded" {
			t.Errorf("%s: after 3 s the query is %s", name, state)
		}
		if r := c.get("/api/v2/audits/query/" + id + "/results?pageSize=500&allowRedirect=true"); r.status != 302 {
			t.Errorf("%s: 6,000 events are no file: %d", name, r.status)
		}
		long := []byte(`{"interval":"2026-02-26T11:00:00.000Z/2026-03-02T12:00:00.000Z","serviceName":"Groups"}`)
		if r := c.do("POST", "/api/v2/audits/query/realtime", long, nil); r.status != 504 {
			t.Errorf("%s: four days of realtime: %d", name, r.status)
		}
		if q := c.org.platformLimit.Requests; q != 300 {
			t.Errorf("%s: %d requests a minute", name, q)
		}
		if got := c.org.Stats().Violations; got != (Violations{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
