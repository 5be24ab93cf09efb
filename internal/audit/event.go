// Package audit holds the nouns of the product: the audit event as the API
// showed it, the change that it tells of, and intervals of time.
//
// It promises that an event's Raw bytes are those of the API and that its ID is
// the one identity that everything else relies on. It uses the standard library
// alone (and the JSON scanner, which does too) and knows nothing of HTTP, Kafka
// or Avro.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

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
	// The dialect auditlogs says auditId and timestamp, the other two id and eventDate.
	id, at := firstOf(v, "auditId", "id"), firstOf(v, "timestamp", "eventDate")
	var problems []string
	if e.ID = usableID(id); e.ID == "" {
		sum := sha256.Sum256(e.Raw)
		e.ID = "sha256:" + hex.EncodeToString(sum[:])
		problems = append(problems, "no usable audit id")
	}
	if at.Kind() == jsonscan.String {
		e.Time, _ = ParseTime(at.Text())
	}
	if e.Time.IsZero() {
		problems = append(problems, "no readable time")
	}
	e.Problem = strings.Join(problems, "; ")
	return e
}

// firstOf returns the member called name, or the one called other where there is none of that name.
func firstOf(v jsonscan.Value, name, other string) jsonscan.Value {
	if found := v.Get(name); found.Kind() != jsonscan.Absent {
		return found
	}
	return v.Get(other)
}

func usableID(v jsonscan.Value) string {
	if v.Kind() != jsonscan.String {
		return ""
	}
	id := v.Text()
	if len(id) > MaxIDBytes || strings.TrimSpace(id) == "" {
		return ""
	}
	return id
}

// ParseTime reads an ISO 8601 time with a zone and cuts it to milliseconds, UTC.
// Besides RFC 3339 it takes the basic zone forms +0100 and +01, a comma before
// the fraction, and a missing fraction or seconds.
func ParseTime(s string) (time.Time, bool) {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			t = t.UTC().Truncate(time.Millisecond)
			if t.Year() < 1 || t.Year() > 9999 || t.IsZero() {
				return time.Time{}, false
			}
			return t, true
		}
	}
	return time.Time{}, false
}

// time.Parse takes a fraction, after a point or a comma, wherever a layout has seconds.
var timeLayouts = []string{
	time.RFC3339,
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04Z07:00",
	"20060102T150405Z0700",
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

// Clone copies the event out of its page, so that it outlives the page.
func (e *Event) Clone() Event {
	c := *e
	doc := new(jsonscan.Doc)
	if err := doc.Parse(bytes.Clone(e.Raw)); err != nil {
		panic("audit: an event that was scanned once does not scan again: " + err.Error())
	}
	c.Fields = doc.Root()
	c.Raw = c.Fields.Raw()
	return c
}

// Purpose is why an interval is read. A lower Purpose goes first.
type Purpose uint8

// The purposes, most urgent first.
const (
	Tail     Purpose = iota // the newest events
	Sweep                   // again, for events that were shown late
	Backfill                // what was never read: history, downtime, repair
)

func (p Purpose) String() string {
	return [...]string{"tail", "sweep", "backfill"}[p]
}
