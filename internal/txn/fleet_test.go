package txn

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	fleetGroup      = "fleet"
	fleetPartitions = 12
)

// fleet is replicas, each a process of its own, that share the partitions of a topic.
type fleet struct {
	t       *testing.T
	brokers []string
	session time.Duration
	random  *rand.Rand
	started int
	alive   map[string]*replica // those that are to have partitions
	frozen  map[string]*replica
	since   map[string]time.Time // when it was frozen

	mu    sync.Mutex
	spans []*span
}

// span is a lead from its beginning to its end, which is zero while it goes on. What a replica did after it was killed
// or frozen is unsure.
type span struct {
	name             string
	partition        int32
	from, to, unsure time.Time
}

func newFleet(t *testing.T, brokers []string, session time.Duration) *fleet {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &fleet{t: t, brokers: brokers, session: session, random: rand.New(rand.NewPCG(seed, 14)),
		alive: map[string]*replica{}, frozen: map[string]*replica{}, since: map[string]time.Time{}}
}

func (f *fleet) start() string {
	f.t.Helper()
	f.started++
	name := fmt.Sprint("r", f.started)
	r := startReplica(f.t, name, f.brokers, f.session, fmt.Sprint(replicaParts, "=", fleetPartitions))
	f.alive[name] = r
	go func() { // ends with the process
		for line := range r.lines {
			f.said(name, line)
		}
	}()
	return name
}

func (f *fleet) said(name, line string) {
	var what string
	var partition int32
	var at int64
	if n, _ := fmt.Sscan(line, &what, &partition, &at); n != 3 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if what == "leads" {
		f.spans = append(f.spans, &span{name: name, partition: partition, from: time.Unix(0, at)})
		return
	}
	for _, s := range f.spans {
		if s.name == name && s.partition == partition && s.to.IsZero() {
			s.to = time.Unix(0, at)
		}
	}
}

// lose takes a replica out of those that are to have partitions, and returns when that was.
func (f *fleet) lose(name string, sig os.Signal) time.Time {
	f.t.Helper()
	r := f.alive[name]
	delete(f.alive, name)
	r.signal(sig)
	now := time.Now()
	if sig == syscall.SIGTERM {
		return now
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.spans {
		if s.name == name && s.to.IsZero() {
			s.unsure = now
		}
	}
	if sig == syscall.SIGSTOP {
		f.frozen[name], f.since[name] = r, now
	}
	return now
}

// wake lets a frozen replica go on. Where its session is over its leads of before must end.
func (f *fleet) wake(name string) {
	f.t.Helper()
	f.frozen[name].signal(syscall.SIGCONT)
	f.alive[name] = f.frozen[name]
	delete(f.frozen, name)
	if time.Since(f.since[name]) < f.session {
		return
	}
	ended := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !slices.ContainsFunc(f.spans, func(s *span) bool { return s.name == name && !s.unsure.IsZero() && s.to.IsZero() })
	}
	f.until(2*time.Second, name+" stops what it led before it was frozen", ended)
}

func (f *fleet) until(limit time.Duration, what string, met func() bool) {
	f.t.Helper()
	for began := time.Now(); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > limit {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, s := range f.spans {
				if s.to.IsZero() {
					f.t.Logf("partition %d: %s since %s", s.partition, s.name, s.from.Format("04:05.000"))
				}
			}
			f.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// calm waits until each partition has exactly one owner, evenly, and returns when the last one began.
func (f *fleet) calm(limit time.Duration) (at time.Time) {
	f.t.Helper()
	f.until(limit, "each partition is led once, evenly", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		counts, led := map[string]int{}, map[int32]int{}
		for name := range f.alive {
			counts[name] = 0
		}
		for _, s := range f.spans {
			if _, ok := counts[s.name]; ok && s.to.IsZero() {
				counts[s.name]++
				led[s.partition]++
				if s.from.After(at) {
					at = s.from
				}
			}
		}
		share := fleetPartitions / len(counts)
		for _, n := range counts {
			if n != share && n != share+1 {
				return false
			}
		}
		return len(led) == fleetPartitions && !slices.ContainsFunc(slices.Collect(maps.Values(led)), func(n int) bool { return n != 1 })
	})
	return at
}

// overlaps checks that no partition was led twice by replicas that were alive and well.
func (f *fleet) overlaps() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.spans, func(a, b *span) int { return a.from.Compare(b.from) })
	for i, a := range f.spans {
		end := a.to
		if !a.unsure.IsZero() {
			end = a.unsure
		}
		for _, b := range f.spans[i+1:] {
			if b.partition == a.partition && (end.IsZero() || b.from.Before(end)) {
				f.t.Errorf("partition %d: %s began %v after %s, which had not stopped", a.partition, b.name, b.from.Sub(a.from), a.name)
			}
		}
	}
}

