package offsets

import (
	"hash/maphash"
	"iter"
	"math"
	"time"
	"unsafe"

	"genesys-audit-connector/internal/audit"
)

// IDs remembers ids and a time for each, exactly. It is an extendible hash
// table: a directory, by the first bits of the hash, of pages that are split
// when they are full and merged when they are nearly empty. So it grows and
// shrinks by a page, never by copying the whole, and leaves no garbage. An id
// that is a UUID in its canonical, lower-case spelling takes 25 bytes in a page
// that is between half full and full; any other id its own bytes more. The
// garbage collector finds one pointer a page.
//
// The zero IDs is empty and ready. It is not safe for concurrent use.
type IDs struct {
	// dir has 1<<depth entries; a page whose depth is less stands in several.
	dir   []*page
	depth uint8
	pages int
	n     int
	texts int // memory that ids take which are no canonical UUIDs
	// cursor is the hash at which Before goes on.
	cursor uint64
}

// seed is random in each process, so that nobody can choose ids that collide.
var seed = maphash.MakeSeed()

// name is an id as it is looked for.
type name struct {
	hash uint64
	uuid [16]byte
	text string // the id, where it is no canonical UUID
	kind kind
}

func nameOf(id string) name {
	if u, ok := audit.ParseUUID(id); ok {
		return name{hash: maphash.Bytes(seed, u[:]), uuid: u, kind: uuidKind}
	}
	return name{hash: maphash.String(seed, id), text: id, kind: textKind}
}

// view is b as a string, which nobody may keep.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Add remembers id under the time t, cut to milliseconds; a later Add of the
// same id replaces the time.
func (s *IDs) Add(id string, t time.Time) { s.add(id, t.UnixMilli()) }

// Has reports whether id is remembered.
func (s *IDs) Has(id string) bool {
	if s.n == 0 {
		return false
	}
	n := nameOf(id)
	return s.page(n.hash).find(&n) >= 0
}

// Remove forgets id.
func (s *IDs) Remove(id string) {
	if s.n == 0 {
		return
	}
	n := nameOf(id)
	p := s.page(n.hash)
	i := p.find(&n)
	if i < 0 {
		return
	}
	s.texts -= p.textBytes()
	p.remove(i)
	s.texts += p.textBytes()
	s.n--
	s.merge(p, n.hash)
}

// Len is how many ids are remembered.
func (s *IDs) Len() int { return s.n }

// Newest is the latest time that an id is remembered under and that is before limit; zero
// where there is none.
func (s *IDs) Newest(limit time.Time) time.Time {
	newest := int64(math.MinInt64)
	for _, p := range s.dir { // a page that stands in several places is looked at again
		for i := range p.n {
			if ms := p.entries[i].ms(); ms > newest && ms < limit.UnixMilli() {
				newest = ms
			}
		}
	}
	if newest == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMilli(newest).UTC()
}

// All yields every id, in no order. The caller must not change s meanwhile.
func (s *IDs) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, p := range s.dir {
			if i > 0 && p == s.dir[i-1] {
				continue
			}
			for j := range p.n {
				if !yield(p.id(&p.entries[j])) {
					return
				}
			}
		}
	}
}

// Bytes is the memory that the ids take.
func (s *IDs) Bytes() int {
	return cap(s.dir)*int(unsafe.Sizeof(s.dir[0])) + s.pages*pageClass + s.texts
}

func (s *IDs) add(id string, ms int64) {
	n := nameOf(id)
	if s.dir == nil {
		s.dir, s.pages = []*page{newPage(0)}, 1
	}
	p := s.page(n.hash)
	if i := p.find(&n); i >= 0 {
		p.setTime(i, ms)
		return
	}
	for p.n == pageSize {
		s.split(p, n.hash)
		p = s.page(n.hash)
	}
	s.texts -= p.textBytes()
	p.add(&n, ms)
	s.texts += p.textBytes()
	s.n++
}

// page is where an id of that hash belongs.
func (s *IDs) page(hash uint64) *page { return s.dir[hash>>(64-s.depth)] }

// places is the part of the directory that holds the page of that hash.
func (s *IDs) places(p *page, hash uint64) []*page {
	size := uint64(1) << (s.depth - p.depth)
	first := hash >> (64 - s.depth) &^ (size - 1)
	return s.dir[first : first+size]
}

// split gives half of the page's hashes to a new one.
func (s *IDs) split(p *page, hash uint64) {
	if p.depth == s.depth {
		dir := make([]*page, 2*len(s.dir))
		for i, p := range s.dir {
			dir[2*i], dir[2*i+1] = p, p
		}
		s.dir = dir
		s.depth++
	}
	places := s.places(p, hash)
	s.texts -= p.textBytes()
	p.depth++
	q := newPage(p.depth)
	p.moveUpper(q)
	s.texts += p.textBytes() + q.textBytes()
	for i := len(places) / 2; i < len(places); i++ {
		places[i] = q
	}
	s.pages++
}

// merge takes the page's other half in, while both together fill less than half of one.
func (s *IDs) merge(p *page, hash uint64) {
	for p.depth > 0 && p.n <= pageSize/4 {
		other := hash ^ 1<<(64-p.depth)
		q := s.page(other)
		if q.depth != p.depth || p.n+q.n > pageSize/2 {
			return
		}
		s.texts -= p.textBytes() + q.textBytes()
		q.moveAll(p)
		s.texts += p.textBytes()
		p.depth--
		places := s.places(p, hash)
		for i := range places {
			places[i] = p
		}
		s.pages--
	}
}

// beforeBudget is how many pages and ids one call of Before looks at, at most
// by a page more: some milliseconds, however many are remembered.
const beforeBudget = 1 << 18

// Before calls f for ids whose time is before t, unless keep says that they are
// still needed: for at most n of them, and it looks at a bounded part of the
// ids only, at pages with an old id in them. It goes on where the last call
// stopped, so that calls every few seconds meet every id, however many there
// are. The caller removes what it was given before it calls again; f must not
// change s.
func (s *IDs) Before(t time.Time, n int, keep func(t time.Time) bool, f func(id string)) {
	limit := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) > 0 {
		limit++ // times are whole milliseconds here: before t is before the next one
	}
	budget := beforeBudget
	for range s.pages {
		if n <= 0 || budget <= 0 {
			return
		}
		p := s.page(s.cursor)
		budget--
		if p.oldest < limit {
			budget -= int(p.n)
			if n -= p.before(limit, n, keep, f); n <= 0 {
				return // the rest of this page comes next
			}
		}
		if p.depth == 0 {
			return
		}
		// To the first hash of the next page; after the last one, 0.
		s.cursor = (s.cursor>>(64-p.depth) + 1) << (64 - p.depth)
	}
}

// before is IDs.Before for one page. It returns for how many ids it called f.
func (p *page) before(limit int64, n int, keep func(time.Time) bool, f func(string)) (called int) {
	oldest := int64(math.MaxInt64)
	for i := range p.n {
		e := &p.entries[i]
		ms := e.ms()
		oldest = min(oldest, ms)
		if ms >= limit || keep(time.UnixMilli(ms).UTC()) {
			continue
		}
		f(p.id(e))
		if called++; called == n {
			return called
		}
	}
	p.oldest = oldest
	return called
}
