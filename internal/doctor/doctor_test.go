package doctor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRegistry breaks one thing of the registry at a time.
func TestRegistry(t *testing.T) {
	answer := func(status int, body string) func(*ward) {
		return func(w *ward) {
			w.schema.Intercept(func(rw http.ResponseWriter, _ *http.Request) bool {
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(status)
				_, _ = rw.Write([]byte(body))
				return true
			})
		}
	}
	for name, c := range map[string]struct {
		breaks func(*ward)
		want   symptom
	}{
		"none":             {func(w *ward) { w.registry.URL = "" }, symptom{OK, "single-object encoding", ""}},
		"fine":             {func(*ward) {}, symptom{OK, "fits subject changes-topic-value", ""}},
		"incompatible":     {answer(200, `{"is_compatible":false,"messages":["READER_FIELD_MISSING"]}`), symptom{Failed, "READER_FIELD_MISSING", "KAFKA_TOPIC_CHANGES"}},
		"wrong password":   {answer(401, `{"error_code":401,"message":"no"}`), symptom{Failed, "denies", "SCHEMA_REGISTRY_PASSWORD"}},
		"not registered":   {func(w *ward) { w.registry.AutoRegister = false }, symptom{Failed, "not registered", "connector schema"}},
		"nobody there":     {func(w *ward) { w.registry.URL = "http://" + nowhere(w.T) }, symptom{Failed, "refused", "SCHEMA_REGISTRY_URL"}},
		"not a registry":   {answer(200, `<html>hello`), symptom{Failed, "unreachable", "SCHEMA_REGISTRY_URL"}},
		"not there at all": {plainSite, symptom{Failed, "unreachable", "SCHEMA_REGISTRY_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			c.breaks(w)
			examine(t, w.admit()).expect(t, map[string]symptom{"schema registry": c.want})
			if c.want.status == OK && w.registry.URL != "" {
				if res, err := http.Get(w.schema.URL() + "/subjects"); err != nil || readAll(t, res) != "[]" {
					t.Errorf("the registry was changed: %v", err)
				}
			}
		})
	}
}

// plainSite is a web server that knows of no registry.
func plainSite(w *ward) {
	s := httptest.NewServer(http.NotFoundHandler())
	w.Cleanup(s.Close)
	w.registry.URL = s.URL
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return strings.TrimSpace(body)
}

// TestEveryLookHasAnEnd: one that would never come back is told as such, and the next one is made.
func TestEveryLookHasAnEnd(t *testing.T) {
	var told []Check
	e := examination{t.Context(), func(c Check) { told = append(told, c) }}
	e.look("stuck", 20*time.Millisecond, func(ctx context.Context, f *finding) {
		<-ctx.Done()
		f.fail(cause(ctx, ctx.Err()).Error(), "wait")
	})
	e.look("next", time.Minute, func(_ context.Context, f *finding) { f.ok("fine") })
	if len(told) != 2 || told[0].Status != Failed || told[0].Detail != "it took longer than 20ms" || told[0].Seconds < 0.02 || told[0].Seconds > 5 || told[1].Status != OK {
		t.Errorf("told %+v", told)
	}
}

// TestTheWorstCounts: a finding is as bad as the worst of it, and tells all of it.
func TestTheWorstCounts(t *testing.T) {
	for _, c := range []struct {
		add  []Status
		want Status
	}{
		{[]Status{OK}, OK}, {[]Status{OK, Warning}, Warning}, {[]Status{Warning, OK}, Warning},
		{[]Status{Failed, Warning, OK}, Failed}, {[]Status{OK, Warning, Failed}, Failed},
	} {
		var f finding
		for _, s := range c.add {
			f.add(s, string(s), "hint of "+string(s))
			f.add(s, string(s), "hint of "+string(s))
		}
		if f.status != c.want || len(f.details) != 2*len(c.add) || len(f.hints) != len(c.add) {
			t.Errorf("%v: %+v", c.add, f)
		}
	}
}

// TestNotes: what is worse than information is kept, with its texts.
func TestNotes(t *testing.T) {
	var n Notes
	log := n.Logger().With()
	log.Info("not this")
	log.Warn("that")
	log.Warn("that")
	if got := strings.Join(n.take(), "|"); got != "that" || n.take() != nil {
		t.Errorf("notes %q", got)
	}
}
