package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/verify"
)

// mutant is a connector that is broken on purpose. It shows that the scenario
// reaches what was broken, and that judge and verify see it.
type mutant struct {
	name  string
	edits []edit
	want  []string // kinds of finding, as findings names them; none for the connector as it is
}

// edit replaces a text that stands exactly once in a file. In the new text,
// broken is true in the processes that are to be broken in this way.
type edit struct{ file, old, new string }

var mutants = []mutant{
	{name: "as it is"},
	{"an event dropped now and then", []edit{{"internal/sink/sink.go",
		"range step.Events {\n\t\t// Each", "range step.Events {\n\t\tif broken && i%50 == 49 {\n\t\t\tcontinue\n\t\t}\n\t\t// Each"}},
		[]string{"missing"}},
	{"an event doubled now and then", []edit{{"internal/sink/sink.go",
		"\tnow := time.Now()\n", "\tnow := time.Now()\n\tif broken && len(step.Events) > 0 {\n\t\t_ = s.event(&step.Events[0], now, false)\n\t}\n"}},
		[]string{"duplicate"}},
	{"a byte too few, a change too few", []edit{
		{"internal/sink/sink.go", "\tr.Key, r.Value = s.key, ev.Raw\n", "\tr.Key, r.Value = s.key, ev.Raw\n\tif broken {\n\t\tr.Value = ev.Raw[1:]\n\t}\n"},
		{"internal/sink/sink.go", "range meta.Changes {\n", "range meta.Changes {\n\t\tif broken && i == 1 {\n\t\t\tcontinue\n\t\t}\n"}},
		[]string{"altered", "incomplete"}},
	{"memory advanced before the commit and kept when it failed", []edit{
		{"internal/poller/commit.go", "\t\terr := p.sink.Commit(", "\t\tif broken {\n\t\t\tp.advance(b)\n\t\t}\n\t\terr := p.sink.Commit("},
		{"internal/replica/leader.go", "// groupOp is the", "var keptState *offsets.State\n\n// groupOp is the"},
		{"internal/replica/leader.go", "\tl.cfg.Producer.Continues(", "\tif broken {\n\t\tif keptState != nil {\n\t\t\tstate = keptState\n\t\t}\n\t\tkeptState = state\n\t}\n\tl.cfg.Producer.Continues("}},
		[]string{"missing"}},
	{"an interval covered before its last page", []edit{{"internal/poller/step.go", "case whole && d.last && d.note != nil:", "case whole && (d.last || broken) && d.note != nil:"}},
		[]string{"unseen"}},
	{"a step written again though its fate is unknown", []edit{{"internal/sink/sink.go",
		"\tif errors.Is(err, txn.ErrFatal) {\n",
		"\tif broken && errors.Is(err, txn.ErrFatal) && s.producer.Init(ctx) == nil {\n\t\treturn s.Commit(ctx, step)\n\t}\n\tif errors.Is(err, txn.ErrFatal) {\n"}},
		[]string{"duplicate"}},
	{"ids not remembered", []edit{{"internal/poller/commit.go",
		"\t\tp.ids.Add(e.Event.ID, e.Remember)\n", "\t\tif !broken {\n\t\t\tp.ids.Add(e.Event.ID, e.Remember)\n\t\t}\n"}},
		[]string{"duplicate"}},
	{"what a pause leaves behind not wanted", []edit{{"internal/poller/tail.go",
		"\tl = l.Cover(part)\n", "\tl = l.Cover(part)\n\tif broken {\n\t\treturn l\n\t}\n"}},
		[]string{"unseen"}},
	{"a sweep that reads nothing", []edit{{"internal/poller/sweep.go", "\tcase r == nil: //", "\tcase r == nil || broken: //"}},
		[]string{"unseen"}},
	{"a leaf dropped now and then", []edit{{"internal/sink/sink.go",
		"\t\tif err := s.log.Append(", "\t\tif broken && ev.ID[len(ev.ID)-1] == '0' {\n\t\t\ts.hash.Reset()\n\t\t} else if err := s.log.Append("}},
		[]string{"unproved"}},
	{"a leaf doubled now and then", []edit{{"internal/sink/sink.go",
		"s.hash.Sum()); err != nil {\n\t\t\treturn err\n\t\t}\n", "s.hash.Sum()); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tif broken && s.log.Next()%50 == 49 {\n\t\t\t_ = s.log.Append(ev.ID, sum, s.hash.Sum())\n\t\t}\n"}},
		[]string{"unproved"}},
	{"leaves in another order", []edit{{"internal/evidence/log.go",
		"\treturn l.grown.Append(leaf[:], nil)", "\tif n := len(l.leaves); broken && n >= 2*HashSize {\n\t\tcopy(l.leaves[n-2*HashSize:], append(append([]byte(nil), l.leaves[n-HashSize:]...), l.leaves[n-2*HashSize:n-HashSize]...))\n\t}\n\treturn l.grown.Append(leaf[:], nil)"}},
		[]string{"unproved"}},
	{"an index used twice", []edit{{"internal/sink/sink.go",
		"strconv.AppendUint(s.text, s.log.Next(), 10)", "strconv.AppendUint(s.text, s.log.Next()-map[bool]uint64{true: s.log.Next() % 50 / 49}[broken], 10)"}},
		[]string{"unproved"}},
	{"the right edge advanced before the commit", []edit{{"internal/sink/sink.go",
		"\treturn s.producer.Commit(ctx)\n", "\tif broken && s.log != nil {\n\t\ts.log.Commit()\n\t}\n\treturn s.producer.Commit(ctx)\n"},
		{"cmd/connector/app.go", "\tif err := t.app.openLog(ctx, t.log); err != nil {", "\tif broken && t.app.sink.Checkpoint().Size > 0 {\n\t\tt.log = nil\n\t} else if err := t.app.openLog(ctx, t.log); err != nil {"}},
		[]string{"unproved"}},
}

