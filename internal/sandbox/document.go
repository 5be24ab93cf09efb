package sandbox

import (
	"fmt"
	"strconv"
	"strings"
)

// object is a JSON object that keeps its order, array a JSON array, and literal
// a value that is written as it stands. They describe configuration; they are
// rendered once, when the organisation is built.
type (
	object  []member
	array   []any
	literal string
	member  struct {
		key   string
		value any
	}
)

// obj makes an object of key, value, key, value…
func obj(pairs ...any) object {
	o := make(object, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		o = append(o, member{pairs[i].(string), pairs[i+1]})
	}
	return o
}

// get returns the value at a dotted path, nil where there is none.
func (o object) get(path string) any {
	key, rest, nested := strings.Cut(path, ".")
	for _, m := range o {
		if m.key != key {
			continue
		}
		if !nested {
			return m.value
		}
		if inner, ok := m.value.(object); ok {
			return inner.get(rest)
		}
	}
	return nil
}

// removed, given to with, takes the path away.
type removed struct{}

// with returns a copy that has value at path.
func (o object) with(path string, value any) object {
	key, rest, nested := strings.Cut(path, ".")
	changed := make(object, 0, len(o)+1)
	found := false
	for _, m := range o {
		if m.key == key {
			found = true
			m.value = o.replaced(m, rest, nested, value)
			if _, gone := m.value.(removed); gone {
				continue
			}
		}
		changed = append(changed, m)
	}
	if !found {
		changed = append(changed, member{key, o.replaced(member{}, rest, nested, value)})
	}
	return changed
}

func (object) replaced(m member, rest string, nested bool, value any) any {
	if !nested {
		return value
	}
	inner, _ := m.value.(object)
	return inner.with(rest, value)
}

func appendJSON(dst []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return appendString(dst, v)
	case literal:
		return append(dst, v...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case array:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, item)
		}
		return append(dst, ']')
	case object:
		dst = append(dst, '{')
		for i, m := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, m.key), ':')
			dst = appendJSON(dst, m.value)
		}
		return append(dst, '}')
	}
	panic(fmt.Sprintf("sandbox: %T in a document", value))
}

// appendString quotes text as JSON without escaping more than JSON asks for, as
// most servers do.
func appendString(dst []byte, text string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// valueTexts writes a value as the oldValues and newValues of the query dialect
// carry it: strings as they are, everything else as its JSON.
func valueTexts(value any) array {
	texts := array{}
	one := func(v any) {
		if text, ok := v.(string); ok {
			texts = append(texts, text)
		} else {
			texts = append(texts, string(appendJSON(nil, v)))
		}
	}
	switch v := value.(type) {
	case nil:
	case array:
		for _, item := range v {
			one(item)
		}
	default:
		one(v)
	}
	return texts
}

// quoted is text as a JSON string.
func quoted(text string) []byte { return appendString(nil, text) }
