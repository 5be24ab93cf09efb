package codec

import (
	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// snapshots adds the changes that lead from one snapshot of an object to the
// next. A snapshot that is null or missing is that of no object: what the other
// one holds came or went, key by key. One that is another kind of value than an
// object is a single value without a key.
func (e *Encoder) snapshots(before, after jsonscan.Value) {
	if !isPresent(before) {
		before = jsonscan.Value{}
	}
	if !isPresent(after) {
		after = jsonscan.Value{}
	}
	if isObjectOrNothing(before) && isObjectOrNothing(after) {
		e.objects(before, after)
		return
	}
	e.values(before, after)
}

func isObjectOrNothing(v jsonscan.Value) bool {
	return v.Kind() == jsonscan.Object || v.Kind() == jsonscan.Absent
}

// objects adds the changes between two objects: first those of the keys that
// before has, in its order, then those that only after has. It calls itself for
// each level, of which collect admits maxLevels.
func (e *Encoder) objects(before, after jsonscan.Value) {
	start, end := e.cmp.match(before, after)
	doc := e.doc
	for i := start; i < end && !e.tooMany; i++ {
		m := e.cmp.matched[i] // the slice moves when deeper levels add to it
		b, a := doc.At(m.before), doc.At(m.after)
		if sameBytes(b, a) {
			continue
		}
		parent := len(e.path)
		e.path = e.appendKey(e.path, doc.At(m.key))
		if b.Kind() == jsonscan.Object && a.Kind() == jsonscan.Object {
			e.objects(b, a)
		} else {
			e.values(b, a)
		}
		e.path = e.path[:parent]
	}
	e.cmp.matched = e.cmp.matched[:start]
}

// values adds the change between two values that are not both objects, if there is one.
func (e *Encoder) values(before, after jsonscan.Value) {
	if e.cmp.equal(before, after) {
		return
	}
	b, a := side{typeOf(before), before.Ref()}, side{typeOf(after), after.Ref()}
	kind := cameOrWent(b.typ, a.typ)
	if b.typ == arrayValue && a.typ == arrayValue {
		kind = e.arrays(before, after, e.path)
	}
	if kind == none {
		return
	}
	keyStart := len(e.keys)
	e.keys = append(e.keys, e.path...)
	e.add(change{key: e.keyFrom(keyStart), keyed: len(e.path) > 0, kind: kind, before: b, after: a})
}

func typeOf(v jsonscan.Value) valueType {
	switch v.Kind() {
	case jsonscan.Null:
		return nullValue
	case jsonscan.String:
		return stringValue
	case jsonscan.Number:
		return numberValue
	case jsonscan.Bool:
		return booleanValue
	case jsonscan.Object:
		return objectValue
	case jsonscan.Array:
		return arrayValue
	default:
		return absentValue
	}
}

// appendKey appends a key to a dotted path.
func (e *Encoder) appendKey(path []byte, key jsonscan.Value) []byte {
	mark := len(e.text)
	path = audit.AppendKeyName(path, key.View(&e.text))
	e.text = e.text[:mark]
	return path
}
