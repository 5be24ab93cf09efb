//go:build kafka

package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/internal/kafkatest"
)

// TestOnRealKafka is what holds on the embedded broker, and what only a real one
// can show, one after the other on one node of Apache Kafka.
func TestOnRealKafka(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{Proxy: true})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kafkatest.Cluster)
	}{
		{"every oddity", func(t *testing.T, k *kafkatest.Cluster) { everyOddity(t, k.Brokers()) }},
		{"topics", testTopics},
		{"erasure", testErasure},
		{"graceful stop", func(t *testing.T, k *kafkatest.Cluster) { gracefulStop(t, k.Brokers()) }},
		{"failover after kill -9", testKilled},
		{"failover after SIGTERM", testStopped},
		{"a zombie stands by", testZombie},
		{"rolling restart", testRollingRestart},
		{"killed at random moments", testKilledAtRandom},
		{"refresh token", testRefreshToken},
		{"broker away", testBrokerAway}, // the last: it stops the broker
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, kafka) })
	}
}

// testKilledAtRandom kills the connector 50 times. Every request to the broker is
// held back a little, so that many a kill strikes between two requests of a transaction.
func testKilledAtRandom(t *testing.T, kafka *kafkatest.Cluster) {
	kafka.Proxy.Delay(10 * time.Millisecond)
	defer kafka.Proxy.Delay(0)
	if n := kills(50); killAtRandom(t, kafka.Brokers(), n) < n/10 {
		t.Error("hardly a kill has cut a transaction: the test shows little")
	}
}

// alive fails the test where the process has ended.
func (s *scene) alive(replicas ...*instance) {
	s.Helper()
	for _, r := range replicas {
		if err := r.Process.Signal(syscall.Signal(0)); err != nil {
			s.Fatalf("a replica has ended: %v\n%s", err, tailOf(r.out.String()))
		}
	}
}

// inKafka waits until all these events stand in the raw topic and tells how long that took.
func (s *scene) inKafka(within time.Duration, ids []string) time.Duration {
	s.Helper()
	return s.awaited(within, "the new events in Kafka", s.holds(ids))
}

// holds tells whether all these events stand in the raw topic.
func (s *scene) holds(ids []string) func() bool {
	return func() bool {
		records, err := readTopic(s.Context(), s.brokers, s.env["KAFKA_TOPIC_RAW"])
		if err != nil {
			return false
		}
		there := map[string]bool{}
		for _, r := range records {
			there[string(r.Key)] = true
		}
		for _, id := range ids {
			if !there[id] {
				return false
			}
		}
		return true
	}
}

// testBrokerAway starts the connector without a broker and takes the broker away
// later: run waits both times and loses nothing.
func testBrokerAway(t *testing.T, kafka *kafkatest.Cluster) {
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, kafka.Brokers(), o)
	s.world.Org.Backfill(500, time.Now().Add(-20*time.Hour), time.Now())
	kafka.Stop(0)
	r := s.instance()
	told := func() bool {
		_, lastError, err := r.status()
		resp, readyErr := http.Get("http://" + r.addr + "/readyz")
		if err != nil || readyErr != nil {
			return false
		}
		_ = resp.Body.Close()
		return lastError != "" && resp.StatusCode == http.StatusServiceUnavailable
	}
	s.awaited(30*time.Second, "the replica says what is wrong", told)
	kafka.Restart(0)
	s.published(60 * time.Second)

	kafka.Kill(0)
	s.world.Org.Emit(50)
	s.awaited(30*time.Second, "the replica says what is wrong", told)
	s.alive(r)
	kafka.Restart(0)
	s.published(60 * time.Second)
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, tailOf(r.out.String()))
	}
}

// refusedWith runs a connector that has to end with 2 and tells what it said.
func (s *scene) refusedWith(words ...string) {
	s.Helper()
	c := s.spawn("run")
	kill := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	err := c.Wait()
	if c.ProcessState.ExitCode() != exitUsage {
		s.Errorf("it ended with %v, not %d\n%s", err, exitUsage, tailOf(c.out.String()))
	}
	lines := strings.Split(strings.TrimSpace(c.out.String()), "\n")
	last := strings.Join(lines[max(0, len(lines)-3):], "\n")
	for _, word := range words {
		if !strings.Contains(last, word) {
			s.Errorf("%q is not in what it said last:\n%s", word, last)
		}
	}
}
