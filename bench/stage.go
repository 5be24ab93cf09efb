package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
)

// worldVariable makes this program the simulated organisation: it starts itself
// again with it.
const worldVariable = "BENCH_WORLD"

// historySpan is what the events are spread over. A backfill of a day holds it.
const historySpan = 23 * time.Hour

// serveWorld is the organisation, until it is killed. It limits nobody and has no odd events.
func serveWorld(events int) error {
	none := sandbox.Limit{Requests: -1}
	return sandbox.Serve(context.Background(), sandbox.ServerOptions{
		Options: sandbox.Options{Seed: 1, AuditlogsLimit: none, PlatformLimit: none, Odd: -1, OtherTypes: -1},
		History: events, HistorySpan: historySpan, Ready: os.Stdout,
	})
}

// stage is everything around the connector. Its processes end with it.
type stage struct {
	brokers   []string
	world     string // the organisation's address
	connector string // the binary
	cleanups  []func()
}

func newStage(ctx context.Context, o options) (*stage, error) {
	s := new(stage)
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return s, err
	}
	s.cleanups = append(s.cleanups, func() { _ = os.RemoveAll(dir) })
	s.connector = filepath.Join(dir, "connector")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.connector, "genesys-audit-connector/cmd/connector")
	if out, err := build.CombinedOutput(); err != nil {
		return s, fmt.Errorf("build the connector: %w\n%s", err, out)
	}
	if o.brokers != "" {
		s.brokers = strings.Split(o.brokers, ",")
	} else {
		s.brokers = kafkatest.Start(&owner{stage: s, dir: dir}, kafkatest.Options{}).Brokers()
	}
	return s, s.startWorld(ctx, o)
}

func (s *stage) close() {
	for len(s.cleanups) > 0 {
		last := len(s.cleanups) - 1
		cleanup := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		cleanup()
	}
}

// owner lets kafkatest, which is made for tests, belong to a stage.
type owner struct {
	testing.TB // nil: kafkatest needs no more than what follows
	stage      *stage
	dir        string
}

func (o *owner) Helper()           {}
func (o *owner) Cleanup(f func())  { o.stage.cleanups = append(o.stage.cleanups, f) }
func (o *owner) Fatal(args ...any) { o.stage.close(); exit(errors.New(fmt.Sprint(args...))) }
func (o *owner) Fatalf(format string, args ...any) {
	o.stage.close()
	exit(fmt.Errorf(format, args...))
}

func (o *owner) TempDir() string {
	dir, err := os.MkdirTemp(o.dir, "kafka")
	if err != nil {
		o.Fatal(err)
	}
	return dir
}

// startWorld starts the organisation and waits until it has made its events.
func (s *stage) startWorld(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self, "-events", strconv.Itoa(o.events))
	c.Env = append(os.Environ(), worldVariable+"=1")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start the organisation: %w", err)
	}
	s.cleanups = append(s.cleanups, func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
	var ready struct {
		API string `json:"api"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		return fmt.Errorf("the organisation did not say where it is: %w", err)
	}
	s.world = ready.API
	return nil
}

// topics are those that a run writes to.
func topics(run string) (raw, changes, offsets string) {
	return "bench." + run + ".raw", "bench." + run + ".changes", "bench." + run + ".offsets"
}

// logBytes is what a run has left in the brokers' logs, one replica of it.
func (s *stage) logBytes(ctx context.Context, run string) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var wanted kadm.TopicsSet
	raw, changes, offsets := topics(run)
	partitions := map[string]int32{raw: 3, changes: 3}
	if run != "floor" {
		partitions[offsets] = 1
	}
	for topic, partitions := range partitions {
		for p := range partitions {
			wanted.Add(topic, p)
		}
	}
	logs, err := kadm.NewClient(client).DescribeAllLogDirs(ctx, wanted)
	if err != nil {
		return 0, fmt.Errorf("size of the topics: %w", err)
	}
	largest := map[string]int64{}
	for _, byDir := range logs {
		for _, p := range byDir.SortedPartitions() {
			key := fmt.Sprint(p.Topic, p.Partition)
			largest[key] = max(largest[key], p.Size)
		}
	}
	var sum int64
	for _, size := range largest {
		sum += size
	}
	return sum, nil
}
