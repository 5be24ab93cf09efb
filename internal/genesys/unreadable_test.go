package genesys

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
)

// poisoned makes every answer fail that would hold the event.
func poisoned(event int, with http.HandlerFunc) func(*hour) {
	return func(h *hour) {
		h.spoil = func(w http.ResponseWriter, r *http.Request, part audit.Interval, from, to int) bool {
			list, _ := h.in(part, false)
			if !slices.Contains(list[from:to], event) {
				return false
			}
			with(w, r)
			return true
		}
	}
}

// TestPoisonCostsItsMillisecond: one event that the API cannot serve, in whatever
// way, keeps nothing back but what happened in its millisecond.
func TestPoisonCostsItsMillisecond(t *testing.T) {
	const poison = 431
	for name, with := range map[string]http.HandlerFunc{
		"500": failing(500, "internal"), "503 in HTML": say(503, firewallPage, "Content-Type", "text/html"), "408": failing(408, "timeout"),
		"not JSON": say(200, `{"entities":[{"id":"event-431",}]}`), "HTML": say(200, firewallPage, "Content-Type", "text/html"), "nothing": say(200, ""),
		"cut short": cut(eventAt(poison, hourBegins)), "no answer": hang, "dropped": drop, "no entities": say(200, `{"total":3}`),
		"400": failing(400, "bad.request"), "409": failing(409, "conflict"), "413": failing(413, "too.large"),
	} {
		for _, dialect := range []Dialect{Auditlogs, Query, Realtime} {
			t.Run(name+", "+string(dialect), func(t *testing.T) {
				h := &hour{at: evenly(600)}
				h.fastLab(t, dialect, func(l *lab) {
					stream := l.open()[0]
					// A stream that is read again and again is known to be readable.
					if _, err := l.read(stream, audit.Interval{From: theHour.From, To: theHour.From.Add(time.Minute)}); err != nil {
						l.t.Fatal(err)
					}
					poisoned(poison, with)(h)
					if _, err := l.read(stream, theHour); !errors.Is(err, poller.ErrUnreadable) {
						l.t.Fatalf("the error is %v", err)
					}
					came := make(map[string]int)
					gaps, err := inHalves(l.t.Context(), l.client, stream, theHour, func(p audit.Page) {
						for _, e := range p.Events {
							came[e.ID]++
						}
					})
					at := h.at[poison]
					if want := []audit.Interval{{From: at, To: at.Add(time.Millisecond)}}; err != nil || !slices.Equal(gaps, want) {
						l.t.Errorf("gaps %v, expected %v, error %v", gaps, want, err)
					}
					if _, there := came[fmt.Sprint("event-", poison)]; there || len(came) != len(h.at)-1 {
						l.t.Errorf("%d of %d events came", len(came), len(h.at))
					}
					h.mu.Lock()
					h.spoil = nil
					h.mu.Unlock()
					if ids, err := l.read(stream, gaps[0]); err != nil || len(ids) != 1 {
						l.t.Errorf("healed, it is read with %v, %v", ids, err)
					}
				})
			})
		}
	}
}

// What concerns all intervals alike is no reason to read an interval in halves.
func TestWhatIsNoFaultOfTheInterval(t *testing.T) {
	for name, always := range map[string]http.HandlerFunc{
		"401": failing(401, "bad.credentials"), "403": failing(403, "missing.any.permissions"),
		"404": failing(404, "not.found"), "429": say(429, "", "Retry-After", "1"), "redirect": say(302, "", "Location", "https://elsewhere.test"),
		"firewall": say(403, firewallPage, "Content-Type", "text/html"),
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, (&script{fallback: always}).then(page("", "a")), nil, func(l *lab) {
				stream := l.open()[0]
				if _, err := l.read(stream, l.lastHour()); err != nil {
					l.t.Fatal(err)
				}
				_, err := l.read(stream, l.lastHour())
				if err == nil || errors.Is(err, poller.ErrUnreadable) || errors.Is(err, poller.ErrTooMuch) {
					l.t.Errorf("the error is %v", err)
				}
			})
		})
	}
	t.Run("a login that fails", func(t *testing.T) {
		s := (&script{}).then()
		inLab(t, s, nil, func(l *lab) {
			stream := l.open()[0]
			s.login = failing(500, "internal")
			time.Sleep(25 * time.Hour) // the token has expired
			if _, err := l.read(stream, l.lastHour()); !isType[*FaultError](err) || errors.Is(err, poller.ErrUnreadable) {
				l.t.Errorf("the error is %v", err)
			}
		})
	})
	t.Run("a 400 from the start", func(t *testing.T) {
		inLab(t, (&script{fallback: failing(400, "bad.request")}).then(), nil, func(l *lab) {
			if _, err := l.read(l.open()[0], l.lastHour()); !isType[*StatusError](err) || errors.Is(err, poller.ErrUnreadable) {
				l.t.Errorf("the error is %v", err)
			}
		})
	})
}

