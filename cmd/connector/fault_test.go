package main

import (
	"encoding/base64"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/internal/sandbox"
)

// requestFaults are the faults of dialect auditlogs that pass by themselves.
func requestFaults() []sandbox.Fault {
	return []sandbox.Fault{
		{Kind: sandbox.StatusCode, Status: 408}, {Kind: sandbox.StatusCode, Status: 500}, {Kind: sandbox.StatusCode, Status: 502},
		{Kind: sandbox.StatusCode, Status: 503}, {Kind: sandbox.StatusCode, Status: 504},
		{Kind: sandbox.TooMany, RetryAfter: time.Second}, {Kind: sandbox.TooMany, RetryAfter: time.Second, HTTPDate: true},
		{Kind: sandbox.ResetBefore}, {Kind: sandbox.ResetAfter}, {Kind: sandbox.ResetBody},
		{Kind: sandbox.Hang, Delay: 5 * time.Second}, {Kind: sandbox.HTML}, {Kind: sandbox.EmptyBody}, {Kind: sandbox.NoEntities},
		{Kind: sandbox.TruncatedLength}, {Kind: sandbox.TruncatedChunks}, {Kind: sandbox.CutJSON},
		{Kind: sandbox.Trickle, Delay: 20 * time.Millisecond}, {Kind: sandbox.Slow, Delay: 300 * time.Millisecond},
		{Kind: sandbox.Gzip}, {Kind: sandbox.BrokenGzip}, {Kind: sandbox.HugePage, Size: 80 << 20},
		{Kind: sandbox.ExpireToken}, {Kind: sandbox.ExpirePageToken, Page: "later"},
		{Kind: sandbox.Repeat, Page: "later"}, {Kind: sandbox.MovingPages, Page: "later"},
		{Kind: sandbox.StuckPage, Page: "later"}, {Kind: sandbox.EmptyPage},
		{Kind: sandbox.WrongDate, Shift: time.Hour}, {Kind: sandbox.WrongDate, Shift: -time.Hour}, {Kind: sandbox.WrongDate},
		{Kind: sandbox.Redirect},
	}
}

// TestEveryFaultLosesNothing runs a backfill of several pages with each fault,
// at the first page and in the middle of the chain.
func TestEveryFaultLosesNothing(t *testing.T) {
	for _, f := range requestFaults() {
		name := string(f.Kind)
		if f.Status != 0 {
			name += "-" + strconv.Itoa(f.Status)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := unlimited()
			o.OtherTypes, o.Latency = -1, time.Millisecond
			s := newScene(t, nil, o)
			s.env["BACKFILL_CHUNK"] = "24h"
			now := time.Now()
			s.world.Org.Backfill(4500, now.Add(-20*time.Hour), now.Add(-time.Minute))
			f.Endpoint = sandbox.EndpointAuditlogs
			if f.Kind == sandbox.MovingPages {
				s.unseen = 40 // some appear behind the cursor, in time that is older than every sweep
			}
			for _, skip := range []int{0, 2} {
				f.Skip, f.Count = skip, 2
				if err := s.world.Org.Inject(f); err != nil {
					t.Fatal(err)
				}
			}
			s.start()
			s.published(90 * time.Second)
			s.world.Org.Emit(20)
			s.published(30 * time.Second)
			if struck := s.world.Org.Stats().Faults[f.Kind]; struck < 2 {
				t.Errorf("the fault struck %d times: the test shows nothing", struck)
			}
		})
	}
}

// TestLateEventsAreFound lets a third of the events show up late.
func TestLateEventsAreFound(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.OtherTypes = -1
	o.Lateness = sandbox.Lateness{Probability: 0.3, Min: 100 * time.Millisecond, Max: 8 * time.Second}
	s := newScene(t, nil, o)
	a, _ := s.start()
	for range 20 {
		s.world.Org.Emit(25)
		time.Sleep(100 * time.Millisecond)
	}
	s.published(40 * time.Second)
	s.until(20*time.Second, "a late event is counted", func() bool { // the status knows while it is active
		found := uint64(0)
		for _, stream := range a.Snapshot().Streams {
			found += stream.Lateness.Total()
		}
		return found > 0
	})
}

// TestKilledAtRandomMoments kills the connector (kill -9) again and again while
// it reads, with random faults in the API. The count of kills can be raised.
// On the embedded broker a transaction is over in a moment, and few are hit: see
// TestOnRealKafka.
func TestKilledAtRandomMoments(t *testing.T) { _ = killAtRandom(t, nil, kills(6)) }

func kills(otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv("CONNECTOR_TEST_KILLS")); err == nil {
		return n
	}
	return otherwise
}

