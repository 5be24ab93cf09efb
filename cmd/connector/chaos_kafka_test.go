//go:build kafka

package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
)

// TestChaos lets everything go wrong at once, for CHAOS_MINUTES (5), in an order
// that CHAOS_SEED repeats: replicas of the connector are killed, frozen and
// stopped, brokers are killed and frozen, connections are cut, delayed and
// refused, and every tenth request to the API has a fault, or it does for some
// seconds what apiTroubles lists; all the while events are made, many of them
// late. Then each event must be in Kafka once. An odd seed's API serves only the
// dialects of services.
//
// A seed repeats what is done and when, not how the processes are scheduled.
func TestChaos(t *testing.T) {
	seed, length := chaosSettings(t)
	t.Logf("seed %d, %s (set CHAOS_SEED and CHAOS_MINUTES to repeat)", seed, length)
	c := newChaos(t, seed)
	for i := range c.replicas {
		c.replicas[i].child = c.spawn("run")
	}
	c.until(time.Minute, "the first events", func() bool { return c.rawEnd() > 0 })
	c.rage(chaosPlan(rand.New(rand.NewPCG(seed, 1)), length))
	c.calm()
	c.prove()
}

func chaosSettings(t *testing.T) (seed uint64, length time.Duration) {
	seed, length = uint64(time.Now().UnixNano()), 5*time.Minute
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	if text := os.Getenv("CHAOS_MINUTES"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		length = time.Duration(n * float64(time.Minute))
	}
	return seed, length
}

// move is one thing that goes wrong.
type move struct {
	after  time.Duration // the move before
	what   string
	target int           // replica or broker
	hold   time.Duration // until it is undone
	key    int16         // of the request that is cut
	when   kafkatest.When
	events int // that are made first
	api    int // which of the API's troubles
}

// moves are what can go wrong, each as often as it stands here.
var moves = []string{
	"kill replica", "kill replica", "kill replica", "freeze replica", "freeze replica", "stop replica",
	"kill broker", "freeze broker",
	"cut request", "cut request", "cut request", "cut request", "cut all", "delay", "refuse",
	"API", "API", "API", "API",
}

// cuttable are the requests whose connection is cut, on the way there or back.
var cuttable = []kmsg.Key{
	kmsg.EndTxn, kmsg.EndTxn, kmsg.EndTxn, kmsg.Produce, kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.AddPartitionsToTxn,
	kmsg.InitProducerID, kmsg.InitProducerID, kmsg.FindCoordinator, kmsg.Metadata, kmsg.Fetch, kmsg.ListOffsets,
	kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat,
}

// chaosPlan depends on nothing but the dice.
func chaosPlan(dice *rand.Rand, length time.Duration) []move {
	between := func(a, b time.Duration) time.Duration { return a + time.Duration(dice.Int64N(int64(b-a))) }
	var plan []move
	for left := length; left > 0; {
		m := move{
			after: between(100*time.Millisecond, 2*time.Second), what: moves[dice.IntN(len(moves))],
			target: dice.IntN(3), hold: between(100*time.Millisecond, 6*time.Second),
			key: int16(cuttable[dice.IntN(len(cuttable))]), when: kafkatest.When(dice.IntN(2)), events: dice.IntN(40),
			api: dice.Int(),
		}
		if dice.IntN(20) == 0 {
			m.events = 1500 // more than a page
		}
		plan = append(plan, m)
		left -= m.after
	}
	return plan
}

// sweepAges of the chaos: events are shown up to latest late, which is within.
const (
	chaosSweeps = "4s,20s"
	latest      = 10 * time.Second
)

type chaos struct {
	*scene
	kafka    *kafkatest.Cluster
	seed     uint64
	began    time.Time
	replicas [3]struct {
		sync.Mutex // held while it is down
		child      *child
	}
	broker, network sync.Mutex // held while one of them is troubled
	clock           sync.Mutex // held while the API's is wrong
	undoing         sync.WaitGroup

	emitted []string
	cuts    []<-chan struct{}

	mu      sync.Mutex // protects what follows, and spawning
	figures map[string]int
	diary   []string
}

