package sandbox

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func bodies(o *Org) [][]byte {
	events, _ := o.journal.all()
	var all [][]byte
	for _, e := range events {
		for f := range forms {
			all = append(all, e.appendTo(nil, o.world, f))
		}
	}
	return all
}

func TestSeedDecidesEverything(t *testing.T) {
	make := func(seed uint64) [][]byte {
		o := New(Options{Seed: seed, Clock: fixedClock, Lateness: Lateness{Probability: 0.3, Max: time.Minute}})
		o.Backfill(2000, noon.Add(-time.Hour), noon)
		o.Emit(200)
		o.EmitGrants(3)
		o.EmitBulk(noon, 50)
		return bodies(o)
	}
	first, second, other := make(5), make(5), make(6)
	if !slices.EqualFunc(first, second, bytes.Equal) {
		t.Error("the same seed made other events")
	}
	if slices.EqualFunc(first, other, bytes.Equal) {
		t.Error("another seed made the same events")
	}
}

// depthless tells whether bytes are one JSON value, at any depth.
func depthless(body []byte) error {
	tokens := json.NewDecoder(bytes.NewReader(body))
	tokens.UseNumber()
	_, err := skipValue(tokens)
	return err
}

// Every oddity, in every form: JSON, and the id that the sandbox believes it has
// is the one that an independent reading of its bytes finds.
func TestOddities(t *testing.T) {
	o := New(Options{Seed: 2, Clock: fixedClock})
	if len(Oddities()) < 100 {
		t.Errorf("only %d oddities", len(Oddities()))
	}
	for i, name := range Oddities() {
		keys, err := o.EmitOdd(noon.Add(time.Duration(i)*time.Second), name)
		if err != nil {
			t.Fatal(err)
		}
		events, _ := o.journal.all()
		e := events[len(events)-1]
		odd := false
		for f := range forms {
			body := e.appendTo(nil, o.world, f)
			if err := depthless(body); err != nil {
				t.Errorf("%s, form %d: %v", name, f, err)
			}
			key := "auditId"
			if f != formAuditlogs {
				key = "id"
			}
			id, err := usableID(body, key)
			if err != nil || id != e.id {
				t.Errorf("%s, form %d: id %q in the bytes (%v), %q on file", name, f, id, err, e.id)
			}
			same := &oddity{name: name, apply: func(*draft) {}}
			ordinary := &event{at: e.at, n: e.n, scene: e.scene, actor: e.actor, odd: same}
			usual, _ := o.world.appendEvent(nil, ordinary, f)
			odd = odd || !bytes.Equal(usual, body)
		}
		if !odd {
			t.Errorf("%s changes nothing", name)
		}
		if keys[0] != e.key(e.flat) {
			t.Errorf("%s: Emit said %q, the event is %q", name, keys[0], e.key(e.flat))
		}
	}
	if _, err := o.EmitOdd(noon, "purple"); err == nil {
		t.Error("an unknown oddity was made")
	}
}

func TestUnusableIDs(t *testing.T) {
	unusable := []string{"id missing", "id null", "id number", "id boolean", "id object", "id array", "id empty",
		"id blank", "id of 513 bytes", "twins without id", "empty object", "not an object: null"}
	usable := []string{"id of 512 bytes", "id not a UUID", "id escaped", "id twice in one event", "id of another event", "unicode"}
	o := New(Options{Seed: 2, Clock: fixedClock})
	for _, name := range unusable {
		if keys, err := o.EmitOdd(noon, name); err != nil || !strings.HasPrefix(keys[0], "sha256:") {
			t.Errorf("%s: key %q %v", name, keys, err)
		}
	}
	for _, name := range usable {
		if keys, err := o.EmitOdd(noon, name); err != nil || strings.HasPrefix(keys[0], "sha256:") {
			t.Errorf("%s: key %q %v", name, keys, err)
		}
	}
}

func TestUsableID(t *testing.T) {
	for body, want := range map[string]string{
		`{"auditId":"a"}`:                           "a",
		`{"auditId":"a","auditId":"b"}`:             "b",
		`{"auditId":"a","auditId":null}`:            "",
		`{"auditId":{"auditId":"a"}}`:               "",
		`{"x":{"auditId":"a"},"y":["auditId"]}`:     "",
		`{"AUDITID":"a"}`:                           "",
		`{"\u0061uditId":"a"}`:                      "a",
		`["auditId","a"]`:                           "",
		`"auditId"`:                                 "",
		`{"auditId":"   "}`:                         "",
		`{"a":[{"b":1}],"auditId":"z","c":{"d":2}}`: "z",
	} {
		if got, err := usableID([]byte(body), "auditId"); got != want || err != nil {
			t.Errorf("%s: %q %v, want %q", body, got, err, want)
		}
	}
	for _, body := range []string{``, `{`, `{"auditId":"a"`, `{"auditId":}`} {
		if _, err := usableID([]byte(body), "auditId"); err == nil {
			t.Errorf("%q was taken for an event", body)
		}
	}
}

