package codec

import (
	"bytes"
	"slices"

	"genesys-audit-connector/internal/jsonscan"
)

// Who came and who went, in the three ways in which events tell it.
//
// A role is granted by an event whose entity is the role and whose entity name is
// <subjectId>--<roleId>--<divisionId>; nothing else of the event says so. A
// queue's members stand in the names of properties, or in their values. A group's
// stand in a value that looks like JSON and is none, which does not say whether
// they came or went: siblings.go.

const (
	membersKey    = "members" // configurationKey of a role grant
	groupProperty = "group-membership"

	queueMember      = "QueueMember/" // <queueId>:<userId>, with :joined or another attribute behind it
	queueMembers     = "queueId:"     // <queueId>:members
	queueMembersTail = ":members"
	queueMemberValue = "queueMember:" // <userId>
)

var (
	roleType       = []byte("Role")
	grantSeparator = []byte("--")
)

// memberType says what a member is, where something tells.
type memberType uint8

const (
	unknownMember memberType = iota
	userMember
	groupMember
	clientMember
)

func (t memberType) String() string { return [...]string{"", "user", "group", "client"}[t] }

// memberID stands for a value that is the member's id, in side.ref: no Ref of a
// jsonscan.Value is that large.
const memberID = ^uint32(0)

// span is a piece of Encoder.keys.
type span struct{ start, end uint32 }

func (e *Encoder) at(s span) []byte { return e.keys[s.start:s.end] }

// grant is what the name of a role's entity says; its parts are nil where the
// name is the role's.
type grant struct{ subject, role, division []byte }

// readGrant takes the name of a role's entity apart. Events of other actions than
// MemberAdd and its like are taken for grants only where the name has the role's id.
func (e *Encoder) readGrant(meta *Meta) {
	e.grant = grant{}
	if len(meta.EntityType) != len(roleType) || !bytes.EqualFold(meta.EntityType, roleType) {
		return
	}
	subject, rest, _ := bytes.Cut(e.view(e.fields.entityName), grantSeparator)
	role, division, ok := bytes.Cut(rest, grantSeparator)
	if !ok || len(subject) == 0 || len(role) == 0 || len(division) == 0 || bytes.Contains(division, grantSeparator) {
		return
	}
	if membershipChange(meta.Action) == none && !bytes.Equal(role, meta.EntityID) {
		return
	}
	e.grant = grant{subject, role, division}
}

// membershipChange is what an action says of members; none where it says nothing.
func membershipChange(action []byte) changeType {
	switch string(action) {
	case "MemberAdd":
		return added
	case "MemberRemove":
		return removed
	case "MemberUpdate":
		return modified
	}
	return none
}

// granted adds the change that a role grant without changes of its own is.
func (e *Encoder) granted(action []byte) {
	kind := membershipChange(action)
	if e.grant.subject == nil || kind == none {
		return
	}
	key := e.keep([]byte(membersKey))
	c := change{key: key, keyed: true, kind: kind, member: e.keep(e.grant.subject)}
	if kind != added {
		c.before = side{stringValue, memberID}
	}
	if kind != removed {
		c.after = side{stringValue, memberID}
	}
	e.add(c)
}

// keep copies a text to the end of e.keys.
func (e *Encoder) keep(text []byte) span {
	start := len(e.keys)
	e.keys = append(e.keys, text...)
	return span{uint32(start), uint32(len(e.keys))}
}

