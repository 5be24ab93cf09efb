package offsets

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"genesys-audit-connector/internal/audit"
)

// The keys of the topic. What stands behind the kind is taken as it is, up to
// the key's end: stream names and ids hold slashes, and anything else.
const (
	seenKind    = "seen"
	ledgerKind  = "ledger"
	requestKind = "request"
	erasedKind  = "erased"
	tokenKind   = "token"
	logKind     = "log"
	// Facts
	newestKind   = "newest"
	verifiedKind = "verified"
)

// AppendSeenKey appends the key under which the id of a published event stands.
func AppendSeenKey(dst []byte, org, id string) []byte { return appendKey(dst, org, seenKind, id) }

// AppendSeenValue appends what stands there: the time under which the id is
// remembered, in milliseconds since 1970, decimal.
func AppendSeenValue(dst []byte, t time.Time) []byte {
	return strconv.AppendInt(dst, t.UnixMilli(), 10)
}

// AppendLedgerKey appends the key of a stream's ledger.
func AppendLedgerKey(dst []byte, org, stream string) []byte {
	return appendKey(dst, org, ledgerKind, stream)
}

// AppendRequestKey appends the key of a request.
func AppendRequestKey(dst []byte, org, id string) []byte { return appendKey(dst, org, requestKind, id) }

// AppendErasedKey appends the key of the note that an event was erased.
func AppendErasedKey(dst []byte, org, id string) []byte { return appendKey(dst, org, erasedKind, id) }

// ErasedID returns the id of the event whose erasure a record of org is the note of;
// ok is false for any other record.
func ErasedID(org string, key []byte) (id string, ok bool) {
	owner, kind, name, ok := splitKey(key)
	if !ok || string(owner) != org || string(kind) != erasedKind {
		return "", false
	}
	return string(name), true
}

// AppendTokenKey appends the key of the sealed refresh token.
func AppendTokenKey(dst []byte, org string) []byte { return appendKind(dst, org, tokenKind) }

// AppendLogKey appends the key of the evidence log's state.
func AppendLogKey(dst []byte, org string) []byte { return appendKind(dst, org, logKind) }

func appendKind(dst []byte, org, kind string) []byte {
	return append(append(append(dst, org...), '/'), kind...)
}

func appendKey(dst []byte, org, kind, name string) []byte {
	return append(append(appendKind(dst, org, kind), '/'), name...)
}

// splitKey is the reverse of the Append functions. name is nil where a kind has one key only;
// ok is false where none of them wrote the key.
func splitKey(key []byte) (org, kind, name []byte, ok bool) {
	org, rest, ok := bytes.Cut(key, []byte{'/'})
	if !ok || !isOrg(org) {
		return nil, nil, nil, false
	}
	kind, name, named := bytes.Cut(rest, []byte{'/'})
	switch string(kind) {
	case seenKind, erasedKind:
		ok = len(name) > 0 && len(name) <= audit.MaxIDBytes
	case ledgerKind, requestKind:
		ok = len(name) > 0
	case tokenKind, logKind, newestKind, verifiedKind:
		ok = !named
	default:
		ok = false
	}
	return org, kind, name, ok
}

// isOrg reports whether b can be an ORG_NAME: [a-z0-9-]{1,63}.
func isOrg(b []byte) bool {
	for _, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(b) >= 1 && len(b) <= 63
}

// Bounds of a seen time: the years that audit.ParseTime reads.
var (
	minMilli = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	maxMilli = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() - 1
)

// parseSeen is the reverse of AppendSeenValue, without an allocation.
func parseSeen(value []byte) (ms int64, ok bool) {
	digits, negative := bytes.CutPrefix(value, []byte{'-'})
	if len(digits) == 0 || len(digits) > 15 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = 10*ms + int64(c-'0')
	}
	if negative {
		ms = -ms
	}
	return ms, ms >= minMilli && ms <= maxMilli
}

// RecordError says that a record of the topic is not one that this program
// writes. It can be skipped.
type RecordError struct {
	Key  string // as it is, of any bytes
	Want string // what was expected
	Err  error  // nil, or why it is not that
}

func (e *RecordError) Error() string {
	s := fmt.Sprintf("record %s of the offsets topic is not %s", quote([]byte(e.Key)), e.Want)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *RecordError) Unwrap() error { return e.Err }

// quote makes a key fit for a log line, whatever bytes it has and however many.
func quote(key []byte) string {
	const longest = 120
	if len(key) > longest {
		return strconv.Quote(string(key[:longest])) + fmt.Sprintf("… (%d bytes)", len(key))
	}
	return strconv.Quote(string(key))
}
