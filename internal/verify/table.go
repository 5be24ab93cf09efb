package verify

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"genesys-audit-connector/internal/audit"
)

// event is what is known of one event, in 28 bytes: its fields are 32 bits wide,
// so that nothing pads them.
type event struct {
	// key is the UUID that the id spells; of any other id (flag text) the upper
	// half is its hash and the lower half says where its bytes stand.
	key [16]byte
	// The stamp: a time in ms since 1970, how many raw records there are, flags.
	low, high uint32
	// Of the change records: which index comes next, of how many.
	next, count uint16
}

// The stamp's bits, from the lowest.
const (
	text      = 1 << iota // the id is no canonical UUID
	shown                 // by the API
	timed                 // the time is the event's own; otherwise that of the reading that showed it
	elsewhere             // no reading of the event's own time showed it: see Comparison.elsewhere
	altered               // a raw value does not match its digest
	whole                 // every change record is there, once
	broken                // change records contradict each other, or one is there twice
	erased                // on purpose: nothing is wrong with it
	spilled               // change records came in another order: see Comparison.spilled
	rawOne                // the lowest bit of the number of raw records

	rawBits  = 6
	rawMax   = 1<<rawBits - 1 // of more, Comparison.surplus counts the rest
	timeBits = 64 - 9 - rawBits
)

func (e *event) stamp() int64        { return int64(e.high)<<32 | int64(e.low) }
func (e *event) become(stamp int64)  { e.low, e.high = uint32(stamp), uint32(stamp>>32) }
func (e *event) has(flag int64) bool { return e.stamp()&flag != 0 }
func (e *event) set(flag int64)      { e.become(e.stamp() | flag) }
func (e *event) clear(flag int64)    { e.become(e.stamp() &^ flag) }
func (e *event) raw() int            { return int(e.stamp()>>9) & rawMax }

// ms is the time, in milliseconds since 1970: 49 bits are enough for the years
// that audit.ParseTime reads.
func (e *event) ms() int64 { return e.stamp() >> (64 - timeBits) }

func (e *event) setMS(ms int64) {
	const rest = 1<<(64-timeBits) - 1
	e.become(ms<<(64-timeBits) | e.stamp()&rest)
}

// table holds events by their ids, exactly: two ids are never taken for one. It
// is an extendible hash table, a directory by the first bits of the hash of pages
// that are split when they are full. A page takes memory in small blocks that are
// used again, so that little is ever empty and nothing is garbage. What is put in
// stays in.
type table struct {
	dir   []*page // 1<<depth entries; a page of less depth stands in several
	depth uint8
	n     int
	store store
	texts [][]byte // the bytes of ids that are no canonical UUIDs, in blocks
}

const (
	pageSize  = 128       // events a page holds, at most
	blockSize = 8         // events in a block
	slabSize  = 1 << 10   // blocks that are allocated at a time, 224 KiB
	textBlock = 1<<20 - 1 // bytes of ids that are allocated at a time
)

// page is a set of events in no order, found by the last byte of their hash.
type page struct {
	n      uint8
	depth  uint8 // how many leading bits of the hash all ids have in common
	tags   [pageSize]uint8
	blocks [pageSize / blockSize]block // as many as n events need
}

// block is the number of a block in a store.
type block uint32

// store is the memory of all pages.
type store struct {
	slabs [][]event
	used  block
	free  []block
}

// take returns a block that nobody has.
func (s *store) take() block {
	if last := len(s.free) - 1; last >= 0 {
		b := s.free[last]
		s.free = s.free[:last]
		return b
	}
	if int(s.used) == len(s.slabs)*slabSize {
		s.slabs = append(s.slabs, make([]event, slabSize*blockSize))
	}
	s.used++
	return s.used - 1
}

// at returns where the i-th event of a block is.
func (s *store) at(b block, i int) *event {
	return &s.slabs[b/slabSize][int(b%slabSize)*blockSize+i]
}

// name is an id as it is looked for.
type name struct {
	hash   uint64
	isUUID bool
	uuid   [16]byte
	text   string // the id, where it is no canonical UUID
}

// seed is random in each process, so that nobody can choose ids that collide.
var seed = maphash.MakeSeed()

func nameOf(id string) name {
	if u, ok := audit.ParseUUID(id); ok {
		return name{hash: maphash.Bytes(seed, u[:]), isUUID: true, uuid: u}
	}
	return name{hash: maphash.String(seed, id), text: id}
}

// find returns the event, nil where it is not there. It is valid until the next add.
func (t *table) find(n *name) *event {
	if t.dir == nil {
		return nil
	}
	p := t.page(n.hash)
	for i := 0; ; i++ {
		found := bytes.IndexByte(p.tags[i:p.n], uint8(n.hash))
		if found < 0 {
			return nil
		}
		if i += found; t.is(t.event(p, i), n) {
			return t.event(p, i)
		}
	}
}

