package genesys

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"genesys-audit-connector/internal/audit"
)

// lab is a client and a server that are joined by pipes inside a synctest
// bubble: net/http on both sides as it is, and time that costs nothing. A
// goroutine that outlives the test makes synctest fail it.
type lab struct {
	t      *testing.T
	client *Client
	logs   *observer.ObservedLogs
}

// inLab runs a test against a handler. change may be nil.
func inLab(t *testing.T, handler http.Handler, change func(*Config), test func(*lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hosts := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: handler}
		var running sync.WaitGroup
		running.Go(func() { _ = server.Serve(hosts) })

		core, logs := observer.New(zapcore.DebugLevel)
		cfg := Config{APIURL: "http://api.test", LoginURL: "http://login.test",
			ClientID: Text("the-client"), ClientSecret: Text("the-secret"), Dialect: Auditlogs, Logger: zap.New(core)}
		if change != nil {
			change(&cfg)
		}
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		transport := c.http.Transport.(*http.Transport)
		transport.DialContext = hosts.dial
		defer func() {
			c.Close()
			_ = server.Close()
			running.Wait()
		}()
		test(&lab{t: t, client: c, logs: logs})
	})
}

// pipes is a network: every address leads to the one listener.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// open opens the client and returns the names of its streams.
func (l *lab) open() []string {
	l.t.Helper()
	streams, err := l.client.Open(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	var names []string
	for _, s := range streams {
		names = append(names, s.Name)
	}
	return names
}

// lastHour is an interval that every dialect serves.
func (l *lab) lastHour() audit.Interval {
	now := l.client.Now().Truncate(time.Millisecond)
	return audit.Interval{From: now.Add(-time.Hour), To: now}
}

// read reads an interval of a stream and returns the ids in the order that they came.
func (l *lab) read(stream string, i audit.Interval) ([]string, error) {
	return l.readAs(audit.Read{Stream: stream, Interval: i, Purpose: audit.Tail})
}

// preview reads what realtime shows of a service.
func (l *lab) preview(stream, service string, i audit.Interval) ([]string, error) {
	return l.readAs(audit.Read{Stream: stream, Interval: i, Purpose: audit.Preview, Preview: service})
}

func (l *lab) readAs(r audit.Read) ([]string, error) {
	var ids []string
	finished := false
	err := l.client.Read(l.t.Context(), r, func(p audit.Page, last bool) error {
		if finished {
			l.t.Error("a page came after the last one")
		}
		for _, e := range p.Events {
			ids = append(ids, e.ID)
		}
		finished = last
		p.Release()
		return nil
	})
	if err == nil && !finished {
		l.t.Error("nothing was called the last page")
	}
	return ids, err
}

// script answers requests to the API one by one; logins always succeed.
type script struct {
	mu       sync.Mutex
	steps    []http.HandlerFunc
	got      []*http.Request // requests to the API
	at       []time.Time
	logins   int
	login    http.HandlerFunc // instead of the good answer
	fallback http.HandlerFunc // after the last step; nil: an empty page
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var step http.HandlerFunc
	if r.URL.Path == tokenPath {
		s.logins++
		step = s.login
		if step == nil {
			step = grants(fmt.Sprintf("access-%d", s.logins), 24*time.Hour)
		}
	} else {
		s.got, s.at = append(s.got, r), append(s.at, time.Now())
		switch {
		case len(s.steps) > 0:
			step, s.steps = s.steps[0], s.steps[1:]
		case s.fallback != nil:
			step = s.fallback
		default:
			step = page("")
		}
	}
	s.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	step(w, r)
}

// baseline are the requests of Open in dialect auditlogs, answered so that it asks once.
func (s *script) then(steps ...http.HandlerFunc) *script {
	s.steps = append([]http.HandlerFunc{page("", "baseline")}, steps...)
	return s
}

// calls are the requests after Open's.
func (s *script) calls() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[min(1, len(s.got)):]
}

func say(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func grants(access string, life time.Duration) http.HandlerFunc {
	return say(200, fmt.Sprintf(`{"access_token":%q,"token_type":"bearer","expires_in":%d}`, access, int(life.Seconds())))
}

// page is a page of events with these ids.
func page(next string, ids ...string) http.HandlerFunc { return say(200, pageBody(next, ids...)) }

func pageBody(next string, ids ...string) string {
	var events []string
	for _, id := range ids {
		events = append(events, event(id))
	}
	body := `{"entities":[` + strings.Join(events, ",") + `]`
	if next != "" {
		body += fmt.Sprintf(`,"nextPage":%q`, next)
	}
	return body + "}"
}

func event(id string) string {
	return fmt.Sprintf(`{"auditId":%q,"timestamp":"2000-01-01T00:00:00.000Z","entityType":"queue","before":null,"after":{"id":%q}}`, id, id)
}

func failing(status int, code string) http.HandlerFunc {
	b, _ := json.Marshal(map[string]any{"status": status, "code": code, "message": "said by the API"})
	return say(status, string(b))
}

// cut answers with a whole header and half a body, then closes the connection.
func cut(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write([]byte(body[:len(body)/2]))
		panic(http.ErrAbortHandler)
	}
}

func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// hang answers nothing until the client is gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func padded(size int) http.HandlerFunc {
	return say(200, string(bytes.Repeat([]byte(" "), size))+pageBody(""))
}
