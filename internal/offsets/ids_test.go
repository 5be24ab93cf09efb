package offsets

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"genesys-audit-connector/internal/audit"
)

func never(time.Time) bool { return false }

// uuid is the n-th of a sequence of ids without a pattern.
func uuid(n int) (u [16]byte) {
	binary.BigEndian.PutUint64(u[:8], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(u[8:], uint64(n)*0xbf58476d1ce4e5b9+1)
	return u
}

// anyID makes ids of all sorts, often the same ones.
func anyID(r *rand.Rand, of int) string {
	canonical := audit.FormatUUID(uuid(r.IntN(of)))
	switch r.IntN(8) {
	case 0:
		return strings.ToUpper(canonical)
	case 1:
		return "sha256:" + canonical + canonical
	case 2:
		return strings.Repeat("é\n/\x00", 1+r.IntN(100))
	case 3:
		return string(rune('a' + r.IntN(26)))
	case 4: // nearly canonical
		b := []byte(canonical)
		b[r.IntN(36)] = "-gG0 \xff"[r.IntN(6)]
		return string(b)
	default:
		return canonical
	}
}

func TestIDsAgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		s, model := new(IDs), make(map[string]int64)
		of := []int{10, 1000, 60_000}[seed%3]
		for i := range 60_000 {
			id := anyID(r, of)
			// The test first grows, then shrinks.
			if r.IntN(100) < []int{70, 25}[i/30_000] {
				ms := r.Int64N(100_000) - 1000
				s.Add(id, time.UnixMilli(ms).Add(time.Duration(r.IntN(1_000_000))))
				model[id] = ms
			} else {
				s.Remove(id)
				delete(model, id)
			}
			probe := anyID(r, of)
			if _, want := model[probe]; s.Has(probe) != want {
				t.Fatalf("seed %d, step %d: Has(%q) is %v", seed, i, probe, !want)
			}
			if s.Len() != len(model) {
				t.Fatalf("seed %d, step %d: %d ids, want %d", seed, i, s.Len(), len(model))
			}
			if i%20_000 == 19_999 {
				compareIDs(t, s, model)
				forget(t, r, s, model)
				compareIDs(t, s, model)
			}
		}
	}
}

// compareIDs compares all ids and their times.
func compareIDs(t *testing.T, s *IDs, model map[string]int64) {
	t.Helper()
	for id := range model {
		if !s.Has(id) {
			t.Fatalf("%q is not there", id)
		}
	}
	got := make(map[string]int64, len(model))
	for id, ms := range s.all() {
		got[id] = ms
	}
	if len(got) != len(model) {
		t.Fatalf("%d ids, want %d", len(got), len(model))
	}
	for id, ms := range got {
		if want, ok := model[id]; !ok || ms != want {
			t.Fatalf("%q at %d, want %d (%v)", id, ms, want, ok)
		}
	}
}

// all walks over everything that is remembered, and checks the structure.
func (s *IDs) all() func(yield func(string, int64) bool) {
	return func(yield func(string, int64) bool) {
		pages := 0
		for i := 0; i < len(s.dir); pages++ {
			p := s.dir[i]
			for j := range p.n {
				e := &p.entries[j]
				if got := s.page(e.hash()); got != p {
					panic("an id stands in another page than it is looked for")
				}
				if e.ms() < p.oldest {
					panic("an id is older than its page's oldest")
				}
				if !yield(p.id(e), e.ms()) {
					return
				}
			}
			i += 1 << (s.depth - p.depth)
		}
		if pages != s.pages {
			panic(fmt.Sprintf("%d pages, %d are counted", pages, s.pages))
		}
	}
}