// butInstants answers with a fault unless a millisecond is asked for.
func butInstants(fault http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, _ := time.Parse(audit.TimeFormat, r.URL.Query().Get("dateFrom"))
		to, _ := time.Parse(audit.TimeFormat, r.URL.Query().Get("dateTo"))
		if to.Sub(from) <= time.Millisecond {
			page("")(w, r)
			return
		}
		fault(w, r)
	}
}

// TestADialectThatFailsHasNoIntervalToBlame: where a dialect cannot read anything,
// reading in halves would only ask it more, and end with gaps; also where another
// dialect serves the newest events of the same stream all the while.
func TestADialectThatFailsHasNoIntervalToBlame(t *testing.T) {
	old := audit.Interval{From: hourBegins.Add(-20 * day), To: hourBegins.Add(-20*day + time.Hour)}
	for name, tc := range map[string]struct {
		dialect Dialect
		read    audit.Interval
		fault   http.HandlerFunc // of every answer that holds events, or could
		states  string
	}{
		"auditlogs":              {dialect: Auditlogs, read: theHour, fault: failing(503, "unavailable")},
		"realtime":               {dialect: Realtime, read: theHour, fault: failing(500, "internal")},
		"query":                  {dialect: Query, read: theHour, fault: failing(503, "unavailable")},
		"query refuses":          {dialect: Query, read: theHour, fault: failing(400, "bad.request")},
		"queries fail":           {dialect: Query, read: theHour, states: "Failed"},
		"query beside realtime":  {dialect: Auto, read: old, fault: failing(503, "unavailable")},
		"queries fail beside it": {dialect: Auto, read: old, states: "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hour{at: evenly(50)}
			broken := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == auditlogsPath && tc.dialect == Auto:
					w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
					notFound(w, r)
				case r.URL.Path == realtimePath && tc.dialect == Auto, strings.HasSuffix(r.URL.Path, "servicemapping"),
					r.URL.Path == tokenPath, r.URL.Query().Get("filter") != "" && h.spoil == nil, tc.fault == nil:
					h.ServeHTTP(w, r)
				default:
					w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
					tc.fault(w, r)
				}
			})
			if tc.states != "" {
				h.states, h.always = func(int) string { return tc.states }, true
			}
			h.mu = new(sync.Mutex)
			inLab(t, broken, func(cfg *Config) { cfg.Dialect, cfg.RateLimit = tc.dialect, RateLimit{100_000, time.Second} }, func(l *lab) {
				stream := l.open()[0]
				h.spoil = func(http.ResponseWriter, *http.Request, audit.Interval, int, int) bool { return false }
				for _, attempts := range []int{0, 2} {
					r := audit.Read{Stream: stream, Interval: tc.read, Attempts: attempts}
					err := l.client.Read(l.t.Context(), r, func(p audit.Page, _ bool) error { p.Release(); return nil })
					if err == nil || errors.Is(err, poller.ErrUnreadable) || errors.Is(err, poller.ErrTooMuch) {
						l.t.Errorf("%d attempts: the error is %v", attempts, err)
					}
				}
				if tc.dialect == Auto {
					if ids, err := l.preview(stream, "Routing", theHour); err != nil || len(ids) != 50 {
						l.t.Errorf("realtime: %d events, %v", len(ids), err)
					}
				}
			})
		})
	}
}

// A 4xx behind a good first page has the page's interval to blame, at once: it
// would cost every page before it again and again.
func TestRefusalBehindTheFirstPage(t *testing.T) {
	for _, dialect := range []Dialect{Auditlogs, Query, Realtime} {
		for _, status := range []int{400, 404, 422} {
			t.Run(fmt.Sprint(dialect, " ", status), func(t *testing.T) {
				h := &hour{at: evenly(2_300)}
				h.spoil = func(w http.ResponseWriter, r *http.Request, _ audit.Interval, from, _ int) bool {
					if from < 1000 {
						return false
					}
					failing(status, "no")(w, r)
					return true
				}
				h.fastLab(t, dialect, func(l *lab) {
					_, err := l.read(l.open()[0], theHour)
					if !errors.Is(err, poller.ErrUnreadable) || errors.Is(err, poller.ErrConfiguration) {
						l.t.Errorf("the error is %v", err)
					}
					if h.asked > 16 { // 404 of results: the query is submitted again first
						l.t.Errorf("%d pages were asked for", h.asked)
					}
				})
			})
		}
	}
}

// Whoever reads a part of what failed before asks for few attempts, and gets them.
func TestAttemptsAreBounded(t *testing.T) {
	for attempts, want := range map[int]int{0: defaultRetries.faults, 1: 1, 2: 2, 5: 5} {
		s := (&script{fallback: butInstants(failing(503, "unavailable"))}).then()
		inLab(t, s, nil, func(l *lab) {
			r := audit.Read{Stream: l.open()[0], Interval: l.lastHour(), Attempts: attempts}
			err := l.client.Read(l.t.Context(), r, func(p audit.Page, _ bool) error { p.Release(); return nil })
			n := len(s.calls()) - 1 // the last one looks elsewhere
			if !errors.Is(err, poller.ErrUnreadable) || n != want {
				l.t.Errorf("%d attempts: %d requests, %v", attempts, n, err)
			}
		})
	}
}

