//go:build kafka

package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/internal/kafkatest"
)

const (
	sessionTimeout = 4 * time.Second
	// takeover is what a replica may take beside the session timeout until it publishes.
	takeover = 2 * time.Second
)

// pair is an organisation and two replicas that have published what there was.
func pair(t *testing.T, kafka *kafkatest.Cluster) (s *scene, active, standby *instance) {
	o := unlimited()
	o.OtherTypes, o.Odd = -1, -1
	s = newScene(t, kafka.Brokers(), o)
	s.env["KAFKA_SESSION_TIMEOUT"] = sessionTimeout.String()
	s.world.Org.Backfill(500, time.Now().Add(-20*time.Hour), time.Now())
	active = s.instance()
	s.awaited(30*time.Second, "the first replica is active", active.is("active"))
	standby = s.instance()
	s.awaited(30*time.Second, "the second one stands by", standby.is("standby"))
	for _, r := range []*instance{active, standby} {
		s.awaited(20*time.Second, "the page of each lists both", func() bool { return r.replicas() == "active standby" })
	}
	s.published(30 * time.Second)
	return s, active, standby
}

var replicaRole = regexp.MustCompile(`</bdi>.*? <span class="role ([a-z]+)">`)

// replicas are the roles of those that the status page lists.
func (r *instance) replicas() string {
	resp, err := http.Get("http://" + r.addr + "/")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	var roles []string
	for _, m := range replicaRole.FindAllSubmatch(page, -1) {
		roles = append(roles, string(m[1]))
	}
	slices.Sort(roles)
	return strings.Join(roles, " ")
}

// timely fails the test where an attempt takes too long three times: once may be
// the machine's fault.
func timely(t *testing.T, limit time.Duration, what string, attempt func() time.Duration) {
	t.Helper()
	for range 3 {
		took := attempt()
		t.Logf("published again %s after %s", took.Round(time.Millisecond), what)
		if took <= limit {
			return
		}
	}
	t.Errorf("that is more than %s each time", limit)
}

func testKilled(t *testing.T, kafka *kafkatest.Cluster) {
	timely(t, sessionTimeout+takeover, "kill -9, at a session timeout of "+sessionTimeout.String(), func() time.Duration {
		s, active, standby := pair(t, kafka)
		killed := time.Now()
		_ = active.end(syscall.SIGKILL)
		s.inKafka(sessionTimeout+30*time.Second, s.world.Org.Emit(20))
		took := time.Since(killed)
		s.published(20 * time.Second)
		s.alive(standby)
		return took
	})
}

func testStopped(t *testing.T, kafka *kafkatest.Cluster) {
	timely(t, takeover, "SIGTERM", func() time.Duration {
		s, active, standby := pair(t, kafka)
		stopped := time.Now()
		if err := active.end(syscall.SIGTERM); err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, tailOf(active.out.String()))
		}
		s.inKafka(30*time.Second, s.world.Org.Emit(20))
		took := time.Since(stopped)
		s.published(20 * time.Second)
		s.alive(standby)
		return took
	})
}

// testZombie freezes the active replica while it publishes, so that it may be in
// the middle of a transaction, lets the other take over, and thaws it.
func testZombie(t *testing.T, kafka *kafkatest.Cluster) {
	s, active, standby := pair(t, kafka)
	stop := s.emitting()
	defer stop()
	s.inKafka(30*time.Second, s.world.Org.Emit(1))
	_ = active.Process.Signal(syscall.SIGSTOP)
	frozen := time.Now()
	s.inKafka(sessionTimeout+30*time.Second, s.world.Org.Emit(1))
	t.Logf("published again %s after SIGSTOP", time.Since(frozen).Round(time.Millisecond))
	_ = active.Process.Signal(syscall.SIGCONT)
	s.awaited(30*time.Second, "the zombie stands by", active.is("standby"))
	s.awaited(30*time.Second, "the other is active", standby.is("active"))
	stop()
	s.published(60 * time.Second)
	s.alive(active, standby)

	// It is a standby like any other: it takes over again.
	if err := standby.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, tailOf(standby.out.String()))
	}
	s.inKafka(30*time.Second, s.world.Org.Emit(20))
	s.published(20 * time.Second)
	s.alive(active)
}

// testRollingRestart replaces three replicas one after the other while events happen.
func testRollingRestart(t *testing.T, kafka *kafkatest.Cluster) {
	s, first, second := pair(t, kafka)
	replicas := []*instance{first, second, s.instance()}
	stop := s.emitting()
	defer stop()
	for i, r := range replicas {
		if err := r.end(syscall.SIGTERM); err != nil {
			t.Errorf("replica %d after SIGTERM: %v\n%s", i, err, tailOf(r.out.String()))
		}
		replicas[i] = s.instance()
		s.awaited(30*time.Second, fmt.Sprintf("the new replica %d is warm", i), func() bool {
			return replicas[i].is("standby")() || replicas[i].is("active")()
		})
	}
	stop()
	s.published(60 * time.Second)
	active := 0
	for _, r := range replicas {
		s.alive(r)
		if r.is("active")() {
			active++
		}
	}
	if active != 1 {
		t.Errorf("%d replicas are active", active)
	}
}
