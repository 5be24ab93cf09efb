package genesys

import (
	"errors"
	"fmt"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
)

// The fates of an error. Everything but ErrConfiguration may mend itself, so
// the caller tries again, later and later.
var (
	// ErrCredentials says that the login or the API refused who we are: only a
	// new secret, token, role or scope mends that.
	ErrCredentials = errors.New("credentials refused")
	// ErrCursorExpired says that page tokens died before the last page was
	// reached, several times over. A shorter interval has fewer pages.
	ErrCursorExpired = fmt.Errorf("page tokens expire before the last page: %w", poller.ErrTooMuch)
	// ErrEndless says that a chain of pages has no end in sight.
	ErrEndless = fmt.Errorf("the pages have no end: %w", poller.ErrTooMuch)
	// ErrNotOpen says that a stream is read that Open did not name.
	ErrNotOpen = errors.New("the API was not opened for this stream")
)

// CredentialsError tells who refused which credentials, and what to do. It is an ErrCredentials.
type CredentialsError struct {
	By     string // "login", or the request that was refused
	Status int
	Code   string // as the server words it
	Hint   string
	// Correlation is the API's own id of the answer; "" where it gave none.
	Correlation string
}

func (e *CredentialsError) Error() string {
	s := fmt.Sprintf("%s: %d", e.By, e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	return s + ": " + e.Hint + correlated(e.Correlation)
}

// HealthKind sorts it where an operator looks for credentials.
func (e *CredentialsError) HealthKind() health.Kind { return health.Credentials }

// correlated returns what an error's text ends with: the id that the vendor's
// support asks for first.
func correlated(id string) string {
	if id == "" {
		return ""
	}
	return " (correlation id " + id + ")"
}

// Is makes it an ErrCredentials.
func (e *CredentialsError) Is(target error) bool { return target == ErrCredentials }

// FaultError is what passes by itself: an overloaded server, a broken
// connection, an answer that is not whole.
type FaultError struct {
	Op       string // the request
	Attempts int    // how often it was tried; 0 for a single try
	Err      error
	// Reached says that the request got to the server, so that what it asks for
	// may be why it fails: nobody else's connection, login or limit.
	Reached bool
}

func (e *FaultError) Error() string {
	if e.Attempts > 1 {
		return fmt.Sprintf("%s: after %d attempts: %v", e.Op, e.Attempts, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Op, e.Err)
}

func (e *FaultError) Unwrap() error { return e.Err }

// StatusError is an answer that repeating the request would not change.
type StatusError struct {
	Op      string
	Status  int
	Code    string // the API's own, such as "invalid.page.token"
	Message string
	Hint    string // what to do
	// Correlation is the API's own id of the answer; "" where it gave none.
	Correlation string
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: %d", e.Op, e.Status)
	for _, part := range []string{e.Code, e.Message, e.Hint} {
		if part != "" {
			s += ": " + part
		}
	}
	return s + correlated(e.Correlation)
}

// InterceptedError is an answer that is not the API's own: a firewall, proxy or
// gateway in front of it refused the request. It says nothing of permissions or
// settings, and may pass.
type InterceptedError struct {
	Op          string
	Status      int
	ContentType string
	Correlation string
	wait        time.Duration // what Retry-After asks for
}

func (e *InterceptedError) Error() string {
	return fmt.Sprintf("%s: %d: refused by something in front of the API (%.60q), such as a firewall or proxy%s",
		e.Op, e.Status, e.ContentType, correlated(e.Correlation))
}

// RedirectError is an answer that sends the request elsewhere. The token is
// never sent after it.
type RedirectError struct {
	Op     string
	Status int
	To     string // without its query
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("%s: %d: redirected to %s, which is not followed: is GENESYS_REGION or GENESYS_API_URL right?", e.Op, e.Status, e.To)
}

// PageTooLargeError says that even the smallest page is more than is taken.
type PageTooLargeError struct {
	Op    string
	Limit int64
	Err   error
}

func (e *PageTooLargeError) Error() string {
	return fmt.Sprintf("%s: the smallest page does not fit into %d bytes: %v", e.Op, e.Limit, e.Err)
}

// Unwrap makes it a poller.ErrTooMuch: a shorter interval keeps the trouble to the event that causes it.
func (e *PageTooLargeError) Unwrap() []error { return []error{poller.ErrTooMuch, e.Err} }

// RetentionError says that the interval begins before what the API still holds.
type RetentionError struct {
	Stream    string
	Interval  audit.Interval
	Retention time.Duration
}

func (e *RetentionError) Error() string {
	return fmt.Sprintf("%s: %s begins before the API's retention of %s", e.Stream, e.Interval, e.Retention)
}

// ValueError names a variable whose value cannot be right. It is a poller.ErrConfiguration.
type ValueError struct {
	Variable   string
	Value      string
	Reason     string
	Suggestion string // "" where there is none
}

func (e *ValueError) Error() string {
	s := fmt.Sprintf("%s=%q: %s", e.Variable, e.Value, e.Reason)
	if e.Suggestion != "" {
		s += fmt.Sprintf("; did you mean %q?", e.Suggestion)
	}
	return s
}

// Unwrap makes it a poller.ErrConfiguration.
func (e *ValueError) Unwrap() error { return poller.ErrConfiguration }

// malformedError is a body that is not what was asked for.
type malformedError struct {
	status      int
	contentType string
	reason      string
	correlation string
}

func (e *malformedError) Error() string {
	return fmt.Sprintf("%d with a body (%.60q) that is no answer: %s%s", e.status, e.contentType, e.reason, correlated(e.correlation))
}

// tooLargeError is a body that is longer than is taken. The dialects ask for less then.
type tooLargeError struct{ limit int64 }

func (e *tooLargeError) Error() string { return fmt.Sprintf("a body of more than %d bytes", e.limit) }
