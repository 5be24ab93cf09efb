package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/sandbox"
)

// scenario is something that the API does to a connector: what there is to be
// read, what goes wrong with it, what has to hold while it does, and that all is
// well when it is over.
type scenario struct {
	name   string
	api    string            // GENESYS_AUDIT_API
	set    map[string]string // settings beside what all scenarios have
	org    func(*sandbox.Options)
	made   func(p *play) // before the start; nil: usual
	faults func(p *play) []sandbox.Fault
	clock  sandbox.ClockError
	// midway lets the trouble begin when all that was made has been published,
	// else it begins before the start.
	midway bool
	// during is what has to come true while the trouble lasts; nil: everything is published.
	during func(p *play)
	// slow multiplies the limit of what has to come true while the trouble lasts.
	slow int
	// waste is how many events may be read again in vain; 0: 50 times what there is.
	waste int
}

// play is a scenario that is played.
type play struct {
	*scene
	scenario
	began   time.Time
	binary  string           // of a connector that is broken; "": as it is, in this process
	settled map[string]int64 // events that were there before the start, with their time
	hidden  string           // one that the filter excludes
	stop    func() error
}

// service is the one that most scenarios are about.
const service = "PeoplePermissions"

// limits of a scenario: until all is right while the trouble lasts, and after it.
const (
	duringLimit = 90 * time.Second
	healLimit   = 150 * time.Second // the next try of a gap may be a minute away
	brokenLimit = 45 * time.Second  // for a connector that is broken
)

// atOnce is how many scenarios are played at a time. They wait most of the
// time: more of them can run than t.Parallel allows.
const atOnce = 6

// TestEveryScenarioLosesNothing plays each scenario. In each, at every moment,
// what the status page calls covered stands in Kafka, and no gap is without a reason.
func TestEveryScenarioLosesNothing(t *testing.T) {
	t.Parallel() // with the mutants: both mostly wait
	var playing sync.WaitGroup
	turn := make(chan struct{}, atOnce)
	for _, sc := range scenarios() {
		playing.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			t.Run(sc.name, func(t *testing.T) { sc.play(t, "") })
		})
	}
	playing.Wait()
}

func scenarios() []scenario { return slices.Concat(poisons(), beliefs(), moments(), others()) }

// play runs the connector through it: the one that is built in binary, or, for
// "", the one in this process.
func (sc scenario) play(t testing.TB, binary string) {
	p := sc.prepare(t)
	p.binary = binary
	org := p.world.Org
	if !sc.midway {
		p.trouble()
	}
	p.connect()
	if sc.midway {
		p.until(healLimit, "what was made is published", p.everything)
		p.trouble()
		org.EmitGrants(20)
	}
	if sc.during != nil {
		sc.during(p)
	} else {
		p.meanwhile("everything is published though the trouble lasts", p.everything)
	}
	struck := org.Stats().Faults
	for _, f := range p.list() {
		if struck[f.Kind] == 0 {
			t.Errorf("the fault %s never struck: this shows nothing", f.Kind)
		}
	}
	org.ClearFaults()
	org.SetClock(sandbox.ClockError{})
	org.EmitGrants(20)
	p.until(healLimit, "everything is published and nothing is left to say", func(l look) string {
		if missing := p.everything(l); missing != "" {
			return missing
		}
		return l.status.trouble()
	})
	p.published(0)
	p.economical()
	if err := p.stop(); err != nil {
		t.Errorf("the connector ended with %v", err)
	}
}

// connect starts the connector.
func (p *play) connect() {
	if p.binary == "" {
		_, p.stop = p.start(func(a *app) { a.lookForServices = 300 * time.Millisecond })
		return
	}
	r := p.instanceOf(p.binary)
	p.addr, p.over, p.stop = r.addr, make(chan struct{}), func() error { return r.end(syscall.SIGTERM) }
}

// prepare brings up the organisation with its past.
func (sc scenario) prepare(t testing.TB) *play {
	o := unlimited()
	o.Odd, o.OtherTypes = -1, -1
	o.Dialects = map[string][]sandbox.Dialect{
		"auditlogs": {sandbox.Auditlogs}, "query": {sandbox.Query}, "realtime": {sandbox.Realtime},
		"auto": {sandbox.Query, sandbox.Realtime},
	}[sc.api]
	if sc.org != nil {
		sc.org(&o)
	}
	p := &play{scene: newScene(t, nil, o), scenario: sc, began: time.Now(), settled: map[string]int64{}}
	maps.Copy(p.env, map[string]string{
		"GENESYS_AUDIT_API": sc.api, "GENESYS_SERVICES": service, "BACKFILL_FROM": "2h", "BACKFILL_CHUNK": "2h",
		"GENESYS_REQUEST_TIMEOUT": "1s", "SWEEP_AGES": "10m", // no sweep finds what was overlooked
	})
	maps.Copy(p.env, sc.set)
	var err error
	if p.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said, err := os.ReadFile(p.log.Name()); t.Failed() && err == nil {
			t.Logf("the connector said, at the end:\n%s", tailOf(string(said)))
		}
		_ = p.log.Close()
	})
	if sc.made == nil {
		sc.made = usual
	}
	sc.made(p)
	for truth := range p.world.Org.Truth() {
		if truth.ID != p.hidden {
			p.settled[truth.ID] = truth.Time
		}
	}
	return p
}

