package genesys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/sandbox"
)

// inOrg runs a test against a simulated organisation, in virtual time.
func inOrg(t *testing.T, dialect Dialect, options sandbox.Options, change func(*Config), test func(*lab, *sandbox.Org)) {
	t.Helper()
	org := &lazyOrg{}
	mux := http.NewServeMux()
	mux.Handle("files.test/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { org.Downloads().ServeHTTP(w, r) }))
	mux.Handle("/", org)
	inLab(t, mux, func(cfg *Config) {
		cfg.ClientID, cfg.ClientSecret, cfg.Dialect = Text("sandbox"), Text("sandbox-secret"), dialect
		if change != nil {
			change(cfg)
		}
	}, func(l *lab) {
		options.DownloadURL = "http://files.test"
		org.Org = sandbox.New(options)
		test(l, org.Org)
	})
}

// TestServicesReadEverythingThatWasShown reads 20 days in the dialects of
// services, in fair weather and with every fault that passes.
func TestServicesReadEverythingThatWasShown(t *testing.T) {
	for _, dialect := range []Dialect{Query, Realtime, Auto} {
		for _, faulty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, faults %t", dialect, faulty), func(t *testing.T) {
				options := sandbox.Options{Seed: 11, QueryDelay: 3 * time.Second, Dialects: []sandbox.Dialect{sandbox.Query, sandbox.Realtime},
					PlatformLimit: sandbox.Limit{Requests: 3000, Window: time.Minute, Headers: sandbox.HeadersInin}}
				inOrg(t, dialect, options, func(cfg *Config) { cfg.RateLimit = RateLimit{3000, time.Minute} }, func(l *lab, org *sandbox.Org) {
					now := time.Now().UTC()
					span := audit.Interval{From: now.Add(-20 * day), To: now}
					if dialect == Realtime {
						span.From = now.Add(-14*day + time.Hour)
					}
					org.Backfill(12_000, span.From, span.To)
					org.EmitBulk(now.Add(-2*day), 1200)
					if faulty {
						if err := org.Inject(sandbox.RandomFaults(0.01)...); err != nil {
							l.t.Fatal(err)
						}
					}
					got := everything(l.t.Context(), l.t, l.client, span)
					compareWithTruth(l.t, org, got, 8_000)
					stats := org.Stats()
					if v := stats.Violations; v.OutsideRetention+v.TokenToDownload+v.OverLimit+v.BeforeRetryAfter > 0 {
						l.t.Errorf("violations: %+v", v)
					}
					l.t.Logf("%d events with requests %v, dialects %q", len(got), stats.Requests, l.client.API())
				})
			})
		}
	}
}

func compareWithTruth(t *testing.T, org *sandbox.Org, got map[string][]byte, least int) {
	t.Helper()
	shown := org.Shown()
	// The server notes what it has shown after its last byte.
	for deadline := time.Now().Add(5 * time.Second); len(shown) < len(got) && time.Now().Before(deadline); shown = org.Shown() {
		time.Sleep(10 * time.Millisecond)
	}
	for id, truth := range shown {
		raw, ok := got[id]
		if !ok {
			t.Fatalf("event %q was shown and not read", id)
		}
		if !slices.ContainsFunc(truth.Bodies, func(b []byte) bool { return bytes.Equal(b, raw) }) {
			t.Fatalf("event %q has other bytes than were shown", id)
		}
	}
	if len(got) != len(shown) || len(got) < least {
		t.Fatalf("%d events were shown, %d were read, at least %d were made", len(shown), len(got), least)
	}
}

