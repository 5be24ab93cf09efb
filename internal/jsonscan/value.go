package jsonscan

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one value of a Doc. It is two words, copied freely, and valid until
// the Doc parses another text. The zero Value is Absent.
type Value struct {
	doc *Doc
	i   uint32
}

func (v Value) node() *node { return &v.doc.nodes[v.i] }

// Kind is the value's JSON type, Absent for the zero Value.
func (v Value) Kind() Kind {
	if v.doc == nil {
		return Absent
	}
	return v.node().kind()
}

// Raw is the value as it stands in the text, without white space around it.
// The slice belongs to the text and must not be written to.
func (v Value) Raw() []byte {
	if v.doc == nil {
		return nil
	}
	n := v.node()
	return v.doc.src[n.start:n.end:n.end]
}

// Doc is the text that the value belongs to; nil for the zero Value.
func (v Value) Doc() *Doc { return v.doc }

// Ref is the value's number in its Doc, from 1: a Value in four bytes, for those
// who keep many. It is 0 for the zero Value.
func (v Value) Ref() uint32 {
	if v.doc == nil {
		return 0
	}
	return v.i + 1
}

// At is the value that Ref gave this number; the zero Value for 0.
func (d *Doc) At(ref uint32) Value {
	if ref == 0 {
		return Value{}
	}
	return Value{d, ref - 1}
}

// Get returns the member called name of an object: the last one where a name
// stands twice, Absent where there is none or v is no object.
func (v Value) Get(name string) Value {
	var found Value
	for m := v.Members(); m.Next(); {
		if m.Key().Is(name) {
			found = m.Value()
		}
	}
	return found
}

// Is reports whether v is a string of exactly these characters.
func (v Value) Is(s string) bool {
	if v.Kind() != String {
		return false
	}
	n := v.node()
	if n.flags()&flagEscaped == 0 {
		return string(v.doc.src[n.start+1:n.end-1]) == s
	}
	if raw := int(n.end - n.start - 2); raw > 6*len(s) {
		return false // no escape takes more than six bytes for one
	}
	return string(v.AppendText(nil)) == s
}

// Members walks over the members of an object, duplicates included, in the
// order of the text. It is empty for every other kind.
func (v Value) Members() Members {
	if v.Kind() != Object {
		return Members{}
	}
	return Members{doc: v.doc, at: v.i + 1, end: v.node().next()}
}

// Members is an iterator: for m := v.Members(); m.Next(); { m.Key(), m.Value() }.
type Members struct {
	doc     *Doc
	at, end uint32
	key     uint32
}

// Next goes to the next member and reports whether there is one.
func (m *Members) Next() bool {
	if m.at >= m.end {
		return false
	}
	m.key = m.at
	m.at = m.doc.nodes[m.at+1].next()
	return true
}

// Key is the current member's name, a String.
func (m *Members) Key() Value { return Value{m.doc, m.key} }

// Value is the current member's value.
func (m *Members) Value() Value { return Value{m.doc, m.key + 1} }

// Elements walks over the elements of an array. It is empty for every other kind.
func (v Value) Elements() Elements {
	if v.Kind() != Array {
		return Elements{}
	}
	return Elements{doc: v.doc, at: v.i + 1, end: v.node().next()}
}

// Elements is an iterator: for e := v.Elements(); e.Next(); { e.Value() }.
type Elements struct {
	doc     *Doc
	at, end uint32
	cur     uint32
}

// Next goes to the next element and reports whether there is one.
func (e *Elements) Next() bool {
	if e.at >= e.end {
		return false
	}
	e.cur = e.at
	e.at = e.doc.nodes[e.at].next()
	return true
}

// Value is the current element.
func (e *Elements) Value() Value { return Value{e.doc, e.cur} }

// DeeperThan reports whether more than so many objects and arrays are open at
// the deepest place inside v. It costs nothing where the whole text is no deeper.
func (v Value) DeeperThan(levels int) bool {
	return v.doc != nil && v.doc.depth > levels && v.Depth() > levels
}

