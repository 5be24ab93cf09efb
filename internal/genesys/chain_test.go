package genesys

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
)

// TestFaultsPass lets one request of three go wrong in every way that passes.
// Whether the fault strikes before the server did anything or after, every
// event is read once more, from the same page.
func TestFaultsPass(t *testing.T) {
	second := pageBody("T2", "c", "d")
	for name, fault := range map[string]http.HandlerFunc{
		"408":                    failing(408, "request.timeout"),
		"429 in seconds":         say(429, "", "Retry-After", "3"),
		"429 with a date":        say(429, "", "Retry-After", "Sat, 01 Jan 2000 00:00:30 GMT"),
		"429 alone":              say(429, ""),
		"500":                    failing(500, "internal"),
		"502 from a gateway":     say(502, "<html>Bad gateway</html>"),
		"503":                    failing(503, "unavailable"),
		"504":                    failing(504, "timeout"),
		"dropped":                drop,
		"hangs":                  hang,
		"cut in the body":        cut(second),
		"a gateway's page":       say(200, "<html>We'll be right back</html>", "Content-Type", "text/html"),
		"nothing":                say(200, ""),
		"no entities":            say(200, `{"message":"partial content"}`),
		"entities are no array":  say(200, `{"entities":{}}`),
		"half of the JSON":       say(200, second[:len(second)/2]),
		"nextPage is a number":   say(200, `{"entities":[],"nextPage":5}`),
		"the same page is next":  say(200, `{"entities":[],"nextPage":"T1"}`),
		"unknown encoding":       say(200, second, "Content-Encoding", "br"),
		"not what gzip packed":   say(200, second, "Content-Encoding", "gzip"),
		"gzip without its end":   packed(second, 0.5),
		"401 once":               failing(401, "bad.credentials"),
		"whole after all (none)": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := (&script{}).then(page("T1", "a", "b"))
			if fault != nil {
				s.steps = append(s.steps, fault)
			}
			s.steps = append(s.steps, say(200, second), page("", "e"))
			inLab(t, s, nil, func(l *lab) {
				ids, err := l.read(l.open()[0], l.lastHour())
				if err != nil {
					l.t.Fatal(err)
				}
				if want := []string{"a", "b", "c", "d", "e"}; !slices.Equal(ids, want) {
					l.t.Fatalf("read %v, expected %v", ids, want)
				}
				calls := s.calls()
				for _, r := range calls[1 : len(calls)-1] {
					if got := r.URL.Query().Get("pageToken"); got != "T1" {
						l.t.Errorf("page %q was asked for again, the fault was on T1", got)
					}
				}
				if want := 3; fault != nil && len(calls) != want+1 || fault == nil && len(calls) != want {
					l.t.Errorf("%d requests", len(calls))
				}
			})
		})
	}
}

// Any answer may ask to be left alone for a while, not a 429 only (RFC 9110, 10.2.3).
func TestRetryAfterOfAnOverloadedServer(t *testing.T) {
	s := (&script{}).then(say(503, "", "Retry-After", "20"), say(503, "", "Retry-After", "999999"), page("", "a"))
	inLab(t, s, nil, func(l *lab) {
		ids, err := l.read(l.open()[0], l.lastHour())
		if err != nil || !slices.Equal(ids, []string{"a"}) {
			l.t.Fatal(ids, err)
		}
		for i, want := range []time.Duration{20 * time.Second, longestWait} {
			if pause := s.at[i+2].Sub(s.at[i+1]); pause < want || pause > want+time.Second {
				l.t.Errorf("asked again after %s, expected %s", pause, want)
			}
		}
	})
}

// packed is a gzipped body of which only the given share is sent.
func packed(body string, share float64) http.HandlerFunc {
	var b strings.Builder
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(body))
	_ = z.Close()
	bytes := b.String()
	return say(200, bytes[:int(share*float64(len(bytes)))], "Content-Encoding", "gzip")
}

