//go:build kafka

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/kafkatest"
)

// BenchmarkFleet runs FLEET_ORGS (50) organisations, each with an event every 10 s, on one
// replica and real Kafka, and prints what that costs. The organisations are in a process of their own.
func BenchmarkFleet(b *testing.B) {
	count := fleetOrgs(b, 50)
	for b.Loop() {
		measureFleet(b, count, 40*time.Second)
	}
}

func measureFleet(b *testing.B, count int, length time.Duration) {
	kafka := kafkatest.Start(b, kafkatest.Options{})
	urls := spawnWorlds(b, worldOptions{Count: count, History: 20, Every: 10 * time.Second})
	s := newFleetScene(b, kafka.Brokers(), 0, 0)
	s.writeURLs(urls)
	s.env["POLL_INTERVAL"], s.env["POLL_OVERLAP"], s.env["SWEEP_AGES"] = "5s", "2m", "10m,1h"
	s.env["KAFKA_OFFSETS_PARTITIONS"], s.env["KAFKA_SESSION_TIMEOUT"] = "12", "10s"
	s.env["GENESYS_RATE_LIMIT"] = "300/1m"

	began := time.Now()
	r := s.instance()
	seen := s.tailRaw(b)
	s.until(2*time.Minute, "every organisation is published", func() bool { return seen.organisations() == count })
	started := time.Since(began)
	time.Sleep(15 * time.Second) // the history is read by then

	seen.reset()
	cpu, commits := processCPU(b, r.Process.Pid), s.metric(r, "genesys_audit_transactions_total{")
	time.Sleep(length)
	cpu = processCPU(b, r.Process.Pid) - cpu
	commits = s.metric(r, "genesys_audit_transactions_total{") - commits
	latencies := seen.latencies()
	rss := processRSS(b, r.Process.Pid)
	if err := r.end(syscall.SIGTERM); err != nil {
		b.Errorf("%v: %s", err, tailOf(r.out.String()))
	}
	at := func(q float64) float64 { return latencies[int(q*float64(len(latencies)-1))].Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(started.Seconds(), "start-s")
	b.ReportMetric(100*cpu.Seconds()/length.Seconds(), "%core")
	b.ReportMetric(float64(rss)/1e6, "MB")
	b.ReportMetric(float64(rss)/1e6/float64(count), "MB/org")
	b.ReportMetric(float64(len(latencies)), "events")
	b.ReportMetric(at(0.5), "p50-s")
	b.ReportMetric(at(0.99), "p99-s")
	b.ReportMetric(commits/length.Minutes()/float64(count), "transactions/org/min")
}

// arrivals are the raw records as they arrive at a consumer.
type arrivals struct {
	mu   sync.Mutex
	orgs map[string]bool
	late []time.Duration // since the event
}

// tailRaw reads the raw topic until the benchmark ends.
func (s *fleetScene) tailRaw(t testing.TB) *arrivals {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(s.env["KAFKA_TOPIC_RAW"]),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	a := &arrivals{orgs: make(map[string]bool)}
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(a.add)
		}
	})
	t.Cleanup(func() { cancel(); reading.Wait(); client.Close() })
	return a
}

func (a *arrivals) add(r *kgo.Record) {
	at, err := time.Parse(time.RFC3339, headerOf(r, "event-time"))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orgs[headerOf(r, "org")] = true
	if err == nil {
		a.late = append(a.late, time.Since(at))
	}
}

func (a *arrivals) organisations() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.orgs)
}

func (a *arrivals) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.late = nil
	clear(a.orgs)
}

func (a *arrivals) latencies() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(slices.Values(a.late))
}

// metric is the sum of a metric's series.
func (s *fleetScene) metric(r *instance, prefix string) (sum float64) {
	s.Helper()
	s.addr = r.addr
	body, err := (&play{scene: s.scene}).get("/metrics")
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				s.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// processCPU is what a process has used, in units of the kernel's clock (100 a second on Linux).
func processCPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// processRSS is its resident memory in bytes.
func processRSS(t testing.TB, pid int) int64 {
	t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
