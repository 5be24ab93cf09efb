package genesys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// request is one that counts against the limit and carries the token.
type request struct {
	op      string // what it is called in errors
	method  string
	path    string
	query   url.Values
	body    []byte // JSON
	purpose audit.Purpose
	// attempts bounds how often it is tried; 0 for as often as usual.
	attempts int
	// redirects says that an answer which points elsewhere is a good one.
	redirects bool
	// ready, where set, has the last word when the request's turn has come.
	ready func() error
}

// userAgent names the product to the API's operators.
const userAgent = "genesys-audit-connector/"

var errTimeout = errors.New("no whole answer in time")

// send sends a request and returns its answer when the status is a good one. A
// 401 costs the token and is tried once more with a new one.
func (c *Client) send(ctx context.Context, r *request) (*answer, error) {
	a, token, err := c.sendOnce(ctx, r)
	if err == nil && a.status == http.StatusUnauthorized {
		a.free()
		c.tokens.drop(token)
		a, token, err = c.sendOnce(ctx, r)
		if err == nil && a.status == http.StatusUnauthorized {
			c.tokens.drop(token)
		}
	}
	if err != nil {
		return nil, err
	}
	if r.redirects && a.status >= 300 && a.status < 400 {
		return a, nil
	}
	if err := c.judge(r.op, a); err != nil {
		a.free()
		return nil, err
	}
	return a, nil
}

func (c *Client) sendOnce(ctx context.Context, r *request) (a *answer, token string, err error) {
	// The token first: a login that hangs must not keep a turn.
	if _, err := c.tokens.get(ctx); err != nil {
		return nil, "", err
	}
	turn, err := c.pacer.wait(ctx, familyOf(r.path), r.purpose)
	if err != nil {
		return nil, "", err
	}
	var o outcome
	defer func() { c.pacer.done(turn, o) }()
	if r.ready != nil {
		if err := r.ready(); err != nil {
			return nil, "", err
		}
	}
	if token, err = c.tokens.get(ctx); err != nil { // it may have grown old in the queue
		return nil, "", err
	}
	req, err := c.newRequest(r, token)
	if err != nil {
		return nil, "", err
	}
	// When a connection that it used before breaks, net/http sends a GET a
	// second time by itself: the pacer must know of each.
	var sends atomic.Int32
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sends.Add(1) }}
	a, err = c.exchange(httptrace.WithClientTrace(ctx, trace), r.op, req, c.cfg.MaxBody)
	c.pacer.alsoSent(familyOf(r.path), r.purpose, int(sends.Load())-1)
	if a != nil {
		c.observe(a, true)
		o = outcome{status: a.status, limit: readLimit(a.header)}
		if o.status == http.StatusTooManyRequests || o.status >= 400 && o.status < 500 && !c.apiError(a).own {
			// Who stands in front of the API looks at all requests, not this one only.
			o.retryAfter, o.hasRetry = readRetryAfter(a.header, c.Now())
		}
	}
	c.counts.add(r.purpose, o.status)
	if err != nil {
		var fault *FaultError
		if errors.As(err, &fault) {
			fault.Reached = sends.Load() > 0
		}
		if a != nil {
			a.free()
		}
		return nil, "", err
	}
	return a, token, nil
}

func (c *Client) newRequest(r *request, token string) (*http.Request, error) {
	u := *c.api
	u.Path += r.path
	u.RawQuery = r.query.Encode()
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequest(r.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: make the request: %w", r.op, plain(err))
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// exchange sends a request and reads its answer to the last byte, in time and
// no longer than limit. It returns the answer, which must be freed, also with
// an error that came after its header.
func (c *Client) exchange(ctx context.Context, op string, req *http.Request, limit int64) (*answer, error) {
	timed, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, errTimeout)
	defer cancel()
	fault := func(err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case timed.Err() != nil:
			return &FaultError{Op: op, Err: fmt.Errorf("%w (%s)", errTimeout, c.cfg.RequestTimeout)}
		}
		return &FaultError{Op: op, Err: plain(err)}
	}
	req.Header.Set("User-Agent", userAgent+c.cfg.Version)
	req.Header.Set("Accept-Encoding", "gzip")
	sent := time.Now()
	resp, err := c.http.Do(req.WithContext(timed))
	if err != nil {
		return nil, fault(err)
	}
	defer func() { _ = resp.Body.Close() }() // all that matters was read
	a := shared.get()
	a.sent, a.received = sent, time.Now()
	err = a.receive(resp, limit)
	var large *tooLargeError
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &large), errors.Is(err, errNoMemory):
		return a, err
	}
	return a, fault(err)
}

