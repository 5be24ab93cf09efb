package oauth

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
)

// endpoint is a token endpoint in memory: it needs no network, so that a test may own the
// clock. Tokens are "t1", "t2" and so on.
type endpoint struct {
	mu       sync.Mutex
	life     time.Duration
	delay    time.Duration
	status   int // 0 for a token
	requests int
	under    int // way, now
	most     int
}

func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.requests++
	e.under++
	e.most = max(e.most, e.under)
	status, body := http.StatusOK, fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":%d}`, e.requests, int(e.life.Seconds()))
	if e.status != 0 {
		status, body = e.status, `{"error":"invalid_client","error_description":"unknown"}`
	}
	delay := e.delay
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.under--
	}()
	select {
	case <-time.After(delay):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func (e *endpoint) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.requests
}

func text(s string) func() string { return func() string { return s } }

func (e *endpoint) client() *Client {
	return New(Config{Endpoint: "https://idp/token", ClientID: text("id"), ClientSecret: text("secret"), HTTP: &http.Client{Transport: e}})
}

func want(t *testing.T, c *Client, value string) {
	t.Helper()
	token, err := c.Token(t.Context())
	if err != nil || token.Value != value {
		t.Errorf("token %q, %v, want %q", token.Value, err, value)
	}
}

func TestTokenIsKeptAndRenewedBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: 100 * time.Second, delay: time.Second}
		c := e.client()
		want(t, c, "t1")
		time.Sleep(73 * time.Second)
		want(t, c, "t1")
		if e.count() != 1 {
			t.Errorf("%d requests in three quarters of a life", e.count())
		}
		time.Sleep(5 * time.Second) // renewed by itself meanwhile
		asked := time.Now()
		want(t, c, "t2")
		if waited := time.Since(asked); waited != 0 || e.count() != 2 {
			t.Errorf("waited %v for the renewed token, %d requests", waited, e.count())
		}
	})
}

func TestTokenThatNobodyAsksForIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: 100 * time.Second}
		c := e.client()
		want(t, c, "t1")
		time.Sleep(time.Hour)
		if e.count() != 2 { // the one of which it could not be known
			t.Errorf("%d requests though nobody asked", e.count())
		}
		want(t, c, "t3")
	})
}

func TestAskersShareOneFetchThatOutlivesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: time.Hour, delay: 10 * time.Second}
		c := e.client()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 5 {
			go func() {
				if token, err := c.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("token %v, %v from an endpoint that has not answered", token, err)
				}
			}()
		}
		time.Sleep(11 * time.Second)
		asked := time.Now()
		want(t, c, "t1")
		if time.Since(asked) != 0 || e.count() != 1 || e.most != 1 {
			t.Errorf("waited %v; %d requests, %d at once", time.Since(asked), e.count(), e.most)
		}
	})
}

func TestFailedRenewalKeepsTheTokenToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: 100 * time.Second}
		c := e.client()
		var failed atomic.Int32
		c.config.Failed = func(err error) {
			if !errors.Is(err, ErrRefused) {
				t.Errorf("told of %v", err)
			}
			failed.Add(1)
		}
		want(t, c, "t1")
		e.set(func() { e.status = http.StatusUnauthorized })
		time.Sleep(99 * time.Second)
		want(t, c, "t1")
		if n := failed.Load(); n < 2 || n > 40 {
			t.Errorf("told of %d failed renewals in 25 s", n)
		}
		time.Sleep(time.Second)
		if token, err := c.Token(t.Context()); !errors.Is(err, ErrRefused) {
			t.Errorf("token %q, %v after its end", token.Value, err)
		}
		e.set(func() { e.status = 0 })
		time.Sleep(lastPause)
		if _, err := c.Token(t.Context()); err != nil {
			t.Errorf("after the endpoint came back: %v", err)
		}
	})
}

func TestFailureIsNotRepeatedAtOnceWhoeverAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: time.Hour, status: http.StatusUnauthorized}
		c := e.client()
		for range 1000 {
			if _, err := c.Token(t.Context()); !errors.Is(err, ErrRefused) {
				t.Fatalf("%v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// Each fetch tries both ways to send the credentials. 100 s hold some 13 pauses of
		// 7.5 s on the average; their sum varies.
		if n := e.count(); n < 4 || n > 120 {
			t.Errorf("%d requests in 100 s", n)
		}
	})
}

func TestEndpointThatNeverAnswersIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: time.Hour, delay: time.Hour}
		_, err := e.client().Token(t.Context())
		if err == nil || err.Error() != "token endpoint https://idp/token: no answer within 30s" {
			t.Errorf("%v", err)
		}
	})
}

func TestRefusedTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{life: time.Hour}
		c := e.client()
		want(t, c, "t1")
		if c.Refused("t1") {
			t.Error("a new token for one that is young: it would be refused for the same reason")
		}
		want(t, c, "t1")
		time.Sleep(minAge)
		if !c.Refused("t0") { // of which somebody heard too late
			t.Error("the token is not another than the one before")
		}
		want(t, c, "t1")
		if !c.Refused("t1") {
			t.Error("no new token")
		}
		want(t, c, "t2")
	})
}

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestEndOfATokenIsToldByTheAnswerThenByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for body, end := range map[string]time.Time{
			`{"access_token":"opaque","expires_in":60}`:                                                              now.Add(time.Minute),
			`{"access_token":"opaque","expires_in":"60"}`:                                                            now.Add(time.Minute),
			`{"access_token":"opaque"}`:                                                                              now.Add(defaultLife),
			fmt.Sprintf(`{"access_token":%q}`, jwt(fmt.Sprintf(`{"exp":%d}`, now.Add(time.Hour).Unix()))):            now.Add(time.Hour),
			fmt.Sprintf(`{"access_token":%q,"expires_in":9}`, jwt(fmt.Sprintf(`{"exp":%d}`, now.Add(-1000).Unix()))): now.Add(9 * time.Second),
		} {
			token, err := answering(200, body).Token(t.Context())
			if err != nil || !token.Expires.Equal(end) {
				t.Errorf("%s: ends %v, %v, want %v", body, token.Expires, err, end)
			}
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// answering returns a client whose endpoint always gives the same answer.
func answering(status int, body string) *Client {
	return New(Config{
		Endpoint: "https://idp/token", ClientID: text("id"), ClientSecret: text("se cret"),
		HTTP: &http.Client{Transport: transport(func(req *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Status: http.StatusText(status), Request: req,
				Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
			}, nil
		})},
	})
}

func TestErrorNamesEndpointAndCauseWithoutSecrets(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("id:se+cret"))
	past := jwt(`{"exp":1000000000}`)
	for _, c := range []struct {
		status        int
		body, message string
		refused       bool
	}{
		{401, `{"error":"invalid_client","error_description":"no client se cret, se+cret, ` + basic + `"}`,
			" answers 401: invalid_client: no client [secret], [secret], [secret]", true},
		{400, `{"error":"invalid_scope"}`, " answers 400: invalid_scope", true},
		{403, `<html>se cret</html>`, " answers 403", true},
		{400, `<html>se cret</html>`, " answers 400", false},
		{503, `se cret`, " answers 503", false},
		{200, `{"error":"odd","error_description":"a\nb` + strings.Repeat("x", 400) + `"}`, " answers 200: odd: a b" + strings.Repeat("x", 297) + "…", false},
		{200, `{"access_token":"` + past + `"}`, ": the token that it gave ended already (is a clock wrong?), 2001-09-09T01:46:40Z", false},
		{200, `{"access_token":"a b"}`, ": access_token: it holds other characters than a bearer token has (RFC 6750, 2.1)", false},
		{200, `{"access_token":"a","token_type":"mac"}`, ": the token is no bearer token", false},
		{200, `{}`, ": oauth2: server response missing access_token", false},
		{200, `<html>`, ": oauth2: cannot parse json: invalid character '<' looking for beginning of value", false},
	} {
		_, err := answering(c.status, c.body).Token(t.Context())
		if err == nil {
			t.Errorf("%s: no error", c.body)
			continue
		}
		message := "token endpoint https://idp/token" + c.message
		if err.Error() != message {
			t.Errorf("got  %s\nwant %s", err, message)
		}
		if errors.Is(err, ErrRefused) != c.refused {
			t.Errorf("%s: refused is %v", err, !c.refused)
		}
	}
}