func newChaos(t *testing.T, seed uint64) *chaos {
	kafka := kafkatest.Start(t, kafkatest.Options{Nodes: 3, Proxy: true})
	o := unlimited()
	o.Seed, o.OtherTypes, o.Odd, o.Latency = seed, -1, -1, 2*time.Millisecond
	o.Lateness = sandbox.Lateness{Probability: 0.3, Min: 100 * time.Millisecond, Max: latest}
	api, served := chaosAPI(seed)
	o.Dialects = served
	c := &chaos{scene: newScene(t, kafka.Brokers(), o), kafka: kafka, seed: seed, began: time.Now(), figures: map[string]int{}}
	maps.Copy(c.env, map[string]string{"SWEEP_AGES": chaosSweeps, "BACKFILL_CHUNK": "3h", "KAFKA_SESSION_TIMEOUT": "3s", "GENESYS_AUDIT_API": api})
	org := c.world.Org
	c.emitted = org.Backfill(20_000, c.began.Add(-23*time.Hour), c.began.Add(-time.Second))
	for i, name := range sandbox.Oddities() {
		if api != "auditlogs" {
			break // there, what has no usable id has another one than Org says
		}
		keys, err := org.EmitOdd(c.began.Add(-time.Duration(i)*time.Minute), name)
		if err != nil {
			t.Fatal(err)
		}
		c.emitted = append(c.emitted, keys...)
	}
	if err := org.Inject(chaosFaults(api)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for i := range c.replicas {
			if child := c.replicas[i].child; child != nil && child.ProcessState == nil {
				_ = child.end(syscall.SIGKILL)
			}
		}
		if t.Failed() {
			t.Logf("what was done:\n%s", strings.Join(c.diary, "\n"))
		}
	})
	return c
}

// chaosFaults are all that the API does to a request, each once in the
// beginning and seldom from then on.
func chaosFaults(api string) []sandbox.Fault {
	const each = 0.006
	faults := sandbox.RandomFaults(each)
	for _, f := range []sandbox.Fault{
		{Kind: sandbox.Redirect}, {Kind: sandbox.StuckPage, Page: "later"}, {Kind: sandbox.Hang, Delay: 5 * time.Second},
		{Kind: sandbox.WrongDate, Shift: time.Hour}, {Kind: sandbox.WrongDate, Shift: -time.Hour}, {Kind: sandbox.WrongDate},
		{Kind: sandbox.TooMany, RetryAfter: time.Second, HTTPDate: true}, // Of many streams, requests that are under way already would double the ban to minutes.
		{Kind: sandbox.TooMany, RetryAfter: time.Second, Escalate: api == "auditlogs"},
	} {
		f.Probability = each
		faults = append(faults, f)
	}
	for _, f := range []sandbox.Fault{
		{Kind: sandbox.StatusCode}, {Kind: sandbox.ResetBefore}, {Kind: sandbox.ResetAfter}, {Kind: sandbox.HTML}, {Kind: sandbox.EmptyBody},
	} {
		f.Endpoint, f.Probability = sandbox.EndpointToken, 0.05
		faults = append(faults, f)
	}
	var once []sandbox.Fault
	for i, f := range faults {
		f.Probability, f.Count, f.Skip = 0, 1, 4*i // requests apart
		if f.Endpoint == sandbox.EndpointToken {
			f.Skip = 0
		}
		once = append(once, f)
	}
	return append(once, faults...)
}

// rage carries out the plan. What is hit while it is down already is left alone.
func (c *chaos) rage(plan []move) {
	for _, m := range plan {
		time.Sleep(m.after)
		c.emitted = append(c.emitted, c.world.Org.Emit(m.events)...)
		switch m.what {
		case "kill replica", "stop replica", "freeze replica":
			c.troubleReplica(m)
		case "kill broker", "freeze broker":
			c.troubleBroker(m)
		case "cut request":
			c.note(m, fmt.Sprintf("%s, %s it was applied", kmsg.NameForKey(m.key), m.when))
			c.cuts = append(c.cuts, c.kafka.Proxy.CutOnce(m.key, m.when))
		case "cut all":
			c.note(m, "")
			c.kafka.Proxy.Cut()
		case "API":
			c.troubleAPI(m)
		default:
			c.troubleNetwork(m)
		}
	}
}

