package mask

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrongFiles names every fault at once, with its line and what was expected.
func TestWrongFiles(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("fifteen bytes..\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		"":                          {"there are no rules; expected rules, or defaults: true"},
		"rules: []":                 {"there are no rules"},
		"a: [":                      {"line 1: is not YAML"},
		"- a":                       {"line 1: sequence where a mapping belongs; expected keyFile, defaults and rules"},
		"rule: []\ndefaults: maybe": {`line 1: unknown key "rule"; expected keyFile, defaults and rules`, "line 2: defaults is not true or false"},
		"rules: {action: mask}":     {"line 1: mapping where a list belongs; expected a list of rules"},
		"rules:\n- action: hide":    {`line 2: "hide" is no action; expected drop, mask, hmac or keep`},
		"rules:\n- paths: [a]":      {"line 2: a rule without an action; expected action: drop, mask, hmac or keep"},
		"rules:\n- action: hmac":    {"line 2: hmac needs a key; expected keyFile:"},
		"defaults: true\n---\na: 1": {"line 3: a second document; expected one"},
		"rules: [{action: mask}]\nkeyFile: " + short: {"line 2: keyFile: the key in " + short + " has 15 bytes; expected 16 at least"},
		"keyFile: /no/such\nrules: [{action: hmac}]": {"line 1: keyFile: cannot read /no/such: no such file or directory"},
		"rules:\n- action: mask\n  fields: [newValue, entityId]\n  path: [a]\n- action: mask\n  paths: [a.**, '**.a.**.b', '']\n  entityTypes: []\n  fields: value": {
			`line 3: "entityId" is no field that can be masked; expected one of userId, userName`, `line 4: unknown key "path"; expected entityTypes, paths, fields and action`,
			`line 6: "a.**" is no path; expected "**" once at most`, `line 6: "**.a.**.b" is no path`, "line 6: string where a text belongs; expected configuration keys",
			"line 7: an empty list; expected names of entity types, or leave it out", "line 8: string where a list belongs; expected fields of the change record",
		},
	} {
		path := filepath.Join(dir, "rules.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path, nil)
		if err == nil {
			t.Errorf("%q is taken", text)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v\nwant %s", text, err, w)
			}
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, path) {
				t.Errorf("%q: a line without the file: %s", text, line)
			}
		}
		if len(lines) < len(want) {
			t.Errorf("%q: %d faults named, want %d", text, len(lines), len(want))
		}
	}
	if _, err := Load(filepath.Join(dir, "none"), nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestRulesAreDescribed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(path, []byte("defaults: true\nrules:\n- {entityTypes: [User], paths: [email], action: drop}\n- {fields: [message], action: mask}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := Load(path, []Rule{{Action: Mask}})
	if err != nil {
		t.Fatal(err)
	}
	want := "drop previousValue, newValue of email in User; mask message of any path in any entity type; 1 shipped rules"
	if got := rules.Describe(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNamesWithStars(t *testing.T) {
	for pattern, texts := range map[string]struct{ yes, no string }{
		"a": {"a A", "b aa"}, "a*": {"a ab", "ba"}, "*a": {"a ba", "ab"}, "a*c": {"ac abc abcc", "a c ab"}, "a*b*c": {"abc aXbXc", "ac acb"}, "*": {"a b", ""},
	} {
		p, err := parsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, yes := range strings.Fields(texts.yes) {
			if !p[0].matches([]byte(yes)) {
				t.Errorf("%s is not %s", yes, pattern)
			}
		}
		for _, no := range strings.Fields(texts.no) {
			if p[0].matches([]byte(no)) {
				t.Errorf("%s is %s", no, pattern)
			}
		}
	}
}
