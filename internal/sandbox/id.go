package sandbox

import (
	"bytes"
	"encoding/json"
	"strings"
)

// usableID reads the id of an event that somebody else wrote: the last value of
// the key, where that is a string of 1 to 512 bytes that is not blank, else "".
// It reads token by token, which has no limit of depth.
func usableID(body []byte, key string) (string, error) {
	tokens := json.NewDecoder(bytes.NewReader(body))
	tokens.UseNumber()
	first, err := tokens.Token()
	if err != nil || first != json.Delim('{') {
		return "", err
	}
	id := ""
	for tokens.More() {
		name, err := tokens.Token()
		if err != nil {
			return "", err
		}
		value, err := skipValue(tokens)
		if err != nil {
			return "", err
		}
		if name == key {
			text, _ := value.(string)
			id = text
		}
	}
	if len(id) > longestID || strings.TrimSpace(id) == "" {
		id = ""
	}
	_, err = tokens.Token()
	return id, err
}

// skipValue reads one value to its end and returns its first token.
func skipValue(tokens *json.Decoder) (json.Token, error) {
	first, err := tokens.Token()
	depth := deeper(first)
	for depth > 0 && err == nil {
		var token json.Token
		token, err = tokens.Token()
		depth += deeper(token)
	}
	return first, err
}

func deeper(token json.Token) int {
	switch token {
	case json.Delim('{'), json.Delim('['):
		return 1
	case json.Delim('}'), json.Delim(']'):
		return -1
	}
	return 0
}
