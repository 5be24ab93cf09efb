package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// maxLevels and maxValues are how much JSON in a string is looked into. A value with more
// is hidden by every rule that has paths.
const (
	maxLevels = 1000
	maxValues = 1 << 20
	keptBytes = 1 << 20 // of a JSON text that is remembered for the next
)

// Matcher decides what is hidden of one event after another, and hides it. It serves one
// goroutine.
//
// What is hidden in one field is hidden wherever else it occurs in the event's records:
// in the sentence that tells of the change, in a key that has an id in it, in another
// change's value.
type Matcher struct {
	rules *Rules
	rule  set    // of the event at hand
	hit   []bool // whether a rule with paths was met by one of its changes
	key   [][]byte
	sides [2]side
	text  []byte
	texts texts
	hmac  hash.Hash // nil without a key
	sum   [sha256.Size]byte
}

// side is a value before or after a change.
type side struct {
	value jsonscan.Value // what can be looked into: JSON in a string is parsed
	whole bool           // it is too much to be looked into
	doc   jsonscan.Doc
	text  []byte
}

// Matcher makes a Matcher that follows the rules.
func (r *Rules) Matcher() *Matcher {
	m := &Matcher{rules: r}
	if r.key != nil {
		m.hmac = hmac.New(sha256.New, r.key)
	}
	return m
}

// Decision is what is done to the fields of one change.
type Decision struct {
	Previous, New, MemberID, MemberName Action

	// Key is what is done to those names of the configurationKey that are data, from
	// name Plain on: they lie below what a rule names.
	Key   Action
	Plain int
}

// Begin forgets the event before.
func (m *Matcher) Begin(entityType []byte) {
	m.rule = m.rules.of(entityType)
	m.hit = m.hit[:0]
	for range m.rule {
		m.hit = append(m.hit, false)
	}
	m.texts.reset()
}

// Change decides on one change of the event.
func (m *Matcher) Change(key []byte, previous, next jsonscan.Value) (d Decision) {
	if len(m.rule) == 0 {
		return d
	}
	m.key = audit.KeyNames(m.key[:0], key)
	m.sides[0].open(previous)
	m.sides[1].open(next)
	for i, c := range m.rule {
		on := m.match(c)
		if !on.key && !on.previous && !on.next {
			continue
		}
		m.hit[i] = true
		decide(&d.MemberID, c, MemberID, true)
		decide(&d.MemberName, c, MemberName, true)
		decided := decide(&d.Previous, c, PreviousValue, on.key || on.previous)
		if decide(&d.New, c, NewValue, on.key || on.next) || decided {
			if on.key && !c.all && d.Key == Unnamed {
				d.Key, d.Plain = c.action, on.taken
			}
		}
	}
	return d
}

// decide lets a rule decide on a field, unless an earlier one has. It reports whether it did.
func decide(a *Action, c *compiled, f Field, matches bool) bool {
	if *a != Unnamed || !matches || !c.fields[f] {
		return false
	}
	*a = c.action
	return true
}

// met says what of a change a rule's paths name.
type met struct {
	key, previous, next bool
	taken               int // names of the key, up to what the rule names
}

func (m *Matcher) match(c *compiled) (on met) {
	if c.all {
		return met{key: true}
	}
	if c.anywhere != nil {
		for i, name := range m.key {
			if isNamed(name, c.anywhere) {
				return met{key: true, taken: i + 1}
			}
		}
	}
	for _, p := range c.patterns {
		if taken, ok := p.covers(m.key); ok {
			return met{key: true, taken: taken}
		}
	}
	if c.action == Keep {
		return met{} // a value that holds what is kept may hold more
	}
	on.previous, on.next = m.within(c, &m.sides[0]), m.within(c, &m.sides[1])
	return on
}

// within reports whether a value holds something that the rule names.
func (m *Matcher) within(c *compiled, s *side) bool {
	if s.whole {
		return true
	}
	if k := s.value.Kind(); k != jsonscan.Object && k != jsonscan.Array {
		return false
	}
	m.text = m.text[:0]
	if c.anywhere != nil && hasAnywhere(s.value, c.anywhere, &m.text) {
		return true
	}
	for _, p := range c.patterns {
		if p.inside(m.key, s.value) {
			return true
		}
	}
	return false
}

// open makes ready to look into a value.
func (s *side) open(v jsonscan.Value) {
	s.value, s.whole = v, false
	if v.Kind() != jsonscan.String {
		return
	}
	if cap(s.text) > keptBytes {
		s.text, s.doc = nil, jsonscan.Doc{}
	}
	s.text = v.AppendText(s.text[:0])
	s.value, s.whole = parse(&s.doc, s.text)
}

// parse reads the JSON object or array that a text is; Absent where it is none. whole
// reports that it is too much to be looked into.
func parse(doc *jsonscan.Doc, text []byte) (v jsonscan.Value, whole bool) {
	if !mayBeJSON(text) {
		return jsonscan.Value{}, false
	}
	doc.MaxValues = maxValues
	if err := doc.Parse(text); err != nil {
		return jsonscan.Value{}, err == jsonscan.ErrTooManyValues
	}
	return doc.Root(), doc.Root().DeeperThan(maxLevels)
}

