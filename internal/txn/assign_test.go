package txn

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// group is a group of replicas on paper: what a coordinator does, and what members do with their assignments.
type group struct {
	t          *testing.T
	random     *rand.Rand
	partitions int32
	generation int32
	members    map[string]*paperMember
	started    int
	moves      []int    // of each partition: how often it has changed its owner
	owner      []string // the last one
}

// paperMember is a replica. Its leads return when the test says so.
type paperMember struct {
	id       string
	h        *holdings
	running  map[int32]bool // leads that run, also those that are told to stop
	stopping map[int32]bool
}

func newGroup(t *testing.T, partitions int32, random *rand.Rand) *group {
	return &group{t: t, random: random, partitions: partitions, members: map[string]*paperMember{},
		moves: make([]int, partitions), owner: make([]string, partitions)}
}

func (g *group) start() string {
	g.started++
	id := fmt.Sprintf("%c-%d", 'a'+g.random.IntN(26), g.started) // a coordinator's ids are in no order
	g.members[id] = &paperMember{id: id, h: newHoldings(nil, 0), running: map[int32]bool{}, stopping: map[int32]bool{}}
	return id
}

func (g *group) gone(id string) { delete(g.members, id) }

func (m *paperMember) standing() standing {
	s := standing{name: m.id, generation: m.h.generation, joined: m.h.joined, gained: m.h.gained}
	for p, since := range m.h.given {
		s.owned = append(s.owned, holding{p, since})
	}
	s.stopping = slices.Collect(maps.Keys(m.stopping))
	return s
}

// rebalance is one generation. It reports whether some partition is withheld, so that another must follow.
func (g *group) rebalance() (again bool) {
	g.t.Helper()
	g.generation++
	var candidates []candidate
	for id, m := range g.members { // in no order
		encoded, err := subscription("t", 2, m.standing())
		if err != nil {
			g.t.Fatal(err)
		}
		candidates = append(candidates, candidate{id, readSubscription(protocolMany, encoded)})
	}
	assigned := assign(g.partitions, candidates)
	for i, c := range candidates {
		m := g.members[c.id]
		m.take(g.generation, assigned[i])
		again = again || len(m.stopping) > 0
	}
	g.check()
	return again
}

// take is what holdings.take does, with leads on paper.
func (m *paperMember) take(generation int32, partitions []int32) {
	m.h.take(generation, partitions)
	for p := range m.running {
		if _, given := m.h.given[p]; !given {
			m.stopping[p] = true
		}
	}
	for _, p := range partitions {
		m.running[p] = true
		delete(m.stopping, p)
	}
}

// rest lets some of the leads that are to stop return.
func (g *group) rest(chance float64) {
	for _, m := range g.members {
		for p := range m.stopping {
			if g.random.Float64() < chance {
				delete(m.stopping, p)
				delete(m.running, p)
			}
		}
	}
}

// settle goes on until nothing moves any more.
func (g *group) settle(chance float64) {
	g.t.Helper()
	for again, n := true, 0; again; n++ {
		if n > 100 {
			g.t.Fatal("the group never settles")
		}
		again = g.rebalance()
		g.rest(chance)
	}
	g.calm()
}

// check verifies what holds at any moment: no partition runs twice.
func (g *group) check() {
	g.t.Helper()
	running := make([]string, g.partitions)
	for id, m := range g.members {
		for p := range m.running {
			if running[p] != "" {
				g.t.Fatalf("generation %d: partition %d runs in %s and %s", g.generation, p, running[p], id)
			}
			running[p] = id
			if !m.stopping[p] && g.owner[p] != id {
				g.owner[p] = id
				g.moves[p]++
			}
		}
	}
}

// calm verifies what holds when all have settled: exactly one owner each, evenly.
func (g *group) calm() {
	g.t.Helper()
	if len(g.members) == 0 {
		return
	}
	share, all := int(g.partitions)/len(g.members), 0
	for id, m := range g.members {
		n := len(m.h.given)
		all += n
		if n != share && n != share+1 {
			g.t.Fatalf("generation %d: %s has %d of %d partitions among %d\n%s", g.generation, id, n, g.partitions, len(g.members), g)
		}
	}
	if all != int(g.partitions) {
		g.t.Fatalf("generation %d: %d of %d partitions have an owner", g.generation, all, g.partitions)
	}
	for p, id := range g.owner {
		if m := g.members[id]; m == nil || !m.running[int32(p)] {
			g.t.Fatalf("generation %d: partition %d is not led", g.generation, p)
		}
	}
}

func (g *group) String() string {
	var b strings.Builder
	for id, m := range g.members {
		fmt.Fprintf(&b, "%s: %v gained %d\n", id, m.h.given, m.h.gained)
	}
	return b.String()
}

