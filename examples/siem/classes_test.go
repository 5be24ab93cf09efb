package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"genesys-audit-connector/examples/consumer"
)

// sdk is what the vendor's SDK has for enums; schemas/sdk_names.yaml says of which version.
var sdk struct {
	Services    []string
	Actions     []string
	EntityTypes []string `yaml:"entityTypes"`
}

func readSDK(t *testing.T) {
	t.Helper()
	content, err := os.ReadFile("../../schemas/sdk_names.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, &sdk); err != nil {
		t.Fatal(err)
	}
}

// TestEveryActionHasAReasonedClass: all that the SDK knows, each once, none that it
// does not know, each with a reason.
func TestEveryActionHasAReasonedClass(t *testing.T) {
	readSDK(t)
	if len(sdk.Actions) != 138 {
		t.Errorf("the SDK has %d actions; has it changed?", len(sdk.Actions))
	}
	table := classes()
	for _, action := range sdk.Actions {
		g := table.byAction[strings.ToLower(action)]
		if g == nil {
			t.Errorf("%s has no class", action)
			continue
		}
		if !slices.Contains(g.Of, action) || len(strings.Fields(g.Why)) < 3 {
			t.Errorf("%s: spelled otherwise, or without a reason: %q", action, g.Why)
		}
		m := consumer.Message{Change: consumer.Change{Action: action}}
		if e := newOCSF(&m); e.ClassUID != g.verdict.class.uid || e.ActivityID == activityUnknown {
			t.Errorf("%s: class %d, activity %d", action, e.ClassUID, e.ActivityID)
		}
	}
	if len(table.byAction) != len(sdk.Actions) {
		t.Errorf("%d actions are classed, the SDK has %d", len(table.byAction), len(sdk.Actions))
	}
}

// TestRulesSpeakOfWhatThereIs holds the rules' names against the SDK, and every rule
// with its reason.
func TestRulesSpeakOfWhatThereIs(t *testing.T) {
	readSDK(t)
	others := []string{"Group", ""} // as dialect auditlogs calls groups; and no service
	for _, r := range classes().Rules {
		for kind, c := range map[string]struct {
			patterns patterns
			names    []string
		}{"entity": {r.When.Entity, sdk.EntityTypes}, "action": {r.When.Action, sdk.Actions}, "service": {r.When.Service, sdk.Services}} {
			for _, name := range c.patterns {
				if !slices.Contains(c.names, name) && !slices.Contains(others, name) {
					t.Errorf("rule %q: the SDK has no %s %q", r.Name, kind, name)
				}
			}
		}
		if r.class == nil && r.severity == 0 {
			t.Errorf("rule %q says nothing", r.Name)
		}
	}
}

// TestTableRefusesWhatItDoesNotKnow, so that a mistake in the file is not taken for a rule.
func TestTableRefusesWhatItDoesNotKnow(t *testing.T) {
	const rule = "rules: [{name: n, why: w, when: {entity: Role}, "
	for want, text := range map[string]string{
		"no class":              rule + "class: Findings, activity: Create}]",
		"no activity":           rule + "class: Group Management, activity: Update}]",
		"severity":              rule + "severity: Enormous}]",
		"has no name":           rule + "severity: Low, attack: [T9999]}]",
		"without a severity":    rule + "attack: [T1110]}]",
		"name and why":          "rules: [{name: n, when: {entity: Role}, severity: Low}]",
		"unknown field":         rule + "sevirity: Low}]",
		"twice":                 "actions: [{class: Entity Management, activity: Read, type: info, cim: read, why: w, of: [A, a]}]",
		"why, type and cim are": "actions: [{class: Entity Management, activity: Read, type: info, cim: read, of: [A]}]",
	} {
		if _, err := parseTable([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestSeverityAndTechniques(t *testing.T) {
	admin := func(m *consumer.Message) { m.EntityName = text("Master Admin") }
	for name, c := range map[string]struct {
		message    consumer.Message
		severity   string
		techniques string
	}{
		"a grant":                {grant("MemberAdd", nil), "Medium", "[T1098.003]"},
		"a grant taken":          {grant("MemberRemove", nil), "Medium", "[]"},
		"of an admin's role":     {grant("MemberAdd", admin), "High", "[T1098.003]"},
		"of that, to a group":    {grant("MemberAdd", func(m *consumer.Message) { admin(m); m.MemberType = text("group") }), "Critical", "[T1098.003]"},
		"to a group":             {grant("MemberAdd", func(m *consumer.Message) { m.MemberType = text("group") }), "High", "[T1098.003]"},
		"to oneself":             {grant("MemberAdd", func(m *consumer.Message) { m.UserID = m.MemberID }), "High", "[T1098.003]"},
		"a login":                {login("Authenticate"), "Informational", "[]"},
		"a failed one":           {login("AuthenticationFailed"), "Low", "[T1110]"},
		"a queue's key":          {sample(nil), "Informational", "[]"},
		"a queue gone":           {sample(func(m *consumer.Message) { m.Action = "Delete" }), "Low", "[]"},
		"contacts gone":          {sample(func(m *consumer.Message) { m.Action = "ContactsDeleted" }), "Medium", "[T1485]"},
		"a client's secret":      {sample(func(m *consumer.Message) { m.EntityType, m.Key = "OAuthClient", text("secret") }), "High", "[T1098.001]"},
		"a client's description": {sample(func(m *consumer.Message) { m.EntityType, m.Key = "OAuthClient", text("description") }), "Medium", "[T1098.001]"},
		"single sign-on":         {sample(func(m *consumer.Message) { m.EntityType = "IdentityProvider" }), "High", "[T1484.002]"},
		"a recording policy":     {sample(func(m *consumer.Message) { m.EntityType, m.ServiceName = "Policy", text("Quality") }), "Informational", "[]"},
		"a password policy":      {sample(func(m *consumer.Message) { m.EntityType, m.ServiceName = "Policy", text("PeoplePermissions") }), "High", "[T1556]"},
		"the platform's keys":    {sample(func(m *consumer.Message) { m.EntityType, m.Level = "RecordingKey", text("SYSTEM") }), "Informational", "[]"},
		"log capture":            {sample(func(m *consumer.Message) { m.EntityType, m.Action = "User", "EnableCapture" }), "Medium", "[T1213]"},
	} {
		v := classes().judge(&c.message)
		if severities[v.severity] != c.severity || fmt.Sprint(v.techniques) != c.techniques {
			t.Errorf("%s: %s, %s", name, severities[v.severity], v.techniques)
		}
	}
}

func TestWildcard(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no string }{
		"*admin*":  {"master admin role", "supervisor"},
		"secret*":  {"secret", "a secret"},
		"*:add":    {"authorization:add", "authorization:add:x"},
		"a*b*c":    {"a-b-b-c", "a-c-b"},
		"ab*ba":    {"abba", "aba"},
		"*":        {"", "-"},
		"role":     {"role", "roles"},
		"x*y*z*":   {"xyz", "xzy"},
		"perm*.*s": {"permissions.scopes", "permissions"},
	} {
		if !wildcard(pattern, c.yes) || pattern != "*" && wildcard(pattern, c.no) {
			t.Errorf("%s", pattern)
		}
	}
}
