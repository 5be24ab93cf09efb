package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"genesys-audit-connector/examples/consumer"
)

//go:embed classes.yaml
var classesYAML []byte

// class is an OCSF class with the names of its activities, all of category
// Identity & Access Management: https://schema.ocsf.io/1.8.0/categories/iam
type class struct {
	uid        int
	name       string
	activities map[int]string
}

var (
	accountChange = class{3001, "Account Change", map[int]string{
		1: "Create", 2: "Enable", 3: "Password Change", 5: "Disable", 6: "Delete", 10: "MFA Factor Enable", 11: "MFA Factor Disable",
	}}
	authentication = class{3002, "Authentication", map[int]string{1: "Logon", 2: "Logoff"}}
	entityChange   = class{3004, "Entity Management", map[int]string{
		1: "Create", 2: "Read", 3: "Update", 4: "Delete", 5: "Move", 8: "Enable", 9: "Disable", 10: "Activate", 11: "Deactivate",
		12: "Suspend", 13: "Resume",
	}}
	userAccess  = class{3005, "User Access Management", map[int]string{1: "Assign Privileges", 2: "Revoke Privileges"}}
	groupChange = class{3006, "Group Management", map[int]string{
		1: "Assign Privileges", 2: "Revoke Privileges", 3: "Add User", 4: "Remove User", 5: "Delete", 6: "Create",
	}}
	allClasses = []*class{&accountChange, &authentication, &entityChange, &userAccess, &groupChange}
)

const (
	activityUnknown = 0
	activityOther   = 99 // activity_name then is the action in Genesys' words
)

// severities by OCSF's severity_id, from 0.
var severities = []string{"Unknown", "Informational", "Low", "Medium", "High", "Critical"}

// verdict is what the table says of a change.
type verdict struct {
	class      *class
	activity   int
	eventType  string   // ECS event.type
	status     string   // where the action itself says that it failed
	severity   int      // of severities
	techniques []string // ATT&CK
	rule       string   // the rule that set the severity; "" for none
}

// table is classes.yaml.
type table struct {
	Actions    []actionGroup
	Rules      []rule
	Techniques map[string]string
	byAction   map[string]*actionGroup // in lower case
}

// actionGroup is what actions have in common where no rule knows better.
type actionGroup struct {
	Class, Activity, Type, CIM, Status, Why string
	Of                                      []string
	verdict                                 verdict
}

// rule refines what some changes are.
type rule struct {
	Name, Why       string
	When            condition
	Class, Activity string
	Severity        string
	Attack          []string

	class    *class
	activity int
	severity int // 0: says nothing
}

// patterns is a list of patterns, or one.
type patterns []string

// UnmarshalYAML takes a text for a list of one.
func (p *patterns) UnmarshalYAML(content []byte) error {
	var list []string
	if err := yaml.Unmarshal(content, &list); err == nil {
		*p = list
		return nil
	}
	var one string
	if err := yaml.Unmarshal(content, &one); err != nil {
		return err
	}
	*p = patterns{one}
	return nil
}

// match reports whether a text is one of the patterns; no patterns match anything.
func (p patterns) match(text string) bool {
	return p == nil || slices.ContainsFunc(p, func(pattern string) bool { return wildcard(strings.ToLower(pattern), strings.ToLower(text)) })
}

// wildcard reports whether a text is a pattern in which * stands for anything.
func wildcard(pattern, text string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return strings.HasSuffix(text, last)
}

// condition is what a rule asks of a change.
type condition struct {
	Entity, Action, Service, Key, New, Name, Level patterns
	MemberType                                     patterns `yaml:"memberType"`
	ChangeType                                     patterns `yaml:"changeType"`
	Member, Self                                   bool
}

func (c *condition) match(m *consumer.Message) bool {
	return c.Entity.match(m.EntityType) && c.Action.match(m.Action) && c.Service.match(consumer.Text(m.ServiceName)) &&
		c.Key.match(consumer.Text(m.Key)) && c.New.match(consumer.Text(m.New)) && c.Name.match(entityName(m)) &&
		c.Level.match(consumer.Text(m.Level)) && c.MemberType.match(consumer.Text(m.MemberType)) && c.ChangeType.match(m.Type) &&
		(!c.Member || memberID(m) != "") && (!c.Self || toSelf(m))
}

