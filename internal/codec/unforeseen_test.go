package codec

import (
	"testing"

	"genesys-audit-connector/internal/audit"
)

// explosive are names that panic for one id.
type explosive struct{ id string }

func (x explosive) NameOf(_ audit.Kind, id []byte) (audit.Name, bool) {
	if string(id) == x.id {
		panic("nobody had thought of this")
	}
	return audit.Name{}, false
}

// TestPanicIsOneEventsAlone: an event that makes the normalisation panic has one record that
// says so, and its own id and time; the events before and after it are as ever.
func TestPanicIsOneEventsAlone(t *testing.T) {
	var reported []string
	e, err := NewEncoder(Options{Panicked: func(id string, _ any, stack []byte) {
		if len(stack) == 0 {
			t.Error("no stack")
		}
		reported = append(reported, id)
	}})
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	event := func(id, user string) *audit.Event {
		ev := scan(t, `{"id":"`+id+`","eventDate":"2026-01-02T03:04:05.678Z","user":{"id":"`+user+`"},"action":"Update","entityType":"Queue","propertyChanges":[{"property":"name","oldValues":["a"],"newValues":["b"]}]}`)
		return &ev
	}
	const bad = "11111111-2222-4333-8444-555555555555"
	for _, c := range []struct{ id, user, problem string }{
		{"before", "22222222-2222-4333-8444-555555555555", ""}, {"poison", bad, problemUnforeseen}, {"after", "33333333-2222-4333-8444-555555555555", ""},
	} {
		ev := event(c.id, c.user)
		e.Observe(func(yield func(*audit.Event) bool) { yield(ev) }, explosive{bad})
		meta := e.Normalise(ev, ev.Time)
		if meta.Problem != c.problem || meta.Changes != 1 {
			t.Fatalf("%s: %+v", c.id, meta)
		}
		change, err := decoder.Decode(e.Record(0))
		if err != nil || change.AuditID != c.id || !change.Time.Equal(ev.Time) || (change.Key == nil) != (c.problem != "") {
			t.Errorf("%s: %+v, %v", c.id, change, err)
		}
	}
	if len(reported) != 1 || reported[0] != "poison" {
		t.Errorf("reported %q", reported)
	}
}
