package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Record is one record of the evidence topic: what one transaction added to a log.
type Record struct {
	Org        string          `json:"org"`
	First      uint64          `json:"first"`  // index of the first entry
	Count      int             `json:"count"`  // of entries
	Leaves     []byte          `json:"leaves"` // their hashes, HashSize bytes each
	Size       uint64          `json:"size"`   // of the tree with them
	Root       []byte          `json:"root"`
	Time       Time            `json:"time"`
	Coverage   json.RawMessage `json:"coverage"` // its hash is in the checkpoint, byte for byte
	Checkpoint string          `json:"checkpoint"`
}

// Time is a time that JSON spells as the rest of the product does.
type Time struct{ time.Time }

// MarshalJSON writes RFC 3339 in milliseconds, UTC.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.UTC().Format(audit.TimeFormat)) }

// AppendKey appends the record's key: the organisation, a slash, and the index of the
// first entry in 20 digits, so that keys sort as entries do.
func (r *Record) AppendKey(dst []byte) []byte { return fmt.Appendf(dst, "%s/%020d", r.Org, r.First) }

// maxSize bounds the size of a log.
const maxSize = 1<<63 - 1

// ParseRecord reads a record and checks what it says of itself; what it says of the log
// is checked by whoever knows the records before it.
func ParseRecord(key, value []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("record %.100q of the evidence topic is not readable: %w", key, err)
	}
	wrong := func(format string, args ...any) (*Record, error) {
		return nil, fmt.Errorf("record %.100q of the evidence topic: %s", key, fmt.Sprintf(format, args...))
	}
	switch {
	case !bytes.Equal(r.AppendKey(nil), key):
		return wrong("its key is not that of its first entry, %d of %s", r.First, r.Org)
	case r.Count < 1 || len(r.Leaves)%HashSize != 0 || len(r.Leaves)/HashSize != r.Count:
		return wrong("%d bytes of hashes for %d entries", len(r.Leaves), r.Count)
	case r.First > maxSize-uint64(r.Count): // indexes are int64 elsewhere
		return wrong("there is no entry %d", r.First)
	case r.Size != r.First+uint64(r.Count):
		return wrong("%d entries from %d make a size of %d, not %d", r.Count, r.First, r.First+uint64(r.Count), r.Size)
	}
	c, err := ParseCheckpoint([]byte(r.Checkpoint))
	switch {
	case err != nil:
		return wrong("%v", err)
	case c.Origin != Origin(r.Org) || c.Size != r.Size || !bytes.Equal(c.Root[:], r.Root):
		return wrong("its checkpoint is of another tree")
	case c.Coverage != HashOf(r.Coverage):
		return wrong("its coverage is not the one that its checkpoint names")
	case !c.Time.Equal(r.Time.Time):
		return wrong("its time is not that of its checkpoint")
	}
	return &r, nil
}

// HashOf is SHA-256 of the text.
func HashOf(text []byte) Hash { return sha256.Sum256(text) }
