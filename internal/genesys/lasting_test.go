package genesys

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/sandbox"
)

// flapping is an API whose dialects and services come and go.
type flapping struct {
	auditlogs, query, realtime http.HandlerFunc // of the first two requests' kind
}

func (f *flapping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch r.URL.Path {
	case tokenPath:
		grants("access", 24*time.Hour)(w, r)
	case auditlogsPath:
		f.auditlogs(w, r)
	case queryPath + "/servicemapping":
		f.query(w, r)
	case realtimePath + "/servicemapping":
		f.realtime(w, r)
	case queryPath: // without a service
		failing(400, "bad.request")(w, r)
	default:
		failing(404, "not.found")(w, r)
	}
}

func serving(services ...string) http.HandlerFunc {
	var list []string
	for _, name := range services {
		list = append(list, fmt.Sprintf(`{"name":%q,"entities":[{"name":"Queue","actions":["Update"]}]}`, name))
	}
	return say(200, `{"services":[`+strings.Join(list, ",")+`]}`)
}

var notFound = failing(404, "not.found")

// times answers otherwise the first n times.
func times(n int, first, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if n--; n >= 0 {
			first(w, r)
			return
		}
		then(w, r)
	}
}

// TestOpenBelievesWhatLasts: what is read, and how far back, is not decided by an
// odd answer at the start.
func TestOpenBelievesWhatLasts(t *testing.T) {
	good := page("", "a")
	both := map[string]string{"query:Routing": "query+realtime"}
	logs := map[string]string{"auditlogs:type=configuration": "auditlogs"}
	for name, tc := range map[string]struct {
		api   flapping
		known []string
		want  map[string]string // dialects by stream; nil: an error that is tried again
		least time.Duration     // that opening takes
		most  time.Duration
	}{
		"auditlogs":                     {flapping{good, notFound, notFound}, nil, logs, 0, time.Second},
		"a 404 of auditlogs once":       {flapping{times(1, notFound, good), serving("Routing"), serving("Routing")}, nil, logs, 0, lastingAtFirst},
		"a 404 of auditlogs twice":      {flapping{times(2, notFound, good), serving("Routing"), serving("Routing")}, nil, logs, 0, 2 * lastingAtFirst},
		"no auditlogs":                  {flapping{notFound, serving("Routing"), serving("Routing")}, nil, both, lastingAtFirst, 2 * lastingAtFirst},
		"no auditlogs, says a firewall": {flapping{say(404, ""), serving("Routing"), serving("Routing")}, nil, both, lastingTime, 2 * lastingTime},
		"auditlogs was there, 404 a while": {flapping{times(2, notFound, good), serving("Routing"), serving("Routing")},
			[]string{"auditlogs:type=configuration"}, logs, lastingTime / 2, 2 * lastingTime},
		"auditlogs was there, is no more": {flapping{notFound, serving("Routing"), serving("Routing")},
			[]string{"auditlogs:type=configuration"}, both, lastingTime, 2 * lastingTime},
		"services were read, auditlogs for a moment": {flapping{times(1, good, notFound), serving("Routing"), serving("Routing")},
			[]string{"auto:Routing"}, both, 0, time.Second},
		"services were read, only auditlogs is there": {flapping{good, notFound, notFound},
			[]string{"auto:Routing"}, logs, lastingTime, 2 * lastingTime},
		"a 404 of the query mapping once":   {flapping{notFound, times(1, notFound, serving("Routing")), serving("Routing")}, nil, both, lastingAtFirst, 3 * lastingAtFirst},
		"a 404 of it, services were read":   {flapping{notFound, times(2, notFound, serving("Routing")), serving("Routing")}, []string{"auto:Routing"}, both, lastingTime / 2, 2 * lastingTime},
		"realtime alone":                    {flapping{notFound, notFound, serving("Routing")}, nil, map[string]string{"auto:Routing": "realtime"}, 2 * lastingAtFirst, 3 * lastingAtFirst},
		"an empty query mapping once":       {flapping{notFound, times(1, serving(), serving("Routing")), serving("Routing")}, nil, both, lastingAtFirst, 3 * lastingAtFirst},
		"an empty query mapping":            {flapping{notFound, serving(), serving("Routing")}, nil, nil, 0, time.Minute},
		"both mappings empty":               {flapping{notFound, serving(), serving()}, nil, nil, 0, time.Minute},
		"query gone and realtime empty":     {flapping{notFound, notFound, serving()}, nil, nil, 0, time.Minute},
		"an empty realtime mapping":         {flapping{notFound, serving("Routing"), serving()}, nil, map[string]string{"query:Routing": "query"}, lastingAtFirst, 3 * lastingAtFirst},
		"nothing":                           {flapping{notFound, notFound, notFound}, nil, nil, 0, time.Minute},
		"a mapping that spells differently": {flapping{notFound, say(200, `{"services":[{"serviceName":"Routing","entityTypes":[{"entityType":"Queue","actions":["Update"]}]}]}`), serving("Routing")}, nil, both, lastingAtFirst, 3 * lastingAtFirst},
	} {
		t.Run(name, func(t *testing.T) {
			var monitor health.Monitor
			inLab(t, &tc.api, func(cfg *Config) {
				cfg.Dialect, cfg.KnownStreams, cfg.Report = Auto, func() []string { return tc.known }, monitor.Report
			}, func(l *lab) {
				started := time.Now()
				_, err := l.client.Open(l.t.Context())
				took := time.Since(started)
				if tc.want == nil {
					if err == nil || errors.Is(err, poller.ErrConfiguration) {
						l.t.Errorf("the error is %v", err)
					}
				} else if err != nil || !maps.Equal(l.client.Dialects(), tc.want) {
					l.t.Errorf("reads %v, expected %v, error %v", l.client.Dialects(), tc.want, err)
				}
				if tc.want["query:Routing"] != "" { // it refuses a query of all services, and that has to last too
					took -= lastingAtFirst
				}
				if took < tc.least || took > tc.most {
					l.t.Errorf("it took %s, expected %s to %s", took, tc.least, tc.most)
				}
				if failing := monitor.Failing(); len(failing) > 0 {
					l.t.Errorf("still reported when it is over: %v", failing)
				}
			})
		})
	}
}

