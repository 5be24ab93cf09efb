package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

type live = consumertest.Live

// named are names that the connector looks up and puts into a record of an event
// that has only ids.
type named struct{ user, role, member, memberType, division string }

// shown are an event's changes as this program gets them: by the connector's
// encoder, published a second after they happened.
func shown(t testing.TB, l live, n named) []consumer.Message {
	t.Helper()
	if l.At.IsZero() {
		l.At = noon
	}
	var messages []consumer.Message
	for i, c := range l.Decoded(t) {
		look := func(field string, into **string, name string) {
			if name != "" {
				*into, c.ResolvedNames = &name, append(c.ResolvedNames, field)
			}
		}
		look("userName", &c.UserName, n.user)
		look("entityName", &c.EntityName, n.role)
		look("memberName", &c.MemberName, n.member)
		look("divisionName", &c.DivisionName, n.division)
		if n.memberType != "" {
			c.MemberType = &n.memberType
		}
		messages = append(messages, consumer.Message{
			Change: c, ID: fmt.Sprintf("%s:%d", l.ID, i), Org: "acme", Published: l.At.Add(time.Second),
		})
	}
	return messages
}

// ids as real ones look.
const (
	anna     = "66ad0862-89e9-4c78-8969-3c90068c374b"
	bob      = "e7163f78-e888-45e7-8839-fa4f62cc6608"
	role     = "62fafe63-df2e-4895-b058-05b7b18ed495"
	division = "9a2ed756-3f02-447b-b03e-d47069bf4b64"
	client   = "a362a0e4-9282-49ee-a07c-033e30b175eb"
	entity   = "4703b8ae-3e37-4d46-9e4f-a107772f0b9d"
)

func changes(pairs ...consumertest.LiveChange) []consumertest.LiveChange { return pairs }

// security is an event of the service that has roles, logins, OAuth clients and policies.
func security(entityType, action string, c ...consumertest.LiveChange) live {
	return live{Service: "PeoplePermissions", EntityType: entityType, Action: action, EntityID: entity, EntityName: "An entity",
		User: anna, UserName: "Anna Berg", Address: "203.0.113.7", Changes: c}
}

func by(l live, edit func(*live)) live { edit(&l); return l }

// shippedCase is what happens, and which of the shipped rules alert of it: those,
// and no others.
type shippedCase struct {
	name   string
	events []live
	names  named
	rules  []string
}

func (c shippedCase) messages(t testing.TB) []consumer.Message {
	var all []consumer.Message
	for i, l := range c.events {
		l.ID = fmt.Sprintf("%s %d", c.name, i)
		all = append(all, shown(t, l, c.names)...)
	}
	return all
}

// times is an event that happens n times, one every few seconds.
func times(n int, every time.Duration, l live, edit func(i int, l *live)) []live {
	var events []live
	for i := range n {
		one := l
		one.At = noon.Add(time.Duration(i) * every)
		if edit != nil {
			edit(i, &one)
		}
		events = append(events, one)
	}
	return events
}

func shippedCases() []shippedCase {
	return slices.Concat(grantCases(), roleCases(), programCases(), loginCases(), otherCases())
}

// grantCases: a grant as live organisations show it, by the system, with ids only.
func grantCases() []shippedCase {
	grant := consumertest.LiveGrant("", "MemberAdd", bob, role, division)
	self := by(grant, func(l *live) { l.User, l.UserName = bob, "Bob Stone" })
	night := by(grant, func(l *live) { l.At = noon.Add(12 * time.Hour) })
	one := func(l live) []live { return []live{l} }
	return []shippedCase{
		{"a grant by the system", one(grant), named{role: "Agent", member: "Bob Stone", division: "Berlin"}, []string{"Role granted"}},
		{"a grant without names", one(grant), named{}, []string{"Role granted of which names are not known"}},
		{"a grant whose role has no name", one(grant), named{member: "Bob Stone"}, []string{"Role granted of which names are not known"}},
		{"a grant to nobody knows whom", one(grant), named{role: "Agent"}, []string{"Role granted of which names are not known"}},
		{"changed", one(by(grant, func(l *live) { l.Action = "MemberUpdate" })), named{role: "Agent", memberType: "group"}, []string{"Role granted to a group"}},
		{"a watched role, by name", one(grant), named{role: "Master Admin"}, []string{"Watched role granted"}},
		{"a watched role, by pattern", one(grant), named{role: "Telephony Admin"}, []string{"Watched role granted"}},
		{"a role that only sounds so", one(grant), named{role: "Administration clerk", member: "Bob Stone"}, []string{"Role granted"}},
		{"to a group", one(grant), named{role: "Agent", memberType: "group"}, []string{"Role granted to a group"}},
		{"to an OAuth client", one(grant), named{role: "Agent", memberType: "client"}, []string{"Role granted to an OAuth client"}},
		{"to oneself", one(self), named{role: "Agent"}, []string{"Role granted to oneself"}},
		{"at night", one(night), named{role: "Agent", member: "Bob Stone"}, []string{"Role granted", "Role changed outside working hours"}},
		{"taken", one(consumertest.LiveGrant("", "MemberRemove", bob, role, "*")), named{role: "Master Admin"}, nil},
		{"many", times(10, time.Second, grant, func(i int, l *live) { l.EntityName = strings.Replace(l.EntityName, "e7", fmt.Sprintf("%02d", i), 1) }),
			named{role: "Agent", member: "Bob Stone"}, append(slices.Repeat([]string{"Role granted"}, 9), "Many grants in a short time", "Role granted")},
	}
}

