package oauth

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"genesys-audit-connector/internal/retry"
)

const (
	// fetchTimeout bounds one fetch. Both ways to send the credentials are within it.
	fetchTimeout = 30 * time.Second
	// defaultLife is that of a token of which nothing says how long it lives.
	defaultLife = 5 * time.Minute
	// A failed fetch is not repeated at once, whoever asks: an endpoint that is down should
	// not be hammered, and too many refusals lock a client out.
	firstPause, lastPause = time.Second, 15 * time.Second
	// A token that is refused younger than this is not replaced: the next would be refused
	// for the same reason.
	minAge = 5 * time.Second
)

// Config is a token endpoint and what to log in with there.
type Config struct {
	Endpoint               string        // URL of the token endpoint
	ClientID, ClientSecret func() string // read at each fetch
	Scope                  string        // to ask for; several are separated by spaces
	HTTP                   *http.Client  // nil for one of its own
	// Failed, where set, is told of each fetch that failed, also of those for which nobody
	// waits because the old token is still good.
	Failed func(error)
}

// Client gets tokens from an endpoint and keeps the newest. While it is in use, it renews
// the token by itself when three quarters of its life are over; a Client that nobody asks
// any more does nothing. It is safe for concurrent use.
type Client struct {
	config Config
	http   *http.Client
	grant  clientcredentials.Config // owned by the fetch that is under way

	mu      sync.Mutex // protects what follows; held briefly
	token   Token
	fetched time.Time // when the token was asked for
	renew   time.Time // when to ask for the next
	asked   bool      // for the token, by somebody who will ask again before its end
	fetch   *fetch    // under way, or nil
	err     error     // of the last fetch, nil if it succeeded
	again   time.Time // no fetch before this
	backoff retry.Backoff
}

// fetch is one exchange with the endpoint. Its result may be read when done is closed.
type fetch struct {
	done   chan struct{}
	wanted bool // by an asker, not by the clock alone; with Client.mu
	token  Token
	err    error
}

// New returns the tokens of an endpoint. It contacts nothing yet.
func New(config Config) *Client {
	return &Client{
		config: config, http: faithful(config.HTTP),
		grant:   clientcredentials.Config{TokenURL: config.Endpoint, Scopes: strings.Fields(config.Scope)},
		backoff: retry.Backoff{First: firstPause, Most: lastPause},
	}
}

// Token returns a token that is good now. It waits for the endpoint only when there is
// none; the fetch goes on after ctx has ended, for whoever asks next.
func (c *Client) Token(ctx context.Context) (Token, error) {
	c.mu.Lock()
	c.asked = true
	now := time.Now()
	if now.Before(c.token.Expires) {
		defer c.mu.Unlock()
		if !now.Before(c.renew) && !now.Before(c.again) {
			c.start().wanted = true
		}
		return c.token, nil
	}
	if c.fetch == nil && c.err != nil && now.Before(c.again) {
		defer c.mu.Unlock()
		return Token{}, c.err
	}
	f := c.start()
	f.wanted = true
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return Token{}, fmt.Errorf("token endpoint %s has not answered yet: %w", c.config.Endpoint, context.Cause(ctx))
	}
}

// Refused takes back a token that was not accepted although its time was not over, as
// after a change of the keys that sign it. It reports whether whoever asks next gets
// another one.
func (c *Client) Refused(value string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.Value == value && time.Since(c.fetched) >= minAge {
		c.token = Token{}
	}
	return c.token.Value != value
}

// start begins a fetch unless one is under way. Needs mu.
func (c *Client) start() *fetch {
	if c.fetch == nil {
		c.fetch = &fetch{done: make(chan struct{})}
		go c.run(c.fetch) // ends by fetchTimeout
	}
	return c.fetch
}

// run gets a token and keeps it. A failure leaves the old one.
func (c *Client) run(f *fetch) {
	asked := time.Now()
	f.token, f.err = c.exchange(asked)
	c.keep(f, asked)
	close(f.done)
	if f.err != nil && c.config.Failed != nil {
		c.config.Failed(f.err)
	}
}

func (c *Client) keep(f *fetch, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetch, c.err = nil, f.err
	if f.err != nil {
		pause := c.backoff.Next()
		c.again = time.Now().Add(pause)
		if c.again.Before(c.token.Expires) {
			time.AfterFunc(pause, c.renewInUse)
		}
		return
	}
	c.backoff.Reset()
	c.again = time.Time{}
	c.token, c.fetched, c.asked = f.token, asked, f.wanted
	c.renew = asked.Add(f.token.Expires.Sub(asked) * 3 / 4)
	time.AfterFunc(time.Until(c.renew), c.renewInUse)
}

// renewInUse starts a fetch where it is time for one and somebody has asked for the token.
func (c *Client) renewInUse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.asked && !now.Before(c.renew) && !now.Before(c.again) {
		c.start()
	}
}

// exchange asks the endpoint for a token. It is called by one goroutine at a time.
func (c *Client) exchange(asked time.Time) (Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c.http)
	c.grant.ClientID, c.grant.ClientSecret = c.config.ClientID(), c.config.ClientSecret()
	answer, err := c.grant.Token(ctx)
	if err != nil {
		return Token{}, c.failure(err)
	}
	token, err := parse(answer.AccessToken)
	if err != nil {
		return Token{}, &Error{Endpoint: c.config.Endpoint, Err: fmt.Errorf("access_token: %w", err)}
	}
	if !strings.EqualFold(answer.Type(), "bearer") {
		return Token{}, &Error{Endpoint: c.config.Endpoint, Err: errNoBearer}
	}
	if time.Until(answer.Expiry) > 0 {
		// The endpoint counts from some time after it was asked. Its word counts before that
		// of the token itself: it does not depend on our clock.
		token.Expires = answer.Expiry.Add(-time.Since(asked))
	}
	switch now := time.Now(); {
	case token.Expires.IsZero():
		token.Expires = asked.Add(defaultLife)
	case !token.Expires.After(now):
		return Token{}, &Error{Endpoint: c.config.Endpoint, Err: fmt.Errorf("%w, %v", errExpired, token.Expires.UTC().Format(time.RFC3339))}
	}
	return token, nil
}