// moves returns how often the partitions changed their owner since a moment.
func (f *fleet) moves(since time.Time) (n map[int32]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = map[int32]int{}
	for _, s := range f.spans {
		if s.from.After(since) {
			n[s.partition]++
		}
	}
	return n
}

func (f *fleet) any() string {
	names := slices.Sorted(maps.Keys(f.alive))
	return names[f.random.IntN(len(names))]
}

// rolling restarts every replica, one after the other: each partition moves at most twice.
func (f *fleet) rolling(limit time.Duration) {
	f.t.Helper()
	before := time.Now()
	for _, name := range slices.Sorted(maps.Keys(f.alive)) {
		f.lose(name, syscall.SIGTERM)
		f.calm(limit)
		f.start()
		f.calm(limit)
	}
	for p, n := range f.moves(before) {
		if n > 2 {
			f.t.Errorf("partition %d moved %d times in a rolling restart", p, n)
		}
	}
}

// testFleet has replicas come and go at random.
func testFleet(t *testing.T, brokers []string, session time.Duration) {
	const slack = 2 * time.Second
	f := newFleet(t, brokers, session)
	for range 3 {
		f.start()
	}
	f.calm(session + slack)
	f.rolling(session + slack)

	for range 6 {
		switch name := f.any(); {
		case len(f.alive) < 3 || f.random.IntN(3) == 0:
			f.start()
		default:
			f.lose(name, []os.Signal{os.Kill, syscall.SIGSTOP, syscall.SIGTERM}[f.random.IntN(3)])
		}
		time.Sleep(time.Duration(f.random.IntN(800)) * time.Millisecond)
		if frozen := slices.Sorted(maps.Keys(f.frozen)); len(frozen) > 1 {
			f.wake(frozen[0])
		}
	}
	f.calm(2 * (session + slack))
	for name := range f.frozen {
		f.wake(name)
	}
	f.calm(2 * (session + slack))

	for len(f.alive) < 3 {
		f.start()
		f.calm(session + slack)
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		gone := f.lose(f.any(), sig)
		took := f.calm(session + slack).Sub(gone)
		t.Logf("all partitions are led again %v after %v, session %v", took.Round(time.Millisecond), sig, session)
		if took > session+slack {
			t.Errorf("%v: replaced after %v", sig, took)
		}
	}
	for name := range f.frozen {
		f.wake(name)
	}
	f.calm(session + slack)
	f.overlaps()
	f.described()
}

// described compares what the group says of its members with what they do.
func (f *fleet) described() {
	f.t.Helper()
	c := dialBrokers(f.t, f.brokers)
	members, err := c.GroupMembers(f.t.Context(), fleetGroup)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var got, want []string
	for _, m := range members {
		got = append(got, fmt.Sprint(m.Name, m.Active, m.Partitions))
	}
	for name := range f.alive {
		var led []int32
		for _, s := range f.spans {
			if s.name == name && s.to.IsZero() {
				led = append(led, s.partition)
			}
		}
		slices.Sort(led)
		want = append(want, fmt.Sprint(name, len(led) > 0, led))
	}
	slices.SortFunc(got, cmp.Compare[string])
	slices.Sort(want)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		f.t.Errorf("the members of the group are %v, not %v", got, want)
	}
}

// The shortest of it on an embedded broker.
func TestFleet(t *testing.T) {
	t.Parallel()
	fake, _ := fakeKafka(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	const session = 2 * time.Second
	f := newFleet(t, fake.ListenAddrs(), session)
	f.start()
	f.start()
	f.calm(session + 8*time.Second)
	f.start()
	f.calm(session + 2*time.Second)
	f.lose(f.any(), os.Kill)
	f.calm(session + 2*time.Second)
	f.overlaps()
	f.described()
}
