package evidence

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Erasure is what the note of an erasure says: who erased an event, when and why. The
// hashes are those that the event's entry was made of, so that it can still be proved
// whose entry it is. They tell no more of the event than its leaf does.
type Erasure struct {
	Org           string  `json:"org"`
	ID            string  `json:"auditId"`
	Entry         *uint64 `json:"entry,omitempty"` // of the event, nil where the log has none
	SHA256        string  `json:"sha256,omitempty"`
	Changes       int     `json:"changes"` // how many change records there were
	ChangesSHA256 string  `json:"changesSha256"`
	By            string  `json:"by"`
	Time          Time    `json:"time"`
	Reason        string  `json:"reason"`
}

// erasedPrefix is what the id in the entry of an erasure begins with.
const erasedPrefix = "erased:"

// Erase adds the entry of an erasure: it is made like an event's, of the note in place of
// the raw value, and of no change records.
func (l *Log) Erase(id string, note []byte) error {
	return l.Append(erasedPrefix+id, HashOf(note), noChanges)
}

// ErasureLeaf is the hash of that entry.
func ErasureLeaf(id string, note []byte) (Hash, error) {
	entry, err := AppendEntry(nil, erasedPrefix+id, HashOf(note), noChanges)
	return Leaf(entry), err
}

// Note is a note as it stands in the offsets topic, and the id in its key.
type Note struct {
	ID   string
	Text []byte
}

// Erased is an erased event in a report.
type Erased struct {
	ID     string    `json:"id"`
	Entry  *uint64   `json:"entry,omitempty"`
	By     string    `json:"by"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	// Present says that compaction has not removed all of its records yet.
	Present bool `json:"present"`
}

// erasure is a note under verification.
type erasure struct {
	Erasure
	id           string // as the key has it
	leaf         Hash   // of the event's entry
	raw, changes Hash
	logged       bool // the log has its entry
	present      bool
}

// erasures are all notes.
type erasures struct {
	byID    map[string]*erasure
	byLeaf  map[Hash]*erasure  // of the erasure's own entry
	byEntry map[int64]*erasure // of the event
}

// open takes the notes in. One that is not readable is as good as none.
func (e *erasures) open(v *verifier, notes []Note) {
	e.byID, e.byLeaf, e.byEntry = map[string]*erasure{}, map[Hash]*erasure{}, map[int64]*erasure{}
	for _, n := range notes {
		x, own, err := parseNote(v.in.Org, n)
		if err != nil {
			v.find(Altered, -1, n.ID, "the note of its erasure: %v", err)
			continue
		}
		e.byID[n.ID], e.byLeaf[own] = x, x
		if x.Entry != nil {
			e.byEntry[int64(*x.Entry)] = x
		}
	}
}

// ParseErasure reads a note.
func ParseErasure(n Note) (e Erasure, err error) {
	err = json.Unmarshal(n.Text, &e)
	return e, err
}

func parseNote(org string, n Note) (x *erasure, own Hash, err error) {
	x = &erasure{id: n.ID}
	if x.Erasure, err = ParseErasure(n); err != nil {
		return nil, own, err
	}
	if x.Org != org || strings.TrimSpace(x.By) == "" || x.Entry != nil && *x.Entry > maxSize {
		return nil, own, errors.New("it does not say who erased what")
	}
	if own, err = ErasureLeaf(n.ID, n.Text); err != nil || x.Entry == nil {
		return x, own, err
	}
	for to, text := range map[*Hash]string{&x.raw: x.SHA256, &x.changes: x.ChangesSHA256} {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != HashSize {
			return nil, own, fmt.Errorf("%.80q is no SHA-256", text)
		}
		copy(to[:], b)
	}
	entry, err := AppendEntry(nil, n.ID, x.raw, x.changes)
	x.leaf = Leaf(entry)
	return x, own, err
}

// erased looks at an entry that is an erasure, or that of an event which was erased. It
// reports whether it is one.
func (v *verifier) erased(index int64, leaf Hash, raw, changes *Item) bool {
	if x := v.erasures.byLeaf[leaf]; x != nil {
		if x.logged = true; raw == nil && changes == nil {
			v.report.Verified++
			return true
		}
	}
	x := v.erasures.byEntry[index]
	switch {
	case x == nil:
		return false
	case x.leaf != leaf:
		v.find(Altered, index, x.id, "the note of its erasure is of other records than the entry is")
	case raw != nil && !raw.Outside && (raw.Wrong || raw.ID != x.id || raw.Sum != x.raw):
		v.find(Altered, index, x.id, "it was erased, and its raw record is not the one that was published")
	case changes != nil && !changes.Outside && changes.Records >= x.Changes && (changes.Wrong || changes.ID != x.id || changes.Sum != x.changes):
		v.find(Altered, index, x.id, "it was erased, and its change records are not those that were published")
	default:
		x.present = raw != nil || changes != nil
		v.report.Removed++
	}
	return true
}

// unlogged names the notes that are not in the log, and reports the others.
func (v *verifier) unlogged(notes []Note) {
	v.report.Erased = []Erased{}
	for _, n := range notes {
		x := v.erasures.byID[n.ID]
		switch {
		case x == nil: // was named
		case !x.logged:
			v.find(Altered, -1, x.id, "the log has no entry of the note of its erasure as it is now")
		default:
			v.report.Erased = append(v.report.Erased, Erased{x.id, x.Entry, x.By, x.Time.Time, x.Reason, x.present})
		}
	}
}
