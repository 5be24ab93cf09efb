package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/verify"
	"genesys-audit-connector/internal/web"
)

// command makes an app as a command in another terminal would have it.
func (s *scene) command() *app {
	s.Helper()
	cfg, err := Load(envconfig.MapLookuper(s.env))
	if err != nil {
		s.Fatal(err)
	}
	a, err := newApp(cfg, newLogger(cfg.Log, nullFile(s)))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(a.close)
	return a
}

// verified is what "connector verify --json" prints.
type verified struct {
	OK       bool             `json:"ok"`
	Days     []verify.Day     `json:"days"`
	Erased   int              `json:"erased"`
	Findings []verify.Finding `json:"findings"`
}

// IDs are the findings of a kind.
func (v verified) IDs(kind verify.Kind) (ids []string) {
	for _, f := range v.Findings {
		if f.Kind == kind {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// verify runs "connector verify --json".
func (s *scene) verify(o verifyOptions) (verified, error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o.asJSON = true
	var out bytes.Buffer
	err := verifyCommand(ctx, s.command(), o, &out)
	if err != nil && !errors.Is(err, errNotRight) {
		s.Fatal(err)
	}
	var r verified
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		s.Fatalf("%v: %s", err, out.Bytes())
	}
	return r, err
}

// produce writes records beside the connector, as nobody should.
func (s *scene) produce(records ...*kgo.Record) {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		s.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		s.Fatal(err)
	}
}

// settled is a scene whose history of n events is published.
func settled(t *testing.T, n int) *scene {
	o := unlimited()
	o.OtherTypes, o.Odd = -1, -1
	s := newScene(t, nil, o)
	now := time.Now()
	s.world.Org.Backfill(n, now.Add(-20*time.Hour), now.Add(-time.Minute))
	return s
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	s := settled(t, 2000)
	_, stop := s.start()
	s.published(30 * time.Second)
	began := time.Now()
	r, err := s.verify(verifyOptions{})
	if err != nil || !r.OK || len(r.Findings) > 0 {
		t.Errorf("%v: %+v", err, r)
	}
	sum := 0
	for _, d := range r.Days {
		sum += d.API
		if d.API != d.Kafka {
			t.Errorf("%+v", d)
		}
	}
	if sum != 2000 {
		t.Errorf("%d events were compared", sum)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	a, _ := s.start()
	v := s.shownVerification(a, began)
	if v.Missing != 0 || v.Repaired != 0 || v.To.Sub(v.From) < 18*time.Hour {
		t.Errorf("after a restart it is %+v", v)
	}
	newest := time.Time{}
	for _, e := range s.world.Org.Shown() {
		if at := time.UnixMilli(e.Time); at.After(newest) {
			newest = at
		}
	}
	if got := a.Snapshot().NewestEvent; !got.Equal(newest) {
		t.Errorf("after a restart the newest event is of %s, not of %s", got, newest)
	}
}

// shownVerification waits until the connector shows a verification that ended after t.
func (s *scene) shownVerification(a *app, t time.Time) web.Verification {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if v := a.Snapshot().LastVerified; v != nil && v.At.After(t) {
			return *v
		}
	}
	s.Fatalf("no verification is shown: %+v", a.Snapshot().LastVerified)
	panic("unreachable")
}

// TestVerifyComparesAllThatIsCovered: what the tail reads again at every poll is compared too.
func TestVerifyComparesAllThatIsCovered(t *testing.T) {
	s := settled(t, 100)
	s.env["POLL_OVERLAP"] = "2m"
	s.start()
	s.world.Org.Emit(50)
	s.published(30 * time.Second)
	s.world.Org.Emit(50) // they may be on their way while it compares
	r, err := s.verify(verifyOptions{})
	if err != nil || !r.OK {
		t.Errorf("%v: %+v", err, r)
	}
	sum := 0
	for _, d := range r.Days {
		sum += d.API
	}
	if sum < 150 {
		t.Errorf("%d events were compared, 150 were covered", sum)
	}
}

// TestVerifyAtTheEdgeOfRetention compares what has left retention since it was
// decided what to compare, as the oldest does where reading takes hours.
func TestVerifyAtTheEdgeOfRetention(t *testing.T) {
	s := settled(t, 500)
	s.start()
	s.published(30 * time.Second)
	s.env["GENESYS_RETENTION"] = "10h"
	a := s.command()
	h, err := newHandover(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	v := &verification{app: a, h: h}
	if err := v.scope(t.Context(), audit.Interval{}); err != nil {
		t.Fatal(err)
	}
	for name, part := range v.parts {
		from := part.First().Add(-2 * time.Hour) // two hours ago it was there
		v.parts[name] = part.Add(audit.Interval{From: from, To: part.First()})
		v.whole.From = from
	}
	r, err := v.compare(t.Context())
	if err != nil || !r.OK {
		t.Errorf("%v: %+v", err, slices.Collect(r.Findings()))
	}
}

// TestVerifyNamesWhatIsWrong breaks the topics in every way and repairs what can be.
func TestVerifyNamesWhatIsWrong(t *testing.T) {
	s := settled(t, 300)
	a, _ := s.start()
	s.published(30 * time.Second)
	raw, changes := s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"]
	records, err := readTopic(t.Context(), s.brokers, raw)
	if err != nil {
		t.Fatal(err)
	}
	// Twice; altered, which is also twice; incomplete, by a change that says otherwise.
	again, altered := *records[0], *records[1]
	altered.Value = append(slices.Clone(altered.Value[:len(altered.Value)-1]), ' ', '}')
	lines, err := readTopic(t.Context(), s.brokers, changes)
	if err != nil {
		t.Fatal(err)
	}
	s.produce(&kgo.Record{Topic: raw, Key: again.Key, Value: again.Value, Headers: again.Headers},
		&kgo.Record{Topic: raw, Key: altered.Key, Value: altered.Value, Headers: altered.Headers},
		&kgo.Record{Topic: changes, Key: lines[5].Key, Value: lines[5].Value, Headers: lines[5].Headers})
	// Missing: so late that no sweep meets it.
	missing := s.world.Org.EmitAt(time.Now().Add(-3*time.Hour), 0, 5)

	r, err := s.verify(verifyOptions{})
	if !errors.Is(err, errNotRight) || r.OK {
		t.Errorf("%v: %+v", err, r)
	}
	if got := r.IDs(verify.Missing); !sameIDs(got, missing) {
		t.Errorf("missing %q, not %q", got, missing)
	}
	if got, want := r.IDs(verify.Duplicate), []string{string(again.Key), string(altered.Key)}; !sameIDs(got, want) {
		t.Errorf("duplicate %q, not %q", got, want)
	}
	if got, want := r.IDs(verify.Altered), []string{string(altered.Key)}; !sameIDs(got, want) {
		t.Errorf("altered %q, not %q", got, want)
	}
	event, _, _ := strings.Cut(string(lines[5].Key), ":")
	if got, want := r.IDs(verify.Incomplete), []string{event}; !sameIDs(got, want) {
		t.Errorf("incomplete %q, not %q", got, want)
	}

	if v := s.shownVerification(a, time.Time{}); v.Missing != 5 || v.Repaired != 0 {
		t.Errorf("shown as %+v", v)
	}

	began := time.Now()
	if r, err = s.verify(verifyOptions{repair: true}); !errors.Is(err, errNotRight) {
		t.Errorf("a repair cannot take anything away, but verify says %v", err)
	}
	if got := r.IDs(verify.Missing); len(got) > 0 {
		t.Errorf("after the repair %q are missing", got)
	}
	if got := r.IDs(verify.Duplicate); len(got) != 2 {
		t.Errorf("the repair left %q twice", got)
	}
	if v := s.shownVerification(a, began); v.Missing != 0 || v.Repaired != 5 {
		t.Errorf("after the repair it is shown as %+v", v)
	}
}

func sameIDs(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// TestRepairWithoutAnActiveReplica has the command do the work itself.
func TestRepairWithoutAnActiveReplica(t *testing.T) {
	s := settled(t, 300)
	_, stop := s.start()
	s.published(30 * time.Second)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.world.Org.EmitAt(time.Now().Add(-3*time.Hour), 0, 7)
	r, err := s.verify(verifyOptions{repair: true})
	if err != nil || !r.OK {
		t.Errorf("%v: %+v", err, r)
	}
	s.published(0)
}

// TestRepairOfEventsShownOutsideTheirTime: what the API shows in an interval in
// which it did not happen, or without a time, is repaired too.
func TestRepairOfEventsShownOutsideTheirTime(t *testing.T) {
	for _, odd := range [][]string{{"time with offset"}, {"time long ago"}, {"time in words"}, {"time with offset", "time long ago", "time in words", ""}} {
		t.Run(strings.Join(odd, "+"), func(t *testing.T) {
			s := settled(t, 100)
			s.start()
			s.published(30 * time.Second)
			for i, name := range odd { // so late that no sweep meets them
				at := time.Now().Add(-time.Duration(3+4*i) * time.Hour)
				if name == "" {
					s.world.Org.EmitAt(at, 0, 1)
				} else if _, err := s.world.Org.EmitOdd(at, name); err != nil {
					t.Fatal(err)
				}
			}
			if r, err := s.verify(verifyOptions{}); !errors.Is(err, errNotRight) || len(r.IDs(verify.Missing)) != len(odd) {
				t.Fatalf("before the repair: %v: %+v", err, r.Findings)
			}
			if r, err := s.verify(verifyOptions{repair: true}); err != nil || !r.OK {
				t.Errorf("after the repair: %v: %+v", err, r.Findings)
			}
			s.published(0)
		})
	}
}

// TestVerifyGoesOnWithoutWhatCannotBeRead: one event that the API cannot serve is
// named as not compared, and all else is compared and repaired.
func TestVerifyGoesOnWithoutWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := settled(t, 300)
	s.start()
	s.published(30 * time.Second)
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Millisecond)
	missing := s.world.Org.EmitAt(at.Add(-time.Second), 0, 3)
	s.world.Org.EmitAt(at, 0, 1)
	if err := s.world.Org.Inject(sandbox.Poison(at, 500)); err != nil {
		t.Fatal(err)
	}
	run := func(o verifyOptions) (string, error) {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		err := verifyCommand(ctx, s.command(), o, &out)
		return out.String(), err
	}
	out, err := run(verifyOptions{from: "4h", to: "2h"})
	if !errors.Is(err, errNotRight) || strings.Count(out, "missing ") != len(missing)+1 { // and the table's head
		t.Errorf("%v:\n%s", err, out)
	}
	if !strings.Contains(fmt.Sprint(err), "not compared: ") || !strings.Contains(fmt.Sprint(err), at.UTC().Format(audit.TimeFormat)) {
		t.Errorf("%v", err)
	}
	// What is beside it is repaired while it lasts.
	if out, err = run(verifyOptions{repair: true, from: "4h", to: "2h"}); errors.Is(err, errNotRight) || errors.Is(err, errStillMissing) ||
		!strings.Contains(fmt.Sprint(err), "not compared: ") {
		t.Errorf("%v:\n%s", err, out)
	}
	s.world.Org.ClearFaults()
	if out, err = run(verifyOptions{repair: true}); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	s.published(0)
}

// TestRepairSaysWhatItCouldNotDo: nobody is told to repair who just did.
func TestRepairSaysWhatItCouldNotDo(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	missing := func(n int) *verify.Report {
		c := verify.New(audit.Interval{From: at, To: at.Add(time.Hour)})
		for i := range n {
			c.API(fmt.Sprint("event-", i), at, audit.Interval{From: at, To: at.Add(time.Hour)})
		}
		r := c.Report()
		return &r
	}
	for _, tc := range []struct {
		missing  int
		repaired bool
		want     error
	}{{0, false, nil}, {0, true, nil}, {2, false, errNotRight}, {2, true, errStillMissing}} {
		if err := whatIsWrong(missing(tc.missing), tc.repaired); err != tc.want {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// TestRepairTwiceAtOnce has two commands find the same events missing.
func TestRepairTwiceAtOnce(t *testing.T) {
	s := settled(t, 100)
	s.start()
	s.published(30 * time.Second)
	s.world.Org.EmitAt(time.Now().Add(-3*time.Hour), 0, 20)
	done := make(chan error)
	for range 2 {
		go func() {
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			done <- verifyCommand(ctx, s.command(), verifyOptions{repair: true}, &out)
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	s.published(0)
}

func TestBackfillFromAnotherTerminal(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprint("alone=", alone), func(t *testing.T) {
			s := settled(t, 100)
			a, stop := s.start()
			s.published(30 * time.Second)
			if alone {
				if err := stop(); err != nil {
					t.Fatal(err)
				}
			}
			now := time.Now().UTC()
			s.world.Org.Backfill(400, now.Add(-10*24*time.Hour), now.Add(-5*24*time.Hour))
			iv := audit.Interval{From: now.Add(-12 * 24 * time.Hour), To: now.Add(-4 * 24 * time.Hour)}
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := backfill(ctx, s.command(), iv, true, &out); err != nil {
				t.Fatal(err)
			}
			s.published(0)
			if !strings.Contains(out.String(), "400 events published") {
				t.Errorf("it said %q", out.String())
			}
			if !alone && len(a.Snapshot().Streams[0].Wanted) > 0 {
				t.Errorf("still wanted: %v", a.Snapshot().Streams[0].Wanted)
			}
		})
	}
}

// TestVerifyAsksNobodyFirst runs it with a wrong interval where nothing answers:
// what is wrong can be known without.
func TestVerifyAsksNobodyFirst(t *testing.T) {
	cfg := load(t, "KAFKA_BROKERS=127.0.0.1:1", "GENESYS_API_URL=http://127.0.0.1:1", "GENESYS_LOGIN_URL=http://127.0.0.1:1")
	a, err := newApp(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for want, o := range map[string]verifyOptions{
		"--to needs --from":    {to: "1h"},
		"--from: ":             {from: "soon"},
		"--to: ":               {from: "2h", to: "soon"},
		"--from must be befor": {from: "1h", to: "2h"},
	} {
		err := verifyCommand(t.Context(), a, o, io.Discard)
		if _, usage := errors.AsType[usageError](err); !usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", o, err, want)
		}
	}
}
