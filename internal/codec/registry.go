package codec

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"genesys-audit-connector/internal/redact"
	"genesys-audit-connector/schemas"
)

// What a schema registry may have against us. None of them ends a run: the
// caller says so and asks again later.
var (
	// ErrRegistryUnreachable passes: no answer, or one that says "not now".
	ErrRegistryUnreachable = errors.New("schema registry unreachable")
	// ErrRegistryDenied wants other credentials or permissions.
	ErrRegistryDenied = errors.New("schema registry denies access")
	// ErrSchemaIncompatible wants another topic, or another compatibility of its subject.
	ErrSchemaIncompatible = errors.New("schema incompatible with what the registry has")
	// ErrSchemaUnknown wants the schema to be registered by somebody else.
	ErrSchemaUnknown = errors.New("schema not registered")
	// ErrRegistryRefused is every other refusal.
	ErrRegistryRefused = errors.New("schema registry refuses")
)

// RegistryError is an error of the registry about a subject. Kind is one of the
// errors above, Cure what the operator can do.
type RegistryError struct {
	Subject string
	Kind    error
	Cure    string
	Err     error // what the registry or the network said
}

func (e *RegistryError) Error() string {
	text := fmt.Sprintf("subject %s: %v", e.Subject, e.Kind)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text + " (" + e.Cure + ")"
}

func (e *RegistryError) Unwrap() []error { return []error{e.Kind, e.Err} }

// Tokens gives out the bearer tokens of one login.
type Tokens interface {
	// Token fails with ErrRegistryDenied where whoever gives out tokens does not want us.
	Token(context.Context) (string, error)
	// Refused is told of a token that the registry does not take.
	Refused(value string) bool
}

// RegistryOptions say where a registry is and how it is used.
type RegistryOptions struct {
	// URL is its address; or several of one registry, by commas: one that is not
	// reached, or whose registry is down, is passed over for the next.
	URL                string
	Username, Password string
	Tokens             Tokens            // instead of a user
	Headers            map[string]string // that go with each request
	// AutoRegister registers the schema; without it, it must be there.
	AutoRegister bool
	// Timeout bounds one request; 0 means 10 s.
	Timeout time.Duration
	// Transport is what requests go through; nil means http.DefaultTransport.
	Transport http.RoundTripper
}

// Registry is a client of a Confluent-compatible schema registry.
type Registry struct {
	client  *sr.Client
	options RegistryOptions

	token atomic.Pointer[string] // that was sent last
}

const (
	registryAnswerBytes = 1 << 20 // more than any answer that is read here takes
	longestRefusal      = 500     // bytes of it that are told
	mostVersions        = 100     // of a subject that are compared, newest first
)

// NewRegistry makes a client. It contacts nothing; it fails on a URL that is none.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	var urls []string
	for text := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, errors.New("schema registry: its URL is not http://HOST or https://HOST")
		}
		if u.User != nil && o.Username == "" {
			o.Username = u.User.Username()
			o.Password, _ = u.User.Password()
		}
		u.User = nil // errors quote the URL
		urls = append(urls, strings.TrimRight(u.String(), "/"))
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	o.Transport = limitedAnswers{o.Transport}
	if len(urls) > 1 {
		o.Transport = &passedOver{RoundTripper: o.Transport}
	}
	r := &Registry{options: o}
	var err error
	r.client, err = sr.NewClient(
		sr.URLs(urls...),
		sr.UserAgent("genesys-audit-connector"),
		sr.HTTPClient(&http.Client{Timeout: o.Timeout, Transport: o.Transport, CheckRedirect: withinTLS}),
		sr.PreReq(r.authorize),
	)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return r, nil
}

// authorize adds to a request what the registry wants to see.
func (r *Registry) authorize(req *http.Request) error {
	o := r.options
	for name, value := range o.Headers {
		req.Header.Set(name, value)
	}
	switch {
	case o.Tokens != nil:
		token, err := o.Tokens.Token(req.Context())
		if err != nil {
			return &tokenError{err}
		}
		r.token.Store(&token)
		req.Header.Set("Authorization", "Bearer "+token)
	case o.Username != "" || o.Password != "":
		req.SetBasicAuth(o.Username, o.Password)
	}
	return nil
}

// Subject is the name that the values of a topic have in the registry.
func Subject(topic string) string { return topic + "-value" }

func avro(text string) sr.Schema { return sr.Schema{Schema: text, Type: sr.TypeAvro} }

