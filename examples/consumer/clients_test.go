//go:build kafka

package consumer

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer/consumertest"
	"genesys-audit-connector/internal/kafkatest"
)

// TestClients runs the programs that docs/consuming.md shows, on real Apache Kafka.
func TestClients(t *testing.T) {
	if out, err := exec.Command("clients/install").CombinedOutput(); err != nil {
		t.Fatalf("clients/install: %v\n%s", err, out)
	}
	brokers := kafkatest.Start(t, kafkatest.Options{}).Brokers()
	binary := filepath.Join(t.TempDir(), "client")
	if out, err := exec.Command("go", "build", "-o", binary, "./clients").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, command := range map[string][]string{
		"python": {"../../.cache/clients/bin/python", "clients/consume.py"},
		"java":   {"java", "-XX:TieredStopAtLevel=1", "-cp", "../../.cache/java-client/*", "clients/Consume.java"},
		"go":     {binary},
	} {
		t.Run(name, func(t *testing.T) {
			topic := consumertest.On(t, brokers, name+".changes", nil)
			topic.Abort(topic.Events(10)...)
			ids := topic.Commit(topic.Events(50)...)
			topic.Abort(topic.Events(10)...)
			topic.Erase(ids[0])
			ids = append(ids, topic.Commit(topic.Events(50)...)...)
			var erased atomic.Value
			args := append(command[1:], strings.Join(brokers, ","), topic.Name, name, "../../schemas/configuration_change.avsc")
			child := exec.Command(command[0], args...)
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
			e := newEndpoint()
			ended := make(chan struct{})
			go func() { // ends with the child
				defer close(ended)
				for lines := bufio.NewScanner(out); lines.Scan(); {
					id, rest, _ := strings.Cut(lines.Text(), "\t")
					if rest == "" {
						t.Errorf("a line that is no change: %q", lines.Text())
					}
					if rest == "erased" {
						erased.Store(id)
						continue
					}
					e.mu.Lock()
					e.got[id]++
					e.mu.Unlock()
				}
			}()
			consumertest.Await(t, "all changes", 60*time.Second, func() bool { return e.has(ids) })
			// What ends a transaction is an offset that most clients do not commit.
			consumertest.Await(t, "offsets", 20*time.Second, func() bool {
				lag := topic.Lag(name)
				return lag >= 0 && lag <= consumertest.Partitions
			})
			_ = child.Process.Kill()
			<-ended
			e.judge(t, ids, 1)
			if erased.Load() != ids[0] {
				t.Errorf("erased: %v, want %s", erased.Load(), ids[0])
			}
		})
	}
}
