package sandbox

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// tokens is the login host: it gives access tokens out and knows which live.
type tokens struct {
	options Options

	mu                     sync.Mutex
	clientID, clientSecret string
	access                 map[string]time.Time // until when
	given                  []string             // the newest ones, oldest first
	refresh                string               // the one that counts
	dice                   dice
}

// tokensAtOnce is how many access tokens of a client live: one more ends the
// oldest.
const tokensAtOnce = 10

func (t *tokens) start(options Options) {
	t.options = options
	t.clientID, t.clientSecret = options.ClientID, options.ClientSecret
	t.refresh = options.RefreshToken
	t.access = map[string]time.Time{}
	t.dice = roll(options.Seed, 1<<59)
}

func (t *tokens) setCredentials(id, secret string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clientID, t.clientSecret = id, secret
}

func (t *tokens) valid(token string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.access[token])
}

func (t *tokens) revoke(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.access, token)
}

func (t *tokens) revokeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.access)
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// token is POST /oauth/token.
func (o *Org) token(c *call) *answer {
	form, err := url.ParseQuery(string(c.sent))
	if err != nil {
		return oauthError("invalid_request", "unreadable form")
	}
	t := &o.tokens
	t.mu.Lock()
	defer t.mu.Unlock()
	id, secret, basic := c.BasicAuth()
	if basic && t.options.RefuseBasic {
		return oauthError("invalid_client", "client authentication by Basic is not supported")
	}
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	// RFC 6749, 2.3.1: both are form-encoded inside Basic, which many clients
	// leave out and servers forgive.
	plain := id == t.clientID && secret == t.clientSecret
	encoded := basic && unescaped(id) == t.clientID && unescaped(secret) == t.clientSecret
	if !plain && !encoded {
		return oauthError("invalid_client", "client not found or wrong secret")
	}
	var replacement any
	switch form.Get("grant_type") {
	case "client_credentials":
	case "refresh_token":
		if t.refresh == "" || form.Get("refresh_token") != t.refresh {
			return oauthError("invalid_grant", "the refresh token is unknown, used or revoked")
		}
		if !t.options.KeepRefreshToken {
			t.refresh = "refresh-" + string(t.dice.uuid(nil))
			replacement = t.refresh
		}
	default:
		return oauthError("unsupported_grant_type", "use client_credentials or refresh_token")
	}
	token := "access-" + string(t.dice.uuid(nil))
	t.access[token] = c.now.Add(t.options.TokenLife)
	if t.given = append(t.given, token); len(t.given) > tokensAtOnce {
		delete(t.access, t.given[0])
		t.given = t.given[1:]
	}
	said := obj("access_token", token, "token_type", "bearer", "expires_in", int(t.options.TokenLife/time.Second))
	if replacement != nil {
		said = said.with("refresh_token", replacement)
	}
	return document(said)
}

func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

func oauthError(code, description string) *answer {
	status := http.StatusBadRequest
	if code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	return jsonAnswer(status, appendJSON(nil, obj("error", code, "description", description, "error_description", description)))
}
