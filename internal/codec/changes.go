package codec

import (
	"errors"

	"genesys-audit-connector/internal/jsonscan"
)

// changeType and valueType are the schema's enums, in its order.
type changeType uint8

const (
	added changeType = iota
	removed
	modified
	reordered
	none
)

type valueType uint8

const (
	absentValue valueType = iota
	nullValue
	stringValue
	numberValue
	booleanValue
	objectValue
	arrayValue
)

// change is one record of an event. It is small because an event may have a
// million of them: values are kept as jsonscan.Value.Ref, of Encoder.doc.
type change struct {
	key           span // its configurationKey
	member        span // memberId; empty where the change has none of its own
	keyed         bool
	kind          changeType
	memberType    memberType
	before, after side
}

// side is a value before or after a change.
type side struct {
	typ valueType
	ref uint32 // memberID: the value is the member's id
}

// add adds a change; its key and its member stand in e.keys.
func (e *Encoder) add(c change) {
	e.changes = append(e.changes, c)
	e.tooMany = len(e.keys)+leastRecordBytes*len(e.changes) > maxRecordBytes
}

// keyFrom is the key that e.keys ends with, from start on.
func (e *Encoder) keyFrom(start int) span { return span{uint32(start), uint32(len(e.keys))} }

// collect finds the changes that the event tells of: at least one.
func (e *Encoder) collect(event jsonscan.Value, action []byte) (problem string) {
	if event.DeeperThan(maxLevels) {
		e.none()
		return problemTooDeep
	}
	f := &e.fields
	e.doc = event.Doc()
	switch {
	case hasElements(f.propertyChanges) || hasElements(f.entityChanges):
		e.properties(f.propertyChanges, action)
		e.entities(f.entityChanges)
	case isPresent(f.before) || isPresent(f.after):
		e.snapshots(f.before, f.after)
	default:
		problem = e.fromPayload(f.rawPayload)
	}
	if len(e.changes) == 0 && problem == "" {
		e.granted(action)
	}
	if e.tooMany {
		problem = problemTooMany
	}
	if len(e.changes) == 0 || problem != "" {
		e.none()
	}
	return problem
}

// none leaves the one change that says that no change can be recognised.
func (e *Encoder) none() {
	e.changes = append(e.changes[:0], change{kind: none})
}

// fromPayload compares the snapshots of rawPayload: an object, or a string that
// holds the JSON of one.
func (e *Encoder) fromPayload(payload jsonscan.Value) (problem string) {
	if payload.Kind() == jsonscan.String {
		e.payloadText = payload.AppendText(e.payloadText[:0])
		if err := e.payload.Parse(e.payloadText); err != nil {
			if errors.Is(err, jsonscan.ErrTooManyValues) {
				return problemPayload
			}
			return "" // a text like any other
		}
		payload, e.doc = e.payload.Root(), &e.payload
		if payload.DeeperThan(maxLevels) {
			return problemTooDeep
		}
	}
	if before, after := payload.Get("before"), payload.Get("after"); isPresent(before) || isPresent(after) {
		e.snapshots(before, after)
	}
	return ""
}

// element is one of propertyChanges or entityChanges.
type element struct{ property, entityType, entityID, before, after jsonscan.Value }

// readElement takes an element apart in one pass, as fields.read does an event.
func (e *Encoder) readElement(v jsonscan.Value) (el element) {
	mark := len(e.text)
	for m := v.Members(); m.Next(); {
		switch string(m.Key().View(&e.text)) {
		case "property":
			el.property = m.Value()
		case "oldValues":
			el.before = m.Value()
		case "newValues":
			el.after = m.Value()
		case "entityType":
			el.entityType = m.Value()
		case "entityId":
			el.entityID = m.Value()
		}
	}
	e.text = e.text[:mark]
	return el
}

