package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

// TestAlertSaysInWordsWhoGaveWhatToWhom: of events as live organisations show them.
func TestAlertSaysInWordsWhoGaveWhatToWhom(t *testing.T) {
	grant := consumertest.LiveGrant("1", "MemberAdd", bob, role, division)
	person := func(l live) live { l.User = anna; return l }
	all := named{role: "Master Admin", member: "Bob Stone", memberType: "user", division: "Berlin"}
	failed := by(security("AuthUser", "AuthenticationFailed"), func(l *live) { l.User, l.UserName, l.EntityName, l.Level = "", "", "Bob Stone", "USER" })
	for _, c := range []struct {
		event live
		names named
		want  string
	}{
		{grant, all, `The system gave the role "Master Admin" to "Bob Stone" in the division "Berlin"`},
		{grant, named{}, `The system gave the role "` + role + `" to "` + bob + `" in the division "` + division + `"`},
		{person(grant), named{user: "Anna Berg", role: "Agent", member: "Support", memberType: "group"},
			`"Anna Berg" gave the role "Agent" to the group "Support" in the division "` + division + `"`},
		{person(consumertest.LiveGrant("1", "MemberRemove", bob, role, "*")), all, `"` + anna + `" took the role "Master Admin" from "Bob Stone" in all divisions`},
		{consumertest.LiveGrant("1", "MemberUpdate", bob, role, "*"), all, `The system did MemberUpdate on the role "Master Admin" of "Bob Stone" in all divisions`},
		{by(grant, func(l *live) { l.Client = client }), named{role: "Agent", memberType: "client", division: "Berlin"},
			`The OAuth client "` + client + `" gave the role "Agent" to the OAuth client "` + bob + `" in the division "Berlin"`},
		{by(grant, func(l *live) { l.User = entity }), all, `The OAuth client "Terraform" gave the role "Master Admin" to "Bob Stone" in the division "Berlin"`},
		{by(grant, func(l *live) { l.Status = "FAILURE" }), all,
			`The system gave the role "Master Admin" to "Bob Stone" in the division "Berlin" (status FAILURE)`},
		{failed, named{}, `A login of "Bob Stone" failed, from "203.0.113.7"`},
		{by(failed, func(l *live) { l.EntityID, l.EntityName, l.Address = "", "", "" }), named{}, `A login of "an unknown user" failed`},
		{security("AuthOrganization", "Update", consumertest.LiveChange{Property: "minimumLength", Old: []string{"12"}, New: []string{"8"}}), named{},
			`"Anna Berg" changed the AuthOrganization "An entity", "minimumLength": "12" → "8", from "203.0.113.7"`},
		{security("OAuthClient", "Update", consumertest.LiveChange{Property: "secret", Old: []string{"old"}, New: []string{"new"}}), named{},
			`"Anna Berg" changed the OAuthClient "An entity", "secret": "(not shown)" → "(not shown)", from "203.0.113.7"`},
		{security("OAuthClient", "Rotate"), named{}, `"Anna Berg" did Rotate on the OAuthClient "An entity", from "203.0.113.7"`},
		{live{ID: "1", Level: "USER", Action: "x: y", EntityType: `a "b"`}, named{}, `Somebody whom the event does not name did "x: y" on the "a 'b'"`},
	} {
		rules := parse(t, "clients: {"+entity+": Terraform}\nrules: [{name: any, when: {action: \"*\"}}]")
		m := shown(t, c.event, c.names)[0]
		a := newEvaluator(rules, time.Hour).alerts(&m)[0]
		if want := "any: " + c.want; a.Summary != want {
			t.Errorf("%s\nnot\n%s", a.Summary, want)
		}
		if !slices.Equal(a.ResolvedNames, m.ResolvedNames) || a.ActorID != strings.Trim(a.ActorID, " ") {
			t.Errorf("%+v", a)
		}
		if strings.Contains(a.New+a.Previous, "new") {
			t.Errorf("a secret is in the alert: %+v", a)
		}
	}
}

// TestRecordsOfOlderSchemas have the ids of a grant in their context, and the names
// of people nowhere.
func TestRecordsOfOlderSchemas(t *testing.T) {
	rules := parse(t, "roles: {r: Hidden}\nrules: [{name: any, when: {role: Hidden, member: b}}]")
	m := edited(grant("1", "a", "b", "x", noon), func(m *consumer.Message) {
		m.UserName, m.EntityID, m.EntityName, m.Context = nil, text("r"), text("b--r--d"), map[string]string{"userId": "b", "roleId": "r"}
	})
	alerts := newEvaluator(rules, time.Hour).alerts(&m)
	if len(alerts) != 1 || alerts[0].Summary != `any: "a" gave the role "Hidden" to "b"` {
		t.Errorf("%+v", alerts)
	}
}