func TestGzipIsUnpacked(t *testing.T) {
	s := (&script{}).then(packed(pageBody("T", "a"), 1), packed(pageBody("", "b"), 1))
	inLab(t, s, nil, func(l *lab) {
		ids, err := l.read(l.open()[0], l.lastHour())
		if err != nil || !slices.Equal(ids, []string{"a", "b"}) {
			l.t.Fatal(ids, err)
		}
	})
}

func TestRequestsOfAuditlogs(t *testing.T) {
	s := (&script{}).then(page("a token/with+signs=&", "a"), page("", "b"))
	inLab(t, s, func(cfg *Config) { cfg.Filter = "type=configuration, entityType = queue" }, func(l *lab) {
		names := l.open()
		if want := []string{"auditlogs:entityType=queue,type=configuration"}; !slices.Equal(names, want) {
			l.t.Fatalf("streams %q, expected %q", names, want)
		}
		i := audit.Interval{From: time.Date(1999, 12, 31, 23, 0, 0, 1e6, time.UTC), To: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
		if _, err := l.read(names[0], i); err != nil {
			l.t.Fatal(err)
		}
		calls := s.calls()
		if want := "dateFrom=1999-12-31T23%3A00%3A00.001Z&dateTo=2000-01-01T00%3A00%3A00.000Z&filter=type%3Dconfiguration%2CentityType%3Dqueue&pageSize=1000"; calls[0].URL.RawQuery != want {
			l.t.Errorf("asked\n%s, expected\n%s", calls[0].URL.RawQuery, want)
		}
		if got := calls[1].URL.Query().Get("pageToken"); got != "a token/with+signs=&" {
			l.t.Errorf("the token came back as %q", got)
		}
		found := l.logs.FilterMessage("read").All()
		if len(found) != 1 || found[0].ContextMap()["pages"] != int64(2) || found[0].ContextMap()["events"] != int64(2) {
			l.t.Errorf("the reading was logged as %v", found)
		}
	})
}

// Faults that do not pass end a Read after a bounded number of requests, with
// an error that says what to do with it.
func TestFaultsThatStay(t *testing.T) {
	tokens := 0
	for name, tc := range map[string]struct {
		always http.HandlerFunc
		most   int // requests; one more looks elsewhere
		check  func(error) bool
	}{
		"503":         {failing(503, "unavailable"), 8 + 1, isType[*FaultError]},
		"no entities": {say(200, `{}`), 8 + 1, isType[*FaultError]},
		"429": {say(429, "", "Retry-After", "1"), 50, func(err error) bool {
			var fault *FaultError
			return errors.As(err, &fault) && fault.Attempts > 30
		}},
		"400": {failing(400, "bad.request"), 1, isType[*StatusError]},
		"404": {failing(404, "not.found"), 1, func(err error) bool { return strings.Contains(err.Error(), "GENESYS_AUDIT_API") }},
		"403": {failing(403, "missing.any.permissions"), 1, func(err error) bool {
			return errors.Is(err, ErrCredentials) && strings.Contains(err.Error(), "audits:audit:view")
		}},
		"401":      {failing(401, "bad.credentials"), 2, func(err error) bool { return errors.Is(err, ErrCredentials) }},
		"redirect": {say(302, "", "Location", "https://elsewhere.test/api?secret=1"), 1, isType[*RedirectError]},
		"expired page tokens": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("pageToken") != "" {
				failing(400, "invalid.page.token")(w, r)
				return
			}
			page("T", "a")(w, r)
		}, 8, func(err error) bool { return errors.Is(err, ErrCursorExpired) && errors.Is(err, poller.ErrTooMuch) }},
		"the same page for ever": {page("T", "a"), 1 + 8, func(err error) bool { return errors.Is(err, ErrEndless) && errors.Is(err, poller.ErrTooMuch) }},
		"empty pages for ever": {func(w http.ResponseWriter, r *http.Request) {
			tokens++
			page("T"+strconv.Itoa(tokens))(w, r)
		}, maxEmptyPages, func(err error) bool { return errors.Is(err, ErrEndless) }},
		"pages in a circle": {func(w http.ResponseWriter, r *http.Request) {
			next := map[string]string{"": "A", "A": "B", "B": "C", "C": "A"}
			page(next[r.URL.Query().Get("pageToken")], "x")(w, r)
		}, 3 + 8, func(err error) bool { return errors.Is(err, ErrEndless) }},
		"too large": {padded(5000), 11, isType[*PageTooLargeError]},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&script{fallback: tc.always}).then()
			inLab(t, s, func(cfg *Config) { cfg.MaxBody = 4096 }, func(l *lab) {
				_, err := l.read(l.open()[0], l.lastHour())
				if err == nil || !tc.check(err) {
					l.t.Errorf("the error is %v (%T)", err, errors.Unwrap(err))
				}
				if n := len(s.calls()); n > tc.most || n < tc.most/2 {
					l.t.Errorf("%d requests, expected at most %d", n, tc.most)
				}
				if err != nil && strings.Contains(err.Error(), "secret=1") {
					l.t.Errorf("the error holds a query: %v", err)
				}
			})
		})
	}
}