func roleCases() []shippedCase {
	changed := func(old, new []string) []live {
		return []live{security("Role", "Update", consumertest.LiveChange{Property: "permissions", Old: old, New: new})}
	}
	const policy = `{"domain":"authorization","entityName":"grant","actionSet":["add"],"allowConditions":false}`
	given := []string{"Permission over access given to a role"}
	return []shippedCase{
		{"a permission over access", changed([]string{"routing:queue:view"}, []string{"routing:queue:view", "authorization:grant:add"}), named{}, given},
		{"all permissions", changed([]string{"routing:queue:view"}, []string{"*"}), named{}, given},
		{"a policy over access", []live{security("Role", "Update", consumertest.LiveChange{Property: "permissionPolicies", New: []string{policy}})}, named{}, given},
		{"a new role with one", []live{security("Role", "Create", consumertest.LiveChange{Property: "permissions", New: []string{"a:b:c", "authorization:role:edit"}})}, named{}, given},
		{"another permission beside one it has", changed([]string{"authorization:grant:add"}, []string{"authorization:grant:add", "routing:queue:view"}), named{}, nil},
		{"a permission over access taken", changed([]string{"routing:queue:view", "authorization:grant:add"}, []string{"routing:queue:view"}), named{}, nil},
		{"a description", []live{security("Role", "Update", consumertest.LiveChange{Property: "description", New: []string{"authorization:grant:add"}})}, named{}, nil},
	}
}

func programCases() []shippedCase {
	oauth := func(action string, c ...consumertest.LiveChange) []live {
		return []live{security("OAuthClient", action, c...)}
	}
	program := func(l *live) { l.User, l.UserName, l.Client = "", "", client }
	deletion := by(live{Service: "ContactCenter", EntityType: "Queue", Action: "Delete", EntityID: entity, EntityName: "Sales"}, program)
	more := []string{"OAuth client may do more"}
	return []shippedCase{
		{"a new client", oauth("Create", consumertest.LiveChange{Property: "roleIds", New: []string{role}}, consumertest.LiveChange{Property: "secret", New: []string{"s"}}), named{}, []string{"New OAuth client"}},
		{"a role more", oauth("Update", consumertest.LiveChange{Property: "roleIds", Old: []string{role}, New: []string{role, entity}}), named{}, more},
		{"a scope more", oauth("Update", consumertest.LiveChange{Property: "scope", New: []string{"users"}}), named{}, more},
		{"a role less", oauth("Update", consumertest.LiveChange{Property: "roleIds", Old: []string{role, entity}, New: []string{role}}), named{}, nil},
		{"authorized", []live{security("OAuthClientAuthorization", "Authorize")}, named{}, more},
		{"its secret", oauth("Update", consumertest.LiveChange{Property: "secret", Old: []string{"a"}, New: []string{"b"}}), named{}, []string{"OAuth client has a new secret"}},
		{"rotated", oauth("Rotate"), named{}, []string{"OAuth client has a new secret"}},
		{"its name", oauth("Update", consumertest.LiveChange{Property: "name", Old: []string{"a"}, New: []string{"b"}}), named{}, nil},
		{"deletes all", []live{by(deletion, func(l *live) { l.Service, l.EntityType, l.Action = "Datatables", "Row", "BulkDelete" })}, named{}, []string{"OAuth client deletes in bulk"}},
		{"deletes many", times(20, time.Second, deletion, nil), named{}, []string{"Many deletions by an OAuth client"}},
		{"stands in both", times(20, time.Second, by(deletion, func(l *live) { l.User = client }), nil), named{}, []string{"Many deletions by an OAuth client"}},
		{"deletes a few", times(19, time.Second, deletion, nil), named{}, nil},
		{"a person deletes many", times(30, time.Second, by(deletion, func(l *live) { l.User, l.Client = anna, client }), nil), named{}, nil},
		{"the system deletes many", times(30, time.Second, by(deletion, func(l *live) { l.Client = "" }), nil), named{}, nil},
	}
}