// properties adds a change for each element of propertyChanges, also where old and
// new values are equal, and where the element is no object; for several members of
// a group one each.
func (e *Encoder) properties(list jsonscan.Value, action []byte) {
	for all := list.Elements(); all.Next() && !e.tooMany; {
		el := e.readElement(all.Value())
		keyStart := len(e.keys)
		keyed := isText(el.property)
		if keyed {
			e.keys = el.property.AppendText(e.keys)
		}
		key := e.keyFrom(keyStart)
		group := false
		switch string(e.at(key)) {
		case groupProperty:
			if e.groupMembers(&el, key, action) {
				continue
			}
			group = true
		case countProperty:
			e.siblings.hasCount = true
		}
		c := e.listed(&el, key, keyed)
		if group && c.kind == added && membershipChange(action) != added {
			c.kind = modified // oldValues is empty for those who went, too
		}
		e.setQueueMember(&c)
		e.add(c)
	}
}

// entities adds a change for each element of entityChanges, like properties. Its
// key is <entityType>/<entityId>.
func (e *Encoder) entities(list jsonscan.Value) {
	for all := list.Elements(); all.Next() && !e.tooMany; {
		el := e.readElement(all.Value())
		keyStart := len(e.keys)
		keyed := isText(el.entityType) || isText(el.entityID)
		if isText(el.entityType) {
			e.keys = el.entityType.AppendText(e.keys)
		}
		if keyed {
			e.keys = append(e.keys, '/')
		}
		if isText(el.entityID) {
			e.keys = el.entityID.AppendText(e.keys)
		}
		e.add(e.listed(&el, e.keyFrom(keyStart), keyed))
	}
}

// listed is the change that an element tells of.
func (e *Encoder) listed(el *element, key span, keyed bool) change {
	before, after := listSide(el.before), listSide(el.after)
	kind := e.compareSides(before, after, e.at(key))
	return change{key: key, keyed: keyed, kind: kind, before: before, after: after}
}

// listSide reads oldValues or newValues: a list of strings, of which none is
// ABSENT, one is that string and several are an ARRAY. A text that stands there
// without its list counts as a list of one.
func listSide(v jsonscan.Value) side {
	one := v
	if v.Kind() == jsonscan.Array {
		values := v.Elements()
		if !values.Next() {
			return side{}
		}
		one = values.Value()
		if values.Next() {
			return side{arrayValue, v.Ref()}
		}
		if !isText(one) {
			return side{typ: nullValue}
		}
	}
	if !isText(one) {
		return side{}
	}
	return side{stringValue, one.Ref()}
}

// compareSides tells how the values of a listed change differ.
func (e *Encoder) compareSides(before, after side, key []byte) changeType {
	if before.typ != after.typ {
		return cameOrWent(before.typ, after.typ)
	}
	b, a := e.doc.At(before.ref), e.doc.At(after.ref)
	switch before.typ {
	case stringValue:
		if !e.cmp.sameText(b, a) {
			return modified
		}
	case arrayValue:
		if !e.cmp.equal(b, a) {
			return e.arrays(b, a, key)
		}
	}
	return none
}

// arrays names the change between two arrays that differ: none where it is one
// of order, and the order of that key means nothing.
func (e *Encoder) arrays(before, after jsonscan.Value, key []byte) changeType {
	switch {
	case !e.cmp.sameMembers(before, after):
		return modified
	case e.entity.isSet(key):
		return none
	}
	return reordered
}

// cameOrWent names the change from a value to one that differs from it.
func cameOrWent(before, after valueType) changeType {
	switch {
	case before == absentValue:
		return added
	case after == absentValue:
		return removed
	}
	return modified
}

func hasElements(v jsonscan.Value) bool {
	elements := v.Elements()
	return elements.Next()
}

// isPresent reports whether v is there and not null.
func isPresent(v jsonscan.Value) bool {
	return v.Kind() != jsonscan.Absent && v.Kind() != jsonscan.Null
}
