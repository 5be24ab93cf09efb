package web

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func registry(t *testing.T, s Snapshot) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(collector{fixed(s)}); err != nil {
		t.Fatal(err)
	}
	return reg
}

// Prometheus' own linter has nothing to say, and a pedantic registry takes every state.
func TestMetricsLint(t *testing.T) {
	for name, state := range fixtures {
		problems, err := testutil.GatherAndLint(registry(t, state()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
}

func TestMetricsGolden(t *testing.T) {
	_, text := get(t, handler(t, troubled()), "GET", "/metrics")
	lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(l string) bool {
		return !strings.Contains(l, "genesys_audit_") || strings.HasPrefix(l, "genesys_audit_build_info{") // names the Go version
	})
	golden(t, "metrics.txt", strings.Join(lines, ""))
}

func TestMetricsHaveTheRuntimeToo(t *testing.T) {
	_, body := get(t, handler(t, healthy()), "GET", "/metrics")
	for _, want := range []string{"\ngo_goroutines ", "\nprocess_resident_memory_bytes ", "\ngenesys_audit_active{org=\"acme\"} 1\n", `version="v1.4.0"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
}

// Alert rules and the dashboard name only metrics that there are.
func TestDeployedNamesExist(t *testing.T) {
	known := make(map[string]bool)
	for _, f := range slices.Concat(families, fleetFamilies) {
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(f.desc.String())[1]
		known[name] = true
		if f.kind == 0 {
			known[name+"_bucket"], known[name+"_count"], known[name+"_sum"] = true, true, true
		}
	}
	for _, file := range []string{"prometheus/rules.yaml", "prometheus/rules_test.yaml", "prometheus/rules_days_test.yaml", "grafana/genesys-audit.json", "grafana/genesys-audit-fleet.json"} {
		text, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bgenesys_audit_\w+`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}

// An organisation with any number of entity types makes a bounded number of series.
func TestUnmappedIsBounded(t *testing.T) {
	s := healthy()
	s.Unmapped = map[string]uint64{"other": 7, "common": 1000}
	for i := range 5000 {
		s.Unmapped[fmt.Sprintf("type-%d", i)] = 1
	}
	n, err := testutil.GatherAndCount(registry(t, s), "genesys_audit_unmapped_total")
	if err != nil || n != maxLabelValues {
		t.Errorf("%d series, %v", n, err)
	}
	list := commonest(s.Unmapped, maxLabelValues)
	var sum uint64
	for _, c := range list {
		sum += c.count
	}
	if list[0] != (tally{"common", 1000}) || list[len(list)-1].name != "other" || sum != 6007 {
		t.Errorf("first %v, last %v, sum %d", list[0], list[len(list)-1], sum)
	}
	if few := commonest(map[string]uint64{"a": 1, "other": 2}, 2); len(few) != 2 || few[0] != (tally{"other", 2}) {
		t.Errorf("few names: %v", few)
	}
}
