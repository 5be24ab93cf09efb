package genesys

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/sandbox"
)

// Large results come as several files, each with another cursor beside its name:
// every event of every file is handed on, also where they have the shape of
// notifications, and the host of the files never sees the token.
func TestResultsInSeveralFiles(t *testing.T) {
	for name, files := range map[string]*sandbox.Files{
		"named in the body":            {Events: 300},
		"with a Location, too":         {Events: 300, Location: true},
		"in the shape of notification": {Events: 300, Notification: true},
		"one file":                     {},
	} {
		t.Run(name, func(t *testing.T) {
			options := sandbox.Options{Seed: 5, Odd: -1, Noise: -1, DownloadOver: 400, Files: files}
			inOrg(t, Query, options, func(cfg *Config) { cfg.Services = []string{"ContactCenter"} }, func(l *lab, org *sandbox.Org) {
				org.Backfill(5000, time.Now().Add(-time.Hour), time.Now())
				stream, i := l.open()[0], l.lastHour()
				var ids []string
				err := l.client.Read(l.t.Context(), audit.Read{Stream: stream, Interval: i}, func(p audit.Page, _ bool) error {
					for _, e := range p.Events {
						if ids = append(ids, e.ID); e.Problem != "" || !i.Contains(e.Time) {
							l.t.Errorf("event %s of %s: %s", e.ID, e.Time, e.Problem)
						}
					}
					p.Release()
					return nil
				})
				synctest.Wait() // the server notes what it has shown after its last byte
				n := len(ids)
				slices.Sort(ids)
				if ids = slices.Compact(ids); err != nil || len(ids) != n || n != len(org.Shown()) || n < 900 {
					l.t.Fatalf("%d events, %d different ones, %d shown: %v", n, len(ids), len(org.Shown()), err)
				}
				if v := org.Stats().Violations; v.TokenToDownload > 0 {
					l.t.Error("the token was sent to the download host")
				}
			})
		})
	}
}

// fileServer is an API whose query is done at once. results answers for its results
// by cursor, files for the files by path.
type fileServer struct {
	results, files map[string]http.HandlerFunc
	asked          []string // cursors and paths, in order
	paged          []string // cursors that were asked for without allowRedirect
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch path := r.URL.Path; {
	case path == tokenPath:
		grants("access", time.Hour)(w, r)
	case strings.HasSuffix(path, "/servicemapping"):
		say(200, `{"services":[{"name":"Routing","entities":[{"name":"Queue","actions":["Update"]}]}]}`)(w, r)
	case strings.HasSuffix(path, "/results"):
		cursor := r.URL.Query().Get("cursor")
		s.asked = append(s.asked, "cursor "+cursor)
		if r.URL.Query().Get("allowRedirect") != "true" {
			s.paged = append(s.paged, cursor)
			say(200, `{"entities":[{"id":"paged"}]}`)(w, r)
			return
		}
		s.results[cursor](w, r)
	case strings.HasPrefix(r.Host, "files"):
		s.asked = append(s.asked, path)
		if r.Header.Get("Authorization") != "" {
			panic("the token was sent to the download host")
		}
		s.files[path](w, r)
	default:
		say(200, `{"id":"q","state":"Succeeded"}`)(w, r)
	}
}

