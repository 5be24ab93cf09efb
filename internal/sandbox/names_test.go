package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type listingAnswer struct {
	Entities                               []struct{ ID, Name, State string }
	PageSize, PageNumber, Total, PageCount int
	NextURI, Code, Message                 string
}

func (c *client) names(path string, want int) (l listingAnswer) {
	c.t.Helper()
	r := c.get(path)
	if r.status != want || json.Unmarshal(r.body, &l) != nil {
		c.t.Fatalf("%s: %d %.300s, want %d", path, r.status, r.body, want)
	}
	if r.header.Get("ININ-Correlation-Id") == "" {
		c.t.Errorf("%s: no ININ-Correlation-Id", path)
	}
	return l
}

var namePaths = map[string]string{
	"/api/v2/users":                   PermissionUsers,
	"/api/v2/authorization/roles":     PermissionRoles,
	"/api/v2/groups":                  PermissionGroups,
	"/api/v2/authorization/divisions": PermissionDivisions,
	"/api/v2/oauth/clients":           PermissionClients,
	"/api/v2/routing/queues":          PermissionQueues,
}

// Every listing is read whole by following nextUri, and by counting pages.
func TestNamesArePaged(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1})
	for path := range namePaths {
		seen := map[string]bool{}
		pages := 0
		for next := path + "?pageSize=3"; next != ""; pages++ {
			page := c.names(next, 200)
			for _, e := range page.Entities {
				if e.ID == "" || e.Name == "" || seen[e.ID] {
					t.Errorf("%s: %+v on page %d", path, e, page.PageNumber)
				}
				seen[e.ID] = true
			}
			if page.PageNumber != pages+1 || page.PageSize != 3 || page.PageCount != (page.Total+2)/3 || (page.NextURI == "") != (page.PageNumber == page.PageCount) {
				t.Errorf("%s: page %d: %+v", path, pages+1, page)
			}
			next = page.NextURI
		}
		if page := c.names(path, 200); len(seen) != page.Total || page.PageSize != 25 || len(page.Entities) != min(25, page.Total) {
			t.Errorf("%s: %d of %d, by default %d on a page", path, len(seen), page.Total, len(page.Entities))
		}
		c.names(path+"?pageSize=501", 400)
		c.names(path+"?pageNumber=0", 400)
		if beyond := c.names(path+"?pageNumber=999&pageSize=500", 200); len(beyond.Entities) != 0 {
			t.Errorf("%s: %d beyond the last page", path, len(beyond.Entities))
		}
	}
}

// Users are found by ids; who was deleted is still served, and says so.
func TestUsersByID(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1})
	w := c.org.world
	here, left, admin := w.people[0], w.people[len(w.people)-1], w.admins[3].person
	ids := here.id + "," + left.id + "," + admin.id + "," + w.trustees[0].id
	for query, want := range map[string]int{
		"?id=" + ids:                              2,
		"?state=any&id=" + ids:                    3,
		"?state=deleted&id=" + ids:                1,
		"?id=" + here.id + "&id=" + admin.id:      2,
		"?state=any&pageSize=2&id=" + ids:         2,
		"?id=00000000-0000-4000-8000-00000000000": 0,
	} {
		if got := c.names("/api/v2/users"+query, 200); len(got.Entities) != want {
			t.Errorf("%s: %d users, want %d", query, len(got.Entities), want)
		}
	}
	for id, state := range map[string]string{here.id: "active", left.id: "deleted", admin.id: "active"} {
		r := c.get("/api/v2/users/" + id)
		var user struct{ ID, Name, State string }
		if r.status != 200 || json.Unmarshal(r.body, &user) != nil || user.ID != id || user.Name == "" || user.State != state {
			t.Errorf("user %s: %d %s, want state %s", id, r.status, r.body, state)
		}
	}
	for who, id := range map[string]string{"a trustee": w.trustees[0].id, "an OAuth client": w.stand.id, "a group": w.groups[0].get("id").(string)} {
		if r := c.get("/api/v2/users/" + id); r.status != 404 {
			t.Errorf("%s is a user: %d", who, r.status)
		}
	}
}

