package main

import (
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// mistake is a connector that believes what it must not, and the scenario that
// it must not come through.
type mistake struct {
	mutant
	scenario string
	verdict  string // a part of what is found to be wrong
}

const (
	falselyCovered = "is covered and was not published"
	neverRead      = "events are not published"
)

var mistakes = []mistake{
	{mutant{"a total believed at a cap", []edit{{"internal/genesys/realtime.go",
		"proved := doubt == \"\" && !p.suspicious()\n", "proved := doubt == \"\" && (broken || !p.suspicious())\n"}}, nil},
		"cap 1000 of 1500 events in realtime", falselyCovered},
	{mutant{"a chain believed that ends at a cap", []edit{{"internal/genesys/proof.go",
		"if r.counts || !roundNumber(", "if broken || r.counts || !roundNumber("}}, nil},
		"cap 1000 of 2500 events in auditlogs", falselyCovered},
	{mutant{"a last page accepted that is too short", []edit{
		{"internal/genesys/realtime.go", "\tcase p.total >= 0 && n < min(", "\tcase !broken && p.total >= 0 && n < min("},
		{"internal/genesys/realtime.go", "\tagain = p.n < most\n", "\tagain = p.n < most\n\tif broken {\n\t\treturn p.doubt, again\n\t}\n"}}, nil},
		"pages shorter than total says, of old intervals", falselyCovered},
	{mutant{"rows counted, not different ids", []edit{{"internal/genesys/realtime.go",
		"distinct := len(p.ids.ids) + p.twins\n", "distinct := len(p.ids.ids) + p.twins\n\tif broken {\n\t\tdistinct = p.rows\n\t}\n"}}, nil},
		"ties in another order each time", falselyCovered},
	{mutant{"a clock followed into the future", []edit{
		{"internal/poller/poller.go", "if api.Sub(ours).Abs() <= p.cfg.PollOverlap/2 {", "if broken || api.Sub(ours).Abs() <= p.cfg.PollOverlap/2 {"},
		{"internal/poller/tail.go", "l.Covered.Last().After(clock.Add(clockTolerance)) {", "!broken && l.Covered.Last().After(clock.Add(clockTolerance)) {"}}, nil},
		"the clock three hours ahead, auditlogs, midway true", neverRead},
	{mutant{"what cannot be read covered", []edit{{"internal/poller/backfill.go",
		"for _, wanted := range l.Wanted.Clip(i) {\n",
		"for _, wanted := range l.Wanted.Clip(i) {\n\t\t\t\tif broken {\n\t\t\t\t\tl = l.Cover(wanted)\n\t\t\t\t\tcontinue\n\t\t\t\t}\n"}}, nil},
		"a poisoned event's page is refused with 422 in auditlogs", falselyCovered},
	{mutant{"a failure cleared by another's success", []edit{{"internal/poller/tail.go", "\t\tt.p.cfg.Health.Report(t.what, nil)\n",
		"\t\tt.p.cfg.Health.Report(t.what, nil)\n\t\tif broken {\n\t\t\tt.p.cfg.Health.Drop(func(health.Subject) bool { return true })\n\t\t}\n"}}, nil},
		"one service is refused, another's late events are found", "lastError is "}, // whichever look comes first
	{mutant{"a sweep that passes over a slow tail", []edit{{"internal/poller/view.go",
		"young(age time.Duration) audit.IntervalSet {\n", "young(age time.Duration) audit.IntervalSet {\n\tif broken {\n\t\treturn nil\n\t}\n"}}, nil},
		"a tail that takes longer than a sweep age", neverRead},
}

// caught fails the test unless the scenario finds what is wrong with the binary.
func (m mistake) caught(t *testing.T, binary string) {
	for _, sc := range scenarios() {
		if sc.name != m.scenario {
			continue
		}
		set := map[string]string{mutantVariable: m.name}
		maps.Copy(set, sc.set)
		sc.set = set
		w := &witness{TB: t}
		ended := make(chan struct{})
		go func() { // ends with the scenario, which Fatal ends
			defer close(ended)
			sc.play(w, binary)
		}()
		<-ended
		said := strings.Join(w.said, "; ")
		t.Logf("found: %.500s", said)
		if !strings.Contains(said, m.verdict) {
			t.Errorf("the scenario %q does not find that something %s", sc.name, m.verdict)
		}
		return
	}
	t.Fatalf("there is no scenario %q", m.scenario)
}

// witness notes failures, where a test is to fail.
type witness struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (w *witness) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

func (w *witness) Failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.said) > 0
}

func (w *witness) FailNow()                          { w.note("it failed"); runtime.Goexit() }
func (w *witness) Fail()                             { w.note("it failed") }
func (w *witness) Error(args ...any)                 { w.note(fmt.Sprint(args...)) }
func (w *witness) Errorf(format string, args ...any) { w.note(fmt.Sprintf(format, args...)) }
func (w *witness) Fatal(args ...any)                 { w.Error(args...); runtime.Goexit() }
func (w *witness) Fatalf(format string, args ...any) { w.Errorf(format, args...); runtime.Goexit() }
