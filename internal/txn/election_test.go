package txn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The environment that turns the test binary into one replica.
const (
	replicaBrokers = "TXN_TEST_REPLICA_BROKERS"
	replicaSession = "TXN_TEST_REPLICA_SESSION"
	replicaName    = "TXN_TEST_REPLICA_NAME"
	replicaParts   = "TXN_TEST_REPLICA_PARTITIONS"
)

func TestMain(m *testing.M) {
	if brokers := os.Getenv(replicaBrokers); brokers != "" {
		partitions, _ := strconv.Atoi(os.Getenv(replicaParts))
		runReplica(strings.Split(brokers, ","), os.Getenv(replicaSession), int32(partitions))
		return
	}
	os.Exit(m.Run())
}

// runReplica takes part in an election until SIGTERM and prints a line whenever it leads or no longer does: with many
// partitions which one, and when.
func runReplica(brokers []string, session string, partitions int32) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	timeout, err := time.ParseDuration(session)
	if err != nil {
		panic(err)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), os.Stderr, zap.DebugLevel))
	c := Dial(Config{Brokers: brokers, ClientID: "replica", Logger: log})
	defer c.Close()
	group := "replicas"
	if partitions > 1 {
		group = fleetGroup
	}
	e := c.NewElection(ElectionConfig{
		GroupID: group, Name: os.Getenv(replicaName), Topic: topicLog, Partitions: partitions, SessionTimeout: timeout,
	})
	say := func(line string, partition int32) {
		if partitions > 1 {
			line = fmt.Sprintln(line, partition, time.Now().UnixNano())
		}
		fmt.Println(strings.TrimSpace(line))
	}
	fmt.Println("started")
	_ = e.Run(ctx, func(ctx context.Context, partition int32) error {
		say("leads", partition)
		<-ctx.Done()
		if partitions > 1 {
			time.Sleep(time.Duration(partition) * 5 * time.Millisecond) // what stops takes its time
		}
		say("lost", partition)
		return ctx.Err()
	})
	fmt.Println("left")
}

// replica is a process that takes part.
type replica struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines chan string
}

func startReplica(t *testing.T, name string, brokers []string, session time.Duration, env ...string) *replica {
	t.Helper()
	r := &replica{t: t, name: name, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1000)}
	r.cmd.Env = append(os.Environ(), replicaBrokers+"="+strings.Join(brokers, ","), replicaSession+"="+session.String(), replicaName+"="+name)
	r.cmd.Env = append(r.cmd.Env, env...)
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	logs := &strings.Builder{}
	r.cmd.Stderr = logs
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, logs)
		}
	})
	r.expect("started", 10*time.Second)
	return r
}

// expect waits for the next line and returns how long that took.
func (r *replica) expect(line string, limit time.Duration) time.Duration {
	r.t.Helper()
	began := time.Now()
	select {
	case got, ok := <-r.lines:
		if !ok || got != line {
			r.t.Fatalf("%s: %q (%v), not %q", r.name, got, ok, line)
		}
	case <-time.After(limit):
		r.t.Fatalf("%s: no %q within %v", r.name, line, limit)
	}
	return time.Since(began)
}

// quiet checks that the replica says nothing for a while.
func (r *replica) quiet(d time.Duration) {
	r.t.Helper()
	select {
	case got, ok := <-r.lines:
		r.t.Fatalf("%s: unexpected %q (%v)", r.name, got, ok)
	case <-time.After(d):
	}
}

func (r *replica) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// testElection goes through a replica's fates, on whatever broker.
func testElection(t *testing.T, brokers []string, session time.Duration) {
	const slack = 2 * time.Second
	a := startReplica(t, "a", brokers, session)
	a.expect("leads", 20*time.Second)
	b := startReplica(t, "b", brokers, session)
	c := startReplica(t, "c", brokers, session)
	// Newcomers take nothing from a live owner, in two rebalances or more.
	a.quiet(session)
	b.quiet(0)
	c.quiet(0)
	if got, want := described(t, brokers), "a(active) b c"; got != want {
		t.Errorf("the members of the group are %q, not %q", got, want)
	}

	// A graceful stop hands over at once, to exactly one.
	a.signal(syscall.SIGTERM)
	a.expect("lost", slack)
	a.expect("left", slack)
	next, other := whoLeads(t, slack, b, c)

	// kill -9: within the session time-out and 2 s.
	next.signal(os.Kill)
	took := other.expect("leads", session+slack)
	t.Logf("takeover after kill -9: %v, session %v", took.Round(time.Millisecond), session)

	// A frozen owner is replaced, and when it wakes it finds out and stands by.
	d := startReplica(t, "d", brokers, session)
	other.quiet(session / 2)
	other.signal(syscall.SIGSTOP)
	took = d.expect("leads", session+slack)
	t.Logf("takeover after SIGSTOP: %v", took.Round(time.Millisecond))
	other.signal(syscall.SIGCONT)
	other.expect("lost", slack)
	d.quiet(session)
	other.quiet(0)

	// The former zombie is a good standby.
	d.signal(syscall.SIGTERM)
	d.expect("lost", slack)
	other.expect("leads", slack)
}

