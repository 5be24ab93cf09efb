package kafkatest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Audience is that of the tokens which nodes with Options.Issuer accept.
const Audience = "kafka"

// Issuer is an OIDC provider: it gives out tokens by client credentials, and publishes the
// keys that they are signed with.
type Issuer struct {
	tb     testing.TB
	server *httptest.Server

	mu   sync.Mutex
	set  Issuing
	keys []signingKey // newest last; published
	made int          // keys
	gave int          // tokens
}

// Issuing is what an Issuer gives out.
type Issuing struct {
	Client, Secret string // accepted
	Subject        string // the principal
	Audience       string
	Life           time.Duration
	Down           bool // requests for a token are answered with 503
}

type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

// NewIssuer starts an issuer with one key. It ends when the test does.
func NewIssuer(tb testing.TB, issuing Issuing) *Issuer {
	tb.Helper()
	i := &Issuer{tb: tb, set: issuing}
	i.Rotate(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/token", i.serveToken)
	mux.HandleFunc("/keys", i.serveKeys)
	i.server = httptest.NewServer(mux)
	tb.Cleanup(i.server.Close)
	return i
}

// TokenURL returns the address of the token endpoint.
func (i *Issuer) TokenURL() string { return i.server.URL + "/token" }

// KeysURL returns the address of the published keys (RFC 7517).
func (i *Issuer) KeysURL() string { return i.server.URL + "/keys" }

// Change changes what is given out from now on.
func (i *Issuer) Change(change func(*Issuing)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.set)
}

// Rotate signs with a new key from now on. The old ones stay published only where keep says so.
func (i *Issuer) Rotate(keep bool) {
	i.tb.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.tb.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	if !keep {
		i.keys = nil
	}
	i.keys = append(i.keys, signingKey{fmt.Sprintf("key-%d", i.made), private})
}

// Given returns how many tokens were given out.
func (i *Issuer) Given() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.gave
}

// Token returns a new token: a JWT, signed by RS256.
func (i *Issuer) Token() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gave++
	key, now := i.keys[len(i.keys)-1], time.Now()
	part := func(claims map[string]any) string {
		text, _ := json.Marshal(claims) // of texts and numbers
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]any{"alg": "RS256", "typ": "JWT", "kid": key.id}) + "." + part(map[string]any{
		"iss": i.server.URL, "sub": i.set.Subject, "aud": i.set.Audience, "scope": "kafka",
		"iat": now.Unix(), "exp": now.Add(i.set.Life).Unix(),
	})
	hash := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.private, crypto.SHA256, hash[:])
	if err != nil {
		panic(err) // a key of 2048 bits signs a hash of 256
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	set := i.set
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	client, secret, _ := r.BasicAuth()
	client, _ = url.QueryUnescape(client) // RFC 6749, 2.3.1
	secret, _ = url.QueryUnescape(secret)
	switch {
	case set.Down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case client != set.Client || secret != set.Secret:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": i.Token(), "token_type": "Bearer", "expires_in": int(set.Life.Seconds()),
		})
	}
}

func (i *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var keys []map[string]string
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	for _, k := range i.keys {
		keys = append(keys, map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.id,
			"n": number(k.private.N), "e": number(big.NewInt(int64(k.private.E))),
		})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
}

// takeTokens adds a listener that lets in whoever has a token of the issuer, for as long as
// the token lasts (connections.max.reauth.ms, KIP-368).
func (n *node) takeTokens(properties map[string]string, issuer *Issuer) {
	properties["listeners"] += ",SECURE://" + n.secure
	properties["advertised.listeners"] += ",SECURE://" + n.secure
	properties["listener.security.protocol.map"] += ",SECURE:SASL_PLAINTEXT"
	const oauth = "org.apache.kafka.common.security.oauthbearer."
	for name, value := range map[string]string{
		"sasl.enabled.mechanisms":                        "OAUTHBEARER",
		"oauthbearer.sasl.jaas.config":                   oauth + "OAuthBearerLoginModule required;",
		"oauthbearer.sasl.server.callback.handler.class": oauth + "OAuthBearerValidatorCallbackHandler",
		"oauthbearer.connections.max.reauth.ms":          "3600000",

		"sasl.oauthbearer.jwks.endpoint.url":              issuer.KeysURL(),
		"sasl.oauthbearer.jwks.endpoint.refresh.ms":       "600000", // asked again at an unknown key
		"sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": "100",
		"sasl.oauthbearer.expected.audience":              Audience,
		"sasl.oauthbearer.expected.issuer":                issuer.server.URL,
		"sasl.oauthbearer.clock.skew.seconds":             "0",
	} {
		properties["listener.name.secure."+name] = value
	}
	// Since 4.0 only what is listed is asked: https://kafka.apache.org/cve-list, CVE-2025-27817.
	n.env = append(n.env, "JAVA_TOOL_OPTIONS=-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="+issuer.KeysURL())
}
