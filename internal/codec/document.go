package codec

import (
	"slices"

	"genesys-audit-connector/internal/jsonscan"
)

// Snapshots are the documents before and after the event that was normalised last. ok is
// false where it has none, and its changes are all that it tells. They are valid until the
// next Normalise.
func (e *Encoder) Snapshots() (before, after jsonscan.Value, ok bool) {
	f := &e.fields
	switch {
	case hasElements(f.propertyChanges) || hasElements(f.entityChanges):
		return before, after, false
	case isPresent(f.before) || isPresent(f.after):
		return f.before, f.after, true
	}
	payload := f.rawPayload
	if e.doc == &e.payload {
		payload = e.payload.Root()
	}
	before, after = payload.Get("before"), payload.Get("after")
	return before, after, isPresent(before) || isPresent(after)
}

// Paths are the configuration keys that documents of an entity type are expected to have;
// none where it has no mapping.
func (all *Mappings) Paths(entityType string) []string {
	if m := all.of([]byte(entityType)); m != nil {
		return slices.Clone(m.Paths)
	}
	return nil
}