func loginCases() []shippedCase {
	failed := by(security("AuthUser", "AuthenticationFailed"), func(l *live) {
		l.User, l.UserName, l.Level, l.Status, l.EntityName = "", "", "USER", "FAILURE", "Bob Stone"
	})
	everybody := func(i int, l *live) { l.EntityID = fmt.Sprintf("%08d-%s", i, l.EntityID[9:]) }
	everywhere := func(i int, l *live) { l.Address = fmt.Sprint("198.51.100.", i) }
	organisation := func(property string) []live {
		return []live{by(security("Organization", "Update", consumertest.LiveChange{Property: property, Old: []string{"true"}, New: []string{"false"}}),
			func(l *live) { l.Service = "Directory" })}
	}
	policy := []string{"Rules for passwords, sessions or single sign-on changed"}
	return []shippedCase{
		{"an identity provider", []live{security("IdentityProvider", "Update", consumertest.LiveChange{Property: "ssoTargetURI", New: []string{"https://login.example.com"}})}, named{}, []string{"Identity provider changed"}},
		{"the password policy", []live{security("AuthOrganization", "Update", consumertest.LiveChange{Property: "minimumLength", Old: []string{"12"}, New: []string{"8"}})}, named{}, policy},
		{"an access policy", []live{security("Policy", "Update")}, named{}, policy},
		{"a recording policy", []live{by(security("Policy", "Update"), func(l *live) { l.Service = "Quality" })}, named{}, nil},
		{"MFA of the organisation", organisation("mfaRequired"), named{}, policy},
		{"its name", organisation("name"), named{}, nil},
		{"a second factor", []live{security("MFAVerifier", "Delete")}, named{}, []string{"Second factor of a user changed"}},
		{"failed logins of one", times(5, 10*time.Second, failed, everywhere), named{}, []string{"Failed logins of one user"}},
		{"by SAML", times(5, 10*time.Second, by(failed, func(l *live) { l.EntityType = "UserSamlAuthentication" }), everywhere), named{}, []string{"Failed logins of one user"}},
		{"failed logins from one address", times(15, 10*time.Second, failed, everybody), named{}, []string{"Failed logins from one address"}},
		{"too slow", times(20, 80*time.Second, failed, nil), named{}, nil},
		{"of nobody, from nowhere", times(30, time.Second, by(failed, func(l *live) { l.EntityID, l.EntityName, l.Address = "", "", "" }), nil), named{}, nil},
		{"logins", times(30, time.Second, by(failed, func(l *live) { l.Action = "Authenticate" }), nil), named{}, nil},
		{"a password", []live{security("AuthUser", "ChangePassword")}, named{}, nil},
	}
}

func otherCases() []shippedCase {
	in := func(service string, l live) live { l.Service = service; return l }
	trust := []string{"Trust with another organisation"}
	return []shippedCase{
		{"a trust", []live{security("OrganizationAuthorizationTrust", "Create")}, named{}, trust},
		{"a trusted user", []live{security("OrganizationAuthorizationUserTrust", "Create")}, named{}, trust},
		{"a key", []live{in("Quality", security("RecordingKey", "Create"))}, named{}, []string{"Keys of recordings changed"}},
		{"where keys are", []live{in("Quality", security("RecordingKeyConfig", "Update"))}, named{}, []string{"Keys of recordings changed"}},
		{"a capture", []live{in("LogCapture", security("User", "EnableCapture"))}, named{}, []string{"Logs captured"}},
		{"its download", []live{in("Telephony", security("Edge", "DownloadCapture"))}, named{}, []string{"Logs captured"}},
		{"synchronisation", []live{{Service: "Directory", EntityType: "User", Action: "Update", EntityID: bob, EntityName: "Bob Stone",
			Changes: changes(consumertest.LiveChange{Property: "version", Old: []string{"12"}, New: []string{"13"}})}}, named{}, nil},
		{"a queue's member", []live{{Service: "ContactCenter", EntityType: "Queue", Action: "MemberAdd", EntityID: entity, EntityName: "Sales",
			Changes: changes(consumertest.LiveChange{Property: "QueueMember/" + entity + ":" + bob, New: []string{"<queue member added>"}}),
			Context: map[string]string{"entityId": entity, "auditType": "QUEUE"}}}, named{}, nil},
		{"a group's member", []live{{Service: "Groups", EntityType: "DirectoryGroup", Action: "Update", EntityID: entity,
			Changes: changes(consumertest.LiveChange{Property: "group-membership", New: []string{"[" + bob + "]"}})}}, named{}, nil},
	}
}

