package document

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world makes a random history of a document, and remembers what it was when.
type world struct {
	*rand.Rand
	doc    map[string]any // nil while there is none
	events []Event
	states []any // after each event
	times  []time.Time
}

func (w *world) name() string { return []string{"a", "b", "c", "a.b", `q"`, "é"}[w.IntN(6)] }

func (w *world) leaf() any {
	switch w.IntN(6) {
	case 0:
		return nil
	case 1:
		return w.IntN(2) == 0
	case 2, 3:
		return json.Number(strconv.Itoa(w.IntN(5)))
	case 4:
		list := []any{}
		for range w.IntN(4) {
			list = append(list, "m"+strconv.Itoa(w.IntN(4)))
		}
		return list
	}
	return "text" + strconv.Itoa(w.IntN(5))
}

func (w *world) object(levels int) map[string]any {
	o := map[string]any{}
	for range w.IntN(5) {
		if levels > 0 && w.IntN(3) == 0 {
			o[w.name()] = w.object(levels - 1)
		} else {
			o[w.name()] = w.leaf()
		}
	}
	return o
}

// texts is a value as a property change tells it.
func texts(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		if len(v) == 0 {
			return nil
		}
		if len(v) == 1 {
			return v[0]
		}
		return clone(v)
	}
	return spelling(v)
}

// edit changes a value that is no object, and tells it.
func (w *world) edit(changed map[string]bool) (Property, bool) {
	path := []string{w.name()}
	for w.IntN(3) == 0 && len(path) < 3 {
		path = append(path, w.name())
	}
	for i := range path[:len(path)-1] { // an object is not replaced by a property change
		if v, ok := get(w.doc, path[:i+1]); ok && !isObject(v) {
			return Property{}, false
		}
	}
	was, _ := get(w.doc, path)
	key := join(path)
	if isObject(was) || changed[key] {
		return Property{}, false
	}
	for other := range changed {
		if overlap(other, key) {
			return Property{}, false
		}
	}
	changed[key] = true
	next := w.leaf()
	if w.IntN(5) == 0 {
		next = nil
	}
	put(w.doc, path, next)
	return Property{key, texts(was), texts(next)}, true
}

func (w *world) step(i int) {
	e := Event{ID: strconv.Itoa(i), Time: start.Add(time.Duration(w.IntN(2)) * time.Millisecond)}
	if len(w.times) > 0 {
		e.Time = w.times[len(w.times)-1].Add(time.Duration(w.IntN(3)) * time.Millisecond)
	}
	before := clone(w.doc)
	if w.doc == nil {
		before = nil
	}
	whole := w.IntN(4) == 0
	switch {
	case w.doc == nil:
		w.doc, e.Create, whole = w.object(2), true, true
	case w.IntN(12) == 0:
		w.doc, e.Delete = nil, true
	default:
		changed := map[string]bool{}
		for range 1 + w.IntN(3) {
			if p, ok := w.edit(changed); ok {
				e.Properties = append(e.Properties, p)
			}
		}
	}
	if whole {
		e.Whole, e.Before, e.Properties = true, before, nil
		if w.doc != nil {
			e.After = clone(w.doc)
		}
	}
	w.events, w.times = append(w.events, e), append(w.times, e.Time)
	var state any
	if w.doc != nil {
		state = clone(w.doc)
	}
	w.states = append(w.states, state)
}

// at is what the document was.
func (w *world) at(t time.Time, first any) any {
	state := first
	for i, when := range w.times {
		if !when.After(t) {
			state = w.states[i]
		}
	}
	return state
}

// TestWhatIsClaimedIsTrue: of random documents and edits, most of which tell only what they
// changed, the document that is rebuilt agrees with what it was wherever it claims to know.
func TestWhatIsClaimedIsTrue(t *testing.T) {
	claims, wholes := 0, 0
	for seed := range uint64(6_000) {
		w := &world{Rand: rand.New(rand.NewPCG(seed, 3))}
		if w.IntN(5) > 0 {
			w.doc = w.object(2)
		}
		var first any
		if w.doc != nil {
			first = clone(w.doc)
		}
		steps := 1 + w.IntN(10)
		for i := range steps {
			w.step(i)
		}
		events := slices.Clone(w.events)
		skipped := w.IntN(len(events)) // what came before the topic begins
		if w.IntN(2) == 0 {
			skipped = 0
		}
		when := w.times[w.IntN(steps)].Add(time.Duration(w.IntN(3)-1) * time.Millisecond)
		if when.Before(events[skipped].Time) && skipped > 0 {
			when = events[skipped].Time
		}
		past := At(events[skipped:], when, []string{"a", "expected"})
		want := w.at(when, first)
		n, err := verify(past, want)
		if err != nil {
			told, _ := json.Marshal(events[skipped:])
			t.Fatalf("seed %d: at %s: %v\nclaimed %+v\nwas %v\nevents %s", seed, past.At, err, past, want, told)
		}
		claims += n
		if sawSnapshot(events[skipped:], when) {
			wholes++
			if len(past.Unknown) > 0 || past.Exists == nil {
				t.Fatalf("seed %d: a snapshot shows all, and %q are not known: %+v", seed, past.Unknown, past)
			}
			if want != nil && !Agree(past.Known, want) {
				t.Fatalf("seed %d: after a snapshot all is known: %+v, was %v", seed, past, want)
			}
		}
	}
	if claims < 6_000 || wholes < 600 {
		t.Errorf("%d claims, %d whole documents: too few", claims, wholes)
	}
}

