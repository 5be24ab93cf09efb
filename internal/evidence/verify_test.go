package evidence

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what stands in Kafka: the log, and items of three partitions each.
type world struct {
	log          []LogItem
	raw, changes [3][]Item
	begin        [3]int64 // of the raw partitions
	beginChanges int64    // of the first changes partition
	checkpoints  []Checkpoint
	keys         Keys
	known        []string
}

// newWorld publishes events in transactions of one to five.
func newWorld(t testing.TB, k Keys, salt string) *world {
	t.Helper()
	w := &world{keys: k}
	l := open(t, nil, k)
	for step := range 40 {
		l.Begin()
		for n := range step%5 + 1 {
			id := fmt.Sprintf("event-%d-%d", step, n)
			var c Changes
			c.Reset()
			c.Add([]byte("change of " + id))
			index, at := int64(l.Next()), (step*7+n*3)%3
			raw := Item{Index: index, ID: id, Sum: HashOf([]byte(salt + id)), Records: 1, Offset: int64(len(w.raw[at]))}
			if err := l.Append(id, raw.Sum, c.Sum()); err != nil {
				t.Fatal(err)
			}
			w.raw[at] = append(w.raw[at], raw)
			w.changes[at] = append(w.changes[at], Item{Index: index, ID: id, Sum: c.Sum(), Records: 1, Offset: raw.Offset})
		}
		s, err := l.Seal(day.Add(time.Duration(step)*time.Minute), json.RawMessage(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		value, err := json.Marshal(s.Record)
		if err != nil {
			t.Fatal(err)
		}
		w.log = append(w.log, LogItem{Key: s.Record.AppendKey(nil), Value: value, Offset: int64(step)})
		l.Commit()
		w.checkpoints = append(w.checkpoints, l.Newest())
	}
	return w
}

func list[T any](items []T) func() (T, error) {
	return func() (item T, err error) {
		if len(items) == 0 {
			return item, io.EOF
		}
		item, items = items[0], items[1:]
		return item, nil
	}
}

func (w *world) verify(t *testing.T, checkpoints ...Checkpoint) *Report {
	t.Helper()
	in := Input{Org: "acme", Log: list(w.log), Checkpoints: checkpoints}
	for p := range w.raw {
		in.Raw = append(in.Raw, Partition{fmt.Sprint("raw ", p), w.begin[p], list(w.raw[p])})
		in.Changes = append(in.Changes, Partition{Name: fmt.Sprint("changes ", p), Next: list(w.changes[p])})
	}
	in.Changes[0].Begin = w.beginChanges
	if w.known != nil {
		in.Known = known(t, w.known...)
	}
	r, err := Verify(t.Context(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func counts(kinds ...any) map[Kind]int {
	m := map[Kind]int{}
	for i := 0; i < len(kinds); i += 2 {
		m[kinds[i].(Kind)] = kinds[i+1].(int)
	}
	return m
}

// TestEveryTamperingIsFound, and named as what it is; a whole log passes.
func TestEveryTamperingIsFound(t *testing.T) {
	lie := HashOf([]byte("a lie"))
	for name, c := range map[string]struct {
		tamper func(w *world)
		want   map[Kind]int
	}{
		"nothing":                      {func(*world) {}, counts()},
		"a raw record removed":         {func(w *world) { w.raw[1] = slices.Delete(w.raw[1], 10, 11) }, counts(Missing, 1)},
		"the last raw record removed":  {func(w *world) { w.raw[0] = w.raw[0][:len(w.raw[0])-1] }, counts(Missing, 1)},
		"change records removed":       {func(w *world) { w.changes[1] = slices.Delete(w.changes[1], 10, 11) }, counts(Missing, 1)},
		"both removed":                 {func(w *world) { w.raw[1], w.changes[1] = w.raw[1][:5], w.changes[1][:5] }, nil},
		"a raw value altered":          {func(w *world) { w.raw[2][3].Sum, w.raw[2][3].Wrong = lie, true }, counts(Altered, 1)},
		"raw value and header altered": {func(w *world) { w.raw[2][3].Sum = lie }, counts(Altered, 1)},
		"an id altered":                {func(w *world) { w.raw[2][3].ID = "another" }, counts(Altered, 1)},
		"change records altered":       {func(w *world) { w.changes[2][3].Sum = lie }, counts(Altered, 1)},
		"two records swapped":          {func(w *world) { p := w.raw[0]; p[4], p[5] = p[5], p[4] }, counts(Reordered, 1)},
		"two indexes swapped":          {func(w *world) { p := w.raw[0]; p[4].Index, p[5].Index = p[5].Index, p[4].Index }, counts(Altered, 2, Reordered, 1)},
		"a record moved to the end":    {func(w *world) { p := w.raw[0]; w.raw[0] = append(slices.Delete(slices.Clone(p), 4, 5), p[4]) }, counts(Reordered, 1)},
		"a record doubled at the end":  {func(w *world) { w.raw[0] = append(w.raw[0], w.raw[0][4]) }, counts(Twice, 1)},
		"a record doubled in place":    {func(w *world) { w.raw[0] = slices.Insert(w.raw[0], 5, w.raw[0][4]) }, counts(Twice, 1)},
		"a record doubled elsewhere":   {func(w *world) { w.raw[1] = append(w.raw[1], w.raw[0][4]) }, counts(Twice, 1)},
		"a record added":               {func(w *world) { w.raw[0] = append(w.raw[0], Item{Index: -1, ID: "x"}) }, counts(Inserted, 1)},
		"a record added in the middle": {func(w *world) { w.raw[0] = slices.Insert(w.raw[0], 5, Item{Index: -1, ID: "x"}) }, counts(Inserted, 1)},
		"one of an entry to come":      {func(w *world) { w.raw[0] = append(w.raw[0], Item{Index: 5000, ID: "x"}) }, counts(Inserted, 1)},
		"the same in the middle":       {func(w *world) { w.raw[0] = slices.Insert(w.raw[0], 5, Item{Index: 5000, ID: "x"}) }, counts(Inserted, 1)},
		"change records added":         {func(w *world) { w.changes[0] = append(w.changes[0], Item{Index: 5000, ID: "x"}) }, counts(Inserted, 1)},
		"a record of the log removed":  {func(w *world) { w.log = slices.Delete(w.log, 7, 8) }, counts(Damaged, 7)},
		"one altered": {func(w *world) {
			w.log[7].Value = []byte(strings.Replace(string(w.log[7].Value), `"leaves":"`, `"leaves":"AA`, 1))
		}, nil},
		"two of them swapped":        {func(w *world) { w.log[7], w.log[8] = w.log[8], w.log[7] }, nil},
		"one of them doubled":        {func(w *world) { w.log = append(w.log, w.log[8]) }, counts(Damaged, 1)},
		"older ones removed by time": {func(w *world) { w.raw[0], w.begin[0] = w.raw[0][6:], 6 }, counts()},
		"a hole behind those":        {func(w *world) { w.raw[0], w.begin[0] = slices.Delete(w.raw[0][6:], 9, 10), 6 }, counts(Missing, 1)},
		"half an event removed by time": {func(w *world) {
			w.changes[0], w.beginChanges = w.changes[0][6:], 6
			w.changes[0][0].Sum, w.changes[0][0].Rest = lie, true
		}, counts()},
		"the same of a whole event": {func(w *world) {
			w.changes[0], w.beginChanges = w.changes[0][6:], 6
			w.changes[0][0].Sum = lie
		}, counts(Altered, 1)},
		"a hole beside a shortened partition": {func(w *world) {
			w.raw[0], w.begin[0] = w.raw[0][20:], 20
			w.raw[1] = slices.Delete(w.raw[1], 4, 5)
		}, counts(Missing, 1)},
		"a hole of both beside it": {func(w *world) {
			w.raw[0], w.begin[0] = w.raw[0][20:], 20
			w.raw[1], w.changes[1] = slices.Delete(w.raw[1], 4, 5), slices.Delete(w.changes[1], 4, 5)
		}, counts(Missing, 1)},
		"a raw value altered whose changes are expired": {func(w *world) {
			w.changes[0], w.beginChanges = w.changes[0][6:], 6
			w.raw[0][2].Sum, w.raw[0][2].Wrong = lie, true
		}, counts(Altered, 1)},
		"the header sha256 altered":        {func(w *world) { w.raw[2][3].Wrong = true }, counts(Altered, 1)},
		"a change record's key altered":    {func(w *world) { w.changes[2][3].ID = "another" }, counts(Altered, 1)},
		"a change record's number altered": {func(w *world) { w.changes[2][3].Wrong = true }, counts(Altered, 1)},
		"records of before the log":        {func(w *world) { w.raw[0] = slices.Insert(w.raw[0], 0, Item{Index: -1, ID: "old"}) }, counts()},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Keys{}, "")
			c.tamper(w)
			r := w.verify(t)
			if c.want != nil && !maps.Equal(r.Counts, c.want) || c.want == nil && r.OK {
				t.Errorf("%v; want %v: %+v", r.Counts, c.want, r.Findings)
			}
			if r.OK != (len(r.Counts) == 0) {
				t.Errorf("ok is %t", r.OK)
			}
			if r.OK && r.Verified+r.Expired != r.Size {
				t.Errorf("%d and %d of %d", r.Verified, r.Expired, r.Size)
			}
		})
	}
}

// TestCheckpointsKeptElsewhereShowAnotherLog: whoever writes Kafka anew, with the key, is
// found out by a checkpoint of before; what came after it he may write as he likes.
func TestCheckpointsKeptElsewhereShowAnotherLog(t *testing.T) {
	signers, verifiers := keys(t, 2)
	k, err := ParseKeys(signers[0])
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, k, "")
	w.known = verifiers[:1]
	kept := []Checkpoint{w.checkpoints[3], w.checkpoints[20], w.checkpoints[39]}
	if r := w.verify(t, kept...); !r.OK || r.Checkpoints != 3 {
		t.Errorf("a whole log: %v, %d checkpoints", r.Findings, r.Checkpoints)
	}
	rewritten := newWorld(t, k, "a lie")
	rewritten.known = w.known
	if r := rewritten.verify(t); !r.OK {
		t.Errorf("a log that nobody can tell from a true one: %v", r.Findings)
	}
	if r := rewritten.verify(t, kept...); !maps.Equal(r.Counts, counts(Inconsistent, 3)) {
		t.Errorf("rewritten: %v", r.Findings)
	}
	cut := *w
	cut.log = w.log[:30]
	for p := range cut.raw {
		size := int64(w.checkpoints[29].Size)
		behind := func(i Item) bool { return i.Index >= size }
		cut.raw[p], cut.changes[p] = slices.DeleteFunc(slices.Clone(w.raw[p]), behind), slices.DeleteFunc(slices.Clone(w.changes[p]), behind)
	}
	if r := cut.verify(t); !r.OK {
		t.Errorf("a tail cut off that nobody knows of: %v", r.Findings)
	}
	if r := cut.verify(t, kept...); !maps.Equal(r.Counts, counts(Shorter, 1)) || r.Checkpoints != 2 {
		t.Errorf("cut: %v, %d agree", r.Findings, r.Checkpoints)
	}
	if k, err = ParseKeys(signers[1]); err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, k, "")
	other.known = w.known
	if r := other.verify(t); r.Counts[Signer] != 40 {
		t.Errorf("another key: %v", r.Counts)
	}
	foreign := w.checkpoints[3]
	foreign.Origin = Origin("other")
	if r := w.verify(t, foreign); r.OK {
		t.Error("another organisation's checkpoint is taken")
	}
}