// Depth is how many objects and arrays are open at the deepest place inside v:
// 0 for a scalar, 1 for an empty object.
func (v Value) Depth() int {
	if v.doc == nil {
		return 0
	}
	deepest := 0
	var ends []uint32 // where the containers that are open at a node end
	for i, stop := v.i, v.node().next(); i < stop; i++ {
		for len(ends) > 0 && ends[len(ends)-1] <= i {
			ends = ends[:len(ends)-1]
		}
		if n := v.doc.nodes[i]; n.kind() == Object || n.kind() == Array {
			ends = append(ends, n.next())
			deepest = max(deepest, len(ends))
		}
	}
	return deepest
}

// AppendText appends the characters of a string as valid UTF-8: escapes are
// resolved, and what no character can be made of (an invalid byte, half a
// surrogate pair) becomes U+FFFD. Other kinds append their spelling without
// white space, as AppendCompact does.
func (v Value) AppendText(dst []byte) []byte {
	if v.Kind() != String {
		return v.AppendCompact(dst)
	}
	n := v.node()
	s := v.doc.src[n.start+1 : n.end-1]
	if n.flags()&flagEscaped == 0 {
		return AppendValid(dst, s)
	}
	for len(s) > 0 {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return AppendValid(dst, s)
		}
		dst = AppendValid(dst, s[:i])
		dst, s = appendEscape(dst, s[i:])
	}
	return dst
}

// appendEscape resolves the escape that s starts with and returns what follows it.
// The scanner has checked that the escape is whole.
func appendEscape(dst, s []byte) (out, rest []byte) {
	switch c := s[1]; c {
	case 'u':
		r, _ := hex4(s, 2)
		s = s[6:]
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
				low, _ := hex4(s, 2)
				if pair = utf16.DecodeRune(r, low); pair != utf8.RuneError {
					s = s[6:]
				}
			}
			r = pair
		}
		return utf8.AppendRune(dst, r), s
	case 'b':
		return append(dst, '\b'), s[2:]
	case 'f':
		return append(dst, '\f'), s[2:]
	case 'n':
		return append(dst, '\n'), s[2:]
	case 'r':
		return append(dst, '\r'), s[2:]
	case 't':
		return append(dst, '\t'), s[2:]
	default: // a quote, a backslash or a slash stands for itself
		return append(dst, c), s[2:]
	}
}

// View is what AppendText appends, without the copy where the text has it as it
// is. Elsewhere it is appended to buf, which then holds it.
func (v Value) View(buf *[]byte) []byte {
	if v.doc == nil {
		return nil
	}
	n := v.node()
	plain := v.doc.src[n.start:n.end:n.end]
	if n.kind() == String {
		plain = plain[1 : len(plain)-1]
	}
	if n.flags() == 0 || n.flags() == flagHigh && utf8.Valid(plain) {
		return plain
	}
	start := len(*buf)
	*buf = v.AppendText(*buf)
	return (*buf)[start:len(*buf):len(*buf)]
}

// Text is AppendText as a string; "" for Absent.
func (v Value) Text() string {
	if v.Kind() == String && v.node().flags()&flagEscaped == 0 {
		n := v.node()
		if s := v.doc.src[n.start+1 : n.end-1]; utf8.Valid(s) {
			return string(s)
		}
	}
	return string(v.AppendText(nil))
}

// AppendCompact appends the value as it is spelled, without the white space
// between its parts. Invalid UTF-8 inside strings becomes U+FFFD.
func (v Value) AppendCompact(dst []byte) []byte {
	raw := v.Raw()
	if v.doc == nil || v.node().flags()&flagSpaced == 0 {
		return AppendValid(dst, raw)
	}
	for len(raw) > 0 {
		end := 0
		switch c := raw[0]; {
		case isSpace(c):
			raw = raw[1:]
			continue
		case c == '"':
			end = stringEnd(raw)
		default:
			for end = 1; end < len(raw) && raw[end] != '"' && !isSpace(raw[end]); end++ {
			}
		}
		dst = AppendValid(dst, raw[:end])
		raw = raw[end:]
	}
	return dst
}

// stringEnd is the length of the string that s starts with, quotes included.
func stringEnd(s []byte) int {
	i := 1
	for {
		if i, _ = quoteOrBackslash(s, i); s[i] == '"' {
			return i + 1
		}
		i += 2
	}
}

// AppendValid appends s with U+FFFD for each byte that is not UTF-8.
func AppendValid(dst, s []byte) []byte {
	if utf8.Valid(s) {
		return append(dst, s...)
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		dst = utf8.AppendRune(dst, r)
		s = s[n:]
	}
	return dst
}
