package main

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestIdleCostsFewTransactions: polls that find nothing commit nothing by themselves. What
// they covered goes with the next event, and with the end of the process.
func TestIdleCostsFewTransactions(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil, unlimited())
	a, stop := s.start()
	s.published(20 * time.Second)
	s.world.Org.Emit(1)
	s.published(20 * time.Second)
	before, _ := s.transactions()
	polls := s.requests()
	time.Sleep(3 * time.Second)
	after, _ := s.transactions()
	polls = s.requests() - polls
	if polls < 8 || after-before > 1 { // one where it is half a minute after the start
		t.Errorf("%d requests that found nothing took %d transactions", polls, after-before)
	}
	for _, stream := range a.Snapshot().Streams {
		if stream.Lag > 2*time.Second {
			t.Errorf("%s is %s behind, it is said", stream.Name, stream.Lag)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if end, _ := s.transactions(); end != after+1 {
		t.Errorf("the end of the process took %d transactions", end-after)
	}
}

// requests is how many the organisation has answered.
func (s *scene) requests() (n int) {
	for _, byStatus := range s.world.Org.Stats().Requests {
		for _, count := range byStatus {
			n += count
		}
	}
	return n
}

// BenchmarkIdle prints what an organisation costs in which nothing happens: of a process of
// its own the CPU time and the transactions, and what one more takes of a process' memory,
// what the simulated broker and API need for it among it.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		s := newScene(b, nil, unlimited())
		s.env["POLL_INTERVAL"], s.env["POLL_OVERLAP"], s.env["SWEEP_AGES"] = "5s", "2m", "10m,1h"
		c := s.instance()
		s.awaited(30*time.Second, "the connector is active", c.is("active"))
		time.Sleep(10 * time.Second)
		cpu := cpuOf(b, c.Process.Pid)
		before, _ := s.transactions()
		time.Sleep(time.Minute)
		after, _ := s.transactions()
		b.ReportMetric(float64((cpuOf(b, c.Process.Pid) - cpu).Milliseconds()), "CPU-ms/min")
		b.ReportMetric(float64(after-before), "transactions/min")
		_ = c.end(syscall.SIGTERM)
		b.ReportMetric(float64(s.heapOfOrganisations(20))/20, "bytes/organisation")
	}
}

// heapOfOrganisations is how much memory n organisations take in one process.
func (s *scene) heapOfOrganisations(n int) uint64 {
	topics := maps.Clone(s.env)
	var apps []*app
	before := held()
	for i := range n {
		for key, value := range topics {
			if strings.HasPrefix(key, "KAFKA_TOPIC_") || key == "KAFKA_GROUP_ID" {
				s.env[key] = fmt.Sprint(value, i)
			}
		}
		a, _ := s.start()
		apps = append(apps, a)
	}
	for _, a := range apps {
		s.awaited(30*time.Second, "all are polled", func() bool {
			streams := a.Snapshot().Streams
			return len(streams) > 0 && !streams[0].LastPoll.IsZero()
		})
	}
	return held() - before
}

func held() uint64 {
	var m runtime.MemStats
	for range 4 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// cpuOf is the CPU time that a process has used (proc_pid_stat(5)).
func cpuOf(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	var user, system int
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	if _, err := fmt.Sscan(fields[12]+" "+fields[13], &user, &system); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
}
