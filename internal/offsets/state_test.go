package offsets

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"genesys-audit-connector/internal/audit"
)

const org = "acme-1"

// oddNames are stream names and ids that keys must carry unharmed.
var oddNames = []string{
	"type=configuration", "a/b", "/", "//", "seen/x", "ünï/cödé", "line\nbreak", "\x00\xff", " ",
	"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "sha256:" + strings.Repeat("0f", 32), strings.Repeat("x", audit.MaxIDBytes),
}

// record is one of the topic; a nil value is a tombstone.
type record struct{ key, value []byte }

func seenRecord(org, id string, at time.Time) record {
	return record{AppendSeenKey(nil, org, id), AppendSeenValue(nil, at)}
}

func ledgerRecord(org, stream string, l Ledger) record {
	return record{AppendLedgerKey(nil, org, stream), []byte(text(l))}
}

func requestRecord(t *testing.T, org, id string, r Request) record {
	t.Helper()
	value, err := r.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return record{AppendRequestKey(nil, org, id), value}
}

func exampleRequest() Request {
	return Request{
		Kind: KindRepair, From: minute(0), To: minute(60), IDs: []string{"a/b", "\u2028\"x"},
		Created: minute(100).Add(7 * time.Millisecond), By: "connector verify",
	}
}

func TestKeys(t *testing.T) {
	for want, key := range map[string][]byte{
		"acme-1/seen/a/b": AppendSeenKey(nil, org, "a/b"), "x acme-1/ledger/type=b": AppendLedgerKey([]byte("x "), org, "type=b"),
		"acme-1/request/7": AppendRequestKey(nil, org, "7"), "acme-1/token": AppendTokenKey(nil, org),
		"acme-1/newest": AppendNewestKey(nil, org), "acme-1/verified": AppendVerifiedKey(nil, org),
	} {
		if string(key) != want {
			t.Errorf("%q, want %q", key, want)
		}
	}
	if got := string(AppendSeenValue(nil, time.UnixMilli(1772366400123))); got != "1772366400123" {
		t.Errorf("a time is written %q", got)
	}
	buf := make([]byte, 0, 1024)
	at := time.UnixMilli(1772366400123)
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendSeenKey(buf[:0], org, "some id")
		buf = AppendSeenValue(AppendLedgerKey(buf, org, "x"), at)
		buf = AppendTokenKey(AppendRequestKey(buf, org, "x"), org)
	}); n != 0 {
		t.Errorf("the builders allocate %v times", n)
	}
}

func TestApply(t *testing.T) {
	s := NewState(org)
	apply := func(r record) {
		t.Helper()
		if err := s.Apply(r.key, r.value); err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{r.key, r.value} { // nothing of it may be kept
			for i := range b {
				b[i] = '#'
			}
		}
	}
	at := time.UnixMilli(1772366400123)
	for _, name := range oddNames {
		apply(seenRecord(org, name, at))
		apply(ledgerRecord(org, name, exampleLedger()))
		apply(requestRecord(t, org, name, exampleRequest()))
	}
	apply(record{AppendTokenKey(nil, org), []byte("sealed")})
	if s.IDs.Len() != len(oddNames) || len(s.Ledgers) != len(oddNames) || len(s.Requests) != len(oddNames) || string(s.Token) != "sealed" {
		t.Fatalf("%d ids, %d ledgers, %d requests, token %q", s.IDs.Len(), len(s.Ledgers), len(s.Requests), s.Token)
	}
	for _, name := range oddNames {
		if !s.IDs.Has(name) {
			t.Errorf("id %q is lost", name)
		}
		if got, want := text(s.Ledgers[name]), text(exampleLedger()); got != want {
			t.Errorf("ledger %q is %s", name, got)
		}
		if got := s.Requests[name]; !reflect.DeepEqual(got, exampleRequest()) {
			t.Errorf("request %q is %+v", name, got)
		}
	}
	found := 0
	s.IDs.Before(at, 100, never, func(string) { found++ })
	if found != 0 {
		t.Errorf("%d ids before their time", found)
	}
	s.IDs.Before(at.Add(1), 100, never, func(string) { found++ })
	if found != len(oddNames) {
		t.Errorf("%d ids have their time", found)
	}
	// Tombstones, also of what is not there.
	for _, name := range append(slices.Clone(oddNames), "nowhere") {
		apply(record{key: AppendSeenKey(nil, org, name)})
		apply(record{key: AppendLedgerKey(nil, org, name)})
		apply(record{key: AppendRequestKey(nil, org, name)})
	}
	apply(record{key: AppendTokenKey(nil, org)})
	if s.IDs.Len() != 0 || len(s.Ledgers) != 0 || len(s.Requests) != 0 || s.Token != nil {
		t.Errorf("%d ids, %d ledgers, %d requests, token %q are left", s.IDs.Len(), len(s.Ledgers), len(s.Requests), s.Token)
	}
}

