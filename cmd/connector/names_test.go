package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/sandbox"
)

// live is an organisation as live ones are, in that role grants are three ids and
// nothing else. Nothing limits it.
func live(change func(*sandbox.Options)) sandbox.Options {
	o := unlimited()
	o.Dialects, o.Odd, o.Noise = []sandbox.Dialect{sandbox.Query, sandbox.Realtime}, -1, -1
	if change != nil {
		change(&o)
	}
	return o
}

// grantsIn waits until the organisation's grants are in Kafka, and returns the
// change of each and how long after its time it was published.
func (s *scene) grantsIn(n int) (grants []audit.Change, late time.Duration) {
	s.Helper()
	s.published(30 * time.Second)
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], s.env["KAFKA_TOPIC_EVIDENCE"])
	if err != nil {
		s.Fatal(err)
	}
	decoder, err := codec.NewDecoder(nil)
	if err != nil {
		s.Fatal(err)
	}
	for _, records := range c.changes {
		for _, r := range records {
			change, err := decoder.Decode(r.Value)
			if err != nil {
				s.Fatal(err)
			}
			if change.EntityType != "Role" || change.Action != "MemberAdd" {
				continue
			}
			grants, late = append(grants, change), max(late, r.Timestamp.Sub(change.Time))
		}
	}
	if len(grants) != n {
		s.Fatalf("%d grants in Kafka, want %d", len(grants), n)
	}
	return grants, late
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// told are the names that the organisation tells, by id.
func (s *scene) told(a *app) map[string]string {
	s.Helper()
	names := map[string]string{}
	for _, kind := range audit.Kinds {
		if err := a.source.ListNames(s.Context(), kind, func(id, name string) { names[id] = name }); err != nil {
			s.Fatal(err)
		}
	}
	return names
}