func isType[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// An interval whose page token dies once is read again from its first page.
func TestExpiredPageTokenReadsAgain(t *testing.T) {
	s := (&script{}).then(page("T1", "a"), failing(400, "invalid.page.token"), page("T2", "a"), page("", "b"))
	inLab(t, s, nil, func(l *lab) {
		ids, err := l.read(l.open()[0], l.lastHour())
		if err != nil || !slices.Equal(ids, []string{"a", "a", "b"}) {
			l.t.Fatal(ids, err)
		}
	})
}

// A page that is too large is asked for in halves, until they are small enough,
// and later pages grow again.
func TestPageTooLargeIsHalved(t *testing.T) {
	const events = 60
	var sizes []int
	handler := func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("pageSize"))
		from, _ := strconv.Atoi(r.URL.Query().Get("pageToken"))
		sizes = append(sizes, size)
		var ids []string
		bytes := 0
		for i := from; i < min(from+size, events); i++ {
			ids = append(ids, fmt.Sprint("event-", i))
			if i == 3 {
				bytes += 3000 // a giant among small ones
			}
		}
		next := ""
		if from+size < events {
			next = strconv.Itoa(from + size)
		}
		say(200, strings.Repeat(" ", bytes)+pageBody(next, ids...))(w, r)
	}
	s := (&script{fallback: handler}).then()
	inLab(t, s, func(cfg *Config) { cfg.MaxBody = 4096 }, func(l *lab) {
		ids, err := l.read(l.open()[0], l.lastHour())
		if err != nil || len(ids) != events {
			l.t.Fatal(len(ids), err)
		}
		if sizes[0] != 1000 || slices.Min(sizes) > 10 || sizes[len(sizes)-1] <= slices.Min(sizes) {
			l.t.Errorf("page sizes %v: they should fall and grow again", sizes)
		}
	})
}

func TestReadOutsideRetention(t *testing.T) {
	s := (&script{}).then()
	inLab(t, s, func(cfg *Config) { cfg.Retention = 24 * time.Hour }, func(l *lab) {
		stream := l.open()[0]
		old := audit.Interval{From: l.client.Now().Add(-25 * time.Hour), To: l.client.Now()}
		if _, err := l.read(stream, old); !isType[*RetentionError](err) {
			l.t.Errorf("read %s: %v", old, err)
		}
		// In time when it was planned, too old when its turn comes.
		turns(l.t, l.client.pacer, 1, outcome{status: 429, retryAfter: time.Minute, hasRetry: true})
		edge := audit.Interval{From: l.client.Now().Add(-24 * time.Hour), To: l.client.Now()}
		if _, err := l.read(stream, edge); !isType[*RetentionError](err) {
			l.t.Errorf("read %s: %v", edge, err)
		}
		if n := len(s.calls()); n != 0 {
			l.t.Errorf("%d requests outside retention", n)
		}
	})
}