func TestApplyIgnoresOtherOrganisations(t *testing.T) {
	s := NewState(org)
	for _, other := range []string{"acme", "acme-11", "acme-", "z"} {
		for _, r := range []record{
			seenRecord(other, "id", origin), ledgerRecord(other, "x", exampleLedger()),
			requestRecord(t, other, "x", exampleRequest()), {AppendTokenKey(nil, other), []byte("sealed")},
			{AppendLedgerKey(nil, other, "x"), []byte(`{"version":99}`)}, // their business
		} {
			if err := s.Apply(r.key, r.value); err != nil {
				t.Errorf("%q: %v", r.key, err)
			}
			if id, request, err := ParseRequest(org, r.key, r.value); id != "" || request != nil || err != nil {
				t.Errorf("%q is request %q %v %v", r.key, id, request, err)
			}
		}
	}
	if s.IDs.Len() != 0 || len(s.Ledgers) != 0 || len(s.Requests) != 0 || s.Token != nil {
		t.Error("it took a record of another organisation in")
	}
}

func TestApplyReportsForeignRecords(t *testing.T) {
	long := strings.Repeat("k\n", 4000)
	for _, c := range []struct{ key, value string }{
		{"", ""}, {"x", ""}, {"/seen/x", "1"}, {"Acme/seen/x", "1"}, {strings.Repeat("a", 64) + "/seen/x", "1"}, {long, ""},
		{org, ""}, {org + "/", ""}, {org + "/seen", "1"}, {org + "/seen/", "1"}, {org + "/ledger/", "{}"}, {org + "/request/", "{}"},
		{org + "/token/", "x"}, {org + "/token/x", "x"}, {org + "/tokens", "x"}, {org + "/offset/x", "1"}, {"other/offset/x", "1"},
		{org + "/seen/" + strings.Repeat("x", audit.MaxIDBytes+1), "1"},
		{org + "/seen/x", ""}, {org + "/seen/x", "-"}, {org + "/seen/x", "+1"}, {org + "/seen/x", "1.5"}, {org + "/seen/x", " 1"},
		{org + "/seen/x", "0x10"}, {org + "/seen/x", "253402300800000"}, {org + "/seen/x", "-62135596800001"},
		{org + "/seen/x", "99999999999999999999999999"},
		{org + "/token", ""}, {org + "/newest/x", "x"}, {org + "/newest", "soon"}, {org + "/newest", ""}, {org + "/verified", "{}"}, {org + "/verified", ""},
		{org + "/verified", `{"at":"2026-03-01T12:00:00Z","from":"2026-03-02T12:00:00Z","to":"2026-03-01T12:00:00Z","missing":0,"repaired":0}`},
		{org + "/verified", `{"at":"2026-03-01T12:00:00Z","from":"2026-03-01T12:00:00Z","to":"2026-03-01T12:00:00Z","missing":-1,"repaired":0}`},
		{org + "/ledger/x", ""}, {org + "/ledger/x", "null"}, {org + "/ledger/x", "{}"}, {org + "/ledger/x", `{"version":1,"covered":7}`},
		{org + "/request/x", ""}, {org + "/request/x", "null"}, {org + "/request/x", "[]"}, {org + "/request/x", `{"kind":"drop"}`},
		{org + "/request/x", `{"kind":"backfill","from":"2026-03-01T12:00:00Z","to":"2026-03-01T12:00:00Z"}`},
		{org + "/request/x", `{"kind":"backfill","from":"2026-03-01T12:00:00Z","to":"2026-03-01T12:00:00.0009Z"}`},
		{org + "/request/x", `{"kind":"backfill","from":"2026-03-01T12:00:00Z","to":"2026-03-02T12:00:00Z","pace":"slow"}`},
		{org + "/request/x", `{"kind":"repair","from":"2026-03-01T12:00:00Z","to":"2026-03-02T12:00:00Z","ids":[""]}`},
	} {
		s := NewState(org)
		err := s.Apply([]byte(c.key), []byte(c.value))
		var foreign *RecordError
		if !errors.As(err, &foreign) || foreign.Key != c.key {
			t.Errorf("%.80q = %q: %v", c.key, c.value, err)
			continue
		}
		if text := err.Error(); len(text) > 700 || strings.ContainsAny(text, "\n\x00") || !utf8.ValidString(text) {
			t.Errorf("%.80q = %q: unfit for a log: %q", c.key, c.value, text)
		}
		if s.IDs.Len() != 0 || len(s.Ledgers) != 0 || len(s.Requests) != 0 || s.Token != nil {
			t.Errorf("%.80q = %q changed the state", c.key, c.value)
		}
	}
}

