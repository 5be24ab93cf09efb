package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
)

var (
	// ErrRefused is in the error of an endpoint that does not accept the client, or what it
	// asks for: the same request would be refused again.
	ErrRefused = errors.New("refused")

	errNoBearer = errors.New("the token is no bearer token")
	errExpired  = errors.New("the token that it gave ended already (is a clock wrong?)")
	errElse     = errors.New("redirects to another host; credentials are not sent there")
	errTooMany  = errors.New("redirects without end")
)

// Error is a token endpoint that gave no token.
type Error struct {
	Endpoint string
	Status   int    // of the answer; 0 for none
	Code     string // the endpoint's own (RFC 6749, 5.2), if any
	Detail   string // and its own words
	Err      error  // the cause, where there is no answer or no sense in it
}

func (e *Error) Error() string {
	text := "token endpoint " + e.Endpoint
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	text += fmt.Sprintf(" answers %d", e.Status)
	for _, part := range []string{e.Code, e.Detail} {
		if part != "" {
			text += ": " + part
		}
	}
	return text
}

// Unwrap returns the cause, or ErrRefused where the endpoint does not want the client. Of
// 400 only the codes of RFC 6749, 5.2 say so; anything may stand in front of the endpoint.
func (e *Error) Unwrap() error {
	switch {
	case e.Err != nil:
		return e.Err
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden,
		e.Status == http.StatusBadRequest && e.Code != "":
		return ErrRefused
	}
	return nil
}

// failure returns what went wrong at the endpoint, without secrets: url.Error would repeat
// the address, RetrieveError shows the whole answer, and that may hold what was sent.
func (c *Client) failure(err error) error {
	e := &Error{Endpoint: c.config.Endpoint}
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) {
		e.Status, e.Code, e.Detail = refused.Response.StatusCode, c.clean(refused.ErrorCode), c.clean(refused.ErrorDescription)
		return e
	}
	if at := (*url.Error)(nil); errors.As(err, &at) {
		err = at.Err
	}
	if e.Err = err; errors.Is(err, context.DeadlineExceeded) {
		e.Err = fmt.Errorf("no answer within %v", fetchTimeout)
	}
	return e
}

// clean returns what of an endpoint's text may be shown: without the secret in any of its
// spellings, short, on one line. It is called within a fetch.
func (c *Client) clean(text string) string {
	id, secret := c.grant.ClientID, c.grant.ClientSecret
	for _, s := range []string{
		base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret))),
		url.QueryEscape(secret), secret,
	} {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[secret]")
		}
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// faithful returns the client with redirects kept to the host that was asked: 307 and 308
// repeat the whole form, with the secret in it.
func faithful(client *http.Client) *http.Client {
	if client == nil {
		client = &http.Client{}
	}
	kept := *client
	kept.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		first := via[0].URL
		if req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
			return errElse
		}
		if len(via) == 10 {
			return errTooMany
		}
		return nil
	}
	return &kept
}
