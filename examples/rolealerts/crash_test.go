package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer/consumertest"
	"genesys-audit-connector/internal/kafkatest"
)

// childVariable makes the test binary behave as the program, for tests that kill it.
const childVariable = "ROLEALERTS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// receiver is a webhook's other end.
type receiver struct {
	mu     sync.Mutex
	keys   map[string]int
	alerts []Alert
	at     []time.Time
	before func(n int) bool // called with the number of the alert; false: the connection is dropped, nothing was taken
	after  func(a *Alert)   // called when it was taken, before it is answered
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var a Alert
	if err := json.NewDecoder(req.Body).Decode(&a); err != nil || a.Key != req.Header.Get("Idempotency-Key") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	n := len(r.alerts) + 1
	r.mu.Unlock()
	if r.before != nil && !r.before(n) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
		return
	}
	r.mu.Lock()
	r.keys[a.Key]++
	r.alerts, r.at = append(r.alerts, a), append(r.at, time.Now())
	r.mu.Unlock()
	if r.after != nil {
		r.after(&a)
	}
}

func (r *receiver) count() (alerts, keys int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.alerts), len(r.keys)
}

func startReceiver(t testing.TB) (*receiver, string) {
	r := &receiver{keys: map[string]int{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server.URL
}

// crashRules alert for every grant, and once for all of them.
const crashRules = `
rules:
- {name: grant, when: {entityType: role, action: MemberAdd}}
- {name: burst, when: {entityType: role, action: MemberAdd}, many: {count: 10, within: 10m, by: all}}
`

// spawn runs the program as a process.
func spawn(t testing.TB, brokers []string, topic, webhook, rules string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1",
		"KAFKA_BROKERS="+strings.Join(brokers, ","), "KAFKA_TOPIC_CHANGES="+topic, "KAFKA_SESSION_TIMEOUT=1s",
		"START_FROM=earliest", "RULES_FILE="+path, "WEBHOOK_URL="+webhook, "WEBHOOK_FORMAT=json")
	child.Stderr = logOf(t)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	return child
}

// logOf shows what the program says, where a test fails.
func logOf(t testing.TB) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said, _ := os.ReadFile(f.Name()); t.Failed() {
			t.Logf("the program said:\n%s", said)
		}
		_ = f.Close()
	})
	return f
}

const testGroup = "genesys-rolealerts-webhook"

// TestKilledBetweenSendAndCommit kills the program when an alert was taken: before the commit of its offset is applied,
// or right after. In the first case the alert comes again, with its key; in the second it does not. None is missing, and
// the burst is told of once.
func TestKilledBetweenSendAndCommit(t *testing.T) {
	const offsetCommit, grants, kills = 8, 25, 3
	for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
		t.Run(when.String(), func(t *testing.T) {
			topic := consumertest.New(t)
			r, url := startReceiver(t)
			cut := make(chan (<-chan struct{}), kills)
			n, bursts := 0, 0
			r.after = func(a *Alert) {
				n++
				if a.Rule == "burst" {
					bursts++
				}
				// Twice for a grant, and once for the burst.
				if n == 5 || n == 20 || a.Rule == "burst" && bursts == 1 {
					cut <- topic.Proxy.CutOnce(offsetCommit, when)
				}
			}
			topic.Abort(topic.Grants(5)...)
			topic.Commit(topic.Grants(grants)...)
			child := spawn(t, topic.Brokers, topic.Name, url, crashRules)
			for range kills {
				select {
				case fired := <-cut:
					<-fired
				case <-time.After(20 * time.Second):
					t.Fatal("no alert to be killed after")
				}
				_ = child.Process.Signal(syscall.SIGKILL)
				_ = child.Wait()
				child = spawn(t, topic.Brokers, topic.Name, url, crashRules)
			}
			consumertest.Await(t, "all alerts", 20*time.Second, func() bool { return topic.Lag(testGroup) == 0 })
			_ = child.Process.Signal(syscall.SIGTERM)
			if err := child.Wait(); err != nil {
				t.Errorf("stopped: %v", err)
			}
			r.judge(t, grants)
			alerts, keys := r.count()
			// Between the answer to a commit that was cut off and the signal, the program may go on for an instant.
			if repeats := alerts - keys; repeats > 2*kills || when == kafkatest.Before && repeats == 0 {
				t.Errorf("%d repeats", repeats)
			} else {
				t.Logf("%d alerts, %d repeats", keys, repeats)
			}
		})
	}
}

// judge checks that each grant was told of, and the burst of them, under one key each and with one content.
func (r *receiver) judge(t *testing.T, grants int) {
	t.Helper()
	content, rules := map[string]string{}, map[string]int{}
	for _, a := range r.alerts {
		if content[a.Key] == "" {
			rules[a.Rule]++
		}
		encoded := fmt.Sprintf("%+v", a)
		if first, ok := content[a.Key]; ok && first != encoded && a.Rule != "burst" {
			t.Errorf("a repeat says something else:\n%s\n%s", first, encoded)
		}
		content[a.Key] = encoded
	}
	if rules["grant"] != grants || rules["burst"] != 1 {
		t.Errorf("alerts: %v", rules)
	}
}

// TestReceiverFails drops every third connection.
func TestReceiverFails(t *testing.T) {
	topic := consumertest.New(t)
	r, url := startReceiver(t)
	attempt := 0
	r.before = func(int) bool { attempt++; return attempt%3 != 0 }
	topic.Commit(topic.Grants(20)...)
	child := spawn(t, topic.Brokers, topic.Name, url, crashRules)
	consumertest.Await(t, "all alerts", 25*time.Second, func() bool { return topic.Lag(testGroup) == 0 })
	_ = child.Process.Signal(syscall.SIGTERM)
	if err := child.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	r.judge(t, 20)
	if alerts, keys := r.count(); alerts != keys {
		t.Errorf("%d alerts with %d keys", alerts, keys)
	}
}