// forget removes, in batches, what is before a time and not kept.
func forget(t *testing.T, r *rand.Rand, s *IDs, model map[string]int64) {
	t.Helper()
	limit := r.Int64N(100_000)
	keep := func(at time.Time) bool { return at.UnixMilli()%7 == 0 }
	n := 1 + r.IntN(3000)
	for idle := 0; idle < 3; idle++ { // one call meets all, but for n
		var batch []string
		s.Before(time.UnixMilli(limit), n, keep, func(id string) { batch = append(batch, id) })
		if len(batch) > n {
			t.Fatalf("%d ids where %d were asked for", len(batch), n)
		}
		for _, id := range batch {
			ms, ok := model[id]
			if !ok || ms >= limit || ms%7 == 0 {
				t.Fatalf("%q at %d (%v) is not to be forgotten before %d", id, ms, ok, limit)
			}
			s.Remove(id)
			delete(model, id)
			idle = 0
		}
	}
	for id, ms := range model {
		if ms < limit && ms%7 != 0 {
			t.Fatalf("%q at %d was not found before %d", id, ms, limit)
		}
	}
}

func TestIDsBeforeIsExact(t *testing.T) {
	s := new(IDs)
	at := time.UnixMilli(1000)
	for _, id := range []string{"x", audit.FormatUUID(uuid(1))} {
		s.Add(id, at.Add(time.Nanosecond)) // cut to 1000 ms
	}
	find := func(limit time.Time) (n int) {
		s.Before(limit, 10, never, func(string) { n++ })
		return n
	}
	if got := find(at); got != 0 {
		t.Errorf("%d ids before their own time", got)
	}
	if got := find(at.Add(time.Nanosecond)); got != 2 {
		t.Errorf("%d ids before a nanosecond after their time, want 2", got)
	}
	s.Before(at.Add(time.Hour), 0, never, func(id string) { t.Errorf("%q was not asked for", id) })
	s.Before(at.Add(time.Hour), 10, func(at time.Time) bool {
		if at.Location() != time.UTC || at.UnixMilli() != 1000 {
			t.Errorf("keep was asked about %v", at)
		}
		return true
	}, func(id string) { t.Errorf("%q was kept", id) })
	// An older time for the same id counts from now on; so does a newer one.
	s.Add("x", time.UnixMilli(10))
	if got := find(time.UnixMilli(11)); got != 1 {
		t.Errorf("%d ids after x became older", got)
	}
	s.Add("x", time.UnixMilli(5000))
	if got := find(time.UnixMilli(2000)); got != 1 {
		t.Errorf("%d ids after x became newer", got)
	}
}

func TestIDsTimesAtTheEdges(t *testing.T) {
	s := new(IDs)
	for i, at := range []time.Time{{}, time.UnixMilli(0), time.UnixMilli(-1), time.UnixMilli(math.MinInt64), time.UnixMilli(math.MaxInt64)} {
		id := audit.FormatUUID(uuid(i))
		s.Add(id, at)
		s.Add("text "+id, at)
		if !s.Has(id) || !s.Has("text "+id) {
			t.Errorf("an id at %v is lost", at)
		}
	}
	s.Add("00000000-0000-0000-0000-000000000000", time.UnixMilli(math.MinInt64))
	if !s.Has("00000000-0000-0000-0000-000000000000") || s.Len() != 11 {
		t.Errorf("the nil UUID is lost; %d ids", s.Len())
	}
}

