package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/sandbox"
)

// TestMaskedValuesAreSeenInRawAlone: not in the changes topic, on the page, in its API, in
// the log. The evidence log and verify take the records as they were published, under
// these rules and, later, under none.
func TestMaskedValuesAreSeenInRawAlone(t *testing.T) {
	t.Parallel()
	const canary = "ada-lovelace-1815@example.com"
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, nil, o)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("key", "a key for tests of 32 characters")
	s.env["MASK_FILE"] = write("rules.yaml", "keyFile: "+key+"\ndefaults: true\nrules:\n- {paths: [email], action: hmac}\n- {fields: [userName], action: drop}\n")
	s.env["LOG_LEVEL"] = "debug"
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	defer s.log.Close()
	emit := func(id string) {
		t.Helper()
		now := time.Now()
		body := fmt.Sprintf(`{"auditId":%q,"timestamp":%q,"action":"Update","entityType":"User","entityId":"u1","entityName":%[3]q,"userName":"Grace Hopper",`+
			`"message":"%[3]s has a new address","remoteIp":["198.51.100.77"],"before":{"email":"old@example.com","title":"Dr"},"after":{"email":%[3]q,"title":"Prof"}}`,
			id, now.UTC().Format("2006-01-02T15:04:05.000Z"), canary)
		if _, err := s.world.Org.EmitRaw(sandbox.Raw{At: now, Body: []byte(body), EntityType: "User", Action: "Update"}); err != nil {
			t.Fatal(err)
		}
	}
	s.world.Org.Backfill(200, time.Now().Add(-3*time.Hour), time.Now().Add(-time.Minute))
	_, stop := s.start()
	emit("masked-1")
	emit("masked-2")
	s.published(60 * time.Second)
	for _, path := range []string{"/", "/api/status", "/metrics"} {
		resp, err := http.Get("http://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || strings.Contains(string(text), canary) || strings.Contains(string(text), "Grace") {
			t.Errorf("%s shows it: %v", path, err)
		}
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK {
		t.Errorf("evidence: %+v", r)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(s.log.Name())
	if err != nil || strings.Contains(string(log), canary) {
		t.Errorf("the log shows it: %v", err)
	}

	delete(s.env, "MASK_FILE")
	_, stop = s.start()
	emit("clear")
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
	if err != nil {
		t.Fatal(err)
	}
	decoder := decoderFor(c)
	values := map[string]string{}
	for _, id := range []string{"masked-1", "masked-2", "clear"} {
		if len(c.raw[id]) != 1 || !strings.Contains(string(c.raw[id][0].Value), canary) {
			t.Errorf("raw of %s is masked", id)
		}
		for _, r := range c.changes[id] {
			change, err := decoder.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			masked := id != "clear"
			if strings.Contains(string(r.Value), canary) == masked || (change.UserName == nil) != masked || slices.Contains(change.MaskedFields, "message") != masked {
				t.Errorf("%s: %+v", id, change)
			}
			if *change.Key == "email" {
				values[id] = *change.New
			}
		}
	}
	if len(values["masked-1"]) != 64 || values["masked-1"] != values["masked-2"] || values["clear"] != canary {
		t.Errorf("%q", values)
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK {
		t.Errorf("evidence, without rules: %+v", r)
	}
	if r, err := s.verify(verifyOptions{}); err != nil || !r.OK {
		t.Errorf("verify: %v, %+v", err, r.Findings)
	}
}

// TestRuleFileThatIsWrong is named with every line that is, and with the variable.
func TestRuleFileThatIsWrong(t *testing.T) {
	env := map[string]string{"GENESYS_REGION": "mypurecloud.ie", "GENESYS_CLIENT_ID": "x", "GENESYS_CLIENT_SECRET": "y", "KAFKA_BROKERS": "k:1"}
	env["MASK_FILE"] = filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(env["MASK_FILE"], []byte("rules:\n- action: hide\n- actoin: mask\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(envconfig.MapLookuper(env))
	var wrong ConfigError
	if !errors.As(err, &wrong) || len(wrong) != 2 || wrong[0].Variable != "MASK_FILE" ||
		!strings.Contains(err.Error(), "line 2: ") || !strings.Contains(err.Error(), "line 3: ") {
		t.Errorf("%v", err)
	}
}

// TestCheckShowsTheRulesInForce, and nothing where there are none.
func TestCheckShowsTheRulesInForce(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil, unlimited())
	out, err := s.check(false, map[string]string{"MASK_FILE": "default"})
	if err != nil || !strings.Contains(out, "masking") || !strings.Contains(out, "shipped rules") {
		t.Errorf("%v:\n%s", err, out)
	}
}
