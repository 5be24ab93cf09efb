// Package oauth gives out access tokens: of an OIDC token endpoint, by the grant of client
// credentials, or out of a file that something else renews.
//
// It promises: whoever asks waits for the endpoint only while there is no token that is
// still good; the endpoint is asked by one request at a time, which outlives its asker;
// secrets and tokens are in no error and in no printed Token. It refuses to know what a
// token is for.
package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Token is an access token.
type Token struct {
	Value   string    `json:"-"`
	Expires time.Time // zero where nothing says when
}

// Format hides the token from every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[token]") }

// The errors of a text that no token can be.
var (
	errEmpty = errors.New("there is no token in it")
	errText  = errors.New("it holds other characters than a bearer token has (RFC 6750, 2.1)")
)

// parse returns the token that a text is. Brokers and header fields take the characters of
// b64token alone (RFC 6750, 2.1); any other could end the field that the token stands in.
func parse(text string) (Token, error) {
	if text == "" {
		return Token{}, errEmpty
	}
	other := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~+/=", c))
	}
	if strings.ContainsFunc(text, other) {
		return Token{}, errText
	}
	return Token{Value: text, Expires: expiry(text)}, nil
}

// expiry returns when a JWT ends by its own word (RFC 7519, 4.1.4), zero where the text is
// none or does not say. The signature is for whoever takes the token to check.
func expiry(text string) time.Time {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var said struct {
		Exp float64 `json:"exp"`
	}
	const most = 253402300799 // the last second of the year 9999
	if json.Unmarshal(claims, &said) != nil || said.Exp <= 0 || said.Exp > most {
		return time.Time{}
	}
	return time.Unix(int64(said.Exp), 0)
}
