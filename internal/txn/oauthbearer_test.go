package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bearerBroker makes a fake broker answer logins by OAUTHBEARER as
// org.apache.kafka.common.security.oauthbearer.internals.OAuthBearerSaslServer does:
// nothing for a token that it accepts, else an error in JSON, and a refusal only when that
// was acknowledged. What it was sent is noted.
type bearerBroker struct {
	accepted  string
	challenge string

	mu   sync.Mutex
	deaf int // logins that are refused whatever comes
	life int64
	sent []string
}

func (b *bearerBroker) attach(fake *kfake.Cluster) {
	fake.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		return req.ResponseKind(), nil, true
	})
	fake.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		text := string(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		b.mu.Lock()
		b.sent = append(b.sent, text)
		deaf, life := b.deaf > 0, b.life
		if deaf && text != "\x01" {
			b.deaf--
		}
		b.mu.Unlock()
		res := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		switch {
		case text == "\x01":
			res.ErrorCode, res.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr(b.challenge)
		case deaf || !strings.HasPrefix(text, "n,,\x01auth=Bearer "+b.accepted+"\x01"):
			res.SASLAuthBytes = []byte(b.challenge)
		}
		res.SessionLifetimeMillis = life
		return res, nil, true
	})
}

// dialBearer dials a fake broker that accepts the token "good".
func dialBearer(t *testing.T, b *bearerBroker, m *OAuthBearer) *Cluster {
	t.Helper()
	fake, _ := fakeKafka(t, 1)
	b.attach(fake)
	c := Dial(Config{Brokers: fake.ListenAddrs(), SASL: m, RequestTimeout: 10 * time.Second, DialTimeout: 10 * time.Second})
	t.Cleanup(c.Close)
	return c
}

func always(token string) func(context.Context) (string, time.Time, error) {
	return func(context.Context) (string, time.Time, error) { return token, time.Time{}, nil }
}