func TestReadWithoutOpen(t *testing.T) {
	inLab(t, &script{}, nil, func(l *lab) {
		if _, err := l.read("auditlogs:type=configuration", l.lastHour()); !errors.Is(err, ErrNotOpen) {
			l.t.Fatal(err)
		}
	})
}

// A reading ends with its context, whatever it is waiting for, and with the
// error of whoever takes the pages.
func TestReadEndsWithItsContext(t *testing.T) {
	stop := errors.New("stop")
	for name, step := range map[string]http.HandlerFunc{
		"waiting for an answer": hang, "between attempts": say(503, "", "Retry-After", "2"),
		"held back": say(429, "", "Retry-After", "600"), "by the taker": page("T", "a"),
	} {
		t.Run(name, func(t *testing.T) {
			s := (&script{fallback: step}).then()
			inLab(t, s, nil, func(l *lab) {
				stream := l.open()[0]
				ctx, cancel := context.WithTimeoutCause(l.t.Context(), 5*time.Second, stop)
				defer cancel()
				started := time.Now()
				err := l.client.Read(ctx, audit.Read{Stream: stream, Interval: l.lastHour()}, func(p audit.Page, _ bool) error {
					p.Release()
					return stop
				})
				if !errors.Is(err, stop) || time.Since(started) > 6*time.Second {
					l.t.Fatalf("ended after %s with %v", time.Since(started), err)
				}
			})
		})
	}
}

// TestFailingLongIsTold hangs up on the operator's patience: a fault that takes
// long is in the log before the last attempt, one that passes is not.
func TestFailingLongIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		fault http.HandlerFunc
		told  bool
	}{
		"refused for long":    {say(429, "", "Retry-After", "600"), true},
		"refused for a while": {say(429, "", "Retry-After", "3"), false},
		"hangs":               {hang, true},
		"fails once":          {failing(503, "unavailable"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&script{}).then(tt.fault, page("", "a"))
			var troubles []string
			inLab(t, s, func(cfg *Config) {
				cfg.Report = func(_ health.Subject, err error) { troubles = append(troubles, fmt.Sprint(err != nil)) }
			}, func(l *lab) {
				stream := l.open()[0]
				if _, err := l.read(stream, l.lastHour()); err != nil {
					l.t.Fatal(err)
				}
				if got := strings.Join(troubles, " "); tt.told && got != "true false" || !tt.told && got != "" {
					l.t.Errorf("told of troubles: %q", got)
				}
				lines := l.logs.FilterMessage("request still failing, retrying").All()
				if tt.told != (len(lines) == 1) {
					l.t.Errorf("%d lines: %v", len(lines), lines)
				}
			})
		})
	}
}

// TestWhoTriesAgainIsNotTold: a millisecond that hangs is a gap, which is tried
// again each minute. Telling of each try would keep the replica unready for ever.
func TestWhoTriesAgainIsNotTold(t *testing.T) {
	s := (&script{fallback: hang}).then()
	inLab(t, s, func(cfg *Config) {
		cfg.Report = func(s health.Subject, err error) { t.Errorf("told of %v: %v", s, err) }
	}, func(l *lab) {
		r := audit.Read{Stream: l.open()[0], Interval: l.lastHour(), Purpose: audit.Backfill, Attempts: 2}
		if err := l.client.Read(l.t.Context(), r, nil); err == nil {
			l.t.Error("it was read")
		}
		if lines := l.logs.FilterMessage("request still failing, retrying").All(); len(lines) > 0 {
			l.t.Errorf("logged %v", lines)
		}
	})
}
