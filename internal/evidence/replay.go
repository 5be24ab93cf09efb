package evidence

import (
	"bytes"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
)

// Replay follows a log through its records from the first one on, in memory for the
// tree's right edge.
type Replay struct {
	org  string
	edge *compact.Range
	last Checkpoint
}

// NewReplay follows an organisation's log.
func NewReplay(org string) *Replay { return &Replay{org: org, edge: trees.NewEmptyRange(0)} }

// Size is how many entries have been followed.
func (r *Replay) Size() uint64 { return r.edge.End() }

// Add follows the next record. After an error the replay is where it was before.
func (r *Replay) Add(next *Record) error {
	if next.Org != r.org {
		return fmt.Errorf("a record of organisation %s in the log of %s", next.Org, r.org)
	}
	if next.First != r.Size() {
		return fmt.Errorf("record of entry %d does not follow the record before it: entry %d would", next.First, r.Size())
	}
	grown, err := trees.NewRange(0, r.edge.End(), append([][]byte(nil), r.edge.Hashes()...))
	if err != nil {
		return err
	}
	for leaves := bytes.Clone(next.Leaves); len(leaves) > 0; leaves = leaves[HashSize:] {
		if err := grown.Append(leaves[:HashSize], nil); err != nil {
			return err
		}
	}
	root, err := grown.GetRootHash(nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(root, next.Root) {
		return fmt.Errorf("record of entry %d: its root is not that of the entries up to it", next.First)
	}
	c, err := ParseCheckpoint([]byte(next.Checkpoint))
	if err != nil {
		return err
	}
	r.edge, r.last = grown, c
	return nil
}

// Log is the log as it is after the last record, ready to grow.
func (r *Replay) Log(keys Keys) *Log {
	return &Log{org: r.org, keys: keys, edge: r.edge, last: r.last}
}

// Replay follows the log from what is committed on.
func (l *Log) Replay() *Replay { return &Replay{org: l.org, edge: l.edge, last: l.last} }
