//go:build upgrade

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
)

// before is the last commit whose streams were one a service, those that realtime
// serves read by it alone.
const before = "4c7fc10"

// buildBefore builds the connector as it was.
func buildBefore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	archive, err := exec.Command("git", "-C", "../..", "archive", before).Output()
	if err != nil {
		t.Fatalf("git archive %s: %v; the test needs the history: git fetch --unshallow", before, err)
	}
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(archive)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary := filepath.Join(dir, "before")
	build := exec.Command("go", "build", "-o", binary, "./cmd/connector")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// TestUpgradeInPlace: the ledgers that an older version wrote are taken over. It is
// killed in the middle of its work; what it could not see is published, nothing
// twice; and whoever goes back to it gets a clear refusal, after which the newer
// version goes on.
func TestUpgradeInPlace(t *testing.T) {
	old := buildBefore(t)
	kafka := kafkatest.Start(t, kafkatest.Options{})
	for _, each := range []bool{false, true} {
		name := map[bool]string{false: "one query for all", true: "a query a service"}[each]
		t.Run(name, func(t *testing.T) {
			s := servicesOf(t, kafka.Brokers(), func(o *sandbox.Options) { o.RequireService = each })
			s.env["GENESYS_AUDIT_API"] = "auto"
			s.older = true
			s.world.Org.Backfill(3000, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute))
			r := s.instanceOf(old)
			s.awaited(time.Minute, "the old version leads", r.is("active"))
			stop := s.emitting()
			time.Sleep(15 * time.Second)
			if err := r.end(syscall.SIGKILL); err != nil {
				t.Log(err)
			}
			stop()
			missed := s.missing()
			if missed == 0 {
				t.Fatal("the old version has missed nothing: the test shows little")
			}
			t.Logf("the old version had not published %d events", missed)

			r = s.instanceOf(os.Args[0])
			s.awaited(time.Minute, "the new version leads", r.is("active"))
			stop = s.emitting()
			time.Sleep(3 * time.Second)
			stop()
			s.published(90 * time.Second)
			if err := r.end(syscall.SIGTERM); err != nil {
				t.Error(err)
			}

			r = s.instanceOf(old)
			ended := make(chan error, 1)
			go func() { ended <- r.Wait() }()
			select {
			case <-ended:
				said := r.out.String()
				if code := r.ProcessState.ExitCode(); code != 2 || !strings.Contains(said, "ledger") || !strings.Contains(said, "version") {
					t.Errorf("the old version ended with %d:\n%s", code, tailOf(said))
				}
				t.Log("the old version refuses the newer ledgers")
			case <-time.After(20 * time.Second):
				t.Log("the old version goes on")
				_ = r.Process.Signal(syscall.SIGTERM)
				<-ended
			}
			s.world.Org.Emit(50)
			r = s.instanceOf(os.Args[0])
			s.published(90 * time.Second)
			if err := r.end(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		})
	}
}

// missing counts the events that are visible and not in Kafka.
func (s *scene) missing() (n int) {
	s.Helper()
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "") // the old version has no evidence log
	if err != nil {
		s.Fatal(err)
	}
	_, visible, _ := s.world.Org.Counts()
	return visible - len(c.raw)
}