// killAtRandom tells how many transactions were aborted, because a kill cut them.
func killAtRandom(t *testing.T, brokers []string, kills int) (aborted int) {
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("CONNECTOR_TEST_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("seed %d (set CONNECTOR_TEST_SEED to repeat)", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	o := unlimited()
	o.Seed, o.OtherTypes, o.Latency = seed, -1, 10*time.Millisecond
	o.Lateness = sandbox.Lateness{Probability: 0.1, Min: 100 * time.Millisecond, Max: 4 * time.Second}
	s := newScene(t, brokers, o)
	s.env["BACKFILL_CHUNK"], s.env["SWEEP_AGES"] = "1m", "5s,30s" // so short that many lives have something to backfill
	now := time.Now()
	s.world.Org.Backfill(20_000, now.Add(-24*time.Hour+time.Minute), now.Add(-time.Second))
	// Moving pages make events in time that was read already, older than any sweep: those are for verify.
	faults := slices.DeleteFunc(sandbox.RandomFaults(0.004), func(f sandbox.Fault) bool { return f.Kind == sandbox.MovingPages })
	if err := s.world.Org.Inject(faults...); err != nil {
		t.Fatal(err)
	}
	stop := s.emitting()
	defer stop()
	for i := range kills {
		c := s.instance()
		// The embedded broker never gives up on a member that died in the middle of
		// joining its group, so there they all die later.
		if rnd.IntN(4) > 0 || brokers == nil { // most while they publish
			s.awaited(30*time.Second, "the connector is active", c.is("active"))
			time.Sleep(time.Duration(rnd.Int64N(int64(700 * time.Millisecond))))
		} else { // the others from before they have joined the group on
			time.Sleep(time.Duration(rnd.Int64N(int64(2 * time.Second))))
		}
		if err := c.end(syscall.SIGKILL); c.ProcessState.Exited() {
			t.Fatalf("kill %d: the connector ended by itself: %v\n%s", i, err, c.out)
		}
	}
	stop()
	s.world.Org.ClearFaults()
	c := s.spawn("run")
	s.published(90 * time.Second)
	if err := c.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, c.out)
	}
	s.published(0)
	committed, aborted := s.transactions()
	t.Logf("%d kills, %d transactions committed, %d aborted", kills, committed, aborted)
	return aborted
}

// TestGracefulStopIsQuick stops a connector in the middle of a backfill.
func TestGracefulStopIsQuick(t *testing.T) { gracefulStop(t, nil) }

func gracefulStop(t *testing.T, brokers []string) {
	o := unlimited()
	o.OtherTypes, o.Latency = -1, 50*time.Millisecond
	s := newScene(t, brokers, o)
	s.env["BACKFILL_CHUNK"] = "10m"
	now := time.Now()
	s.world.Org.Backfill(5000, now.Add(-23*time.Hour), now)
	c := s.spawn("run")
	time.Sleep(2 * time.Second)
	began := time.Now()
	if err := c.end(syscall.SIGTERM); err != nil {
		t.Errorf("exit: %v\n%s", err, c.out)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	s.start()
	s.published(60 * time.Second)
}

// TestNoSecretInAnyLine runs at the most talkative level through everything
// that goes wrong and looks for the secrets in what was printed.
func TestNoSecretInAnyLine(t *testing.T) {
	const id, secret = "canary-client-id-7c1f", "canary-client-secret-93ab"
	o := unlimited()
	o.ClientID, o.ClientSecret, o.OtherTypes = id, secret, -1
	s := newScene(t, nil, o)
	s.env["GENESYS_CLIENT_ID"], s.env["GENESYS_CLIENT_SECRET"], s.env["LOG_LEVEL"] = id, secret, "debug"
	s.world.Org.Backfill(200, time.Now().Add(-time.Hour), time.Now())
	for _, f := range []sandbox.Fault{
		{Kind: sandbox.StatusCode, Status: 403}, {Kind: sandbox.HTML},
		{Kind: sandbox.Redirect}, {Kind: sandbox.ExpireToken}, {Kind: sandbox.ResetAfter},
	} {
		if err := s.world.Org.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	c := s.spawn("run")
	s.published(30 * time.Second)
	s.world.Org.SetCredentials(id, "canary-rotated-secret-51cd") // what the connector has is refused from now on
	s.world.Org.ExpireTokens()
	for range 100 {
		if strings.Contains(c.out.String(), "invalid_client") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = c.end(syscall.SIGTERM)
	out := c.out.String()
	if !strings.Contains(out, "invalid_client") || !strings.Contains(out, `"level":"debug"`) {
		t.Errorf("the run said nothing of refused credentials, or not at level debug: it shows nothing\n%.3000s", out)
	}
	// The sandbox's tokens are access-UUID and refresh-UUID.
	canary := regexp.MustCompile(`(access|refresh)-[0-9a-f]{8}-|` + secret + `|` + base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	for _, line := range strings.Split(out, "\n") {
		if canary.MatchString(line) {
			t.Errorf("a secret stands in: %.300s", line)
		}
	}
}
