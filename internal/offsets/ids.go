package offsets

import (
	"hash/maphash"
	"math"
	"time"
	"unsafe"
)

// IDs remembers ids and a time for each, exactly. An id that is a UUID in its
// canonical, lower-case spelling takes 24 bytes in a table that is 1/2 to 4/5
// full; any other (an upper-case UUID, a digest) its own bytes more. No pointer
// is kept per id, so that the garbage collector has nothing to do.
//
// The zero IDs is empty and ready. It is not safe for concurrent use.
type IDs struct {
	uuids  [shards]table[uuidEntry]
	texts  [shards]textTable
	n      int
	cursor int // the table at which Before goes on; from shards on, those of texts
}

// seed is random in each process, so that nobody can choose ids that collide.
var seed = maphash.MakeSeed()

// uuidEntry is an id that is a canonical UUID.
type uuidEntry struct {
	id [16]byte
	at stamp
}

func (e uuidEntry) hash() uint64 { return maphash.Bytes(seed, e.id[:]) }
func (e uuidEntry) when() int64  { return e.at.ms() }

// Add remembers id under the time t, cut to milliseconds; a later Add of the
// same id replaces the time.
func (s *IDs) Add(id string, t time.Time) { s.add([]byte(id), t.UnixMilli()) }

// Has reports whether id is remembered.
func (s *IDs) Has(id string) bool {
	if u, ok := parseUUID([]byte(id)); ok {
		t, h := s.uuidTable(u)
		_, found := find(t, h, u)
		return found
	}
	h := maphash.String(seed, id)
	t := &s.texts[h>>(64-shardBits)]
	_, found := t.find(h, []byte(id))
	return found
}

// Remove forgets id.
func (s *IDs) Remove(id string) { s.remove([]byte(id)) }

// Len is how many ids are remembered.
func (s *IDs) Len() int { return s.n }

// Bytes is the memory that the ids take.
func (s *IDs) Bytes() int {
	sum := int(unsafe.Sizeof(*s))
	for i := range s.uuids {
		sum += len(s.uuids[i].slots) * int(unsafe.Sizeof(uuidEntry{}))
	}
	for i := range s.texts {
		sum += len(s.texts[i].slots)*int(unsafe.Sizeof(textEntry{})) + cap(s.texts[i].bytes)
	}
	return sum
}

func (s *IDs) add(id []byte, ms int64) {
	u, ok := parseUUID(id)
	if !ok {
		h := maphash.Bytes(seed, id)
		shard := h >> (64 - shardBits)
		if s.texts[shard].add(int(shard), h, id, ms) {
			s.n++
		}
		return
	}
	t, h := s.uuidTable(u)
	t.room(int(h >> (64 - shardBits)))
	i, found := find(t, h, u)
	if found {
		t.slots[i].at = newStamp(ms)
		t.oldest = min(t.oldest, ms)
		return
	}
	t.put(i, uuidEntry{u, newStamp(ms)})
	s.n++
}

func (s *IDs) remove(id []byte) {
	if u, ok := parseUUID(id); ok {
		t, h := s.uuidTable(u)
		if i, found := find(t, h, u); found {
			t.remove(i)
			s.n--
		}
		return
	}
	h := maphash.Bytes(seed, id)
	if s.texts[h>>(64-shardBits)].remove(h, id) {
		s.n--
	}
}

func (s *IDs) uuidTable(u [16]byte) (*table[uuidEntry], uint64) {
	h := maphash.Bytes(seed, u[:])
	return &s.uuids[h>>(64-shardBits)], h
}

// find is where u stands, or where it would be put.
func find(t *table[uuidEntry], h uint64, u [16]byte) (at int, found bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	for i := t.home(h); ; i = t.next(i) {
		switch e := &t.slots[i]; {
		case e.at == 0:
			return i, false
		case e.id == u:
			return i, true
		}
	}
}

// beforeBudget is how many places one call of Before looks at, at most by one
// table more: some milliseconds, also when ten million ids are remembered.
const beforeBudget = 1 << 18

// Before calls f for ids whose time is before t, unless keep says that they are
// still needed: for at most n of them, and it looks at a bounded part of the
// ids only. It goes on where the last call stopped, so that calls every few
// seconds meet every id, however many there are. The caller removes what it was
// given before it calls again; f must not change s.
func (s *IDs) Before(t time.Time, n int, keep func(t time.Time) bool, f func(id string)) {
	if n <= 0 {
		return
	}
	limit, budget := t.UnixMilli(), beforeBudget
	if t.Nanosecond()%int(time.Millisecond) > 0 {
		limit++ // the times here are whole milliseconds: before t is before the next one
	}
	for range 2 * shards {
		if i := s.cursor; i < shards {
			t := &s.uuids[i]
			budget -= scan(t, limit, &n, keep, func(e *uuidEntry) { f(formatUUID(e.id)) })
		} else {
			t := &s.texts[i-shards]
			budget -= scan(&t.table, limit, &n, keep, func(e *textEntry) { f(string(t.text(e))) })
		}
		if n <= 0 {
			return // the rest of this table comes next
		}
		s.cursor = (s.cursor + 1) % (2 * shards)
		if budget <= 0 {
			return
		}
	}
}

// scan is Before for one table. It returns how many places it looked at.
func scan[E entry](t *table[E], limit int64, n *int, keep func(time.Time) bool, f func(*E)) int {
	if t.n == 0 || t.oldest >= limit {
		return 0
	}
	oldest := int64(math.MaxInt64)
	for i := range t.slots {
		e := &t.slots[i]
		ms := (*e).when()
		if ms == noTime {
			continue
		}
		oldest = min(oldest, ms)
		if ms >= limit || keep(time.UnixMilli(ms).UTC()) {
			continue
		}
		if f(e); *n == 1 {
			*n = 0
			return i
		}
		*n--
	}
	t.oldest = oldest
	return len(t.slots)
}
