package web

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
)

var update = flag.Bool("update", false, "write the golden files anew")

func handler(t *testing.T, s Snapshot) http.Handler {
	t.Helper()
	return New(fixed(s), zaptest.NewLogger(t)).Handler()
}

func get(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec.Result(), rec.Body.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", file, got)
	}
}

func TestStatusGolden(t *testing.T) {
	for name, state := range fixtures {
		t.Run(name, func(t *testing.T) {
			resp, body := get(t, handler(t, state()), "GET", "/api/status")
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("status %d, type %q", resp.StatusCode, resp.Header.Get("Content-Type"))
			}
			golden(t, "status-"+name+".json", body)
			var back Status
			if err := json.Unmarshal([]byte(body), &back); err != nil {
				t.Fatalf("read it back: %v", err)
			}
			var again strings.Builder
			enc := json.NewEncoder(&again)
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			if err := enc.Encode(back); err != nil {
				t.Fatal(err)
			}
			if again.String() != body {
				t.Errorf("read and written again it is\n%s", again.String())
			}
		})
	}
}

// The contract's own words, but for the indentation and the values; backfill is there while something is wanted.
func TestStatusFields(t *testing.T) {
	const contract = `org role api version streams name covered wanted gaps from to reason lagSeconds lastPoll late age events backfill resumes done ` +
		`rate limit window used remaining throttledSeconds events published duplicates changes errors newestEvent lastVerified at missing repaired log size root signed lastError`
	_, body := get(t, handler(t, troubled()), "GET", "/api/status")
	var names []string
	seen := make(map[string]int)
	for _, m := range regexp.MustCompile(`"(\w+)": `).FindAllStringSubmatch(body, -1) {
		if seen[m[1]]++; seen[m[1]] == 1 || m[1] == "events" && names[len(names)-1] == "throttledSeconds" {
			names = append(names, m[1])
		}
	}
	if got := strings.Join(names, " "); got != contract {
		t.Errorf("got  %s\nwant %s", got, contract)
	}
}

// TestCheckpointIsServedAsItWasPublished, byte for byte, and is absent where there is none.
func TestCheckpointIsServedAsItWasPublished(t *testing.T) {
	s := healthy()
	if _, body := get(t, handler(t, s), "GET", "/evidence/checkpoint"); body != s.Log.Checkpoint {
		t.Errorf("%q", body)
	}
	if res, body := get(t, handler(t, starting()), "GET", "/evidence/checkpoint"); res.StatusCode != http.StatusNotFound || !strings.Contains(body, "no checkpoint") {
		t.Errorf("%s: %q", res.Status, body)
	}
}