// Both dialects show the same events under the same ids.
func TestDialectsAgree(t *testing.T) {
	inOrg(t, Auto, sandbox.Options{Seed: 3, WholeRealtime: true, Dialects: []sandbox.Dialect{sandbox.Query, sandbox.Realtime}}, nil, func(l *lab, org *sandbox.Org) {
		org.Backfill(300, time.Now().Add(-time.Hour), time.Now())
		l.open()
		i := l.lastHour()
		compared := 0
		for name, dialect := range l.client.Dialects() {
			if dialect != "realtime+query" {
				continue
			}
			s := l.client.streams[name]
			ids := func(read func(*reading) error) (ids []string) {
				r := &reading{Read: audit.Read{Stream: name, Interval: i}, stream: s, take: func(p audit.Page, _ bool) error {
					for _, e := range p.Events {
						ids = append(ids, e.ID)
					}
					p.Release()
					return nil
				}}
				if err := read(r); err != nil {
					l.t.Fatal(err)
				}
				slices.Sort(ids)
				return ids
			}
			a := ids(func(r *reading) error { return l.client.readQuery(l.t.Context(), r, i, true) })
			b := ids(func(r *reading) error { return l.client.readRealtime(l.t.Context(), r, i) })
			if !slices.Equal(a, b) {
				l.t.Errorf("%s: query shows %d events, realtime %d", name, len(a), len(b))
			}
			compared += len(a)
		}
		if compared < 100 {
			l.t.Errorf("only %d events were compared", compared)
		}
	})
}

// Each fault of a query, once: the result is whole, or the error says why not.
func TestQueryFaults(t *testing.T) {
	for _, kind := range []sandbox.FaultKind{sandbox.QueryFailed, sandbox.QueryCancelled, sandbox.ResultsExpired,
		sandbox.ExpirePageToken, sandbox.ResultsRedirect, sandbox.ResultsDownload, sandbox.QueryStuck} {
		for _, count := range []int{1, 1000} {
			t.Run(fmt.Sprintf("%s, %d times", kind, count), func(t *testing.T) {
				inOrg(t, Query, sandbox.Options{Seed: 5, Odd: -1, Noise: -1}, func(cfg *Config) { cfg.Services = []string{"ContactCenter"} }, func(l *lab, org *sandbox.Org) {
					org.Backfill(6000, time.Now().Add(-time.Hour), time.Now())
					stream, i := l.open()[0], l.lastHour()
					if err := org.Inject(sandbox.Fault{Kind: kind, Count: count}); err != nil {
						l.t.Fatal(err)
					}
					ids, err := l.read(stream, i)
					lasting := count > 1 && kind != sandbox.ResultsRedirect && kind != sandbox.ResultsDownload || kind == sandbox.QueryStuck
					if lasting {
						if !isType[*FaultError](err) {
							l.t.Fatalf("the error is %v", err)
						}
						org.ClearFaults()
						for range mostLooks { // a query that got stuck is looked at for a while
							if ids, err = l.read(stream, i); err == nil {
								break
							}
						}
						if err != nil {
							l.t.Fatal(err)
						}
					}
					slices.Sort(ids)
					synctest.Wait() // the server notes what it has shown after its last byte
					if n := len(slices.Compact(ids)); err != nil || n != len(org.Shown()) || n < 1000 {
						l.t.Fatalf("%d of %d events, %v", n, len(org.Shown()), err)
					}
					if v := org.Stats().Violations; v.TokenToDownload > 0 {
						l.t.Error("the token was sent to the download host")
					}
				})
			})
		}
	}
}

