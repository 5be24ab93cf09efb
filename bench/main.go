// Command bench measures what an audit event costs: a built connector backfills
// a simulated organisation into a real Apache Kafka, both topics, with lz4,
// transactions and dedupe, and bench prints CPU time, throughput and memory.
//
//	go run ./bench
//
// Organisation, broker and connector are processes of their own, so that the
// figures are the connector's alone. What it costs to start it (the election,
// loading the offsets topic, the login) is measured first, with nothing to
// read, and taken off.
//
// It promises figures, not a verdict: it fails where the connector does, never
// because that is slow. It refuses to know the connector's inside.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

type options struct {
	events  int
	brokers string
	profile string
	timeout time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.events, "events", 200_000, "how many events to backfill")
	flag.StringVar(&o.brokers, "brokers", "", "an existing Kafka, host:port[,...]; otherwise one is started (needs scripts/kafka-install)")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of the backfill, by perf(1)")
	flag.DurationVar(&o.timeout, "timeout", 4*time.Minute, "when to give up")
	flag.Parse()
	if os.Getenv(worldVariable) != "" {
		exit(serveWorld(o.events))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	exit(bench(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench sets the stage, measures both runs, and prints.
func bench(ctx context.Context, o options) error {
	s, err := newStage(ctx, o)
	defer s.close()
	if err != nil {
		return err
	}
	fmt.Printf("%d events, Go %s, %d processors\n", o.events, runtime.Version(), runtime.NumCPU())
	idle, err := s.run(ctx, "idle", 0, "")
	if err != nil {
		return fmt.Errorf("with nothing to read: %w", err)
	}
	full, err := s.run(ctx, "full", o.events, o.profile)
	if err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	written, err := s.logBytes(ctx, "full")
	if err != nil {
		return err
	}
	perEvent := func(cpu time.Duration) float64 { return float64(cpu.Nanoseconds()) / 1e3 / float64(o.events) }
	n := float64(o.events)
	fmt.Printf("throughput   %8.0f events/s, %.1f s; %.1f change records an event\n", n/full.took.Seconds(), full.took.Seconds(), float64(full.changes)/n)
	fmt.Printf("CPU          %8.1f µs/event (user %.1f, system %.1f), less %d ms for the start\n",
		perEvent(full.user+full.system-idle.user-idle.system), perEvent(full.user-idle.user), perEvent(full.system-idle.system),
		(idle.user + idle.system).Milliseconds())
	fmt.Printf("written      %8.0f bytes/event, %.1f MB in the logs of the three topics\n", float64(written)/n, float64(written)/1e6)
	fmt.Printf("memory       %8.1f MB resident at the end, at most %.1f MB; %.1f MB with nothing to read\n", full.rss, full.peak, idle.peak)
	return nil
}
