package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/sandbox"
)

func TestAllIsFine(t *testing.T) {
	for _, dialect := range []genesys.Dialect{genesys.Auto, genesys.Auditlogs, genesys.Query, genesys.Realtime} {
		t.Run(string(dialect), func(t *testing.T) {
			w := newWard(t)
			w.genesys.Dialect = dialect
			w.genesys.Services = []string{"Routing", "PeoplePermissions"}
			said := examine(t, w.admit())
			said.expect(t, nil)
			if c := said["divisions"]; c.Status != OK || c.Detail != "the token may see all divisions" {
				t.Errorf("divisions: %+v", c)
			}
			events := 0
			for name := range said {
				if strings.HasPrefix(name, "events ") {
					events++
				}
			}
			if want := map[bool]int{true: 1, false: 2}[dialect == genesys.Auditlogs || dialect == genesys.Auto]; events != want {
				t.Errorf("%d streams were read, want %d", events, want)
			}
		})
	}
}

// TestAPI breaks one thing of the API at a time.
func TestAPI(t *testing.T) {
	fault := func(f ...sandbox.Fault) func(*ward) {
		return func(w *ward) {
			if err := w.server.Org.Inject(f...); err != nil {
				w.Fatal(err)
			}
		}
	}
	services := func(w *ward) {
		w.genesys.Dialect, w.genesys.Services = genesys.Realtime, []string{"Architect", "Routing"}
	}
	for name, c := range map[string]struct {
		breaks func(*ward) // before it is admitted
		then   func(*ward) // after that
		want   map[string]symptom
	}{
		"wrong secret": {
			breaks: func(w *ward) { w.genesys.ClientSecret = genesys.Text("wrong-" + canary) },
			want:   map[string]symptom{"token": {Failed, "401 invalid_client", "GENESYS_CLIENT_SECRET"}},
		},
		"no login host": {
			breaks: func(w *ward) { w.genesys.LoginURL = "http://" + nowhere(w.T) },
			want:   map[string]symptom{"login host": {Failed, "refused", "GENESYS_LOGIN_URL"}},
		},
		"no API host": {
			breaks: func(w *ward) { w.genesys.APIURL = "http://" + nowhere(w.T) },
			want:   map[string]symptom{"API host": {Failed, "refused", "GENESYS_API_URL"}},
		},
		"a certificate of nobody": {
			breaks: func(w *ward) {
				s := httptest.NewUnstartedServer(http.NotFoundHandler())
				s.Config.ErrorLog = log.New(io.Discard, "", 0)
				s.StartTLS()
				w.Cleanup(s.Close)
				w.genesys.APIURL = s.URL
			},
			want: map[string]symptom{"API host": {Failed, "certificate", "SSL_CERT_FILE"}},
		},
		"https to http": {
			breaks: func(w *ward) {
				s := httptest.NewServer(http.NotFoundHandler())
				w.Cleanup(s.Close)
				w.genesys.LoginURL = strings.Replace(s.URL, "http", "https", 1)
			},
			want: map[string]symptom{"login host": {Failed, "TLS handshake", "does not speak TLS"}},
		},
		"another site": {
			breaks: func(w *ward) {
				s := httptest.NewServer(http.NotFoundHandler())
				w.Cleanup(s.Close)
				w.genesys.APIURL = s.URL
			},
			want: map[string]symptom{"audit API": {Failed, "404", "GENESYS_REGION"}},
		},
		"a site that redirects": {
			then: fault(sandbox.Fault{Kind: sandbox.Redirect, Endpoint: sandbox.EndpointAuditlogs, Count: -1}),
			want: map[string]symptom{"audit API": {Failed, "redirected", "GENESYS_API_URL"}},
		},
		"dialect not served": {
			breaks: func(w *ward) { w.world.Dialects = []sandbox.Dialect{sandbox.Query} },
			want:   map[string]symptom{"audit API": {Failed, "404", "GENESYS_AUDIT_API=auto"}},
		},
		"no permission": {
			then: fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 403, Endpoint: sandbox.EndpointAuditlogs, Count: -1}),
			want: map[string]symptom{"permission": {Failed, "403", "audits:audit:view"}},
		},
		"no permission, told by reading only": {
			breaks: services,
			then:   fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 403, Endpoint: sandbox.EndpointRealtime, Count: -1}),
			want:   map[string]symptom{"permission": {Failed, "403", "audits:audit:view"}},
		},
		"no permission for one service": {
			breaks: services, // asked: permission, Architect, Routing
			then:   fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 403, Endpoint: sandbox.EndpointRealtime, Skip: 2, Count: 1}),
			want:   map[string]symptom{"events Routing": {Failed, "403", "audits:audit:view"}},
		},
		"some divisions": {
			breaks: func(w *ward) { w.world.Divisions = []string{"Dublin", "Berlin"} },
			want:   map[string]symptom{"divisions": {Warning, "2 of 4 divisions (Berlin, Dublin): events of the others may never be shown", "in all divisions"}},
		},
		"every division by name": {
			breaks: func(w *ward) { w.world.Divisions = []string{"Dublin", "Berlin", "Home", "São Paulo"} },
			want:   map[string]symptom{"divisions": {Warning, "4 of 4 divisions (Berlin, Dublin, Home, São Paulo): events of divisions that are added later", "in all divisions"}},
		},
		"no division": {
			breaks: func(w *ward) { w.world.Divisions = []string{} },
			want:   map[string]symptom{"divisions": {Warning, "0 of 4 divisions: events of the others", "in all divisions"}},
		},
		"some divisions of nobody knows how many": {
			breaks: func(w *ward) {
				w.world.Divisions, w.world.Forbidden = []string{"Berlin"}, []string{sandbox.PermissionDivisions}
			},
			want: map[string]symptom{"divisions": {Warning, "1 divisions (Berlin): events of the others", "in all divisions"}},
		},
		"divisions told by the client's id only": {
			breaks: func(w *ward) { w.world.Divisions = []string{"Berlin"} },
			then:   fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 400, Endpoint: sandbox.EndpointPermitted, Count: 1}),
			want:   map[string]symptom{"divisions": {Warning, "1 of 4 divisions", "in all divisions"}},
		},
		"divisions not told: forbidden": {
			then: fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 403, Endpoint: sandbox.EndpointPermitted, Count: -1}),
			want: map[string]symptom{"divisions": {Skipped, "does not tell which divisions", ""}},
		},
		"divisions not told: not served": {
			then: fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 404, Endpoint: sandbox.EndpointPermitted, Count: -1}),
			want: map[string]symptom{"divisions": {Skipped, "404", ""}},
		},
		"divisions not told: out of order": {
			then: fault(sandbox.Fault{Kind: sandbox.StatusCode, Status: 500, Endpoint: sandbox.EndpointPermitted, Count: -1}),
			want: map[string]symptom{"divisions": {Skipped, "500", ""}},
		},
		"a filter that is known to be wrong": {
			breaks: func(w *ward) { w.genesys.Filter = "type=admin" },
			want:   map[string]symptom{"taxonomy": {Failed, "GENESYS_FILTER", "type=configuration"}},
		},
		"a service in another case": {
			breaks: func(w *ward) {
				w.genesys.Dialect, w.genesys.Services = genesys.Realtime, []string{"routing", "architect"}
			},
			want: map[string]symptom{"taxonomy": {Failed, "GENESYS_SERVICES=architect", "Routing"}},
		},
		"a service that is not there yet": {
			breaks: func(w *ward) {
				w.genesys.Dialect, w.genesys.Services = genesys.Realtime, []string{"Routing", "Robots"}
			},
			want: map[string]symptom{"taxonomy": {Warning, "service=Robots", "has not happened yet"}},
		},
		"more wanted than is held": {
			breaks: func(w *ward) {
				w.api.Start = func(now time.Time, _ time.Duration) time.Time { return now.Add(-200 * day) }
			},
			want: map[string]symptom{"retention": {Warning, "BACKFILL_FROM begins 20d before", "gap"}},
		},
		"less held than believed": {
			breaks: func(w *ward) {
				w.world.Retention = 90 * day
				w.api.Start = func(now time.Time, retention time.Duration) time.Time { return now.Add(-retention) }
			},
			want: map[string]symptom{"retention": {Warning, "180d, but there is no event before", "GENESYS_RETENTION"}},
		},
		"clock off by an hour": {
			breaks: func(w *ward) { w.world.Clock = func() time.Time { return time.Now().Add(-time.Hour) } },
			want:   map[string]symptom{"clock": {Failed, "-1h0m", "NTP"}},
		},
		"clock off by ten seconds": {
			breaks: func(w *ward) { w.world.Clock = func() time.Time { return time.Now().Add(10 * time.Second) } },
			want:   map[string]symptom{"clock": {Warning, "s", "NTP"}},
		},
		"limit used up": {
			breaks: func(w *ward) { w.api.Reserve = 1000 },
			want:   map[string]symptom{"rate limit": {Warning, "of 1000 requests", "GENESYS_RATE_RESERVE=1000"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			if c.breaks != nil {
				c.breaks(w)
			}
			d := w.admit()
			if c.then != nil {
				c.then(w)
			}
			examine(t, d).expect(t, c.want)
		})
	}
}

// TestRefreshTokenIsNotUsed: what the token would have replaced lives on.
func TestRefreshTokenIsNotUsed(t *testing.T) {
	w := newWard(t)
	w.world.RefreshToken = "first"
	d := w.admit()
	d.API.Client = nil
	examine(t, d).expect(t, map[string]symptom{"token": {Warning, "GENESYS_REFRESH_TOKEN", "connector status"}})
	if asked := w.server.Org.Requests(); len(asked) != 0 {
		t.Errorf("the API was asked: %+v", asked)
	}
}

// TestHostHints: errors that loopback does not show.
func TestHostHints(t *testing.T) {
	for part, err := range map[string]error{
		"HTTPS_PROXY":                &net.DNSError{Err: "no such host", Name: "api.mypurecloud.xx", IsNotFound: true},
		"for another host":           x509.HostnameError{Host: "x", Certificate: &x509.Certificate{}},
		"clock":                      x509.CertificateInvalidError{Reason: x509.Expired},
		"firewall or network policy": context.DeadlineExceeded,
	} {
		if hint := hostHint(errors.Join(errors.New("round trip"), err), "GENESYS_REGION"); !strings.Contains(hint, part) {
			t.Errorf("%v: %q has no %q", err, hint, part)
		}
	}
}