func TestAnswerIsBounded(t *testing.T) {
	_, err := answering(200, `{"access_token":"`+strings.Repeat("a", 4<<20)+`"}`).Token(t.Context())
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("an endless answer: %.300v", err)
	}
}

// TestCredentialsAreSentInEitherWayAndReadAgain talks to a server that wants them in the
// form, whose secret changes meanwhile.
func TestCredentialsAreSentInEitherWayAndReadAgain(t *testing.T) {
	var secret atomic.Value // that is right now
	secret.Store("old")
	var inHeader atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		right := secret.Load().(string)
		if _, _, basic := r.BasicAuth(); basic || r.PostFormValue("client_secret") != right {
			if basic {
				inHeader.Add(1)
			}
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "client_id": {"id"}, "client_secret": {right}}
		if got := r.PostForm.Encode(); got != form.Encode() {
			t.Errorf("form %s", got)
		}
		_, _ = io.WriteString(w, `{"access_token":"`+right+`","expires_in":1}`)
	}))
	defer server.Close()
	c := New(Config{Endpoint: server.URL, ClientID: text("id"), ClientSecret: func() string { return secret.Load().(string) }, Scope: "a b"})
	want(t, c, "old")
	secret.Store("new")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if token, err := c.Token(t.Context()); err == nil && token.Value == "new" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("with the new secret: %v", err)
		}
	}
	if n := inHeader.Load(); n != 1 {
		t.Errorf("%d requests in the way that the server does not take", n)
	}
}

func TestCredentialsAreNotSentToAnotherHost(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s reached another host", r.Method, r.URL)
	}))
	defer other.Close()
	moved := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			moved++
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"here","expires_in":60}`)
		case "/here":
			http.Redirect(w, r, "/moved", http.StatusTemporaryRedirect)
		default:
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	client := func(path string) *Client {
		return New(Config{Endpoint: server.URL + path, ClientID: text("id"), ClientSecret: text("secret")})
	}
	if _, err := client("/away").Token(t.Context()); !errors.Is(err, errElse) {
		t.Errorf("%v", err)
	}
	want(t, client("/here"), "here")
	if moved != 1 {
		t.Errorf("%d requests at the same host's other path", moved)
	}
}

// TestEndpointThatEchoesTellsNothing has endpoints that put what they were sent where only
// net/http and the decoder of the answer look, and characters that steer terminals.
func TestEndpointThatEchoesTellsNothing(t *testing.T) {
	const secret = `se&cret/+"1`
	for name, answer := range map[string]func(basic string) string{
		"status line": func(basic string) string { return basic + " " + secret + "\r\n\r\n" },
		"header":      func(basic string) string { return "HTTP/1.1 200 OK\r\n" + secret + "\x1b[31m " + basic + "\r\n\r\n" },
		"location": func(basic string) string {
			return "HTTP/1.1 302 Found\r\nLocation: :" + basic + "\r\nContent-Length: 0\r\n\r\n"
		},
		"length": func(basic string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + basic + "\r\n\r\n" },
		"expires_in": func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + `{"access_token":"a","expires_in":"se&cret/+\"1"}`
		},
		"description": func(basic string) string {
			return "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n" +
				`{"error":"invalid_client","error_description":"` + html.EscapeString(secret) + url.PathEscape(secret) + basic + "\u009b31m\u202ex" + `"}`
		},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			var sent atomic.Value // the credentials as they went over the line
			sent.Store("")
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					req, err := http.ReadRequest(bufio.NewReader(conn))
					if err == nil {
						if basic, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Basic "); ok {
							sent.Store(basic)
						}
						_, _ = io.WriteString(conn, answer(sent.Load().(string)))
					}
					_ = conn.Close()
				}
			}()
			client := New(Config{Endpoint: "http://" + listener.Addr().String(), ClientID: text("id"), ClientSecret: text(secret)})
			_, err = client.Token(t.Context())
			if err == nil || sent.Load() == "" {
				t.Fatalf("%v, sent %q", err, sent.Load())
			}
			for _, told := range []string{secret, html.EscapeString(secret), url.PathEscape(secret), url.QueryEscape(secret), strconv.Quote(secret)[1:12], sent.Load().(string)} {
				if strings.Contains(err.Error(), told) {
					t.Errorf("tells %s: %v", told, err)
				}
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("steers terminals: %q", err)
			}
		})
	}
}