// A file of results is fetched over https only, in a bounded number of steps
// and bytes, and its URL, which is as good as a password, is not shown.
func TestDownloads(t *testing.T) {
	const signature = "signature=canary"
	for name, tc := range map[string]struct {
		api, location string
		file          http.HandlerFunc
		check         func(error) bool
	}{
		"another host":       {"http://api.test", "http://files.test/f?" + signature, page(""), func(err error) bool { return err == nil }},
		"never down to http": {"https://api.test", "http://files.test/f?" + signature, nil, isType[*RedirectError]},
		"another scheme":     {"http://api.test", "ftp://files.test/f?" + signature, nil, isType[*RedirectError]},
		"no URL":             {"http://api.test", "http://%zz?" + signature, nil, isType[*RedirectError]},
		"for ever":           {"http://api.test", "http://files.test/f?" + signature, say(302, "", "Location", "/f?"+signature), isType[*RedirectError]},
		"refused":            {"http://api.test", "http://files.test/f?" + signature, say(403, ""), func(err error) bool { return errors.Is(err, errQueryLost) }},
		"overloaded":         {"http://api.test", "http://files.test/f?" + signature, say(503, ""), isType[*FaultError]},
		"too large":          {"http://api.test", "http://files.test/f?" + signature, padded(1 << 20), func(err error) bool { return isType[*PageTooLargeError](err) && errors.Is(err, poller.ErrTooMuch) }},
	} {
		t.Run(name, func(t *testing.T) {
			var got []*http.Request
			handler := func(w http.ResponseWriter, r *http.Request) { got = append(got, r); tc.file(w, r) }
			inLab(t, http.HandlerFunc(handler), func(cfg *Config) { cfg.APIURL, cfg.MaxBody = tc.api, 1<<19 }, func(l *lab) {
				a, err := l.client.download(l.t.Context(), tc.location, 0, func(a *answer) error { _, err := a.entities(); return err })
				if !tc.check(err) {
					l.t.Errorf("the error is %v", err)
				}
				if err == nil {
					a.free()
				} else if strings.Contains(err.Error(), signature) {
					l.t.Errorf("the error shows the signature: %v", err)
				}
				if tc.file == nil && len(got) > 0 {
					l.t.Errorf("%d requests were sent", len(got))
				}
				for _, r := range got {
					if r.Header.Get("Authorization") != "" {
						l.t.Error("the token was sent")
					}
				}
			})
		})
	}
}

// realtimePages answers by page numbers from a list that may grow.
type movingList struct {
	ids   []string
	grows int // before so many more pages
	most  int // events on a page, whatever was asked for; 0 is any
}

func (m *movingList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == tokenPath:
		grants("access", time.Hour)(w, r)
	case strings.HasSuffix(r.URL.Path, "servicemapping"):
		say(200, `{"services":[{"name":"Routing","entities":[{"name":"Queue","actions":["Update"]}]}]}`)(w, r)
	default:
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		var number, size int
		_, _ = fmt.Sscanf(body.String()[strings.Index(body.String(), `"pageNumber"`):], `"pageNumber":%d,"pageSize":%d`, &number, &size)
		if m.most > 0 {
			size = min(size, m.most)
		}
		if number > 1 && m.grows > 0 {
			m.grows--
			m.ids = append([]string{fmt.Sprint("late-", m.grows)}, m.ids...)
		}
		from, to := min((number-1)*size, len(m.ids)), min(number*size, len(m.ids))
		var events []string
		for _, id := range m.ids[from:to] {
			events = append(events, event(id))
		}
		say(200, fmt.Sprintf(`{"entities":[%s],"total":%d,"pageNumber":%d,"pageSize":%d}`, strings.Join(events, ","), len(m.ids), number, size))(w, r)
	}
}

func TestRealtimePagesThatMove(t *testing.T) {
	for _, tc := range []struct {
		grows int
		fails bool
	}{{0, false}, {1, false}, {maxRestarts, false}, {1000, true}} {
		t.Run(fmt.Sprint(tc.grows), func(t *testing.T) {
			m := &movingList{grows: tc.grows}
			for i := range 1750 {
				m.ids = append(m.ids, fmt.Sprint("event-", i))
			}
			inLab(t, m, func(cfg *Config) { cfg.Dialect, cfg.MaxBody = Realtime, 40_000 }, func(l *lab) { // pages of 250
				ids, err := l.read(l.open()[0], l.lastHour())
				if tc.fails {
					if !errors.Is(err, poller.ErrTooMuch) {
						l.t.Fatal(err)
					}
					return
				}
				slices.Sort(ids)
				if n := len(slices.Compact(ids)); err != nil || n != 1750+tc.grows {
					l.t.Fatalf("%d events, %v", n, err)
				}
			})
		})
	}
}

