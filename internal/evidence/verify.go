package evidence

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Kind is what is wrong with a log or with what it is about.
type Kind string

// The kinds.
const (
	Missing      Kind = "missing"      // an entry without its raw record, or without its change records
	Altered      Kind = "altered"      // records that are not those that the entry was made of
	Reordered    Kind = "reordered"    // a record that stands behind a later entry's
	Twice        Kind = "twice"        // one more record that claims an entry
	Inserted     Kind = "inserted"     // a record that no entry is about
	Damaged      Kind = "log"          // a record of the log itself that is not as it was written
	Shorter      Kind = "shorter"      // the log ends before a checkpoint
	Inconsistent Kind = "inconsistent" // the log is not the one that a checkpoint is of
	Signer       Kind = "signer"       // a checkpoint without a signature by a known key
)

// Item is what verification needs of an event's raw record, or of all its change
// records together, which stand one behind the other.
type Item struct {
	Index   int64 // the entry that it claims; -1 for none
	ID      string
	Sum     Hash // of the raw value; of the change records as Changes has it
	Wrong   bool // the raw value is not that of its own header sha256
	Outside bool // its event is not one that was asked for: nothing is found to be wrong with it
	Records int
	Offset  int64 // of the first record

	cut bool // records of it may have been removed with all that stood before them
}

// Partition is one partition of the raw or the changes topic, in order of offset.
type Partition struct {
	Name string // for findings
	// Begin is the offset of the first record that there is: more than zero where older
	// ones were removed.
	Begin int64
	Next  func() (Item, error) // io.EOF at the end
}

// Input is what is verified. The log must end later than raw and changes: each entry that
// these claim is then in it.
type Input struct {
	Org string
	// Log returns the records of the evidence topic in their order, io.EOF at the end.
	Log          func() (LogItem, error)
	Raw, Changes []Partition
	// Checkpoints were kept elsewhere.
	Checkpoints []Checkpoint
	// Known are the verifiers' keys; nil where signatures are not looked at.
	Known note.Verifiers
	// Authorities are those whose time stamps are believed; nil where their signatures
	// are not looked at.
	Authorities *x509.CertPool
}

// LogItem is a record of the evidence topic as it stands there.
type LogItem struct {
	Key, Value []byte
	Offset     int64
	// Young is a record that may have been committed after raw and changes ended: what
	// its entries are of need not have been read.
	Young bool
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Index  int64  `json:"index"` // of the entry; -1 where it is none
	ID     string `json:"id,omitempty"`
	Detail string `json:"detail"`
}

// maxFindings are kept; all are counted.
const maxFindings = 1000

// Report is the outcome.
type Report struct {
	OK       bool   `json:"ok"`
	Org      string `json:"org"`
	Size     uint64 `json:"size"` // entries
	Root     []byte `json:"root"`
	Verified uint64 `json:"verified"` // entries whose records are as they were published
	// Expired are entries whose records are gone together with all before them in their
	// partition, as retention removes them. Their leaves still prove the rest.
	Expired uint64 `json:"expired"`
	// Young are entries that were published while it was verified, and not looked at.
	Young uint64 `json:"young,omitempty"`
	// Uncovered are events that were published before the log began.
	Uncovered   uint64       `json:"uncovered"`
	Checkpoints int          `json:"checkpoints"` // from elsewhere, that the log agrees with
	Counts      map[Kind]int `json:"counts"`
	Findings    []Finding    `json:"findings"` // the first thousand
	Newest      string       `json:"checkpoint"`
	Stamps      int          `json:"stamps"`           // time stamps in the log that are of it
	Stamped     time.Time    `json:"stamped,omitzero"` // the newest of them
}

// verifier is one verification under way.
type verifier struct {
	in        Input
	report    Report
	raw       side
	changes   side
	replay    *Replay
	size      uint64 // entries read; more than the replay's where its root is lost
	rootless  bool   // a record of the log is lost: roots cannot be computed any more
	progress  func(entries uint64)
	entryText []byte
	roots     map[uint64]Hash // of the sizes in order
	order     []uint64
	kept      map[uint64][]Checkpoint // by size
}