// any returns a member.
func (g *group) any() string {
	ids := slices.Sorted(maps.Keys(g.members))
	return ids[g.random.IntN(len(ids))]
}

// moved returns the partitions whose owner is not the one that it was.
func (g *group) moved(before []string) (moved []int32) {
	for p := range before {
		if g.owner[p] != before[p] {
			moved = append(moved, int32(p))
		}
	}
	return moved
}

// seeds runs a test for many groups of random sizes.
func seeds(t *testing.T, n int, test func(g *group)) {
	for seed := range n {
		random := rand.New(rand.NewPCG(uint64(seed), 14))
		g := newGroup(t, int32(1+random.IntN(40)), random)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g.t = t
			for range 1 + random.IntN(9) {
				g.start()
				if random.IntN(2) == 0 {
					g.settle(1)
				}
			}
			g.settle(1)
			for range random.IntN(6) { // some past
				if random.IntN(2) == 0 || len(g.members) == 1 {
					g.start()
				} else {
					g.gone(g.any())
				}
				g.settle(1)
			}
			test(g)
		})
	}
}

// A newcomer takes its share and no more, from members that keep the rest.
func TestAssignNewcomer(t *testing.T) {
	seeds(t, 300, func(g *group) {
		before := slices.Clone(g.owner)
		id := g.start()
		g.settle(0.5)
		most := (int(g.partitions) + len(g.members) - 1) / len(g.members)
		moved := g.moved(before)
		if len(moved) > most {
			g.t.Errorf("%d of %d partitions moved to one of %d members", len(moved), g.partitions, len(g.members))
		}
		for _, p := range moved {
			if g.owner[p] != id {
				g.t.Errorf("partition %d moved between members that stayed", p)
			}
		}
	})
}

// What a leaver had is spread, and nothing else moves.
func TestAssignLeaver(t *testing.T) {
	seeds(t, 300, func(g *group) {
		if len(g.members) == 1 {
			return
		}
		before := slices.Clone(g.owner)
		id := g.any()
		g.gone(id)
		if g.rebalance() {
			g.t.Error("somebody gives something up")
		}
		g.calm()
		for _, p := range g.moved(before) {
			if before[p] != id {
				g.t.Errorf("partition %d moved between members that stayed", p)
			}
		}
	})
}

// A rolling restart moves each partition at most twice, and gives each replica back what it had.
func TestAssignRollingRestart(t *testing.T) {
	seeds(t, 200, func(g *group) {
		if len(g.members) == 1 {
			return
		}
		clear(g.moves)
		before := slices.Clone(g.owner)
		ids := slices.Collect(maps.Keys(g.members))
		next := map[string]string{}
		for _, id := range ids {
			g.gone(id)
			g.settle(0.5)
			next[id] = g.start()
			g.settle(0.5)
		}
		for p, n := range g.moves {
			if n > 2 {
				g.t.Errorf("partition %d of %d moved %d times among %d members", p, g.partitions, n, len(ids))
			}
			if int(g.partitions) >= len(ids) && g.owner[p] != next[before[p]] {
				g.t.Errorf("partition %d of %s is with %s", p, before[p], g.owner[p])
			}
		}
	})
}

// Members come, go, fall silent and come back as zombies while others give partitions up: never does one run twice
// among those that are in the group, and whenever it is calm each has one owner.
func TestAssignAnything(t *testing.T) {
	seeds(t, 100, func(g *group) {
		zombies := map[string]*paperMember{}
		for range 60 {
			switch g.random.IntN(5) {
			case 0:
				g.start()
			case 1, 2:
				if len(g.members) > 1 {
					id := g.any()
					if g.random.IntN(2) == 0 {
						zombies[id] = g.members[id]
					}
					g.gone(id)
				}
			case 3:
				for id, m := range zombies { // its leads have stopped; that it claims them all the same must not matter
					clear(m.running)
					clear(m.stopping)
					g.members[id] = m
					delete(zombies, id)
					break
				}
			}
			g.rebalance()
			g.rest(0.3)
			if g.random.IntN(3) == 0 {
				g.settle(0.5)
			}
		}
		g.settle(0.5)
		before := slices.Clone(g.owner)
		g.settle(1)
		if moved := g.moved(before); len(moved) > 0 {
			g.t.Errorf("%v moved though nothing happened", moved)
		}
	})
}