// setQueueMember says who it is that a property of a queue speaks of. Key and
// values stay as they are.
func (e *Encoder) setQueueMember(c *change) {
	key := e.at(c.key)
	if len(key) <= len(queueMember) || key[0]|0x20 != 'q' {
		return // nearly all
	}
	if rest, ok := bytes.CutPrefix(key, []byte(queueMember)); ok {
		queue, rest, _ := bytes.Cut(rest, []byte{':'})
		if user, _, _ := bytes.Cut(rest, []byte{':'}); len(user) > 0 {
			start := c.key.start + uint32(len(queueMember)+len(queue)+1)
			c.member, c.memberType = span{start, start + uint32(len(user))}, userMember
		}
		return
	}
	if !bytes.HasPrefix(key, []byte(queueMembers)) || !bytes.HasSuffix(key, []byte(queueMembersTail)) {
		return
	}
	of := c.after
	if c.after.typ == absentValue {
		of = c.before
	} else if c.before.typ != absentValue && c.kind != none {
		return // one member in place of another: not one of whom the record speaks
	}
	if of.typ != stringValue {
		return // none, or several
	}
	value := e.keep(nil)
	e.keys = e.doc.At(of.ref).AppendText(e.keys)
	value.end = uint32(len(e.keys))
	if user, ok := bytes.CutPrefix(e.at(value), []byte(queueMemberValue)); ok && len(user) > 0 {
		value.start = value.end - uint32(len(user))
		c.member, c.memberType = value, userMember
	}
}

// groupMembers adds a change for each member that a property group-membership
// speaks of. It reports whether its values could be read, and differ.
func (e *Encoder) groupMembers(el *element, key span, action []byte) bool {
	e.members = e.members[:0]
	ok := e.readMembers(el.before)
	before := len(e.members)
	ok = ok && e.readMembers(el.after)
	had, has := e.members[:before], e.members[before:]
	came := added
	if ok && len(had) == 0 && len(has) > 0 {
		// oldValues is empty for those who went, too.
		if came = membershipChange(action); came == none || came == modified {
			came = e.siblings.direction(e.view(e.fields.context.Get(correlationKey)), e.view(e.fields.entityID), len(has))
		}
	}
	mark := len(e.changes)
	if ok {
		e.addMembers(key, had, has, removed)
		e.addMembers(key, has, had, came)
	}
	if len(e.changes) == mark {
		e.keys = e.keys[:key.end]
		return false
	}
	return true
}

// addMembers adds a change for each of the members that the others are not among.
func (e *Encoder) addMembers(key span, members, others []span, kind changeType) {
	byID := func(a, b span) int { return bytes.Compare(e.at(a), e.at(b)) }
	sorted := append(e.sorted[:0], others...)
	slices.SortFunc(sorted, byID)
	e.sorted = sorted
	for _, m := range members {
		if _, same := slices.BinarySearchFunc(sorted, m, byID); same || e.tooMany {
			continue
		}
		c := change{key: key, keyed: true, kind: kind, member: m}
		if kind == removed {
			c.before = side{stringValue, memberID}
		} else {
			c.after = side{stringValue, memberID}
		}
		e.add(c)
	}
}

// readMembers adds the ids in the values of group-membership to e.members: each
// value is an id, or several as "[id, id]". It reports whether it could read them.
func (e *Encoder) readMembers(values jsonscan.Value) bool {
	if isText(values) {
		return e.readMemberList(values)
	}
	for el := values.Elements(); el.Next(); {
		if !isText(el.Value()) || !e.readMemberList(el.Value()) {
			return false
		}
	}
	return true
}

func (e *Encoder) readMemberList(value jsonscan.Value) bool {
	start := len(e.keys)
	e.keys = value.AppendText(e.keys)
	list := e.keys[start:]
	if inner, ok := bytes.CutPrefix(list, []byte{'['}); ok {
		if list, ok = bytes.CutSuffix(inner, []byte{']'}); !ok {
			return false
		}
		start++
	}
	for more := len(list) > 0; more; {
		var id []byte
		id, list, more = bytes.Cut(list, []byte{','})
		length := len(id)
		trimmed := bytes.TrimLeft(id, " ")
		from := start + length - len(trimmed)
		trimmed = bytes.TrimRight(trimmed, " ")
		if !isMemberID(trimmed) {
			return false
		}
		e.members = append(e.members, span{uint32(from), uint32(from + len(trimmed))})
		start += length + 1
	}
	return true
}

// isMemberID reports whether a text may be the id of a member: a word.
func isMemberID(id []byte) bool {
	for _, c := range id {
		switch {
		case c == '-', c == '_', '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		default:
			return false
		}
	}
	return len(id) > 0
}