func TestBearerTokenIsSentWithItsExtensions(t *testing.T) {
	broker := &bearerBroker{accepted: "good"}
	c := dialBearer(t, broker, &OAuthBearer{Token: always("good"), Extensions: map[string]string{"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}})
	if _, err := c.Partitions(within(t, 20*time.Second), topicLog); err != nil {
		t.Fatal(err)
	}
	// RFC 7628, 3.1 and KIP-342.
	if want := "n,,\x01auth=Bearer good\x01identityPoolId=pool-2\x01logicalCluster=lkc-1\x01\x01"; broker.sent[0] != want {
		t.Errorf("sent %q, want %q", broker.sent[0], want)
	}
}

func TestRefusedBearerTokenIsAcknowledgedAndItsCauseNamed(t *testing.T) {
	for challenge, cause := range map[string]string{
		`{"status":"invalid_token"}`: `the token is not accepted: status "invalid_token"`,
		`{"status":"insufficient_scope","scope":"kafka","openid-configuration":"https://idp/c"}`: `the token is not accepted: status "insufficient_scope", it asks for scope "kafka", openid-configuration "https://idp/c"`,
		"\x00<html>": `the token is not accepted: "\x00<html>"`,
	} {
		broker := &bearerBroker{accepted: "good", challenge: challenge}
		var told []string
		c := dialBearer(t, broker, &OAuthBearer{Token: always("bad"), Refused: func(token string) bool { told = append(told, token); return false }})
		ctx := within(t, 20*time.Second)
		_, err := c.Partitions(ctx, topicLog)
		login, ok := errors.AsType[*LoginError](err)
		if !ok || login.Cause != cause || !strings.HasSuffix(err.Error(), cause) || strings.Contains(err.Error(), "bad") {
			t.Errorf("%s: %v", challenge, err)
		}
		if !errors.Is(err, ErrUnauthorized) || !errors.Is(err, ErrAbort) || errors.Is(err, ErrRetry) || ctx.Err() != nil {
			t.Errorf("%s: the fate of %v", challenge, err)
		}
		if want := []string{"n,,\x01auth=Bearer bad\x01\x01", "\x01"}; !slices.Equal(broker.sent, want) {
			t.Errorf("%s: sent %q, want %q", challenge, broker.sent, want)
		}
		if !slices.Equal(told, []string{"bad"}) {
			t.Errorf("%s: the source is told of %q", challenge, told)
		}
	}
}

func TestEndOfARefusedBearerTokenIsTold(t *testing.T) {
	ends := time.Now().Add(-time.Hour)
	for end, told := range map[time.Time]bool{ends: true, time.Now().Add(time.Hour): false, {}: false} {
		broker := &bearerBroker{accepted: "good", challenge: `{"status":"invalid_token"}`}
		c := dialBearer(t, broker, &OAuthBearer{Token: func(context.Context) (string, time.Time, error) { return "bad", end, nil }})
		_, err := c.Partitions(within(t, 20*time.Second), topicLog)
		if text := "ago, at " + ends.UTC().Format(time.RFC3339); strings.HasSuffix(fmt.Sprint(err), text) != told || err == nil {
			t.Errorf("a token that ends %v: %v", end, err)
		}
	}
}

func TestRefusedBearerTokenIsReplacedWithinTheRequest(t *testing.T) {
	broker := &bearerBroker{accepted: "good", challenge: `{"status":"invalid_token"}`}
	token := "old"
	c := dialBearer(t, broker, &OAuthBearer{
		Token:   func(context.Context) (string, time.Time, error) { return token, time.Time{}, nil },
		Refused: func(string) bool { defer func() { token = "good" }(); return token == "old" },
	})
	p := newProducer(t, c, ProducerConfig{})
	ready(t, p)
	write(t, p, "one")
	commit(t, p)
}

// TestRefusalAfterAcceptancePassesForAWhile: brokers that do not know a new key of the
// issuer yet end nothing. A refusal that stays is named as what it is.
func TestRefusalAfterAcceptancePassesForAWhile(t *testing.T) {
	broker := &bearerBroker{accepted: "good", challenge: `{"status":"invalid_token"}`, life: 1}
	m := &OAuthBearer{Token: always("good"), Refused: func(string) bool { return false }}
	c := dialBearer(t, broker, m)
	p := newProducer(t, c, ProducerConfig{})
	ready(t, p)
	broker.mu.Lock()
	broker.deaf = 3
	broker.mu.Unlock()
	err := ErrRetry
	for tries := 0; err != nil && tries < 10; tries++ {
		write(t, p, "one")
		if err = p.Commit(within(t, 20*time.Second)); err == nil {
			break
		}
		if !errors.Is(err, ErrRetry) || errors.Is(err, ErrUnauthorized) {
			t.Fatalf("while a broker lags: %v", err)
		}
		if err := p.Abort(within(t, 20*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	broker.mu.Lock()
	if err != nil || broker.deaf > 0 {
		t.Errorf("%v; %d refusals were not met", err, broker.deaf)
	}
	broker.deaf = 1000
	broker.mu.Unlock()
	m.mu.Lock()
	m.since = time.Now().Add(-lag)
	m.mu.Unlock()
	time.Sleep(2 * time.Millisecond) // the sessions that there are end
	ctx := within(t, 20*time.Second)
	if _, err := c.Partitions(ctx, topicLog); !errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRetry) || ctx.Err() != nil {
		t.Errorf("refused for good: %v", err)
	}
}

func TestMissingBearerTokenHasTheFateOfItsCause(t *testing.T) {
	missing := fmt.Errorf("%w: %w: token endpoint answers 401", ErrAbort, ErrUnauthorized)
	c := dialBearer(t, &bearerBroker{}, &OAuthBearer{Token: func(context.Context) (string, time.Time, error) { return "", time.Time{}, missing }})
	ctx := within(t, 20*time.Second)
	_, err := c.Partitions(ctx, topicLog)
	login, ok := errors.AsType[*LoginError](err)
	if !ok || login.Cause != missing.Error() || !errors.Is(err, ErrUnauthorized) || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
	if n := strings.Count(err.Error(), "answers 401"); n != 1 {
		t.Errorf("the cause stands %d times in %v", n, err)
	}
}

func TestExtensionsAreThoseThatBrokersTake(t *testing.T) {
	for _, e := range [][2]string{{"logicalCluster", "lkc-1"}, {"K", "a, b=c\t~"}} {
		if err := CheckExtension(e[0], e[1]); err != nil {
			t.Errorf("%q: %v", e, err)
		}
	}
	for _, e := range [][2]string{{"", "v"}, {"k1", "v"}, {"k-k", "v"}, {"auth", "v"}, {"k", ""}, {"k", "a\x01auth=Bearer other"}, {"k", "ü"}} {
		if err := CheckExtension(e[0], e[1]); err == nil {
			t.Errorf("%q is taken", e)
		}
	}
}

// A connection has less time than a token endpoint may take: what it waited for is the
// endpoint, not the broker.
func TestTokenThatDoesNotComeInTimeIsNamed(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	(&bearerBroker{}).attach(fake)
	waits := func(ctx context.Context) (string, time.Time, error) {
		<-ctx.Done()
		return "", time.Time{}, fmt.Errorf("token endpoint https://idp has not answered yet: %w", context.Cause(ctx))
	}
	c := Dial(Config{Brokers: fake.ListenAddrs(), SASL: &OAuthBearer{Token: waits}, RequestTimeout: 10 * time.Second, DialTimeout: 500 * time.Millisecond})
	t.Cleanup(c.Close)
	_, err := c.Partitions(within(t, 20*time.Second), topicLog)
	login, ok := errors.AsType[*LoginError](err)
	if !ok || !strings.HasPrefix(login.Cause, "token endpoint https://idp has not answered yet") {
		t.Errorf("got %v", err)
	}
	if !errors.Is(err, ErrRetry) || errors.Is(err, ErrUnauthorized) {
		t.Errorf("the fate of %v", err)
	}
}

// A broker's words end up in logs and checks, and may hold what it was sent.
func TestBrokerThatEchoesATokenTellsNothing(t *testing.T) {
	for _, challenge := range []string{`{"status":"is secret-token\u009b31m valid?"}`, "no secret-token here\x1b[31m\n"} {
		broker := &bearerBroker{accepted: "good", challenge: challenge}
		c := dialBearer(t, broker, &OAuthBearer{Token: always("secret-token")})
		_, err := c.Partitions(within(t, 20*time.Second), topicLog)
		// bearerBroker gives the challenge as its error message, too.
		if err == nil || strings.Contains(err.Error(), "secret-token") || strings.ContainsAny(err.Error(), "\x1b\u009b\n") {
			t.Errorf("%q", err)
		}
	}
}
