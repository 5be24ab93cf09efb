// Package audit holds the nouns of the product: the audit event as the API
// showed it, the change that it tells of, and intervals of time.
//
// It promises that an event's Raw bytes are those of the API and that its ID is
// the one identity that everything else relies on. It uses the standard library
// alone (and the JSON scanner, which does too) and knows nothing of HTTP, Kafka
// or Avro.
package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"genesys-audit-connector/internal/jsonscan"
)

// MaxIDBytes is the longest id that is taken as it is.
const MaxIDBytes = 512

// Event is one audit event. Raw and Fields share the memory of the page that
// the event came with and are valid until that Page is released; the strings
// are the event's own.
type Event struct {
	// ID is the event's auditId where that is usable, else "sha256:" and the
	// hexadecimal digest of Raw, so that equal bytes are one event.
	ID string
	// Raw is the event's JSON, byte for byte as the API sent it.
	Raw []byte
	// Fields is Raw, parsed.
	Fields jsonscan.Value
	// Time is when the event happened, UTC, in whole milliseconds. It is zero
	// when the event has no time that can be read.
	Time time.Time
	// Problem says what had to be made up because the event lacks it; "" for most.
	Problem string
}

// NewEvent identifies the event that v holds. An event has no further
// conditions to meet: whatever JSON value it is, it can be published.
func NewEvent(v jsonscan.Value) Event {
	e := Event{Raw: v.Raw(), Fields: v}
	// The dialect auditlogs says auditId and timestamp, the other two id and eventDate,
	// a notification (AuditTopicAuditLogMessage of the vendor's SDK) id and eventTime.
	var auditID, id, timestamp, eventDate, eventTime jsonscan.Value
	var text []byte // of what is spelled with escapes
	for m := v.Members(); m.Next(); {
		switch string(m.Key().View(&text)) {
		case "auditId":
			auditID = m.Value()
		case "id":
			id = m.Value()
		case "timestamp":
			timestamp = m.Value()
		case "eventDate":
			eventDate = m.Value()
		case "eventTime":
			eventTime = m.Value()
		}
	}
	var problems []string
	if e.ID = usableID(cmp.Or(auditID, id)); e.ID == "" {
		sum := sha256.Sum256(e.Raw)
		e.ID = "sha256:" + hex.EncodeToString(sum[:])
		problems = append(problems, "no usable audit id")
	}
	if at := cmp.Or(timestamp, eventDate, eventTime); at.Kind() == jsonscan.String {
		e.Time, _ = parseTime(at.View(&text))
	}
	if e.Time.IsZero() {
		problems = append(problems, "no readable time")
	}
	e.Problem = strings.Join(problems, "; ")
	return e
}

// usableID is the text of an id, "" where that cannot tell the event from others.
// One with U+FFFD is such: it stands for whatever could not be made a character,
// so that two ids might read alike, and one of the events be lost.
func usableID(v jsonscan.Value) string {
	if v.Kind() != jsonscan.String {
		return ""
	}
	id := v.Text()
	if len(id) > MaxIDBytes || strings.TrimSpace(id) == "" || strings.ContainsRune(id, utf8.RuneError) {
		return ""
	}
	return id
}

// Page is what one answer of the API held. Its events share its memory.
type Page struct {
	Events []Event
	// Bytes is the size of the answer's body, decompressed.
	Bytes int
	// Free gives the page's memory back; nil where that is the garbage collector's.
	Free func()
}

// Release gives the page's memory back. Its events must not be used any more.
func (p *Page) Release() {
	free := p.Free
	p.Events, p.Free = nil, nil
	if free != nil {
		free()
	}
}

// Purpose is why an interval is read. A lower Purpose goes first.
type Purpose uint8

// The purposes, most urgent first.
const (
	Tail     Purpose = iota // the newest events
	Preview                 // the newest events as a dialect shows them that has not all
	Sweep                   // again, for events that were shown late
	Backfill                // what was never read: history, downtime, repair
	Lookup                  // what ids are called, for a step that waits; it never goes past the tail
	Listing                 // what everything of a kind is called; nor does this
)

func (p Purpose) String() string {
	return [...]string{"tail", "preview", "sweep", "backfill", "names", "lists"}[p]
}
