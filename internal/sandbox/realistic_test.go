package sandbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sdkNames are the enums of the vendor's SDK, as scripts/sdk-names wrote them.
func sdkNames(t *testing.T) map[string][]string {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "schemas", "sdk_names.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	names, title := map[string][]string{}, ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "- "); ok {
			names[title] = append(names[title], name)
		}
		if name, ok := strings.CutSuffix(line, ":"); ok {
			title = name
		}
	}
	if len(names["services"]) != 61 || len(names["entityTypes"]) != 285 || len(names["actions"]) != 138 {
		t.Fatalf("%d services, %d types, %d actions", len(names["services"]), len(names["entityTypes"]), len(names["actions"]))
	}
	return names
}

// auditEvent is an event of the query dialects, as a reader takes it apart.
type auditEvent struct {
	ID, UserHomeOrgID, ServiceName, Level, Action, EntityType, Status string

	User   *struct{ ID, Name *string }
	Client *struct{ ID *string }
	Entity struct{ ID, Name string }

	EventDate       time.Time
	RemoteIP        []string
	Message         json.RawMessage
	Application     *string
	Initiating      json.RawMessage `json:"initiatingAction"`
	EntityChanges   json.RawMessage
	Context         map[string]string
	PropertyChanges []struct {
		Property             string
		OldValues, NewValues []string
	}
}

func (e auditEvent) kind() string { return e.ServiceName + "/" + e.EntityType + " " + e.Action }

func (e auditEvent) key() string {
	keys := []string{}
	for _, p := range e.PropertyChanges {
		keys = append(keys, p.Property)
	}
	return strings.Join(keys, ",")
}

// history is n events of the last hour in a form of the query dialects.
func history(t *testing.T, options Options, n int) (*Org, []auditEvent) {
	t.Helper()
	options.Clock, options.Odd = fixedClock, -1
	o := New(options)
	o.Backfill(n, noon.Add(-time.Hour), noon)
	return o, o.asQuery(t)
}

func (o *Org) asQuery(t *testing.T) (list []auditEvent) {
	t.Helper()
	events, _ := o.journal.all()
	for _, e := range events {
		var a auditEvent
		if body := e.appendTo(nil, o.world, formExpanded); len(body) > 0 {
			if err := json.Unmarshal(body, &a); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			list = append(list, a)
		}
	}
	return list
}

func share(list []auditEvent, of, is func(auditEvent) bool) float64 {
	all, some := 0, 0
	for _, e := range list {
		if of(e) {
			all++
			if is(e) {
				some++
			}
		}
	}
	return float64(some) / float64(max(all, 1))
}

func bySystem(e auditEvent) bool { return e.Level == "SYSTEM" }

// The organisation speaks in the names of the vendor's SDK, in its mappings and
// in its events; each event is of a kind that the mapping has.
func TestNamesAreThoseOfTheSDK(t *testing.T) {
	names := sdkNames(t)
	known := func(title, name string) {
		t.Helper()
		if !slices.Contains(names[title], name) {
			t.Errorf("%s is none of the SDK's %s", name, title)
		}
	}
	o, events := history(t, Options{Seed: 1, Noise: -1}, 10_000)
	mapping := newVocabulary(&world{}, false).all() // without what scenes add
	for service, types := range mapping {
		known("services", service)
		for entityType, actions := range types {
			known("entityTypes", entityType)
			for _, action := range actions {
				known("actions", action)
			}
		}
	}
	if !maps.EqualFunc(mapping, o.taxonomy.all(), func(a, b map[string][]string) bool {
		return maps.EqualFunc(a, b, func(a, b []string) bool { return len(a) == len(b) })
	}) {
		t.Error("something happens of which the mapping does not know")
	}
	happened := map[string]bool{}
	for _, e := range events {
		happened[e.ServiceName] = true
		if !slices.Contains(mapping[e.ServiceName][e.EntityType], e.Action) {
			t.Errorf("%s is not in the mapping", e.kind())
		}
	}
	if len(happened) != 58 {
		t.Errorf("something happens in %d services, want all 58", len(happened))
	}
}

