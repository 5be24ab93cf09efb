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

	keptSiblings    = 1024 // counts of earlier steps that are remembered: minutes of what the API's limits let through
	longestSibling  = 128  // bytes of an id for it to be remembered
	longestCount    = 9    // digits
	contradictory   = 0    // a difference that says nothing
	countNeedle     = `"` + countProperty + `"`
	correlateNeedle = `"` + correlationKey + `"`
)

// siblings remembers by how many members groups grew: those of the step at hand,
// whole, and the newest of the steps before. It never waits for an event, and
// forgets the oldest; what it does not know is told as not known.
type siblings struct {
	step  map[sibling]int
	order []sibling // the keys of step
	past  map[sibling]int
	ring  [keptSiblings]sibling // the keys of past
	next  int                   // where in ring the next one goes
}

// sibling names an event's siblings: they concern one group.
type sibling struct{ correlation, group string }

// Observe reads what events of the step at hand tell of their siblings, before
// the first of them is normalised. A step that is written again is observed
// again, and gives the same records: what earlier ones told changes only with
// Committed.
func (e *Encoder) Observe(events iter.Seq[*audit.Event]) {
	e.siblings.forget()
	for ev := range events {
		// A name spelled with escapes is not noticed, as no API spells it.
		if bytes.Contains(ev.Raw, []byte(countNeedle)) && bytes.Contains(ev.Raw, []byte(correlateNeedle)) {
			e.observe(ev.Fields)
		}
	}
}

// Committed says that the step that was observed last is in Kafka.
func (e *Encoder) Committed() {
	e.siblings.commit()
}

func (e *Encoder) observe(event jsonscan.Value) {
	e.reset()
	e.fields.read(event, &e.text)
	group := e.view(e.fields.entityID)
	correlation := e.view(e.fields.context.Get(correlationKey))
	if !isSiblingID(group) || !isSiblingID(correlation) {
		return
	}
	for el := e.fields.propertyChanges.Elements(); el.Next(); {
		if !el.Value().Get("property").Is(countProperty) {
			continue
		}
		before, ok := e.count(el.Value().Get("oldValues"))
		after, ok2 := e.count(el.Value().Get("newValues"))
		if ok && ok2 && before != after {
			e.siblings.add(sibling{string(correlation), string(group)}, after-before)
		}
	}
}

func isSiblingID(id []byte) bool { return len(id) > 0 && len(id) <= longestSibling }

// count is the number in the values of memberCount.
func (e *Encoder) count(values jsonscan.Value) (int, bool) {
	one := values
	if list := values.Elements(); list.Next() {
		one = list.Value()
		if list.Next() {
			return 0, false
		}
	}
	text := e.view(one)
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
	s.forget()
}

func (s *siblings) forget() {
	clear(s.step)
	s.order = s.order[:0]
}

// direction is what became of n members of a group: added or removed where a
// sibling tells, and counts as many; else modified.
func (s *siblings) direction(correlation, group []byte, n int) changeType {
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