// An API that gives smaller pages than it was asked for numbers those.
func TestRealtimePagesThatAreSmaller(t *testing.T) {
	for _, events := range []int{0, 1, 99, 100, 101, 450, 1750} {
		t.Run(fmt.Sprint(events), func(t *testing.T) {
			m := &movingList{most: 100}
			for i := range events {
				m.ids = append(m.ids, fmt.Sprint("event-", i))
			}
			inLab(t, m, func(cfg *Config) { cfg.Dialect = Realtime }, func(l *lab) {
				ids, err := l.read(l.open()[0], l.lastHour())
				if err != nil || !slices.Equal(ids, m.ids) {
					l.t.Fatalf("%d events, %v", len(ids), err)
				}
			})
		})
	}
}

// Whoever takes pages may be kept for hours, by Kafka. What realtime has let go
// meanwhile it would not show, and not miss.
func TestRealtimeIsNotAskedForWhatItLetGo(t *testing.T) {
	inOrg(t, Auto, sandbox.Options{Seed: 3, Odd: -1, Noise: -1, WholeRealtime: true, Dialects: []sandbox.Dialect{sandbox.Query, sandbox.Realtime}},
		func(cfg *Config) { cfg.Services = []string{"ContactCenter"} }, func(l *lab, org *sandbox.Org) {
			stream, now := l.open()[0], l.client.Now().Truncate(time.Millisecond)
			i := audit.Interval{From: now.Add(-14*day - time.Hour), To: now.Add(-14*day + 3*time.Hour)}
			org.Backfill(400, i.From, i.To)
			read := func(hold time.Duration) (map[string]bool, error) {
				ids := make(map[string]bool)
				err := l.client.Read(l.t.Context(), audit.Read{Stream: stream, Interval: i, Purpose: audit.Backfill}, func(p audit.Page, _ bool) error {
					time.Sleep(hold)
					for _, e := range p.Events {
						ids[e.ID] = true
					}
					p.Release()
					return nil
				})
				return ids, err
			}
			all, err := read(0)
			if err != nil || len(all) < 50 {
				l.t.Fatalf("%d events, %v", len(all), err)
			}
			if _, err := read(2 * time.Hour); !errors.Is(err, errRealtimePast) { // the sandbox would refuse, others might show nothing
				l.t.Errorf("the error is %v", err)
			}
			if ids, err := read(0); err != nil || len(ids) != len(all) {
				l.t.Errorf("%d of %d events when read again, %v", len(ids), len(all), err)
			}
		})
}

// The host of a file that wants to be left alone is, though no pacer is in between.
func TestDownloadThatIsRefusedForNow(t *testing.T) {
	for _, status := range []int{429, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var at []time.Time
			inLab(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				at = append(at, time.Now())
				say(status, "", "Retry-After", "20")(w, r)
			}), nil, func(l *lab) {
				_, err := l.client.download(l.t.Context(), "http://files.test/f", 0, func(*answer) error { return nil })
				if !isType[*FaultError](err) || len(at) < 2 || len(at) > defaultRetries.faults+defaultRetries.refusals {
					l.t.Errorf("%d requests, %v", len(at), err)
				}
				for i := range at[1:] {
					if pause := at[i+1].Sub(at[i]); pause < 20*time.Second {
						l.t.Errorf("asked again after %s", pause)
					}
				}
			})
		})
	}
}

