package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/sandbox"
)

// fleetScene is many simulated organisations, a Kafka, and ORGS_FILE.
type fleetScene struct {
	*scene
	file   string
	worlds map[string]*sandbox.Server
	broken map[string]bool // organisations whose secret is wrong
	// intervals are those organisations' POLL_INTERVAL.
	intervals map[string]time.Duration
}

// newFleetScene brings up organisations org-0, org-1, … with some history each; brokers as in newScene.
func newFleetScene(t testing.TB, brokers []string, count, history int) *fleetScene {
	t.Helper()
	first := unlimited()
	s := &fleetScene{
		scene: newScene(t, brokers, first), file: filepath.Join(t.TempDir(), "orgs.yaml"),
		worlds: make(map[string]*sandbox.Server), broken: make(map[string]bool), intervals: make(map[string]time.Duration),
	}
	for _, name := range []string{"GENESYS_API_URL", "GENESYS_LOGIN_URL"} {
		delete(s.env, name)
	}
	s.env["ORGS_FILE"], s.env["KAFKA_OFFSETS_PARTITIONS"] = s.file, "4"
	for range count {
		s.add(history)
	}
	s.write(s.names()...)
	return s
}

// add brings up one more organisation, which ORGS_FILE does not know yet.
func (s *fleetScene) add(history int) string {
	s.Helper()
	name := fmt.Sprintf("org-%d", len(s.worlds))
	o := unlimited()
	o.Seed, o.OtherTypes = uint64(100+len(s.worlds)), -1
	world, err := sandbox.Start(sandbox.ServerOptions{Options: o})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(world.Close)
	now := time.Now()
	world.Org.Backfill(history, now.Add(-time.Hour), now.Add(-time.Second))
	s.worlds[name] = world
	return name
}

func (s *fleetScene) names() []string { return slices.Sorted(maps.Keys(s.worlds)) }

// write makes ORGS_FILE say that there are these organisations, at once for who looks.
func (s *fleetScene) write(names ...string) {
	s.Helper()
	secret := filepath.Join(filepath.Dir(s.file), "secret")
	wrong := filepath.Join(filepath.Dir(s.file), "wrong")
	if err := os.WriteFile(secret, []byte("sandbox-secret\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(wrong, []byte("nobody knows\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "defaults:\n  GENESYS_CLIENT_ID: sandbox\norganisations:\n")
	for _, name := range names {
		file := secret
		if s.broken[name] {
			file = wrong
		}
		fmt.Fprintf(&b, "  - name: %s\n    GENESYS_API_URL: %s\n    GENESYS_LOGIN_URL: %[2]s\n    GENESYS_CLIENT_SECRET_FILE: %s\n", name, s.worlds[name].URL, file)
		if every := s.intervals[name]; every > 0 {
			fmt.Fprintf(&b, "    POLL_INTERVAL: %s\n", every)
		}
	}
	if err := os.WriteFile(s.file+".new", []byte(b.String()), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Rename(s.file+".new", s.file); err != nil {
		s.Fatal(err)
	}
}

// replica runs the organisations in this process until stop is called.
func (s *fleetScene) replica(settings ...func(*fleetApp)) (f *fleetApp, stop func() error) {
	s.Helper()
	env := envconfig.MapLookuper(s.env)
	cfg, err := Load(env)
	if err != nil {
		s.Fatal(err)
	}
	configs, err := LoadOrganisations(cfg, env)
	if err != nil {
		s.Fatal(err)
	}
	var log = newLogger(cfg.Log, os.Stderr)
	if !testing.Verbose() {
		log = zap.NewNop()
	}
	if f, err = newFleet(cfg, configs, env, log); err != nil {
		s.Fatal(err)
	}
	f.lookForOrganisations = 50 * time.Millisecond
	for _, set := range settings {
		set(f)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.runOn(ctx, l) }() // ends with ctx
	stop = sync.OnceValue(func() error { cancel(); defer f.close(); return <-ended })
	s.Cleanup(func() { _ = stop() })
	return f, stop
}

// of is what the content holds of one organisation.
func (c content) of(org string) content {
	ours := func(r *kgo.Record) bool { return headerOf(r, "org") == org }
	part := content{raw: map[string][]*kgo.Record{}, changes: map[string][]*kgo.Record{}}
	for _, topic := range []struct{ from, to map[string][]*kgo.Record }{{c.raw, part.raw}, {c.changes, part.changes}} {
		for id, records := range topic.from { // two may have an event of the same bytes, and so of the same id
			for _, r := range records {
				if ours(r) {
					topic.to[id] = append(topic.to[id], r)
				}
			}
		}
	}
	for _, r := range c.log {
		if strings.HasPrefix(string(r.Key), org+"/") {
			part.log = append(part.log, r)
		}
	}
	return part
}

// complete waits until each of the organisations is in Kafka, every event once and the log whole.
func (s *fleetScene) complete(within time.Duration, names ...string) {
	s.Helper()
	var wrong map[string]verdict
	for deadline := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], s.env["KAFKA_TOPIC_EVIDENCE"])
		if err == nil {
			wrong = make(map[string]verdict)
			for _, name := range names {
				if v := judge(c.of(name), s.worlds[name].Org.Shown()); !v.ok() {
					wrong[name] = v
				}
			}
			if len(wrong) == 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			for name, v := range wrong {
				s.Errorf("%s: %v", name, v)
			}
			s.Fatalf("not complete after %s (%v)", within, err)
		}
	}
}

// TestFleet: organisations that come, change and go in ORGS_FILE, on replicas that come and
// go; one has wrong credentials all the while. Each event of every other is published once.
func TestFleet(t *testing.T) {
	t.Parallel()
	s := newFleetScene(t, nil, 5, 40)
	s.broken["org-4"] = true
	s.write(s.names()...)
	one, stopOne := s.replica()
	good := []string{"org-0", "org-1", "org-2", "org-3"}
	s.complete(30*time.Second, good...)

	two, stopTwo := s.replica()
	more := s.add(40)
	s.write(s.names()...)
	for _, name := range append(good, more) {
		s.worlds[name].Org.Emit(20)
	}
	good = append(good, more)
	s.complete(30*time.Second, good...)

	s.write(slices.DeleteFunc(s.names(), func(n string) bool { return n == "org-1" })...)
	gone := func(f *fleetApp) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.led["org-1"] == nil && !slices.ContainsFunc(f.configs, func(c Config) bool { return c.Org == "org-1" })
	}
	s.until(10*time.Second, "org-1 is not led any more", func() bool { return gone(one) && gone(two) })
	before := s.worlds["org-1"].Org.Emit(10)
	if err := stopOne(); err != nil {
		t.Fatal(err)
	}
	for _, name := range good {
		s.worlds[name].Org.Emit(20)
	}
	s.complete(30*time.Second, slices.DeleteFunc(slices.Clone(good), func(n string) bool { return n == "org-1" })...)
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range before {
		if len(c.raw[id]) > 0 {
			t.Fatalf("event %s of an organisation that ORGS_FILE does not have is published", id)
		}
	}

	s.broken["org-4"] = false
	s.write(s.names()...) // org-1 goes on where it was, org-4 begins
	s.complete(30*time.Second, s.names()...)
	if err := stopTwo(); err != nil {
		t.Fatal(err)
	}
}