// Verify holds what is in Kafka against the log, and the log against itself and the
// checkpoints. It takes memory for a record of each partition, and for what is wrong.
// progress may be nil. An error means that something could not be read.
func Verify(ctx context.Context, in Input, progress func(entries uint64)) (*Report, error) {
	v := &verifier{
		in: in, replay: NewReplay(in.Org), progress: progress, kept: map[uint64][]Checkpoint{}, roots: map[uint64]Hash{},
		report: Report{Org: in.Org, Counts: map[Kind]int{}, Findings: []Finding{}},
	}
	for _, c := range in.Checkpoints {
		v.keep(c)
	}
	for _, s := range []struct {
		side  *side
		parts []Partition
		what  string
	}{{&v.raw, in.Raw, "raw record"}, {&v.changes, in.Changes, "change records"}} {
		s.side.v, s.side.what = v, s.what
		if err := s.side.open(s.parts); err != nil {
			return nil, err
		}
	}
	for ctx.Err() == nil {
		item, err := in.Log()
		if errors.Is(err, io.EOF) {
			return v.end()
		}
		if err != nil {
			return nil, err
		}
		if IsStamp(item.Key) {
			v.stamped(ctx, item)
		} else if err := v.record(item); err != nil {
			return nil, err
		}
	}
	return nil, context.Cause(ctx)
}

func (v *verifier) find(k Kind, index int64, id, format string, args ...any) {
	v.report.Counts[k]++
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, Finding{k, index, id, fmt.Sprintf(format, args...)})
	}
}

// unfind takes a finding back.
func (v *verifier) unfind(k Kind, index int64) {
	if v.report.Counts[k]--; v.report.Counts[k] == 0 {
		delete(v.report.Counts, k)
	}
	v.report.Findings = slices.DeleteFunc(v.report.Findings, func(f Finding) bool { return f.Kind == k && f.Index == index })
}

// keep takes a checkpoint that was kept elsewhere.
func (v *verifier) keep(c Checkpoint) {
	if c.Origin != Origin(v.in.Org) {
		v.find(Inconsistent, -1, "", "a checkpoint of %s is given, for the log of %s", c.Origin, v.in.Org)
		return
	}
	v.signed(c)
	v.kept[c.Size] = append(v.kept[c.Size], c)
}

// signed looks at a checkpoint's signatures.
func (v *verifier) signed(c Checkpoint) {
	if v.in.Known == nil {
		return
	}
	if _, err := c.Verify(v.in.Known); err != nil {
		v.find(Signer, int64(c.Size)-1, "", "%v", err)
	}
}

// record takes the next record of the log, and looks at the records of its entries.
func (v *verifier) record(item LogItem) error {
	r, err := ParseRecord(item.Key, item.Value)
	if err != nil {
		v.find(Damaged, -1, "", "offset %d: %v", item.Offset, err)
		v.rootless = true
		return nil
	}
	switch {
	case r.First < v.size:
		v.find(Damaged, int64(r.First), "", "offset %d: a record of entries %d to %d stands behind that of entry %d", item.Offset, r.First, r.Size-1, v.size-1)
		return nil
	case r.First > v.size:
		v.find(Damaged, int64(v.size), "", "the log has no record of entries %d to %d", v.size, r.First-1)
		v.rootless = true
		v.size = r.First
	}
	if !v.rootless {
		before := append([][]byte(nil), v.replay.edge.Hashes()...)
		if err := v.replay.Add(r); err != nil {
			v.find(Damaged, int64(r.First), "", "offset %d: %v", item.Offset, err)
			v.rootless = true
		} else if err := v.compare(r, before); err != nil {
			return err
		}
	}
	if c, err := ParseCheckpoint([]byte(r.Checkpoint)); err == nil {
		v.signed(c)
		v.remember(c.Size, c.Root)
	}
	v.report.Newest, v.report.Root = r.Checkpoint, r.Root
	for n := range r.Count {
		if err := v.entry(int64(r.First)+int64(n), Hash(r.Leaves[n*HashSize:][:HashSize]), item.Young); err != nil {
			return err
		}
	}
	v.size = r.Size
	if v.progress != nil {
		v.progress(v.size)
	}
	return nil
}

