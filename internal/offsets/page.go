package offsets

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"unsafe"

	"genesys-audit-connector/internal/audit"
)

// pageSize is how many ids a page holds, so that it and the allocator's header
// of 8 bytes fill a size class: pageClass bytes.
const (
	pageSize  = 162
	pageClass = 4096
)

// page is a set of at most pageSize ids in no order, found by the last byte of
// their hash.
type page struct {
	texts  *texts // nil while all ids are canonical UUIDs
	oldest int64  // no later than the time of any id
	n      uint8
	depth  uint8 // how many leading bits of the hash all ids have in common
	tags   [pageSize]uint8
	// entries is where the ids are.
	entries [pageSize]entry
}

// texts holds the bytes of ids that are no canonical UUIDs.
type texts struct {
	bytes []byte
	dead  int // bytes of ids that were removed
}

// kind tells how an entry spells its id.
type kind uint8

const (
	uuidKind kind = iota // the key is the UUID
	textKind             // the key is the hash, and where in texts the id stands
)

// entry is one id and its time.
type entry struct {
	key [16]byte
	// stamp is the time in milliseconds since 1970, shifted by one, and the kind.
	stamp int64
}

func newStamp(ms int64, k kind) int64 {
	return max(min(ms, math.MaxInt64>>1), math.MinInt64>>1)<<1 | int64(k)
}

func (e *entry) ms() int64  { return e.stamp >> 1 }
func (e *entry) kind() kind { return kind(e.stamp & 1) }

func (e *entry) hash() uint64 {
	if e.kind() == uuidKind {
		return maphash.Bytes(seed, e.key[:])
	}
	return binary.LittleEndian.Uint64(e.key[:])
}

func newPage(depth uint8) *page { return &page{depth: depth, oldest: math.MaxInt64} }

// find is where the id stands, or -1.
func (p *page) find(n *name) int {
	for i := 0; ; i++ {
		found := bytes.IndexByte(p.tags[i:p.n], uint8(n.hash))
		if found < 0 {
			return -1
		}
		if i += found; p.is(&p.entries[i], n) {
			return i
		}
	}
}

func (p *page) is(e *entry, n *name) bool {
	switch {
	case e.kind() != n.kind:
		return false
	case n.kind == uuidKind:
		return e.key == n.uuid
	default:
		return e.hash() == n.hash && string(p.text(e)) == n.text
	}
}

// text is the id of an entry of textKind, as long as the page does not change.
func (p *page) text(e *entry) []byte {
	at, size := binary.LittleEndian.Uint32(e.key[8:]), binary.LittleEndian.Uint32(e.key[12:])
	return p.texts.bytes[at : at+size]
}

func (p *page) id(e *entry) string {
	if e.kind() == uuidKind {
		return audit.FormatUUID(e.key)
	}
	return string(p.text(e))
}

// add puts in an id that is not there, into a page that is not full.
func (p *page) add(n *name, ms int64) {
	key := n.uuid
	if n.kind == textKind {
		if p.texts == nil {
			p.texts = new(texts)
		}
		binary.LittleEndian.PutUint64(key[:], n.hash)
		binary.LittleEndian.PutUint32(key[8:], uint32(len(p.texts.bytes)))
		binary.LittleEndian.PutUint32(key[12:], uint32(len(n.text)))
		p.texts.bytes = append(p.texts.bytes, n.text...)
	}
	p.entries[p.n] = entry{key: key, stamp: newStamp(ms, n.kind)}
	p.tags[p.n] = uint8(n.hash)
	p.n++
	p.oldest = min(p.oldest, ms)
}

func (p *page) setTime(i int, ms int64) {
	p.entries[i].stamp = newStamp(ms, p.entries[i].kind())
	p.oldest = min(p.oldest, ms)
}

// remove takes the i-th id out; the last one takes its place.
func (p *page) remove(i int) {
	if e := &p.entries[i]; e.kind() == textKind {
		p.texts.dead += len(p.text(e))
	}
	p.n--
	p.entries[i], p.tags[i] = p.entries[p.n], p.tags[p.n]
	if p.texts != nil && 2*p.texts.dead >= len(p.texts.bytes) {
		p.compact()
	}
}

// copyTo adds the i-th id to q and leaves it here.
func (p *page) copyTo(q *page, i int) {
	e := &p.entries[i]
	n := name{hash: e.hash(), uuid: e.key, kind: e.kind()}
	if n.kind == textKind {
		n.text = view(p.text(e))
	}
	q.add(&n, e.ms())
}

// moveUpper moves the ids to q whose next bit of the hash is 1.
func (p *page) moveUpper(q *page) {
	left := uint8(0)
	for i := range int(p.n) {
		if p.entries[i].hash()>>(64-p.depth)&1 == 1 {
			p.copyTo(q, i)
			if e := &p.entries[i]; e.kind() == textKind {
				p.texts.dead += len(p.text(e))
			}
			continue
		}
		p.entries[left], p.tags[left] = p.entries[i], p.tags[i]
		left++
	}
	p.n = left
	if p.texts != nil {
		p.compact()
	}
}

// moveAll moves all ids to q.
func (p *page) moveAll(q *page) {
	for i := range int(p.n) {
		p.copyTo(q, i)
	}
	p.n, p.texts = 0, nil
}

// compact copies the bytes of the ids that are left, so that the rest is free.
func (p *page) compact() {
	fresh := make([]byte, 0, len(p.texts.bytes)-p.texts.dead)
	needed := false
	for i := range p.n {
		if e := &p.entries[i]; e.kind() == textKind {
			at := len(fresh)
			fresh = append(fresh, p.text(e)...)
			binary.LittleEndian.PutUint32(e.key[8:], uint32(at))
			needed = true
		}
	}
	if !needed {
		p.texts = nil
		return
	}
	*p.texts = texts{bytes: fresh}
}

// textBytes is the memory that the ids take which are no canonical UUIDs, beside the page's.
func (p *page) textBytes() int {
	if p.texts == nil {
		return 0
	}
	return int(unsafe.Sizeof(*p.texts)) + cap(p.texts.bytes)
}
