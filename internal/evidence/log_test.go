package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var day = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

// tree is the same log by another library, which keeps every hash.
type tree struct {
	hashes []tlog.Hash
	size   int64
}

func (r *tree) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		out[i] = r.hashes[n]
	}
	return out, nil
}

func (r *tree) add(t *testing.T, entry []byte) {
	t.Helper()
	more, err := tlog.StoredHashes(r.size, entry, r)
	if err != nil {
		t.Fatal(err)
	}
	r.hashes = append(r.hashes, more...)
	r.size++
}

func (r *tree) root(t *testing.T) Hash {
	t.Helper()
	h, err := tlog.TreeHash(r.size, r)
	if err != nil {
		t.Fatal(err)
	}
	return Hash(h)
}

// entryOf is the format written out again, from what the documentation says.
func entryOf(id string, raw []byte, changes ...[]byte) []byte {
	e := binary.BigEndian.AppendUint16(nil, uint16(len(id)))
	e = append(e, id...)
	sum := sha256.Sum256(raw)
	e = append(e, sum[:]...)
	var all []byte
	for _, c := range changes {
		all = append(binary.BigEndian.AppendUint32(all, uint32(len(c))), c...)
	}
	sum = sha256.Sum256(all)
	return append(e, sum[:]...)
}

func open(t testing.TB, saved []byte, keys Keys) *Log {
	t.Helper()
	l, err := Open("acme", saved, keys)
	if err != nil {
		t.Fatal(err)
	}
	l.Begin()
	return l
}

func appendEvent(t *testing.T, l *Log, id string, raw []byte, changes ...[]byte) {
	t.Helper()
	var c Changes
	c.Reset()
	for _, v := range changes {
		c.Add(v)
	}
	if err := l.Append(id, HashOf(raw), c.Sum()); err != nil {
		t.Fatal(err)
	}
}

func seal(t *testing.T, l *Log) *Sealed {
	t.Helper()
	s, err := l.Seal(day, json.RawMessage(`{"a": "<&>"}`))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLogIsTheTreeOfItsEntries holds a log against another implementation of RFC 6962, over
// transactions of every size, some of them aborted or tried again, and terms in between.
func TestLogIsTheTreeOfItsEntries(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l, reference, saved := open(t, nil, Keys{}), &tree{}, []byte(nil)
	for range 300 {
		l.Begin()
		committed := random.IntN(4) != 0
		n := random.IntN(9)
		if first := l.Next(); first != uint64(reference.size) {
			t.Fatalf("the next entry is %d of %d", first, reference.size)
		}
		for i := range n {
			id, raw := fmt.Sprintf("event-%d-%d", reference.size, i), []byte(fmt.Sprint(random.Uint64()))
			changes := make([][]byte, random.IntN(4))
			for c := range changes {
				changes[c] = []byte(fmt.Sprint(random.Uint32()))
			}
			appendEvent(t, l, id, raw, changes...)
			if committed {
				reference.add(t, entryOf(id, raw, changes...))
			}
		}
		s := seal(t, l)
		if (s == nil) != (n == 0) {
			t.Fatalf("%d entries, sealed %v", n, s)
		}
		if !committed || n == 0 {
			continue
		}
		l.Commit()
		saved = s.State
		if want := reference.root(t); l.Newest().Root != want || l.Size() != uint64(reference.size) || !bytes.Equal(s.Record.Root, want[:]) {
			t.Fatalf("root %x of %d; want %x of %d", l.Newest().Root, l.Size(), want, reference.size)
		}
		checkRecord(t, s)
		if random.IntN(5) == 0 {
			l = open(t, saved, Keys{})
		}
	}
	if reference.size < 500 || len(saved) > 1500 {
		t.Errorf("%d entries, a state of %d bytes", reference.size, len(saved))
	}
}

func checkRecord(t *testing.T, s *Sealed) {
	t.Helper()
	value, err := json.Marshal(s.Record)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecord(s.Record.AppendKey(nil), value)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Leaves, s.Record.Leaves) || r.First != s.Record.First || r.Checkpoint != s.Record.Checkpoint {
		t.Fatalf("read back: %+v", r)
	}
}

