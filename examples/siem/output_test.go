package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

// patience is how long a test waits for what must happen, on a machine that is busy with others too.
const patience = 90 * time.Second

// received is what a SIEM has got, by event id.
type received struct {
	mu  sync.Mutex
	ids map[string]int
}

func (r *received) add(ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]int{}
	}
	for _, id := range ids {
		r.ids[id]++
	}
}

func (r *received) has(ids []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.ids[id] == 0 {
			return false
		}
	}
	return true
}

// judge fails for what was lost or never committed, and returns how many repeats there were.
func (r *received) judge(t *testing.T, ids []string) (repeats int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
		if r.ids[id] == 0 {
			t.Errorf("%s is lost", id)
		}
		repeats += r.ids[id] - 1
	}
	for id := range r.ids {
		if !wanted[id] {
			t.Errorf("%s was never committed", id)
		}
	}
	return repeats
}

// startSIEM runs the program until stop is called.
func startSIEM(t *testing.T, topic *consumertest.Topic, env map[string]string) (stop func()) {
	t.Helper()
	env["KAFKA_BROKERS"], env["KAFKA_TOPIC_CHANGES"] = strings.Join(topic.Brokers, ","), topic.Name
	env["KAFKA_SESSION_TIMEOUT"] = "2s"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, envconfig.MapLookuper(env), io.Discard) }() // ends with ctx
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestOutputsAreIndependent keeps one going while the other is dead.
func TestOutputsAreIndependent(t *testing.T) {
	topic := consumertest.New(t)
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	ids := topic.Commit(topic.Events(20)...)
	topic.Erase(ids[:3]...) // which stops neither
	ids = append(ids, topic.Commit(topic.Events(5)...)...)
	env := hecEnv(server.URL)
	env["SYSLOG_ADDR"] = "127.0.0.1:1" // nobody is there
	startSIEM(t, topic, env)
	consumertest.Await(t, "the collector has everything", patience, func() bool { return c.has(ids) })
	if topic.Lag("genesys-siem-syslog") == 0 {
		t.Error("what nobody took is committed")
	}
}

func TestStdout(t *testing.T) {
	var b bytes.Buffer
	messages := []consumer.Message{sample(nil), role("MemberAdd")}
	if n, err := printer(&b, formats["ocsf"])(t.Context(), messages); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for line := range bytes.Lines(b.Bytes()) {
		var e struct {
			ClassUID int `json:"class_uid"`
		}
		if err := json.Unmarshal(line, &e); err != nil || e.ClassUID < 3001 {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"KAFKA_BROKERS":       {"OUTPUT_STDOUT": "true"},
		"no output":           {"KAFKA_BROKERS": "a:1"},
		"SPLUNK_HEC_TOKEN":    {"KAFKA_BROKERS": "a:1", "SPLUNK_HEC_URL": "https://splunk:8088"},
		"SPLUNK_HEC_URL":      {"KAFKA_BROKERS": "a:1", "SPLUNK_HEC_URL": "splunk:8088"},
		"SYSLOG_ADDR":         {"KAFKA_BROKERS": "a:1", "SYSLOG_ADDR": "syslog"},
		"SYSLOG_FRAMING":      {"KAFKA_BROKERS": "a:1", "SYSLOG_ADDR": "syslog:514", "SYSLOG_FRAMING": "none"},
		"SYSLOG_FORMAT":       {"KAFKA_BROKERS": "a:1", "SYSLOG_ADDR": "syslog:514", "SYSLOG_FORMAT": "xml"},
		"STDOUT_FORMAT":       {"KAFKA_BROKERS": "a:1", "OUTPUT_STDOUT": "true", "STDOUT_FORMAT": "xml"},
		"EXCLUDE":             {"KAFKA_BROKERS": "a:1", "OUTPUT_STDOUT": "true", "EXCLUDE": "noise; entity=User"},
		"SENTINEL_ENDPOINT":   {"KAFKA_BROKERS": "a:1", "SENTINEL_ENDPOINT": "dce.example"},
		"SENTINEL_DCR_ID":     {"KAFKA_BROKERS": "a:1", "SENTINEL_ENDPOINT": "https://dce.example"},
		"AZURE_CLIENT_SECRET": {"KAFKA_BROKERS": "a:1", "SENTINEL_ENDPOINT": "https://dce.example", "SENTINEL_DCR_ID": "dcr-1", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"},
		"START_FROM":          {"KAFKA_BROKERS": "a:1", "OUTPUT_STDOUT": "true", "START_FROM": "yesterday"},
	} {
		if err := run(t.Context(), envconfig.MapLookuper(env), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", env, err)
		}
	}
}