// In whatever way an answer names files, and whatever shape a file has, each is read
// once and in order.
func TestShapesOfResults(t *testing.T) {
	const file = "http://files.test/"
	list := func(ids ...string) http.HandlerFunc {
		var all []string
		for _, id := range ids {
			all = append(all, fmt.Sprintf(`{"id":%q,"eventDate":"2026-01-01T00:00:00Z"}`, id))
		}
		return say(200, "["+strings.Join(all, ",")+"]")
	}
	for name, tc := range map[string]struct {
		results, files map[string]http.HandlerFunc
		ids, asked     string
	}{
		"a redirect with a body, no Location": {
			map[string]http.HandlerFunc{
				"":   say(303, `{"id":"q","downloadUrl":"`+file+`1","cursor":"c2"}`),
				"c2": say(303, `{"id":"q","downloadUrl":"`+file+`2","cursor":""}`)},
			map[string]http.HandlerFunc{"/1": list("a", "b"), "/2": list("c")}, "a b c", "cursor |/1|cursor c2|/2"},
		"a Location beside the body": {
			map[string]http.HandlerFunc{
				"":   say(302, `{"downloadUrl":"`+file+`1","cursor":"c2"}`, "Location", file+"1"),
				"c2": say(302, `{"downloadUrl":"`+file+`2"}`, "Location", file+"2")},
			map[string]http.HandlerFunc{"/1": list("a"), "/2": list("b")}, "a b", "cursor |/1|cursor c2|/2"},
		"a Location alone": {
			map[string]http.HandlerFunc{"": say(302, "", "Location", file+"1")},
			map[string]http.HandlerFunc{"/1": list("a")}, "a", "cursor |/1"},
		"a body of 200": {
			map[string]http.HandlerFunc{
				"":   say(200, `{"downloadUrl":"`+file+`1","cursor":"c2","entities":[]}`),
				"c2": say(200, `{"entities":[{"id":"b"}],"cursor":null}`)},
			map[string]http.HandlerFunc{"/1": list("a")}, "a b", "cursor |/1|cursor c2"},
		"a file that is like a page and leads on": {
			map[string]http.HandlerFunc{
				"":   say(200, `{"downloadUrl":"`+file+`1"}`),
				"in": say(200, `{"entities":[{"id":"b"}]}`)},
			map[string]http.HandlerFunc{"/1": say(200, `{"entities":[{"id":"a"}],"cursor":"in"}`)}, "a b", "cursor |/1|cursor in"},
		"a file that was cut": {
			map[string]http.HandlerFunc{
				"":   say(302, `{"downloadUrl":"`+file+`1","cursor":"c2"}`),
				"c2": say(302, `{"downloadUrl":"`+file+`2"}`)},
			map[string]http.HandlerFunc{"/1": onceThen(cut(`[{"id":"a"},{"id":"b"}]`), list("a", "b")), "/2": list()}, "a b", "cursor |/1|/1|cursor c2|/2"},
		"a bare array": {
			map[string]http.HandlerFunc{"": list("a", "b")}, nil, "a b", "cursor "},
		"an empty file": {
			map[string]http.HandlerFunc{"": say(302, `{"downloadUrl":"`+file+`1"}`)},
			map[string]http.HandlerFunc{"/1": list()}, "", "cursor |/1"},
		"a file larger than an answer may be": {
			map[string]http.HandlerFunc{"": say(302, `{"downloadUrl":"`+file+`1"}`)},
			map[string]http.HandlerFunc{"/1": padded(1 << 20)}, "paged", "cursor |/1|cursor "},
	} {
		t.Run(name, func(t *testing.T) {
			server := &fileServer{results: tc.results, files: tc.files}
			inLab(t, server, func(cfg *Config) { cfg.Dialect, cfg.Services, cfg.MaxBody = Query, []string{"Routing"}, 1<<19 }, func(l *lab) {
				ids, err := l.read(l.open()[0], l.lastHour())
				if got := strings.Join(ids, " "); err != nil || got != tc.ids {
					l.t.Errorf("got %q, %v; want %q", got, err, tc.ids)
				}
				if asked := strings.Join(server.asked, "|"); asked != tc.asked {
					l.t.Errorf("asked for %q, want %q", asked, tc.asked)
				}
			})
		})
	}
}

// A file too large that is not the first one has the results read again as pages: a
// cursor of files is none of pages.
func TestLaterFileTooLarge(t *testing.T) {
	server := &fileServer{
		results: map[string]http.HandlerFunc{
			"":   say(302, `{"downloadUrl":"http://files.test/1","cursor":"c2"}`),
			"c2": say(302, `{"downloadUrl":"http://files.test/2"}`),
		},
		files: map[string]http.HandlerFunc{"/1": say(200, `[{"id":"a"}]`), "/2": padded(1 << 20)},
	}
	inLab(t, server, func(cfg *Config) { cfg.Dialect, cfg.Services, cfg.MaxBody = Query, []string{"Routing"}, 1<<19 }, func(l *lab) {
		ids, err := l.read(l.open()[0], l.lastHour())
		if got := strings.Join(ids, " "); err != nil || got != "a paged" || !slices.Equal(server.paged, []string{""}) {
			l.t.Errorf("got %q, %v, pages %q", got, err, server.paged)
		}
	})
}

// A cursor beside a file that was there before leads nowhere: it is an error, and no end.
func TestFilesThatLeadBack(t *testing.T) {
	server := &fileServer{
		results: map[string]http.HandlerFunc{
			"":   say(302, `{"downloadUrl":"http://files.test/1","cursor":"c2"}`),
			"c2": say(302, `{"downloadUrl":"http://files.test/1","cursor":"c2"}`),
		},
		files: map[string]http.HandlerFunc{"/1": say(200, `[{"id":"a"}]`)},
	}
	inLab(t, server, func(cfg *Config) { cfg.Dialect, cfg.Services = Query, []string{"Routing"} }, func(l *lab) {
		if _, err := l.read(l.open()[0], l.lastHour()); !isType[*FaultError](err) {
			l.t.Errorf("the error is %v", err)
		}
	})
}

// onceThen answers once in one way, and in another from then on.
func onceThen(first, then http.HandlerFunc) http.HandlerFunc {
	asked := false
	return func(w http.ResponseWriter, r *http.Request) {
		h := then
		if !asked {
			asked, h = true, first
		}
		h(w, r)
	}
}
