// Package docs_test holds what the documentation says against the thing itself.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages are the documents, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "../*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			found[path] = read(t, path)
		}
	}
	return found
}

// TestLinks: a link leads to a file that exists, and to a heading that it has.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s: %v", path, match[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: link to %s: no such heading", path, match[1])
			}
		}
	}
}

// anchors are those that GitHub gives the headings.
func anchors(text string) []string {
	var all []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced || !strings.HasPrefix(line, "#") {
			continue
		}
		heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, "")
		all = append(all, strings.ReplaceAll(heading, " ", "-"))
	}
	return all
}

// TestVariables: every variable that is spoken of exists.
func TestVariables(t *testing.T) {
	config := read(t, "../cmd/connector/config.go")
	name := regexp.MustCompile(`\b(?:GENESYS|KAFKA|SCHEMA_REGISTRY|POLL|SWEEP|BACKFILL|ORG|HTTP|LOG|SHUTDOWN)_[A-Z_]*[A-Z]\b`)
	for path, text := range pages(t) {
		for _, variable := range slices.Compact(slices.Sorted(slices.Values(name.FindAllString(text, -1)))) {
			known := func(v string) bool { return regexp.MustCompile(`env:"` + v + `[",]`).MatchString(config) }
			if !known(variable) && !known(strings.TrimSuffix(variable, "_FILE")) {
				t.Errorf("%s speaks of %s, which is no variable", path, variable)
			}
		}
	}
}

// TestMetrics: every metric that is spoken of exists.
func TestMetrics(t *testing.T) {
	source := read(t, "../internal/web/metrics.go") + read(t, "../internal/web/metrics_fleet.go")
	name := regexp.MustCompile(`\bgenesys_audit_([a-z_]*[a-z])\b`)
	for path, text := range pages(t) {
		for _, match := range name.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(source, `"`+match[1]+`"`) {
				t.Errorf("%s speaks of %s, which is no metric", path, match[0])
			}
		}
	}
}

// TestAlerts: every alert rule has its line in troubleshooting.md, and the other way round.
func TestAlerts(t *testing.T) {
	var rules []string
	for _, match := range regexp.MustCompile(`(?m)alert: (\w+)$`).FindAllStringSubmatch(read(t, "../deploy/prometheus/rules.yaml"), -1) {
		rules = append(rules, match[1])
	}
	spoken := regexp.MustCompile(`\bGenesysAudit\w+`).FindAllString(read(t, "troubleshooting.md"), -1)
	slices.Sort(rules)
	slices.Sort(spoken)
	if spoken = slices.Compact(spoken); !slices.Equal(rules, spoken) {
		t.Errorf("the rules are %v, troubleshooting.md has %v", rules, spoken)
	}
}
