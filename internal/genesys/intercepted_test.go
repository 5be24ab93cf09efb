package genesys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
)

const firewallPage = "<html><head><title>Request Rejected</title></head><body>Support ID 18</body></html>"

// What a firewall refuses is neither a permission nor a setting, and is not
// asked for again, by anybody, before it said so.
func TestFirewallIsNotAPermission(t *testing.T) {
	for status, shape := range map[int]http.HandlerFunc{
		403: say(403, firewallPage, "Content-Type", "text/html", "Retry-After", "90"),
		400: say(400, firewallPage, "Content-Type", "text/html", "Retry-After", "90"),
		404: say(404, "blocked by policy", "Content-Type", "text/plain", "Retry-After", "90"),
		401: say(401, firewallPage, "Content-Type", "text/html", "Retry-After", "90"),
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := (&script{}).then(shape, shape) // of a 401 the second is with a new token
			inLab(t, s, nil, func(l *lab) {
				stream := l.open()[0]
				started := time.Now()
				ids, err := l.read(stream, l.lastHour())
				if err != nil || len(ids) != 0 {
					l.t.Fatal(ids, err)
				}
				if took := time.Since(started); took < 180*time.Second || took > 200*time.Second {
					l.t.Errorf("the second refusal was over after %s, expected 2 x 90 s", took)
				}
			})
			lasting := &script{fallback: say(status, firewallPage, "Content-Type", "text/html")}
			inLab(t, lasting.then(), nil, func(l *lab) {
				_, err := l.read(l.open()[0], l.lastHour())
				var between *InterceptedError
				if !errors.As(err, &between) || between.Status != status || !strings.Contains(err.Error(), "text/html") {
					l.t.Errorf("the error is %v", err)
				}
				if errors.Is(err, ErrCredentials) || errors.Is(err, poller.ErrConfiguration) || errors.Is(err, poller.ErrUnreadable) {
					l.t.Errorf("%v is taken for something else", err)
				}
			})
		})
	}
}

// The API's own 403 rings the alarm for credentials.
func TestMissingPermissionIsOfTheKindCredentials(t *testing.T) {
	inLab(t, &script{fallback: failing(403, "missing.any.permissions")}, nil, func(l *lab) {
		_, err := l.client.Open(l.t.Context())
		var monitor health.Monitor
		monitor.Report(health.Subject{Kind: health.API, Op: "open"}, err)
		if f := monitor.Failing(); len(f) != 1 || f[0].Kind != health.Credentials {
			l.t.Errorf("sorted as %v", f)
		}
	})
}

// A byte order mark is no part of the JSON, and none of an event's bytes.
func TestByteOrderMarkIsSkipped(t *testing.T) {
	const bom = "\xef\xbb\xbf"
	s := (&script{login: say(200, bom+`{"access_token":"access","expires_in":3600}`)}).then(say(200, bom+pageBody("T", "a")), say(200, bom+pageBody("", "b")))
	inLab(t, s, nil, func(l *lab) {
		ids, err := l.read(l.open()[0], l.lastHour())
		if err != nil || !slices.Equal(ids, []string{"a", "b"}) {
			l.t.Fatal(ids, err)
		}
		a := &answer{status: 200, header: http.Header{}, body: []byte(bom + pageBody("", "c"))}
		if _, err := a.entities(); err != nil {
			l.t.Fatal(err)
		}
		if p := a.page(); string(p.Events[0].Raw) != event("c") {
			l.t.Errorf("the event's bytes are %q", p.Events[0].Raw)
		}
	})
}

