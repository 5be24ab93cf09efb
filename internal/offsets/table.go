package offsets

import (
	"math"
	"math/bits"
	"slices"
)

// entry is what a table holds: 24 bytes without a pointer, so that the garbage
// collector never looks inside, however many there are.
type entry interface {
	hash() uint64 // of what identifies it; the high shardBits chose the table
	when() int64  // in milliseconds since 1970; noTime marks a place that is free
}

const (
	shardBits = 10
	shards    = 1 << shardBits
	// minSlots, with its spread over the shards, lets the tables grow one after
	// the other instead of all at once.
	minSlots = 16
)

// stamp is a time as an entry keeps it: never 0, which marks a free place.
type stamp int64

func newStamp(ms int64) stamp { return stamp(max(ms, math.MinInt64+1) ^ math.MinInt64) }
func (s stamp) ms() int64     { return int64(s) ^ math.MinInt64 }

// noTime is what the stamp of a free place says.
const noTime = math.MinInt64

// table is one shard: open addressing with linear probing, at most 4/5 full.
// Removing shifts back what follows, so that no tombstones gather.
type table[E entry] struct {
	slots []E
	n     int
	// oldest is no later than the time of any entry.
	oldest int64
}

// home is where the entry with that hash stands when nothing is in its way.
func (t *table[E]) home(hash uint64) int {
	at, _ := bits.Mul64(hash<<shardBits, uint64(len(t.slots)))
	return int(at)
}

// next is the place after i.
func (t *table[E]) next(i int) int {
	if i++; i == len(t.slots) {
		return 0
	}
	return i
}

// room makes sure that one more entry fits. spread is the number of the shard.
func (t *table[E]) room(spread int) {
	switch size := len(t.slots); {
	case size == 0:
		t.resize(minSlots + spread%(minSlots/2))
		t.oldest = math.MaxInt64
	case 5*(t.n+1) > 4*size:
		t.resize(size + size/2)
	}
}

// put sets the place i, which is free, to e.
func (t *table[E]) put(i int, e E) {
	t.slots[i] = e
	t.n++
	t.oldest = min(t.oldest, e.when())
}

// remove frees the place i and moves back what stood behind because of it.
func (t *table[E]) remove(i int) {
	var free E
	for j := t.next(i); t.slots[j].when() != noTime; j = t.next(j) {
		// The entry at j stays where its home is behind i, seen from i to j around the end.
		h := t.home(t.slots[j].hash())
		stays := i < h && h <= j
		if j < i {
			stays = i < h || h <= j
		}
		if !stays {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = free
	t.n--
	if len(t.slots) >= 4*minSlots && 4*t.n < len(t.slots) {
		t.resize(2 * t.n)
	}
}

// resize moves all entries into at least size places.
func (t *table[E]) resize(size int) {
	old := t.slots
	// Grow rounds up to what the allocator gives anyway.
	t.slots = slices.Grow[[]E](nil, size)
	t.slots = t.slots[:cap(t.slots)]
	clear(t.slots)
	for _, e := range old {
		if e.when() == noTime {
			continue
		}
		i := t.home(e.hash())
		for t.slots[i].when() != noTime {
			i = t.next(i)
		}
		t.slots[i] = e
	}
}
