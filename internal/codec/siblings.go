package codec

import (
	"bytes"
	"iter"
	"strconv"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// A change of a group's members is three events with one correlationId, within
// seconds, in any order. The one with the ids does not say whether they came or
// went; another one has the count before and after.

const (
	correlationKey = "correlationId" // in the context
	countProperty  = "memberCount"

	keptSiblings   = 1024 // counts of earlier steps that are remembered: minutes of what the API's limits let through
	longestSibling = 128  // bytes of an id for it to be remembered
	longestCount   = 9    // digits
	contradictory  = 0    // a difference that says nothing
)

// siblings remembers by how many members groups grew: those of the step at hand,
// whole, and the newest of the steps before. It never waits for an event, and
// forgets the oldest; what it does not know is told as not known.
type siblings struct {
	// The step at hand. It is read when a direction is asked for, or when it is
	// committed and has a count: most steps are never read.
	events   iter.Seq[*audit.Event]
	hasCount bool
	step     map[sibling]int
	order    []sibling // the keys of step

	past map[sibling]int
	ring [keptSiblings]sibling // the keys of past
	next int                   // where in ring the next one goes

	fields fields // of the event that is read
	text   []byte
}

// sibling names an event's siblings: they concern one group.
type sibling struct{ correlation, group string }

// Observe says which events the step at hand has, before the first of them is
// normalised, and what the ids in them are called; nil where nobody knows. Both are
// there until the last one is, and until Committed. A step that is written again is
// observed again, with the same names, and gives the same records: what earlier ones
// told changes only with Committed.
func (e *Encoder) Observe(events iter.Seq[*audit.Event], names audit.Names) {
	e.siblings.begin(events)
	e.names = names
}

// Committed says that the step that was observed last is in Kafka.
func (e *Encoder) Committed() {
	e.siblings.commit()
}

func (s *siblings) begin(events iter.Seq[*audit.Event]) {
	s.events, s.hasCount = events, false
	clear(s.step)
	s.order = s.order[:0]
}

// read reads what the events of the step tell, once.
func (s *siblings) read() {
	if s.events == nil {
		return
	}
	for ev := range s.events {
		// A name spelled with escapes is not noticed, as no API spells it.
		if bytes.Contains(ev.Raw, []byte(countProperty)) && bytes.Contains(ev.Raw, []byte(correlationKey)) {
			s.observe(ev.Fields)
		}
	}
	s.events = nil
	s.text = kept(s.text, keptBytes)
}

func (s *siblings) observe(event jsonscan.Value) {
	s.text = s.text[:0]
	s.fields.read(event, &s.text)
	group := viewName(s.fields.entityID, &s.text)
	correlation := viewName(s.fields.context.Get(correlationKey), &s.text)
	if !isSiblingID(group) || !isSiblingID(correlation) {
		return
	}
	for el := s.fields.propertyChanges.Elements(); el.Next(); {
		if !el.Value().Get("property").Is(countProperty) {
			continue
		}
		before, ok := s.count(el.Value().Get("oldValues"))
		after, ok2 := s.count(el.Value().Get("newValues"))
		if ok && ok2 && before != after {
			s.add(sibling{string(correlation), string(group)}, after-before)
		}
	}
}

func isSiblingID(id []byte) bool { return len(id) > 0 && len(id) <= longestSibling }

// count is the number in the values of memberCount.
func (s *siblings) count(values jsonscan.Value) (int, bool) {
	one := values
	if list := values.Elements(); list.Next() {
		one = list.Value()
		if list.Next() {
			return 0, false
		}
	}
	text := viewName(one, &s.text)
	if len(text) > longestCount {
		return 0, false
	}
	n, err := strconv.Atoi(string(text))
	return n, err == nil && n >= 0
}

func (s *siblings) add(of sibling, difference int) {
	if s.step == nil {
		s.step = make(map[sibling]int)
	}
	was, has := s.step[of]
	switch {
	case !has:
		s.order = append(s.order, of)
	case was != difference:
		difference = contradictory
	}
	s.step[of] = difference
}

func (s *siblings) commit() {
	if s.hasCount {
		s.read()
	}
	for _, of := range s.order {
		difference := s.step[of]
		if was, has := s.past[of]; has {
			if was != difference {
				s.past[of] = contradictory
			}
			continue
		}
		if s.past == nil {
			s.past = make(map[sibling]int)
		}
		delete(s.past, s.ring[s.next])
		s.ring[s.next] = of
		s.next = (s.next + 1) % len(s.ring)
		s.past[of] = difference
	}
	s.begin(nil)
}

// direction is what became of n members of a group: added or removed where a
// sibling tells, and counts as many; else modified.
func (s *siblings) direction(correlation, group []byte, n int) changeType {
	s.read()
	now, has := s.step[sibling{string(correlation), string(group)}]
	before, had := s.past[sibling{string(correlation), string(group)}]
	switch {
	case has && had && now != before:
		return modified
	case had:
		now = before
	}
	switch now {
	case contradictory:
		return modified
	case n:
		return added
	case -n:
		return removed
	}
	return modified
}
