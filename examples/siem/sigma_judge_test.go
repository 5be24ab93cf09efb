//go:build siem

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// sigmaTool runs sigma/tool.py.
func sigmaTool(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	command := exec.Command("../../.cache/siem-venv/bin/python", append([]string{"sigma/tool.py"}, args...)...)
	var stderr bytes.Buffer
	command.Stdin, command.Stderr = bytes.NewReader(stdin), &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("tool.py %s: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

// TestSigmaConverts has sigma-cli look at the rules and convert them to SPL, Lucene,
// EQL and KQL, as they stand in sigma/converted.
func TestSigmaConverts(t *testing.T) {
	install(t)
	t.Logf("%s", sigmaTool(t, nil, "check"))
	dir := t.TempDir()
	sigmaTool(t, nil, "convert", dir)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "../sigma/converted/"+f.Name(), content)
	}
}

// TestSigmaRulesFire: each rule on its events and on no other, in the fields of every
// output, by pySigma's SQL and SQLite.
func TestSigmaRulesFire(t *testing.T) {
	install(t)
	cases := sigmaCases()
	input := map[string]map[string][]map[string]any{}
	for name, c := range cases {
		input[name] = map[string][]map[string]any{"ecs": {}, "ocsf": {}, "sentinel": {}}
		for _, m := range c.messages(t) {
			for output, fields := range outputs(t, &m) {
				fields["timestamp"] = m.Time.Format("2006-01-02T15:04:05.000Z") // by which pySigma's SQL counts bursts
				input[name][output] = append(input[name][output], fields)
			}
		}
	}
	stdin, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts map[string]map[string][]string
	if err := json.Unmarshal(sigmaTool(t, stdin, "judge"), &verdicts); err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for name, c := range cases {
		for _, output := range []string{"ecs", "ocsf", "sentinel"} {
			got := verdicts[name][output]
			slices.Sort(got)
			if !slices.Equal(got, c.rules) {
				t.Errorf("%s, %s: %v, want %v", name, output, got, c.rules)
			}
		}
		for _, rule := range c.rules {
			fired[rule] = true
		}
	}
	rules := sigmaRules(t)
	for rule := range rules {
		if !fired[rule] {
			t.Errorf("no event is for %s", rule)
		}
	}
	t.Logf("%d rules on %d cases, in 3 outputs", len(rules), len(cases))
}
