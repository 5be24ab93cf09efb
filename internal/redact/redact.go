// Package redact makes texts of others fit to be shown: what a broker, a registry or a token
// endpoint says ends up in logs, on terminals and on a page, and may hold what it was sent.
package redact

import (
	"encoding/base64"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Printable returns a text on one line, without the characters that steer terminals.
func Printable(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool { return !unicode.IsPrint(r) }), " ")
}

// Clean returns what of a text of somebody else's may be shown: without the secrets that
// were sent there, in whatever spelling, on one line of so many bytes at most, of characters
// that print: others steer terminals.
func Clean(text string, most int, secrets ...string) string {
	var spellings []string
	for _, s := range secrets {
		if s != "" {
			quoted := strconv.Quote(s)
			spellings = append(spellings, s, quoted[1:len(quoted)-1], url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s),
				base64.StdEncoding.EncodeToString([]byte(s)), base64.RawStdEncoding.EncodeToString([]byte(s)))
		}
	}
	slices.SortFunc(spellings, func(a, b string) int { return len(b) - len(a) }) // one may be within another
	for _, s := range spellings {
		text = strings.ReplaceAll(text, s, "[secret]")
	}
	text = Printable(text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
