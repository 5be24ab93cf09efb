package export

import (
	"archive/zip"
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
)

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// hostile is text that events bring with them.
const hostile = `=HYPERLINK("http://x","y")</td><script>alert(1)</script>` + "\u202e"

// gapped is what the ledgers of two streams say of the interval.
const gapped = `{"query:*":{"covered":[["2026-03-01T00:00:00.000Z","2026-03-11T00:00:00.000Z"],["2026-03-12T06:00:00.000Z","2026-03-31T00:00:00.000Z"]],
"wanted":[["2026-03-12T00:00:00.000Z","2026-03-12T06:00:00.000Z"]],
"gaps":[{"from":"2026-03-11T00:00:00.000Z","to":"2026-03-12T00:00:00.000Z","reason":"interval expired from API retention; recorded as a gap"}]},
"query:Routing":{"covered":[["2026-02-01T00:00:00.000Z","2026-03-31T00:00:00.000Z"]],"wanted":[],"gaps":[]}}`

// source makes exports of a log with events of one to three changes, some of them grants.
type source struct {
	request  Request
	events   int
	coverage string
	report   evidence.Report
	erased   []Erased
	api      json.RawMessage
}

func newSource(events int) *source {
	return &source{
		events: events, coverage: gapped,
		request: Request{Org: "acme", Interval: audit.Interval{From: day, To: day.AddDate(0, 0, 30)}, Now: day.AddDate(0, 1, 0), Version: "1.2.3"},
		report:  evidence.Report{OK: true, Org: "acme", Size: uint64(events), Verified: uint64(events), Counts: map[evidence.Kind]int{}},
	}
}

func text(s string) *string { return &s }

// change is one of an event's.
func (s *source) change(r *rand.Rand, i, n, count int) audit.Change {
	c := audit.Change{
		AuditID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", i), Index: n, Count: count,
		Time:   day.Add(time.Duration(i) * 30 * 24 * time.Hour / time.Duration(s.events)),
		UserID: text(fmt.Sprintf("user-%d", r.IntN(20))), Action: []string{"Update", "Create", "Delete", "View"}[r.IntN(4)],
		EntityType: []string{"Queue", "User", "Flow", "DataTable", "Group"}[r.IntN(5)], EntityID: text("e-" + fmt.Sprint(r.IntN(99))),
		EntityName: text("Support EMEA"), Key: text("acwTimeoutMs"), Type: "MODIFIED", Previous: text("1"), New: text(hostile),
		PreviousType: "NUMBER", NewType: "STRING", Context: map[string]string{"b": "2", "a": "1"}, RemoteIP: []string{"10.0.0.1", "10.0.0.2"},
		Status: text("SUCCESS"),
	}
	c.UserName = text([]string{"Ada Lovelace", "Grace Hopper", "Alan Turing", hostile}[len(*c.UserID)%3])
	if i%9 == 0 {
		c.EntityType, c.Action, c.EntityName = "role", []string{"MemberAdd", "MemberRemove"}[i%2], text("Master Admin")
		c.MemberName, c.MemberType, c.DivisionID = text("Barbara Liskov"), text("user"), text("*")
	}
	return c
}

// export makes the ZIP.
func (s *source) export(t testing.TB) []byte {
	t.Helper()
	e, err := New(t.TempDir(), s.request)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	log, err := evidence.Open("acme", nil, evidence.Keys{Current: s.request.Signer})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for first := 0; first < s.events; first += 50 {
		log.Begin()
		var events []Event
		for i := first; i < min(first+50, s.events); i++ {
			ev := s.event(r, i)
			if err := log.Append(ev.ID, ev.RawSum, ev.Changes); err != nil {
				t.Fatal(err)
			}
			events = append(events, ev)
		}
		sealed, err := log.Seal(day, json.RawMessage(s.coverage))
		if err != nil {
			t.Fatal(err)
		}
		log.Commit()
		if err := e.Record(&sealed.Record); err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if err := e.Event(ev); err != nil {
				t.Fatal(err)
			}
		}
		if first%500 == 0 {
			e.Stamp(&evidence.Stamp{Org: "acme", Size: log.Size(), Checkpoint: log.Newest().Text, Token: []byte("token")})
		}
	}
	var out bytes.Buffer
	if _, err := e.Finish(&out, Outcome{Report: &s.report, Erased: s.erased, API: s.api}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (s *source) event(r *rand.Rand, i int) Event {
	ev := Event{Index: int64(i), Raw: fmt.Appendf(nil, `{"id":"%08d"}`, i)}
	if i%7 == 0 {
		ev.Raw = append(ev.Raw, "\n\r "...)
	}
	ev.RawSum = evidence.HashOf(ev.Raw)
	var sum evidence.Changes
	sum.Reset()
	count := 1 + r.IntN(3)
	for n := range count {
		c := s.change(r, i, n, count)
		ev.ID, ev.Decoded = c.AuditID, append(ev.Decoded, c)
		ev.Values = append(ev.Values, fmt.Appendf(nil, "avro of %d:%d", i, n))
		sum.Add(ev.Values[n])
	}
	ev.Changes = sum.Sum()
	return ev
}

func files(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[f.Name]; twice {
			t.Errorf("%s is twice in it", f.Name)
		}
		all[f.Name] = string(content)
	}
	return all
}