// TestChangedBelievesWhatLasts: while services are read, what comes counts at
// once, and what goes when it has been away for long.
func TestChangedBelievesWhatLasts(t *testing.T) {
	for name, tc := range map[string]struct {
		at     func(*flapping) // what happens after the start
		lasts  int             // looks for which it does; then all is as before
		within int             // looks until it is believed; 0 for never
		want   map[string]string
	}{
		"a new service":                    {func(f *flapping) { f.query = serving("Routing", "Quantum") }, 5, 1, map[string]string{"query:Routing": "query+realtime", "query:Quantum": "query"}},
		"the query mapping is away twice":  {func(f *flapping) { f.query = notFound }, 2, 0, nil},
		"the query mapping is away":        {func(f *flapping) { f.query = notFound }, 5, 3, map[string]string{"auto:Routing": "realtime"}},
		"query lacks the service twice":    {func(f *flapping) { f.query = serving("Other") }, 2, 1, map[string]string{"query:Routing": "query+realtime", "query:Other": "query"}},
		"the realtime mapping is away":     {func(f *flapping) { f.realtime = notFound }, 5, 3, map[string]string{"query:Routing": "query"}},
		"the realtime mapping is empty":    {func(f *flapping) { f.realtime = serving() }, 5, 3, map[string]string{"query:Routing": "query"}},
		"the query mapping is empty":       {func(f *flapping) { f.query = serving() }, 5, 0, nil},
		"everything is away":               {func(f *flapping) { f.query, f.realtime = notFound, notFound }, 5, 0, nil},
		"auditlogs is there twice":         {func(f *flapping) { f.auditlogs = page("", "a") }, 2, 0, nil},
		"auditlogs is there":               {func(f *flapping) { f.auditlogs = page("", "a") }, 5, 3, map[string]string{"auditlogs:type=configuration": "auditlogs"}},
		"auditlogs answers with no answer": {func(f *flapping) { f.auditlogs = say(200, "<html>") }, 5, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			api := flapping{notFound, serving("Routing"), serving("Routing")}
			inLab(t, &api, func(cfg *Config) { cfg.Dialect = Auto }, func(l *lab) {
				l.open()
				before := api
				tc.at(&api)
				for look := 1; look <= 8; look++ {
					if look > tc.lasts {
						api = before
					}
					changed, _ := l.client.Changed(l.t.Context())
					if look == tc.within {
						if !changed {
							l.t.Fatalf("not believed after %d looks", look)
						}
						l.open()
						if got := l.client.Dialects(); !maps.Equal(got, tc.want) {
							l.t.Errorf("reads %v, expected %v", got, tc.want)
						}
						if changed, err := l.client.Changed(l.t.Context()); changed || err != nil && tc.want["query:Routing"] != "" {
							l.t.Errorf("it changes again: %t, %v", changed, err)
						}
						return
					}
					if changed {
						l.t.Fatalf("believed after %d looks", look)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// Retention is the query's as long as that is not gone for good.
func TestRetentionDoesNotFlip(t *testing.T) {
	api := flapping{notFound, serving("Routing"), serving("Routing")}
	inLab(t, &api, func(cfg *Config) { cfg.Dialect = Auto }, func(l *lab) {
		l.open()
		api.query = notFound
		for range 2 {
			streams, err := l.client.Open(l.t.Context())
			if err != nil || len(streams) != 1 || streams[0].Retention != traits[Query].retention {
				l.t.Errorf("streams %v, %v", streams, err)
			}
		}
	})
}

// Auditlogs that is gone for good is given up for services.
func TestAuditlogsThatIsGone(t *testing.T) {
	api := flapping{page("", "a"), serving("Routing"), serving("Routing")}
	inLab(t, &api, func(cfg *Config) { cfg.Dialect = Auto }, func(l *lab) {
		stream := l.open()[0]
		read := func() { _, _ = l.read(stream, l.lastHour()); time.Sleep(20 * time.Second) }
		changed := func() bool { c, _ := l.client.Changed(l.t.Context()); return c }
		api.auditlogs = notFound
		read()
		read()
		if changed() {
			l.t.Fatal("believed after 40 s")
		}
		api.auditlogs = page("", "a")
		read()
		api.auditlogs = notFound
		for range 3 {
			read()
		}
		if changed() {
			l.t.Fatal("believed although it was there a minute ago")
		}
		read()
		if !changed() {
			l.t.Fatal("never believed")
		}
		if names := l.open(); !slices.Equal(names, []string{"query:Routing"}) {
			l.t.Errorf("reads %v", names)
		}
	})
}

// One refusal at the start, or one that is not the API's own, does not say that
// the settings are wrong: that would end the process.
func TestOneRefusalIsNoWrongSetting(t *testing.T) {
	own := failing(400, "bad.request")
	for name, tc := range map[string]struct {
		refusals http.HandlerFunc
		count    int
		wrong    bool
		opens    bool
	}{
		"once":                  {own, 1, false, true},
		"twice":                 {own, 2, false, true},
		"always":                {own, 1000, true, false},
		"a firewall, once":      {say(400, firewallPage, "Content-Type", "text/html"), 1, false, true},
		"a firewall, always":    {say(400, firewallPage, "Content-Type", "text/html"), 1000, false, false},
		"without words, always": {say(400, ""), 1000, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, &script{fallback: times(tc.count, tc.refusals, page("", "a"))}, nil, func(l *lab) {
				started := time.Now()
				_, err := l.client.Open(l.t.Context())
				if errors.Is(err, poller.ErrConfiguration) != tc.wrong || (err == nil) != tc.opens {
					l.t.Errorf("the error is %v", err)
				}
				if tc.wrong && time.Since(started) < lastingAtFirst {
					l.t.Errorf("believed after %s", time.Since(started))
				}
			})
		})
	}
	t.Run("a mapping without the services, once", func(t *testing.T) {
		api := flapping{notFound, times(1, serving("Other"), serving("Routing")), serving("Routing")}
		inLab(t, &api, func(cfg *Config) { cfg.Dialect, cfg.Services = Query, []string{"Routing"} }, func(l *lab) {
			if names := l.open(); !slices.Equal(names, []string{"query:Routing"}) {
				l.t.Errorf("reads %v", names)
			}
		})
	})
}

// TestWhatWasReadBeforeIsNoMistake: an odd answer to what the API took before, for
// however long, does not end the process with a wrong configuration: nobody
// configured anything since.
func TestWhatWasReadBeforeIsNoMistake(t *testing.T) {
	for name, tc := range map[string]struct {
		api      flapping
		dialect  Dialect
		services []string
		known    string
	}{
		"the filter is refused":             {flapping{auditlogs: failing(400, "bad.request")}, Auditlogs, nil, "auditlogs:type=configuration"},
		"none of the services is there":     {flapping{query: serving("Outbound")}, Query, []string{"Routing"}, "query:Routing"},
		"a service is spelt in another way": {flapping{query: serving("routing")}, Query, []string{"Routing"}, "query:Routing"},
	} {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, known %t", name, known), func(t *testing.T) {
				inLab(t, &tc.api, func(cfg *Config) {
					cfg.Dialect, cfg.Services = tc.dialect, tc.services
					if known {
						cfg.KnownStreams = func() []string { return []string{tc.known} }
					}
				}, func(l *lab) {
					_, err := l.client.Open(l.t.Context())
					if err == nil || errors.Is(err, poller.ErrConfiguration) == known {
						l.t.Errorf("the error is %v", err)
					}
				})
			})
		}
	}
	known := func(cfg *Config) {
		cfg.Filter = "type=configuration,entityType=Queue"
		cfg.KnownStreams = func() []string { return []string{"auditlogs:entityType=Queue,type=configuration"} }
	}
	inOrg(t, Auditlogs, sandbox.Options{Odd: -1}, known, func(l *lab, org *sandbox.Org) {
		org.Backfill(900, time.Now().Add(-20*time.Hour), time.Now().Add(-time.Minute))
		l.open()
		if l.logs.FilterMessage("the filter may match nothing").Len() != 1 {
			l.t.Error("nobody is warned")
		}
	})
}