func TestAutoTakesWhatIsServed(t *testing.T) {
	type dialects = []sandbox.Dialect
	for _, tc := range []struct {
		served dialects
		api    string
		stream string // one of them
		how    string
	}{
		{nil, "auditlogs", "auditlogs:type=configuration", "auditlogs"},
		{dialects{sandbox.Auditlogs}, "auditlogs", "auditlogs:type=configuration", "auditlogs"},
		{dialects{sandbox.Query, sandbox.Realtime}, "realtime+query", "auto:Routing", "realtime+query"},
		{dialects{sandbox.Query, sandbox.Realtime}, "realtime+query", "auto:Telephony", "query"},
		{dialects{sandbox.Query}, "query", "auto:Routing", "query"},
		{dialects{sandbox.Realtime}, "realtime", "auto:Routing", "realtime"},
		{dialects{}, "", "", ""},
	} {
		t.Run(fmt.Sprint(tc.served), func(t *testing.T) {
			inOrg(t, Auto, sandbox.Options{Dialects: tc.served}, nil, func(l *lab, _ *sandbox.Org) {
				streams, err := l.client.Open(l.t.Context())
				if tc.api == "" {
					if !notServed(err) || !strings.Contains(err.Error(), "GENESYS_REGION") {
						l.t.Fatal(err)
					}
					return
				}
				if err != nil {
					l.t.Fatal(err)
				}
				if got := l.client.API(); got != tc.api {
					l.t.Errorf("API %q, expected %q", got, tc.api)
				}
				if got := l.client.Dialects()[tc.stream]; got != tc.how {
					l.t.Errorf("%s is read by %q, expected %q; there are %v", tc.stream, got, tc.how, streams)
				}
				for _, s := range streams {
					if want := map[string]time.Duration{"auditlogs": 180 * day, "query": 365 * day, "realtime+query": 365 * day, "realtime": 14 * day}[l.client.Dialects()[s.Name]]; s.Retention != want {
						l.t.Errorf("%s: retention %s, expected %s", s.Name, s.Retention, want)
					}
				}
			})
		})
	}
}

func TestServicesAreChecked(t *testing.T) {
	for _, tc := range []struct {
		services   []string
		suggestion string // of the ValueError; "" for none
		streams    int
	}{
		{[]string{"Routing", "Outbound"}, "", 2},
		{[]string{"Routing", "routing"}, "Routing", 0},
		{[]string{"Routing", "NotThereYet"}, "", 1},
		{[]string{"Routin"}, "Routing", 0},
	} {
		t.Run(fmt.Sprint(tc.services), func(t *testing.T) {
			inOrg(t, Query, sandbox.Options{}, func(cfg *Config) { cfg.Services = tc.services }, func(l *lab, _ *sandbox.Org) {
				streams, err := l.client.Open(l.t.Context())
				var wrong *ValueError
				if errors.As(err, &wrong) != (tc.suggestion != "") || wrong != nil && wrong.Suggestion != tc.suggestion {
					l.t.Fatalf("the error is %v", err)
				}
				if wrong != nil && (wrong.Variable != "GENESYS_SERVICES" || !errors.Is(err, poller.ErrConfiguration)) {
					l.t.Errorf("the error is %#v", wrong)
				}
				if len(streams) != tc.streams {
					l.t.Errorf("%d streams, expected %d", len(streams), tc.streams)
				}
			})
		})
	}
}

// A service that appears later is noticed without a restart.
func TestNewServiceIsNoticed(t *testing.T) {
	services := []string{"Routing"}
	s := &script{fallback: func(w http.ResponseWriter, r *http.Request) {
		var list []string
		for _, name := range services {
			list = append(list, fmt.Sprintf(`{"name":%q,"entities":[{"name":"Queue","actions":["Update"]}]}`, name))
		}
		say(200, `{"services":[`+strings.Join(list, ",")+`]}`)(w, r)
	}}
	inLab(t, s, func(cfg *Config) { cfg.Dialect = Query }, func(l *lab) {
		l.open()
		if changed, err := l.client.Changed(l.t.Context()); changed || err != nil {
			l.t.Fatal(changed, err)
		}
		services = append(services, "Quantum")
		if changed, err := l.client.Changed(l.t.Context()); !changed || err != nil {
			l.t.Fatal(changed, err)
		}
		if n := l.logs.FilterMessageSnippet("new audit action").Len(); n != 1 {
			l.t.Errorf("%d lines tell of it", n)
		}
		if names := l.open(); len(names) != 2 {
			l.t.Errorf("streams %v", names)
		}
		if changed, err := l.client.Changed(l.t.Context()); changed || err != nil {
			l.t.Fatal(changed, err)
		}
	})
}