func sawSnapshot(events []Event, when time.Time) bool {
	return slices.ContainsFunc(events, func(e Event) bool { return e.Whole && !e.Time.After(when) })
}

// verify counts the values that are claimed, each of which must be true.
func verify(past Past, was any) (claims int, err error) {
	doc, _ := was.(map[string]any)
	if past.Exists != nil && *past.Exists != (was != nil) {
		return 0, fmt.Errorf("exists: %t", *past.Exists)
	}
	var walk func(path []string, known, was map[string]any) error
	walk = func(path []string, known, was map[string]any) error {
		for k, v := range known {
			here := append(path[:len(path):len(path)], k)
			inner, ok := was[k].(map[string]any)
			if o, isO := v.(map[string]any); isO && (ok || was[k] == nil) {
				if err := walk(here, o, inner); err != nil {
					return err
				}
				continue
			}
			if claims++; !Agree(v, was[k]) {
				return fmt.Errorf("%q is claimed to be %v, was %v", here, v, was[k])
			}
		}
		return nil
	}
	return claims, walk(nil, past.Known, doc)
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestPastInWords: what is known, what is not and why, in cases that can be read.
func TestPastInWords(t *testing.T) {
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
	snapshot := func(n int, before, after string) Event {
		e := Event{ID: "s" + strconv.Itoa(n), Time: at(n), Whole: true}
		if before != "" {
			e.Before = decode(t, before)
		}
		if after != "" {
			e.After = decode(t, after)
		}
		return e
	}
	change := func(n int, key string, before, after any) Event {
		return Event{ID: "p" + strconv.Itoa(n), Time: at(n), Properties: []Property{{key, before, after}}}
	}
	for name, c := range map[string]struct {
		events []Event
		want   string
	}{
		"a snapshot and a change": {
			[]Event{snapshot(1, "", `{"a":1,"b":{"c":true}}`), change(2, "b.c", "true", "false")},
			`{"a":1,"b":{"c":false}} exists unknown=[] spelled=[b.c] basis=[s1 p2]`,
		},
		"a change alone": {
			[]Event{change(2, "b.c", "x", "y")}, `{"b":{"c":"y"}} exists unknown=[b.* name] spelled=[b.c] basis=[p2]`,
		},
		"a later snapshot, changed before": {
			[]Event{change(11, "a", "1", "2"), snapshot(12, `{"a":2,"b":3}`, `{"a":4}`)}, `{"a":1,"b":3} exists unknown=[] spelled=[a] basis=[p11 s12]`,
		},
		"a later change": {
			[]Event{change(12, "a", "1", "2")}, `{"a":"1"} unknown=[name] spelled=[a] basis=[p12]`,
		},
		"changed without an event": {
			[]Event{snapshot(1, "", `{"a":1,"b":2}`), change(12, "a", "7", "8")}, `{"b":2} exists unknown=[a] spelled=[] basis=[s1 p12]`,
		},
		"deleted": {
			[]Event{snapshot(1, "", `{"a":1}`), snapshot(2, `{"a":1}`, "")}, `{} does not exist unknown=[] spelled=[] basis=[s2]`,
		},
		"not yet made": {
			[]Event{{ID: "c", Time: at(12), Create: true, Whole: true, After: decode(t, `{"a":1}`)}}, `{} does not exist unknown=[] spelled=[] basis=[c]`,
		},
		"an event that tells nothing": {
			[]Event{snapshot(1, "", `{"a":1}`), {ID: "u", Time: at(2)}}, `{"a":1} exists unknown=[] spelled=[] basis=[s1] untold=[u]`,
		},
		"nothing": {nil, `{} unknown=[name] spelled=[] basis=[]`},
	} {
		past := At(c.events, at(10), []string{"name"})
		known, err := json.Marshal(past.Known)
		if err != nil {
			t.Fatal(err)
		}
		got := string(known)
		if past.Exists != nil {
			got += map[bool]string{true: " exists", false: " does not exist"}[*past.Exists]
		}
		got += fmt.Sprintf(" unknown=%v spelled=%v basis=%v", past.Unknown, past.Spelled, past.Basis)
		if len(past.Untold) > 0 {
			got += fmt.Sprintf(" untold=%v", past.Untold)
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
	if p := At(nil, start, nil); !reflect.DeepEqual(p.Known, map[string]any{}) || p.At != start.Format(audit.TimeFormat) {
		t.Errorf("%+v", p)
	}
}
