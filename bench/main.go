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
// On the same stage it measures the floor (floor.go), for a figure alone says
// little of a machine that nobody knows: the ratio of the two does.
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
	if world := os.Getenv(floorVariable); world != "" {
		exit(serveFloor(world, o))
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
	// The floor goes before and after, for others may use the machine too.
	before, err := s.runFloor(ctx, o)
	if err != nil {
		return fmt.Errorf("the floor: %w", err)
	}
	full, err := s.run(ctx, "full", o.events, o.profile)
	if err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	floor, err := s.runFloor(ctx, o)
	if err != nil {
		return fmt.Errorf("the floor: %w", err)
	}
	floor.User, floor.System = (before.User+floor.User)/2, (before.System+floor.System)/2
	written, err := s.logBytes(ctx, "full")
	if err != nil {
		return err
	}
	floorWritten, err := s.logBytes(ctx, "floor")
	if err != nil {
		return err
	}
	n := float64(o.events)
	perEvent := func(cpu time.Duration) float64 { return float64(cpu.Nanoseconds()) / 1e3 / n }
	user, system := full.user-idle.user, full.system-idle.system
	print := func(what, unit string, connector, floor float64) {
		fmt.Printf("%-14s %12.1f %12.1f   %s\n", what, connector, floor, unit)
	}
	fmt.Printf("%-14s %12s %12s\n", "", "connector", "floor")
	print("throughput", "events/s", n/full.took.Seconds(), n/floor.Took.Seconds())
	print("CPU", "µs/event", perEvent(user+system), perEvent(floor.User+floor.System))
	print("  user", "µs/event", perEvent(user), perEvent(floor.User))
	print("  system", "µs/event", perEvent(system), perEvent(floor.System))
	print("records", "in the changes topic, an event", float64(full.changes)/n, 1)
	print("written", "bytes/event, compressed, all topics", float64(written)/n, float64(floorWritten)/n/2)
	print("memory", "MB resident at the end", full.rss, floor.RSS)
	print("memory", "MB resident at most", full.peak, floor.Peak)
	fmt.Printf("ratio %.2f: the connector's CPU time an event to the floor's; %d ms and %.1f MB are for its start\n",
		float64(user+system)/float64(floor.User+floor.System), (idle.user + idle.system).Milliseconds(), idle.peak)
	return nil
}