// compare holds the log against kept checkpoints of sizes up to the record's. Their tree
// may end within the record, in a log that was written anew.
func (v *verifier) compare(r *Record, before [][]byte) error {
	if len(v.kept) == 0 {
		return nil
	}
	edge, err := trees.NewRange(0, r.First, before)
	if err != nil {
		return err
	}
	for n := range r.Count {
		if err := edge.Append(bytes.Clone(r.Leaves[n*HashSize:][:HashSize]), nil); err != nil {
			return err
		}
		for _, c := range v.kept[edge.End()] {
			root, err := edge.GetRootHash(nil)
			if err != nil {
				return err
			}
			if bytes.Equal(root, c.Root[:]) {
				v.report.Checkpoints++
			} else {
				v.find(Inconsistent, int64(c.Size)-1, "", "the log's first %d entries are not those that the checkpoint of %s is of", c.Size, c.Time.UTC().Format("2006-01-02T15:04:05Z"))
			}
		}
		delete(v.kept, edge.End())
	}
	return nil
}

// entry looks at the records of one entry.
func (v *verifier) entry(index int64, leaf Hash, young bool) error {
	raw, err := v.raw.take(index)
	if err != nil {
		return err
	}
	changes, err := v.changes.take(index)
	if err != nil {
		return err
	}
	switch {
	case young && (raw == nil || changes == nil):
		v.report.Young++
		return nil
	case raw == nil && v.raw.shortened(index), raw != nil && changes == nil && v.changes.shortened(index):
		v.report.Expired++
		return nil
	case raw == nil:
		id := ""
		if changes != nil {
			id = changes.ID
		}
		v.raw.lost(index)
		v.find(Missing, index, id, "its raw record is gone")
		return nil
	case changes == nil:
		changes = &Item{Sum: noChanges}
	}
	entry, err := AppendEntry(v.entryText[:0], raw.ID, raw.Sum, changes.Sum)
	v.entryText = entry
	switch {
	case err == nil && Leaf(entry) == leaf:
		v.report.Verified++
	case young: // not all of its change records were read
		v.report.Young++
	case changes.cut:
		v.report.Expired++
	case raw.Outside:
	case raw.Wrong:
		v.find(Altered, index, raw.ID, "the raw record is not the one that was published")
	case changes.Records == 0:
		v.changes.lost(index)
		v.find(Missing, index, raw.ID, "its change records are gone")
	default:
		v.find(Altered, index, raw.ID, "the raw record or the change records are not those that were published")
	}
	return nil
}

// noChanges is the hash of no change records.
var noChanges = func() Hash {
	var c Changes
	c.Reset()
	return c.Sum()
}()

// end looks at what is left when the log ends.
func (v *verifier) end() (*Report, error) {
	for _, s := range []*side{&v.raw, &v.changes} {
		if err := s.drain(v.size); err != nil {
			return nil, err
		}
	}
	for size, list := range v.kept {
		for range list {
			switch {
			case size > v.size:
				v.find(Shorter, int64(v.size)-1, "", "the log has %d entries; a checkpoint says that it had %d", v.size, size)
			case size > 0:
				v.find(Inconsistent, int64(size)-1, "", "the log cannot be held against the checkpoint of %d entries: a record of it is lost", size)
			}
		}
	}
	r := &v.report
	r.Size = v.size
	r.OK = len(r.Counts) == 0
	return r, nil
}

// side is one of the two topics that the log is about.
type side struct {
	v     *verifier
	what  string
	heads heads
	all   []*head
	aside map[int64][]stray  // items that stand in front of an earlier entry's
	gone  map[int64]struct{} // entries that were found missing: their record may turn up
}

// head is the next item of a partition.
type head struct {
	Partition
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
	for _, p := range parts {
		h := &head{Partition: p, first: -1, item: Item{Index: -1}, next: Item{Index: -1}}
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
		if h.next.Index <= last || h.next.Index >= h.item.Index || len(s.aside) >= maxGone {
			return true, nil
		}
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
		h.first, item.cut = item.Index, h.Begin > 0
	}
	h.next, err = s.read(h)
	return item, err == nil, err
}

// read reads on to an item that claims an entry; its index is -1 at the end.
func (s *side) read(h *head) (Item, error) {
	for {
		item, err := h.Next()
		switch {
		case errors.Is(err, io.EOF):
			return Item{Index: -1}, nil
		case err != nil || item.Index >= 0:
			return item, err
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

// shortened reports whether the entry's record may have been removed with all that stood
// before it in its partition: which partition that was is not known.
func (s *side) shortened(index int64) bool {
	for _, h := range s.all {
		if h.Begin > 0 && (h.first < 0 || index < h.first) {
			return true
		}
	}
	return false
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
