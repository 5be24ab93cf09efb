package genesys

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
)

// vain is an organisation of two services that takes every query. What comes of one
// says end, by its service ("" for all) and interval.
type vain struct {
	mu     sync.Mutex
	end    func(service, interval string) string
	asked  []queryBody
	wholes int
}

func (o *vain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	id := strings.TrimPrefix(r.URL.Path, queryPath+"/")
	switch {
	case r.URL.Path == tokenPath:
		grants("access", 24*time.Hour)(w, r)
	case r.URL.Path == queryPath+"/servicemapping":
		say(200, strings.Replace(queryMapping, `[{`, `[{"name":"Groups","entities":[]},{`, 1))(w, r)
	case r.URL.Path == queryPath:
		var body queryBody
		_ = json.NewDecoder(r.Body).Decode(&body)
		o.asked = append(o.asked, body)
		if body.ServiceName == "" {
			o.wholes++
		}
		say(202, `{"id":"`+fmt.Sprint("q", len(o.asked))+`","state":"Queued"}`)(w, r)
	case strings.HasSuffix(id, "/results"):
		say(200, `{"entities":[]}`)(w, r)
	case strings.HasPrefix(id, "q"):
		n, _ := strconv.Atoi(id[1:])
		body := o.asked[n-1]
		say(200, `{"id":"`+id+`","state":"`+o.end(body.ServiceName, body.Interval)+`"}`)(w, r)
	default:
		failing(404, "not.found")(w, r)
	}
}

func (o *vain) ends(end func(service, interval string) string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end = end
}

// minutes reads the newest time as the poller does, each minute for so many of them, and returns after how many looks the streams had changed; 0 for never.
func (l *lab) minutes(stream string, minutes int) int {
	from := l.client.Now().Truncate(time.Minute).Add(-10 * time.Minute)
	for look := range minutes {
		_, _ = l.read(stream, audit.Interval{From: from, To: l.client.Now().Truncate(time.Millisecond)})
		changed, err := l.client.Changed(l.t.Context())
		if err != nil {
			l.t.Error(err)
		}
		if changed {
			return look + 1
		}
		time.Sleep(time.Minute)
	}
	return 0
}

func wholes(state string) func(string, string) string {
	return func(service, _ string) string {
		if service == "" {
			return state
		}
		return "Succeeded"
	}
}

// TestWholeThatNeverSucceeds: queries of all services that are taken and come to
// nothing are given up for queries of one, which go on where they were; they are tried
// again less and less often, and taken up again when they last.
func TestWholeThatNeverSucceeds(t *testing.T) {
	for state, within := range map[string]int{"Failed": 6, "Cancelled": 6, "Running": 20} {
		t.Run(state, func(t *testing.T) {
			o := &vain{end: wholes("Succeeded")}
			var monitor health.Monitor
			inLab(t, o, func(cfg *Config) { cfg.Dialect, cfg.Report = Query, monitor.Report }, func(l *lab) {
				if names := l.open(); !slices.Equal(names, []string{wholeName}) {
					l.t.Fatal(names)
				}
				if l.minutes(wholeName, 5) != 0 {
					l.t.Fatal("given up though it succeeds")
				}
				o.ends(wholes(state))
				if l.minutes(wholeName, within) == 0 {
					l.t.Fatalf("not given up after %d readings", within)
				}
				streams, err := l.client.Open(l.t.Context())
				if err != nil || len(streams) != 2 || streams[0].Name != "query:Groups" || streams[1].Name != "query:Routing" || streams[0].Continues != wholeName {
					l.t.Fatalf("%+v, %v", streams, err)
				}
				if failing := monitor.Failing(); len(failing) != 1 || !failing[0].Warning {
					l.t.Errorf("reported: %v", failing)
				}
				before := o.wholes
				if l.minutes("query:Groups", 6*60) != 0 {
					l.t.Fatal("taken up though it fails")
				}
				if tried := o.wholes - before; tried < 4 || tried > 12 { // after 10, 20, 40, 80, 160 minutes, some with a restart
					l.t.Errorf("tried %d times in 6 hours", tried)
				}
				o.ends(wholes("Succeeded"))
				if l.minutes("query:Groups", 6*60+5) == 0 {
					l.t.Fatal("not taken up again")
				}
				if names := l.open(); !slices.Equal(names, []string{wholeName}) || len(monitor.Failing()) != 0 {
					l.t.Fatal(names, monitor.Failing())
				}
			})
		})
	}
}

// TestWholeStaysGivenUp over a restart: services were read last, and are until queries
// of all have succeeded for a while.
func TestWholeStaysGivenUp(t *testing.T) {
	for name, works := range map[string]bool{"it still fails": false, "it works": true} {
		t.Run(name, func(t *testing.T) {
			o := &vain{end: wholes("Failed")}
			if works {
				o.end = wholes("Succeeded")
			}
			inLab(t, o, func(cfg *Config) {
				cfg.Dialect = Query
				cfg.KnownStreams = func() []string { return []string{"query:Routing", "query:Groups", wholeName} }
			}, func(l *lab) {
				if names := l.open(); slices.Contains(names, wholeName) || len(names) != 2 {
					l.t.Fatal(names)
				}
				if looks := l.minutes("query:Groups", 60); looks > 4 || (looks > 0) != works {
					l.t.Fatalf("another stream after %d looks", looks)
				}
				if names := l.open(); slices.Contains(names, wholeName) != works {
					l.t.Fatal(names)
				}
			})
		})
	}
}

// TestWholeIsNotGivenUp where something else is to blame: an outage of all queries, an
// hour that cannot be read, a failure now and then.
func TestWholeIsNotGivenUp(t *testing.T) {
	var n int
	for name, end := range map[string]func(service, interval string) string{
		"an outage": func(string, string) string { return "Failed" },
		"a poisoned interval": func(_, interval string) string {
			from, to, _ := strings.Cut(interval, "/")
			a, _ := time.Parse(time.RFC3339, from)
			b, _ := time.Parse(time.RFC3339, to)
			if b.Sub(a) > time.Minute { // as long as those that are read
				return "Failed"
			}
			return "Succeeded"
		},
		"every other reading succeeds": func(service, interval string) string {
			if n++; service != "" || n%11 == 0 {
				return "Succeeded"
			}
			return "Failed"
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &vain{end: wholes("Succeeded")}
			inLab(t, o, func(cfg *Config) { cfg.Dialect = Query }, func(l *lab) {
				l.open()
				o.ends(end)
				minutes := 30
				if look := l.minutes(wholeName, minutes); look != 0 {
					l.t.Fatalf("given up at look %d", look)
				}
			})
		})
	}
}