// usual is a past of 300 events in the last hour.
func usual(p *play) { p.past(300) }

// past makes n events in the last hour.
func (p *play) past(n int) {
	p.world.Org.BackfillGrants(n, p.began.Add(-time.Hour), p.began.Add(-time.Minute))
}

// raw makes one event of a service, as the dialects have it, with an id.
func (p *play) raw(r sandbox.Raw, id string) {
	p.Helper()
	at := r.At.UTC().Format("2006-01-02T15:04:05.000Z")
	r.EntityType, r.Action = "Thing", "Update"
	r.Body = fmt.Appendf(nil, `{"auditId":%q,"timestamp":%q,"action":"Update","entityType":"Thing"}`, id, at)
	r.Query = fmt.Appendf(nil, `{"id":%q,"eventDate":%q,"serviceName":%q,"action":"Update","entityType":"Thing"}`, id, at, r.Service)
	if _, err := p.world.Org.EmitRaw(r); err != nil {
		p.Fatal(err)
	}
}

func (p *play) list() []sandbox.Fault {
	if p.faults == nil {
		return nil
	}
	return p.faults(p)
}

// trouble begins what goes wrong.
func (p *play) trouble() {
	p.Helper()
	if err := p.world.Org.Inject(p.list()...); err != nil {
		p.Fatal(err)
	}
	p.world.Org.SetClock(p.clock)
}

// poisoned is the moment that scenarios with a poisoned event are about.
func (p *play) poisoned() time.Time { return p.began.Add(-30 * time.Minute).Truncate(time.Millisecond) }

// look is what the connector says and what Kafka holds, in this order: what is
// said to be covered has to stand in Kafka already.
type look struct {
	status report
	raw    map[string][]*kgo.Record
}

// report is /api/status.
type report struct {
	API     string `json:"api"`
	Streams []struct {
		Name    string         `json:"name"`
		Covered [][2]time.Time `json:"covered"`
		Wanted  [][2]time.Time `json:"wanted"`
		Gaps    []gap          `json:"gaps"`
	} `json:"streams"`
	Events struct {
		Published  int `json:"published"`
		Duplicates int `json:"duplicates"`
	} `json:"events"`
	LastError *string `json:"lastError"`
}

type gap struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Reason string    `json:"reason"`
}

// gaps lists those of all streams, each once: several dialects may have the same.
func (r report) gaps() (list []gap) {
	for _, s := range r.Streams {
		for _, g := range s.Gaps {
			if !slices.ContainsFunc(list, func(h gap) bool { return h.From.Equal(g.From) && h.To.Equal(g.To) }) {
				list = append(list, g)
			}
		}
	}
	return list
}

// covers reports whether a moment is covered for a service: by its stream, or by
// one of all services, whose name names none.
func (r report) covers(at time.Time, service string) bool {
	for _, s := range r.Streams {
		if _, of, named := strings.Cut(s.Name, ":"); named && r.API != string(sandbox.Auditlogs) && of != service && of != "" {
			continue
		}
		for _, c := range s.Covered {
			if !at.Before(c[0]) && at.Before(c[1]) {
				return true
			}
		}
	}
	return false
}

// trouble says what is not well; "" for nothing.
func (r report) trouble() string {
	if r.LastError != nil {
		return "lastError: " + *r.LastError
	}
	if len(r.Streams) == 0 {
		return "there is no stream"
	}
	for _, g := range r.gaps() {
		return fmt.Sprintf("a gap: %+v", g)
	}
	for _, s := range r.Streams {
		if len(s.Wanted) > 0 {
			return fmt.Sprintf("%s: wanted: %v", s.Name, s.Wanted)
		}
	}
	return ""
}

func (r report) lastError() string {
	if r.LastError == nil {
		return ""
	}
	return *r.LastError
}

// meanwhile is until, for what has to come true while the trouble lasts.
func (p *play) meanwhile(what string, missing func(look) string) {
	p.Helper()
	p.until(duringLimit*time.Duration(max(1, p.slow)), what, missing)
}

