package txn

import (
	"cmp"
	"math"
	"slices"
)

// standing is what a member says of itself when it joins.
type standing struct {
	name       string
	generation int32 // the last one that it was given partitions in, or none; 0 before
	joined     int32 // the first one; 0 before
	gained     int32 // the last one that gave it a partition
	owned      []holding
	stopping   []int32 // taken away, and not yet at rest
	resting    []int32 // given back: others are to be preferred for a while
}

// holding is a partition and the generation since which a member has had it.
type holding struct{ partition, since int32 }

// candidate is a member as the assignor sees it.
type candidate struct {
	id string
	standing
}

const nobody = -1

// assign spreads the partitions over the members and returns those of each, by its place in members. It is a pure
// function of what the members say, whatever their order:
//
//   - Counts differ by at most one. Who has too many gives up those that it gained last, so that what a replica had
//     comes back to it when it is restarted. Nothing else moves.
//   - Of two that claim a partition the one of the newer generation has it: the other is a zombie.
//   - A partition that moves between living members is withheld until its former owner says that it is at rest.
func assign(partitions int32, members []candidate) [][]int32 {
	s := newSpread(partitions, members)
	s.limit()
	s.keep()
	s.deal()
	given := make([][]int32, len(members))
	for p, m := range s.target {
		if m != nobody && s.free(int32(p), m) {
			given[m] = append(given[m], int32(p))
		}
	}
	return given
}

// spread is one assignment in the making. Members are named by their place.
type spread struct {
	members []candidate
	order   []int       // places by member id, so that nothing depends on the coordinator's order
	owner   []int       // of each partition, by the newest claim
	stopper []int       // who is about to be at rest with it
	holders []int       // how many members hold a partition in some way
	owned   [][]holding // of each member, without claims that it lost, the oldest first
	room    []int       // how many more partitions each may have
	target  []int       // the result
}

func newSpread(partitions int32, members []candidate) *spread {
	s := &spread{members: members, holders: make([]int, partitions), owned: make([][]holding, len(members))}
	for i := range members {
		s.order = append(s.order, i)
	}
	slices.SortFunc(s.order, func(a, b int) int { return cmp.Compare(members[a].id, members[b].id) })
	s.owner, s.stopper, s.target = unassigned(partitions), unassigned(partitions), unassigned(partitions)
	for _, m := range s.order {
		for _, h := range members[m].owned {
			if p := h.partition; s.has(p) {
				s.holders[p]++
				if o := s.owner[p]; o == nobody || members[m].generation > members[o].generation {
					s.owner[p] = m
				}
			}
		}
		for _, p := range members[m].stopping {
			if s.has(p) {
				s.holders[p]++
				if o := s.stopper[p]; o == nobody || members[m].generation > members[o].generation {
					s.stopper[p] = m
				}
			}
		}
	}
	for m := range members {
		for _, h := range members[m].owned {
			if s.has(h.partition) && s.owner[h.partition] == m {
				s.owned[m] = append(s.owned[m], h)
			}
		}
		slices.SortFunc(s.owned[m], func(a, b holding) int {
			return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.partition, b.partition))
		})
	}
	return s
}

func unassigned(partitions int32) []int { return slices.Repeat([]int{nobody}, int(partitions)) }

func (s *spread) has(p int32) bool { return p >= 0 && int(p) < len(s.target) }

// limit gives each member its room: the even share, and to as many members as the division leaves over one more.
func (s *spread) limit() {
	share, over := len(s.target)/len(s.members), len(s.target)%len(s.members)
	s.room = slices.Repeat([]int{share}, len(s.members))
	for _, m := range s.byRight(share)[:over] {
		s.room[m]++
	}
}

// byRight returns the members by who has the best right to one partition more than the share. A member that has had it
// since before the last change of the group comes first. A newcomer comes before those that gained it in the last
// change: it may be the replica that had it before, restarted.
func (s *spread) byRight(share int) []int {
	var last int32
	for _, m := range s.members {
		last = max(last, m.gained)
	}
	type right struct{ class, since, count, resting, age int }
	rights := make([]right, len(s.members))
	for m, c := range s.members {
		r := right{class: 3, count: len(s.owned[m]), resting: len(c.resting), age: -math.MaxInt32}
		if c.joined > 0 {
			r.age = -int(c.joined)
		}
		switch {
		case r.count > share && s.owned[m][share].since < last:
			r.class, r.since = 0, int(s.owned[m][share].since)
		case r.count > share:
			r.class = 2
		case r.count == 0 && share > 0:
			r.class = 1
		}
		rights[m] = r
	}
	sorted := slices.Clone(s.order)
	slices.SortStableFunc(sorted, func(a, b int) int {
		x, y := rights[a], rights[b]
		return cmp.Or(cmp.Compare(x.class, y.class), cmp.Compare(x.since, y.since), cmp.Compare(x.count, y.count),
			cmp.Compare(x.resting, y.resting), cmp.Compare(x.age, y.age))
	})
	return sorted
}

// keep leaves with each member what it has room for, the oldest first; then what it is about to give up.
func (s *spread) keep() {
	for m, owned := range s.owned {
		for _, h := range owned[:min(s.room[m], len(owned))] {
			s.give(h.partition, m)
		}
	}
	for p, m := range s.stopper {
		if m != nobody && s.target[p] == nobody && s.room[m] > 0 {
			s.give(int32(p), m)
		}
	}
}

func (s *spread) give(p int32, m int) {
	s.target[p] = m
	s.room[m]--
}

// deal gives what is left to those that have most room, and to one that gave it back only where there is
// no other.
func (s *spread) deal() {
	resting := make([]map[int32]bool, len(s.members))
	var open []int
	for _, m := range s.order {
		if s.room[m] > 0 {
			open = append(open, m)
		}
		resting[m] = map[int32]bool{}
		for _, p := range s.members[m].resting {
			resting[m][p] = true
		}
	}
	for p := range s.target {
		if s.target[p] != nobody {
			continue
		}
		best := nobody
		for _, m := range open {
			if s.room[m] > 0 && (best == nobody || resting[best][int32(p)] && !resting[m][int32(p)] ||
				resting[best][int32(p)] == resting[m][int32(p)] && s.room[m] > s.room[best]) {
				best = m
			}
		}
		s.give(int32(p), best)
	}
}

// free reports whether a member may lead its partition at once: nobody else holds it, or those that do are zombies.
func (s *spread) free(p int32, m int) bool {
	stopper := s.stopper[p]
	switch {
	case s.holders[p] == 0 || s.holders[p] == 1 && (s.owner[p] == m || stopper == m):
		return true
	case s.owner[p] == m:
		return stopper == nobody || stopper == m || s.members[stopper].generation < s.members[m].generation
	}
	return false
}