var classes = sync.OnceValue(func() *table {
	t, err := parseTable(classesYAML)
	if err != nil {
		panic("classes.yaml: " + err.Error())
	}
	return t
})

// parseTable reads the table and refuses what is not in OCSF or has no reason.
func parseTable(content []byte) (*table, error) {
	t := &table{byAction: map[string]*actionGroup{}}
	if err := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict()).Decode(t); err != nil {
		return nil, err
	}
	var errs []error
	for i := range t.Actions {
		errs = append(errs, t.readActions(&t.Actions[i]))
	}
	for i := range t.Rules {
		if err := t.readRule(&t.Rules[i]); err != nil {
			errs = append(errs, fmt.Errorf("rule %q: %w", t.Rules[i].Name, err))
		}
	}
	return t, errors.Join(errs...)
}

func (t *table) readActions(g *actionGroup) error {
	v := &g.verdict
	var err error
	if v.class, v.activity, err = activityOf(g.Class, g.Activity); err != nil {
		return fmt.Errorf("actions %s: %w", g.Of, err)
	}
	if g.Why == "" || g.Type == "" || g.CIM == "" {
		return fmt.Errorf("actions %s: why, type and cim are needed", g.Of)
	}
	v.eventType, v.status, v.severity = g.Type, g.Status, 1
	for _, action := range g.Of {
		key := strings.ToLower(action)
		if t.byAction[key] != nil {
			return fmt.Errorf("action %s stands there twice", action)
		}
		t.byAction[key] = g
	}
	return nil
}

func (t *table) readRule(r *rule) (err error) {
	if r.Name == "" || r.Why == "" {
		return errors.New("name and why are needed")
	}
	if r.Class != "" {
		if r.class, r.activity, err = activityOf(r.Class, r.Activity); err != nil {
			return err
		}
	}
	if r.Severity != "" {
		if r.severity = slices.Index(severities, r.Severity); r.severity < 1 {
			return fmt.Errorf("severity %q", r.Severity)
		}
	}
	if r.Attack != nil && r.severity == 0 {
		return errors.New("attack without a severity")
	}
	for _, id := range r.Attack {
		parent, _, _ := strings.Cut(id, ".")
		if t.Techniques[id] == "" || t.Techniques[parent] == "" {
			return fmt.Errorf("technique %s has no name", id)
		}
	}
	return nil
}

// activityOf finds a class and an activity by OCSF's names.
func activityOf(className, activity string) (*class, int, error) {
	for _, c := range allClasses {
		if c.name != className {
			continue
		}
		if activity == "Other" {
			return c, activityOther, nil
		}
		for _, id := range slices.Sorted(maps.Keys(c.activities)) {
			if c.activities[id] == activity {
				return c, id, nil
			}
		}
		return nil, 0, fmt.Errorf("%s has no activity %q", className, activity)
	}
	return nil, 0, fmt.Errorf("no class %q", className)
}

// judge returns the table's verdict on a change.
func (t *table) judge(m *consumer.Message) verdict {
	v := verdict{class: &entityChange, activity: activityOther, eventType: "change", severity: 1}
	if m.Action == "" {
		v.activity = activityUnknown
	} else if g := t.byAction[strings.ToLower(m.Action)]; g != nil {
		v = g.verdict
	}
	classed := false
	for i := range t.Rules {
		r := &t.Rules[i]
		if (r.class == nil || classed) && (r.severity == 0 || v.rule != "") {
			continue // nothing that is still open
		}
		if !r.When.match(m) {
			continue
		}
		if r.class != nil && !classed {
			v.class, v.activity, classed = r.class, r.activity, true
		}
		if r.severity > 0 && v.rule == "" {
			v.severity, v.techniques, v.rule = r.severity, r.Attack, r.Name
		}
	}
	return v
}

// activityName is OCSF's name, or the action in Genesys' words.
func (v *verdict) activityName(m *consumer.Message) string {
	switch v.activity {
	case activityUnknown:
		return "Unknown"
	case activityOther:
		return m.Action
	}
	return v.class.activities[v.activity]
}