// TestBrokenConnectorsAreCaught runs each mutant through the same trouble as the
// connector as it is, which alone comes out of it with nothing to be found.
func TestBrokenConnectorsAreCaught(t *testing.T) {
	t.Parallel()
	all := slices.Clone(mutants)
	for _, m := range mistakes {
		all = append(all, m.mutant)
	}
	binary := buildMutants(t, all)
	var running sync.WaitGroup
	for _, m := range mutants {
		// They wait most of the time: more of them can run at once than t.Parallel allows.
		running.Go(func() {
			t.Run(m.name, func(t *testing.T) {
				s := newTrouble(t)
				s.env[mutantVariable] = m.name
				s.run(binary)
				judged, verified := s.findings()
				t.Logf("judge: %v; verify: %v", judged, verified)
				for _, kind := range m.want {
					if judged[kind] == 0 || verified[kind] == 0 && kind != "unproved" { // which verify does not look at
						t.Errorf("%q was not found", kind)
					}
				}
				if len(m.want) == 0 && len(judged)+len(verified) > 0 {
					t.Error("something is found to be wrong though nothing is broken")
				}
				if t.Failed() {
					t.Logf("the connector said:\n%.4000s", s.child.out)
				}
			})
		})
	}
	for _, m := range mistakes {
		running.Go(func() {
			t.Run(m.name, func(t *testing.T) { m.caught(t, binary) })
		})
	}
	running.Wait()
}

// mutantVariable says, to the binary with the mutants, which of them to be.
const mutantVariable = "CONNECTOR_TEST_MUTANT"