// described is the group as others see it.
func described(t *testing.T, brokers []string) string {
	t.Helper()
	c := Dial(Config{Brokers: brokers, ClientID: "onlooker"})
	defer c.Close()
	members, err := c.GroupMembers(t.Context(), "replicas")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range members {
		if m.Active {
			m.Name += "(active)"
		}
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func whoLeads(t *testing.T, limit time.Duration, a, b *replica) (leader, other *replica) {
	t.Helper()
	select {
	case line := <-a.lines:
		if line != "leads" {
			t.Fatalf("%s: %q", a.name, line)
		}
		b.quiet(500 * time.Millisecond)
		return a, b
	case line := <-b.lines:
		if line != "leads" {
			t.Fatalf("%s: %q", b.name, line)
		}
		a.quiet(500 * time.Millisecond)
		return b, a
	case <-time.After(limit):
		t.Fatalf("nobody leads within %v", limit)
		return nil, nil
	}
}

func TestElectionAcrossProcesses(t *testing.T) {
	fake, _ := fakeKafka(t, 2, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	testElection(t, fake.ListenAddrs(), 2*time.Second)
}

// inProcess runs an election in the background and reports what lead does.
func inProcess(t *testing.T, c *Cluster, session time.Duration, lead func(context.Context) error) *Election {
	t.Helper()
	e := c.NewElection(ElectionConfig{GroupID: "replicas", Topic: topicLog, SessionTimeout: session})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx, func(ctx context.Context, _ int32) error { return lead(ctx) }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return e
}

func await[T any](t *testing.T, c <-chan T, limit time.Duration, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		t.Fatalf("%s: not within %v", what, limit)
		panic("unreachable")
	}
}

// A broker that is gone ends the leadership after a session, never Run; when it is back, so is the leadership.
func TestElectionOutlivesTheBroker(t *testing.T) {
	fake, proxy := fakeKafka(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	const session = time.Second
	began, ended := make(chan time.Time, 10), make(chan error, 10)
	e := inProcess(t, dialFake(t, fake), session, func(ctx context.Context) error {
		began <- time.Now()
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	})
	await(t, began, 10*time.Second, "leads")
	if e.Role() != RoleActive {
		t.Error(e.Role())
	}
	// A short cut is no reason to stop.
	proxy.Cut()
	select {
	case err := <-ended:
		t.Fatalf("a cut connection ended the leadership: %v", err)
	case <-time.After(2 * session):
	}
	gone := time.Now()
	proxy.Refuse(true)
	proxy.Cut()
	if err := await(t, ended, 3*session, "stops"); !errors.Is(err, errSessionLost) {
		t.Errorf("cause %v", err)
	}
	if took := time.Since(gone); took < session/2 {
		t.Errorf("stopped after %v, before a session was over", took)
	}
	proxy.Refuse(false)
	await(t, began, 15*time.Second, "leads again")
}

// When lead returns by itself, this replica hands over and stands by.
func TestElectionHandsOverWhenLeadReturns(t *testing.T) {
	fake, _ := fakeKafka(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	const session = 2 * time.Second
	fail, failed := make(chan error), make(chan time.Time, 10)
	first := inProcess(t, dialFake(t, fake), session, func(ctx context.Context) error {
		failed <- time.Now()
		select {
		case err := <-fail:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	await(t, failed, 10*time.Second, "leads")
	began := make(chan time.Time, 10)
	second := inProcess(t, dialFake(t, fake), session, func(ctx context.Context) error {
		began <- time.Now()
		<-ctx.Done()
		return ctx.Err()
	})
	for deadline := time.Now().Add(10 * time.Second); second.Role() != RoleStandby; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(second.Role())
		}
	}
	fail <- ErrFenced
	await(t, began, session, "the other leads")
	for deadline := time.Now().Add(10 * time.Second); first.Role() != RoleStandby; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(first.Role())
		}
	}
	if second.Role() != RoleActive {
		t.Error(second.Role())
	}
}