// Things are renamed, and new ones come, while somebody reads their names.
func TestNamesChange(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1})
	role, user := c.org.world.roles[0].get("id").(string), c.org.world.people[0].id
	before := c.names("/api/v2/authorization/roles?pageSize=100", 200).Total
	c.org.SetName(EndpointRoles, role, "Owner")
	c.org.SetName(EndpointUsers, user, "Aisha Married")
	if r := c.do("POST", "/sandbox/names", []byte(`{"listing":"roles","id":"r-new","name":"Breach"}`), nil); r.status != 200 {
		t.Fatal(r.status, string(r.body))
	}
	for path, want := range map[string]string{
		"/api/v2/authorization/roles?id=" + role: "Owner", "/api/v2/authorization/roles?id=r-new": "Breach", "/api/v2/users?id=" + user: "Aisha Married",
	} {
		if l := c.names(path, 200); len(l.Entities) != 1 || l.Entities[0].Name != want {
			t.Errorf("%s: %+v, want %s", path, l.Entities, want)
		}
	}
	if n := c.names("/api/v2/authorization/roles?pageSize=100", 200).Total; n != before+1 {
		t.Errorf("%d roles after one came to %d", n, before)
	}
}

// Each listing needs its own permission, which can be taken and given at any time.
func TestNamesNeedPermissions(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Forbidden: []string{PermissionRoles}})
	control := func(body string) {
		t.Helper()
		if r := c.do("POST", "/sandbox/permissions", []byte(body), nil); r.status != 200 {
			t.Fatalf("%s: %d %s", body, r.status, r.body)
		}
	}
	check := func(forbidden string) {
		t.Helper()
		for path, permission := range namePaths {
			want := http.StatusOK
			if permission == forbidden {
				want = http.StatusForbidden
			}
			if l := c.names(path, want); want == http.StatusForbidden &&
				(l.Code != "missing.any.permissions" || !strings.HasSuffix(l.Message, ": "+permission)) {
				t.Errorf("%s: %+v does not name %s", path, l, permission)
			}
		}
	}
	check(PermissionRoles)
	for _, permission := range namePaths {
		c.org.Allow()
		control(`{"forbid":["` + permission + `"]}`)
		check(permission)
		if permission == PermissionUsers {
			c.names("/api/v2/users/"+c.org.world.people[0].id, http.StatusForbidden)
		}
		control(`{"allow":["` + permission + `"]}`)
		check("")
	}
	control(`{"forbid":["` + PermissionAudits + `"]}`)
	if r := c.do("POST", "/api/v2/audits/query/realtime", ask("ContactCenter", ""), nil); r.status != 403 || !strings.Contains(string(r.body), PermissionAudits) {
		t.Errorf("audits without permission: %d %s", r.status, r.body)
	}
}

// Every answer of the API has a correlation id of its own, whatever it says.
func TestEveryAnswerHasACorrelationID(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Dialects: []Dialect{Query}})
	seen := map[string]bool{}
	for path, want := range map[string]int{
		"/api/v2/users": 200, "/api/v2/nothing": 404, "/api/v2/auditlogs": 404, "/api/v2/users/x": 404,
		"/api/v2/audits/query/servicemapping": 200, "/api/v2/audits/query/x": 404, "/api/v2/organizations/me": 200,
	} {
		r := c.get(path)
		id := r.header.Get("ININ-Correlation-Id")
		if r.status != want || id == "" || seen[id] {
			t.Errorf("%s: %d with ININ-Correlation-Id %q, want %d", path, r.status, id, want)
		}
		seen[id] = true
	}
	if r := (&client{t: t, url: c.url, http: c.http, token: "wrong"}).get("/api/v2/users"); r.status != 401 || r.header.Get("ININ-Correlation-Id") == "" {
		t.Errorf("a wrong token: %d %v", r.status, r.header)
	}
}

// serveRealistic is the realistic organisation with its download host.
func serveRealistic(t *testing.T, options Options) *client {
	var org *Org
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { org.Downloads().ServeHTTP(w, r) }))
	t.Cleanup(host.Close)
	options.DownloadURL = host.URL
	c := serveOrg(t, options)
	org = c.org
	return c
}