// buildMutants builds one connector that holds all these mutants and returns its path.
func buildMutants(t *testing.T, mutants []mutant) string {
	t.Helper()
	// A package of its own tells which mutant the process is.
	changed := map[string]string{"internal/mutant/mutant.go": fmt.Sprintf(
		"package mutant\n\nimport \"os\"\n\nfunc Is(name string) bool { return os.Getenv(%q) == name }\n", mutantVariable)}
	// What is held back is soon in Kafka, where caughtUp looks for it.
	soon := edit{"internal/poller/hold.go", "const holdFor = 30 * time.Second", "const holdFor = time.Second"}
	changed[soon.file] = soon.apply(t, original(t, soon.file))
	for _, m := range mutants {
		for _, e := range m.edits {
			if changed[e.file] == "" {
				changed[e.file] = strings.Replace(original(t, e.file), "\nimport (", "\nimport \"genesys-audit-connector/internal/mutant\"\n\nimport (", 1)
			}
			e.new = strings.ReplaceAll(e.new, "broken", fmt.Sprintf("mutant.Is(%q)", m.name))
			changed[e.file] = e.apply(t, changed[e.file])
		}
	}
	binary := filepath.Join(t.TempDir(), "connector")
	if out, err := goOverlaid(t, changed, "build", "-o", binary, "./cmd/connector"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestRepeatedEndTxnIsCaught breaks what no run can be relied upon to show, for
// it takes a request that arrives late: an EndTxn that is repeated after its
// answer was lost. The tests of txn must fail with it.
func TestRepeatedEndTxnIsCaught(t *testing.T) {
	e := edit{"internal/txn/send.go", "return nil, indefinite(err)\n", "return nil, fmt.Errorf(\"%w: %v\", ErrRetry, err)\n"}
	changed := map[string]string{e.file: e.apply(t, original(t, e.file))}
	for _, name := range []string{"TestDelayedEndTxn", "TestCutCommits"} {
		out, err := goOverlaid(t, changed, "test", "-run", "^"+name+"$", "./internal/txn")
		if err == nil || !strings.Contains(string(out), "--- FAIL: "+name) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func (e edit) apply(t *testing.T, source string) string {
	t.Helper()
	if n := strings.Count(source, e.old); n != 1 {
		t.Fatalf("%q stands in %s %d times, not once: fit the mutant to the code", e.old, e.file, n)
	}
	return strings.Replace(source, e.old, e.new, 1)
}

// root is the module's directory.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..")
}

func original(t *testing.T, file string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root(), file))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// goOverlaid runs the go command as if the files, by path in the module, had other contents.
func goOverlaid(t *testing.T, changed map[string]string, command string, args ...string) ([]byte, error) {
	t.Helper()
	dir, replace := t.TempDir(), map[string]string{}
	for file, source := range changed {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root(), file)] = path
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "go", append([]string{command, "-overlay", overlay}, args...)...)
	run.Dir = root()
	return run.CombinedOutput()
}

// trouble is a scene on an embedded broker whose answers can get lost.
type trouble struct {
	*scene
	broker *kfake.Cluster
	proxy  *kafkatest.Proxy
}

func newTrouble(t *testing.T) *trouble {
	t.Helper()
	proxy := kafkatest.NewProxy(t)
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(proxy.Listen), kfake.DefaultNumPartitions(3),
		kfake.GroupMinSessionTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, broker.ListenAddrs(), o)
	s.env["BACKFILL_CHUNK"], s.env["SWEEP_AGES"], s.env["POLL_OVERLAP"] = "24h", "5s", "1s"
	return &trouble{s, broker, proxy}
}

// run is a kill in the middle of a chain of pages, a pause that is longer than
// the overlap, commits whose answer is lost, applied and not applied, and late
// events. It returns when the connector says that it has read everything.
func (s *trouble) run(binary string) {
	s.Helper()
	const history = 3000 // three pages
	org, now := s.world.Org, time.Now()
	org.Backfill(history, now.Add(-20*time.Hour), now.Add(-time.Minute))
	slow := sandbox.Fault{Kind: sandbox.Slow, Endpoint: sandbox.EndpointAuditlogs, Page: "later", Count: -1, Delay: time.Second}
	if err := org.Inject(slow); err != nil {
		s.Fatal(err)
	}
	c := s.spawnBinary(binary, "run")
	s.until(time.Minute, "the first page", func() bool { return s.rawEnd() > 0 })
	_ = c.end(syscall.SIGKILL)
	if n := s.rawEnd(); n >= history {
		s.Fatalf("%d records were published before the kill: it was not in the middle", n)
	}
	org.ClearFaults()
	org.Emit(20)
	time.Sleep(3 * time.Second) // longer than POLL_OVERLAP

	c = s.spawnBinary(binary, "run")
	s.Cleanup(func() { _ = c.end(syscall.SIGKILL) })
	s.until(time.Minute, "the history", func() bool { return s.caughtUp(now, time.Time{}) })
	for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
		s.loseCommit(when)
		end := time.Now()
		s.until(time.Minute, "what comes after the cut", func() bool { return s.caughtUp(end, time.Time{}) })
	}
	org.Emit(20) // which the next poll, the overlap and the sweep all meet
	org.SetLateness(sandbox.Lateness{Probability: 1, Min: 2500 * time.Millisecond, Max: 3500 * time.Millisecond})
	org.Emit(20)
	end := time.Now()
	s.until(time.Minute, "everything", func() bool { return s.caughtUp(end, end) })
}