// until looks until nothing is missing any more, and judges each look.
func (p *play) until(within time.Duration, what string, missing func(look) string) {
	p.Helper()
	if p.binary != "" {
		within = min(within, brokenLimit)
	}
	last := ""
	for deadline := time.Now().Add(within); ; time.Sleep(200 * time.Millisecond) {
		l, err := p.look()
		if err != nil {
			last = err.Error()
		} else if last = missing(l); last == "" {
			p.Logf("after %s: %s", time.Since(p.began).Round(100*time.Millisecond), what)
			return
		}
		if closed(p.over) {
			p.Fatalf("the connector ended with %v; waited for: %s", p.stop(), what)
		}
		if time.Now().After(deadline) {
			p.Fatalf("not within %s: %s: %s", within, what, last)
		}
	}
}

// lasts looks for a while at what must stay as it is.
func (p *play) lasts(length time.Duration, missing func(look) string) {
	p.Helper()
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if l, err := p.look(); err != nil {
			p.Fatal(err)
		} else if m := missing(l); m != "" {
			p.Fatal(m)
		}
	}
}

func nothing(look) string { return "" }

// begins waits until the trouble has met the connector.
func (p *play) begins() {
	p.Helper()
	p.until(healLimit, "the trouble is met", func(look) string {
		struck := p.world.Org.Stats().Faults
		for _, f := range p.list() {
			if struck[f.Kind] == 0 {
				return "nothing has asked yet"
			}
		}
		if p.clock != (sandbox.ClockError{}) && len(p.world.Org.Requests()) == 0 {
			return "nobody has looked at the clock yet"
		}
		return ""
	})
}

func (p *play) look() (l look, err error) {
	p.Helper()
	if err := p.ask("/api/status", &l.status); err != nil {
		return l, fmt.Errorf("the status page: %w", err)
	}
	c, err := readContent(p.brokers, p.env["KAFKA_TOPIC_RAW"], p.env["KAFKA_TOPIC_CHANGES"], p.env["KAFKA_TOPIC_EVIDENCE"])
	if err != nil {
		return l, err
	}
	l.raw = c.raw
	p.honest(l)
	return l, nil
}

// ask gets JSON from the status page.
func (p *play) ask(path string, into any) error {
	body, err := p.get(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

func (p *play) get(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}

// serviceOf is the service of an event that a scenario made.
func serviceOf(id string) string {
	if strings.HasPrefix(id, refused) {
		return refused
	}
	return service
}

// honest fails for what is called covered and was not published, and for a gap without a reason.
func (p *play) honest(l look) {
	p.Helper()
	for id, at := range p.settled {
		if len(l.raw[id]) > 1 {
			p.Fatalf("%s was published %d times", id, len(l.raw[id]))
		}
		if len(l.raw[id]) == 0 && l.status.covers(time.UnixMilli(at), serviceOf(id)) {
			p.Fatalf("%s of %s is covered and was not published", id, time.UnixMilli(at).UTC())
		}
	}
	for _, g := range l.status.gaps() {
		if strings.TrimSpace(g.Reason) == "" || !g.From.Before(g.To) {
			p.Errorf("a gap without a reason, or of no length: %+v", g)
		}
	}
}

// everything is missing as long as an event that is visible is not in Kafka.
func (p *play) everything(l look) string { return p.all(l, func(sandbox.Truth) bool { return false }) }

// all is missing as long as an event is not in Kafka, but for those that are spared.
func (p *play) all(l look, spared func(sandbox.Truth) bool) string {
	n, missing := 0, 0
	for truth := range p.world.Org.Truth() {
		if n++; len(l.raw[truth.ID]) == 0 && truth.ID != p.hidden && !spared(truth) {
			missing++
		}
	}
	if missing == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d events are not published; gaps %+v, lastError %q", missing, n, l.status.gaps(), l.status.lastError())
}

// allButPoison is missing as long as anything but the poisoned millisecond is
// not published, or that is not a gap of its own, or nothing is said of it.
func (p *play) allButPoison(l look) string {
	at := p.poisoned()
	if missing := p.all(l, func(t sandbox.Truth) bool { return t.Time == at.UnixMilli() }); missing != "" {
		return missing
	}
	gaps := l.status.gaps()
	if len(gaps) != 1 || !gaps[0].From.Equal(at) || gaps[0].To.Sub(at) != time.Millisecond {
		return fmt.Sprintf("the gaps are %+v, not the millisecond of %s", gaps, at)
	}
	if l.status.LastError == nil {
		return "lastError is null though something cannot be read"
	}
	return ""
}

// economical fails where far more was read again than there was to be read.
func (p *play) economical() {
	p.Helper()
	made, _, _ := p.world.Org.Counts()
	limit := p.waste
	if limit == 0 {
		limit = 50 * made
	}
	read := p.world.Org.Stats().Entities
	if p.Logf("%d events, %d shown over %s", made, read, time.Since(p.began).Round(time.Second)); read-made > limit {
		p.Errorf("%d events were shown again in vain, more than %d", read-made, limit)
	}
}

func TestEachScenarioHasItsName(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range scenarios() {
		if sc.name == "" || seen[sc.name] {
			t.Errorf("%q: no name of its own", sc.name)
		}
		seen[sc.name] = true
	}
}
