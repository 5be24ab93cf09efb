package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// grants is an organisation with n events of one service in the last hour, or,
// tied, in one millisecond of it.
func grants(t *testing.T, n int, tied bool, faults ...Fault) *client {
	t.Helper()
	c := serveOrg(t, Options{Seed: 1, Odd: -1})
	from, to := noon.Add(-time.Hour), noon
	if tied {
		from = noon.Add(-time.Minute)
		to = from
	}
	c.org.BackfillGrants(n, from, to)
	if err := c.org.Inject(faults...); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) numbered(n int) queryAnswer {
	c.t.Helper()
	return c.query("POST", "/realtime", ask("PeoplePermissions", fmt.Sprintf(`,"pageSize":100,"pageNumber":%d`, n)), 200)
}

func ids(t *testing.T, entities []json.RawMessage) (list []string) {
	t.Helper()
	for _, e := range entities {
		id, err := usableID(e, "id")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, id)
	}
	return list
}

func TestCapsOfRealtime(t *testing.T) {
	for kind, want := range map[FaultKind]struct{ total, pages, third, fourth int }{
		Cap: {250, 3, 50, 0}, CapRepeat: {250, 3, 50, 50}, CapTotal: {250, 5, 50, 0}, CapPages: {430, 3, 50, 0},
	} {
		c := grants(t, 430, false, Fault{Kind: kind, Events: 250, Count: -1})
		first, third, fourth := c.numbered(1), c.numbered(3), c.numbered(4)
		if first.Total != want.total || first.PageCount != want.pages || len(first.Entities) != 100 ||
			len(third.Entities) != want.third || len(fourth.Entities) != want.fourth {
			t.Errorf("%s: %d events, %d pages, %d, %d and %d events on pages", kind,
				first.Total, first.PageCount, len(first.Entities), len(third.Entities), len(fourth.Entities))
		}
		if kind == CapRepeat && !slices.Equal(ids(t, third.Entities), ids(t, fourth.Entities)) {
			t.Error("the page past the cap is not the last one")
		}
		c.org.ClearFaults(kind)
		if p := c.numbered(5); p.Total != 430 || p.PageCount != 5 || len(p.Entities) != 30 {
			t.Errorf("%s: healed: %d events, %d pages, %d on the last", kind, p.Total, p.PageCount, len(p.Entities))
		}
	}
	c := grants(t, 250, false, Fault{Kind: Cap, Events: 250, Count: -1})
	if c.numbered(1); c.org.Stats().Faults[Cap] != 0 {
		t.Error("a cap that nothing reaches counts as struck")
	}
}

func TestChainsEndAtACap(t *testing.T) {
	c := grants(t, 430, false, Fault{Kind: Cap, Events: 250, Count: -1})
	if n := len(c.readAll(hourWith("pageSize", "100"))); n != 250 {
		t.Errorf("auditlogs: %d events", n)
	}
	id := c.query("POST", "", ask("PeoplePermissions", ""), 202).ID
	all := 0
	for cursor := ""; ; {
		p := c.query("GET", "/"+id+"/results?pageSize=100"+cursor, nil, 200)
		all += len(p.Entities)
		if p.Cursor == "" {
			break
		}
		cursor = "&cursor=" + p.Cursor
	}
	if all != 250 {
		t.Errorf("query: %d events", all)
	}
}

func TestTiesComeInAnotherOrder(t *testing.T) {
	c := grants(t, 430, true, Fault{Kind: Ties, Count: -1})
	first, again := c.numbered(1), c.numbered(1)
	if first.Total != 430 || again.Total != 430 || slices.Equal(ids(t, first.Entities), ids(t, again.Entities)) {
		t.Error("the same page twice, or another total")
	}
	met := map[string]bool{}
	for n := range 5 {
		for _, id := range ids(t, c.numbered(n+1).Entities) {
			met[id] = true
		}
	}
	if len(met) == 430 {
		t.Error("nothing is missed")
	}
	spread := grants(t, 50, false, Fault{Kind: Ties, Count: -1})
	if spread.numbered(1); spread.org.Stats().Faults[Ties] != 0 {
		t.Error("ties count as struck where there are none")
	}
}