// TestCoverageThatNoTopicTakesIsOmitted: no event waits for thousands of gaps.
func TestCoverageThatNoTopicTakesIsOmitted(t *testing.T) {
	for _, n := range []int{1000, maxCoverage + 1} {
		l := open(t, nil, Keys{})
		appendEvent(t, l, "x", nil)
		s, err := l.Seal(day, strings.Repeat("g", n))
		if err != nil {
			t.Fatal(err)
		}
		checkRecord(t, s)
		if omitted := strings.HasPrefix(string(s.Record.Coverage), `{"omitted":{"bytes":`); omitted != (n > maxCoverage) || len(s.Record.Coverage) > n+2 {
			t.Errorf("%d bytes: %.80s", n, s.Record.Coverage)
		}
	}
}

// TestDamagedStateIsRefused: a log that began anew would prove nothing of what was before.
func TestDamagedStateIsRefused(t *testing.T) {
	l := open(t, nil, Keys{})
	for i := range 5 {
		appendEvent(t, l, fmt.Sprint(i), nil)
	}
	saved := seal(t, l).State
	open(t, saved, Keys{})
	for i := range saved {
		damaged := bytes.Clone(saved)
		damaged[i] ^= 2
		again, err := Open("acme", damaged, Keys{})
		if err == nil && again.Newest().Root != l.next.Root {
			t.Errorf("byte %d (%q): taken for another log", i, saved[max(0, i-10):i])
		}
	}
	for _, text := range []string{"", "{}", `{"edge":[],"checkpoint":""}`, "null"} {
		if _, err := Open("acme", []byte(text), Keys{}); err == nil {
			t.Errorf("%q is taken for a log", text)
		}
	}
	if _, err := Open("other", saved, Keys{}); err == nil {
		t.Error("another organisation's log is taken")
	}
}

func keys(t *testing.T, n int) (signers, verifiers []string) {
	t.Helper()
	for range n {
		s, v, err := GenerateKey("acme", nil)
		if err != nil {
			t.Fatal(err)
		}
		signers, verifiers = append(signers, s), append(verifiers, v)
	}
	return signers, verifiers
}

func known(t *testing.T, lines ...string) note.Verifiers {
	t.Helper()
	list := make([]note.Verifier, len(lines))
	for i, line := range lines {
		v, err := note.NewVerifier(line)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = v
	}
	return note.VerifierList(list...)
}

