// Package document rebuilds what an entity's document was at an instant from what audit
// events tell of it: snapshots, and changes of single properties.
//
// It promises to claim nothing that no event tells: what is not known is named. It refuses
// to know where events come from.
package document

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Event is what one audit event tells of a document.
type Event struct {
	ID   string
	Time time.Time
	// Create and Delete are that its action makes the entity, or ends it.
	Create, Delete bool
	// Whole is that it shows the document Before and After, each nil where there was none.
	Whole         bool
	Before, After any
	// Properties are the changes that it tells of otherwise.
	Properties []Property
}

// Property is a change of one value. An event tells it by texts: none is nil, one a string,
// several are a []any.
type Property struct {
	Key           string
	Before, After any
}

// Past is a document at an instant. Its JSON is what "connector history --at" prints.
type Past struct {
	EntityID string `json:"entityId"`
	At       string `json:"at"`
	// Exists is nil where nothing tells.
	Exists *bool `json:"exists"`
	// Known is the document as far as it is known.
	Known map[string]any `json:"known"`
	// Unknown are paths that are expected, or show up at another time, and of which no
	// event tells what they were, or events tell different things. "a.*" is the rest of a.
	Unknown []string `json:"unknown"`
	// Spelled are paths of Known whose values are known by their spelling, not their type.
	Spelled []string `json:"spelled"`
	// Basis are the ids of the events that tell what is known.
	Basis []string `json:"basis"`
	// Untold are those up to the instant that do not tell what they changed.
	Untold []string `json:"untold"`
}

// At is the document at an instant. Events of one instant are in the order of the list.
// expected are the paths that such a document is likely to have.
func At(events []Event, at time.Time, expected []string) Past {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	next, _ := slices.BinarySearchFunc(events, at, func(e Event, t time.Time) int {
		return cmp.Or(e.Time.Compare(t), -1) // behind those of the instant
	})
	past := Past{At: at.UTC().Format(audit.TimeFormat), Unknown: []string{}, Spelled: []string{}, Basis: []string{}, Untold: []string{}}
	forward, backward := newSide(), newSide()
	for _, e := range events[:next] {
		if !e.Whole && !e.Create && !e.Delete && len(e.Properties) == 0 {
			past.Untold = append(past.Untold, e.ID)
			continue
		}
		forward.apply(e)
	}
	backward.reverse(events[next:])
	forward.merge(backward)
	past.Exists = forward.exists
	past.Known = forward.known
	for key := range forward.spelled {
		if _, ok := get(past.Known, names(key)); ok {
			past.Spelled = append(past.Spelled, key)
		}
	}
	if !forward.whole {
		for _, key := range append(expected, forward.met...) {
			if _, ok := get(past.Known, names(key)); !ok {
				forward.unknown[key] = true
			}
		}
	}
	past.Unknown = slices.AppendSeq(past.Unknown, maps.Keys(forward.unknown))
	past.Basis = append(past.Basis, forward.basis...)
	slices.Sort(past.Unknown)
	slices.Sort(past.Spelled)
	return past
}

// side is what is known from the events on one side of the instant.
type side struct {
	whole   bool // there is no more to be known
	exists  *bool
	known   map[string]any
	spelled map[string]bool
	unknown map[string]bool
	met     []string // keys that events tell of
	basis   []string
}

func newSide() *side {
	return &side{known: map[string]any{}, spelled: map[string]bool{}, unknown: map[string]bool{}}
}

// become makes the whole document what a snapshot shows.
func (s *side) become(document any) {
	object, ok := document.(map[string]any)
	exists := document != nil
	s.whole, s.exists, s.known = ok || !exists, &exists, map[string]any{}
	if ok {
		s.known = clone(object).(map[string]any)
	} else if exists {
		s.known[""] = document // a snapshot that is no object has no keys
	}
	clear(s.spelled)
	clear(s.unknown)
}

// apply goes on to what holds after an event.
func (s *side) apply(e Event) {
	if e.Whole {
		s.become(e.After)
		s.basis = append(s.basis[:0], e.ID)
		return
	}
	if e.Create || s.exists != nil && !*s.exists { // or it came back, and no event tells it
		s.become(nil)
		s.whole, s.basis = false, s.basis[:0]
	}
	exists := true
	s.exists = &exists
	for _, p := range e.Properties {
		s.met = append(s.met, p.Key)
		s.set(p.Key, p.After, s.whole)
	}
	if s.basis = append(s.basis, e.ID); e.Delete {
		s.become(nil)
		s.basis = append(s.basis[:0], e.ID)
	}
}

// reverse finds out what held before events, from what the first of them to speak of a
// path says was there. A snapshot says it of all paths of which none has spoken.
func (s *side) reverse(events []Event) {
	var told []Property
	for _, e := range events {
		if e.Create || e.Whole && e.Before != nil {
			s.become(e.Before)
			s.basis = append(s.basis, e.ID)
			break
		}
		used := e.Delete
		for _, p := range e.Properties {
			s.met = append(s.met, p.Key)
			if !slices.ContainsFunc(told, func(t Property) bool { return overlap(t.Key, p.Key) }) {
				told, used = append(told, p), true
			}
		}
		if used {
			s.basis = append(s.basis, e.ID)
		}
		if e.Whole || e.Delete { // what came before it is told no more
			break
		}
	}
	for _, p := range told {
		s.set(p.Key, p.Before, false)
	}
	if len(told) > 0 && s.exists != nil && !*s.exists {
		s.whole, s.exists = false, nil // it cannot have changed before it was made
	}
}

// set notes the value of a path, as a property change tells it. The type that was known of
// the path before is kept where the text can be of it. complete is that objects in which
// it lies have nothing else where they were not known.
func (s *side) set(key string, value any, complete bool) {
	path := names(key)
	for spelled := range s.spelled {
		if overlap(spelled, key) {
			delete(s.spelled, spelled)
		}
	}
	for i := range path[:len(path)-1] {
		if inner, _ := get(s.known, path[:i+1]); !isObject(inner) && !complete {
			s.unknown[join(path[:i+1])+".*"] = true
		}
	}
	maps.DeleteFunc(s.unknown, func(k string, _ bool) bool {
		at := names(strings.TrimSuffix(k, ".*"))
		return len(at) >= len(path) && overlap(join(at), key)
	})
	was, _ := get(s.known, path)
	put(s.known, path, typed(value, was))
	s.spelled[key] = true
}

// merge adds what the other side knows. Where the two disagree, something was changed of
// which no event tells, nobody knows when.
func (s *side) merge(other *side) {
	s.met = append(s.met, other.met...)
	before, needed := len(s.unknown), !s.whole
	switch {
	case s.exists != nil && other.exists != nil && *s.exists != *other.exists,
		s.exists != nil && !*s.exists && !isNothing(other.known):
		s.exists, s.whole, s.known, needed = nil, false, map[string]any{}, true
	case s.whole:
		s.doubt(nil, s.known, other.known, other.whole)
	case other.whole:
		own := s.known
		s.whole, s.exists, s.known, s.spelled = true, other.exists, other.known, other.spelled
		s.unknown = other.unknown
		s.doubt(nil, s.known, own, false)
	default:
		s.exists = cmp.Or(s.exists, other.exists)
		s.doubt(nil, s.known, other.known, false)
		for key := range other.spelled {
			value, _ := get(other.known, names(key))
			if _, ok := get(s.known, names(key)); !ok && !s.unknown[key] {
				s.set(key, value, false)
			}
		}
	}
	if needed || len(s.unknown) > before {
		s.basis = append(s.basis, other.basis...)
	}
}