// note keeps what was done, for the figures and for whoever looks for a cause.
func (c *chaos) note(m move, more string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures[m.what]++
	c.diary = append(c.diary, fmt.Sprintf("%8s %s %d for %s %s", time.Since(c.began).Round(time.Millisecond), m.what, m.target, m.hold, more))
}

// undo runs f after the move's time is over.
func (c *chaos) undo(m move, f func()) {
	c.undoing.Go(func() {
		time.Sleep(m.hold)
		f()
	})
}

func (c *chaos) troubleReplica(m move) {
	r := &c.replicas[m.target]
	if !r.TryLock() {
		return
	}
	c.note(m, "")
	switch m.what {
	case "freeze replica":
		_ = r.child.Process.Signal(syscall.SIGSTOP)
		c.undo(m, func() { defer r.Unlock(); _ = r.child.Process.Signal(syscall.SIGCONT) })
	case "kill replica":
		c.ended(r.child, syscall.SIGKILL)
		c.undo(m, func() { defer r.Unlock(); r.child = c.revive() })
	case "stop replica":
		c.undoing.Go(func() {
			defer r.Unlock()
			c.ended(r.child, syscall.SIGTERM)
			time.Sleep(m.hold)
			r.child = c.revive()
		})
	}
}

func (c *chaos) revive() *child {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spawn("run")
}

// ended ends a replica. None may have ended by itself, nor, once it has said its
// first word and so listens for signals, end by SIGTERM in any way but its own.
func (c *chaos) ended(r *child, sig syscall.Signal) {
	listens := r.out.String() != ""
	err := r.end(sig)
	if exited := r.ProcessState.Exited(); exited != (sig == syscall.SIGTERM) && (exited || listens) || exited && err != nil {
		c.Errorf("a replica ended with %v at %v:\n%s", err, sig, tailOf(r.out.String()))
	}
}

func (c *chaos) troubleBroker(m move) {
	if !c.broker.TryLock() {
		return
	}
	c.note(m, "")
	if m.what == "freeze broker" {
		c.kafka.Pause(m.target)
		c.undo(m, func() { defer c.broker.Unlock(); c.kafka.Resume(m.target) })
		return
	}
	c.kafka.Kill(m.target)
	c.undo(m, func() { defer c.broker.Unlock(); c.kafka.Restart(m.target) })
}

func (c *chaos) troubleNetwork(m move) {
	if !c.network.TryLock() {
		return
	}
	c.note(m, "")
	if m.what == "delay" {
		c.kafka.Proxy.Delay(m.hold / 20)
		c.undo(m, func() { defer c.network.Unlock(); c.kafka.Proxy.Delay(0) })
		return
	}
	c.kafka.Proxy.Refuse(true)
	c.kafka.Proxy.Cut()
	c.undo(m, func() { defer c.network.Unlock(); c.kafka.Proxy.Refuse(false) })
}

// calm ends all trouble and waits until the connector says that it has read everything.
func (c *chaos) calm() {
	end := time.Now()
	c.undoing.Wait()
	c.world.Org.ClearFaults()
	c.kafka.Proxy.Clear()
	for _, fired := range c.cuts {
		if closed(fired) {
			c.figures["requests that were cut"]++
		}
	}
	calm := time.Now()
	for deadline := calm.Add(4 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		behind := c.behind(end, end)
		if behind == "" {
			break
		}
		if time.Now().After(deadline) {
			c.Fatalf("not caught up: %s; a replica said:\n%s", behind, tailOf(c.child.out.String()))
		}
	}
	c.Logf("caught up %s after the last trouble", time.Since(calm).Round(time.Second))
}

