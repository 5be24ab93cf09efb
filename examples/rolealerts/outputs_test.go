package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden keeps every request as it is on the wire.
func TestGolden(t *testing.T) {
	rules, err := LoadRules("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(&b, "%s %s\nIdempotency-Key: %s\n", r.Method, r.URL, r.Header.Get("Idempotency-Key"))
		body, _ := io.ReadAll(r.Body)
		if err := json.Indent(&b, body, "", "  "); err != nil {
			t.Error(err)
		}
		b.WriteString("\n\n")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	outputs := []output{
		&webhook{newClient(), server.URL + "/slack", "slack"},
		&webhook{newClient(), server.URL + "/mattermost", "mattermost"},
		&webhook{newClient(), server.URL + "/discord", "discord"},
		&webhook{newClient(), server.URL + "/teams", "teams"},
		&webhook{newClient(), server.URL + "/json", "json"},
		&pagerDuty{newClient(), server.URL + "/v2/enqueue", "routing key"},
		printer{&b},
	}
	e := newEvaluator(rules, time.Hour)
	said := edited(grant("2", "a", "b", "Master Admin", noon), func(m *consumer.Message) {
		m.Status, m.Context["memberName"] = text("FAILURE"), "<!channel> & "+strings.Repeat("ä", 5000)
	})
	live := shown(t, consumertest.LiveGrant("3", "MemberAdd", bob, role, division), named{role: "Master Admin", member: "Bob Stone", division: "Berlin"})
	for _, m := range append(live, said) {
		for _, a := range e.alerts(&m) {
			for _, out := range outputs {
				if err := out.send(t.Context(), a); err != nil {
					t.Error(err)
				}
			}
		}
	}
	path := filepath.Join("testdata", "requests.golden")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("not as it was; see with -update what changed:\n%s", b.Bytes())
	}
}

func TestAnswers(t *testing.T) {
	for status, want := range map[int]string{
		200: "taken", 202: "taken", 204: "taken", 302: "again", 400: "refused", 403: "again", 404: "again", 413: "refused", 422: "refused",
		429: "again", 500: "again", 503: "again", 0: "again",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status == 0 {
				conn, _, _ := w.(http.Hijacker).Hijack()
				_ = conn.Close()
				return
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		for _, out := range []output{&webhook{newClient(), server.URL + "/SECRET", "json"}, &pagerDuty{newClient(), server.URL, "SECRET"}} {
			err := out.send(t.Context(), &Alert{Key: "k"})
			got := "again"
			switch {
			case err == nil:
				got = "taken"
			case errors.Is(err, consumer.ErrRefused):
				got = "refused"
			}
			if got != want {
				t.Errorf("%T, %d: %s: %v", out, status, got, err)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%T, %d: the error shows a secret: %v", out, status, err)
			}
		}
		server.Close()
	}
}

func TestConfig(t *testing.T) {
	base := map[string]string{"KAFKA_BROKERS": "a:1", "RULES_FILE": "rules.yaml"}
	for want, more := range map[string]map[string]string{
		"KAFKA_BROKERS":  {"KAFKA_BROKERS": "", "OUTPUT_STDOUT": "true"},
		"rules":          {"RULES_FILE": "none.yaml"},
		"no output":      {},
		"WEBHOOK_FORMAT": {"WEBHOOK_URL": "https://hooks.example", "WEBHOOK_FORMAT": "xml"},
		"WEBHOOK_URL":    {"WEBHOOK_URL": "SECRET %zz"},
		"PAGERDUTY_URL":  {"PAGERDUTY_ROUTING_KEY": "k", "PAGERDUTY_URL": "events"},
		"START_FROM":     {"OUTPUT_STDOUT": "true", "START_FROM": "yesterday"},
	} {
		env := map[string]string{}
		for _, m := range []map[string]string{base, more} {
			for k, v := range m {
				env[k] = v
			}
		}
		err := run(t.Context(), envconfig.MapLookuper(env), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v: %v", more, err)
		}
	}
}
