package codec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

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

// RegistryOptions say where a registry is and how it is used.
type RegistryOptions struct {
	URL                string
	Username, Password string
	// AutoRegister registers the schema; without it, it must be there.
	AutoRegister bool
	// Timeout bounds one request; 0 means 10 s.
	Timeout time.Duration
	// Transport is what requests go through; nil means http.DefaultTransport.
	Transport http.RoundTripper
}

// Registry is a client of a Confluent-compatible schema registry.
type Registry struct {
	client       *sr.Client
	autoRegister bool
}

const (
	registryAnswerBytes = 1 << 20 // more than any answer that is read here takes
	longestRefusal      = 500     // bytes of it that are told
)

// NewRegistry makes a client. It contacts nothing; it fails on a URL that is none.
func NewRegistry(o RegistryOptions) (*Registry, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("schema registry: its URL is not http://HOST or https://HOST")
	}
	user, password := o.Username, o.Password
	if u.User != nil { // out of the URL, which errors quote
		if user == "" {
			user = u.User.Username()
			password, _ = u.User.Password()
		}
		u.User = nil
	}
	timeout, transport := o.Timeout, o.Transport
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	if transport == nil {
		transport = http.DefaultTransport
	}
	opts := []sr.ClientOpt{
		sr.URLs(strings.TrimRight(u.String(), "/")),
		sr.UserAgent("genesys-audit-connector"),
		sr.HTTPClient(&http.Client{Timeout: timeout, Transport: limitedAnswers{transport}}),
	}
	if user != "" || password != "" {
		opts = append(opts, sr.BasicAuth(user, password))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return &Registry{client: client, autoRegister: o.AutoRegister}, nil
}

// Subject is the name that the values of a topic have in the registry.
func Subject(topic string) string { return topic + "-value" }

func schema() sr.Schema { return avro(schemas.ConfigurationChange) }

func avro(text string) sr.Schema { return sr.Schema{Schema: text, Type: sr.TypeAvro} }

// SchemaID registers the schema for the topic's values, or looks it up where it
// must not be registered, and returns its id. Both may be repeated: the same
// schema has the same id. Its errors are *RegistryError.
func (r *Registry) SchemaID(ctx context.Context, topic string) (int, error) {
	subject := Subject(topic)
	if r.autoRegister {
		id, err := r.client.RegisterSchema(ctx, subject, schema(), -1, -1)
		return usableSchemaID(subject, id, err)
	}
	found, err := r.client.LookupSchema(ctx, subject, schema())
	return usableSchemaID(subject, found.ID, err)
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
		found, err := r.client.LookupSchema(ctx, subject, avro(text))
		was, err := usableSchemaID(subject, found.ID, err)
		switch {
		case err == nil:
			older[i] = ConfluentFraming(was)
		case !errors.Is(err, ErrSchemaUnknown):
			return nil, nil, err
		}
	}
	return ConfluentFraming(id), older, nil
}

// usableSchemaID refuses an answer without an id: whatever sent it, consumers
// could not decode what was written under it.
func usableSchemaID(subject string, id int, err error) (int, error) {
	if err == nil && (id <= 0 || id > math.MaxInt32) {
		err = fmt.Errorf("its answer has no usable schema id, but %d", id)
	}
	if err != nil {
		return 0, registryError(subject, err)
	}
	return id, nil
}

// Compatible checks, without registering anything, that the registry would take
// the schema, or has it already. Its errors are *RegistryError.
func (r *Registry) Compatible(ctx context.Context, topic string) error {
	subject := Subject(topic)
	if !r.autoRegister {
		_, err := r.SchemaID(ctx, topic)
		return err
	}
	const latest = -1
	answer, err := r.client.CheckCompatibility(ctx, subject, latest, schema())
	if err != nil {
		err = registryError(subject, err)
		if errors.Is(err, ErrSchemaUnknown) {
			return nil // nothing there that it could be incompatible with
		}
		return err
	}
	if !answer.Is {
		var reasons error
		if len(answer.Messages) > 0 {
			reasons = errors.New(strings.Join(answer.Messages, "; "))
		}
		return &RegistryError{subject, ErrSchemaIncompatible, cures[ErrSchemaIncompatible], reasons}
	}
	return nil
}

var cures = map[error]string{
	ErrRegistryUnreachable: "check SCHEMA_REGISTRY_URL and that the registry runs; it is asked again",
	ErrRegistryDenied:      "check SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD, and what that user may do with the subject",
	ErrSchemaIncompatible:  "the subject has another schema: use another KAFKA_TOPIC_CHANGES, or compare both with `connector schema`",
	ErrSchemaUnknown:       "register what `connector schema` prints under the subject, or set SCHEMA_REGISTRY_AUTO_REGISTER=true",
	ErrRegistryRefused:     "see what the registry says",
}

// registryError sorts an error of the client by the answer's status.
// https://docs.confluent.io/platform/current/schema-registry/develop/api.html#errors
func registryError(subject string, err error) error {
	kind := ErrRegistryRefused
	var refusal *sr.ResponseError
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	var dropped net.Error
	switch {
	case errors.As(err, &refusal):
		kind = statusError(refusal.StatusCode)
		if kind == ErrSchemaUnknown && refusal.ErrorCode == 0 {
			kind = ErrRegistryUnreachable // a web server that knows no registry: one would say what it does not find
		}
		if len(refusal.Error()) > longestRefusal { // a gateway's page
			err = fmt.Errorf("%.*s…", longestRefusal, refusal.Error())
		}
	case errors.As(err, &syntax), errors.As(err, &mistyped): // no registry, but a gateway
		kind = ErrRegistryUnreachable
	case errors.As(err, &dropped), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		kind = ErrRegistryUnreachable
	}
	return &RegistryError{subject, kind, cures[kind], err}
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
