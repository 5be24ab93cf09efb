package mask

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// pattern is a path as rules write it: the names of a configurationKey, separated by
// dots. "*" in a name stands for any characters, "**" as a name for any number of names.
// A path stands for itself and for all below it, and a value that holds what it names
// is hidden whole. Case does not count.
type pattern []name

// name is one of a pattern: the texts between its stars; any is "**".
type name struct {
	any   bool
	parts []string
}

func (n name) literal() bool { return !n.any && len(n.parts) == 1 }

func parsePattern(text string) (pattern, error) {
	var p pattern
	wild := 0
	for _, s := range audit.KeyNames(nil, []byte(text)) {
		if string(s) == "**" {
			wild++
			p = append(p, name{any: true})
			continue
		}
		if len(s) == 0 || strings.Contains(string(s), "**") {
			return nil, fmt.Errorf("%q is no path; expected names separated by dots, such as config.credentials or **.password", text)
		}
		p = append(p, name{parts: strings.Split(string(s), "*")})
	}
	if wild > 1 || len(p) == 0 || p[len(p)-1].any {
		return nil, fmt.Errorf(`%q is no path; expected "**" once at most, and a name after it`, text)
	}
	return p, nil
}

// matches reports whether the name is of this text.
func (n name) matches(text []byte) bool {
	first, last := n.parts[0], n.parts[len(n.parts)-1]
	if len(n.parts) == 1 {
		return len(text) == len(first) && foldPrefix(text, first)
	}
	if !foldPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for _, part := range n.parts[1 : len(n.parts)-1] {
		for !foldPrefix(text, part) {
			if len(text) == 0 {
				return false
			}
			text = text[1:]
		}
		text = text[len(part):]
	}
	return len(text) >= len(last) && foldPrefix(text[len(text)-len(last):], last)
}

func foldPrefix(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && bytes.EqualFold(text[:len(prefix)], []byte(prefix))
}

// covers reports whether the pattern names a key or something above it, and how many
// names of the key it takes for that.
func (p pattern) covers(key [][]byte) (taken int, ok bool) {
	switch {
	case len(p) == 0:
		return 0, true
	case len(key) == 0:
		return 0, false
	case !p[0].any:
		if !p[0].matches(key[0]) {
			return 0, false
		}
		taken, ok = p[1:].covers(key[1:])
		return taken + 1, ok
	}
	for skip := range key {
		if taken, ok = p[1:].covers(key[skip:]); ok {
			return skip + taken, true
		}
	}
	return 0, false
}

// inside reports whether the value at a key holds something below it that the pattern names.
func (p pattern) inside(key [][]byte, v jsonscan.Value) bool {
	switch {
	case len(p) == 0:
		return true
	case len(key) == 0:
		return p.in(v)
	case p[0].any:
		return p[1:].inside(key, v) || p.inside(key[1:], v)
	}
	return p[0].matches(key[0]) && p[1:].inside(key[1:], v)
}

// in reports whether a value holds what the pattern names. The members of an array's
// elements are those of the array.
func (p pattern) in(v jsonscan.Value) bool {
	if len(p) == 0 {
		return true
	}
	if p[0].any && p[1:].in(v) {
		return true
	}
	v, whole := unfold(v)
	if whole {
		return true
	}
	for e := v.Elements(); e.Next(); {
		if p.in(e.Value()) {
			return true
		}
	}
	var text []byte
	for m := v.Members(); m.Next(); {
		switch {
		case p[0].any:
			if p.in(m.Value()) {
				return true
			}
		case p[0].matches(m.Key().View(&text)) && p[1:].in(m.Value()):
			return true
		}
	}
	return false
}

// unfold is the object or array that a string holds the JSON of; other values are
// themselves. whole reports that it is too much to be looked into.
func unfold(v jsonscan.Value) (inner jsonscan.Value, whole bool) {
	if v.Kind() != jsonscan.String {
		return v, false
	}
	if text := v.Raw(); !mayBeJSON(text[1:]) && text[1] != '\\' {
		return v, false // nearly all
	}
	inner, whole = parse(new(jsonscan.Doc), v.AppendText(nil))
	return cmp.Or(inner, v), whole
}

// mayBeJSON reports whether a text begins as an object or an array does.
func mayBeJSON(text []byte) bool {
	for _, c := range text {
		switch c {
		case '{', '[':
			return true
		case ' ', '\t', '\r', '\n':
		default:
			return false
		}
	}
	return false
}

// hasAnywhere reports whether a member of the value, at any depth, has one of the names.
func hasAnywhere(v jsonscan.Value, names map[string]bool, text *[]byte) bool {
	v, whole := unfold(v)
	if whole {
		return true
	}
	for e := v.Elements(); e.Next(); {
		if hasAnywhere(e.Value(), names, text) {
			return true
		}
	}
	for m := v.Members(); m.Next(); {
		if isNamed(m.Key().View(text), names) || hasAnywhere(m.Value(), names, text) {
			return true
		}
	}
	return false
}

func isNamed(segment []byte, names map[string]bool) bool {
	var lower [64]byte
	if len(segment) > len(lower) {
		return false
	}
	n := copy(lower[:], segment)
	return names[string(lowerASCII(lower[:n]))]
}

// IsPlain reports whether a name is one that a schema may have. Others are data.
func IsPlain(segment []byte) bool {
	for i, c := range segment {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case i > 0 && ('0' <= c && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return len(segment) > 0
}