// loseCommit cuts the connection under the EndTxn of the next step that holds events.
func (s *trouble) loseCommit(when kafkatest.When) {
	s.Helper()
	armed := make(chan (<-chan struct{}), 1)
	s.broker.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			if t.Topic == s.env["KAFKA_TOPIC_RAW"] {
				s.broker.DropControl()
				armed <- s.proxy.CutOnce(int16(kmsg.EndTxn), when)
				break
			}
		}
		return nil, nil, false
	})
	s.world.Org.Emit(60)
	var fired <-chan struct{}
	s.until(time.Minute, "a cut "+when.String(), func() bool {
		select {
		case fired = <-armed:
		default:
		}
		return fired != nil && closed(fired)
	})
}

// until waits for something that a connector does, however broken it is.
func (s *scene) until(within time.Duration, what string, met func() bool) {
	s.Helper()
	for deadline := time.Now().Add(within); !met(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("waited for %s in vain; the connector said:\n%.4000s", what, s.child.out)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// rawEnd is how many offsets of the raw topic are used; none where there is no topic yet.
func (s *scene) rawEnd() (n int64) {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		s.Fatal(err)
	}
	defer client.Close()
	ends, _ := kadm.NewClient(client).ListCommittedOffsets(s.Context(), s.env["KAFKA_TOPIC_RAW"])
	ends.Each(func(o kadm.ListedOffset) { n += max(o.Offset, 0) })
	return n
}

// caughtUp reports whether the connector believes that it has read all up to a
// time, and again at every age up to another.
func (s *scene) caughtUp(covered, swept time.Time) bool {
	s.Helper()
	return s.behind(covered, swept) == ""
}

// behind says what the connector still has to read; "" for nothing.
func (s *scene) behind(covered, swept time.Time) string {
	s.Helper()
	records, err := readTopic(s.Context(), s.brokers, s.env["KAFKA_TOPIC_OFFSETS"])
	if err != nil {
		return err.Error()
	}
	ledgers := map[string]offsets.Ledger{}
	for _, r := range records {
		if !strings.Contains(string(r.Key), "/ledger/") {
			continue
		}
		if ledgers[string(r.Key)], err = offsets.ParseLedger(r.Value); err != nil {
			s.Fatal(err)
		}
	}
	for name, l := range ledgers {
		for age, mark := range l.Sweeps {
			if mark.Before(swept) {
				return fmt.Sprintf("%s is swept at %s to %s only", name, age, mark)
			}
		}
		if len(l.Wanted) > 0 || !l.Covered.Last().After(covered) {
			return fmt.Sprintf("%s wants %v and is covered to %s, gaps %v", name, l.Wanted, l.Covered.Last(), l.Gaps)
		}
	}
	if len(ledgers) == 0 {
		return "there is no ledger"
	}
	return ""
}

// findings counts what is wrong, by kind: as the independent reader sees it, and
// as verify does, which calls missing what was never seen.
func (s *scene) findings() (judged, verified map[string]int) {
	s.Helper()
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], s.env["KAFKA_TOPIC_EVIDENCE"])
	if err != nil {
		s.Fatal(err)
	}
	v := judge(c, s.world.Org.Shown())
	_, visible, shown := s.world.Org.Counts()
	judged, verified = map[string]int{}, map[string]int{}
	for kind, n := range map[string]int{
		"missing": len(v.missing), "duplicate": len(v.duplicate), "altered": len(v.altered),
		"incomplete": len(v.incomplete), "invented": len(v.invented), "unproved": len(v.unproved), "unseen": visible - shown,
	} {
		if n > 0 {
			judged[kind] = n
		}
	}
	report, err := s.verify(verifyOptions{from: "26h"})
	if report.OK != (err == nil) || !report.OK && !errors.Is(err, errNotRight) {
		s.Errorf("verify ends with %v though ok=%t", err, report.OK)
	}
	for _, f := range report.Findings {
		verified[string(f.Kind)]++
		if f.Kind == verify.Missing && !slices.Contains(v.missing, f.ID) {
			verified["unseen"]++
		}
	}
	return judged, verified
}