// prove holds what an independent reader and verify find against what was made.
func (c *chaos) prove() {
	struck := c.world.Org.Stats().Faults
	if strays := c.judged("after the chaos"); strays > 0 {
		c.Logf("%d late events in old time, which are for verify to repair", strays)
		if most := 6 * struck[sandbox.MovingPages]; strays > most {
			c.Errorf("moving pages explain %d of them", most)
		}
		c.run("verify", "--repair")
	}
	for i := range c.replicas {
		c.ended(c.replicas[i].child, syscall.SIGTERM)
	}
	c.Logf("connector verify:\n%s", c.run("verify"))
	if strays := c.judged("after verify"); strays > 0 {
		c.Errorf("%d late events are still missing", strays)
	}
	made, visible, seen := c.world.Org.Counts()
	if made != visible || visible != seen {
		c.Errorf("%d events made, %d visible, %d shown", made, visible, seen)
	}
	c.print(made, struck)
}

// judged fails the test for whatever is wrong, but for strays: the fault "moving
// pages" makes events that appear, at this moment, at a time long past. One that
// appears where all was read, and swept for the last time, is met by no reading
// that publishes, though a look at the filter or a fenced replica may be shown it.
func (c *chaos) judged(when string) (strays int) {
	content, err := readContent(c.brokers, c.env["KAFKA_TOPIC_RAW"], c.env["KAFKA_TOPIC_CHANGES"], c.env["KAFKA_TOPIC_EVIDENCE"])
	if err != nil {
		c.Fatal(err)
	}
	shown, ours := c.world.Org.Shown(), map[string]bool{}
	for _, id := range c.emitted {
		ours[id] = true
		if _, ok := shown[id]; !ok {
			c.Errorf("%s: %q was made and never read", when, id)
		}
	}
	v := judge(content, shown)
	_, visible, seen := c.world.Org.Counts()
	strays = visible - seen + len(v.missing)
	v.missing = slices.DeleteFunc(v.missing, func(id string) bool { return !ours[id] })
	if !v.ok() {
		c.Errorf("%s: %s; a replica said:\n%s", when, v, tailOf(c.child.out.String()))
	}
	return strays - len(v.missing)
}

// run runs a command, which has to end with 0.
func (c *chaos) run(args ...string) string {
	child := c.spawn(args...)
	limit := time.AfterFunc(2*time.Minute, func() { _ = child.Process.Kill() })
	defer limit.Stop()
	if err := child.Wait(); err != nil {
		c.Errorf("connector %s: %v", strings.Join(args, " "), err)
	}
	return child.out.String()
}

func (c *chaos) print(events int, struck map[sandbox.FaultKind]int) {
	records, err := readLog(c.Context(), c.brokers, c.env["KAFKA_TOPIC_OFFSETS"])
	if err != nil {
		c.Fatal(err)
	}
	for _, r := range records { // each transaction writes here, and ends with a marker: 0 aborted, 1 committed
		if r.Attrs.IsControl() {
			outcome := []string{"transactions aborted", "transactions committed"}[binary.BigEndian.Uint16(r.Key[2:])]
			c.figures[outcome]++
		}
	}
	c.figures["events"] = events
	line := func(name string, n int) string { return fmt.Sprintf("%8d  %s", n, name) }
	lines := []string{}
	for _, name := range slices.Sorted(maps.Keys(c.figures)) {
		lines = append(lines, line(name, c.figures[name]))
	}
	sum := 0
	for _, kind := range slices.Sorted(maps.Keys(struck)) {
		sum += struck[kind]
		lines = append(lines, line("API fault "+string(kind), struck[kind]))
	}
	for _, kind := range sandbox.FaultKinds {
		if struck[kind] == 0 {
			lines = append(lines, line("API fault "+string(kind), 0))
		}
	}
	c.Logf("seed %d, %s:\n%s\n%s", c.seed, time.Since(c.began).Round(time.Second), strings.Join(lines, "\n"), line("API faults in all", sum))
}
