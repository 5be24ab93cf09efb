package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"

	"genesys-audit-connector/internal/redact"
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
	// net/http and the decoder quote what they do not understand: it may be what was sent.
	e.Err = &said{c.clean(err.Error()), err}
	if errors.Is(err, context.DeadlineExceeded) {
		e.Err = fmt.Errorf("no answer within %v", fetchTimeout)
	}
	return e
}

// most is how many bytes of an endpoint's words are told.
const most = 300

// clean is called within a fetch.
func (c *Client) clean(text string) string {
	id, secret := c.grant.ClientID, c.grant.ClientSecret
	if secret == "" {
		return redact.Clean(text, most)
	}
	return redact.Clean(text, most, secret, url.QueryEscape(id)+":"+url.QueryEscape(secret), id+":"+secret)
}

// said is an error whose text is fit to be shown.
type said struct {
	text string
	err  error
}

func (e *said) Error() string { return e.text }
func (e *said) Unwrap() error { return e.err }

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
