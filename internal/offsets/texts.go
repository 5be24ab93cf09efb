package offsets

// textEntry is an id that is no canonical UUID. Its bytes stand in the table's
// buffer; the hash is kept so that moving it needs no look at them.
type textEntry struct {
	sum    uint64
	at     stamp
	offset uint32
	length uint32
}

func (e textEntry) hash() uint64 { return e.sum }
func (e textEntry) when() int64  { return e.at.ms() }

// textTable is a shard of the ids that are no canonical UUIDs.
type textTable struct {
	table[textEntry]
	bytes []byte
	dead  int // bytes of removed ids
}

func (t *textTable) text(e *textEntry) []byte { return t.bytes[e.offset : e.offset+e.length] }

// find is where id stands, or where it would be put.
func (t *textTable) find(h uint64, id []byte) (at int, found bool) {
	if len(t.slots) == 0 {
		return 0, false
	}
	for i := t.home(h); ; i = t.next(i) {
		switch e := &t.slots[i]; {
		case e.at == 0:
			return i, false
		case e.sum == h && string(t.text(e)) == string(id):
			return i, true
		}
	}
}

// add reports whether id is new.
func (t *textTable) add(shard int, h uint64, id []byte, ms int64) bool {
	t.room(shard)
	i, found := t.find(h, id)
	if found {
		t.slots[i].at = newStamp(ms)
		t.oldest = min(t.oldest, ms)
		return false
	}
	if len(t.bytes)+len(id) > cap(t.bytes) {
		t.compact(len(id))
	}
	t.put(i, textEntry{h, newStamp(ms), uint32(len(t.bytes)), uint32(len(id))})
	t.bytes = append(t.bytes, id...)
	return true
}

// remove reports whether id was there.
func (t *textTable) remove(h uint64, id []byte) bool {
	i, found := t.find(h, id)
	if !found {
		return false
	}
	t.dead += int(t.slots[i].length)
	t.table.remove(i)
	if t.n == 0 || t.dead > len(t.bytes)/2 {
		t.compact(0)
	}
	return true
}

// compact moves the bytes of the ids that are left into a new buffer with room
// for more, and for a quarter of what there is.
func (t *textTable) compact(more int) {
	live := len(t.bytes) - t.dead
	fresh := make([]byte, 0, live+live/4+more)
	for i := range t.slots {
		if e := &t.slots[i]; e.at != 0 {
			offset := uint32(len(fresh))
			fresh = append(fresh, t.text(e)...)
			e.offset = offset
		}
	}
	t.bytes, t.dead = fresh, 0
}
