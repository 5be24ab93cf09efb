package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"genesys-audit-connector/examples/consumer"
)

// sigmaRule is what these tests read of a rule, or of a correlation.
type sigmaRule struct {
	Title, Status, Level string
	Tags                 []string
	Detection            map[string]any
	Correlation          *struct {
		GroupBy []string `yaml:"group-by"`
	}
}

// sigmaRules reads the rules by file, a burst's event before the burst.
func sigmaRules(t *testing.T) map[string][]sigmaRule {
	t.Helper()
	paths, err := filepath.Glob("sigma/*.yml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	rules := map[string][]sigmaRule{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".yml")
		for d := yaml.NewDecoder(bytes.NewReader(content)); ; {
			var r sigmaRule
			if err := d.Decode(&r); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			rules[name] = append(rules[name], r)
		}
	}
	return rules
}

// fields of the events that a rule asks about.
func (r *sigmaRule) fields() []string {
	var names []string
	for name, selection := range r.Detection {
		if name == "condition" {
			continue
		}
		for key := range selection.(map[string]any) {
			field, _, _ := strings.Cut(key, "|")
			names = append(names, field)
		}
	}
	if r.Correlation != nil {
		names = append(names, r.Correlation.GroupBy...)
	}
	return names
}

// flat is the leaves of a JSON document by their dotted paths, as Splunk names them.
func flat(into map[string]any, path string, value any) map[string]any {
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			flat(into, strings.TrimPrefix(path+"."+name, "."), v)
		}
	case []any:
	default:
		into[path] = value
	}
	return into
}

// TestRulesAskForWhatIsSent: every field of a rule is one that the samples have, in
// each output under the name that its pipeline gives it, and with the same value.
func TestRulesAskForWhatIsSent(t *testing.T) {
	asked := map[string]bool{}
	for _, rules := range sigmaRules(t) {
		for _, r := range rules {
			for _, name := range r.fields() {
				asked[name] = true
			}
		}
	}
	splunk, sentinel := mappingOf(t, "splunk"), mappingOf(t, "sentinel")
	sent := map[string]bool{}
	for _, s := range samples {
		records := outputs(t, &s.message)
		for name := range asked {
			value, ok := records["ecs"][name]
			sent[name] = sent[name] || ok
			if name == "user.id" && newOCSF(&s.message).ClassUID != authentication.uid {
				continue // OCSF has the actor's elsewhere; the rules ask for it in logins
			}
			if name == "genesys.audit.role.name" && !isRole(&s.message) {
				continue // in OCSF any entity's name is there; the rules ask for roles too
			}
			for output, field := range map[string]string{"ocsf": splunk[name], "sentinel": sentinel[name]} {
				if got := records[output][field]; field == "" || !strings.EqualFold(asText(got), asText(value)) {
					t.Errorf("%s: %s is %v, in %s %s is %v", s.name, name, value, output, field, got)
				}
			}
		}
	}
	for name := range asked {
		if !sent[name] {
			t.Errorf("no sample has %s", name)
		}
	}
	for _, mapping := range []map[string]string{splunk, sentinel} {
		for name := range mapping {
			if !asked[name] {
				t.Errorf("no rule asks for %s", name)
			}
		}
	}
}

func asText(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// mappingOf is the names that a pipeline gives to the rules' fields.
func mappingOf(t *testing.T, name string) map[string]string {
	t.Helper()
	content, err := os.ReadFile("sigma/pipelines/" + name + ".yml")
	if err != nil {
		t.Fatal(err)
	}
	var pipeline struct {
		Transformations []struct{ Mapping map[string]string }
	}
	if err := yaml.Unmarshal(content, &pipeline); err != nil {
		t.Fatal(err)
	}
	return pipeline.Transformations[0].Mapping
}

// TestRulesAreInTheTable: their ATT&CK techniques are known to classes.yaml, and each
// has a level and stands in every language.
func TestRulesAreInTheTable(t *testing.T) {
	var converted []string
	for _, name := range []string{"splunk.spl", "elastic.lucene", "elastic.eql", "sentinel.kql"} {
		content, err := os.ReadFile("sigma/converted/" + name)
		if err != nil {
			t.Fatal(err)
		}
		converted = append(converted, string(content))
	}
	for name, rules := range sigmaRules(t) {
		for _, r := range rules {
			techniques := 0
			for _, tag := range r.Tags {
				if id, ok := strings.CutPrefix(tag, "attack.t"); ok {
					techniques++
					if classes().Techniques["T"+id] == "" {
						t.Errorf("%s: %s is not in classes.yaml", name, tag)
					}
				}
			}
			if techniques == 0 || !slices.Contains([]string{"informational", "low", "medium", "high", "critical"}, r.Level) {
				t.Errorf("%s: %d techniques, level %q", name, techniques, r.Level)
			}
		}
		for _, text := range converted {
			if strings.Count(text, " "+name+": ") != 1 {
				t.Errorf("%s is not converted", name)
			}
		}
	}
}

// outputs is a change as each output delivers it, by flat names.
func outputs(t *testing.T, m *consumer.Message) map[string]map[string]any {
	t.Helper()
	decode := func(b []byte, err error) map[string]any {
		var document map[string]any
		if err := errors.Join(err, json.Unmarshal(b, &document)); err != nil {
			t.Fatal(err)
		}
		return flat(map[string]any{}, "", document)
	}
	ocsf := decode(formats["ocsf"](nil, m))
	ocsf["source"] = "genesys.audit" // as the collector is told
	return map[string]map[string]any{"ecs": decode(formats["ecs"](nil, m)), "ocsf": ocsf, "sentinel": decode(encodeRow(m))}
}