func TestAssign(t *testing.T) {
	newcomer := standing{}
	of := func(generation int32, owned ...holding) standing {
		s := standing{generation: generation, joined: 1, owned: owned}
		for _, h := range owned {
			s.gained = max(s.gained, h.since)
		}
		return s
	}
	resting := func(s standing, p ...int32) standing { s.resting = p; return s }
	stopping := func(s standing, p ...int32) standing { s.stopping = p; return s }
	joined := func(s standing, generation int32) standing { s.joined = generation; return s }
	for _, c := range []struct {
		name       string
		partitions int32
		members    map[string]standing
		want       string
	}{
		{"one: a single member", 1, map[string]standing{"a": newcomer}, "a[0]"},
		{"one: the first where nobody owns", 1, map[string]standing{"b": newcomer, "a": newcomer}, "a[0] b[]"},
		{"one: the owner", 1, map[string]standing{"a": newcomer, "b": of(7, holding{0, 7}), "c": newcomer}, "a[] b[0] c[]"},
		{"one: the latest owner of two", 1, map[string]standing{"a": of(3, holding{0, 3}), "b": of(7, holding{0, 7})}, "a[] b[0]"},
		{"one: anyone rather than who gave it back", 1, map[string]standing{"a": resting(newcomer, 0), "b": newcomer}, "a[] b[0]"},
		{"one: who gave it back, where it is alone", 1, map[string]standing{"a": resting(newcomer, 0)}, "a[0]"},
		{"one: the youngest that stands by", 1, map[string]standing{"a": joined(newcomer, 3), "b": joined(newcomer, 8)}, "a[] b[0]"},

		{"nobody had any", 5, map[string]standing{"a": newcomer, "b": newcomer}, "a[0 1 3] b[2 4]"},
		{"more members than partitions", 2, map[string]standing{"a": newcomer, "b": of(9, holding{0, 1}), "c": of(9, holding{1, 9})}, "a[] b[0] c[1]"},
		{"a newcomer waits until they are at rest; the last gained are given up", 4,
			map[string]standing{"a": of(9, holding{0, 8}, holding{1, 2}, holding{2, 9}, holding{3, 1}), "b": newcomer}, "a[1 3] b[]"},
		{"then it gets them", 4, map[string]standing{"a": of(10, holding{1, 2}, holding{3, 1}), "b": of(10)}, "a[1 3] b[0 2]"},
		{"but not what still stops", 4,
			map[string]standing{"a": stopping(of(10, holding{1, 2}, holding{3, 1}), 0), "b": of(10)}, "a[1 3] b[2]"},
		{"unless the newcomer has gone", 2, map[string]standing{"a": stopping(of(10, holding{1, 2}), 0)}, "a[0 1]"},
		{"a zombie's claim", 3, map[string]standing{"a": of(4, holding{0, 1}, holding{1, 1}), "b": of(9, holding{0, 5}), "c": of(9, holding{2, 5})}, "a[1] b[0] c[2]"},
		{"a zombie that still stops", 2, map[string]standing{"a": stopping(newcomer, 0), "b": of(9, holding{0, 8}), "c": of(9, holding{1, 2})}, "a[] b[0] c[1]"},
		{"given back: to the other, where that is even", 3,
			map[string]standing{"a": resting(of(9, holding{0, 1}), 1), "b": of(9, holding{2, 1})}, "a[0] b[1 2]"},
		{"given back: to the same, where all else is uneven", 2,
			map[string]standing{"a": resting(of(9), 0), "b": of(9, holding{1, 1})}, "a[0] b[1]"},
		{"claims of another topic's size", 2, map[string]standing{"a": stopping(of(9, holding{7, 1}), 5, 9), "b": of(9, holding{0, 1}, holding{1, 1})}, "a[] b[0]"},
	} {
		var members []candidate
		for id, s := range c.members {
			members = append(members, candidate{id, s})
		}
		given := assign(c.partitions, members)
		var got []string
		for i, m := range members {
			got = append(got, fmt.Sprint(m.id, given[i]))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, not %s", c.name, got, c.want)
		}
	}
}

// Ten thousand partitions and a hundred members, of which one has been restarted.
func BenchmarkAssign(b *testing.B) {
	const partitions, n = 10_000, 100
	var members []candidate
	for i := range n {
		members = append(members, candidate{id: fmt.Sprint("member-", i)})
	}
	for i, given := range assign(partitions, members) {
		s := standing{generation: 1, joined: 1, gained: 1}
		for _, p := range given {
			s.owned = append(s.owned, holding{p, 1})
		}
		members[i].standing = s
	}
	members[7].standing = standing{}
	var bytes int
	for b.Loop() {
		encoded := make([][]byte, n)
		bytes = 0
		for i, m := range members {
			encoded[i] = appendStanding(nil, m.standing)
			bytes += len(encoded[i])
		}
		for i := range members {
			members[i].standing, _ = readStanding(encoded[i])
		}
		assign(partitions, members)
	}
	b.ReportMetric(float64(bytes)/n, "bytes/member")
}