// A grant as live organisations show it comes out with the names of the role, of who
// got it, of who gave it and of the division; which fields do not come from the event
// is said, and the raw record is the event, byte for byte.
func TestGrantsHaveNames(t *testing.T) {
	s := newScene(t, nil, live(nil))
	s.env["GENESYS_AUDIT_API"] = "query"
	a, _ := s.start()
	s.world.Org.EmitGrants(60)
	grants, _ := s.grantsIn(60)
	names := s.told(a)
	kinds, actors, divisions, left := map[string]int{}, 0, 0, 0
	for _, c := range grants {
		if names[value(c.MemberID)] == "" { // who has left is in no list, and keeps a name
			left++
			err := a.source.UserNames(t.Context(), []string{value(c.MemberID)}, func(id, name string) { names[id] = name }, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
		}
		resolved := []string{"entityName", "memberType", "memberName"}
		if c.UserID != nil && names[*c.UserID] != "" {
			actors++
			if slices.Contains(c.ResolvedNames, "userName") { // query is asked to tell it, but does not tell all
				resolved = append([]string{"userName"}, resolved...)
			}
			if value(c.UserName) != names[*c.UserID] {
				t.Errorf("%s is called %q, not %q", *c.UserID, value(c.UserName), names[*c.UserID])
			}
		}
		if d := value(c.DivisionID); d != "*" {
			divisions++
			resolved = append(resolved, "divisionName")
			if value(c.DivisionName) != names[d] || names[d] == "" {
				t.Errorf("division %s is called %q, not %q", d, value(c.DivisionName), names[d])
			}
		}
		kinds[value(c.MemberType)]++
		if value(c.EntityName) != names[value(c.EntityID)] || value(c.EntityName) == "" ||
			value(c.MemberName) != names[value(c.MemberID)] || value(c.MemberName) == "" {
			t.Errorf("role %q, member %q", value(c.EntityName), value(c.MemberName))
		}
		if !slices.Equal(c.ResolvedNames, resolved) {
			t.Errorf("resolved are %q, want %q", c.ResolvedNames, resolved)
		}
	}
	if kinds["user"] == 0 || kinds["group"] == 0 || kinds[""] > 0 || actors == 0 || divisions == 0 || left == 0 {
		t.Errorf("members %v, %d actors, %d divisions, %d who have left", kinds, actors, divisions, left)
	}
}

// Without a permission one kind stays ids, the others have names; that is said once.
func TestNamesWithoutAPermission(t *testing.T) {
	s := newScene(t, nil, live(func(o *sandbox.Options) { o.Forbidden = []string{sandbox.PermissionRoles} }))
	s.env["GENESYS_AUDIT_API"] = "query"
	log := filepath.Join(t.TempDir(), "log")
	var err error
	if s.log, err = os.Create(log); err != nil {
		t.Fatal(err)
	}
	_, stop := s.start()
	for range 3 {
		s.world.Org.EmitGrants(20)
		s.published(20 * time.Second)
	}
	grants, _ := s.grantsIn(60)
	for _, c := range grants {
		if c.EntityName != nil || value(c.MemberName) == "" || slices.Contains(c.ResolvedNames, "entityName") {
			t.Errorf("role %q, member %q, resolved %q", value(c.EntityName), value(c.MemberName), c.ResolvedNames)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	said, err := os.ReadFile(log)
	if n := bytes.Count(said, []byte(sandbox.PermissionRoles)); err != nil || n != 1 || !bytes.Contains(said, []byte(`"of":"roles"`)) {
		t.Errorf("it is said %d times: %s", n, said)
	}
	// The check says which permission would bring it, and fails nothing for it.
	out, _ := s.check(true, nil)
	var report struct {
		Checks []struct{ Name, Status, Detail, Hint string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report.Checks, func(c struct{ Name, Status, Detail, Hint string }) bool { return c.Name == "names" })
	if i < 0 || report.Checks[i].Status != "warning" || !strings.Contains(report.Checks[i].Hint, sandbox.PermissionRoles) ||
		!strings.Contains(report.Checks[i].Detail, "roles may not") || !strings.Contains(report.Checks[i].Detail, "users, OAuth clients, groups, queues, divisions") {
		t.Errorf("the check says %s", out)
	}
}

// Lookups that take longer than anybody waits hold no event up by 2 s or more, and
// lookups that fail hold none up.
func TestSlowNamesHoldNothingUp(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"slow":   {Kind: sandbox.Slow, Count: -1, Delay: 8 * time.Second},
		"hang":   {Kind: sandbox.Hang, Count: -1},
		"broken": {Kind: sandbox.StatusCode, Status: 503, Count: -1},
		"429":    {Kind: sandbox.TooMany, Count: -1, RetryAfter: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil, live(func(o *sandbox.Options) { // a limit of their own: what it refuses is not the others'
				o.FamilyLimits = map[sandbox.Family]sandbox.Limit{sandbox.FamilyNames: {Requests: 1000, Window: time.Minute}}
			}))
			s.env["GENESYS_AUDIT_API"] = "realtime"
			s.env["GENESYS_SERVICES"] = "PeoplePermissions"
			for _, endpoint := range []sandbox.Endpoint{sandbox.EndpointUsers, sandbox.EndpointUser, sandbox.EndpointRoles,
				sandbox.EndpointGroups, sandbox.EndpointDivisions, sandbox.EndpointClients, sandbox.EndpointQueues} {
				f := fault
				f.Endpoint = endpoint
				if err := s.world.Org.Inject(f); err != nil {
					t.Fatal(err)
				}
			}
			a, _ := s.start()
			for deadline := time.Now().Add(20 * time.Second); len(a.Snapshot().Streams) == 0 || a.Snapshot().Streams[0].LastPoll.IsZero(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("no poll")
				}
			}
			for range 20 {
				s.world.Org.EmitGrants(3)
				time.Sleep(200 * time.Millisecond)
			}
			_, late := s.grantsIn(60)
			t.Logf("the last grant is published after %s at most", late)
			if late > 2*time.Second {
				t.Errorf("a grant is published after %s", late)
			}
		})
	}
}

// Switched off, nobody is asked, and nothing has a name that the event does not have.
func TestNamesSwitchedOff(t *testing.T) {
	s := newScene(t, nil, live(nil))
	s.env["GENESYS_AUDIT_API"], s.env["GENESYS_NAMES"] = "query", "false"
	s.start()
	s.world.Org.EmitGrants(20)
	grants, _ := s.grantsIn(20)
	for _, c := range grants {
		if c.EntityName != nil || c.MemberName != nil || len(c.ResolvedNames) > 0 {
			t.Errorf("role %q, member %q, resolved %q", value(c.EntityName), value(c.MemberName), c.ResolvedNames)
		}
	}
}