// TestShippedRulesFireOnTheirEventsOnly shows each event of the table to all shipped
// rules, in its shape on the wire, through the connector's encoder.
func TestShippedRulesFireOnTheirEventsOnly(t *testing.T) {
	rules, err := LoadRules("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for _, c := range shippedCases() {
		e := newEvaluator(rules, 24*time.Hour)
		var got []string
		for _, m := range c.messages(t) {
			for _, a := range e.alerts(&m) {
				a.markSent()
				got = append(got, a.Rule)
				fired[a.Rule] = true
			}
		}
		if !slices.Equal(got, c.rules) {
			t.Errorf("%s: %q, not %q", c.name, got, c.rules)
		}
	}
	for _, rule := range rules.Rules {
		if !fired[rule.Name] {
			t.Errorf("rule %q has no event that it fires on", rule.Name)
		}
	}
}

// TestWhatTheLastSweepFindsIsNews: the connector looks for events that the API shows late
// until they are a day old, and finds them then or a while after.
func TestWhatTheLastSweepFindsIsNews(t *testing.T) {
	var c config
	if err := consumer.Load(t.Context(), envconfig.MapLookuper(map[string]string{"KAFKA_BROKERS": "broker:9092"}), &c); err != nil {
		t.Fatal(err)
	}
	rules, err := LoadRules("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := shown(t, consumertest.LiveGrant("late", "MemberAdd", bob, role, division), named{})[0]
	m.Published = m.Time.Add(24*time.Hour + 12*time.Hour) // a sweep may gather half of its age: sweepEvery
	if found := newEvaluator(rules, c.MaxAge).alerts(&m); len(found) != 1 {
		t.Errorf("%d alerts of a grant that the last sweep found", len(found))
	}
}

// TestShippedBurstsSurviveRestarts ends the evaluator after each event and starts
// another, which is shown what was published lately again: nothing is missed, nothing
// is told twice.
func TestShippedBurstsSurviveRestarts(t *testing.T) {
	rules, err := LoadRules("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range shippedCases() {
		if len(c.events) == 1 {
			continue
		}
		messages := c.messages(t)
		var got []string
		for i := range messages {
			e := newEvaluator(rules, 24*time.Hour)
			feed(e, messages[:i])
			for _, a := range e.alerts(&messages[i]) {
				got = append(got, a.Rule)
			}
		}
		if !slices.Equal(got, c.rules) {
			t.Errorf("%s: %q, not %q", c.name, got, c.rules)
		}
	}
}

// TestFloodIsCountedInBoundedMemory: tens of thousands of failed logins within the
// window of the rule, from one address each and of one user each, and of few.
func TestFloodIsCountedInBoundedMemory(t *testing.T) {
	rules, err := LoadRules("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	flood := func(address func(i int) string) (*evaluator, int) {
		e := newEvaluator(rules, 24*time.Hour)
		m := shown(t, loginCases()[7].events[0], named{})[0]
		alerts := 0
		for i := range 2*mostOccurrences + forgetEvery {
			m := m
			m.AuditID, m.Time, m.Published = fmt.Sprint(i), noon.Add(time.Duration(i)*time.Millisecond), noon.Add(time.Duration(i)*time.Millisecond)
			m.EntityID, m.RemoteIP = text(address(i)), []string{address(i)}
			for _, a := range e.alerts(&m) {
				a.markSent()
				alerts++
			}
		}
		return e, alerts
	}
	counted := func(e *evaluator) int { return len(e.forgetUntil(time.Time{})) }
	many, _ := flood(func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) })
	few, alerts := flood(func(i int) string { return fmt.Sprint("10.0.0.", i&3) })
	for _, e := range []*evaluator{many, few} {
		if n := counted(e); n > mostOccurrences*3/2 || n == 0 {
			t.Errorf("%d events are remembered", n)
		}
	}
	if alerts == 0 {
		t.Error("the flood was not told of")
	}
}

// TestWatchListTakesNamesAndIDs: an id where no name is known.
func TestWatchListTakesNamesAndIDs(t *testing.T) {
	rules := parse(t, "watchedRoles: [Agent*, "+role+"]\nrules: [{name: watched, when: {watchedRole: true}}]")
	for name, c := range map[string]struct {
		role string
		name string
		want string
	}{
		"by id":      {role, "", "watched"},
		"by name":    {entity, "Agent 2", "watched"},
		"neither":    {entity, "Supervisor", ""},
		"no name":    {entity, "", ""},
		"by id, too": {role, "Supervisor", "watched"},
	} {
		m := shown(t, consumertest.LiveGrant("1", "MemberAdd", bob, c.role, division), named{role: c.name})[0]
		if got := names(newEvaluator(rules, time.Hour).alerts(&m)); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
