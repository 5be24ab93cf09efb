package evidence

import (
	"bytes"
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
	Wrong   bool // the raw value is not that of its own header sha256; the change records' keys do not count up
	Rest    bool // of the change records: the first of them is not that of changeIndex 0
	Null    bool // the value of the record is null: a tombstone
	Outside bool // its event is not one that was asked for: nothing is found to be wrong with it
	Records int
	Offset  int64 // of the first record
	Body    any   // what the reader wants to be given back by Each

	cut bool // records of it were removed with all that stood before them
	at  int  // number of its partition
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
	// Erasures are the notes of erased events, read after it was known where raw and
	// changes end, and before the log.
	Erasures []Note
	// Checkpoints were kept elsewhere.
	Checkpoints []Checkpoint
	// Known are the verifiers' keys; nil where signatures are not looked at.
	Known note.Verifiers
	// Authorities are those whose time stamps are believed; nil where their signatures
	// are not looked at.
	Authorities *x509.CertPool
	// Each is called for each entry of which something is there, in the log's order; not for
	// one that was published meanwhile and not looked at. May be nil.
	Each func(Entry) error
}

// Entry is an entry of the log as it was held against its records.
type Entry struct {
	Index        int64
	Raw, Changes *Item // nil for what is not there
	Proved       bool  // both are those that the entry was made of
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
	// Removed are entries of events that were erased, Erased who did that, when and why.
	Removed uint64   `json:"removed,omitempty"`
	Erased  []Erased `json:"erased"`
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
	erasures  erasures
	replay    *Replay
	size      uint64 // entries read; more than the replay's where its root is lost
	rootless  bool   // a record of the log is lost: roots cannot be computed any more
	progress  func(entries uint64)
	entryText []byte
	holes     []hole          // in the log, in order
	apart     bool            // the records of an entry were seen in partitions of two numbers
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
	v.erasures.open(v, in.Erasures)
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
		if len(v.holes) < maxGone {
			v.holes = append(v.holes, hole{int64(v.size), int64(r.First)})
		}
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

// hole is a stretch of entries of which the log has no record.
type hole struct{ from, to int64 }

// unrecorded reports whether an entry lies in a hole.
func (v *verifier) unrecorded(index int64) bool {
	_, in := slices.BinarySearchFunc(v.holes, index, func(h hole, index int64) int {
		switch {
		case h.to <= index:
			return -1
		case h.from > index:
			return 1
		}
		return 0
	})
	return in
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
	if v.erased(index, leaf, raw, changes) {
		return nil
	}
	before := v.report.Verified
	if err := v.judge(index, leaf, young, raw, changes); err != nil {
		return err
	}
	proved := v.report.Verified > before
	if v.in.Each == nil || raw == nil && changes == nil || young && !proved {
		return nil
	}
	return v.in.Each(Entry{index, raw, changes, proved})
}

// judge says what is wrong with the records of an entry; nil for what is not there.
func (v *verifier) judge(index int64, leaf Hash, young bool, raw, changes *Item) error {
	switch {
	case raw != nil && raw.Wrong && !raw.Outside:
		v.find(Altered, index, raw.ID, "the raw record is not the one that its header sha256 says it is")
		return nil
	case young && (raw == nil || changes == nil):
		v.report.Young++
		return nil
	case raw == nil && v.expired(index, &v.raw, changes), raw != nil && changes == nil && v.expired(index, &v.changes, raw):
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
		changes = &Item{Sum: noChanges, ID: raw.ID, at: raw.at}
	}
	return v.hold(index, leaf, young, raw, changes)
}

// hold holds an entry's records against its leaf.
func (v *verifier) hold(index int64, leaf Hash, young bool, raw, changes *Item) error {
	entry, err := AppendEntry(v.entryText[:0], raw.ID, raw.Sum, changes.Sum)
	v.entryText = entry
	same := err == nil && Leaf(entry) == leaf
	switch {
	case same && raw.ID == changes.ID && !changes.Wrong:
		v.report.Verified++
		v.apart = v.apart || raw.at != changes.at
	case raw.Outside:
	case same: // the values are not altered
		v.find(Altered, index, raw.ID, "the keys of its change records are not <its id>:0, <its id>:1, …")
	case young: // not all of its change records were read
		v.report.Young++
	case changes.cut:
		v.report.Expired++
	case changes.Records == 0:
		v.changes.lost(index)
		v.find(Missing, index, raw.ID, "its change records are gone")
	default:
		v.find(Altered, index, raw.ID, "the raw record or the change records are not those that were published")
	}
	return nil
}

// expired reports whether an entry's records on one side may have been removed with all
// that stood before them in their partition. Which partition that was is known by the
// records on the other side, where there are such and both topics have as many partitions.
func (v *verifier) expired(index int64, gone *side, other *Item) bool {
	paired := len(v.raw.all) == len(v.changes.all) && !v.apart
	for p := range gone.all {
		switch {
		case !gone.all[p].shortened(index):
		case !paired, other != nil && other.at == p, other == nil && v.changes.all[p].shortened(index):
			return true
		}
	}
	return false
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
	v.unlogged(v.in.Erasures)
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
