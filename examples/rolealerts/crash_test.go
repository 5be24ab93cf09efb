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

// patience is how long a test waits for what must happen, on a machine that is busy with others too.
const patience = 90 * time.Second

const testGroup = "genesys-rolealerts-webhook"

// TestKilledBetweenSendAndCommit kills the program when an alert was taken and not answered, so that no offset is
// committed; or when the commit of its offset was applied and not answered. In the first case the alert comes again, with
// its key. None is missing, and the burst is told of once.
func TestKilledBetweenSendAndCommit(t *testing.T) {
	t.Run("before the commit", func(t *testing.T) {
		alerts, keys := testKilled(t, func(_ *consumertest.Topic, kill func()) { kill() })
		if alerts < keys+kills {
			t.Errorf("%d alerts with %d keys: what was not committed was not sent again", alerts, keys)
		}
	})
	t.Run("after the commit", func(t *testing.T) {
		testKilled(t, func(topic *consumertest.Topic, kill func()) {
			const offsetCommit = 8
			committed := topic.Proxy.CutOnce(offsetCommit, kafkatest.After)
			go func() { // ends with the commit, or the test
				select {
				case <-committed:
					kill()
				case <-t.Context().Done():
				}
			}()
		})
	})
}

// kills is how often testKilled does it: after two grants, and after the burst.
const kills = 3

// testKilled has the program killed, and started anew, at three alerts. taken is called when the receiver has taken
// such an alert, before it is answered, and sees to it that kill is called.
func testKilled(t *testing.T, taken func(topic *consumertest.Topic, kill func())) (alerts, keys int) {
	const grants = 25
	topic := consumertest.New(t)
	r, url := startReceiver(t)
	wanted, done := make(chan struct{}), make(chan struct{})
	kill := func() {
		select {
		case wanted <- struct{}{}:
			<-done
		case <-t.Context().Done():
		}
	}
	var mu sync.Mutex // one that was killed may have sent a last alert
	n, next, burst := 0, 5, false
	due := func(a *Alert) bool {
		mu.Lock()
		defer mu.Unlock()
		n++
		if a.Rule == "burst" && !burst {
			burst, next = true, n+8
			return true
		}
		return n == next
	}
	r.after = func(a *Alert) {
		if due(a) {
			taken(topic, kill)
		}
	}
	topic.Abort(topic.Grants(5)...)
	topic.Erase(topic.Commit(topic.Grants(1)...)...) // which stops nothing, and takes no alert back
	topic.Commit(topic.Grants(grants - 1)...)
	child := spawn(t, topic.Brokers, topic.Name, url, crashRules)
	for range kills {
		select {
		case <-wanted:
		case <-time.After(patience):
			t.Fatal("no alert to be killed after")
		}
		_ = child.Process.Signal(syscall.SIGKILL)
		_ = child.Wait()
		done <- struct{}{}
		child = spawn(t, topic.Brokers, topic.Name, url, crashRules)
	}
	consumertest.Await(t, "all alerts", patience, func() bool { return topic.Lag(testGroup) == 0 })
	_ = child.Process.Signal(syscall.SIGTERM)
	if err := child.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	r.judge(t, grants)
	alerts, keys = r.count()
	// What was taken and not committed is one alert, or two of one event, in each partition.
	if most := keys + 2*kills*consumertest.Partitions; alerts > most {
		t.Errorf("%d alerts with %d keys", alerts, keys)
	}
	t.Logf("%d alerts, %d repeats", keys, alerts-keys)
	return alerts, keys
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
	consumertest.Await(t, "all alerts", patience, func() bool { return topic.Lag(testGroup) == 0 })
	_ = child.Process.Signal(syscall.SIGTERM)
	if err := child.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	r.judge(t, 20)
	if alerts, keys := r.count(); alerts != keys {
		t.Errorf("%d alerts with %d keys", alerts, keys)
	}
}
