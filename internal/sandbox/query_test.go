package sandbox

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ask is the body of a query for the last hour.
func ask(service string, more string) []byte {
	return fmt.Appendf(nil, `{"interval":"2026-03-02T11:00:00.000Z/2026-03-02T12:00:00.000Z","serviceName":%q,
		"sort":[{"name":"Timestamp","sortOrder":"ascending"}]%s}`, service, more)
}

type queryAnswer struct {
	ID, State, Cursor, DownloadURL         string
	Entities                               []json.RawMessage
	PageSize, PageNumber, Total, PageCount int
	Services                               []struct {
		Name     string
		Entities []struct {
			Name    string
			Actions []string
		}
	}
}

func (c *client) query(method, path string, body []byte, want int) queryAnswer {
	c.t.Helper()
	r := c.do(method, "/api/v2/audits/query"+path, body, nil)
	if r.err != nil || r.status != want {
		c.t.Fatalf("%s %s: %d %s %v, want %d", method, path, r.status, r.body, r.err, want)
	}
	var a queryAnswer
	if err := json.Unmarshal(r.body, &a); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// busy is an organisation with some 300 events of queues in the last hour.
func busy(t *testing.T, options Options) *client {
	options.Seed, options.Odd, options.Noise, options.WholeRealtime = 1, -1, -1, true
	c := serveOrg(t, options)
	c.org.Backfill(1000, noon.Add(-time.Hour), noon)
	return c
}

func (c *client) expected(service string) int {
	n := 0
	events, visible := c.org.journal.all()
	for _, e := range events[:visible] {
		if e.scene.service == service {
			n++
		}
	}
	return n
}

func TestQuery(t *testing.T) {
	clock := &clock{now: noon}
	c := busy(t, Options{Clock: clock.time, QueryDelay: 4 * time.Second})
	id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
	for _, want := range []string{"Queued", "Running", "Succeeded"} {
		if got := c.query("GET", "/"+id, nil, 200).State; got != want {
			t.Errorf("state %s, want %s", got, want)
		}
		if want != "Succeeded" {
			c.query("GET", "/"+id+"/results", nil, 400)
		}
		clock.forward(2 * time.Second)
	}
	before := c.expected("ContactCenter")
	c.org.EmitAt(noon.Add(-time.Minute), 0, 200) // too late for this query
	var got []string
	for path := "/" + id + "/results?pageSize=25&expand=user"; ; {
		page := c.query("GET", path, nil, 200)
		for _, e := range page.Entities {
			got = append(got, string(e))
		}
		if page.Cursor == "" {
			break
		}
		path = "/" + id + "/results?pageSize=25&expand=user&cursor=" + page.Cursor
	}
	if len(got) != before || before < 100 {
		t.Errorf("%d events, want %d", len(got), before)
	}
	last := ""
	for _, text := range got {
		var e struct{ EventDate, ServiceName string }
		if err := json.Unmarshal([]byte(text), &e); err != nil || e.ServiceName != "ContactCenter" || e.EventDate < last {
			t.Fatalf("after %s: %s", last, text)
		}
		last = e.EventDate
	}
	if !strings.Contains(got[0], `"user":{"id":"`) || !strings.Contains(strings.Join(got, ""), `,"name":"Ana Lima","selfUri"`) {
		t.Error("expand=user gives no names")
	}
	settle(t, c.org)
	if shown := c.org.Shown(); len(shown) != before {
		t.Errorf("%d events count as shown, want %d", len(shown), before)
	}
	clock.forward(2 * time.Hour)
	c.query("GET", "/"+id, nil, 404)
}

// The same event has the same id in all dialects.
func TestDialectsAgree(t *testing.T) {
	c := busy(t, Options{})
	flat, nested := map[string]bool{}, map[string]bool{}
	for _, e := range c.readAll(hourWith("filter", "serviceName=ContactCenter")) {
		id, _ := usableID([]byte(e), "auditId")
		flat[id] = true
	}
	for n := 1; ; n++ {
		page := c.query("POST", "/realtime", ask("ContactCenter", fmt.Sprintf(`,"pageSize":100,"pageNumber":%d`, n)), 200)
		for _, e := range page.Entities {
			id, _ := usableID(e, "id")
			nested[id] = true
		}
		if n >= page.PageCount {
			break
		}
	}
	if len(flat) != len(nested) || len(flat) != c.expected("ContactCenter") {
		t.Fatalf("%d and %d events", len(flat), len(nested))
	}
	for id := range flat {
		if !nested[id] {
			t.Errorf("%s is known to auditlogs only", id)
		}
	}
	settle(t, c.org)
	for id, truth := range c.org.Shown() {
		if len(truth.Bodies) != 2 {
			t.Fatalf("%s was shown in %d shapes", id, len(truth.Bodies))
		}
	}
}

func TestQueryRefusals(t *testing.T) {
	c := busy(t, Options{})
	for name, body := range map[string]string{
		"no JSON":             `{`,
		"unknown service":     string(ask("Ruting", "")),
		"service in lower":    string(ask("routing", "")),
		"31 days":             `{"interval":"2026-01-30T00:00:00Z/2026-03-02T00:00:00Z","serviceName":"ContactCenter"}`,
		"no interval":         `{"serviceName":"ContactCenter"}`,
		"backwards":           `{"interval":"2026-03-02T00:00:00Z/2026-03-01T00:00:00Z","serviceName":"ContactCenter"}`,
		"action without type": string(ask("ContactCenter", `,"filters":[{"property":"Action","value":"Update"}]`)),
		"unknown property":    string(ask("ContactCenter", `,"filters":[{"property":"Colour","value":"blue"}]`)),
		"unknown sort":        `{"interval":"2026-03-01T00:00:00Z/2026-03-02T00:00:00Z","serviceName":"ContactCenter","sort":[{"name":"Id"}]}`,
		"unknown order":       `{"interval":"2026-03-01T00:00:00Z/2026-03-02T00:00:00Z","serviceName":"ContactCenter","sort":[{"name":"Timestamp","sortOrder":"asc"}]}`,
	} {
		for _, path := range []string{"", "/realtime"} {
			if r := c.do("POST", "/api/v2/audits/query"+path, []byte(body), nil); r.status != 400 {
				t.Errorf("%s at %q: %d %s", name, path, r.status, r.body)
			}
		}
	}
	id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
	for _, bad := range []string{"?pageSize=24", "?pageSize=501", "?cursor=AAAA"} {
		c.query("GET", "/"+id+"/results"+bad, nil, 400)
	}
	c.query("GET", "/00000000-0000-4000-8000-000000000000/results", nil, 404)
	old := `{"interval":"2026-02-01T00:00:00Z/2026-02-02T00:00:00Z","serviceName":"ContactCenter"}`
	c.query("POST", "/realtime", []byte(old), 400)
	c.query("POST", "", []byte(`{"interval":"2025-02-01T00:00:00Z/2025-02-02T00:00:00Z","serviceName":"ContactCenter"}`), 202)
	if n := c.org.Stats().Violations.OutsideRetention; n != 2 {
		t.Errorf("%d requests outside retention were counted, want 2", n)
	}
	c.query("POST", "/realtime", ask("Telephony", ""), 400) // dialect query only
	c.query("POST", "", ask("Telephony", ""), 202)
}

func TestQueryFilters(t *testing.T) {
	c := busy(t, Options{})
	all := c.query("POST", "/realtime", ask("PeoplePermissions", ""), 200).Total
	roles := c.query("POST", "/realtime", ask("PeoplePermissions", `,"filters":[{"property":"EntityType","value":"Role"}]`), 200).Total
	added := c.query("POST", "/realtime", ask("PeoplePermissions", `,"filters":[{"property":"EntityType","value":"Role"},{"property":"Action","value":"MemberAdd"}]`), 200).Total
	none := c.query("POST", "/realtime", ask("PeoplePermissions", `,"filters":[{"property":"EntityType","value":"role"}]`), 200).Total
	if !(all > roles && roles > added && added > 0 && none == 0) {
		t.Errorf("%d events, %d of roles, %d members added, %d of a wrong spelling", all, roles, added, none)
	}
}

func TestQueryFaults(t *testing.T) {
	for kind, want := range map[FaultKind]string{QueryFailed: "Failed", QueryCancelled: "Cancelled", QueryStuck: "Running"} {
		c := busy(t, Options{})
		if err := c.org.Inject(Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		struck := c.query("POST", "", ask("ContactCenter", ""), 202).ID
		spared := c.query("POST", "", ask("ContactCenter", ""), 202).ID
		if got := c.query("GET", "/"+struck, nil, 200).State; got != want {
			t.Errorf("%s: state %s, want %s", kind, got, want)
		}
		if got := c.query("GET", "/"+spared, nil, 200).State; got != "Succeeded" {
			t.Errorf("%s: the next query is %s", kind, got)
		}
	}
	c := busy(t, Options{})
	id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
	if err := c.org.Inject(Fault{Kind: ResultsExpired}); err != nil {
		t.Fatal(err)
	}
	c.query("GET", "/"+id+"/results", nil, 404)
	c.query("GET", "/"+id+"/results", nil, 200)
}

// Large results are a file on another host, which must not see the token.
func TestDownloads(t *testing.T) {
	var org *Org
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { org.Downloads().ServeHTTP(w, r) }))
	defer host.Close()
	c := busy(t, Options{DownloadURL: host.URL, DownloadOver: 50})
	org = c.org
	id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
	file := c.query("GET", "/"+id+"/results", nil, 200).DownloadURL
	moved := c.do("GET", "/api/v2/audits/query/"+id+"/results?allowRedirect=true", nil, nil)
	if moved.status != 302 || moved.header.Get("Location") != file || !strings.HasPrefix(file, host.URL) {
		t.Fatalf("%d to %q, downloadUrl %q", moved.status, moved.header.Get("Location"), file)
	}
	fetch := func(url, token string) received {
		other := &client{t: t, org: c.org, url: url, token: token, http: c.http}
		return other.get("")
	}
	r := fetch(file, "")
	var got queryAnswer
	if err := json.Unmarshal(r.body, &got); err != nil || r.status != 200 || len(got.Entities) != c.expected("ContactCenter") {
		t.Errorf("%d with %d events, %v", r.status, len(got.Entities), err)
	}
	if n := c.org.Stats().Violations.TokenToDownload; n != 0 {
		t.Errorf("%d violations by a good client", n)
	}
	if r := fetch(file, c.token); r.status != 400 || c.org.Stats().Violations.TokenToDownload != 1 {
		t.Errorf("with the token: %d, %+v", r.status, c.org.Stats().Violations)
	}
	if r := fetch(file+"x", ""); r.status != 403 {
		t.Errorf("with a wrong signature: %d", r.status)
	}
	for _, kind := range []FaultKind{ResultsRedirect, ResultsDownload} {
		c := busy(t, Options{DownloadURL: host.URL})
		id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
		if err := c.org.Inject(Fault{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		r := c.do("GET", "/api/v2/audits/query/"+id+"/results", nil, nil)
		if (r.status == 302) != (kind == ResultsRedirect) || !strings.Contains(r.header.Get("Location")+string(r.body), host.URL) {
			t.Errorf("%s: %d %s", kind, r.status, r.body)
		}
		if n := len(c.query("GET", "/"+id+"/results", nil, 200).Entities); n != queryMinPage {
			t.Errorf("%s: %d events on the next page", kind, n)
		}
	}
}

// Pages of dialect realtime move when events arrive, and total tells.
func TestRealtimePagesMove(t *testing.T) {
	c := busy(t, Options{})
	page := func(n int) queryAnswer {
		return c.query("POST", "/realtime", ask("ContactCenter", fmt.Sprintf(`,"pageSize":50,"pageNumber":%d`, n)), 200)
	}
	one := page(1)
	c.org.EmitAt(noon.Add(-59*time.Minute-59*time.Second), 0, 200)
	two := page(2)
	if two.Total == one.Total || two.PageNumber != 2 || two.PageSize != 50 || two.PageCount != (two.Total+49)/50 {
		t.Errorf("%d of %d, %d of %d", one.PageNumber, one.Total, two.PageNumber, two.Total)
	}
	again := 0
	for _, a := range one.Entities {
		for _, b := range two.Entities {
			if string(a) == string(b) {
				again++
			}
		}
	}
	if again == 0 {
		t.Error("no event of the first page came again on the second")
	}
	for _, n := range []int{two.PageCount + 1, 1000, math.MaxInt} {
		if beyond := page(n); len(beyond.Entities) != 0 {
			t.Errorf("%d events on page %d, beyond the last", len(beyond.Entities), n)
		}
	}
	if last := page(two.PageCount); len(last.Entities) != two.Total-(two.PageCount-1)*50 {
		t.Errorf("%d events on the last page of %d events", len(last.Entities), two.Total)
	}
}

func TestRelated(t *testing.T) {
	c := busy(t, Options{})
	e := c.query("POST", "/realtime", ask("ContactCenter", ""), 200).Entities[0]
	id, _ := usableID(e, "id")
	related := c.query("POST", "/realtime/related", fmt.Appendf(nil, `{"auditId":%q}`, id), 200).Entities
	if len(related) < 2 || len(related) > 8 {
		t.Errorf("%d related events", len(related))
	}
	c.query("POST", "/realtime/related", []byte(`{"auditId":"nobody"}`), 404)
	c.query("POST", "/realtime/related", []byte(`{}`), 400)
}

func TestServiceMappings(t *testing.T) {
	c := busy(t, Options{})
	has := func(a queryAnswer, service, entity, action string) bool {
		for _, s := range a.Services {
			for _, e := range s.Entities {
				for _, name := range e.Actions {
					if s.Name == service && e.Name == entity && name == action {
						return true
					}
				}
			}
		}
		return false
	}
	all := c.query("GET", "/servicemapping", nil, 200)
	realtime := c.query("GET", "/realtime/servicemapping", nil, 200)
	if len(all.Services) < 20 || len(realtime.Services) >= len(all.Services) {
		t.Errorf("%d and %d services", len(all.Services), len(realtime.Services))
	}
	if !has(all, "PeoplePermissions", "Role", "MemberAdd") || !has(all, "Telephony", "Edge", "Update") || has(realtime, "Telephony", "Edge", "Update") {
		t.Error("the mappings do not say what happens where")
	}
	if has(all, "Quantum", "Qubit", "Entangle") {
		t.Error("a service is known before its first event")
	}
	if _, err := c.org.EmitRaw(Raw{At: noon, Body: []byte(`{"auditId":"q"}`), Query: []byte(`{"id":"q"}`),
		Service: "Quantum", EntityType: "Qubit", Action: "Entangle"}); err != nil {
		t.Fatal(err)
	}
	if !has(c.query("GET", "/servicemapping", nil, 200), "Quantum", "Qubit", "Entangle") {
		t.Error("a new service is not in the mapping")
	}
}

func TestDialectsThatAreNotServed(t *testing.T) {
	c := serveOrg(t, Options{Dialects: []Dialect{Query}})
	for path, want := range map[string]int{
		"/api/v2/auditlogs?" + hourWith().Encode():     404,
		"/api/v2/audits/query/realtime/servicemapping": 404,
		"/api/v2/audits/query/servicemapping":          200,
	} {
		if r := c.get(path); r.status != want {
			t.Errorf("%s: %d, want %d", path, r.status, want)
		}
	}
}
