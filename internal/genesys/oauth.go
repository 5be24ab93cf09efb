package genesys

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/retry"
)

const (
	tokenPath      = "/oauth/token"
	maxTokenAnswer = 1 << 20
	renewBefore    = time.Minute     // a token is replaced this long before it expires
	defaultLife    = 5 * time.Minute // of a token that does not say how long it lives
	// graceForRotation is how long a refresh grant may go on after its reader
	// gave up: an answer that is lost may hold the only refresh token there is.
	graceForRotation = 5 * time.Second
	loginAttempts    = 3
	// What was refused is not tried again before firstRefusedPause has passed, and
	// twice as long each time, whoever asks: too many refusals lock a client out.
	firstRefusedPause, lastRefusedPause = time.Second, time.Minute
)

// tokens gives out access tokens and gets new ones, one at a time.
type tokens struct {
	c    *Client
	turn chan struct{} // holds one element while a token is being fetched

	mu       sync.Mutex // protects these
	access   string
	renew    time.Time // when it is to be replaced
	failures int       // fetches that failed
	err      error

	// Owned by whoever has the turn.
	form      bool   // the server wants the credentials in the form
	refresh   string // the refresh token that counts; "" where none was used yet
	unsaved   *grant // came with a refresh token that is not durable yet
	saved     string // what the store holds, as far as we know
	sealedFor string // the client secret that it is sealed under
	refused   refusal
}

// login is what is configured to log in with.
type login struct {
	client  credentials
	refresh string // "" for the grant by client credentials
}

type credentials struct{ id, secret string }

// refusal is the last login that was refused.
type refusal struct {
	login login
	err   error // nil: none was
	// pause is a floor for whoever waits already, by a backoff of his own: it has
	// no jitter.
	pause time.Duration
	until time.Time
}

// again is the refusal of the same login, while it is too early to try it again.
func (r *refusal) again(l login) error {
	if r.err != nil && l == r.login && time.Now().Before(r.until) {
		return r.err
	}
	return nil
}

// note takes down what became of a login.
func (r *refusal) note(l login, err error) {
	if !errors.Is(err, ErrCredentials) {
		if err == nil {
			*r = refusal{}
		}
		return
	}
	if l != r.login {
		r.pause = 0
	}
	r.login, r.err = l, err
	r.pause = min(max(2*r.pause, firstRefusedPause), lastRefusedPause)
	r.until = time.Now().Add(r.pause)
}

// grant is a good answer of the login host.
type grant struct {
	access, refresh string
	life            time.Duration
	asked           time.Time
}

func newTokens(c *Client) *tokens { return &tokens{c: c, turn: make(chan struct{}, 1)} }

// get returns a token that is good for a while. Those who come while one is
// being fetched wait for it, and share its failure.
func (t *tokens) get(ctx context.Context) (string, error) {
	access, failures := t.current()
	if access != "" {
		return access, nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	access, now := t.current()
	if access != "" {
		return access, nil
	}
	if now != failures {
		t.mu.Lock()
		defer t.mu.Unlock()
		return "", t.err
	}
	g, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			t.failures, t.err = t.failures+1, err
		}
		return "", err
	}
	margin := renewBefore
	if g.life < 2*renewBefore {
		margin = g.life / 2
	}
	t.access, t.renew = g.access, g.asked.Add(g.life-margin)
	t.c.log.Debug("access token", zap.Duration("life", g.life))
	return t.access, nil
}

func (t *tokens) current() (access string, failures int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access != "" && time.Now().Before(t.renew) {
		return t.access, t.failures
	}
	return "", t.failures
}

// drop forgets a token that the API refused.
func (t *tokens) drop(access string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access == access {
		t.access = ""
	}
}

