package offsets

import (
	"bytes"
	"encoding/json"
)

// movedVersion is a version that no program reads, so that none, of whatever version, goes
// on with a ledger that was moved to another topic.
const movedVersion = 1_000_000

// movedJSON stands in place of a ledger that was moved.
type movedJSON struct {
	Version int             `json:"version"`
	MovedTo string          `json:"movedTo"`
	Was     json.RawMessage `json:"was"`
}

// Moved is what stands in place of a ledger once it was moved to another topic. It keeps
// the ledger, for the move may be interrupted.
func Moved(ledger []byte, topic string) []byte {
	b, _ := json.Marshal(movedJSON{movedVersion, topic, ledger}) // a ledger is JSON: no error
	return b
}

// ParseMoved is the reverse of Moved; ok is false for any other value.
func ParseMoved(value []byte) (ledger []byte, topic string, ok bool) {
	var m movedJSON
	if json.Unmarshal(value, &m) != nil || m.Version != movedVersion || m.MovedTo == "" {
		return nil, "", false
	}
	return m.Was, m.MovedTo, true
}

// Kept reports whether a key is one of org's, and whether it is a ledger's.
func Kept(org string, key []byte) (ours, ledger bool) {
	rest, ours := bytes.CutPrefix(key, []byte(org+"/"))
	return ours, ours && bytes.HasPrefix(rest, []byte(ledgerKind+"/"))
}