// What a record does must not depend on whether the one before it under the same
// key was compacted away, but for an id, which is rather remembered for too long.
func TestApplyDamagedRecordReplaces(t *testing.T) {
	s := NewState(org)
	for _, r := range []record{
		seenRecord(org, "x", origin), ledgerRecord(org, "x", exampleLedger()), requestRecord(t, org, "x", exampleRequest()),
	} {
		if err := s.Apply(r.key, r.value); err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(r.key, []byte("damaged")); err == nil {
			t.Fatalf("%q took in what is damaged", r.key)
		}
	}
	if !s.IDs.Has("x") {
		t.Error("a damaged record made an id forgotten")
	}
	if len(s.Ledgers) != 0 || len(s.Requests) != 0 {
		t.Error("what a damaged record replaced is still there")
	}
	if s.Damaged["x"] == nil {
		t.Error("the damaged ledger is not remembered as one")
	}
	for _, mended := range []record{ledgerRecord(org, "x", exampleLedger()), {AppendLedgerKey(nil, org, "x"), nil}} {
		if err := s.Apply(mended.key, mended.value); err != nil || len(s.Damaged) != 0 {
			t.Errorf("still damaged: %v, %v", s.Damaged, err)
		}
		_ = s.Apply(mended.key, []byte("damaged"))
	}
}