// A 400 for a part of what failed before has the part to blame: nobody would ever
// come to the rest of it.
func TestRefusedPartIsToBlame(t *testing.T) {
	inLab(t, (&script{fallback: butInstants(failing(400, "bad.request"))}).then(), nil, func(l *lab) {
		r := audit.Read{Stream: l.open()[0], Interval: l.lastHour(), Attempts: 2}
		if err := l.client.Read(l.t.Context(), r, nil); !errors.Is(err, poller.ErrUnreadable) {
			l.t.Errorf("the error is %v", err)
		}
	})
}

// A query that always ends Failed, or Cancelled, has its interval to blame.
func TestQueriesThatAlwaysFail(t *testing.T) {
	for _, state := range []string{"Failed", "Cancelled"} {
		h := &hour{at: evenly(50), states: func(int) string { return state }}
		h.fastLab(t, Query, func(l *lab) {
			if _, err := l.read(l.open()[0], theHour); !errors.Is(err, poller.ErrUnreadable) || len(h.queries) != 1+maxRestarts+1 { // the last one looks elsewhere
				l.t.Errorf("%s: %d queries, %v", state, len(h.queries), err)
			}
		})
	}
}

// A query that runs for longer than anybody waits is looked at again, not
// submitted again; only when it still runs then, its interval is to blame.
func TestSlowQueryIsLookedAtAgain(t *testing.T) {
	for _, tc := range []struct {
		takes    time.Duration
		readings int // until it is read, or given up
		whole    bool
	}{{time.Minute, 1, true}, {6 * time.Minute, 2, true}, {9 * time.Minute, 3, true}, {3 * time.Hour, mostLooks, false}} {
		t.Run(tc.takes.String(), func(t *testing.T) {
			var began time.Time
			h := &hour{at: evenly(50), states: func(int) string {
				if time.Since(began) < tc.takes {
					return "Running"
				}
				return "Succeeded"
			}}
			h.fastLab(t, Query, func(l *lab) {
				stream := l.open()[0]
				began = time.Now()
				for reading := 1; ; reading++ {
					ids, err := l.read(stream, theHour)
					if done := reading == tc.readings; !done {
						if !isType[*FaultError](err) || errors.Is(err, poller.ErrUnreadable) {
							l.t.Fatalf("reading %d: %v", reading, err)
						}
						continue
					}
					if tc.whole && (err != nil || len(ids) != 50) || !tc.whole && !errors.Is(err, poller.ErrUnreadable) {
						l.t.Errorf("reading %d: %d events, %v", reading, len(ids), err)
					}
					break
				}
				queries := 1
				if !tc.whole {
					queries++ // it looks whether others are served
				}
				if len(h.queries) != queries {
					l.t.Errorf("%d queries were submitted", len(h.queries))
				}
			})
		})
	}
}

// The tail's interval ends later each time: the query that runs for its first part is used.
func TestSlowQueryOfATail(t *testing.T) {
	h := &hour{at: evenly(60), states: func(looks int) string {
		if looks < 40 {
			return "Running"
		}
		return "Succeeded"
	}}
	h.fastLab(t, Query, func(l *lab) {
		stream := l.open()[0]
		if _, err := l.read(stream, audit.Interval{From: theHour.From, To: theHour.From.Add(30 * time.Minute)}); !isType[*FaultError](err) {
			l.t.Fatal(err)
		}
		h.states = nil
		ids, err := l.read(stream, theHour)
		slices.Sort(ids)
		if err != nil || len(slices.Compact(ids)) != 60 || len(h.queries) != 2 {
			l.t.Errorf("%d events by %d queries, %v", len(ids), len(h.queries), err)
		}
		if rest := h.queries["query-1"]; !rest.From.Equal(theHour.From.Add(30*time.Minute)) || !rest.To.Equal(theHour.To) {
			l.t.Errorf("the second query was for %v", rest)
		}
	})
}

// What is remembered of queries is bounded, in number and in time.
func TestPendingQueriesAreBounded(t *testing.T) {
	inLab(t, &script{}, nil, func(*lab) {
		var q pendingQueries
		for k := range 3 * keepQueries {
			i := audit.Interval{From: hourBegins.Add(time.Duration(k) * time.Second), To: hourBegins.Add(time.Duration(k+1) * time.Second)}
			q.keep("s", i, q.take("s", i), fmt.Sprint(k))
		}
		if len(q.m) != keepQueries {
			t.Errorf("%d are kept", len(q.m))
		}
		time.Sleep(expireQueries + time.Second)
		if p := q.take("s", theHour); p.id != "" || len(q.m) != 0 {
			t.Errorf("%d are kept after %s", len(q.m), expireQueries)
		}
	})
}

func TestErrorsNameTheInterval(t *testing.T) {
	h := &hour{at: evenly(50)}
	poisoned(7, failing(500, "internal"))(h)
	h.fastLab(t, Realtime, func(l *lab) {
		if _, err := l.read(l.open()[0], theHour); err == nil || !strings.Contains(err.Error(), theHour.String()) {
			l.t.Error(err)
		}
	})
}