// 58 services in the query mapping, 46 in realtime's; some of those have fewer
// entity types or actions there, and what they lack realtime neither shows nor counts.
func TestRealtimeIsNotAllOfIt(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1})
	c.org.Backfill(5_000, noon.Add(-time.Hour), noon)
	all, fast := c.query("GET", "/servicemapping", nil, 200), c.query("GET", "/realtime/servicemapping", nil, 200)
	if len(all.Services) != 58 || len(fast.Services) != 46 {
		t.Errorf("%d services in the query mapping, %d in realtime's", len(all.Services), len(fast.Services))
	}
	kinds := func(a queryAnswer) map[string]map[string]bool {
		m := map[string]map[string]bool{}
		for _, s := range a.Services {
			m[s.Name] = map[string]bool{}
			for _, e := range s.Entities {
				for _, action := range e.Actions {
					m[s.Name][e.Name+" "+action] = true
				}
			}
		}
		return m
	}
	everything, shown := kinds(all), kinds(fast)
	fewer := 0
	for service := range shown {
		if len(shown[service]) < len(everything[service]) {
			fewer++
		}
	}
	if fewer < 10 {
		t.Errorf("%d services have less in realtime", fewer)
	}
	hidden := 0
	for _, service := range []string{"PeoplePermissions", "ContactCenter", "Groups", "Integrations"} {
		want := 0
		events, _ := c.org.journal.all()
		for _, e := range events {
			if e.scene.service == service && shown[service][e.scene.entityType+" "+e.scene.action] {
				want++
			}
		}
		got := 0
		for number := 1; ; number++ {
			p := c.query("POST", "/realtime", ask(service, fmt.Sprintf(`,"pageSize":500,"pageNumber":%d`, number)), 200)
			for _, body := range p.Entities {
				var e auditEvent
				if json.Unmarshal(body, &e) != nil || !shown[service][e.EntityType+" "+e.Action] {
					t.Errorf("realtime shows %s", body)
				}
			}
			if got += len(p.Entities); len(p.Entities) == 0 || p.Total != want {
				break
			}
		}
		if whole := c.expected(service); got != want || want == 0 {
			t.Errorf("%s: realtime shows %d of %d events, want %d", service, got, whole, want)
		} else {
			hidden += whole - want
		}
	}
	if hidden == 0 {
		t.Error("realtime lacks nothing that happened")
	}
	c.query("POST", "/realtime", ask("Telephony", ""), 400)
}

// A role grant is three ids in the entity's name and nothing else, and four of
// five are by nobody.
func TestGrantsAreTriplesAndNothingElse(t *testing.T) {
	o, events := history(t, Options{Seed: 1, Noise: -1}, 10_000)
	users, groups, roles := map[string]bool{}, map[string]bool{}, map[string]bool{}
	collect := func(into map[string]bool, list []object) {
		for _, thing := range list {
			into[thing.get("id").(string)] = true
		}
	}
	collect(users, o.world.users)
	collect(groups, o.world.groups)
	collect(roles, o.world.roles)
	divisions := map[string]bool{"*": true}
	collect(divisions, o.world.divisions)
	found := map[string]int{}
	for _, e := range events {
		if e.EntityType != "Role" || !strings.HasPrefix(e.Action, "Member") {
			continue
		}
		ids := strings.Split(e.Entity.Name, "--")
		if len(ids) != 3 || ids[1] != e.Entity.ID || !divisions[ids[2]] || !users[ids[0]] && !groups[ids[0]] {
			t.Fatalf("%s of %q, entity %s", e.Action, e.Entity.Name, e.Entity.ID)
		}
		if len(e.PropertyChanges)+len(e.Context) > 0 || string(e.EntityChanges) != "[]" || e.Message != nil {
			t.Fatalf("%s says more than its triple: %+v", e.Action, e)
		}
		found["all"]++
		found[e.Action]++
		for what, is := range map[string]bool{"system": bySystem(e) && e.User != nil && e.User.ID == nil, "a group": groups[ids[0]],
			"all divisions": ids[2] == "*", "a deleted role": !roles[ids[1]]} {
			if is {
				found[what]++
			}
		}
	}
	part := float64(found["system"]) / float64(found["all"])
	if part < 0.75 || part > 0.85 {
		t.Errorf("%.0f%% are by the system, want 80%%", 100*part)
	}
	for _, what := range []string{"MemberAdd", "MemberRemove", "a group", "all divisions", "a deleted role"} {
		if found[what] == 0 {
			t.Errorf("no grant of %s among %v", what, found)
		}
	}
	if n := len(o.EmitGrants(500)); n != 500 {
		t.Errorf("%d grants", n)
	}
	granted := o.asQuery(t)
	granted = granted[len(granted)-500:]
	always := func(auditEvent) bool { return true }
	if part := share(granted, always, bySystem); part < 0.7 || part > 0.9 {
		t.Errorf("%.0f%% of EmitGrants are by the system", 100*part)
	}
}

