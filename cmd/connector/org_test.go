package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/doctor"
)

func TestChooseOrganisation(t *testing.T) {
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("org-%d", i)
	}
	one, file, fleet := scope{names: []string{"acme"}}, scope{"orgs.yaml", []string{"acme"}}, scope{"orgs.yaml", many}
	for _, tt := range []struct {
		scope     scope
		org, want string
		wrong     string
	}{
		{one, "", "acme", ""},
		{one, "acme", "acme", ""},
		{one, "other", "", `connector: --org: the organisation here is "acme" (ORG_NAME), not "other"; expected that or no --org, or ORGS_FILE for many`},
		{file, "", "acme", ""},
		{file, "acmee", "", `connector: --org: "acmee" is not in orgs.yaml, did you mean acme?; expected one of acme`},
		{scope{"orgs.yaml", nil}, "", "", "connector: --org: there is no organisation in orgs.yaml; expected one, by its name"},
		{fleet, "org-299", "org-299", ""},
		{fleet, "", "", "connector: --org is not given, and orgs.yaml has 300 organisations; expected one of them: org-0, org-1, org-2, org-3, org-4, org-5, org-6, org-7, org-8, org-9, …"},
	} {
		got, err := tt.scope.choose(tt.org)
		if usage := (usageError{}); got != tt.want || tt.wrong != "" && (!errors.As(err, &usage) || err.Error() != tt.wrong) || tt.wrong == "" && err != nil {
			t.Errorf("--org %q: got %q, %v", tt.org, got, err)
		}
	}
}

// TestOrgFlag has every command that concerns one organisation refuse to guess which.
func TestOrgFlag(t *testing.T) {
	path := writeOrgs(t, strings.Replace(fleetOf(orgA, orgB), "acme", "absent", 1)) // whose secrets are not here
	t.Setenv("ORGS_FILE", path)
	t.Setenv("KAFKA_BROKERS", "127.0.0.1:1")
	for _, args := range []string{"history x", "evidence verify", "evidence checkpoint", "status"} {
		err := execute(strings.Fields(args + " --org c")...)
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), `--org: "c" is not in `+path) || !strings.HasSuffix(err.Error(), "expected one of a, b") {
			t.Errorf("%s: got %v", args, err)
		}
	}
	writeFile(t, path, fleetOf(orgA, orgB))
	for _, args := range []string{"history x", "evidence verify", "evidence checkpoint", "check", "verify", "backfill --from 1h"} {
		err := execute(strings.Fields(args)...)
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--org is not given, and ") {
			t.Errorf("%s: got %v", args, err)
		}
	}
	for _, args := range []string{"check", "verify"} {
		if err := execute(args, "--org", "a", "--all"); !errors.Is(err, errOrgAndAll) {
			t.Errorf("%s: got %v", args, err)
		}
	}
	if cfg, err := loadOneKafka(processEnv(path), "b"); err != nil || cfg.Org != "b" || cfg.GroupID() != "genesys-audit" {
		t.Errorf("got %s, %v", cfg.Org, err)
	}
}

// execute runs a command line that prints nothing of interest.
func execute(args ...string) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&bytes.Buffer{})
	root.SetErr(&bytes.Buffer{})
	return root.Execute()
}

func TestOrgIsCompleted(t *testing.T) {
	t.Setenv("ORGS_FILE", writeOrgs(t, "organisations:\n  - name: acme\n  - name: acme-test\n    POLL_INTERVAL: wrong\n  - name: globex\n"))
	for _, command := range [][]string{{"check"}, {"verify"}, {"backfill"}, {"status"}, {"history"}, {"evidence", "verify"}, {"evidence", "checkpoint"}} {
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(slices.Concat([]string{"__complete"}, command, []string{"--org", "ac"}))
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), "acme\nacme-test\n:4\n") {
			t.Errorf("%q: got %q", command, out.String())
		}
	}
}

func TestStatusOfOneOrganisation(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		fmt.Fprint(w, "{}")
	}))
	defer server.Close()
	t.Setenv("ORGS_FILE", writeOrgs(t, fleetOf(orgA, orgB)))
	t.Setenv("HTTP_ADDR", strings.TrimPrefix(server.URL, "http://"))
	for args, want := range map[string]string{
		"status --json":         "/api/status",
		"status --json --org a": "/api/status?org=a",
		"status --json --org x --url " + server.URL + "/": "/api/status?org=x",
	} {
		if err := execute(strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		if got := <-asked; got != want {
			t.Errorf("%s asks %s, want %s", args, got, want)
		}
	}
	t.Setenv("ORGS_FILE", "")
	t.Setenv("ORG_NAME", "acme")
	if err := execute("status", "--json", "--org", "acme"); err != nil || <-asked != "/api/status" {
		t.Errorf("got %v", err)
	}
	if err := execute("status", "--org", "other"); err == nil || !strings.Contains(err.Error(), `not "other"`) {
		t.Errorf("got %v", err)
	}
}

// TestAllOrganisations checks and verifies two organisations, one of which cannot log in.
func TestAllOrganisations(t *testing.T) {
	o := unlimited()
	s := newScene(t, nil, o)
	path := writeOrgs(t, "organisations:\n  - name: good\n  - name: refused\n    GENESYS_CLIENT_ID: nobody\n")
	s.env["ORGS_FILE"], s.env["BACKFILL_FROM"] = path, "1h"
	env := envconfig.MapLookuper(maps.Clone(s.env))

	var out bytes.Buffer
	err := check(t.Context(), env, nil, checkOptions{all: true, asJSON: true}, &out)
	if err == nil || err.Error() != "1 of 2 organisations: something is wrong, see above" {
		t.Errorf("got %v", err)
	}
	var results []struct {
		Org    string
		OK     bool
		Checks []doctor.Check
	}
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	if len(results) != 2 || results[0].Org != "good" || !results[0].OK || results[1].Org != "refused" || results[1].OK || len(results[1].Checks) < 5 {
		t.Errorf("got %+v", results)
	}

	out.Reset()
	if err := check(t.Context(), env, nil, checkOptions{all: true}, &out); err == nil {
		t.Error("the check found nothing")
	}
	for _, want := range []string{"organisation refused:\nfailed ", "ORGANISATION  RESULT  WHAT IS WRONG\ngood          ok      \nrefused       failed  token"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}

	cfg, orgs, err := LoadFleet(env)
	if err != nil || cfg.TransactionalID() == orgs[0].TransactionalID() {
		t.Fatal(err)
	}
	out.Reset()
	err = verifyAll(t.Context(), orgs, verifyOptions{}, &out)
	if err == nil || !strings.Contains(out.String(), "refused       failed  ") {
		t.Errorf("got %v\n%s", err, out.String())
	}
}