// SchemaID registers the schema for the topic's values, or looks it up where it
// must not be registered, and returns its id. Both may be repeated: the same
// schema has the same id. Its errors are *RegistryError.
func (r *Registry) SchemaID(ctx context.Context, topic string) (int, error) {
	subject := Subject(topic)
	id, err := r.find(ctx, subject, schemas.ConfigurationChange)
	if err == nil || !r.options.AutoRegister || errors.Is(err, ErrRegistryUnreachable) {
		return id, err
	}
	id, err = r.client.RegisterSchema(normalised(ctx), subject, avro(schemas.ConfigurationChange), -1, -1)
	return r.usableID(subject, id, err)
}

// normalised makes registries compare what a schema means, those that can; others pass over
// the parameter.
func normalised(ctx context.Context) context.Context { return sr.WithParams(ctx, sr.Normalize) }

// find returns the id that the subject has the schema under, in whatever spelling.
func (r *Registry) find(ctx context.Context, subject, schema string) (int, error) {
	found, err := r.client.LookupSchema(normalised(ctx), subject, avro(schema))
	id, err := r.usableID(subject, found.ID, err)
	const schemaNotFound = 40403 // where the subject is there
	var refusal *sr.ResponseError
	if !errors.As(err, &refusal) || refusal.ErrorCode != schemaNotFound {
		return id, err
	}
	if other, ok := r.inOtherSpelling(ctx, subject, schema); ok {
		return other, nil
	}
	return id, err
}

// inOtherSpelling compares the schema with those of the subject, for registries that do not
// know the parameter (Confluent's before 7.0, franz-go's).
func (r *Registry) inOtherSpelling(ctx context.Context, subject, schema string) (id int, ok bool) {
	versions, err := r.client.SubjectVersions(ctx, subject)
	if err != nil {
		return 0, false
	}
	slices.Reverse(versions)
	for _, v := range versions[:min(len(versions), mostVersions)] {
		had, err := r.client.SchemaByVersion(ctx, subject, v)
		if err == nil && had.Type == sr.TypeAvro && had.ID > 0 && had.ID <= math.MaxInt32 && sameSchema(had.Schema.Schema, schema) {
			return had.ID, true
		}
	}
	return 0, false
}

