package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
)

func parse(t testing.TB, text string) *Rules {
	t.Helper()
	r, err := ParseRules("rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRulesThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "no rules",
		"rules: []":                    "no rules",
		"rulez: []":                    "rulez",
		"rules: [{when: {action: x}}]": "name",
		"rules: [{name: a, when: {action: x}}, {name: a, when: {action: x}}]": "rule 2: a name of its own",
		"rules: [{name: a}]": "every change",
		"rules: [{name: a, when: {action: x}, severity: high}]":                                               "severity",
		"rules: [{name: a, when: {action: x, colour: red}}]":                                                  "colour",
		"rules: [{name: a, when: {action: /(/}}]":                                                             "missing closing",
		"rules: [{name: a, when: {action: []}}]":                                                              "no patterns",
		"rules: [{name: a, when: {action: \"\"}}]":                                                            "empty pattern",
		"rules: [{name: a, when: {action: {x: y}}}]":                                                          "",
		"rules: [{name: a, when: {outsideWorkingHours: true}}]":                                               "no workingHours",
		"rules: [{name: a, when: {action: x}, many: {count: 1, within: 1m, by: all}}]":                        "many",
		"rules: [{name: a, when: {action: x}, many: {count: 3, within: 30d, by: all}}]":                       "",
		"rules: [{name: a, when: {action: x}, many: {count: 3, within: 1m, by: colour}}]":                     "by one of",
		"rules: [{name: a, when: []}]":                                                                        "every change",
		"rules: [{name: a, when: [{action: x}, {}]}]":                                                         "every change",
		"rules: [{name: a, when: [{action: x, colour: red}]}]":                                                "colour",
		"rules: [{name: a, when: {watchedRole: true}}]":                                                       "no watchedRoles",
		"rules: [{name: a, when: {action: x}, otherwise: true, many: {count: 3, within: 1m, by: all}}]":       "otherwise",
		"timeZone: Mars/Olympus\nrules: [{name: a, when: {action: x}}]":                                       "timeZone",
		"workingHours: {days: [Monday], from: \"8:00\", to: \"9:00\"}\nrules: [{name: a, when: {action: x}}]": "Monday",
		"workingHours: {days: [Mon], from: noon, to: \"9:00\"}\nrules: [{name: a, when: {action: x}}]":        "noon",
		"workingHours: {days: [Mon], from: \"09:00\", to: \"09:00\"}\nrules: [{name: a, when: {action: x}}]":  "days, from and to",
	} {
		if _, err := ParseRules("rules.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestErrorsNameTheLine: each of these lines is wrong, and named, by what decodes it or by what checks it.
func TestErrorsNameTheLine(t *testing.T) {
	const before = "timeZone: UTC\nworkingHours: {days: [Mon], from: \"09:00\", to: \"17:00\"}\nrules:\n- name: first\n  when: {action: x}\n- name: second\n"
	for text, line := range map[string]int{
		"  when: {action: /(/}": 7,
		"  when:\n    entityType: role\n    action:\n    - x\n    - \"\"":           11,
		"  when: {action: x}\n  severity: high":                                     8,
		"  when: {action: x, colour: red}":                                          7,
		"  when: {action: x}\n  many:\n    count: 3\n    within: 30d\n    by: all":  9,
		"  when: {action: x}\n  many: {count: 3, within: 1m, by: colour}":           8,
		"  when: {action: x}\n  many: {count: 3, within: 1m, by: all, colour: red}": 8,
		"  severity: info":                                            6,
		"  when: {action: x}\n- when: {action: x}":                    8,
		"  when: {action: x}\n- name: first\n  when: {action: x}":     8,
		"  when: {action: x}\n\tseverity: info":                       8,
		"  when: {action: x}\n  name: third":                          8,
		"  when:\n  - {action: x}\n  - {action: x,\n    colour: red}": 10,
		"  when: [":                             7,
		"  when: {action: x}\nworkingHours: {}": 8,
	} {
		_, err := ParseRules("dir/rules.yaml", []byte(before+text+"\n"))
		if want := fmt.Sprintf("dir/rules.yaml:%d: ", line); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\nline %d: %v", text, line, err)
		}
	}
	hours := strings.Replace(before, "Mon]", "Mon, Monday]", 1)
	hours = strings.Replace(hours, "UTC", "Mars/Olympus", 1)
	_, err := ParseRules("r", []byte(hours+"  when: {action: x}\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "r:1: timeZone: ") || !strings.Contains(err.Error(), "\nr:2: workingHours: ") {
		t.Errorf("several at once: %v", err)
	}
	_, err = ParseRules("r", []byte(strings.Replace(before, "\"09:00\"", "noon", 1)))
	if err == nil || !strings.HasPrefix(err.Error(), "r:2: \"noon\" is no time of day") {
		t.Errorf("a time of day: %v", err)
	}
}

func TestShippedRules(t *testing.T) {
	r, err := LoadRules("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rules) != 22 || r.Memory() != 20*time.Minute {
		t.Errorf("%d rules, memory %s", len(r.Rules), r.Memory())
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		patterns string
		text     string
		want     bool
	}{
		{"Master Admin", "master admin", true},
		{"Master Admin", "Master Administrator", false},
		{"Master*", "Master Administrator", true},
		{"\"*grant*\"", "a\nauthorization:grant:add", true},
		{"a.c", "abc", false},
		{"/^a.c$/", "abc", true},
		{"/b/", "abc", true},
		{"/B/", "abc", false},
		{"[x, a*]", "abc", true},
		{"[x, y]", "abc", false},
		{"\"*\"", "", false}, // there must be something
		{"\"*\"", "x", true},
		{"12", "12", true}, // a number in YAML
		{"true", "true", true},
	} {
		r := parse(t, "rules: [{name: a, when: {newValue: "+c.patterns+"}}]")
		if got := r.Rules[0].When[0].NewValue.match(c.text); got != c.want {
			t.Errorf("%s and %q: %t", c.patterns, c.text, got)
		}
	}
	if !Patterns(nil).match("") {
		t.Error("no condition is none")
	}
}

func TestWorkingHours(t *testing.T) {
	day := parse(t, "timeZone: Europe/Berlin\nworkingHours: {days: [Mon, Tue, Wed, Thu, Fri], from: \"08:00\", to: \"18:30\"}\nrules: [{name: a, when: {action: x}}]")
	night := parse(t, "timeZone: Europe/Berlin\nworkingHours: {days: [Mon, Fri], from: \"22:00\", to: \"06:00\"}\nrules: [{name: a, when: {action: x}}]")
	full := parse(t, "workingHours: {days: [Sat], from: \"00:00\", to: \"24:00\"}\nrules: [{name: a, when: {action: x}}]")
	for _, c := range []struct {
		rules *Rules
		at    string
		want  bool
	}{
		{day, "2026-09-01T06:00:00Z", true}, // Tuesday 08:00, in summer
		{day, "2026-09-01T05:59:59Z", false},
		{day, "2026-09-01T16:29:59Z", true},
		{day, "2026-09-01T16:30:00Z", false},
		{day, "2026-12-01T07:00:00Z", true}, // Tuesday 08:00, in winter
		{day, "2026-12-01T06:59:59Z", false},
		{day, "2026-08-30T10:00:00Z", false},  // Sunday
		{day, "2026-08-30T22:30:00Z", false},  // Monday 00:30
		{night, "2026-08-31T20:00:00Z", true}, // Monday 22:00
		{night, "2026-09-01T03:59:59Z", true}, // Tuesday 05:59, of Monday's night
		{night, "2026-09-01T04:00:00Z", false},
		{night, "2026-09-01T20:00:00Z", false}, // Tuesday 22:00
		{night, "2026-09-05T02:00:00Z", true},  // Saturday 04:00, of Friday's night
		{night, "2026-08-31T02:00:00Z", false}, // Monday 04:00, of Sunday's night
		{full, "2026-09-05T23:59:59Z", true},
		{full, "2026-09-06T00:00:00Z", false},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.rules.working(at); got != c.want {
			t.Errorf("%s: %t", c.at, got)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add("rules: [{name: a, when: {action: x}}]")
	f.Add("workingHours: {days: [Mon], from: \"22:00\", to: \"06:00\"}\nrules: [{name: a, when: {outsideWorkingHours: true, role: [a, /b/]}, many: {count: 2, within: 1s, by: role}}]")
	f.Add("rules: [{name: a, when: {action: [[x]]}}]")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRules("rules.yaml", []byte(text))
		if err != nil {
			return
		}
		e := newEvaluator(r, time.Hour)
		e.alerts(&consumer.Message{Change: consumer.Change{EntityType: "Role", Action: "x", Time: time.UnixMilli(0)}, Published: time.UnixMilli(0)})
	})
}
