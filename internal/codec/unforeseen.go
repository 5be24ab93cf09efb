package codec

import (
	"runtime/debug"
	"time"

	"genesys-audit-connector/internal/audit"
)

const problemUnforeseen = "a fault of the connector's: changes not read"

// unforeseen is what becomes of an event that makes the normalisation panic: one record with
// nothing in it but what names the event. So it is published, and all others with it. It is
// reported with the stack, for it is a fault of ours.
func (e *Encoder) unforeseen(ev *audit.Event, at time.Time, panicked any) Meta {
	if e.panicked != nil {
		e.panicked(ev.ID, panicked, debug.Stack())
	}
	e.reset()
	e.fields, e.found, e.grant, e.roleName, e.memberName = fields{}, found{}, grant{}, nil, nil
	e.bare = true
	e.none()
	if !ev.Time.IsZero() {
		at = ev.Time
	}
	meta := Meta{Problem: problemUnforeseen, Changes: len(e.changes)}
	e.writeCommon(ev.ID, at, &meta)
	return meta
}