// TestNewKeyIsVouchedForByTheOldOne in its first checkpoint, and in no other.
func TestNewKeyIsVouchedForByTheOldOne(t *testing.T) {
	signers, verifiers := keys(t, 3)
	step := func(l *Log) Checkpoint {
		t.Helper()
		l.Begin()
		appendEvent(t, l, "x", nil)
		seal(t, l)
		l.Commit()
		return l.Newest()
	}
	saved := func(l *Log) []byte {
		appendEvent(t, l, "y", nil)
		s := seal(t, l)
		l.Commit()
		return s.State
	}
	parse := func(text string) Keys {
		t.Helper()
		k, err := ParseKeys(text)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	l := open(t, nil, parse(signers[0]))
	c := step(l)
	if by, err := c.Verify(known(t, verifiers[0])); err != nil || len(by) != 1 {
		t.Fatalf("%v, %v", by, err)
	}
	if _, err := c.Verify(known(t, verifiers[1])); err == nil {
		t.Error("a key that has not signed is taken for one that has")
	}
	forged := c
	forged.Text = strings.Replace(c.Text, "time 2026", "time 2027", 1)
	if _, err := forged.Verify(known(t, verifiers[0])); err == nil {
		t.Error("a changed text is taken for the signed one")
	}
	l = open(t, saved(l), parse(signers[1]+"\n"+signers[0]))
	for i, want := range []int{2, 1, 1} {
		c := step(l)
		if by, err := c.Verify(known(t, verifiers[:2]...)); err != nil || len(by) != want {
			t.Errorf("checkpoint %d is signed by %v; want %d: %v", i, by, want, err)
		}
	}
	for _, text := range []string{"secret", signers[0] + "x", strings.Join(signers, " "), verifiers[0]} {
		if _, err := ParseKeys(text); err == nil {
			t.Errorf("%.20q is taken for a key", text)
		} else if strings.Contains(err.Error(), signers[0][20:]) {
			t.Error("an error shows the key")
		}
	}
}

// TestRecordsThatContradictThemselvesAreNamed: each of them, and the key that they stand under.
func TestRecordsThatContradictThemselvesAreNamed(t *testing.T) {
	l := open(t, nil, Keys{})
	for i := range 3 {
		appendEvent(t, l, fmt.Sprint(i), nil)
	}
	s := seal(t, l)
	checkRecord(t, s)
	for name, change := range map[string]func(*Record){
		"another first entry": func(r *Record) { r.First++ },
		"another count":       func(r *Record) { r.Count++ },
		"a leaf less":         func(r *Record) { r.Leaves = r.Leaves[:64]; r.Count-- },
		"another size":        func(r *Record) { r.Size++ },
		"another root":        func(r *Record) { r.Root = make([]byte, 32) },
		"another coverage":    func(r *Record) { r.Coverage = json.RawMessage(`{}`) },
		"no checkpoint":       func(r *Record) { r.Checkpoint = "" },
		"another's":           func(r *Record) { r.Org = "other" },
	} {
		r := s.Record
		change(&r)
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRecord(s.Record.AppendKey(nil), value); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestCheckpointIsReadExactly: what is printed is what is parsed, and nothing else.
func TestCheckpointIsReadExactly(t *testing.T) {
	c := Checkpoint{Origin: Origin("acme"), Size: 7, Root: HashOf([]byte("r")), Time: day, Coverage: HashOf(nil)}
	text := c.body()
	read, err := ParseCheckpoint([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if read.Text = ""; read != c {
		t.Errorf("%+v; want %+v", read, c)
	}
	for _, wrong := range []string{
		"", "x", text + "more\n", strings.Replace(text, "time ", "tim ", 1), strings.Replace(text, "\n7\n", "\n07\n", 1),
		strings.Replace(text, "sha256:", "", 1), strings.TrimSuffix(text, "\n"), strings.Replace(text, ":00.000Z", ":00Z", 1),
	} {
		if _, err := ParseCheckpoint([]byte(wrong)); err == nil {
			t.Errorf("taken: %q", wrong)
		}
	}
}

// BenchmarkAppend is the cost of the log for an event with a raw record whose hash is
// known, and two change records of 300 bytes, in steps of 1,000.
func BenchmarkAppend(b *testing.B) {
	l, err := Open("acme", nil, Keys{})
	if err != nil {
		b.Fatal(err)
	}
	change, raw := make([]byte, 300), HashOf(nil)
	var c Changes
	l.Begin()
	b.ReportAllocs()
	bytes, n := 0, 0
	for b.Loop() {
		c.Reset()
		c.Add(change)
		c.Add(change)
		if err := l.Append("c7cf1a2c-5d5b-4b0f-9c7e-0d6f0e8a1b2c", raw, c.Sum()); err != nil {
			b.Fatal(err)
		}
		if n++; n%1000 == 0 {
			s, err := l.Seal(day, json.RawMessage(`{}`))
			if err != nil {
				b.Fatal(err)
			}
			value, err := json.Marshal(s.Record)
			if err != nil {
				b.Fatal(err)
			}
			bytes += len(value)
			l.Commit()
		}
	}
	b.ReportMetric(float64(bytes)/float64(max(1, n/1000*1000)), "bytes/event")
}
