package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"
)

// form is a shape in which an event is served.
type form uint8

const (
	formAuditlogs    form = iota // dialect auditlogs
	formQuery                    // dialects query and realtime
	formExpanded                 // the same with ?expand=user
	formNotification             // dialect query, in some downloaded files
	forms
)

// event is one audit event as the organisation keeps it. Its bytes in dialect
// auditlogs are kept; the other forms are written again whenever they are
// asked for, and come out the same.
type event struct {
	at      int64  // milliseconds since 1970, by which it is ordered; its body may say something else
	seq     uint64 // order of arrival: the second key, so that every event has one place
	visible int64  // milliseconds since 1970, from which the API shows it
	n       uint64 // what its dice are rolled from
	scene   *scene
	actor   *actor
	odd     *oddity // nil for an ordinary one
	id      string  // "" where it has no usable one
	flat    []byte
	query   []byte // given by EmitRaw; nil: written on demand

	shown atomic.Uint32 // bit per form that was served to the end
}

// appendTo appends the event's bytes in a form; nothing where it has none.
func (e *event) appendTo(dst []byte, w *world, f form) []byte {
	switch {
	case f == formAuditlogs:
		return append(dst, e.flat...)
	case e.query != nil:
		return append(dst, e.query...)
	case e.scene.service == "":
		return dst
	}
	dst, _ = w.appendEvent(dst, e, f)
	return dst
}

// key is the id that a consumer knows the event by: its own, or that of its
// bytes.
func (e *event) key(body []byte) string {
	if e.id != "" {
		return e.id
	}
	return "sha256:" + digest(body)
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func (e *event) time() time.Time { return time.UnixMilli(e.at).UTC() }

// precedes orders events by time, and within one millisecond by arrival.
func (e *event) precedes(p place) bool {
	return e.at < p.at || e.at == p.at && e.seq < p.seq
}

// place is a position in the order of events.
type place struct {
	at  int64
	seq uint64
}

func (e *event) place() place { return place{e.at, e.seq} }

// next is the first place after p.
func (p place) next() place { return place{p.at, p.seq + 1} }
