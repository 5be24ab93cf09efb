package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// watched is a watch on a file in a folder with the secrets "acme" and "other".
type watched struct {
	t       *testing.T
	path    string
	orgs    chan []Config
	failure chan error
}

const orgA, orgB = "  - name: a\n    GENESYS_CLIENT_ID: client-a\n", "  - name: b\n    GENESYS_CLIENT_ID: client-b\n"

func fleetOf(orgs ...string) string {
	return "defaults:\n  GENESYS_REGION: mypurecloud.ie\n  GENESYS_CLIENT_SECRET_FILE: acme\norganisations:\n" + strings.Join(orgs, "")
}

func watch(t *testing.T, path string, env envconfig.Lookuper) *watched {
	t.Helper()
	cfg, orgs, err := LoadFleet(env)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t, path, make(chan []Config, 100), make(chan error, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watchOrganisations(ctx, cfg, env, orgs, 10*time.Millisecond, func(orgs []Config) { w.orgs <- orgs }, func(err error) { w.failure <- err })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// replace puts content in the file's place as editors do that are careful.
func (w *watched) replace(content string) {
	w.t.Helper()
	next := w.path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(next, w.path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) becomes(names ...string) []Config {
	w.t.Helper()
	select {
	case orgs := <-w.orgs:
		if got := namesOf(orgs); !slices.Equal(got, names) {
			w.t.Errorf("organisations are %q, want %q", got, names)
		}
		return orgs
	case err := <-w.failure:
		w.t.Fatalf("got %v, want organisations %q", err, names)
	case <-time.After(20 * time.Second):
		w.t.Fatalf("the change to %q was not seen", names)
	}
	return nil
}

// fails awaits an error with a text in it, "" for the end of one.
func (w *watched) fails(text string) {
	w.t.Helper()
	select {
	case err := <-w.failure:
		if text == "" && err != nil || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			w.t.Errorf("got %v, want %q", err, text)
		}
	case orgs := <-w.orgs:
		w.t.Fatalf("organisations became %q, want %q", namesOf(orgs), text)
	case <-time.After(20 * time.Second):
		w.t.Fatalf("%q was not said", text)
	}
}

func (w *watched) nothing() {
	w.t.Helper()
	select {
	case orgs := <-w.orgs:
		w.t.Errorf("organisations became %q", namesOf(orgs))
	case err := <-w.failure:
		w.t.Errorf("got %v", err)
	case <-time.After(2*orgsSettle + 100*time.Millisecond):
	}
}

func TestOrgsFileIsReloaded(t *testing.T) {
	t.Parallel()
	path := writeOrgs(t, fleetOf(orgA))
	w := watch(t, path, processEnv(path))
	w.replace(fleetOf(orgA, orgB))
	w.becomes("a", "b")
	w.replace("# another comment, another order, spelled otherwise\n" + fleetOf(orgB, orgA+"    POLL_INTERVAL: 5000ms\n"))
	w.nothing()
	w.replace(fleetOf(orgA, orgB+"    POLL_INTERVAL: 9s\n"))
	if orgs := w.becomes("a", "b"); orgs[1].Poll.Interval != 9*time.Second {
		t.Errorf("the interval is %s", orgs[1].Poll.Interval)
	}

	w.replace(fleetOf(orgA, orgB+"    POLL_INTERVAL: 9\n"))
	w.fails(`orgs.yaml:9: organisation "b": POLL_INTERVAL`)
	w.nothing() // once
	w.replace(fleetOf(orgA, orgB+"    POLL_INTERVAL: 8\n"))
	w.fails(`"8" has no unit`)
	w.replace(fleetOf(orgA, orgB+"    POLL_INTERVAL: 9s\n"))
	w.fails("") // and nothing has changed
	w.replace(fleetOf(orgA, orgB+"    POLL_INTERVAL: 8\n"))
	w.fails(`"8" has no unit`) // again
	w.replace(fleetOf(orgA, orgB+"    POLL_INTERVAL: 9s\n"))
	w.fails("")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.fails("ORGS_FILE: cannot read")
	w.replace(fleetOf(orgB + "    POLL_INTERVAL: 9s\n"))
	w.fails("")
	w.becomes("b")
}

// TestSecretComesAfterItsOrganisation: Kubernetes brings the two by different ways.
func TestSecretComesAfterItsOrganisation(t *testing.T) {
	t.Parallel()
	path := writeOrgs(t, fleetOf(orgA))
	w := watch(t, path, processEnv(path))
	w.replace(fleetOf(orgA, orgB+"    GENESYS_CLIENT_SECRET_FILE: late\n"))
	w.fails("no such file")
	writeFile(t, filepath.Join(filepath.Dir(path), "late"), "hunter2")
	w.fails("")
	w.becomes("a", "b")
}

func TestRenameIsRefused(t *testing.T) {
	t.Parallel()
	path := writeOrgs(t, fleetOf(orgA, orgB))
	w := watch(t, path, processEnv(path))
	w.replace(fleetOf(orgB, strings.ReplaceAll(orgA, "name: a", "name: a2")))
	w.fails(`orgs.yaml:7: organisation "a2": name: was "a" until now`)
	w.replace(fleetOf(orgB))
	w.fails("")
	w.becomes("b")
	w.replace(fleetOf(orgB, strings.ReplaceAll(orgA, "name: a", "name: a2")))
	w.becomes("a2", "b")
	w.replace(fleetOf(orgB, "  - name: c\n    GENESYS_CLIENT_ID: client-c\n")) // one went, another came
	w.becomes("b", "c")
}

// TestConfigMapIsReloaded swaps the symbolic link that a mounted ConfigMap is behind.
func TestConfigMapIsReloaded(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	version := func(name, content string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(folder, name, "orgs.yaml"), content)
		if err := os.Symlink(name, filepath.Join(folder, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", fleetOf(orgA))
	path := filepath.Join(folder, "orgs.yaml")
	if err := os.Symlink("..data/orgs.yaml", path); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "acme"), "hunter2") // beside the link, not the file
	w := watch(t, path, processEnv(path))
	version("..2", fleetOf(orgA, orgB))
	w.becomes("a", "b")
	version("..3", fleetOf(orgA, orgB, "  - name: c\n"))
	w.fails(`organisation "c": GENESYS_CLIENT_ID: is not set`)
	version("..4", fleetOf(orgB))
	w.fails("")
	w.becomes("b")
}

// TestDiffOrganisations: what a rotated secret, another order or another spelling changes is nothing.
func TestDiffOrganisations(t *testing.T) {
	path := writeOrgs(t, fleetOf(orgA, orgB, "  - name: c\n    GENESYS_CLIENT_ID: client-c\n    BACKFILL_HOURS: 20:00-06:00 Europe/Berlin\n    BACKFILL_FROM: 2026-01-01\n"))
	load := func(content string) []Config {
		t.Helper()
		writeFile(t, path, content)
		_, orgs, err := LoadFleet(processEnv(path))
		if err != nil {
			t.Fatal(err)
		}
		return orgs
	}
	orgC := "  - name: c\n    GENESYS_CLIENT_ID: client-c\n    BACKFILL_HOURS: %\n    BACKFILL_FROM: 2026-01-01\n"
	at := func(hours string) string { return strings.ReplaceAll(orgC, "%", hours) }
	before := load(fleetOf(orgA, orgB, at("20:00-06:00 Europe/Berlin")))
	writeFile(t, filepath.Join(filepath.Dir(path), "acme"), "rotated")
	_ = before[0].Genesys.ClientSecret.Value()
	if c := diffOrganisations(before, load(fleetOf(at("[20:00-06:00 Europe/Berlin]"), orgB, orgA+"    GENESYS_NAMES: true\n"))); !c.none() {
		t.Errorf("got %v", c)
	}
	d := "  - name: d\n    GENESYS_CLIENT_ID: client-d\n"
	c := diffOrganisations(before, load(fleetOf(d, orgB+"    GENESYS_CLIENT_SECRET_FILE: other\n", at("20:00-06:00 UTC"))))
	if got := [][]string{namesOf(c.added), namesOf(c.changed), c.removed}; !slices.EqualFunc(got, [][]string{{"d"}, {"b", "c"}, {"a"}}, slices.Equal) {
		t.Errorf("added, changed and removed are %q", got)
	}
	if c := diffOrganisations(before, load(strings.Replace(fleetOf(orgA, orgB, at("20:00-06:00 Europe/Berlin")), "defaults:", "defaults:\n  POLL_INTERVAL: 8s", 1))); len(c.changed) != 3 {
		t.Errorf("another default changes %d", len(c.changed))
	}
}