// How many requests a poll costs, and 10,000 events.
func TestRequestsPerPoll(t *testing.T) {
	for _, tc := range []struct {
		dialect   Dialect
		open      int
		poll      int
		span      time.Duration // that holds about 10,000 events
		perEvents int           // requests for them, at most
	}{{Auditlogs, 1, 1, 17 * time.Minute, 12}, {Realtime, 1, 1, 50 * time.Minute, 23}, {Query, 1, 3, 50 * time.Minute, 26}} {
		t.Run(string(tc.dialect), func(t *testing.T) {
			inOrg(t, tc.dialect, sandbox.Options{Odd: -1, OtherTypes: -1, Noise: -1, WholeRealtime: true}, func(cfg *Config) { cfg.Services = []string{"ContactCenter"} }, func(l *lab, org *sandbox.Org) {
				org.Backfill(100, time.Now().Add(-12*time.Hour), time.Now().Add(-2*time.Hour))
				sent := func() int {
					n := 0
					for _, r := range l.client.Requests() {
						n += int(r.Count)
					}
					return n
				}
				stream := l.open()[0]
				if n := sent(); n != tc.open {
					l.t.Errorf("%d requests to open, expected %d", n, tc.open)
				}
				before := sent()
				if _, err := l.read(stream, l.lastHour()); err != nil {
					l.t.Fatal(err)
				}
				if n := sent() - before; n != tc.poll {
					l.t.Errorf("%d requests for a poll, expected %d", n, tc.poll)
				}
				org.Backfill(37_000, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
				before = sent()
				ids, err := l.read(stream, audit.Interval{From: time.Now().Add(-time.Hour), To: time.Now().Add(tc.span - time.Hour)})
				if err != nil || len(ids) < 9_000 || len(ids) > 11_000 {
					l.t.Fatal(len(ids), err)
				}
				if n := sent() - before; n > tc.perEvents {
					l.t.Errorf("%d requests for %d events, expected at most %d", n, len(ids), tc.perEvents)
				}
			})
		})
	}
}

// When a connection breaks, net/http sends a GET again by itself: the pacer
// learns of it.
func TestPacerCountsWhatTransportRepeats(t *testing.T) {
	var requests atomic.Int64
	s := &script{}
	s.fallback = func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 2 {
			drop(w, r)
		}
		page("", "a")(w, r)
	}
	server := httptest.NewServer(s)
	defer server.Close()
	c, err := New(Config{APIURL: server.URL, LoginURL: server.URL, ClientID: Text("a"), ClientSecret: Text("b"), Dialect: Auditlogs})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	streams, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := audit.Interval{From: c.Now().Add(-time.Hour), To: c.Now()}
	err = c.Read(context.Background(), audit.Read{Stream: streams[0].Name, Interval: i}, func(p audit.Page, _ bool) error { p.Release(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got, used := requests.Load(), c.Rate().Used; got != 3 || int64(used) != got {
		t.Fatalf("the server got %d requests, the pacer counted %d", got, used)
	}
}

// A service that another dialect takes up, or drops, is read differently from then on.
func TestServiceThatMovesIsNoticed(t *testing.T) {
	realtime := "Routing"
	s := &script{fallback: func(w http.ResponseWriter, r *http.Request) {
		services := "Routing"
		switch {
		case r.URL.Path == auditlogsPath:
			failing(404, "not.found")(w, r)
			return
		case strings.HasPrefix(r.URL.Path, realtimePath):
			services = realtime
		}
		say(200, fmt.Sprintf(`{"services":[{"name":%q,"entities":[]}]}`, services))(w, r)
	}}
	inLab(t, s, func(cfg *Config) { cfg.Dialect, cfg.Services = Auto, []string{"Routing"} }, func(l *lab) {
		l.open()
		for _, moved := range []struct {
			to    string
			looks int // until it is believed
		}{{"Other", lastingAnswers}, {"Routing", 1}} {
			realtime = moved.to
			for look := range moved.looks {
				changed, err := l.client.Changed(l.t.Context())
				if changed != (look == moved.looks-1) || err != nil {
					l.t.Fatal(look, changed, err)
				}
				time.Sleep(time.Minute)
			}
			l.open()
			if changed, err := l.client.Changed(l.t.Context()); changed || err != nil {
				l.t.Fatal(changed, err)
			}
		}
	})
}
