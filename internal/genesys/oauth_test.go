package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryStore keeps a sealed token, and fails on demand.
type memoryStore struct {
	mu     sync.Mutex
	sealed []byte
	saves  int
	fail   error
}

func (m *memoryStore) Load(context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sealed, nil
}

func (m *memoryStore) Save(_ context.Context, sealed []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.saves++
	m.sealed = sealed
	return nil
}

// loginHost gives out tokens the way RFC 6749 has it, and replaces refresh
// tokens when they are used.
type loginHost struct {
	id, secret  string
	refuseBasic bool
	life        time.Duration
	refresh     string // the one that lives
	keep        bool   // it is not replaced
	n           int
}

func (h *loginHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if basic && h.refuseBasic || id != h.id || secret != h.secret {
		say(401, `{"error":"invalid_client","description":"client not found"}`)(w, r)
		return
	}
	refreshes := r.PostForm.Get("grant_type") == "refresh_token"
	if refreshes && r.PostForm.Get("refresh_token") != h.refresh {
		say(400, `{"error":"invalid_grant"}`)(w, r)
		return
	}
	h.n++
	replacement := ""
	if refreshes && !h.keep {
		h.refresh = fmt.Sprintf("refresh-%d", h.n)
		replacement = fmt.Sprintf(`,"refresh_token":%q`, h.refresh)
	}
	say(200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"Bearer","expires_in":%d%s}`, h.n, int(h.life.Seconds()), replacement))(w, r)
}

func newLogin() *loginHost {
	return &loginHost{id: "the-client", secret: "the-secret", life: 24 * time.Hour}
}

func TestTokenIsReplacedBeforeItExpires(t *testing.T) {
	for _, tc := range []struct{ life, renewed time.Duration }{
		{24 * time.Hour, 24*time.Hour - time.Minute},
		{5 * time.Minute, 4 * time.Minute},
		{time.Minute, 30 * time.Second},
		{2 * time.Second, time.Second},
	} {
		t.Run(tc.life.String(), func(t *testing.T) {
			h := newLogin()
			h.life = tc.life
			inLab(t, &script{login: h.ServeHTTP}, nil, func(l *lab) {
				get := func() string {
					token, err := l.client.tokens.get(l.t.Context())
					if err != nil {
						l.t.Fatal(err)
					}
					return token
				}
				first := get()
				time.Sleep(tc.renewed - time.Millisecond)
				if get() != first {
					l.t.Errorf("another token before %s", tc.renewed)
				}
				time.Sleep(time.Millisecond)
				if get() == first {
					l.t.Errorf("the same token after %s of %s", tc.renewed, tc.life)
				}
			})
		})
	}
}

func TestOneLoginAtATime(t *testing.T) {
	current, most := 0, 0
	h := newLogin()
	var mu sync.Mutex
	s := &script{login: func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		current++
		most = max(most, current)
		mu.Unlock()
		time.Sleep(time.Second)
		h.ServeHTTP(w, r)
		mu.Lock()
		current--
		mu.Unlock()
	}}
	for _, works := range []bool{true, false} {
		t.Run(fmt.Sprint(works), func(t *testing.T) {
			h.n = 0
			s.logins = 0
			inLab(t, s, func(cfg *Config) {
				if !works {
					cfg.ClientSecret = Text("wrong")
				}
			}, func(l *lab) {
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						if _, err := l.client.tokens.get(l.t.Context()); (err == nil) != works {
							l.t.Error(err)
						}
					})
				}
				// One that gives up while it waits takes nothing from the others.
				time.Sleep(time.Millisecond)
				ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Millisecond)
				defer cancel()
				if _, err := l.client.tokens.get(ctx); !errors.Is(err, context.DeadlineExceeded) {
					l.t.Error(err)
				}
				all.Wait()
				if most != 1 || s.logins > 2 { // Basic, then the form
					l.t.Errorf("%d logins, %d at a time", s.logins, most)
				}
			})
		})
	}
}

func TestLoginByFormWhereBasicIsRefused(t *testing.T) {
	h := newLogin()
	h.refuseBasic = true
	s := &script{login: h.ServeHTTP}
	inLab(t, s, nil, func(l *lab) {
		l.open()
		l.client.tokens.drop("access-1")
		if _, err := l.client.tokens.get(l.t.Context()); err != nil {
			l.t.Fatal(err)
		}
		if s.logins != 3 {
			l.t.Errorf("%d logins; Basic is tried once, then the form at once", s.logins)
		}
	})
}

func TestRefusedLogins(t *testing.T) {
	for name, tc := range map[string]struct {
		login http.HandlerFunc
		check func(error) bool
		most  int
	}{
		"wrong secret":    {failingLogin(401, "invalid_client"), func(err error) bool { return strings.Contains(err.Error(), "GENESYS_CLIENT_SECRET") }, 2},
		"401, no body":    {say(401, ""), func(err error) bool { return errors.Is(err, ErrCredentials) }, 2},
		"wrong scope":     {failingLogin(400, "invalid_scope"), func(err error) bool { return strings.Contains(err.Error(), "GENESYS_OAUTH_SCOPE") }, 1},
		"wrong grant":     {failingLogin(400, "invalid_grant"), func(err error) bool { return errors.Is(err, ErrCredentials) }, 1},
		"no such path":    {say(404, ""), func(err error) bool { return strings.Contains(err.Error(), "GENESYS_LOGIN_URL") }, 1},
		"redirected":      {say(302, "", "Location", "https://elsewhere.test/"), isType[*RedirectError], 1},
		"overloaded":      {say(503, ""), isType[*FaultError], loginAttempts},
		"a gateway":       {say(200, "<html>"), isType[*FaultError], loginAttempts},
		"no token":        {say(200, `{"expires_in":60}`), isType[*FaultError], loginAttempts},
		"a broken token":  {say(200, `{"access_token":"a\nb"}`), isType[*FaultError], loginAttempts},
		"another type":    {say(200, `{"access_token":"a","token_type":"mac"}`), isType[*FaultError], loginAttempts},
		"an endless body": {padded(2 * maxTokenAnswer), isType[*FaultError], loginAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{login: tc.login}
			inLab(t, s, nil, func(l *lab) {
				_, err := l.client.Open(l.t.Context())
				if err == nil || !tc.check(err) {
					l.t.Errorf("the error is %v", err)
				}
				if s.logins != tc.most {
					l.t.Errorf("%d logins, expected %d", s.logins, tc.most)
				}
			})
		})
	}
}

func failingLogin(status int, code string) http.HandlerFunc {
	return say(status, fmt.Sprintf(`{"error":%q,"description":"no"}`, code))
}

// A secret that is replaced in its file is taken up by the next try.
func TestSecretIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) {
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	s := &script{login: newLogin().ServeHTTP}
	inLab(t, s, func(cfg *Config) { cfg.ClientSecret = File(file) }, func(l *lab) {
		if _, err := l.client.Open(l.t.Context()); !errors.Is(err, ErrCredentials) {
			l.t.Fatal(err)
		}
		write("the-secret")
		l.open()
	})
}

// However many streams ask: what is refused is not tried more often than once a
// minute in the end, and what was put right is tried at once.
func TestRefusedLoginIsNotHammered(t *testing.T) {
	secret := "wrong"
	s := &script{login: newLogin().ServeHTTP}
	inLab(t, s, func(cfg *Config) { cfg.ClientSecret = func() (string, error) { return secret, nil } }, func(l *lab) {
		for range 600 { // ten minutes
			if _, err := l.client.tokens.get(l.t.Context()); !errors.Is(err, ErrCredentials) {
				l.t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		// After 1, 2, 4, 8, 16 and 32 s, then each minute; each by Basic and by the form.
		if tries := s.logins / 2; tries < 15 || tries > 16 {
			l.t.Errorf("%d tries in ten minutes", tries)
		}
		secret = "the-secret"
		if _, err := l.client.tokens.get(l.t.Context()); err != nil {
			l.t.Errorf("the right secret: %v", err)
		}
	})
}

func TestRefreshTokenIsReplaced(t *testing.T) {
	h, store := newLogin(), &memoryStore{}
	h.life, h.refresh = time.Hour, "configured"
	client := credentials{"the-client", "the-secret"}
	refreshes := func(cfg *Config) { cfg.RefreshToken, cfg.Tokens = Text("configured"), store }
	inLab(t, &script{login: h.ServeHTTP}, refreshes, func(l *lab) {
		for range 3 {
			l.open()
			time.Sleep(time.Hour)
		}
		if store.saves != 3 || h.refresh != "refresh-3" {
			l.t.Fatalf("%d replacements saved, the last is %s", store.saves, h.refresh)
		}
	})
	if strings.Contains(string(store.sealed), "refresh-") {
		t.Fatal("the stored token can be read")
	}
	if token, err := open(store.sealed, client); err != nil || token != "refresh-3" {
		t.Fatal(token, err)
	}
	// Another process goes on with the stored one.
	inLab(t, &script{login: h.ServeHTTP}, refreshes, func(l *lab) { l.open() })
	if h.refresh != "refresh-4" {
		t.Fatalf("the stored token was not used: %s", h.refresh)
	}
	// The stored one is dead: the configured one counts.
	h.refresh = "configured"
	inLab(t, &script{login: h.ServeHTTP}, refreshes, func(l *lab) { l.open() })
	if h.refresh != "refresh-5" {
		t.Fatalf("the configured token was not used: %s", h.refresh)
	}
	// Both are dead.
	h.refresh = "lost"
	inLab(t, &script{login: h.ServeHTTP}, refreshes, func(l *lab) {
		_, err := l.client.Open(l.t.Context())
		if !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), "GENESYS_REFRESH_TOKEN") {
			l.t.Fatal(err)
		}
	})
}

// A token that came with a replacement is not used before that is stored; and a
// replacement that could not be stored is not lost.
func TestReplacementIsStoredFirst(t *testing.T) {
	h, store := newLogin(), &memoryStore{fail: errors.New("no broker")}
	h.refresh = "configured"
	s := &script{login: h.ServeHTTP}
	inLab(t, s, func(cfg *Config) { cfg.RefreshToken, cfg.Tokens = Text("configured"), store }, func(l *lab) {
		for range 2 {
			if _, err := l.client.Open(l.t.Context()); !errors.Is(err, store.fail) {
				l.t.Fatal(err)
			}
		}
		if len(s.got) != 0 || s.logins != 1 {
			l.t.Fatalf("%d requests with a token whose replacement is not stored, %d logins", len(s.got), s.logins)
		}
		store.fail = nil
		l.open()
		if s.logins != 1 || h.refresh != "refresh-1" {
			l.t.Fatalf("the replacement was not kept: %d logins", s.logins)
		}
	})
}

// A refresh whose reader gives up goes on for a moment, so that the replacement
// is not lost; a login that hangs does not hold the reader up for long.
func TestRefreshOutlivesItsReader(t *testing.T) {
	for _, tc := range []struct {
		takes time.Duration
		saved int
	}{{2 * time.Second, 1}, {20 * time.Second, 0}} {
		t.Run(tc.takes.String(), func(t *testing.T) {
			h, store := newLogin(), &memoryStore{}
			h.refresh = "configured"
			s := &script{login: func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(tc.takes)
				h.ServeHTTP(w, r)
			}}
			inLab(t, s, func(cfg *Config) { cfg.RefreshToken, cfg.Tokens = Text("configured"), store }, func(l *lab) {
				ctx, cancel := context.WithTimeout(l.t.Context(), time.Second)
				defer cancel()
				started := time.Now()
				_, _ = l.client.tokens.get(ctx)
				if took := time.Since(started); took > time.Second+graceForRotation {
					l.t.Errorf("it took %s", took)
				}
				if store.saves != tc.saved {
					l.t.Errorf("%d replacements were saved, expected %d", store.saves, tc.saved)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// A client secret that is replaced while we run does not lose the refresh token
// that is sealed under the old one.
func TestSealUnderANewSecret(t *testing.T) {
	h, store := newLogin(), &memoryStore{}
	h.refresh, h.life = "configured", time.Hour
	secret := "the-secret"
	inLab(t, &script{login: h.ServeHTTP}, func(cfg *Config) {
		cfg.RefreshToken, cfg.Tokens = Text("configured"), store
		cfg.ClientSecret = func() (string, error) { return secret, nil }
	}, func(l *lab) {
		l.open()
		secret, h.secret, h.keep = "another-secret", "another-secret", true
		time.Sleep(time.Hour)
		l.open()
		if token, err := open(store.sealed, credentials{"the-client", secret}); err != nil || token != "refresh-1" {
			l.t.Fatal(token, err)
		}
	})
}

func TestSeal(t *testing.T) {
	client := credentials{"id", "secret"}
	sealed, err := seal("the token", client)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := seal("the token", client)
	if string(sealed) == string(again) {
		t.Error("sealed twice alike: salt or nonce are missing")
	}
	for i := range sealed {
		broken := append([]byte(nil), sealed...)
		broken[i] ^= 1
		if _, err := open(broken, client); err == nil {
			t.Fatalf("a changed byte %d was not noticed", i)
		}
		if _, err := open(sealed[:i], client); err == nil {
			t.Fatalf("the first %d bytes were opened", i)
		}
	}
	for _, other := range []credentials{{"id", "other"}, {"other", "secret"}} {
		if _, err := open(sealed, other); err == nil {
			t.Errorf("%v opened it", other)
		}
	}
}

func FuzzGrant(f *testing.F) {
	for _, seed := range []string{`{"access_token":"a","token_type":"bearer","expires_in":86400,"refresh_token":"r"}`,
		`{"access_token":"a","expires_in":"60"}`, `{"access_token":"a","expires_in":-1}`, `{"access_token":"a","expires_in":1e400}`,
		`{"access_token":5}`, `{"access_token":"a\r\nX: y"}`, `[]`, ``, `{"access_token":"a","token_type":7}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		g, err := readGrant(&answer{status: 200, header: http.Header{}, body: body})
		if err != nil {
			return
		}
		req, _ := http.NewRequest("GET", "http://x/", nil)
		req.Header.Set("Authorization", "Bearer "+g.access)
		if !visible(g.access) || g.life <= 0 || g.life > 365*day {
			t.Fatalf("%q gave %q for %s", body, g.access, g.life)
		}
	})
}

// A token that the API refuses is not used again: the same request goes out
// once more with a new one.
func TestRefusedTokenIsReplaced(t *testing.T) {
	s := &script{fallback: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer access-1" {
			failing(401, "bad.credentials")(w, r)
			return
		}
		page("", "a")(w, r)
	}}
	inLab(t, s.then(), nil, func(l *lab) {
		stream := l.open()[0]
		for range 2 {
			if _, err := l.read(stream, l.lastHour()); err != nil {
				l.t.Fatal(err)
			}
		}
		if n := len(s.calls()); n != 3 || s.logins != 2 {
			l.t.Errorf("%d requests and %d logins; one token was refused once", n, s.logins)
		}
	})
}