func TestRealtimeTellsLess(t *testing.T) {
	c := grants(t, 250, false, Fault{Kind: NoTotal, Count: -1}, Fault{Kind: NoPageCount, Count: -1}, Fault{Kind: ShortPage, Events: 7, Count: -1})
	r := c.do("POST", "/api/v2/audits/query/realtime", ask("PeoplePermissions", `,"pageSize":100,"pageNumber":3`), nil)
	var said map[string]json.RawMessage
	if err := json.Unmarshal(r.body, &said); err != nil {
		t.Fatal(err)
	}
	var events []json.RawMessage
	if err := json.Unmarshal(said["entities"], &events); err != nil || len(events) != 43 || said["total"] != nil || said["pageCount"] != nil {
		t.Errorf("%v, %d events, total %s, pageCount %s", err, len(events), said["total"], said["pageCount"])
	}
	if n := len(c.numbered(2).Entities); n != 100 {
		t.Errorf("%d events on a page that is not the last", n)
	}
}

func TestMappingsFlap(t *testing.T) {
	c := busy(t, Options{})
	services := func(path string) (names []string) {
		for _, s := range c.query("GET", path, nil, 200).Services {
			names = append(names, s.Name)
		}
		return names
	}
	for _, path := range []string{"/servicemapping", "/realtime/servicemapping"} {
		all := services(path)
		if err := c.org.Inject(Fault{Kind: EmptyMapping}, Fault{Kind: LacksService, Service: "ContactCenter"},
			Fault{Kind: StatusCode, Status: 404}, Fault{Kind: StatusCode, Status: 400}, Fault{Kind: HTML, Status: 400}); err != nil {
			t.Fatal(err)
		}
		none := len(all) - 1
		for i, want := range []int{404, 400, 400} {
			r := c.get("/api/v2/audits/query" + path)
			if r.status != want || json.Valid(r.body) != (i < 2) {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		if got := services(path); len(got) != 0 {
			t.Errorf("%s: an empty mapping of %q", path, got)
		}
		if got := services(path); len(got) != none || slices.Contains(got, "ContactCenter") {
			t.Errorf("%s: %d of %d services, %q", path, len(got), len(all), got)
		}
		if got := services(path); !slices.Equal(got, all) {
			t.Errorf("%s: %q afterwards", path, got)
		}
	}
}

func TestSlowQueryIsFoundLater(t *testing.T) {
	clock := &clock{now: noon}
	c := busy(t, Options{Clock: clock.time})
	if err := c.org.Inject(Fault{Kind: QuerySlow, Delay: 20 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
	for _, want := range []string{"Running", "Running", "Succeeded"} {
		if got := c.query("GET", "/"+id, nil, 200).State; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		clock.forward(11 * time.Minute)
	}
	if n := len(c.query("GET", "/"+id+"/results?pageSize=500", nil, 200).Entities); n != c.expected("ContactCenter") {
		t.Errorf("%d events", n)
	}
}

// TestScope says, for each part of a fault's scope, which requests it strikes.
func TestScope(t *testing.T) {
	at := noon.Add(-30 * time.Minute)
	body := func(service string, from, to time.Duration) []byte {
		const layout = "2006-01-02T15:04:05.000Z"
		return fmt.Appendf(nil, `{"interval":"%s/%s","serviceName":%q}`, noon.Add(-from).Format(layout), noon.Add(-to).Format(layout), service)
	}
	for name, test := range map[string]struct {
		fault          Fault
		struck, spared []byte
	}{
		"service":  {Fault{Service: "ContactCenter"}, body("ContactCenter", time.Hour, 0), body("PeoplePermissions", time.Hour, 0)},
		"interval": {Fault{From: at}, body("ContactCenter", time.Hour, 0), body("ContactCenter", 30*time.Minute-time.Millisecond, 0)},
		"interval's end is exclusive": {Fault{From: at}, body("ContactCenter", time.Hour, 30*time.Minute-time.Millisecond),
			body("ContactCenter", time.Hour, 30*time.Minute)},
		"since":   {Fault{From: at, Until: noon}, body("ContactCenter", time.Hour, 0), body("ContactCenter", time.Hour, 40*time.Minute)},
		"longer":  {Fault{Longer: 24 * time.Hour}, body("ContactCenter", 25*time.Hour, 0), body("ContactCenter", 24*time.Hour, 0)},
		"younger": {Fault{Younger: time.Minute}, body("ContactCenter", time.Hour, 59*time.Second), body("ContactCenter", time.Hour, time.Minute)},
		"older":   {Fault{Older: time.Minute}, body("ContactCenter", time.Hour, time.Minute), body("ContactCenter", time.Hour, 59*time.Second)},
	} {
		c := serveOrg(t, Options{Seed: 1})
		test.fault.Kind, test.fault.Status, test.fault.Count = StatusCode, http.StatusGatewayTimeout, -1
		if err := c.org.Inject(test.fault); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"", "/realtime"} {
			for range 2 {
				if r := c.do("POST", "/api/v2/audits/query"+path, test.struck, nil); r.status != 504 {
					t.Errorf("%s at %q: %d, want 504", name, path, r.status)
				}
			}
			if r := c.do("POST", "/api/v2/audits/query"+path, test.spared, nil); r.status >= 300 {
				t.Errorf("%s at %q: %d, want success: %s", name, path, r.status, r.body)
			}
		}
	}
}

// Pages and results are about the interval, and the service, of their query.
func TestScopeOfPages(t *testing.T) {
	c := busy(t, Options{})
	id := c.query("POST", "", ask("ContactCenter", ""), 202).ID
	other := c.query("POST", "", ask("Groups", ""), 202).ID
	later := Fault{Kind: StatusCode, Status: 400, Page: "later", From: noon.Add(-time.Minute), Service: "ContactCenter", Count: -1}
	if err := c.org.Inject(later); err != nil {
		t.Fatal(err)
	}
	cursor := "&cursor=" + c.query("GET", "/"+id+"/results?pageSize=25", nil, 200).Cursor
	c.query("GET", "/"+id+"/results?pageSize=25"+cursor, nil, 400)
	c.query("GET", "/"+other+"/results?pageSize=25", nil, 200)
	p := c.page(hourWith("pageSize", "20", "filter", "serviceName=ContactCenter"))
	next := hourWith("pageSize", "20", "filter", "serviceName=ContactCenter", "pageToken", p.next())
	if r := c.get("/api/v2/auditlogs?" + next.Encode()); r.status != 400 {
		t.Errorf("the second page of auditlogs: %d", r.status)
	}
}

// A poisoned event spoils the answers that would hold it, whatever the dialect.
func TestPoison(t *testing.T) {
	for status, looks := range map[int]func(received) bool{
		500: func(r received) bool { return r.status == 500 },
		422: func(r received) bool { return r.status == 422 && strings.Contains(string(r.body), "contextId") },
		0:   notJSON,
	} {
		c := grants(t, 200, false)
		at := noon.Add(-30*time.Minute - 500*time.Microsecond).Truncate(time.Millisecond)
		victim := c.org.BackfillGrants(1, at, at)[0]
		if err := c.org.Inject(Poison(at, status)); err != nil {
			t.Fatal(err)
		}
		if r := c.get("/api/v2/auditlogs?" + hourWith("pageSize", "500").Encode()); !looks(r) {
			t.Errorf("auditlogs: %d %.100s", r.status, r.body)
		}
		if r := c.do("POST", "/api/v2/audits/query/realtime", ask("PeoplePermissions", `,"pageSize":500`), nil); !looks(r) {
			t.Errorf("realtime: %d %.100s", r.status, r.body)
		}
		id := c.query("POST", "", ask("PeoplePermissions", ""), 202).ID
		if r := c.get("/api/v2/audits/query/" + id + "/results?pageSize=500"); !looks(r) {
			t.Errorf("results: %d %.100s", r.status, r.body)
		}
		const layout = "2006-01-02T15:04:05.000Z"
		before := c.readAll(hourWith("dateTo", at.Format(layout)))
		after := c.readAll(hourWith("dateFrom", at.Add(time.Millisecond).Format(layout)))
		settle(t, c.org)
		if _, shown := c.org.Shown()[victim]; shown || len(before)+len(after) != 200 {
			t.Errorf("%d and %d events around it, shown: %t", len(before), len(after), shown)
		}
		c.org.ClearFaults()
		if n := len(c.readAll(hourWith())); n != 201 {
			t.Errorf("healed: %d events", n)
		}
	}
}

func TestFaultsEndByTime(t *testing.T) {
	clock := &clock{now: noon}
	c := busy(t, Options{Clock: clock.time})
	if err := c.org.Inject(Fault{Kind: StatusCode, Status: 404, For: time.Minute}); err != nil {
		t.Fatal(err)
	}
	c.query("GET", "/servicemapping", nil, 404)
	clock.forward(59 * time.Second)
	c.query("GET", "/servicemapping", nil, 404)
	clock.forward(time.Second)
	c.query("GET", "/servicemapping", nil, 200)
	if left := c.org.Stats().ArmedFaults; len(left) != 0 {
		t.Errorf("still armed: %q", left)
	}
}

func TestClockErrors(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1})
	timeOf := func(key string) time.Time {
		for truth := range c.org.Truth() {
			if truth.ID == key {
				return time.UnixMilli(truth.Time)
			}
		}
		return time.Time{}
	}
	for _, e := range []ClockError{{3 * time.Hour, false}, {-3 * time.Hour, false}, {3 * time.Hour, true}, {}} {
		c.control("POST", "clock", fmt.Sprintf(`{"shift":%q,"events":%t}`, e.Shift, e.Events), 200)
		if got := dateOf(c.get("/api/v2/organizations/me")).Sub(noon); got != e.Shift {
			t.Errorf("%+v: the Date header is off by %s", e, got)
		}
		want := noon
		if e.Events {
			want = noon.Add(e.Shift)
		}
		for _, key := range []string{c.org.Emit(1)[0], c.org.EmitGrants(1)[0]} {
			if got := timeOf(key); !got.Equal(want) {
				t.Errorf("%+v: an event of now is of %s", e, got)
			}
		}
	}
	c.control("POST", "clock", `{"shift":"soon"}`, 400)
}

// Every answer of the API has an id of its own for support; an error says it in its body too.
func TestCorrelation(t *testing.T) {
	c := busy(t, Options{})
	good, bad := c.get("/api/v2/organizations/me"), c.get("/api/v2/audits/query/nobody/results")
	var said struct{ ContextID string }
	if err := json.Unmarshal(bad.body, &said); err != nil {
		t.Fatal(err)
	}
	a, b := good.header.Get("ININ-Correlation-Id"), bad.header.Get("ININ-Correlation-Id")
	if a == "" || b == "" || a == b || said.ContextID != b {
		t.Errorf("%q, %q, contextId %q", a, b, said.ContextID)
	}
	requests := c.org.Requests()
	if last := requests[len(requests)-1]; last.CorrelationID != b {
		t.Errorf("the request is remembered with %q", last.CorrelationID)
	}
}

func TestControlOfScope(t *testing.T) {
	c := busy(t, Options{})
	c.control("POST", "faults", `[{"kind":"status","status":504,"endpoint":"realtime","longer":"24h","count":-1},
		{"kind":"cap","events":10,"for":"1m"},{"kind":"query-failed","from":"2026-03-02T11:30:00Z","older":"1m","younger":"1h","holding":true}]`, 200)
	want := []Fault{
		{Kind: StatusCode, Status: 504, Endpoint: EndpointRealtime, Longer: 24 * time.Hour, Count: -1},
		{Kind: Cap, Events: 10, For: time.Minute},
		{Kind: QueryFailed, From: noon.Add(-30 * time.Minute), Older: time.Minute, Younger: time.Hour, Holding: true},
	}
	for i, a := range c.org.faults.armed {
		if a.Fault != want[i] {
			t.Errorf("%+v, want %+v", a.Fault, want[i])
		}
	}
	c.control("DELETE", "faults?kind=cap&kind=status", "", 200)
	if left := c.org.Stats().ArmedFaults; len(left) != 1 || !strings.HasPrefix(left[0], "query-failed") {
		t.Errorf("left: %q", left)
	}
}
