package codec

import (
	"bytes"
	"encoding/binary"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// What ids are called that the event has no name for. A name that the event has
// always stands; of one that was looked up the record says so, in resolvedNames.
// Nothing is looked up here: the names of a step are there before it is written.

// entityKinds are the entity types whose names can be looked up, in lower case:
// dialect auditlogs says queue, the other two say Queue.
var entityKinds = map[string]audit.Kind{
	"user": audit.UserKind, "authuser": audit.UserKind,
	"oauthclient": audit.ClientKind,
	"group":       audit.GroupKind, "directorygroup": audit.GroupKind,
	"role": audit.RoleKind, "queue": audit.QueueKind, "division": audit.DivisionKind,
}

const longestEntityKind = len("directorygroup")

func entityKind(entityType []byte) audit.Kind {
	if len(entityType) > longestEntityKind {
		return 0
	}
	var lower [longestEntityKind]byte
	n := copy(lower[:], entityType)
	for i, c := range lower[:n] {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	return entityKinds[string(lower[:n])]
}

// Who acts is a user, or an OAuth client whose id stands in the user's place.
const (
	actorKinds  = audit.UserKind | audit.ClientKind
	memberKinds = audit.UserKind | audit.GroupKind | audit.ClientKind // of a role
)

// allDivisions is a grant's division that is none.
const allDivisions = "*"

// found are names that the event does not have, "" for each that is not needed or
// not known.
type found struct{ user, entity, division string }

// nameOf returns what an id is called; nothing where nobody knows.
func (e *Encoder) nameOf(kinds audit.Kind, id []byte) (audit.Name, bool) {
	if e.names == nil || kinds == 0 || len(id) == 0 {
		return audit.Name{}, false
	}
	return e.names.NameOf(kinds, id)
}

// lookUp finds the names that all records of the event share.
func (e *Encoder) lookUp(meta *Meta) {
	e.found = found{}
	if e.names == nil {
		return
	}
	if !isName(e.fields.userName) {
		name, _ := e.nameOf(actorKinds, e.view(e.fields.userID))
		e.found.user = name.Text
	}
	switch {
	case e.grant.subject == nil:
		if !isName(e.fields.entityName) {
			name, _ := e.nameOf(entityKind(meta.EntityType), meta.EntityID)
			e.found.entity = name.Text
		}
	case len(e.roleName) == 0:
		name, _ := e.nameOf(audit.RoleKind, e.grant.role)
		e.found.entity = name.Text
	}
	if d := e.grant.division; string(d) != allDivisions {
		name, _ := e.nameOf(audit.DivisionKind, d)
		e.found.division = name.Text
	}
}

// member is of whom a change speaks.
type member struct {
	id, name   []byte
	found      string // the name, where it was looked up
	typ        memberType
	typeLooked bool
}

// memberOf returns of whom a change speaks. An event without names may show who
// it is, but not that it is a user: the lookup tells that, too.
func (e *Encoder) memberOf(c *change) member {
	m := member{id: e.at(c.member), typ: c.memberType}
	kinds := audit.UserKind
	if e.grant.subject != nil {
		m.id, m.name, kinds = e.grant.subject, e.memberName, memberKinds
	}
	if len(m.name) > 0 && m.typ != unknownMember {
		return m
	}
	name, ok := e.nameOf(kinds, m.id)
	if !ok {
		return m
	}
	if len(m.name) == 0 {
		m.found = name.Text
	}
	if m.typ == unknownMember {
		m.typ = memberTypes[name.Kind] // unknown where it may be one of several
		m.typeLooked = m.typ != unknownMember
	}
	return m
}

var memberTypes = map[audit.Kind]memberType{
	audit.UserKind: userMember, audit.GroupKind: groupMember, audit.ClientKind: clientMember,
}

// append writes memberId, memberType and memberName.
func (m *member) append(dst []byte) []byte {
	dst = appendOptional(dst, m.id)
	if m.typ == unknownMember {
		dst = append(dst, isNull)
	} else {
		dst = appendString(dst, m.typ.String())
	}
	if m.found != "" {
		return appendString(dst, m.found)
	}
	return appendOptional(dst, m.name)
}

// appendResolved writes resolvedNames, in the order of the schema.
func (e *Encoder) appendResolved(dst []byte, m *member) []byte {
	looked := [...]struct {
		field string
		is    bool
	}{
		{"userName", e.found.user != ""},
		{"entityName", e.found.entity != ""},
		{"memberType", m.typeLooked},
		{"memberName", m.found != ""},
		{"divisionName", e.found.division != ""},
	}
	n := int64(0)
	for _, l := range looked {
		if l.is {
			n++
		}
	}
	if n == 0 {
		return append(dst, endOfBlocks)
	}
	dst = binary.AppendVarint(dst, n)
	for _, l := range looked {
		if l.is {
			dst = binary.AppendVarint(dst, int64(len(l.field)))
			dst = append(dst, l.field...)
		}
	}
	return append(dst, endOfBlocks)
}

// appendName writes a name of the event, or the one that was looked up for it.
func (e *Encoder) appendName(dst []byte, v jsonscan.Value, looked string) []byte {
	if looked != "" {
		return appendString(dst, looked)
	}
	return e.appendNullable(dst, v)
}

// appendString writes a string where there may be null.
func appendString(dst []byte, text string) []byte {
	dst = binary.AppendVarint(append(dst, isString), int64(len(text)))
	return append(dst, text...)
}

// Asker finds out which names the records of an event need. It is an Encoder that
// writes nothing, so that both always ask for the same; it serves one goroutine.
type Asker struct{ encoder *Encoder }

// NewAsker makes an Asker. It fails on a mapping that is wrong.
func NewAsker() (*Asker, error) {
	e, err := NewEncoder(Options{})
	if err != nil {
		return nil, err
	}
	return &Asker{e}, nil
}

// Ask asks for every name that the event's records need and the event does not have,
// and tells those that it has: of whom, and of the entity.
func (a *Asker) Ask(ev *audit.Event, names audit.Names, tell func(kind audit.Kind, id, name []byte)) {
	e := a.encoder
	e.reset()
	e.names = names
	e.fields.read(ev.Fields, &e.text)
	meta := Meta{EntityID: e.view(e.fields.entityID), EntityType: e.view(e.fields.entityType), Action: e.view(e.fields.action)}
	e.readGrant(&meta)
	if e.grant.subject != nil {
		e.readContext(meta.Action) // it may call the role and the member something
	}
	e.lookUp(&meta)
	if isName(e.fields.userName) {
		e.tell(tell, actorKinds, e.view(e.fields.userID), e.fields.userName)
	}
	if e.grant.subject != nil {
		e.memberOf(&change{})
		return
	}
	if isName(e.fields.entityName) {
		e.tell(tell, entityKind(meta.EntityType), meta.EntityID, e.fields.entityName)
	}
	if !mayNameMembers(e.fields.propertyChanges.Raw()) {
		return
	}
	e.entity = e.mappings.of(meta.EntityType)
	e.siblings.begin(nil)
	e.collect(ev.Fields, meta.Action)
	for i := range e.changes {
		if c := &e.changes[i]; c.member != (span{}) {
			e.memberOf(c)
		}
	}
}

func (e *Encoder) tell(tell func(audit.Kind, []byte, []byte), kind audit.Kind, id []byte, name jsonscan.Value) {
	if kind == 0 || len(id) == 0 {
		return
	}
	// A name of three ids is none.
	if text := e.view(name); !bytes.Contains(text, grantSeparator) {
		tell(kind, id, text)
	}
}

// mayNameMembers reports whether propertyChanges may be those of a queue's or group's
// members. A name spelled with escapes is not noticed, as no API spells it.
func mayNameMembers(propertyChanges []byte) bool {
	return bytes.Contains(propertyChanges, []byte(queueMember)) || bytes.Contains(propertyChanges, []byte(queueMembers)) ||
		bytes.Contains(propertyChanges, []byte(groupProperty))
}
