package audit

import (
	"bytes"
	"encoding/json"
)

// AppendKeyName appends a name to a dotted path. One that the path could be misread
// for is written in brackets, as a JSON string.
func AppendKeyName(path, name []byte) []byte {
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

// KeyNames appends the names that a configurationKey is made of: those between dots, and
// those in brackets, which are JSON strings.
func KeyNames(dst [][]byte, key []byte) [][]byte {
	for len(key) > 0 {
		if len(key) > 1 && key[0] == '[' && key[1] == '"' {
			if inner, rest, ok := cutQuoted(key[1:]); ok {
				dst, key = append(dst, inner), rest
				if len(key) > 0 && key[0] == '.' {
					key = key[1:]
				}
				continue
			}
		}
		end := 0
		for end < len(key) && key[end] != '.' && !(end > 0 && key[end] == '[' && end+1 < len(key) && key[end+1] == '"') {
			end++
		}
		dst = append(dst, key[:end])
		if end < len(key) && key[end] == '.' {
			if end++; end == len(key) {
				dst = append(dst, nil)
			}
		}
		key = key[end:]
	}
	return dst
}

// cutQuoted reads a JSON string and the bracket behind it.
func cutQuoted(key []byte) (text, rest []byte, ok bool) {
	for i := 1; i < len(key); i++ {
		switch key[i] {
		case '\\':
			i++
		case '"':
			if i+1 == len(key) || key[i+1] != ']' {
				return nil, nil, false
			}
			text = key[1:i]
			if bytes.IndexByte(text, '\\') >= 0 {
				var s string
				if json.Unmarshal(key[:i+1], &s) != nil {
					return nil, nil, false
				}
				text = []byte(s)
			}
			return text, key[i+2:], true
		}
	}
	return nil, nil, false
}