func TestApplyRefusesAnotherVersion(t *testing.T) {
	s := NewState(org)
	key := AppendLedgerKey(nil, org, "type=x\n")
	err := s.Apply(key, []byte(`{"version":3,"covered":[]}`))
	var version *VersionError
	if !errors.As(err, &version) || version.Version != "3" || version.Key != string(key) {
		t.Fatalf("%v", err)
	}
	var foreign *RecordError
	if errors.As(err, &foreign) {
		t.Error("it would be skipped like a foreign record")
	}
	const want = `the ledger at "acme-1/ledger/type=x\n" has version 3 and this program knows versions up to 2: run the version that wrote it, or a newer one`
	if err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestParseRequest(t *testing.T) {
	r := requestRecord(t, org, "a/7", exampleRequest())
	id, got, err := ParseRequest(org, r.key, r.value)
	if id != "a/7" || err != nil || got == nil || !reflect.DeepEqual(*got, exampleRequest()) {
		t.Errorf("%q, %+v, %v", id, got, err)
	}
	if id, got, err := ParseRequest(org, r.key, nil); id != "a/7" || got != nil || err != nil {
		t.Errorf("a tombstone is %q, %+v, %v", id, got, err)
	}
	if id, got, err := ParseRequest(org, r.key, []byte("{")); id != "a/7" || got != nil || err == nil {
		t.Errorf("damage is %q, %+v, %v", id, got, err)
	}
	for _, r := range []record{seenRecord(org, "x", origin), {[]byte("request"), nil}} {
		if id, got, err := ParseRequest(org, r.key, r.value); id != "" || got != nil || err != nil {
			t.Errorf("%q is %q, %+v, %v", r.key, id, got, err)
		}
	}
	const golden = `{"kind":"repair","from":"2026-03-01T12:00:00Z","to":"2026-03-01T13:00:00Z","ids":["a/b","\u2028\"x"],"created":"2026-03-01T13:40:00.007Z","by":"connector verify"}`
	if string(r.value) != golden {
		t.Errorf("got  %s\nwant %s", r.value, golden)
	}
	for _, wrong := range []Request{{}, {Kind: KindBackfill}, {Kind: "x", From: minute(0), To: minute(1)}} {
		if b, err := wrong.MarshalJSON(); err == nil {
			t.Errorf("%+v is written as %s", wrong, b)
		}
	}
}

// TestCompactionChangesNothing applies random records, whole and with any of
// the overtaken ones left out, as compaction does: the state is the same.
func TestCompactionChangesNothing(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		var log []record
		for range 300 {
			name := oddNames[r.IntN(11)]
			all := []record{
				seenRecord(org, name, minute(r.IntN(1000))),
				ledgerRecord(org, name, Ledger{}.Cover(minutes(0, 1+r.IntN(50)))),
				requestRecord(t, org, name, Request{Kind: KindBackfill, From: minute(0), To: minute(1 + r.IntN(50))}),
				{AppendTokenKey(nil, org), []byte{byte(r.IntN(256))}},
			}
			rec := all[r.IntN(len(all))]
			if r.IntN(4) == 0 {
				rec.value = nil
			}
			log = append(log, rec)
		}
		last := make(map[string]int)
		for i, rec := range log {
			last[string(rec.key)] = i
		}
		whole, compacted := NewState(org), NewState(org)
		kept := make(map[string]bool)
		for i, rec := range log {
			if err := whole.Apply(rec.key, rec.value); err != nil {
				t.Fatal(err)
			}
			// A tombstone goes last: after all that it buries.
			overtaken, key := last[string(rec.key)] != i, string(rec.key)
			if overtaken && r.IntN(3) > 0 || rec.value == nil && !kept[key] && r.IntN(2) == 0 {
				continue
			}
			kept[key] = true
			if err := compacted.Apply(rec.key, rec.value); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := describe(whole), describe(compacted); a != b {
			t.Fatalf("seed %d:\n%s\ncompacted:\n%s", seed, a, b)
		}
	}
}

func describe(s *State) string {
	ids := make(map[string]int64)
	for id, ms := range s.IDs.all() {
		ids[id] = ms
	}
	return fmt.Sprint(ids, s.Ledgers, s.Requests, s.Token, s.Damaged)
}

func FuzzApply(f *testing.F) {
	for _, name := range oddNames[:8] {
		f.Add(AppendSeenKey(nil, org, name), []byte("1772366400123"), false)
		f.Add(AppendLedgerKey(nil, org, name), []byte(text(exampleLedger())), false)
		f.Add(AppendRequestKey(nil, org, name), []byte(`{"kind":"backfill","from":"2026-03-01T12:00:00Z","to":"2026-03-02T12:00:00Z"}`), true)
	}
	f.Add(AppendTokenKey(nil, org), []byte("sealed"), false)
	f.Add([]byte("other/token"), []byte("sealed"), false)
	f.Fuzz(func(t *testing.T, key, value []byte, tombstone bool) {
		if tombstone {
			value = nil
		}
		s := NewState(org)
		err := s.Apply(key, value)
		var foreign *RecordError
		var version *VersionError
		if err != nil && !errors.As(err, &foreign) && !errors.As(err, &version) {
			t.Fatalf("neither to skip nor to stop: %v", err)
		}
		if err != nil && (len(err.Error()) > 1500 || strings.Contains(err.Error(), "\n")) {
			t.Fatalf("unfit for a log: %q", err)
		}
		// Whatever was taken in comes out under the same key.
		for id, ms := range s.IDs.all() {
			if got := AppendSeenKey(nil, org, id); !bytes.Equal(got, key) {
				t.Fatalf("%q was written as %q", key, got)
			}
			if back, ok := parseSeen(AppendSeenValue(nil, time.UnixMilli(ms))); !ok || back != ms {
				t.Fatalf("%q is %d, comes back as %d", value, ms, back)
			}
		}
		for stream, l := range s.Ledgers {
			if got := AppendLedgerKey(nil, org, stream); !bytes.Equal(got, key) {
				t.Fatalf("%q was written as %q", key, got)
			}
			checkRoundTrip(t, l)
		}
		for id, r := range s.Requests {
			if got := AppendRequestKey(nil, org, id); !bytes.Equal(got, key) {
				t.Fatalf("%q was written as %q", key, got)
			}
			if b, err := r.MarshalJSON(); err != nil {
				t.Fatalf("%s cannot be written again: %v", value, err)
			} else if _, back, err := ParseRequest(org, key, b); err != nil || !reflect.DeepEqual(*back, r) {
				t.Fatalf("%+v comes back as %+v, %v", r, back, err)
			}
		}
	})
}

func TestApplyDoesNotAllocate(t *testing.T) {
	s := NewState(org)
	for _, id := range []string{audit.FormatUUID(uuid(1)), "sha256:" + strings.Repeat("ab", 32)} {
		r := seenRecord(org, id, origin)
		if err := s.Apply(r.key, r.value); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = s.Apply(r.key, r.value) }); n != 0 {
			t.Errorf("%q: %v allocations", id, n)
		}
	}
}

func benchmarkApply(b *testing.B, n int) {
	key := append(AppendSeenKey(nil, org, ""), make([]byte, 36)...)
	id, value := key[len(key)-36:], make([]byte, 0, 20)
	b.ReportAllocs()
	for b.Loop() {
		s := NewState(org)
		for i := range n {
			audit.AppendUUID(id[:0], uuid(i))
			value = AppendSeenValue(value[:0], time.UnixMilli(1772366400000+int64(i)))
			if err := s.Apply(key, value); err != nil {
				b.Fatal(err)
			}
		}
		if s.IDs.Len() != n {
			b.Fatalf("%d ids of %d", s.IDs.Len(), n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/record")
}

func BenchmarkApply1M(b *testing.B)  { benchmarkApply(b, 1_000_000) }
func BenchmarkApply10M(b *testing.B) { benchmarkApply(b, 10_000_000) }

func BenchmarkApplyLedger(b *testing.B) {
	r := ledgerRecord(org, "type=configuration", exampleLedger())
	s := NewState(org)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Apply(r.key, r.value); err != nil {
			b.Fatal(err)
		}
	}
}