// TestExportProvesEveryEvent: raw bytes survive, proofs are right of a log that went to the
// file too, and stamps are of a beginning of it.
func TestExportProvesEveryEvent(t *testing.T) {
	t.Parallel()
	s := newSource(3000) // 6,000 hashes: more than are held in memory
	all := files(t, s.export(t))
	c, err := evidence.ParseCheckpoint([]byte(all["checkpoint.txt"]))
	if err != nil || c.Size != 3000 {
		t.Fatalf("%+v, %v", c, err)
	}
	events := strings.SplitAfter(all["events.jsonl"], "\n")
	for i, line := range strings.SplitAfter(strings.TrimSuffix(all["evidence.jsonl"], "\n"), "\n") {
		var row struct {
			Index        int64
			ID           string
			Raw, Changes string
			Proof        [][]byte
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		raw := []byte(strings.TrimSuffix(events[i], "\n"))
		if raw[0] == '"' {
			if raw, err = base64.StdEncoding.DecodeString(strings.Trim(string(raw), `"`)); err != nil {
				t.Fatal(err)
			}
		}
		want := s.event(rand.New(rand.NewPCG(1, 2)), i)
		if !bytes.Equal(raw, want.Raw) || row.Raw != fmt.Sprintf("%x", want.RawSum) {
			t.Fatalf("line %d is %q, want %q", i, raw, want.Raw)
		}
		var changes evidence.Hash
		if _, err := fmt.Sscanf(row.Changes, "%x", (*hexHash)(&changes)); err != nil {
			t.Fatal(err)
		}
		entry, err := evidence.AppendEntry(nil, row.ID, want.RawSum, changes)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(hashes(row.Proof), int64(c.Size), tlog.Hash(c.Root), row.Index, tlog.Hash(evidence.Leaf(entry))); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
	}
	stamps := 0
	for name, body := range all {
		if !strings.HasSuffix(name, ".json") || !strings.HasPrefix(name, "timestamps/") {
			continue
		}
		var proof [][]byte
		old, err := evidence.ParseCheckpoint([]byte(all[strings.TrimSuffix(name, "json")+"txt"]))
		if err := errorOf(err, json.Unmarshal([]byte(body), &proof)); err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(hashes(proof), int64(c.Size), tlog.Hash(c.Root), int64(old.Size), tlog.Hash(old.Root)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stamps++
	}
	if stamps != 6 {
		t.Errorf("%d stamps", stamps)
	}
}

func errorOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// hexHash is scanned from hex.
type hexHash evidence.Hash

func (h *hexHash) Scan(state fmt.ScanState, _ rune) error {
	var b []byte
	token, err := state.Token(true, nil)
	if err == nil {
		_, err = fmt.Sscanf(string(token), "%x", &b)
	}
	copy(h[:], b)
	return err
}

func hashes(all [][]byte) []tlog.Hash {
	list := make([]tlog.Hash, len(all))
	for i, h := range all {
		list[i] = tlog.Hash(h)
	}
	return list
}

// TestExportIsDeterministic but for the time at which it is made.
func TestExportIsDeterministic(t *testing.T) {
	t.Parallel()
	s := newSource(300)
	one, two := s.export(t), s.export(t)
	if !bytes.Equal(one, two) {
		t.Error("the same input makes two ZIPs")
	}
	s.request.Now = s.request.Now.Add(time.Hour)
	later := files(t, s.export(t))
	for name, content := range files(t, one) {
		if same := later[name] == content; same != (name != "export.json" && name != "report.html" && name != "VERIFY.md" && name != "SHA256SUMS") {
			t.Errorf("%s an hour later: the same: %t", name, same)
		}
	}
}

// TestCells: a spreadsheet shows what the event says and runs nothing of it.
func TestCells(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"plain": "plain", "": "", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "\"'\rx\"", "\nx": "\"'\nx\"",
		"＝1": "'＝1", "a=b": "a=b", "a,b": `"a,b"`, `say "x"`: `"say ""x"""`, "a\r\nb": "\"a\r\nb\"", "a\xffb\xfe": "a\ufffdb\ufffd",
		`="x"`:                       `"'=""x"""`,
		strings.Repeat("é", 32001):   strings.Repeat("é", 32000) + "… (32001 characters)",
		"=" + strings.Repeat("é", 9): "'=" + strings.Repeat("é", 9),
	} {
		if got := string(appendCell(nil, value)); got != want {
			t.Errorf("%.40q is %.60q; want %.60q", value, got, want)
		}
	}
	all := files(t, newSource(30).export(t))
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(all["changes.csv"], "\ufeff"))).ReadAll()
	if err != nil || len(rows) < 30 || rows[1][13] != "'"+hostile || rows[1][23] != "a=1; b=2" || rows[1][22] != "10.0.0.1; 10.0.0.2" {
		t.Errorf("%d rows, %v: %q", len(rows), err, rows[1])
	}
	if n := strings.Count(all["changes.csv"], "\r\n"); n != len(rows) {
		t.Errorf("%d lines of %d rows end as they should", n, len(rows))
	}
}

