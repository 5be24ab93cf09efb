package evidence

import (
	"container/heap"
	"errors"
	"io"
)

// side is one of the two topics that the log is about.
type side struct {
	v     *verifier
	what  string
	heads heads
	all   []*head
	aside map[int64][]stray  // items that stand in front of an earlier entry's
	held  int                // of them
	gone  map[int64]struct{} // entries that were found missing: their record may turn up
}

// head is the next item of a partition.
type head struct {
	Partition
	at         int // its number
	item, next Item
	begun      bool
	first      int64 // index of the first item that has one; -1 before
}

// stray is an item that does not stand where it should, and where it does.
type stray struct {
	Item
	partition string
}

func (s *side) open(parts []Partition) error {
	s.aside, s.gone = map[int64][]stray{}, map[int64]struct{}{}
	for at, p := range parts {
		h := &head{Partition: p, at: at, first: -1, item: Item{Index: -1}, next: Item{Index: -1}}
		s.all = append(s.all, h)
		if more, err := s.advance(h); err != nil {
			return err
		} else if more {
			heap.Push(&s.heads, h)
		}
	}
	return nil
}

// advance moves to the partition's next item. One that stands in front of an earlier
// entry's is put aside, for it would hide all that follows; unless it is that one which
// stands behind where it belongs.
func (s *side) advance(h *head) (more bool, err error) {
	for last := h.item.Index; ; {
		if h.item, more, err = s.claim(h); !more || err != nil {
			return false, err
		}
		if h.next.Index <= last || h.next.Index >= h.item.Index || s.held >= maxGone {
			return true, nil
		}
		s.held++
		s.aside[h.item.Index] = append(s.aside[h.item.Index], stray{h.item, h.Name})
	}
}

// claim is the partition's next item that claims an entry; the one behind it is h.next.
func (s *side) claim(h *head) (item Item, more bool, err error) {
	if !h.begun {
		h.begun = true
		if h.next, err = s.read(h); err != nil {
			return Item{}, false, err
		}
	}
	item = h.next
	if item.Index < 0 {
		return item, false, nil
	}
	if h.first < 0 {
		h.first, item.cut = item.Index, h.Begin > 0 && item.Rest
	}
	h.next, err = s.read(h)
	return item, err == nil, err
}

// read reads on to an item that claims an entry; its index is -1 at the end.
func (s *side) read(h *head) (Item, error) {
	for {
		item, err := h.Next()
		item.at = h.at
		switch {
		case errors.Is(err, io.EOF):
			return Item{Index: -1}, nil
		case err != nil:
			return item, err
		case item.Null:
			if s.v.erasures.byID[item.ID] == nil && !item.Outside {
				s.v.find(Inserted, -1, item.ID, "%s, offset %d: a null value, at which consumers delete the %s, and nobody erased the event", h.Name, item.Offset, s.what)
			}
		case item.Index >= 0:
			return item, nil
		case item.Outside:
		case h.first >= 0:
			s.v.find(Inserted, -1, item.ID, "%s, offset %d: a %s that claims no entry stands behind one of entry %d", h.Name, item.Offset, s.what, h.first)
		case s == &s.v.raw:
			s.v.report.Uncovered++
		}
	}
}

// pop takes the first head's item.
func (s *side) pop() (item Item, from *head, err error) {
	h := s.heads[0]
	item = h.item
	more, err := s.advance(h)
	if err != nil {
		return item, h, err
	}
	if more {
		heap.Fix(&s.heads, 0)
	} else {
		heap.Pop(&s.heads)
	}
	return item, h, nil
}

// take returns the item that claims an entry; nil where there is none.
func (s *side) take(index int64) (taken *Item, err error) {
	for len(s.heads) > 0 && s.heads[0].item.Index <= index {
		item, from, err := s.pop()
		if err != nil {
			return nil, err
		}
		if item.Index == index && taken == nil {
			taken = &item
		} else {
			s.late(stray{item, from.Name})
		}
	}
	for _, item := range s.aside[index] {
		kind, where := Reordered, "stands in front of that of an earlier entry"
		if taken != nil {
			kind, where = Twice, "claims the entry too"
		} else {
			taken = &item.Item
		}
		if !item.Outside {
			s.v.find(kind, index, item.ID, "%s, offset %d: the %s %s", item.partition, item.Offset, s.what, where)
		}
	}
	s.held -= len(s.aside[index])
	delete(s.aside, index)
	return taken, nil
}

// late is an item whose entry was looked at already.
func (s *side) late(item stray) {
	kind := Twice
	if _, ok := s.gone[item.Index]; ok {
		delete(s.gone, item.Index)
		s.v.unfind(Missing, item.Index)
		kind = Reordered
	}
	if item.Outside {
		return
	}
	if s.v.unrecorded(item.Index) {
		s.v.find(Damaged, item.Index, item.ID, "%s, offset %d: the %s cannot be proved: the log's record of its entry is gone", item.partition, item.Offset, s.what)
		return
	}
	s.v.find(kind, item.Index, item.ID, "%s, offset %d: the %s stands behind that of a later entry", item.partition, item.Offset, s.what)
}

// maxGone bounds the memory for items that are not in their place.
const maxGone = 1 << 18

// lost notes that an entry's item was not there when it was looked for.
func (s *side) lost(index int64) {
	if len(s.gone) < maxGone {
		s.gone[index] = struct{}{}
	}
}

// shortened reports whether an entry's record may have stood before the partition's first.
func (h *head) shortened(index int64) bool {
	return h.Begin > 0 && (h.first < 0 || index < h.first)
}

// drain looks at what claims none of the log's entries.
func (s *side) drain(size uint64) error {
	extra := func(item stray) {
		if item.Outside {
			return
		}
		s.v.find(Inserted, item.Index, item.ID, "%s, offset %d: a %s claims entry %d of a log of %d", item.partition, item.Offset, s.what, item.Index, size)
	}
	for len(s.heads) > 0 {
		item, from, err := s.pop()
		if err != nil {
			return err
		}
		if at := (stray{item, from.Name}); item.Index < int64(size) {
			s.late(at)
		} else {
			extra(at)
		}
	}
	for _, list := range s.aside {
		for _, item := range list {
			extra(item)
		}
	}
	return nil
}

// heads is a heap of partitions by the entry that their next item claims.
type heads []*head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return h[i].item.Index < h[j].item.Index }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(*head)) }
func (h *heads) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