var entries = flag.Int("entries", 200_000, "of the log that BenchmarkVerify verifies")

// BenchmarkVerify is the comparison's cost for an entry, without reading Kafka, and the
// most memory that it had: with ten million entries as with few.
func BenchmarkVerify(b *testing.B) {
	b.ReportAllocs()
	var most uint64
	for b.Loop() {
		g := &generator{tb: b, left: *entries}
		var err error
		if g.log, err = Open("acme", nil, Keys{}); err != nil {
			b.Fatal(err)
		}
		in := Input{Org: "acme", Log: g.nextLog, Raw: []Partition{{Next: g.item(&g.raw)}}, Changes: []Partition{{Next: g.item(&g.changes)}}}
		r, err := Verify(b.Context(), in, func(n uint64) {
			if n%500_000 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse+m.StackInuse)
			}
		})
		if err != nil || r.Verified != uint64(*entries) {
			b.Fatal(err, r)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(*entries), "µs/entry")
	b.ReportMetric(float64(most)/(1<<20), "MiB-peak")
}

// generator makes a log and its records while they are read.
type generator struct {
	tb           testing.TB
	log          *Log
	left         int
	records      []LogItem
	raw, changes []Item
}

const generatedStep = 1000

func (g *generator) more() bool {
	if g.left <= 0 {
		return false
	}
	g.left -= generatedStep
	g.log.Begin()
	for range generatedStep {
		item := Item{Index: int64(g.log.Next()), ID: "c7cf1a2c-5d5b-4b0f-9c7e-0d6f0e8a1b2c", Records: 1}
		if err := g.log.Append(item.ID, item.Sum, item.Sum); err != nil {
			g.tb.Fatal(err)
		}
		g.raw, g.changes = append(g.raw, item), append(g.changes, item)
	}
	s, err := g.log.Seal(day, json.RawMessage(`{}`))
	if err != nil {
		g.tb.Fatal(err)
	}
	value, err := json.Marshal(s.Record)
	if err != nil {
		g.tb.Fatal(err)
	}
	g.records = append(g.records, LogItem{Key: s.Record.AppendKey(nil), Value: value})
	g.log.Commit()
	return true
}

func (g *generator) nextLog() (LogItem, error) {
	if len(g.records) == 0 && !g.more() {
		return LogItem{}, io.EOF
	}
	item := g.records[0]
	g.records = g.records[1:]
	return item, nil
}

func (g *generator) item(from *[]Item) func() (Item, error) {
	return func() (Item, error) {
		if len(*from) == 0 && !g.more() {
			return Item{}, io.EOF
		}
		item := (*from)[0]
		*from = (*from)[1:]
		return item, nil
	}
}
