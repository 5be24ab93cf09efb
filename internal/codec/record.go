package codec

import (
	"encoding/binary"
	"time"

	"genesys-audit-connector/internal/jsonscan"
)

// A record is what the event says of itself around what one change says:
//
//	common[0]      framing, auditId
//	               changeIndex, changeCount
//	common[1]      timestamp … entityName
//	               configurationKey … newType
//	common[2]      orgId … transactionId
//	               memberId … memberName
//	common[3]      divisionId, divisionName
//	               resolvedNames, maskedFields
//
// The order is that of schemas/configuration_change.avsc.

// writeCommon writes what all records of the event share.
func (e *Encoder) writeCommon(id string, at time.Time, meta *Meta) {
	f := &e.fields
	head := append(e.common[0], e.framing...)
	head = binary.AppendVarint(head, int64(len(id)))
	e.common[0] = append(head, id...)

	who := binary.AppendVarint(e.common[1], at.UnixMilli())
	who = e.appendNullable(who, f.userID)
	who = e.appendName(who, f.userName, e.found.user)
	who = appendBytes(who, meta.Action)
	who = appendBytes(who, meta.EntityType)
	who = e.appendNullable(who, f.entityID)
	switch {
	case e.found.entity != "":
		e.common[1] = appendString(who, e.found.entity)
	case e.grant.subject == nil:
		e.common[1] = e.appendNullable(who, f.entityName)
	default:
		e.common[1] = appendOptional(who, e.roleName) // the name of the entity is three ids
	}

	tail := e.appendNullable(e.common[2], f.orgID)
	tail = e.appendNullable(tail, f.serviceName)
	tail = e.appendNullable(tail, f.clientID)
	tail = e.appendNullable(tail, f.status)
	tail = e.appendNullable(tail, f.level)
	tail = e.appendNullable(tail, f.application)
	tail = e.appendAddresses(tail, f.remoteIP)
	tail = e.appendContext(tail)
	tail = e.appendNullable(tail, f.message)
	e.common[2] = e.appendNullable(tail, f.transactionID)

	e.common[3] = appendOptional(e.common[3], e.grant.division)
	if e.found.division != "" {
		e.common[3] = appendString(e.common[3], e.found.division)
	} else {
		e.common[3] = append(e.common[3], isNull)
	}
}

// writeRecord writes one change. The slice is valid until the next one.
func (e *Encoder) writeRecord(index int, c *change) []byte {
	r := append(e.record[:0], e.common[0]...)
	r = binary.AppendVarint(r, int64(index))
	r = binary.AppendVarint(r, int64(len(e.changes)))
	r = append(r, e.common[1]...)
	if c.keyed {
		r = appendBytes(append(r, isString), e.at(c.key))
	} else {
		r = append(r, isNull)
	}
	r = appendEnum(r, uint8(c.kind))
	r = e.appendSide(r, c.before, c)
	r = e.appendSide(r, c.after, c)
	r = appendEnum(r, uint8(c.before.typ))
	r = appendEnum(r, uint8(c.after.typ))
	r = append(r, e.common[2]...)
	var m member
	if c.member == (span{}) && e.grant.subject == nil { // nearly all
		r = append(r, isNull, isNull, isNull)
	} else {
		m = e.memberOf(c)
		r = m.append(r)
	}
	r = append(r, e.common[3]...)
	r = e.appendResolved(r, &m)
	r = append(r, endOfBlocks) // maskedFields: see masking
	e.record = r
	return r
}

// size is at least what the event's records come to, but for the values: those
// stand in the event, each once.
func (e *Encoder) size() int {
	shared := len(e.common[0]) + len(e.common[1]) + len(e.common[2]) + len(e.common[3])
	return shared*len(e.changes) + len(e.keys)
}

func (e *Encoder) appendSide(dst []byte, s side, c *change) []byte {
	if s.typ == absentValue || s.typ == nullValue {
		return append(dst, isNull)
	}
	if s.ref == memberID {
		return appendOptional(dst, e.at(c.member))
	}
	return e.appendText(append(dst, isString), e.doc.At(s.ref))
}

// appendNullable writes an id or a name; null where there is none. See fields.
func (e *Encoder) appendNullable(dst []byte, v jsonscan.Value) []byte {
	if !isText(v) {
		return append(dst, isNull)
	}
	mark := len(e.text)
	dst = appendOptional(dst, v.View(&e.text))
	e.text = e.text[:mark]
	return dst
}

// appendOptional writes a name or an id; none is null.
func appendOptional(dst, text []byte) []byte {
	if len(text) == 0 {
		return append(dst, isNull)
	}
	return appendBytes(append(dst, isString), text)
}

// appendText writes the characters of a string, or another value's spelling.
func (e *Encoder) appendText(dst []byte, v jsonscan.Value) []byte {
	mark := len(e.text)
	dst = appendBytes(dst, v.View(&e.text))
	e.text = e.text[:mark]
	return dst
}

// appendAddresses writes remoteIp. A text that stands there without its list
// counts as a list of one; an element that is no text is left out.
func (e *Encoder) appendAddresses(dst []byte, list jsonscan.Value) []byte {
	if isText(list) {
		dst = binary.AppendVarint(dst, 1)
		return append(e.appendText(dst, list), endOfBlocks)
	}
	n := int64(0)
	for el := list.Elements(); el.Next(); {
		if isText(el.Value()) {
			n++
		}
	}
	if n == 0 {
		return append(dst, endOfBlocks)
	}
	dst = binary.AppendVarint(dst, n)
	for el := list.Elements(); el.Next(); {
		if isText(el.Value()) {
			dst = e.appendText(dst, el.Value())
		}
	}
	return append(dst, endOfBlocks)
}

// pair is a key of the context and its value.
type pair struct{ key, value []byte }

// readContext reads the event's context and, under keys that it does not have
// itself, the ids that the entity's name hides. A value that is no text is left
// out. What a grant's context calls the role and the member, they are called.
func (e *Encoder) readContext(action []byte) {
	doc := e.fields.context.Doc()
	start, end := e.cmp.match(e.fields.context, jsonscan.Value{})
	for _, m := range e.cmp.matched[start:end] {
		if v := doc.At(m.before); isText(v) {
			e.context = append(e.context, pair{doc.At(m.key).View(&e.text), v.View(&e.text)})
		}
	}
	e.cmp.matched = e.cmp.matched[:start]
	e.roleName, e.memberName = nil, nil
	if e.grant.subject != nil {
		for _, p := range e.context {
			switch string(p.key) {
			case "roleName":
				e.roleName = p.value
			case "memberName":
				e.memberName = p.value
			}
		}
	}
	e.context = e.entity.appendIDs(e.context, action, e.view(e.fields.entityName))
}

func (e *Encoder) appendContext(dst []byte) []byte {
	if len(e.context) == 0 {
		return append(dst, endOfBlocks)
	}
	dst = binary.AppendVarint(dst, int64(len(e.context)))
	for _, p := range e.context {
		dst = appendBytes(appendBytes(dst, p.key), p.value)
	}
	return append(dst, endOfBlocks)
}
