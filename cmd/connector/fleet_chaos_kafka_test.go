//go:build kafka

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/kafkatest"
)

// TestFleetChaos is TestChaos for FLEET_ORGS (12) organisations on three replicas, for
// FLEET_MINUTES (1) in an order that CHAOS_SEED repeats. Instead of the API, ORGS_FILE is
// troubled: organisations go, come back, have wrong credentials and other settings. At the
// end each event of each organisation must be in Kafka once, and each log of evidence whole.
func TestFleetChaos(t *testing.T) {
	seed, _ := chaosSettings(t)
	length := time.Minute
	if text := os.Getenv("FLEET_MINUTES"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		length = time.Duration(n * float64(time.Minute))
	}
	t.Logf("seed %d, %s (set CHAOS_SEED, FLEET_MINUTES and FLEET_ORGS to repeat)", seed, length)
	c := newFleetChaos(t, seed, fleetOrgs(t, 12))
	for i := range c.replicas {
		c.replicas[i].child = c.spawn("run")
	}
	c.rage(chaosPlan(rand.New(rand.NewPCG(seed, 1)), length))
	c.undoing.Wait()
	c.kafka.Proxy.Clear()
	clear(c.fleet.broken)
	clear(c.fleet.intervals)
	c.fleet.write(c.fleet.names()...)
	calm := time.Now()
	c.fleet.complete(4*time.Minute, c.fleet.names()...)
	events := 0
	for _, world := range c.fleet.worlds {
		events += len(world.Org.Shown())
	}
	t.Logf("%d organisations, %d events, %v; complete %s after it was calm", len(c.fleet.worlds), events, c.figures, time.Since(calm).Round(time.Second))
}

// fleetOrgs is how many organisations there are to be.
func fleetOrgs(t testing.TB, usual int) int {
	t.Helper()
	text := os.Getenv("FLEET_ORGS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

type fleetChaos struct {
	*chaos
	fleet *fleetScene
	there []string // in ORGS_FILE
	dice  *rand.Rand
}

func newFleetChaos(t *testing.T, seed uint64, count int) *fleetChaos {
	kafka := kafkatest.Start(t, kafkatest.Options{Nodes: 3, Proxy: true})
	s := newFleetScene(t, kafka.Brokers(), count, 500)
	s.env["KAFKA_SESSION_TIMEOUT"], s.env["KAFKA_OFFSETS_PARTITIONS"] = "3s", "12"
	s.env["SWEEP_AGES"] = chaosSweeps
	c := &fleetChaos{
		chaos: &chaos{scene: s.scene, kafka: kafka, seed: seed, began: time.Now(), figures: map[string]int{}},
		fleet: s, there: s.names(), dice: rand.New(rand.NewPCG(seed, 2)),
	}
	t.Cleanup(func() {
		for i := range c.replicas {
			if child := c.replicas[i].child; child != nil && child.ProcessState == nil {
				_ = child.Process.Signal(syscall.SIGCONT)
				_ = child.end(syscall.SIGKILL)
			}
			if t.Failed() {
				t.Logf("replica %d:\n%s", i, tailOf(c.replicas[i].child.out.String()))
			}
		}
	})
	return c
}

// rage carries out the plan. What is hit while it is down already is left alone.
func (c *fleetChaos) rage(plan []move) {
	for _, m := range plan {
		time.Sleep(m.after)
		for range 3 {
			names := c.fleet.names()
			c.fleet.worlds[names[c.dice.IntN(len(names))]].Org.Emit(min(m.events, 40))
		}
		switch m.what {
		case "kill replica", "stop replica", "freeze replica":
			c.troubleReplica(m)
		case "kill broker", "freeze broker":
			c.troubleBroker(m)
		case "cut request":
			c.note(m, fmt.Sprintf("%s, %s it was applied", kmsg.NameForKey(m.key), m.when))
			c.kafka.Proxy.CutOnce(m.key, m.when)
		case "cut all":
			c.note(m, "")
			c.kafka.Proxy.Cut()
		case "API":
			c.edit(m)
		default:
			c.troubleNetwork(m)
		}
	}
}

// edit changes ORGS_FILE.
func (c *fleetChaos) edit(m move) {
	names := c.fleet.names()
	name := names[c.dice.IntN(len(names))]
	what := ""
	switch c.dice.IntN(3) {
	case 0: // it goes, or comes back
		if i := slices.Index(c.there, name); i >= 0 && len(c.there) > 1 {
			what, c.there = "removed", slices.Delete(c.there, i, i+1)
		} else if i < 0 {
			what, c.there = "added", append(c.there, name)
		}
	case 1:
		what = "other credentials"
		c.fleet.broken[name] = !c.fleet.broken[name]
	case 2:
		what = "another interval"
		c.fleet.intervals[name] = time.Duration(200+c.dice.IntN(300)) * time.Millisecond
	}
	c.note(move{what: "edit", target: m.target}, name+" "+what)
	c.fleet.write(c.there...)
}

// TestFleetTakeover kills one of three replicas on real Kafka. All that it led is led again
// within the session time-out and two seconds.
func TestFleetTakeover(t *testing.T) {
	const session = 3 * time.Second
	kafka := kafkatest.Start(t, kafkatest.Options{})
	s := newFleetScene(t, kafka.Brokers(), fleetOrgs(t, 12), 10)
	s.env["KAFKA_SESSION_TIMEOUT"], s.env["KAFKA_OFFSETS_PARTITIONS"] = session.String(), "12"
	s.env["POLL_INTERVAL"], s.env["LOG_LEVEL"] = "200ms", "info"
	var replicas []*instance
	t.Cleanup(func() {
		for i, r := range replicas {
			if t.Failed() {
				t.Logf("replica %d:\n%s", i, r.out.String())
			}
		}
	})
	replicas = []*instance{s.instance(), s.instance(), s.instance()}
	s.complete(time.Minute, s.names()...)
	seen := s.tailRaw(t)
	timely(t, session+takeover, "kill -9 of one of three replicas, by all organisations", func() time.Duration {
		time.Sleep(session) // who came last has its share
		_ = replicas[0].end(syscall.SIGKILL)
		killed := time.Now()
		seen.reset()
		for _, world := range s.worlds {
			world.Org.Emit(1)
		}
		s.until(30*time.Second, "all organisations publish again", func() bool { return seen.organisations() == len(s.worlds) })
		replicas = append(replicas[1:], s.instance())
		return time.Since(killed)
	})
	s.complete(30*time.Second, s.names()...)
}