// What is not there is empty, not absent; a message comes now and then.
func TestEmptyIsNotAbsent(t *testing.T) {
	_, events := history(t, Options{Seed: 1}, 5000)
	messages, clients := 0, 0
	for _, e := range events {
		if e.Client == nil || e.Client.ID == nil || e.Application == nil || e.Initiating == nil || e.EntityChanges == nil || e.Context == nil {
			t.Fatalf("a field is absent: %+v", e)
		}
		if *e.Client.ID != "" {
			clients++
			continue
		}
		if *e.Application != "" || string(e.Initiating) != "{}" {
			t.Fatalf("application %q, initiatingAction %s", *e.Application, e.Initiating)
		}
		if e.User == nil || e.User.ID == nil && e.Level != "SYSTEM" && e.Status != "FAILURE" {
			t.Fatalf("nobody did it: %+v", e)
		}
		if e.Message != nil {
			messages++
		}
	}
	if clients == 0 || messages == 0 || messages > len(events)/3 {
		t.Errorf("%d events by OAuth clients, %d with a message, of %d", clients, messages, len(events))
	}
}

// Most of the volume is synchronisation: users of whom only the version changed.
func TestMostIsNoise(t *testing.T) {
	_, events := history(t, Options{Seed: 1}, 12_000)
	noise := func(e auditEvent) bool {
		return e.kind() == "Directory/User Update" && bySystem(e) && e.key() == "version" && len(e.Context) == 0
	}
	always := func(auditEvent) bool { return true }
	if part := share(events, always, noise); part < 0.5 || part > 0.75 {
		t.Errorf("%.0f%% are noise, want most", 100*part)
	}
	for service, want := range map[string]float64{"ContactCenter": 0.44, "Directory": 0.97} {
		of := func(e auditEvent) bool { return e.ServiceName == service && *e.Client.ID == "" } // no deployments
		if part := share(events, of, bySystem); part < want-0.04 || part > want+0.03 {
			t.Errorf("%.0f%% of %s are by the system, want %.0f%%", 100*part, service, 100*want)
		}
	}
}

// A change of a group's members is three events with one correlationId within 1
// to 3 seconds; only memberCount tells its direction.
func TestGroupMembersAreThreeEvents(t *testing.T) {
	o, events := history(t, Options{Seed: 1}, 20_000)
	o.EmitMembership(noon, true)
	o.EmitMembership(noon, false)
	byCorrelation := map[string][]auditEvent{}
	for _, e := range append(events, o.asQuery(t)[len(events):]...) {
		if id := e.Context["correlationId"]; id != "" {
			byCorrelation[id] = append(byCorrelation[id], e)
		}
	}
	grown, shrunk := 0, 0
	for id, three := range byCorrelation {
		slices.SortFunc(three, func(a, b auditEvent) int { return a.EventDate.Compare(b.EventDate) })
		if len(three) != 3 {
			t.Fatalf("%s: %d events", id, len(three))
		}
		apart := three[2].EventDate.Sub(three[0].EventDate)
		count, noise, members := three[0], three[1], three[2]
		if apart < time.Second || apart > 3*time.Second || count.key() != "memberCount" || noise.key() != "individuals" || members.key() != "group-membership" {
			t.Fatalf("%s: %s, %s and %s, %s apart", id, count.key(), noise.key(), members.key(), apart)
		}
		for _, e := range three {
			if e.kind() != "Groups/DirectoryGroup Update" || e.Entity.Name != "" || e.Entity.ID != count.Entity.ID {
				t.Fatalf("%s: %s of %+v", id, e.kind(), e.Entity)
			}
		}
		if !bySystem(count) || count.User.ID != nil || count.Context["userid"] != *members.User.ID {
			t.Fatalf("%s: memberCount is by %+v %v", id, count.User, count.Context)
		}
		list := members.PropertyChanges[0]
		if len(list.OldValues) != 0 || len(list.NewValues) != 1 || json.Valid([]byte(list.NewValues[0])) || list.NewValues[0][0] != '[' {
			t.Fatalf("%s: group-membership is %+v", id, list)
		}
		if p := noise.PropertyChanges[0]; len(p.OldValues)+len(p.NewValues) != 0 {
			t.Fatalf("%s: individuals has values", id)
		}
		var before, after int
		counts := count.PropertyChanges[0]
		if _, err := fmt.Sscan(counts.OldValues[0]+" "+counts.NewValues[0], &before, &after); err != nil {
			t.Fatal(err)
		}
		people := strings.Count(list.NewValues[0], ",") + 1
		switch {
		case after == before+people:
			grown++
		case after == before-people:
			shrunk++
		default:
			t.Errorf("%s: from %d to %d members, %d people", id, before, after, people)
		}
	}
	if grown < 10 || shrunk < 10 {
		t.Errorf("%d groups grew, %d shrank", grown, shrunk)
	}
}