func TestEmptySnapshot(t *testing.T) {
	h := handler(t, Snapshot{})
	for _, path := range []string{"/", "/api/status", "/metrics"} {
		if resp, body := get(t, h, "GET", path); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	_, body := get(t, h, "GET", "/api/status")
	for _, want := range []string{`"role": "starting"`, `"streams": []`, `"lastError": null`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

// Where no event was ever seen, neither page nor API says that everything is there.
func TestSilenceIsNotCompleteness(t *testing.T) {
	h := handler(t, silent())
	_, page := get(t, h, "GET", "/")
	for _, wrong := range []string{"Everything is there", "no gap since"} {
		if strings.Contains(page, wrong) {
			t.Errorf("the page says %q", wrong)
		}
	}
	if !strings.Contains(page, `<body class="warn">`) {
		t.Error("the headline is not amber")
	}
	_, body := get(t, h, "GET", "/api/status")
	for _, want := range []string{`"newestEvent": null`, `"lastVerified": null`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if _, metrics := get(t, h, "GET", "/metrics"); strings.Contains(metrics, "newest_event") || strings.Contains(metrics, "last_verified") {
		t.Error("there is a time of what never was")
	}
	// One event is enough, whenever and by whomever it was seen.
	s := silent()
	s.NewestEvent = before(400 * day)
	if _, page := get(t, handler(t, s), "GET", "/"); !strings.Contains(page, "Everything is there") || !strings.Contains(page, "400 d ago") {
		t.Error("an organisation whose event is old counts as silent")
	}
}

// What connector verify found missing is missing, whatever the ledgers say.
func TestMissingIsSaid(t *testing.T) {
	s := healthy()
	s.LastVerified = &Verification{At: before(day), From: before(9 * day), To: before(day), Missing: 12, Repaired: 2}
	_, page := get(t, handler(t, s), "GET", "/")
	for _, want := range []string{`<body class="warn">`, "Events are missing", "found 12 events missing, 24 h ago", "12 missing, 2 repaired"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestProbes(t *testing.T) {
	for name, c := range map[string]struct {
		state Snapshot
		ready int
		says  string
	}{
		"starting": {starting(), 503, "the offsets topic is being loaded\n"},
		"active":   {healthy(), 200, "ready, active\n"},
		"standby":  {standby(), 200, "ready, standby\n"},
		"failing":  {troubled(), 503, "credentials: the API refuses them\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := handler(t, c.state)
			if resp, body := get(t, h, "GET", "/readyz"); resp.StatusCode != c.ready || body != c.says {
				t.Errorf("readyz: %d %q", resp.StatusCode, body)
			}
			if resp, _ := get(t, h, "GET", "/healthz"); resp.StatusCode != 200 {
				t.Errorf("healthz: %d", resp.StatusCode)
			}
		})
	}
}

// Nothing can be changed from outside, and every answer is guarded.
func TestOnlyReads(t *testing.T) {
	h := handler(t, healthy())
	for _, path := range []string{"/", "/api/status", "/metrics", "/healthz", "/readyz"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if resp, _ := get(t, h, method, path); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			resp, _ := get(t, h, method, path)
			if resp.StatusCode != 200 {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
			policy := resp.Header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s %s: policy %q", method, path, policy)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: header %v", method, path, resp.Header)
			}
		}
	}
	for _, path := range []string{"/nothing", "/api", "/api/status/", "/debug/pprof/", "//"} {
		if resp, _ := get(t, h, "GET", path); resp.StatusCode == 200 {
			t.Errorf("%s is there", path)
		}
	}
}

// What events say stays text, wherever it stands. TestScreens shows the same to a browser.
func TestHostileTextStaysText(t *testing.T) {
	_, plain := get(t, handler(t, healthy()), "GET", "/")
	_, body := get(t, handler(t, hostile()), "GET", "/")
	for _, tag := range []string{"<script", "<style", "<img", "<a ", "<b>", " onerror=", " onmouseover=\"", "javascript:"} {
		// Quoted, it is harmless: what counts is the tag itself, and our own ones.
		if got, ours := len(regexp.MustCompile(regexp.QuoteMeta(tag)).FindAllString(markup(body), -1)), strings.Count(markup(plain), tag); got != ours {
			t.Errorf("%q is there %d times, and %d times without such events", tag, got, ours)
		}
	}
	if !strings.Contains(body, "&lt;script&gt;document.title=&#39;owned&#39;") {
		t.Error("the event is not shown at all")
	}
	for _, hidden := range []string{"\u202E", "\x00", "\x1b"} {
		if strings.Contains(body, hidden) {
			t.Errorf("%q is in the page", hidden)
		}
	}
	if !strings.Contains(body, "(11,840 more)") {
		t.Error("the long value is not cut")
	}
}

// markup is the page without its text and the values of its attributes.
func markup(page string) string {
	page = regexp.MustCompile(`"[^"]*"`).ReplaceAllString(page, `""`)
	return regexp.MustCompile(`>[^<]*<`).ReplaceAllString(page, "><")
}

func TestPageSaysWhatMatters(t *testing.T) {
	for name, want := range map[string][]string{
		"starting": {"Starting", "The offsets topic is being loaded.", "No stream has been read yet"},
		"healthy":  {"Everything is there", "4.2 s", "Watching", "Billing EMEA", "audit-1", "v1.4.0", "0f3c1d2e4b5a", "503 Service Unavailable", "webDeployment"},
		"filling":  {"Up to date, filling in history", "Not yet", "being read"},
		"troubled": {"The API refuses the credentials", "401 invalid_client", "older than GENESYS_RETENTION", "SWEEP_AGES", "37 min 12 s", "max.message.bytes"},
		"standby":  {"Standing by", "audit-0 is active", "publishes nothing"},
		"silent":   {"No event yet", "OAuth client", "GENESYS_FILTER", "Nobody can tell", "never"},
		"services": {"Some time is missing, and new events are late", "Routing was read up to 7 min ago", "22 streams without a gap", "the query ended as Failed"},
	} {
		_, body := get(t, handler(t, fixtures[name]()), "GET", "/")
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s: the page does not say %q", name, w)
			}
		}
	}
}

// A page that cannot be drawn is an error that is logged, not half a page.
func TestBrokenStatus(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	server := New(fixed(healthy()), zap.New(core))
	rec := httptest.NewRecorder()
	server.broken(rec, "draw the status page", errors.New("no paper"))
	if rec.Code != 500 || strings.Contains(rec.Body.String(), "paper") || logs.FilterMessage("cannot answer a request").Len() != 1 {
		t.Errorf("%d %q, %d log lines", rec.Code, rec.Body.String(), logs.Len())
	}
}

func TestRunStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(fixed(healthy()), zaptest.NewLogger(t)).Run(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "alive\n" {
		t.Errorf("healthz says %q", body)
	}
	// A client that sent half a request does not keep it from stopping.
	half, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := half.Write([]byte("GET / HTTP/1.1\r\nHost: ")); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(stopTimeout + 5*time.Second):
		t.Fatal("Run goes on")
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the port still answers")
	}
}

func TestRunReportsALostListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := New(fixed(healthy()), zaptest.NewLogger(t)).Run(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

// A person with a page open for a week, or a scraper, costs next to nothing.
func BenchmarkPage(b *testing.B) {
	h := New(fixed(services()), zap.NewNop()).Handler()
	req := httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}

func BenchmarkMetrics(b *testing.B) {
	h := New(fixed(services()), zap.NewNop()).Handler()
	req := httptest.NewRequest("GET", "/metrics", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}