// fetch gets a new token by the grant that is configured. Needs the turn.
func (t *tokens) fetch(ctx context.Context) (*grant, error) {
	id, err := t.c.cfg.ClientID()
	if err != nil {
		return nil, fmt.Errorf("GENESYS_CLIENT_ID: %w", err)
	}
	secret, err := t.c.cfg.ClientSecret()
	if err != nil {
		return nil, fmt.Errorf("GENESYS_CLIENT_SECRET: %w", err)
	}
	client := credentials{id, secret}
	t.c.secrets.know(secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	configured := ""
	if t.c.cfg.RefreshToken != nil {
		if configured, err = t.c.cfg.RefreshToken(); err != nil {
			return nil, fmt.Errorf("GENESYS_REFRESH_TOKEN: %w", err)
		}
		t.c.secrets.know(configured, url.QueryEscape(configured))
	}
	l := login{client, configured}
	if err := t.refused.again(l); err != nil {
		return nil, err
	}
	g, err := t.logIn(ctx, l)
	t.refused.note(l, err)
	return g, err
}

func (t *tokens) logIn(ctx context.Context, l login) (*grant, error) {
	if l.refresh != "" {
		return t.fetchByRefresh(ctx, l.client, l.refresh)
	}
	g, err := t.ask(ctx, l.client, url.Values{"grant_type": {"client_credentials"}})
	if errors.Is(err, errInvalidGrant) {
		err = &CredentialsError{By: "login", Status: http.StatusBadRequest, Code: "invalid_grant", Hint: "is the OAuth client of the grant type Client Credentials?"}
	}
	return g, err
}

// fetchByRefresh uses a refresh token: the one that a grant replaced the last
// with, else the stored one, else the configured one. A replacement is durable
// before the access token that came with it is used, because the replaced one
// is dead.
func (t *tokens) fetchByRefresh(ctx context.Context, client credentials, configured string) (*grant, error) {
	ctx, cancel := outlive(ctx, graceForRotation)
	defer cancel()
	if t.unsaved != nil {
		g := t.unsaved
		if err := t.save(ctx, client, g); err != nil {
			return nil, err
		}
		if time.Since(g.asked) < g.life/2 {
			return g, nil
		}
	}
	stored, err := t.load(ctx, client)
	if err != nil {
		return nil, err
	}
	tried := map[string]bool{"": true}
	for _, refresh := range []string{stored, t.refresh, configured} {
		if tried[refresh] {
			continue
		}
		tried[refresh] = true
		g, err := t.ask(ctx, client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
		if errors.Is(err, errInvalidGrant) {
			continue
		}
		if err != nil {
			return nil, err
		}
		replaced := g.refresh != "" && g.refresh != refresh
		if !replaced {
			g.refresh = refresh
		}
		t.refresh = g.refresh
		if replaced || refresh == t.saved && client.secret != t.sealedFor {
			return g, t.save(ctx, client, g)
		}
		return g, nil
	}
	return nil, &CredentialsError{By: "login", Status: http.StatusBadRequest, Code: "invalid_grant",
		Hint: "the stored refresh token (if any) and the configured one were both refused: get a new one and set GENESYS_REFRESH_TOKEN"}
}

// load returns the refresh token that the store holds; "" for none that can be read.
func (t *tokens) load(ctx context.Context, client credentials) (string, error) {
	sealed, err := t.c.cfg.Tokens.Load(ctx)
	if err != nil {
		return "", fmt.Errorf("load the refresh token: %w", err)
	}
	if len(sealed) == 0 {
		return "", nil
	}
	refresh, err := open(sealed, client)
	if err != nil {
		if t.saved == "" { // else it is sealed under the secret from before, and we know what it is
			t.c.log.Warn("the stored refresh token cannot be read, the configured one counts", zap.Error(err))
		}
		return "", nil
	}
	t.c.secrets.know(refresh, url.QueryEscape(refresh))
	t.saved, t.sealedFor = refresh, client.secret
	return refresh, nil
}

func (t *tokens) save(ctx context.Context, client credentials, g *grant) error {
	t.unsaved = g
	sealed, err := seal(g.refresh, client)
	if err == nil {
		err = t.c.cfg.Tokens.Save(ctx, sealed)
	}
	if err != nil {
		return fmt.Errorf("save the refresh token that replaces the old one: %w", err)
	}
	t.unsaved, t.saved, t.sealedFor = nil, g.refresh, client.secret
	t.c.log.Info("the refresh token was replaced, the new one is stored")
	return nil
}

// outlive is a context that ends so much later than ctx.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	var timer *time.Timer
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		timer = time.AfterFunc(by, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() {
		stop()
		cancel(nil)
		mu.Lock()
		defer mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
	}
}

// errInvalidGrant says that a refresh token is dead.
var errInvalidGrant = errors.New("invalid_grant")

// ask sends a grant, again after what passes by itself, and with the
// credentials in the form where Basic is refused.
func (t *tokens) ask(ctx context.Context, client credentials, form url.Values) (*grant, error) {
	if t.c.cfg.Scope != "" {
		form.Set("scope", t.c.cfg.Scope)
	}
	backoff := t.c.patience.backoff
	for attempt := 1; ; attempt++ {
		g, err := t.askOnce(ctx, client, form)
		var refused *CredentialsError
		if errors.As(err, &refused) && refused.Code == "invalid_client" && !t.form {
			t.form = true
			if g, err = t.askOnce(ctx, client, form); errors.As(err, &refused) {
				t.form = false
			}
		}
		var fault *FaultError
		if !errors.As(err, &fault) || attempt == loginAttempts {
			return g, err
		}
		if err := retry.Sleep(ctx, backoff.Next()); err != nil {
			return nil, err
		}
	}
}

func (t *tokens) askOnce(ctx context.Context, client credentials, form url.Values) (*grant, error) {
	const op = "login"
	form.Del("client_id")
	form.Del("client_secret")
	if t.form {
		form.Set("client_id", client.id)
		form.Set("client_secret", client.secret)
	}
	u := *t.c.login
	u.Path += tokenPath
	req, err := http.NewRequest(http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%s: make the request: %w", op, plain(err))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if !t.form {
		req.SetBasicAuth(client.id, client.secret)
	}
	asked := time.Now()
	a, err := t.c.exchange(ctx, op, req, maxTokenAnswer)
	if a != nil {
		defer a.free()
	}
	if tooLarge(err) {
		return nil, &FaultError{Op: op, Err: err}
	}
	if err != nil {
		return nil, err
	}
	t.c.observe(a, false)
	if a.status >= 200 && a.status < 300 {
		g, err := readGrant(a)
		if err != nil {
			return nil, &FaultError{Op: op, Err: err}
		}
		g.asked = asked
		t.c.secrets.know(g.access, g.refresh, url.QueryEscape(g.refresh))
		return g, nil
	}
	return nil, t.refusal(op, a)
}

// refusal says what a bad status of the login host means (RFC 6749, 5.2).
func (t *tokens) refusal(op string, a *answer) error {
	root, _ := a.document() // no JSON: no code
	code := ""
	if v := root.Get("error"); v.Kind() == jsonscan.String {
		code = t.c.secrets.clean(v.Text())
	}
	switch a.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		if code == "" && !t.c.apiError(a).own {
			break // something in front of the login host
		}
		hint := "is the OAuth client right, and GENESYS_OAUTH_SCOPE?"
		switch {
		case code == "invalid_grant":
			return errInvalidGrant
		case code == "invalid_client", code == "" && a.status == http.StatusUnauthorized:
			code, hint = "invalid_client", "are GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET and GENESYS_REGION right?"
		}
		return &CredentialsError{By: op, Status: a.status, Code: code, Hint: hint, Correlation: t.c.apiError(a).correlation}
	}
	err := t.c.judge(op, a)
	var fault *FaultError
	if errors.As(err, &fault) {
		fault.Reached = false // of no interval
	}
	var status *StatusError
	if errors.As(err, &status) {
		status.Hint = "is GENESYS_LOGIN_URL (or GENESYS_REGION) right?"
	}
	return err
}

// readGrant reads {"access_token","token_type","expires_in"[,"refresh_token"]}.
func readGrant(a *answer) (*grant, error) {
	root, err := a.document()
	if err != nil {
		return nil, err
	}
	g := &grant{life: defaultLife}
	if v := root.Get("access_token"); v.Kind() == jsonscan.String {
		g.access = v.Text()
	}
	if !visible(g.access) {
		return nil, a.malformed("there is no access_token")
	}
	if v := root.Get("token_type"); v.Kind() == jsonscan.String && !strings.EqualFold(v.Text(), "bearer") {
		return nil, a.malformed("the token is no bearer token")
	}
	if v := root.Get("refresh_token"); v.Kind() == jsonscan.String {
		g.refresh = v.Text()
	}
	if v := root.Get("expires_in"); v.Kind() == jsonscan.Number || v.Kind() == jsonscan.String {
		if s, err := strconv.ParseFloat(v.Text(), 64); err == nil && s > 0 {
			g.life = time.Duration(min(s, (365*day).Seconds()) * float64(time.Second))
		}
	}
	return g, nil
}

// visible reports whether a text may stand in a header: ASCII without white space.
func visible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}
