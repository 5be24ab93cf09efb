package codec

import "genesys-audit-connector/internal/jsonscan"

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
	path = appendKeyName(path, key.View(&e.text))
	e.text = e.text[:mark]
	return path
}

// appendKeyName appends a name to a dotted path. One that the path could be misread
// for is written in brackets, as a JSON string.
func appendKeyName(path, name []byte) []byte {
	if !isPlainKey(name) {
		return append(appendQuoted(append(path, '['), name), ']')
	}
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, name...)
}

func isPlainKey(name []byte) bool {
	for _, c := range name {
		switch c {
		case '.', '[', ']', '"':
			return false
		}
	}
	return len(name) > 0
}

// appendQuoted appends valid UTF-8 as a JSON string, escaping only what must be.
func appendQuoted(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}
