package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer/consumertest"
	"genesys-audit-connector/internal/sandbox"
)

const latencyPoll = time.Second // POLL_INTERVAL of the connector, as in "connector demo"

// organisations are what latency is measured on: a patient one with dialect auditlogs,
// and one as live ones are, without it: a service with priority is polled by realtime
// then, beside queries that take three seconds.
var organisations = map[string]sandbox.Options{
	"auditlogs": {Seed: 1, OtherTypes: -1, Odd: -1},
	"realtime":  sandbox.Load(1),
}

// latencies are the times, in order of size, from a grant's showing in the API to its alert at the webhook, through the
// connector, a broker and this program, each in a process of its own (the broker shares the API's).
func latencies(t testing.TB, organisation string, grants int) []time.Duration {
	t.Helper()
	world, err := sandbox.Start(sandbox.ServerOptions{Options: organisations[organisation], History: 200, Broker: &sandbox.BrokerOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	brokers := world.Broker.ListenAddrs()
	startConnector(t, world.URL, brokers)
	r, url := startReceiver(t)
	spawn(t, brokers, "genesys.audit.changes", url, "rules: [{name: grant, when: {entityType: role, action: MemberAdd}}]")

	shown := map[string]time.Time{}
	arrived := func() map[string]time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		at := map[string]time.Time{}
		for i, a := range r.alerts {
			if _, ok := shown[a.AuditID]; ok {
				at[a.AuditID] = r.at[i]
			}
		}
		return at
	}
	grant := func() {
		at := time.Now()
		for _, id := range world.Org.EmitGrants(1) {
			shown[id] = at
		}
	}
	grant() // everything is up when this one has arrived
	consumertest.Await(t, "the first alert", 60*time.Second, func() bool { return len(arrived()) == 1 })
	clear(shown)
	for range grants {
		time.Sleep(rand.N(100 * time.Millisecond))
		grant()
	}
	var alerts map[string]time.Time
	consumertest.Await(t, "all alerts", 30*time.Second, func() bool { alerts = arrived(); return len(alerts) == grants })
	var list []time.Duration
	for id, at := range alerts {
		list = append(list, at.Sub(shown[id]))
	}
	slices.Sort(list)
	return list
}

// startConnector builds and runs the connector, as a user would.
func startConnector(t testing.TB, api string, brokers []string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "connector")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/connector").CombinedOutput(); err != nil {
		t.Fatalf("build the connector: %v\n%s", err, out)
	}
	child := exec.Command(binary)
	child.Env = append(os.Environ(),
		"GENESYS_API_URL="+api, "GENESYS_LOGIN_URL="+api, "GENESYS_CLIENT_ID=sandbox", "GENESYS_CLIENT_SECRET=sandbox-secret",
		"GENESYS_AUDIT_API=auto", "KAFKA_BROKERS="+strings.Join(brokers, ","), "POLL_INTERVAL="+latencyPoll.String(),
		"POLL_OVERLAP=30s", "SWEEP_AGES=1m", "KAFKA_SESSION_TIMEOUT=6s", "HTTP_ADDR=127.0.0.1:0", "LOG_LEVEL=warn")
	log := logOf(t)
	child.Stdout, child.Stderr = log, log
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
}

func percentile(sorted []time.Duration, p int) time.Duration { return sorted[(len(sorted)-1)*p/100] }

// TestLatency: in a second plus the poll interval, with allowance for a machine that is busy with other tests.
func TestLatency(t *testing.T) {
	list := latencies(t, "auditlogs", 100)
	p50, p99 := percentile(list, 50), percentile(list, 99)
	t.Logf("from the API to the webhook, %d grants, POLL_INTERVAL=%s: p50 %s, p99 %s, most %s", len(list), latencyPoll,
		p50.Round(time.Millisecond), p99.Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond))
	if p50 > latencyPoll+time.Second || p99 > latencyPoll+4*time.Second {
		t.Error("too slow")
	}
}

// promised is what a grant takes at most, in 99 of 100 cases, beyond the poll interval.
const promised = 500 * time.Millisecond

// BenchmarkLatency prints the same figures, and fails where they are not what is
// promised: go test -run '^$' -bench Latency ./examples/rolealerts
func BenchmarkLatency(b *testing.B) {
	for organisation := range organisations {
		b.Run(organisation, func(b *testing.B) {
			var list []time.Duration
			for b.Loop() {
				list = append(list, latencies(b, organisation, 100)...)
			}
			slices.Sort(list)
			p99 := percentile(list, 99)
			b.ReportMetric(float64(percentile(list, 50).Milliseconds()), "p50-ms")
			b.ReportMetric(float64(p99.Milliseconds()), "p99-ms")
			b.ReportMetric(0, "ns/op")
			if p99 > latencyPoll+promised {
				b.Errorf("p99 is %s: more than the poll interval and %s", p99, promised)
			}
		})
	}
}