// Framings are what the values of a topic begin with, for NewDecoder: with the
// schema of today, and with those that were released before, oldest first. One
// that the registry does not have under the subject is empty: no record has it.
func (r *Registry) Framings(ctx context.Context, topic string) (framing []byte, older [][]byte, err error) {
	id, err := r.SchemaID(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	released, err := schemas.Released()
	if err != nil {
		return nil, nil, err
	}
	subject := Subject(topic)
	older = make([][]byte, len(released))
	for i, text := range released {
		was, err := r.find(ctx, subject, text)
		switch {
		case err == nil:
			older[i] = ConfluentFraming(was)
		case !errors.Is(err, ErrSchemaUnknown):
			return nil, nil, err
		}
	}
	return ConfluentFraming(id), older, nil
}

// usableID refuses an answer without an id: whatever sent it, consumers could not
// decode what was written under it.
func (r *Registry) usableID(subject string, id int, err error) (int, error) {
	if err == nil && (id <= 0 || id > math.MaxInt32) {
		err = fmt.Errorf("its answer has no usable schema id, but %d", id)
	}
	if err != nil {
		return 0, r.error(subject, err)
	}
	return id, nil
}

// Compatible checks, without registering anything, that the registry would take
// the schema, or has it already. Its errors are *RegistryError.
func (r *Registry) Compatible(ctx context.Context, topic string) error {
	subject := Subject(topic)
	if !r.options.AutoRegister {
		_, err := r.SchemaID(ctx, topic)
		return err
	}
	const latest = -1
	answer, err := r.client.CheckCompatibility(ctx, subject, latest, avro(schemas.ConfigurationChange))
	if err != nil {
		err = r.error(subject, err)
		if errors.Is(err, ErrSchemaUnknown) {
			return nil // nothing there that it could be incompatible with
		}
		return err
	}
	if !answer.Is {
		var reasons error
		if len(answer.Messages) > 0 {
			reasons = errors.New(r.clean(strings.Join(answer.Messages, "; ")))
		}
		return &RegistryError{subject, ErrSchemaIncompatible, cures[ErrSchemaIncompatible], reasons}
	}
	return nil
}

var cures = map[error]string{
	ErrRegistryUnreachable: "check SCHEMA_REGISTRY_URL and that the registry runs; it is asked again",
	ErrRegistryDenied:      "check the login (SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD, SCHEMA_REGISTRY_TOKEN, or SCHEMA_REGISTRY_OAUTH_…), and what it may do with the subject",
	ErrSchemaIncompatible:  "the subject has another schema: use another KAFKA_TOPIC_CHANGES, or compare both with `connector schema`",
	ErrSchemaUnknown:       "register what `connector schema` prints under the subject, or set SCHEMA_REGISTRY_AUTO_REGISTER=true",
	ErrRegistryRefused:     "see what the registry says",
}

// error sorts an error of the client by the answer's status.
// https://docs.confluent.io/platform/current/schema-registry/develop/api.html#errors
func (r *Registry) error(subject string, err error) error {
	kind := ErrRegistryRefused
	cure := ""
	var token *tokenError
	var unverified *tls.CertificateVerificationError
	var down *downError
	var refusal *sr.ResponseError
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	var dropped net.Error
	switch {
	case errors.Is(err, ErrRegistryDenied):
		kind = ErrRegistryDenied
	case errors.As(err, &unverified):
		kind, cure = ErrRegistryUnreachable, "check SCHEMA_REGISTRY_CA_FILE, and that the certificate is for the host in SCHEMA_REGISTRY_URL"
	case errors.As(err, &token):
		kind, cure = ErrRegistryUnreachable, "check SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL and that it is reached; it is asked again"
	case errors.As(err, &down):
		kind = ErrRegistryUnreachable
	case errors.As(err, &refusal):
		kind = statusError(refusal.StatusCode)
		if token := r.token.Load(); token != nil && refusal.StatusCode == http.StatusUnauthorized {
			r.options.Tokens.Refused(*token) // who asks again comes with another, if there is one
		}
		if kind == ErrSchemaUnknown && refusal.ErrorCode == 0 {
			kind = ErrRegistryUnreachable // a web server that knows no registry: one would say what it does not find
		}
	case errors.As(err, &syntax), errors.As(err, &mistyped): // no registry, but a gateway
		kind = ErrRegistryUnreachable
	case errors.As(err, &dropped), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		kind = ErrRegistryUnreachable
	}
	return &RegistryError{subject, kind, cmp.Or(cure, cures[kind]), r.told(err)}
}

// told returns an error as it may be shown. A registry, or a gateway in front of it, may
// answer with what it was sent, and net/http quotes what it does not understand.
func (r *Registry) told(err error) error {
	var at *url.Error
	if errors.As(err, &at) { // whose cause is shown by itself
		at.Err = &said{r.clean(at.Err.Error()), at.Err}
	}
	return &said{r.clean(err.Error()), err}
}

func (r *Registry) clean(text string) string {
	secrets := []string{r.options.Password}
	if r.options.Password != "" {
		secrets = append(secrets, r.options.Username+":"+r.options.Password)
	}
	if token := r.token.Load(); token != nil {
		secrets = append(secrets, *token)
	}
	return redact.Clean(text, longestRefusal, secrets...)
}

// said is an error whose text is fit to be shown.
type said struct {
	text string
	err  error
}

func (e *said) Error() string { return e.text }
func (e *said) Unwrap() error { return e.err }

// withinTLS refuses to follow a redirect that would send the login on in the clear: net/http
// drops it where the host's name is another one, and looks at nothing else.
func withinTLS(req *http.Request, via []*http.Request) error {
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirects from https to http; logins are not sent there")
	}
	if len(via) == 10 {
		return errors.New("redirects without end")
	}
	return nil
}

func statusError(status int) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrRegistryDenied
	case status == http.StatusConflict:
		return ErrSchemaIncompatible
	case status == http.StatusNotFound:
		return ErrSchemaUnknown
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return ErrRegistryUnreachable
	}
	return ErrRegistryRefused
}

// passedOver makes errors of answers that say "not here, not now", for the client goes on to
// the next address after an error alone. It begins with the first at each request: one that
// hangs would cost each of them its time.
type passedOver struct {
	http.RoundTripper
	down sync.Map // time.Time by host, of those that did not answer
}

// downFor is how long an address that did not answer is not asked again.
const downFor = 30 * time.Second

// tokenError is why there is no token.
type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

type downError struct{ status string }

func (e *downError) Error() string { return "it answers " + e.status }

func (p *passedOver) RoundTrip(req *http.Request) (*http.Response, error) {
	if since, ok := p.down.Load(req.URL.Host); ok && time.Since(since.(time.Time)) < downFor {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, &downError{"nothing just now"}
	}
	resp, err := p.RoundTripper.RoundTrip(req)
	if err != nil {
		p.down.Store(req.URL.Host, time.Now())
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		_ = resp.Body.Close()
		p.down.Store(req.URL.Host, time.Now())
		return nil, &downError{resp.Status}
	}
	return resp, nil
}

// limitedAnswers cuts answers that are too long, so that a wrong server costs
// bounded memory.
type limitedAnswers struct{ http.RoundTripper }

func (l limitedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, registryAnswerBytes), resp.Body}
	}
	return resp, err
}