// Whoever asks the vendor's support is asked for the answer's id first.
func TestErrorsCarryTheCorrelationID(t *testing.T) {
	const header, member = "0000-in-the-header", "1111-in-the-body"
	for status := range map[int]bool{200: true, 400: true, 401: true, 403: true, 404: true, 408: true, 418: true, 429: true, 500: true, 503: true} {
		for name, shape := range map[string]http.HandlerFunc{
			header: say(status, `{"message":"no"}`, "ININ-Correlation-Id", header, "Retry-After", "1"),
			member: say(status, `{"message":"no","code":"x","contextId":"`+member+`"}`, "Retry-After", "1"),
		} {
			if status == 200 && name == member {
				continue // a body that is no answer has no members that mean anything
			}
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				inLab(t, (&script{fallback: shape}).then(), nil, func(l *lab) {
					_, err := l.read(l.open()[0], l.lastHour())
					if err == nil || !strings.Contains(err.Error(), name) {
						l.t.Errorf("the error is %v", err)
					}
				})
			})
		}
	}
}

func TestUserAgentCarriesTheVersion(t *testing.T) {
	for version, want := range map[string]string{"": "genesys-audit-connector/dev", "v1.2.3": "genesys-audit-connector/v1.2.3"} {
		s := (&script{}).then()
		inLab(t, s, func(cfg *Config) { cfg.Version = version }, func(l *lab) {
			l.open()
			if got := s.got[0].Header.Get("User-Agent"); got != want {
				l.t.Errorf("User-Agent %q, expected %q", got, want)
			}
		})
	}
}

// A clock that is far from ours is doubted aloud, and no more when it is right.
func TestClockFarFromOursIsTold(t *testing.T) {
	for _, ahead := range []time.Duration{0, 4 * time.Minute, 6 * time.Minute, -6 * time.Minute, 3 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			off, s := ahead, &script{}
			shifted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.ServeHTTP(dateWriter{w, time.Now().Add(off).UTC().Format(http.TimeFormat)}, r)
			})
			var monitor health.Monitor
			inLab(t, shifted, func(cfg *Config) { cfg.Report = monitor.Report }, func(l *lab) {
				stream := l.open()[0]
				read := func() {
					if _, err := l.read(stream, l.lastHour()); err != nil {
						l.t.Fatal(err)
					}
				}
				for range 30 { // an hour and a half
					time.Sleep(3 * time.Minute)
					read()
				}
				told := ahead.Abs() > doubtfulOffset
				failing := monitor.Failing()
				if told != (len(failing) == 1) || told && (failing[0].Op != "clock" || !failing[0].Warning) {
					l.t.Fatalf("reported %v", failing)
				}
				if told {
					for _, part := range []string{"NTP", time.Now().UTC().Format("2006-01-02 15"), time.Now().Add(ahead).UTC().Format("2006-01-02 15")} {
						if !strings.Contains(failing[0].Err.Error(), part) {
							l.t.Errorf("%q is not in %q", part, failing[0].Err)
						}
					}
				}
				lines := l.logs.FilterMessage("clock is doubted").Len()
				if told && (lines < 5 || lines > 10) || !told && lines > 0 {
					l.t.Errorf("%d lines", lines)
				}
				off = 0
				read()
				read()
				if got, _ := l.client.ClockOffset(); got.Abs() > 2*time.Second || len(monitor.Failing()) > 0 {
					l.t.Errorf("after two right answers the offset is %s, reported %v", got, monitor.Failing())
				}
			})
		})
	}
}

// A connection that nobody takes says nothing of what was asked for.
func TestNoConnectionIsNotTheInterval(t *testing.T) {
	server := httptest.NewServer((&script{}).then())
	c, err := New(Config{APIURL: server.URL, LoginURL: server.URL, ClientID: Text("a"), ClientSecret: Text("b"), Dialect: Auditlogs})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := &lab{t: t, client: c}
	stream := l.open()[0]
	c.patience.backoff.First = time.Millisecond
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"refused": nil,
		"no name": func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
		},
	} {
		server.Close()
		c.Close()
		c.http.Transport.(*http.Transport).DialContext = dial
		if _, err := l.read(stream, l.lastHour()); !isType[*FaultError](err) || errors.Is(err, poller.ErrUnreadable) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
