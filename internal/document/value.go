package document

import (
	"encoding/json"
	"slices"
	"strings"

	"genesys-audit-connector/internal/audit"
)

// names are those that a key is made of. One with a slash in it is that of another entity,
// and one name.
func names(key string) []string {
	if strings.Contains(key, "/") || key == "" {
		return []string{key}
	}
	var list []string
	for _, name := range audit.KeyNames(nil, []byte(key)) {
		list = append(list, string(name))
	}
	return list
}

func join(path []string) string {
	if len(path) == 1 && strings.Contains(path[0], "/") {
		return path[0]
	}
	var key []byte
	for _, name := range path {
		key = audit.AppendKeyName(key, []byte(name))
	}
	return string(key)
}

// overlap reports whether one of the keys is the other, or lies below it.
func overlap(a, b string) bool {
	p, q := names(a), names(b)
	n := min(len(p), len(q))
	return slices.Equal(p[:n], q[:n])
}

func get(in map[string]any, path []string) (any, bool) {
	value, ok := in[path[0]]
	if !ok || len(path) == 1 {
		return value, ok
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, false
	}
	return get(object, path[1:])
}

// put sets the value of a path. What stood in its way is no object any more.
func put(in map[string]any, path []string, value any) {
	if len(path) == 1 {
		in[path[0]] = value
		return
	}
	inner, ok := in[path[0]].(map[string]any)
	if !ok {
		inner = map[string]any{}
		in[path[0]] = inner
	}
	put(inner, path[1:], value)
}

func clone(value any) any {
	switch v := value.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, inner := range v {
			c[k] = clone(inner)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, inner := range v {
			c[i] = clone(inner)
		}
		return c
	}
	return value
}

// typed is a told value in the type of the one that was there, where it can be of it.
func typed(value, was any) any {
	text, ok := value.(string)
	if !ok {
		return value
	}
	switch was.(type) {
	case json.Number:
		if n := json.Number(text); json.Valid([]byte(text)) && isNumber(text) {
			return n
		}
	case bool:
		if text == "true" || text == "false" {
			return text == "true"
		}
	case []any:
		return []any{text}
	}
	return value
}

func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || '0' <= text[0] && text[0] <= '9')
}

// Agree reports whether two values may be the same one: by their spelling, as property
// changes know no types, and nothing but texts.
func Agree(a, b any) bool {
	if isNothing(a) || isNothing(b) {
		return isNothing(a) && isNothing(b)
	}
	if p, ok := a.(map[string]any); ok {
		if q, ok := b.(map[string]any); ok {
			return agreeObjects(p, q)
		}
	}
	p, q := list(a), list(b)
	return slices.EqualFunc(p, q, func(x, y any) bool { return spelling(x) == spelling(y) })
}

func agreeObjects(p, q map[string]any) bool {
	for k := range p {
		if !Agree(p[k], q[k]) {
			return false
		}
	}
	for k := range q {
		if !Agree(p[k], q[k]) {
			return false
		}
	}
	return true
}

// isNothing reports whether a property change would tell the value by no text.
func isNothing(v any) bool {
	switch v := v.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, inner := range v {
			if !isNothing(inner) {
				return false
			}
		}
		return true
	}
	return v == nil
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func spelling(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	text, _ := json.Marshal(v) // it was decoded from JSON
	return string(text)
}

// doubt takes out of known what the other side says otherwise; whole is that the other has
// all that there was.
func (s *side) doubt(path []string, known, other map[string]any, whole bool) {
	for _, name := range sortedKeys(known, other) {
		mine, has := known[name]
		theirs, also := other[name]
		here := append(path[:len(path):len(path)], name)
		switch {
		case !has && !s.whole, !also && !whole:
			continue
		case Agree(mine, theirs):
			continue
		}
		p, inObject := mine.(map[string]any)
		q, inOther := theirs.(map[string]any)
		if inObject && inOther {
			s.doubt(here, p, q, whole)
			continue
		}
		delete(known, name)
		s.unknown[join(here)] = true
	}
}

func sortedKeys(a, b map[string]any) []string {
	var all []string
	for k := range a {
		all = append(all, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return all
}