// Members of queues stand in the name of a property, with literal values.
func TestQueueMembersAreInTheKey(t *testing.T) {
	_, events := history(t, Options{Seed: 1, Noise: -1}, 4_000)
	found := map[string]int{}
	for _, e := range events {
		if e.ServiceName != "ContactCenter" || !strings.HasPrefix(e.Action, "Member") {
			continue
		}
		p := e.PropertyChanges[0]
		key := "QueueMember/" + e.Entity.ID + ":"
		if !strings.HasPrefix(p.Property, key) || e.Context["auditType"] != "QUEUE" || e.Context["entityId"] != e.Entity.ID {
			t.Fatalf("%s: %+v %v", e.kind(), p, e.Context)
		}
		user, joined := strings.CutSuffix(strings.TrimPrefix(p.Property, key), ":joined")
		found[fmt.Sprint(e.Action, " ", joined, p.OldValues, p.NewValues)]++
		if len(user) != 36 {
			t.Errorf("user %q", user)
		}
	}
	want := []string{"MemberAdd false [] [<queue member added>]", "MemberRemove false [<queue member deleted>] []", "MemberUpdate true [false] [true]"}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Everybody whom live organisations show acts here, too.
func TestWhoActs(t *testing.T) {
	o, events := history(t, Options{Seed: 1, Noise: -1, OtherTypes: 0.1}, 8_000)
	w := o.world
	clients := map[string]bool{}
	for _, c := range w.clients {
		clients[c.get("id").(string)] = true
	}
	found := map[string]int{}
	for _, e := range events {
		found[e.kind()]++
		switch {
		case e.UserHomeOrgID != w.orgID:
			found["a trustee"]++
			if e.User.Name != nil {
				t.Fatalf("a trustee has a name: %+v", e)
			}
		case e.User != nil && e.User.ID != nil && clients[*e.User.ID]:
			found["a client in user.id"]++
			if *e.Client.ID != "" {
				t.Fatal("and in client.id")
			}
		case *e.Client.ID != "":
			found["a client"]++
			if !clients[*e.Client.ID] {
				t.Fatal("a client that no listing has")
			}
		}
		for _, p := range e.PropertyChanges {
			if p.Property == "addresses" && len(p.NewValues) == 1 && strings.HasPrefix(p.NewValues[0], `[{"`) && json.Valid([]byte(p.NewValues[0])) {
				found["JSON in a string"]++
			}
		}
		if e.EntityType == "AuthUser" && (e.Action == "AuthenticationFailed") != (e.Status == "FAILURE") {
			t.Fatalf("%s is a %s", e.kind(), e.Status)
		}
	}
	for _, what := range []string{
		"a trustee", "a client in user.id", "a client", "JSON in a string",
		"PeoplePermissions/AuthUser Authenticate", "PeoplePermissions/AuthUser AuthenticationFailed", "PeoplePermissions/AuthUser ChangePassword",
		"PeoplePermissions/OAuthClient Create", "PeoplePermissions/IdentityProvider Update", "PeoplePermissions/Policy Update",
		"PeoplePermissions/MFAVerifier Delete", "PeoplePermissions/OrganizationAuthorizationTrust Create", "PeoplePermissions/AccessToken Delete",
		"Quality/RecordingKeyConfig Update", "LogCapture/User EnableCapture", "Directory/User Delete", "ContactCenter/Queue Delete",
		"Groups/SkillGroup Update", "Groups/Team Update", "Datatables/Row Update",
	} {
		if found[what] == 0 {
			t.Errorf("never: %s", what)
		}
	}
}