// TestReportSaysWhatIsNotThere, and nothing of an event gets out of its cell.
func TestReportSaysWhatIsNotThere(t *testing.T) {
	t.Parallel()
	s := newSource(400)
	s.erased = []Erased{{"gone-1", json.RawMessage(`{"who":"dpo@acme","when":"2026-03-09T10:00:00Z","why":"Art. 17, ticket 4711"}`)}, {"gone-2", json.RawMessage(`["<script>"]`)}}
	page := files(t, s.export(t))["report.html"]
	for _, want := range []string{
		"400 events, each of them proved; not all time or events are covered", "interval expired from API retention", "95.8 %", "not read yet",
		"dpo@acme", "Art. 17, ticket 4711", "Master Admin", "all divisions", "this page and the other files are not", "Events by day",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if strings.Contains(page, "<script") {
		t.Error("an event's text is markup")
	}
	s.erased, s.coverage = nil, `{"query:*":{"covered":[["2026-01-01T00:00:00.000Z","2026-04-01T00:00:00.000Z"]],"wanted":[],"gaps":[]}}`
	if page := files(t, s.export(t))["report.html"]; !strings.Contains(page, "400 events, each of them proved; all time of the interval was read") {
		t.Error("a whole interval is not called whole")
	}
	s.coverage = `{"omitted":{"bytes":300000,"sha256":"00"}}`
	if page := files(t, s.export(t))["report.html"]; !strings.Contains(page, "Which time was read is not known") {
		t.Error("coverage that is left out is not said to be unknown")
	}
	s.report.OK, s.report.Counts = false, map[evidence.Kind]int{evidence.Missing: 3000}
	s.report.Findings = []evidence.Finding{{Kind: evidence.Missing, Index: 7, ID: "x", Detail: "its raw record is gone"}}
	if page := files(t, s.export(t))["report.html"]; !strings.Contains(page, "Something in Kafka is not as it was published") || !strings.Contains(page, "The first 1 faults of 3,000") {
		t.Error("faults are not shown")
	}
}

// TestSumsAreSigned where there is a key, and name every other file.
func TestSumsAreSigned(t *testing.T) {
	t.Parallel()
	s := newSource(60)
	if _, ok := files(t, s.export(t))["SHA256SUMS.note"]; ok {
		t.Error("a note without a key")
	}
	secret, public, err := evidence.GenerateKey("acme", nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.request.Signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	all := files(t, s.export(t))
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(all["SHA256SUMS.note"]), note.VerifierList(verifier))
	if want := fmt.Sprintf("genesys-audit-connector/acme/export\nsha256:%x\n", evidence.HashOf([]byte(all["SHA256SUMS"]))); err != nil || n.Text != want {
		t.Errorf("%v; %+v", err, n)
	}
	for name, content := range all {
		if line := fmt.Sprintf("%x  %s\n", evidence.HashOf([]byte(content)), name); !strings.HasPrefix(name, "SHA256SUMS") && !strings.Contains(all["SHA256SUMS"], line) {
			t.Errorf("SHA256SUMS lacks %q", line)
		}
	}
}

// TestADamagedLogProvesNothing, and the report says so.
func TestADamagedLogProvesNothing(t *testing.T) {
	t.Parallel()
	e, err := New(t.TempDir(), newSource(1).request)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Finish(io.Discard, Outcome{Report: &evidence.Report{}}); err != ErrNothing {
		t.Errorf("an empty log: %v", err)
	}
	s := newSource(10)
	log, err := evidence.Open("acme", nil, evidence.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		log.Begin()
		if err := log.Append("x", evidence.Hash{}, evidence.Hash{}); err != nil {
			t.Fatal(err)
		}
		sealed, err := log.Seal(day, json.RawMessage("{}"))
		if err != nil {
			t.Fatal(err)
		}
		log.Commit()
		if sealed.Record.First == 0 {
			continue // lost
		}
		if err := e.Record(&sealed.Record); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Event(s.event(rand.New(rand.NewPCG(1, 2)), 1)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := e.Finish(&out, Outcome{Report: &evidence.Report{}}); err != nil {
		t.Fatal(err)
	}
	all := files(t, out.Bytes())
	if !strings.Contains(all["report.html"], "nothing can be proved") || strings.Contains(all["evidence.jsonl"], "proof") {
		t.Errorf("%s", all["evidence.jsonl"])
	}
}

// TestNothingIsLeftBehind in the folder where it is made.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := New(dir, newSource(1).request)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestAnswersAreDER, whatever the token's size.
func TestAnswersAreDER(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 117, 118, 119, 246, 5000, 70000} {
		token, err := asn1.Marshal(bytes.Repeat([]byte{1}, size))
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Status struct{ Status int }
			Token  []byte
		}
		if rest, err := asn1.Unmarshal(answer(token), &got); err != nil || len(rest) > 0 || len(got.Token) != size {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
