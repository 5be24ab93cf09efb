// Package evidence is the log that shows tampering: a Merkle tree as in RFC 6962 over
// every event that an organisation's connector has published, in the order of
// publication.
//
// It promises that a log grows by whole transactions or not at all, and that what one
// checkpoint says of it can be proved of every later one. It knows entries, hashes,
// checkpoints and signatures, and refuses to know how records travel.
package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Origin is the name of an organisation's log in its checkpoints.
func Origin(org string) string { return "genesys-audit-connector/" + org }

var trees = compact.RangeFactory{Hash: children}

// Log is the growing end of a log: the roots of the whole subtrees at its right edge,
// which is all that it takes to append to it. It is not safe for concurrent use.
//
// A transaction is Begin, an Append for each event, Seal; then Commit, once it is known
// to be durable. Begin forgets what was appended and not committed.
type Log struct {
	org  string
	keys Keys

	edge *compact.Range // of what is committed
	last Checkpoint     // zero for a log without entries

	grown   *compact.Range // edge, and the entries of this transaction
	leaves  []byte         // of these entries
	entry   []byte
	next    Checkpoint
	changed bool // whether Seal has anything to say
}

// state is what the offsets topic holds of a log.
type state struct {
	Size       uint64   `json:"size"`
	Edge       [][]byte `json:"edge"`       // hashes of whole subtrees, the largest first
	Checkpoint string   `json:"checkpoint"` // the newest one, as it was published
}

// Open opens an organisation's log as an earlier transaction left it. saved is what
// Seal returned then; nil opens a log that begins now. An error means that the state is
// damaged: such a log must not be begun anew in silence.
func Open(org string, saved []byte, keys Keys) (*Log, error) {
	l := &Log{org: org, keys: keys, edge: trees.NewEmptyRange(0)}
	if saved == nil {
		return l, nil
	}
	var s state
	if err := json.Unmarshal(saved, &s); err != nil {
		return nil, fmt.Errorf("the state of the evidence log cannot be read: %w", err)
	}
	last, err := ParseCheckpoint([]byte(s.Checkpoint))
	if err != nil {
		return nil, fmt.Errorf("the state of the evidence log: %w", err)
	}
	for _, h := range s.Edge {
		if len(h) != HashSize {
			return nil, fmt.Errorf("the state of the evidence log has a hash of %d bytes; want %d", len(h), HashSize)
		}
	}
	if l.edge, err = trees.NewRange(0, last.Size, s.Edge); err != nil {
		return nil, fmt.Errorf("the state of the evidence log: %w", err)
	}
	root, err := l.edge.GetRootHash(nil)
	if err != nil || last.Size == 0 || last.Size != s.Size || last.Origin != Origin(org) || !bytes.Equal(root, last.Root[:]) {
		return nil, errors.New("the state of the evidence log contradicts itself: its hashes are not those of its checkpoint")
	}
	l.last = last
	return l, nil
}

// Size is how many entries are committed.
func (l *Log) Size() uint64 { return l.edge.End() }

// Newest is the checkpoint of what is committed; zero where nothing is.
func (l *Log) Newest() Checkpoint { return l.last }

// Begin begins a transaction.
func (l *Log) Begin() {
	l.changed, l.leaves = false, l.leaves[:0]
	// The subtrees' hashes are never written to; the list of them is.
	l.grown, _ = trees.NewRange(0, l.edge.End(), append([][]byte(nil), l.edge.Hashes()...))
}

// Next is the index of the entry that Append adds next.
func (l *Log) Next() uint64 { return l.grown.End() }

// Append adds the entry of a published event.
func (l *Log) Append(id string, raw, changes Hash) (err error) {
	if l.entry, err = AppendEntry(append(l.entry[:0], rfc6962.RFC6962LeafHashPrefix), id, raw, changes); err != nil {
		return err
	}
	leaf := leafOf(l.entry)
	l.leaves = append(l.leaves, leaf[:]...)
	return l.grown.Append(leaf[:], nil) // which keeps it
}

// maxCoverage bounds the coverage in a record, in bytes of JSON. Thousands of gaps in
// many streams may come to more than a topic takes, and no event is to wait for them:
// the record then has the size and the hash of what the ledgers say.
const maxCoverage = 256 << 10

// Sealed is what a transaction writes of the log besides the events' own records.
type Sealed struct {
	Record Record // for the evidence topic
	State  []byte // for the offsets topic
}

// Seal ends a transaction that has appended something: nil where it has not. coverage is
// what the transaction leaves known of each stream's time, and is written as JSON.
func (l *Log) Seal(now time.Time, coverage any) (*Sealed, error) {
	if len(l.leaves) == 0 {
		return nil, nil
	}
	known, err := json.Marshal(coverage)
	if err != nil {
		return nil, fmt.Errorf("coverage: %w", err)
	}
	if len(known) > maxCoverage {
		known = fmt.Appendf(nil, `{"omitted":{"bytes":%d,"sha256":"%x"}}`, len(known), HashOf(known))
	}
	root, err := l.grown.GetRootHash(nil)
	if err != nil {
		return nil, err
	}
	c := Checkpoint{Origin: Origin(l.org), Size: l.grown.End(), Time: now, Coverage: HashOf(known)}
	copy(c.Root[:], root)
	if err := l.keys.sign(&c, l.last); err != nil {
		return nil, err
	}
	saved, err := json.Marshal(state{Size: c.Size, Edge: l.grown.Hashes(), Checkpoint: c.Text})
	if err != nil {
		return nil, err
	}
	l.next, l.changed = c, true
	return &Sealed{
		Record: Record{
			Org: l.org, First: l.edge.End(), Count: len(l.leaves) / HashSize, Leaves: l.leaves,
			Size: c.Size, Root: c.Root[:], Time: Time{now}, Coverage: known, Checkpoint: c.Text,
		},
		State: saved,
	}, nil
}

// Commit takes note that the transaction is durable.
func (l *Log) Commit() {
	if l.changed {
		l.edge, l.last = l.grown, l.next
	}
	l.Begin()
}
