package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// processEnv is the least that a deployment of many organisations needs.
func processEnv(path string, settings ...string) envconfig.Lookuper {
	env := map[string]string{"KAFKA_BROKERS": "kafka-1:9092", "ORGS_FILE": path}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	return envconfig.MapLookuper(env)
}

// writeOrgs writes an ORGS_FILE beside the secrets "acme" and "other".
func writeOrgs(t testing.TB, content string) string {
	t.Helper()
	folder := t.TempDir()
	for path, text := range map[string]string{"acme": "hunter2", "other": "hunter3", "orgs.yaml": content} {
		if err := os.WriteFile(filepath.Join(folder, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "orgs.yaml")
}

func loadFleet(t testing.TB, content string, settings ...string) (Config, []Config) {
	t.Helper()
	cfg, orgs, err := LoadFleet(processEnv(writeOrgs(t, content), settings...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg, orgs
}

const twoOrgs = `# two of them
defaults:
  GENESYS_CLIENT_ID: default-client
  POLL_INTERVAL: 7s
  GENESYS_CLIENT_SECRET_FILE: acme
organisations:
  - name: acme
    GENESYS_REGION: mypurecloud.de
    GENESYS_SERVICES: [Routing, Quality]
    SWEEP_AGES:
      - 10m
      - 1h

  - GENESYS_CLIENT_ID: 0042        # a number in YAML
    name: other
    GENESYS_NAMES: false
    GENESYS_RATE_RESERVE: 20
    GENESYS_RATE_SHARE: 0.50
    POLL_INTERVAL: ""              # as if it were not there
    GENESYS_CLIENT_SECRET_FILE: other
`

func TestOrganisations(t *testing.T) {
	cfg, orgs := loadFleet(t, twoOrgs, "GENESYS_REGION=mypurecloud.ie", "POLL_OVERLAP=3m", "GENESYS_CLIENT_SECRET=of-the-environment")
	if len(orgs) != 2 {
		t.Fatalf("%d organisations", len(orgs))
	}
	acme, other := orgs[0], orgs[1]
	for name, pair := range map[string][2]any{
		"names":                  {[]string{acme.Org, other.Org}, []string{"acme", "other"}},
		"own region":             {acme.Genesys.Region, "mypurecloud.de"},
		"the environment's":      {other.Genesys.Region, "mypurecloud.ie"},
		"own services":           {acme.Genesys.Services, []string{"Routing", "Quality"}},
		"own ages":               {acme.Poll.SweepAges, []time.Duration{10 * time.Minute, time.Hour}},
		"built-in ages":          {len(other.Poll.SweepAges), 4},
		"default of all":         {acme.Poll.Interval, 7 * time.Second},
		"empty is not set":       {other.Poll.Interval, 7 * time.Second},
		"overlap of environment": {acme.Poll.Overlap, 3 * time.Minute},
		"default client":         {acme.Genesys.ClientID.Value(), "default-client"},
		"a number as it stands":  {other.Genesys.ClientID.Value(), "0042"},
		"secret by defaults":     {acme.Genesys.ClientSecret.Value(), "hunter2"},
		"own secret":             {other.Genesys.ClientSecret.Value(), "hunter3"},
		"truth":                  {[]bool{acme.Genesys.Names, other.Genesys.Names}, []bool{true, false}},
		"numbers":                {[]any{other.Genesys.RateReserve, other.Genesys.RateShare}, []any{20, 0.5}},
		"group":                  {[]string{cfg.GroupID(), acme.GroupID()}, []string{"genesys-audit", "genesys-audit"}},
		"transactional id":       {acme.TransactionalID(), "genesys-audit/acme"},
		"the process' settings":  {acme.Kafka, cfg.Kafka},
		"partitions":             {cfg.Kafka.OffsetsPartitions, int32(12)},
		"warnings":               {append(acme.Warnings, other.Warnings...), []string(nil)},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %v, want %v", name, pair[0], pair[1])
		}
	}
}

func TestOneOrganisationIsAFleetOfOne(t *testing.T) {
	cfg, orgs, err := LoadFleet(envconfig.MapLookuper(rightEnv()))
	if err != nil || len(orgs) != 1 || orgs[0].Org != "default" || cfg.TransactionalID() != "genesys-audit-default" {
		t.Errorf("got %v, %v", orgs, err)
	}
}

// TestOrgsFileForms: what means the same is read the same.
func TestOrgsFileForms(t *testing.T) {
	const settings = "GENESYS_REGION: mypurecloud.ie, GENESYS_CLIENT_ID: i, GENESYS_CLIENT_SECRET_FILE: acme"
	block := "    " + strings.ReplaceAll(settings, ", ", "\n    ") + "\n"
	for name, content := range map[string]string{
		"block":                "organisations:\n  - name: a\n" + block + "  - name: b\n" + block,
		"no indentation":       "organisations:\n-   name: a\n" + block + "# c\n-   name: b\n" + block,
		"flow in block":        "organisations:\n- {name: a, " + settings + "}\n- {name: b, " + settings + "}\n",
		"flow":                 "organisations: [{name: a, " + settings + "}, {name: b, " + settings + "}]",
		"JSON":                 `{"defaults": {"GENESYS_REGION": "mypurecloud.ie", "GENESYS_CLIENT_ID": "i", "GENESYS_CLIENT_SECRET_FILE": "acme"}, "organisations": [{"name": "a"}, {"name": "b"}]}`,
		"defaults behind":      "organisations:\n - name: a\n - name: b\n\ndefaults:\n" + block,
		"a document's marks":   "---\ndefaults:\n" + block + "organisations: # all\n\n  # the first\n  -\n    name: a\n  - name: b\n...\n",
		"Windows":              "\ufefforganisations:\r\n  - name: a\r\n" + strings.ReplaceAll(block, "\n", "\r\n") + "  - name: b\r\n" + strings.ReplaceAll(block, "\n", "\r\n"),
		"a text of many lines": "organisations:\n  - name: a\n" + block + "    GENESYS_SERVICES: >-\n      Routing,\n      Quality\n  - name: b\n" + block,
	} {
		_, orgs := loadFleet(t, content)
		if len(orgs) != 2 || orgs[0].Org != "a" || orgs[1].Org != "b" || orgs[1].Genesys.Region != "mypurecloud.ie" {
			t.Errorf("%s: got %v", name, orgs)
		}
	}
	if _, orgs := loadFleet(t, "organisations: []\n"); len(orgs) != 0 {
		t.Errorf("got %v", orgs)
	}
}

// TestWrongOrgsFiles compares with testdata/orgs/wrong.txt: files, each behind a line
// "### settings of the environment", with the messages as lines "> ".
func TestWrongOrgsFiles(t *testing.T) {
	t.Chdir(filepath.Join("testdata", "orgs"))
	golden, err := os.ReadFile("wrong.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, block := range strings.Split(string(golden), "### ") {
		if i == 0 {
			out.WriteString(block)
			continue
		}
		settings, rest, _ := strings.Cut(block, "\n")
		var content, want strings.Builder
		for line := range strings.Lines(rest) {
			if strings.HasPrefix(line, "> ") {
				want.WriteString(line)
			} else {
				content.WriteString(line)
			}
		}
		got := orgsComplaints(t, strings.TrimRight(content.String(), "\n")+"\n", strings.Fields(settings))
		if !*update && got != want.String() {
			t.Errorf("%s\ngot:\n%swant:\n%s", content.String(), got, want.String())
		}
		fmt.Fprintf(&out, "### %s\n%s\n%s\n", settings, strings.TrimRight(content.String(), "\n"), got)
	}
	if *update {
		if err := os.WriteFile("wrong.txt", []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// orgsComplaints are the messages as lines, of a file in the working directory.
func orgsComplaints(t *testing.T, content string, settings []string) string {
	t.Helper()
	const path = "orgs.yaml"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	_, orgs, err := LoadFleet(processEnv(path, settings...))
	if err == nil || orgs != nil {
		t.Errorf("%s\ngot %d organisations and %v", content, len(orgs), err)
		return ""
	}
	if strings.Contains(err.Error(), "hunter") {
		t.Errorf("a secret is shown: %v", err)
	}
	return "> " + strings.ReplaceAll(err.Error(), "\n", "\n> ") + "\n"
}

func TestOrgsFileBounds(t *testing.T) {
	many := "organisations:\n" + strings.Repeat("- name: a\n", maxOrgs+5)
	long := "organisations:\n- name: a\n  GENESYS_OAUTH_SCOPE: " + strings.Repeat("x", maxOrgBytes) + "\n- name: b\n"
	deep := "organisations:\n- name: " + strings.Repeat("[", 100000) + "\n"
	deeper := "organisations:\n- name: " + strings.Repeat("- ", 20000) + "\n"
	for content, want := range map[string]string{
		many: "orgs.yaml:100002: organisations: there are 100005; expected at most 100000",
		long: `orgs.yaml:2: organisation 1: is 65570 bytes long; expected at most 65536`,
		deep: "orgs.yaml:2: organisation 1: is ", deeper: "orgs.yaml:2: organisation 1: is nested too deeply",
		strings.Repeat("#", maxOrgsBytes+1): "is longer than 16 MiB",
	} {
		_, _, err := LoadFleet(processEnv(writeOrgs(t, content)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %.300v, want %s", err, want)
		}
		if err != nil && strings.Count(err.Error(), "\n") > maxOrgProblems {
			t.Errorf("%d lines", strings.Count(err.Error(), "\n"))
		}
	}
	_, _, err := LoadFleet(processEnv(filepath.Join(t.TempDir(), "absent")))
	if wrong := (ConfigError)(nil); !errors.As(err, &wrong) || wrong[0].Variable != "ORGS_FILE" {
		t.Errorf("got %v", err)
	}
}

// fleetFile is a file of n organisations, each with secrets of its own if they are there.
func fleetFile(n int, secret func(int) string) string {
	var b strings.Builder
	b.WriteString("defaults:\n  GENESYS_REGION: mypurecloud.de\n  SWEEP_AGES: [10m, 1h]\n\norganisations:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: org-%d\n    GENESYS_CLIENT_ID: client-%d\n    GENESYS_CLIENT_SECRET_FILE: %s\n    POLL_INTERVAL: 10s\n    GENESYS_SERVICES: [Routing, Quality]\n", i, i, secret(i))
	}
	return b.String()
}

func BenchmarkLoadOrganisations(b *testing.B) {
	const n = 20_000
	path := writeOrgs(b, "")
	folder := filepath.Dir(path)
	content := fleetFile(n, func(i int) string {
		name := "secret-" + strconv.Itoa(i)
		if err := os.WriteFile(filepath.Join(folder, name), []byte("s3cret"), 0o600); err != nil {
			b.Fatal(err)
		}
		return name
	})
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	cfg, err := Load(processEnv(path))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if orgs, err := LoadOrganisations(cfg, processEnv(path)); err != nil || len(orgs) != n {
			b.Fatal(len(orgs), err)
		}
	}
}

// FuzzOrgsFile: whatever stands there is read or refused with lines that the file has. And
// where the file is right, it does not matter that it was read in pieces.
func FuzzOrgsFile(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "orgs", "wrong.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(golden), "### ") {
		_, rest, _ := strings.Cut(block, "\n")
		content, _, _ := strings.Cut(rest, "\n> ")
		f.Add([]byte(content))
	}
	f.Add([]byte(twoOrgs))
	f.Fuzz(func(t *testing.T, content []byte) {
		text := parseOrgs(content)
		last := max(1, bytes.Count(content, []byte("\n"))+1)
		for _, p := range text.problems {
			if p.line < 1 || p.line > last || p.text == "" {
				t.Errorf("line %d of %d: %s", p.line, last, p.text)
			}
		}
		for _, o := range text.orgs {
			if len(text.problems) == 0 && (o.name == "" || text.lines[o.name] != o.line) {
				t.Errorf("organisation %q of line %d", o.name, o.line)
			}
		}
		head, items := splitOrgs(content)
		if bytes.Count(head, []byte("\n")) != bytes.Count(content, []byte("\n")) && items != nil && content[len(content)-1] == '\n' {
			t.Errorf("the head has other lines than the file")
		}
		if len(text.problems) > 0 || items == nil {
			return
		}
		whole := newOrgsText(content)
		if node := whole.parse(bytes.TrimPrefix(content, []byte("\ufeff")), 1, maxOrgsBytes, ""); node != nil {
			whole.readHead(node, false)
			whole.checkNames()
		}
		if len(whole.problems) == 0 && (!reflect.DeepEqual(whole.orgs, text.orgs) || !reflect.DeepEqual(whole.defaults, text.defaults)) {
			t.Errorf("in pieces %v\nas one    %v", text.orgs, whole.orgs)
		}
	})
}

func namesOf(orgs []Config) []string {
	var all []string
	for _, cfg := range orgs {
		all = append(all, cfg.Org)
	}
	slices.Sort(all)
	return all
}
