package sink

import (
	"errors"
	"slices"
	"testing"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/poller"
)

const (
	groupCount = `{"id":"count","eventDate":"2026-09-16T08:15:00Z","action":"Update","entityType":"DirectoryGroup","entity":{"id":"g","name":""},
		"context":{"correlationId":"c"},"propertyChanges":[{"property":"memberCount","oldValues":["4"],"newValues":["5"]}]}`
	groupMember = `{"id":"member","eventDate":"2026-09-16T08:15:01Z","action":"Update","entityType":"DirectoryGroup","entity":{"id":"g","name":""},
		"context":{"correlationId":"c"},"propertyChanges":[{"property":"group-membership","oldValues":[],"newValues":["[u1]"]}]}`
)

// changeTypes are those in the changes topic, n of them, by audit id.
func (r *rig) changeTypes(t *testing.T, n int) map[string]string {
	t.Helper()
	decoder, err := codec.NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]string)
	for _, rec := range r.read(t, changesTopic, n) {
		c, err := decoder.Decode(rec.Value)
		if err != nil {
			t.Fatal(err)
		}
		types[c.AuditID] += c.Type
	}
	return types
}

// refuse has a step refused, for an event that is in it too.
func (r *rig) refuse(t *testing.T, events []poller.Publication) {
	t.Helper()
	var refused *poller.RefusedError
	err := r.Commit(t.Context(), &poller.Step{Events: append(slices.Clone(events), tooLarge(t))})
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
}

// Whether a group's member came or went is told by an event beside it: behind it
// in its step, or in a step before that was committed.
func TestSiblingsTellWhetherAMemberCame(t *testing.T) {
	member, count := publication(t, groupMember), publication(t, groupCount)
	for name, steps := range map[string][][]poller.Publication{
		"in the step":      {{member, count}},
		"in a step before": {{count}, {member}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			for _, events := range steps {
				step := &poller.Step{Events: events}
				r.refuse(t, events) // and then written again
				if err := r.Commit(t.Context(), step); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.changeTypes(t, 2); got["member"] != "ADDED" || got["count"] != "MODIFIED" {
				t.Errorf("%v", got)
			}
		})
	}
}

// A step that was given up is none that tells anything.
func TestStepThatWasNotWrittenTellsNothing(t *testing.T) {
	r := newRig(t, Config{})
	r.refuse(t, []poller.Publication{publication(t, groupCount)})
	if err := r.Commit(t.Context(), &poller.Step{Events: []poller.Publication{publication(t, groupMember)}}); err != nil {
		t.Fatal(err)
	}
	if got := r.changeTypes(t, 1); got["member"] != "MODIFIED" {
		t.Errorf("%v", got)
	}
}