// Common is what is done to a field that all records of the event share, once all of its
// changes are decided on: rules with paths hold for it where one of the changes meets them.
func (m *Matcher) Common(f Field) Action {
	for i, c := range m.rule {
		if c.fields[f] && (c.all || m.hit[i]) {
			return c.action
		}
	}
	return Unnamed
}

// ContextOf is what is done to the value of a key of the context.
func (m *Matcher) ContextOf(key []byte) Action {
	for i, c := range m.rule {
		if !c.all && !m.hit[i] {
			continue
		}
		if c.fields[Context] || c.keys != nil && isNamed(key, c.keys) {
			return c.action
		}
	}
	return Unnamed
}

// Conceal hides a text wherever else it occurs in the event's records; of JSON also what
// it is made of.
func (m *Matcher) Conceal(text []byte, a Action) {
	m.texts.add(text, a)
	if mayBeJSON(text) {
		s := &m.sides[0]
		s.text = append(s.text[:0], text...)
		v, whole := parse(&s.doc, s.text)
		m.texts.over = m.texts.over || whole
		if !whole {
			m.parts(v, a)
		}
	}
}

// parts conceals the texts and numbers that a value is made of, and those of its members'
// names that are data.
func (m *Matcher) parts(v jsonscan.Value, a Action) {
	switch v.Kind() {
	case jsonscan.String, jsonscan.Number:
		m.text = m.text[:0]
		m.texts.add(v.View(&m.text), a)
		inner, whole := unfold(v)
		if m.texts.over = m.texts.over || whole; whole {
			return
		}
		v = inner
	}
	for e := v.Elements(); e.Next(); {
		m.parts(e.Value(), a)
	}
	for o := v.Members(); o.Next(); {
		m.text = m.text[:0]
		if name := o.Key().View(&m.text); !IsPlain(name) {
			m.texts.add(name, a)
		}
		m.parts(o.Value(), a)
	}
}

// Idle reports whether nothing is hidden of a text by itself, whatever it is.
func (m *Matcher) Idle() bool { return len(m.texts.list) == 0 && !m.texts.over }

// AppendHidden appends what stands in the place of a text. The place of one that is
// dropped is empty only where it is a whole value, which is not for this to know.
func (m *Matcher) AppendHidden(dst, text []byte, a Action) []byte {
	if a != HMAC || m.hmac == nil {
		return append(dst, Stars...)
	}
	m.hmac.Reset()
	m.hmac.Write(text)
	return hex.AppendEncode(dst, m.hmac.Sum(m.sum[:0]))
}

// AppendClean appends a text without the texts that are hidden elsewhere. It reports
// whether there were any.
func (m *Matcher) AppendClean(dst, text []byte) ([]byte, bool) {
	switch {
	case m.texts.over:
		return append(dst, Stars...), true
	case len(m.texts.list) == 0 || len(text) < m.texts.least:
		return dst, false
	}
	mark := len(dst)
	if a := m.spelled(text); a.Hides() {
		return m.AppendHidden(dst, text, a), true
	}
	last := 0
	for i := 0; i+minText <= len(text); {
		if !m.texts.mayBegin(text[i:]) {
			i++
			continue // nearly all
		}
		t := m.texts.at(text, i)
		if t == nil {
			i++
			continue
		}
		dst = append(dst, text[last:i]...)
		dst = m.AppendHidden(dst, m.texts.text(t), t.action)
		i += int(t.end - t.start)
		last = i
		if len(dst)-mark > 2*len(text)+4096 { // it must not grow out of bounds
			return m.AppendHidden(dst[:mark], text, t.action), true
		}
	}
	if m.texts.over {
		return append(dst[:mark], Stars...), true
	}
	if last == 0 {
		return dst[:mark], false
	}
	return append(dst, text[last:]...), true
}

// spelled is what is done to JSON that holds a hidden text in other characters.
func (m *Matcher) spelled(text []byte) Action {
	if !hasEscapes(text) {
		return Unnamed
	}
	s := &m.sides[1]
	s.text = append(s.text[:0], text...)
	v, whole := parse(&s.doc, s.text)
	if whole {
		return Mask
	}
	return m.spelledIn(v)
}

func (m *Matcher) spelledIn(v jsonscan.Value) Action {
	if v.Kind() == jsonscan.String {
		if a := m.occurs(v); a.Hides() {
			return a
		}
		inner, whole := unfold(v)
		if whole {
			return Mask
		}
		v = inner
	}
	for e := v.Elements(); e.Next(); {
		if a := m.spelledIn(e.Value()); a.Hides() {
			return a
		}
	}
	for o := v.Members(); o.Next(); {
		if a := m.occurs(o.Key()); a.Hides() {
			return a
		}
		if a := m.spelledIn(o.Value()); a.Hides() {
			return a
		}
	}
	return Unnamed
}

// occurs is what is done to a hidden text that a string has in it.
func (m *Matcher) occurs(v jsonscan.Value) Action {
	m.text = m.text[:0]
	return m.Occurs(v.View(&m.text))
}

// Occurs is what is done to a hidden text that occurs in this one; Unnamed where none does.
func (m *Matcher) Occurs(text []byte) Action {
	for i := 0; i+minText <= len(text); i++ {
		if m.texts.mayBegin(text[i:]) {
			if t := m.texts.at(text, i); t != nil {
				return t.action
			}
		}
	}
	return Unnamed
}