func FuzzIDs(f *testing.F) {
	f.Add("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "0F1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", int64(0))
	f.Add("", "\x00", int64(math.MinInt64))
	f.Add("a/b\n", strings.Repeat("x", 600), int64(-1))
	f.Fuzz(func(t *testing.T, a, b string, ms int64) {
		s := new(IDs)
		s.Add(a, time.UnixMilli(ms))
		if !s.Has(a) || s.Has(b) != (a == b) {
			t.Fatalf("Has(%q) %v, Has(%q) %v", a, s.Has(a), b, s.Has(b))
		}
		s.Add(b, time.UnixMilli(ms))
		s.Remove(a)
		if s.Has(a) || s.Has(b) != (a != b) {
			t.Fatalf("after Remove: Has(%q) %v, Has(%q) %v", a, s.Has(a), b, s.Has(b))
		}
		for id := range s.all() {
			if id != b {
				t.Fatalf("holds %q", id)
			}
		}
	})
}

func TestIDsDoNotAllocate(t *testing.T) {
	s := new(IDs)
	ids := []string{audit.FormatUUID(uuid(1)), "sha256:" + strings.Repeat("ab", 32), strings.Repeat("long", 100)}
	at := time.UnixMilli(1)
	for _, id := range ids {
		s.Add(id, at)
	}
	for _, id := range ids {
		if n := testing.AllocsPerRun(100, func() { s.Has(id); s.Add(id, at) }); n != 0 {
			t.Errorf("%q: %v allocations", id, n)
		}
	}
}

// peakBytes fills s with n ids and returns the most that the heap ever held
// because of it, for each id remembered at that time from a tenth of n on, and
// what it holds in the end. It leaves the garbage collector as it is set.
func peakBytes(s *IDs, n int) (peak, end float64) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	runtime.GC()
	base := heap()
	every, text := max(n/500, 1), make([]byte, 36)
	for i := range n {
		s.add(view(audit.AppendUUID(text[:0], uuid(i))), int64(i)) // a string of each would be in the figures
		if i >= n/10 && i%every == 0 {
			peak = max(peak, (heap()-base)/float64(i+1))
		}
	}
	runtime.GC()
	return peak, (heap() - base) / float64(n)
}

func TestIDsMemory(t *testing.T) {
	s := new(IDs)
	const n = 1_000_000
	peak, end := peakBytes(s, n)
	t.Logf("%d ids: %.1f bytes each, %.1f at the peak; Bytes says %.1f", n, end, peak, float64(s.Bytes())/n)
	if peak > 64 {
		t.Errorf("%.1f bytes for each id at the peak", peak)
	}
	if own := float64(s.Bytes()) / n; math.Abs(own-end) > 2 {
		t.Errorf("Bytes says %.1f for each id, the heap %.1f", own, end)
	}
	// What is forgotten gives its memory back.
	for i := range n {
		s.Remove(audit.FormatUUID(uuid(i)))
	}
	if left := s.Bytes(); left > 3<<20 {
		t.Errorf("%d bytes for %d ids", left, s.Len())
	}
}

func TestTextsGiveTheirBytesBack(t *testing.T) {
	s := new(IDs)
	name := func(i int) string { return fmt.Sprintf("sha256:%064x", i) }
	const n = 20_000
	for i := range 10 * n { // a window that moves on
		s.Add(name(i), time.UnixMilli(int64(i)))
		if i >= n {
			s.Remove(name(i - n))
		}
	}
	if each := s.Bytes() / n; each > 71+71+2*64 {
		t.Errorf("%d bytes for each id of 71", each)
	}
	for i := 9 * n; i < 10*n; i++ {
		if !s.Has(name(i)) {
			t.Fatalf("%s is lost", name(i))
		}
		s.Remove(name(i))
	}
	if left := s.Bytes(); s.Len() != 0 || left > 3<<20 {
		t.Errorf("%d bytes for %d ids", left, s.Len())
	}
}

// TestIDsBeforeIsCheap counts what one call looks at when nothing is to be found.
func TestIDsBeforeIsCheap(t *testing.T) {
	s := new(IDs)
	const n = 1_000_000
	for i := range n {
		s.Add(audit.FormatUUID(uuid(i)), time.UnixMilli(int64(i)))
	}
	looked := 0
	s.Before(time.UnixMilli(n), n, func(time.Time) bool { looked++; return true }, nil)
	if looked == 0 || looked > beforeBudget+pageSize {
		t.Errorf("one call looked at %d of %d ids", looked, n)
	}
	for calls := 1; looked < n; calls++ {
		if calls > 20 {
			t.Fatalf("%d calls met only %d of %d ids", calls, looked, n)
		}
		s.Before(time.UnixMilli(n), n, func(time.Time) bool { looked++; return true }, nil)
	}
}

