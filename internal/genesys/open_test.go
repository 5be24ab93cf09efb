package genesys

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/sandbox"
)

func TestFilterIsChecked(t *testing.T) {
	for _, tc := range []struct {
		filter     string
		suggestion string // of the ValueError; "" for none
		warns      bool
		requests   int
	}{
		{"type=configuration", "", false, 1},
		{"type=configuration,entityType=queue", "", false, 1},
		{"type=admin", "type=configuration", false, 0},
		{"type=Configuration", "type=configuration", false, 0},
		{"Type=configuration", "type=configuration", false, 0},
		{"type=configuration,entitytype=queue", "type=configuration,entityType=queue", false, 0},
		{"type=admin,entityType=queue", "type=configuration,entityType=queue", false, 0},
		{"type=configuration,entityType=Queue", "type=configuration,entityType=queue", false, 2 * lastingAnswers},
		{"type=configuration,entityType=queue,action=UPDATE", "type=configuration,entityType=queue,action=Update", false, 2 * lastingAnswers},
		{"type=configuration,entityType=unicorn", "", true, 2},
		{"type=unheard", "", true, 1},
		{"type=configuration,colour=blue", "", true, 2},
	} {
		t.Run(tc.filter, func(t *testing.T) {
			inOrg(t, Auditlogs, sandbox.Options{Odd: -1}, func(cfg *Config) { cfg.Filter = tc.filter }, func(l *lab, org *sandbox.Org) {
				org.Backfill(900, time.Now().Add(-20*time.Hour), time.Now().Add(-time.Minute))
				_, err := l.client.Open(l.t.Context())
				var wrong *ValueError
				if errors.As(err, &wrong) != (tc.suggestion != "") || wrong == nil && err != nil {
					l.t.Fatalf("the error is %v", err)
				}
				if wrong != nil && (wrong.Suggestion != tc.suggestion || wrong.Variable != "GENESYS_FILTER" ||
					!errors.Is(err, poller.ErrConfiguration) || !strings.Contains(err.Error(), tc.suggestion)) {
					l.t.Errorf("the error is %v", err)
				}
				if warned := l.logs.FilterField(zap.String("variable", "GENESYS_FILTER")).Len() > 0; warned != tc.warns {
					l.t.Errorf("warned %t, expected %t: %v", warned, tc.warns, l.logs.All())
				}
				if n := len(org.Requests()); n != tc.requests+1 { // and the login
					l.t.Errorf("%d requests, expected %d", n-1, tc.requests)
				}
			})
		})
	}
}

func TestBaselineIsLogged(t *testing.T) {
	inOrg(t, Auditlogs, sandbox.Options{Odd: -1}, nil, func(l *lab, org *sandbox.Org) {
		org.Backfill(900, time.Now().Add(-20*time.Hour), time.Now().Add(-time.Minute))
		l.open()
		lines := l.logs.FilterMessage("baseline").All()
		if len(lines) != 1 {
			l.t.Fatalf("%d lines", len(lines))
		}
		counts, _ := lines[0].ContextMap()["entity_type_counts"].(distribution)
		if counts["queue"] == 0 || counts["role"]+counts["user"] == 0 {
			l.t.Errorf("the distribution is %v", lines[0].ContextMap())
		}
	})
}

// A filter that the API refuses outright is a wrong setting, too.
func TestFilterThatTheAPIRefuses(t *testing.T) {
	s := &script{fallback: failing(400, "bad.request")}
	inLab(t, s, nil, func(l *lab) {
		if _, err := l.client.Open(l.t.Context()); !errors.Is(err, poller.ErrConfiguration) {
			l.t.Fatal(err)
		}
	})
}

// The API's clock is known before the first interval is chosen, and a baseline
// does not ask for what is outside retention.
func TestOpenLearnsTheClock(t *testing.T) {
	ahead := 5 * time.Minute
	handler := &script{}
	inLab(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		handlerDate := time.Now().Add(ahead).UTC().Format(http.TimeFormat)
		handler.ServeHTTP(dateWriter{w, handlerDate}, r)
	}), func(cfg *Config) { cfg.Retention = time.Hour }, func(l *lab) {
		l.open()
		if off, known := l.client.ClockOffset(); !known || off > ahead || off < ahead-2*time.Second {
			l.t.Errorf("offset %s, expected nearly %s", off, ahead)
		}
		for _, r := range handler.got {
			from, _ := time.Parse(time.RFC3339, r.URL.Query().Get("dateFrom"))
			to, _ := time.Parse(time.RFC3339, r.URL.Query().Get("dateTo"))
			now := time.Now().Add(ahead)
			if from.Before(now.Add(-time.Hour)) || to.After(now) || to.Before(now.Add(-3*time.Second)) {
				l.t.Errorf("asked for %s to %s, the API's time is %s", from, to, now)
			}
		}
	})
}

// dateWriter says another Date.
type dateWriter struct {
	http.ResponseWriter
	date string
}

func (w dateWriter) WriteHeader(status int) {
	w.Header().Set("Date", w.date)
	w.ResponseWriter.WriteHeader(status)
}

// All regions of the vendor's SDK are known; one that is not is taken as it is.
func TestRegions(t *testing.T) {
	for _, region := range []string{"euc2.pure.cloud", "xyz9.pure.cloud"} {
		if api, login := RegionURLs(region); api != "https://api."+region || login != "https://login."+region {
			t.Error(region, api, login)
		}
	}
	if KnownRegion("xyz9.pure.cloud") || !KnownRegion("edee1.eusc-pure.cloud") || !KnownRegion("use2.us-gov-pure.cloud") || len(Regions) != 18 {
		t.Errorf("%d regions", len(Regions))
	}
}

func TestNewNamesEverythingThatIsWrong(t *testing.T) {
	_, err := New(Config{APIURL: "api.test", LoginURL: "https://user:canary@login.test", Dialect: "soap", Filter: "configuration",
		RefreshToken: Text("x"), RateShare: 2, RateLimit: RateLimit{Requests: 5}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"GENESYS_API_URL", "GENESYS_LOGIN_URL", "GENESYS_AUDIT_API", "GENESYS_FILTER", "GENESYS_CLIENT_ID", "TokenStore", "GENESYS_RATE_SHARE", "GENESYS_RATE_LIMIT"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not named in %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("a password is shown: %v", err)
	}
}

func TestNearest(t *testing.T) {
	served := []string{"queue", "user", "role", "flow", "configuration"}
	for value, want := range map[string]string{"Queue": "queue", "quue": "queue", "queues": "queue", "ROLE": "role", "rol": "role",
		"confguration": "configuration", "x": "", "trunk": "", "": ""} {
		if got := nearest(value, served); got != want {
			t.Errorf("nearest(%q) = %q, expected %q", value, got, want)
		}
	}
}

func TestFilterName(t *testing.T) {
	a, _ := parseFilter("type=configuration,entityType=queue")
	b, _ := parseFilter(" entityType=queue , type = configuration,entityType=queue")
	if a.name() != b.name() || a.String() != "type=configuration,entityType=queue" {
		t.Errorf("%q and %q mean the same", a.name(), b.name())
	}
	for _, wrong := range []string{"", "type", "=x", "type=", "type=a,,b=c"} {
		if _, err := parseFilter(wrong); !isType[*ValueError](err) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