// event returns the i-th event of a page.
func (t *table) event(p *page, i int) *event { return t.store.at(p.blocks[i/blockSize], i%blockSize) }

func (t *table) is(e *event, n *name) bool {
	switch {
	case e.has(text) == n.isUUID:
		return false
	case n.isUUID:
		return e.key == n.uuid
	default:
		return e.hash() == n.hash && string(t.text(e)) == n.text
	}
}

// findOrAdd returns the event, which it puts in where it is not there.
func (t *table) findOrAdd(n *name) *event {
	if e := t.find(n); e != nil {
		return e
	}
	if t.dir == nil {
		t.dir = []*page{new(page)}
	}
	p := t.page(n.hash)
	for p.n == pageSize {
		t.split(p, n.hash)
		p = t.page(n.hash)
	}
	e := event{key: n.uuid}
	if !n.isUUID {
		e.set(text)
		binary.LittleEndian.PutUint64(e.key[:], n.hash)
		binary.LittleEndian.PutUint64(e.key[8:], t.keep(n.text))
	}
	t.n++
	return t.put(p, &e, n.hash)
}

// keep stores an id's bytes and returns where: 20 bits for the block, 20 for the
// place in it, 24 for the length, which is more than a Kafka record may have.
func (t *table) keep(id string) uint64 {
	last := len(t.texts) - 1
	if last < 0 || cap(t.texts[last])-len(t.texts[last]) < len(id) {
		t.texts = append(t.texts, make([]byte, 0, max(textBlock, len(id))))
		last++
	}
	at := len(t.texts[last])
	t.texts[last] = append(t.texts[last], id...)
	return uint64(last)<<44 | uint64(at)<<24 | uint64(len(id))
}

// text returns the bytes of an id that is no canonical UUID.
func (t *table) text(e *event) []byte {
	where := binary.LittleEndian.Uint64(e.key[8:])
	at, length := where>>24&(1<<20-1), where&(1<<24-1)
	return t.texts[where>>44][at : at+length]
}

func (t *table) id(e *event) string {
	if e.has(text) {
		return string(t.text(e))
	}
	return audit.FormatUUID(e.key)
}

func (e *event) hash() uint64 {
	if e.has(text) {
		return binary.LittleEndian.Uint64(e.key[:])
	}
	return maphash.Bytes(seed, e.key[:])
}

// page is where an id of that hash belongs.
func (t *table) page(hash uint64) *page { return t.dir[hash>>(64-t.depth)] }

// split gives half of the page's hashes to a new one.
func (t *table) split(p *page, hash uint64) {
	if p.depth == t.depth {
		dir := make([]*page, 2*len(t.dir))
		for i, p := range t.dir {
			dir[2*i], dir[2*i+1] = p, p
		}
		t.dir = dir
		t.depth++
	}
	size := uint64(1) << (t.depth - p.depth)
	first := hash >> (64 - t.depth) &^ (size - 1)
	p.depth++
	q, left := &page{depth: p.depth}, uint8(0)
	for i := range int(p.n) {
		e := t.event(p, i)
		hash := e.hash()
		if hash>>(64-p.depth)&1 == 1 {
			t.put(q, e, hash)
			continue
		}
		*t.event(p, int(left)), p.tags[left] = *e, p.tags[i]
		left++
	}
	needed := func(n uint8) int { return (int(n) + blockSize - 1) / blockSize }
	t.store.free = append(t.store.free, p.blocks[needed(left):needed(p.n)]...)
	p.n = left
	for i := first + size/2; i < first+size; i++ {
		t.dir[i] = q
	}
}

// put adds an event to a page that is not full.
func (t *table) put(p *page, e *event, hash uint64) *event {
	if p.n%blockSize == 0 {
		p.blocks[p.n/blockSize] = t.store.take()
	}
	p.tags[p.n] = uint8(hash)
	p.n++
	last := t.event(p, int(p.n)-1)
	*last = *e
	return last
}

// all calls f for every event, in no order, with its place in the store.
func (t *table) all(f func(e *event, at place)) {
	var last *page
	for _, p := range t.dir {
		if p == last {
			continue
		}
		last = p
		for i := range int(p.n) {
			f(t.event(p, i), place(p.blocks[i/blockSize])*blockSize+place(i%blockSize))
		}
	}
}

// place is where an event is in a store: block and place in it.
type place uint32

func (s *store) event(at place) *event { return s.at(block(at/blockSize), int(at%blockSize)) }

// add puts an event into a store that has n of them and no pages.
func (s *store) add(e *event, n int) place {
	if n%blockSize == 0 {
		s.take()
	}
	*s.event(place(n)) = *e
	return place(n)
}