// plain takes the URL out of an error of net/http: its query may hold what is
// nobody's business, such as a signature.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// judge returns what a status means: nil for a good one.
func (c *Client) judge(op string, a *answer) error {
	s := a.status
	switch {
	case s >= 200 && s < 300:
		return nil
	case s >= 300 && s < 400:
		return &RedirectError{Op: op, Status: s, To: withoutQuery(a.header.Get("Location"))}
	}
	said := c.apiError(a)
	wait, _ := readRetryAfter(a.header, c.Now())
	switch {
	case s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s == http.StatusTooEarly, s >= 500:
		return &FaultError{Op: op, Reached: true, Err: &statusFault{status: s, code: said.code, correlation: said.correlation, wait: wait}}
	case !said.own:
		return &FaultError{Op: op, Err: &InterceptedError{Op: op, Status: s, ContentType: a.header.Get("Content-Type"), wait: wait}}
	case s == http.StatusUnauthorized:
		return &CredentialsError{By: op, Status: s, Code: said.code, Correlation: said.correlation,
			Hint: "the API refuses a token that the login host has just given: do GENESYS_API_URL and GENESYS_LOGIN_URL belong to the same region?"}
	case s == http.StatusForbidden:
		return &CredentialsError{By: op, Status: s, Code: said.code, Correlation: said.correlation,
			Hint: "the OAuth client lacks the permission audits:audit:view (scope audits:readonly; Audit > Audit > View in the role); the API says: " + said.message}
	}
	return &StatusError{Op: op, Status: s, Code: said.code, Message: said.message, Hint: hintFor(s), Correlation: said.correlation}
}

// statusFault is a status that passes.
type statusFault struct {
	status      int
	code        string
	correlation string
	wait        time.Duration // what Retry-After asks for
}

func (e *statusFault) Error() string {
	if e.code == "" {
		return fmt.Sprintf("%d %s%s", e.status, http.StatusText(e.status), correlated(e.correlation))
	}
	return fmt.Sprintf("%d %s%s", e.status, e.code, correlated(e.correlation))
}

func hintFor(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "are GENESYS_FILTER and GENESYS_SERVICES right?"
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return "this organisation does not serve that dialect: set GENESYS_AUDIT_API=auto"
	}
	return ""
}

// apiError is what an answer says about a failure.
type apiError struct {
	code, message, correlation string
	// own says that nothing speaks against the API itself having given the answer:
	// {"message","code","status","contextId",…}, or a header ININ-Correlation-Id
	// (GENESYS-API.md, "Errors"). An empty body tells nothing but for a 403, for
	// which the API always says what is missing.
	own bool
}

func (c *Client) apiError(a *answer) apiError {
	e := apiError{correlation: a.correlation(&c.secrets)}
	root, err := a.document()
	if err != nil {
		e.own = e.correlation != "" || len(a.body) == 0 && a.status != http.StatusForbidden
		return e
	}
	text := func(names ...string) string {
		for _, name := range names {
			if v := root.Get(name); v.Kind() == jsonscan.String {
				return c.secrets.clean(v.Text())
			}
		}
		return ""
	}
	if id := text("contextId"); id != "" {
		e.correlation = id
	}
	e.code, e.message = text("code", "error"), text("message", "error_description", "description")
	e.own = e.code != "" || e.message != "" || e.correlation != ""
	return e
}

// withoutQuery is where a URL points to, without what it carries.
func withoutQuery(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "something that is no URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