// Exact means that ids are told apart even when their hashes are the same.
func TestPageTellsEqualHashesApart(t *testing.T) {
	p := newPage(0)
	names := []name{
		{hash: 7, text: "a", kind: textKind}, {hash: 7, text: "b", kind: textKind}, {hash: 7, text: "", kind: textKind},
		{hash: 7, uuid: uuid(1), kind: uuidKind}, {hash: 7, uuid: uuid(2), kind: uuidKind},
	}
	for i := range names {
		if p.find(&names[i]) >= 0 {
			t.Fatalf("%+v is there before it was added", names[i])
		}
		p.add(&names[i], int64(i))
	}
	// A UUID whose bytes are the key of a text is another id.
	if p.find(&name{hash: 7, uuid: p.entries[0].key, kind: uuidKind}) >= 0 {
		t.Error("a text is taken for a UUID")
	}
	for i := range names {
		if at := p.find(&names[i]); at != i || p.entries[at].ms() != int64(i) {
			t.Errorf("%+v is found at %d", names[i], at)
		}
	}
}

// TestIDsBeforePassesYoungPages: what was looked at once and is young is not looked at again.
func TestIDsBeforePassesYoungPages(t *testing.T) {
	s := new(IDs)
	const n = 10_000
	for i := range n {
		s.Add(audit.FormatUUID(uuid(i)), time.UnixMilli(int64(i%2))) // old and young on every page
	}
	looked := 0
	keep := func(time.Time) bool { looked++; return false }
	var old []string
	s.Before(time.UnixMilli(1), n, keep, func(id string) { old = append(old, id) })
	if looked != n/2 || len(old) != n/2 {
		t.Fatalf("asked about %d and found %d of %d", looked, len(old), n/2)
	}
	for _, id := range old {
		s.Remove(id)
	}
	s.Before(time.UnixMilli(1), n, keep, func(id string) { t.Errorf("%q is young", id) })
	for i := range s.dir {
		if s.dir[i].oldest < 1 {
			t.Fatalf("page %d would be looked at again: oldest %d", i, s.dir[i].oldest)
		}
	}
}

func TestPageFillsItsSizeClass(t *testing.T) {
	const header = 8 // the runtime's mallocHeaderSize, for what holds pointers and more than 512 bytes
	if size := unsafe.Sizeof(page{}) + header; size > pageClass || size+unsafe.Sizeof(entry{})+1 <= pageClass {
		t.Errorf("a page of %d ids has %d bytes of %d", pageSize, size, pageClass)
	}
}

func benchmarkIDs(b *testing.B, n int) {
	for b.Loop() {
		s := new(IDs)
		peak, end := peakBytes(s, n)
		b.ReportMetric(peak, "peakB/id")
		b.ReportMetric(end, "B/id")
		began := time.Now()
		const calls = 20
		for range calls {
			s.Before(time.UnixMilli(int64(n)), 5000, func(time.Time) bool { return true }, func(string) {})
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/calls, "µs/Before")
	}
}

func BenchmarkIDsMemory1M(b *testing.B)  { benchmarkIDs(b, 1_000_000) }
func BenchmarkIDsMemory10M(b *testing.B) { benchmarkIDs(b, 10_000_000) }

func BenchmarkIDsHas(b *testing.B) {
	s := new(IDs)
	const n = 1_000_000
	ids := make([]string, 2*n) // half of them are there
	for i := range ids {
		ids[i] = audit.FormatUUID(uuid(i))
		if i%2 == 0 {
			s.Add(ids[i], time.UnixMilli(0))
		}
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	i := 0
	for b.Loop() {
		s.Has(ids[i%len(ids)])
		i++
	}
}