// FuzzUsableID compares the token reader with encoding/json, where that can read
// the body at all.
func FuzzUsableID(f *testing.F) {
	o := New(Options{Seed: 2, Clock: fixedClock})
	for i := range oddities {
		if !oddities[i].heavy {
			_, _ = o.EmitOdd(noon, oddities[i].name)
		}
	}
	events, _ := o.journal.all()
	for _, e := range events {
		f.Add(e.flat)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := usableID(body, "auditId")
		var fields map[string]json.RawMessage
		if !json.Valid(body) || json.Unmarshal(body, &fields) != nil {
			if got != "" && err == nil && depthless(body) != nil {
				t.Errorf("id %q of what is no JSON object", got)
			}
			return
		}
		var want string
		if raw := fields["auditId"]; len(raw) > 0 && raw[0] == '"' {
			if json.Unmarshal(raw, &want) != nil || len(want) > longestID || strings.TrimSpace(want) == "" {
				want = ""
			}
		}
		if err != nil || got != want {
			t.Errorf("id %q (%v), want %q", got, err, want)
		}
	})
}

// The golden file shows one event of each kind in both shapes, for readers and
// against changes that nobody meant.
func TestGoldenEvents(t *testing.T) {
	o := New(Options{Seed: 1, Clock: fixedClock, Odd: -1})
	o.Backfill(3000, noon.Add(-time.Hour), noon)
	events, _ := o.journal.all()
	shown := map[string]bool{}
	var got bytes.Buffer
	for _, e := range events {
		if name := e.scene.entityType + " " + e.scene.action; !shown[name] {
			shown[name] = true
			got.Write(e.appendTo(nil, o.world, formAuditlogs))
			got.WriteByte('\n')
			got.Write(e.appendTo(nil, o.world, formExpanded))
			got.WriteByte('\n')
		}
	}
	path := filepath.Join("testdata", "events.ndjson")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("events differ from testdata/events.ndjson; -update if that is meant")
	}
}

func TestWhatHappensLooksReal(t *testing.T) {
	o := New(Options{Seed: 1, Clock: fixedClock, Odd: -1, OtherTypes: -1})
	o.Backfill(20_000, noon.Add(-24*time.Hour), noon)
	events, _ := o.journal.all()
	kinds, perMillisecond, size := map[string]int{}, map[int64]int{}, 0
	for _, e := range events {
		kinds[e.scene.flatType]++
		perMillisecond[e.at]++
		size += len(e.flat)
	}
	for _, kind := range []string{"queue", "role", "user", "group", "flow", "skill", "integration", "campaign", "oauthClient", "trunk", "edge", "schedule", "dataTable", "wrapupCode"} {
		if kinds[kind] == 0 {
			t.Errorf("nothing happens to a %s", kind)
		}
	}
	most := 0
	for _, n := range perMillisecond {
		most = max(most, n)
	}
	if most < 100 {
		t.Errorf("the largest deployment is of %d events, want hundreds in one millisecond", most)
	}
	if mean := size / len(events); mean < 900 || mean > 1300 {
		t.Errorf("events are of %d bytes on average, want about 1.1 kB", mean)
	}
	told, keys := 0, o.EmitGrants(50)
	events, _ = o.journal.all()
	for i, e := range events[len(events)-50:] {
		var grant struct {
			AuditID, UserName, Action, Level string
			After                            struct{ UserName, GroupName, RoleName string }
		}
		if err := json.Unmarshal(e.flat, &grant); err != nil || grant.AuditID != keys[i] || grant.Action != "MemberAdd" ||
			grant.After.UserName+grant.After.GroupName == "" || grant.After.RoleName == "" {
			t.Errorf("a human cannot see which role was granted to whom: %s (%v)", e.flat, err)
		}
		if grant.UserName != "" {
			told++
		}
	}
	if told == 0 || told > 25 {
		t.Errorf("%d of 50 grants say who did it, want about 10", told)
	}
}
