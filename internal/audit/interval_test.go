package audit

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// The model of a set of instants: for each millisecond, whether it is in.
const modelSize = 40

type model [modelSize]bool

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func milli(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

func span(from, to int) Interval { return Interval{milli(from), milli(to)} }

func (m model) set() IntervalSet {
	var s IntervalSet
	for i := 0; i < modelSize; i++ {
		if !m[i] {
			continue
		}
		from := i
		for i < modelSize && m[i] {
			i++
		}
		s = append(s, span(from, i))
	}
	return s
}

func (m model) with(from, to int, in bool) model {
	for i := from; i < to; i++ {
		m[i] = in
	}
	return m
}

func same(a, b IntervalSet) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

func TestIntervalSetLikeModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func() (int, int) { return r.IntN(modelSize + 1), r.IntN(modelSize + 1) } // also empty, also backwards
	randomModel := func() (m model) {
		for range r.IntN(5) {
			from, to := random()
			m = m.with(from, to, true)
		}
		return m
	}
	for range 20_000 {
		a, b := randomModel(), randomModel()
		from, to := random()
		i := span(from, to)
		union, less, clipped := a, a, model{}
		covers := true
		for n := range modelSize {
			union[n] = a[n] || b[n]
			less[n] = a[n] && !b[n]
			clipped[n] = a[n] && n >= from && n < to
			covers = covers && (n < from || n >= to || a[n])
		}
		set, other := a.set(), b.set()
		kept := append(IntervalSet{}, set...)
		for name, c := range map[string]struct{ got, want IntervalSet }{
			"Add":      {set.Add(i), a.with(from, to, true).set()},
			"Remove":   {set.Remove(i), a.with(from, to, false).set()},
			"Union":    {set.Union(other), union.set()},
			"Subtract": {set.Subtract(other), less.set()},
			"Clip":     {set.Clip(i), clipped.set()},
			"New":      {NewIntervalSet(append(append(IntervalSet{}, other...), set...)...), union.set()},
		} {
			if !same(c.got, c.want) {
				t.Fatalf("%s: %v and %v, %v: %v, want %v", name, set, other, i, c.got, c.want)
			}
		}
		if set.Covers(i) != covers {
			t.Fatalf("%v.Covers(%v) is %v", set, i, !covers)
		}
		length := 0
		for n := range modelSize {
			if set.Contains(milli(n)) != a[n] || set.Contains(milli(n).Add(time.Microsecond)) != a[n] {
				t.Fatalf("%v.Contains(%d) is %v", set, n, !a[n])
			}
			if a[n] {
				length++
			}
		}
		if set.Length() != time.Duration(length)*time.Millisecond {
			t.Fatalf("%v: length %v", set, set.Length())
		}
		if !same(set, kept) {
			t.Fatalf("a method changed the set that it was called on: %v, was %v", set, kept)
		}
	}
}

func TestIntervalSetEnds(t *testing.T) {
	var empty IntervalSet
	if !empty.First().IsZero() || !empty.Last().IsZero() || empty.Contains(epoch) || !empty.Covers(span(3, 3)) || empty.Covers(span(3, 4)) {
		t.Error("the empty set has something in it")
	}
	s := NewIntervalSet(span(5, 7), span(1, 3))
	if !s.First().Equal(milli(1)) || !s.Last().Equal(milli(7)) {
		t.Errorf("%v: from %v to %v", s, s.First(), s.Last())
	}
}

func TestInterval(t *testing.T) {
	i := span(2, 5)
	if i.Empty() || !span(5, 5).Empty() || !span(6, 5).Empty() || span(6, 5).Length() != 0 || i.Length() != 3*time.Millisecond {
		t.Error("Empty or Length is wrong")
	}
	if !i.Contains(milli(2)) || i.Contains(milli(5)) || i.Contains(milli(1)) {
		t.Error("Contains is wrong at an end")
	}
	if got := i.Intersect(span(4, 9)); got != span(4, 5) {
		t.Errorf("intersection %v", got)
	}
	if !i.Intersect(span(5, 9)).Empty() {
		t.Error("intervals that touch have something in common")
	}
}

func TestIntervalSetJSON(t *testing.T) {
	s := NewIntervalSet(span(0, 1), span(5, 10))
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if want := `[["2026-01-01T00:00:00.000Z","2026-01-01T00:00:00.001Z"],["2026-01-01T00:00:00.005Z","2026-01-01T00:00:00.010Z"]]`; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	var back IntervalSet
	if err := json.Unmarshal(text, &back); err != nil || !same(back, s) {
		t.Errorf("%v reads back as %v: %v", s, back, err)
	}
	if text, err := json.Marshal(IntervalSet(nil)); err != nil || string(text) != "[]" {
		t.Errorf("the empty set is %s: %v", text, err)
	}
	// A ledger that another hand wrote is put in order.
	disorder := `[["2026-01-01T00:00:00.003Z","2026-01-01T00:00:00.005Z"],["2026-01-01T00:00:00Z","2026-01-01T00:00:00.004Z"]]`
	if err := json.Unmarshal([]byte(disorder), &back); err != nil || !same(back, NewIntervalSet(span(0, 5))) {
		t.Errorf("%v: %v", back, err)
	}
	for _, wrong := range []string{
		`{}`, `[["2026-01-01T00:00:00Z"]]`, `[["a","b"]]`, `[["2026-01-01T00:00:00Z","2026-01-01T00:00:00Z"]]`,
		`[["2026-01-02T00:00:00Z","2026-01-01T00:00:00Z"]]`, `[[1,2]]`, `[["2026-01-01T00:00:00Z","2026-01-02T00:00:00Z","2026-01-03T00:00:00Z"]]`,
	} {
		if err := json.Unmarshal([]byte(wrong), &back); err == nil {
			t.Errorf("%s is taken for %v", wrong, back)
		}
	}
}

func TestPurposesAreInOrder(t *testing.T) {
	if !(Tail < Sweep && Sweep < Backfill) || Tail.String() != "tail" || Sweep.String() != "sweep" || Backfill.String() != "backfill" {
		t.Error("the purposes are not tail, sweep, backfill")
	}
}
