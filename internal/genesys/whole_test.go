package genesys

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// twoMappings is an organisation that takes a query of all services. What it says of
// realtime is realtime's.
type twoMappings struct {
	realtime http.HandlerFunc
	tried    atomic.Int32 // requests for realtime's mapping
}

const queryMapping = `{"services":[{"name":"Routing","entities":[{"name":"Queue","actions":["Update"]}]}]}`

func (o *twoMappings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch {
	case r.URL.Path == tokenPath:
		grants("access", time.Hour)(w, r)
	case r.URL.Path == realtimePath+"/servicemapping":
		o.tried.Add(1)
		o.realtime(w, r)
	case r.URL.Path == queryPath+"/servicemapping":
		say(200, queryMapping)(w, r)
	case strings.HasPrefix(r.URL.Path, queryPath):
		say(200, `{"id":"q","state":"Succeeded","entities":[],"total":0}`)(w, r)
	default:
		failing(404, "not.found")(w, r)
	}
}

// TestServiceOfRealtimeAloneIsCovered: a preview covers nothing, so a service that
// query does not name must not be left to one.
func TestServiceOfRealtimeAloneIsCovered(t *testing.T) {
	o := &twoMappings{realtime: say(200, strings.Replace(queryMapping, `[{`, `[{"name":"Odd","entities":[]},{`, 1))}
	inLab(t, o, func(cfg *Config) {
		cfg.Dialect = Auto
		cfg.KnownStreams = func() []string { return []string{"auto:Odd", "auto:Routing"} }
	}, func(l *lab) {
		streams, err := l.client.Open(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		at := func(name string) audit.Stream {
			i := slices.IndexFunc(streams, func(s audit.Stream) bool { return s.Name == name })
			if i < 0 {
				l.t.Fatalf("there is no stream %s: %v", name, streams)
			}
			return streams[i]
		}
		whole := at(wholeName)
		if len(whole.Previews) != 1 || whole.Previews[0].Service != "Routing" || !slices.Equal(whole.Replaces, []string{"auto:Routing"}) {
			l.t.Errorf("the stream of all: %+v", whole)
		}
		if odd := at("auto:Odd"); odd.Retention != 14*day {
			l.t.Errorf("the stream of the odd service: %+v", odd)
		}
		if changed, err := l.client.Changed(l.t.Context()); changed || err != nil {
			l.t.Errorf("changed: %t, %v", changed, err)
		}
	})
}

// TestFaultOfRealtimeHoldsUpNoCoverage: realtime makes events come sooner. Where its
// mapping cannot be had, what counts is read without it, and with it later; previews
// that were there are not given up for a fault, however long it lasts.
func TestFaultOfRealtimeHoldsUpNoCoverage(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"overloaded": failing(503, "service.unavailable"), "forbidden": failing(403, "missing.permission"),
		"it breaks off": drop, "nonsense": say(200, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			o := &twoMappings{realtime: func(w http.ResponseWriter, r *http.Request) {
				if broken.Load() {
					fault(w, r)
					return
				}
				say(200, queryMapping)(w, r)
			}}
			inLab(t, o, func(cfg *Config) { cfg.Dialect = Auto }, func(l *lab) {
				broken.Store(true)
				began := time.Now()
				if names := l.open(); !slices.Equal(names, []string{wholeName}) || time.Since(began) > time.Minute {
					l.t.Fatalf("after %s there are %v", time.Since(began), names)
				}
				broken.Store(false)
				if changed, err := l.client.Changed(l.t.Context()); !changed || err != nil {
					l.t.Fatalf("realtime is back: changed %t, %v", changed, err)
				}
				l.open()
				broken.Store(true)
				tried := o.tried.Load()
				for range 6 {
					time.Sleep(time.Minute)
					if changed, _ := l.client.Changed(l.t.Context()); changed {
						l.t.Fatal("previews were given up for a fault")
					}
				}
				if o.tried.Load() == tried {
					l.t.Fatal("nobody asked")
				}
			})
		})
	}
}
