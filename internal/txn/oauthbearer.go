package txn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/sasl"
)

// OAuthBearer is the mechanism OAUTHBEARER: RFC 7628 as Kafka has it (KIP-255).
type OAuthBearer struct {
	// Token returns the token to log in with and when it ends, zero where that is not known.
	// It is called for every connection, within the time that a connection may take.
	Token func(context.Context) (string, time.Time, error)
	// Refused is told of a token that a broker did not accept. It reports whether Token
	// returns another one now: then the request that needed the connection is tried again.
	Refused func(token string) bool
	// Extensions are sent with the token (KIP-342): see CheckExtension.
	Extensions map[string]string

	mu       sync.Mutex
	accepted bool      // some token was, so that what is configured is right
	since    time.Time // of refusals without an acceptance; zero for none
}

// lag is how long the brokers' refusals pass by themselves where tokens were accepted
// before: an issuer that signs with a new key is ahead of brokers that fetch its keys once
// an hour, or when they meet a key that they do not know (RefreshingHttpsJwks in Apache
// Kafka, KIP-768).
const lag = 10 * time.Second

// The separator of the messages (RFC 7628, 3.1), which alone also answers an error.
const bearerSeparator = "\x01"

// Name returns the name of the mechanism.
func (*OAuthBearer) Name() string { return "OAUTHBEARER" }

// Start returns the first message: a GS2 header without channel binding and identity, then
// the token and the extensions (RFC 7628, 3.1; KIP-342).
func (m *OAuthBearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, ends, err := m.Token(ctx)
	if err != nil {
		return nil, nil, &LoginError{Cause: err.Error(), err: err}
	}
	var text strings.Builder
	text.WriteString("n,," + bearerSeparator + "auth=Bearer " + token + bearerSeparator)
	for _, k := range slices.Sorted(maps.Keys(m.Extensions)) {
		text.WriteString(k + "=" + m.Extensions[k] + bearerSeparator)
	}
	text.WriteString(bearerSeparator)
	return &bearerSession{mechanism: m, token: token, ends: ends}, []byte(text.String()), nil
}

// CheckExtension returns an error where brokers would not take an extension: a key is of
// letters and not "auth", a value of visible ASCII, blanks and line ends (RFC 7628, 3.1;
// OAuthBearerClientInitialResponse in Apache Kafka).
func CheckExtension(key, value string) error {
	letter := func(c rune) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
	visible := func(c rune) bool { return ' ' <= c && c <= '~' || c == '\t' || c == '\r' || c == '\n' }
	switch {
	case key == "" || strings.ContainsFunc(key, func(c rune) bool { return !letter(c) }):
		return errors.New("the key of an extension is of letters alone")
	case key == "auth":
		return errors.New("the key auth is the token's own")
	case value == "" || strings.ContainsFunc(value, func(c rune) bool { return !visible(c) }):
		return errors.New("the value of an extension is of printable ASCII")
	}
	return nil
}

// bearerSession is one login.
type bearerSession struct {
	mechanism *OAuthBearer
	token     string
	ends      time.Time // the token; zero for not known
	cause     string    // the broker's own, once it has refused
}

// Next ends the exchange, or acknowledges an error: only then a broker refuses in its
// protocol's terms (RFC 7628, 3.2.3; OAuthBearerSaslServer.evaluateResponse).
func (s *bearerSession) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) == 0 {
		s.mechanism.judged(true)
		return true, nil, nil
	}
	if s.cause != "" {
		return false, nil, errors.New("the broker answers the acknowledgement of its error with another one")
	}
	s.cause = bearerCause(challenge)
	return false, []byte(bearerSeparator), nil
}

// refused adds the broker's cause to a refusal. It becomes one that passes where the next
// token is another one, or brokers may lag behind.
func (s *bearerSession) refused(e *LoginError) {
	if s.cause != "" {
		e.Cause = "the token is not accepted: " + s.cause
	}
	if s.token != "" {
		e.Cause = strings.ReplaceAll(e.Cause, s.token, "[token]") // a broker may repeat what it refuses
	}
	if ended := time.Since(s.ends); !s.ends.IsZero() && ended > 0 {
		e.Cause += fmt.Sprintf("; the token ended %v ago, at %s", ended.Round(time.Second), s.ends.UTC().Format(time.RFC3339))
	}
	passes := s.mechanism.judged(false)
	if s.mechanism.Refused != nil && s.mechanism.Refused(s.token) {
		passes = true
	}
	if passes {
		e.err = fmt.Errorf("%w: %v", ErrRetry, e.err)
	}
}

// judged takes down what a broker said of a token. It reports whether a refusal may be due
// to a lag of the brokers.
func (m *OAuthBearer) judged(accepted bool) (lagging bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if accepted {
		m.accepted, m.since = true, time.Time{}
		return false
	}
	if m.since.IsZero() {
		m.since = time.Now()
	}
	return m.accepted && time.Since(m.since) < lag
}

// bearerCause is what a broker's error says (RFC 7628, 3.2.2), bounded and on one line.
func bearerCause(challenge []byte) string {
	var said struct {
		Status        string `json:"status"`
		Scope         string `json:"scope"`
		Configuration string `json:"openid-configuration"`
	}
	if json.Unmarshal(challenge, &said) != nil || said.Status == "" {
		return fmt.Sprintf("%.200q", challenge)
	}
	text := fmt.Sprintf("status %.100q", said.Status)
	if said.Scope != "" {
		text += fmt.Sprintf(", it asks for scope %.200q", said.Scope)
	}
	if said.Configuration != "" {
		text += fmt.Sprintf(", openid-configuration %.200q", said.Configuration)
	}
	return text
}
