package codec

import (
	"bytes"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// readAt is the time that events without one are given.
var readAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// scan makes an event of its JSON.
func scan(t testing.TB, text string) audit.Event {
	t.Helper()
	doc := new(jsonscan.Doc)
	if err := doc.Parse([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return audit.NewEvent(doc.Root())
}

func newTestEncoder(t testing.TB) *Encoder {
	t.Helper()
	e, err := NewEncoder(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// records are the values that an encoder writes for an event.
func records(e *Encoder, ev *audit.Event) ([][]byte, Meta) {
	meta := e.Normalise(ev, readAt)
	all := make([][]byte, meta.Changes)
	for i := range all {
		all[i] = bytes.Clone(e.Record(i))
	}
	return all, meta
}

// changes are the decoded records of an event.
func changes(t testing.TB, text string) ([]audit.Change, Meta) {
	t.Helper()
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	ev := scan(t, text)
	values, meta := records(newTestEncoder(t), &ev)
	var all []audit.Change
	for _, value := range values {
		c, err := decoder.Decode(value)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, c)
	}
	return all, meta
}
