package codec

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"genesys-audit-connector/internal/audit"
)

func countEvent(correlation, group, before, after string) string {
	return fmt.Sprintf(`{"id":"count","action":"Update","entityType":"DirectoryGroup","entity":{"id":%q,"name":""},"context":{"correlationId":%q,"userid":"a"},
		"propertyChanges":[{"property":"memberCount","oldValues":[%q],"newValues":[%q]}]}`, group, correlation, before, after)
}

func memberEvent(correlation, group string, members ...string) string {
	return fmt.Sprintf(`{"id":"members","action":"Update","entityType":"DirectoryGroup","entity":{"id":%q,"name":""},"context":{"correlationId":%q},
		"propertyChanges":[{"property":"group-membership","oldValues":[],"newValues":["[%s]"]}]}`, group, correlation, strings.Join(members, ", "))
}

// kinds are the changes of the last event of a step: ADDED u1, …
func kinds(t *testing.T, e *Encoder, step ...string) string {
	t.Helper()
	var out []string
	all := stepChanges(t, e, step...)
	for _, c := range all[len(all)-1] {
		out = append(out, c.Type+" "+refOr(c.MemberID))
	}
	return strings.Join(out, ", ")
}

// TestDirectionOfGroupMembers: a member came or went where a count of the same
// change of the same group says so, and of as many; never otherwise.
func TestDirectionOfGroupMembers(t *testing.T) {
	one, two := memberEvent("c", "g", "u1"), memberEvent("c", "g", "u1", "u2")
	for name, c := range map[string]struct {
		step []string
		want string
	}{
		"no sibling":              {[]string{one}, "MODIFIED u1"},
		"came":                    {[]string{countEvent("c", "g", "4", "5"), one}, "ADDED u1"},
		"went":                    {[]string{countEvent("c", "g", "5", "4"), one}, "REMOVED u1"},
		"the first one came":      {[]string{countEvent("c", "g", "0", "1"), one}, "ADDED u1"},
		"two came":                {[]string{countEvent("c", "g", "4", "6"), two}, "ADDED u1, ADDED u2"},
		"two went":                {[]string{countEvent("c", "g", "12", "10"), two}, "REMOVED u1, REMOVED u2"},
		"two, of whom one more":   {[]string{countEvent("c", "g", "4", "5"), two}, "MODIFIED u1, MODIFIED u2"},
		"one, but two more":       {[]string{countEvent("c", "g", "4", "6"), one}, "MODIFIED u1"},
		"as many as before":       {[]string{countEvent("c", "g", "4", "4"), one}, "MODIFIED u1"},
		"another change":          {[]string{countEvent("d", "g", "4", "5"), one}, "MODIFIED u1"},
		"another group":           {[]string{countEvent("c", "h", "4", "5"), one}, "MODIFIED u1"},
		"told twice":              {[]string{countEvent("c", "g", "4", "5"), countEvent("c", "g", "5", "6"), one}, "ADDED u1"},
		"contradictory":           {[]string{countEvent("c", "g", "4", "5"), countEvent("c", "g", "5", "4"), one}, "MODIFIED u1"},
		"contradictory thrice":    {[]string{countEvent("c", "g", "4", "5"), countEvent("c", "g", "5", "4"), countEvent("c", "g", "4", "5"), one}, "MODIFIED u1"},
		"counts that are none":    {[]string{countEvent("c", "g", "many", "5"), countEvent("c", "g", "-1", "0"), countEvent("c", "g", "4", "9999999999"), one}, "MODIFIED u1"},
		"several counts in one":   {[]string{strings.Replace(countEvent("c", "g", "4", "5"), `["4"]`, `["4","3"]`, 1), one}, "MODIFIED u1"},
		"counts as numbers":       {[]string{strings.Replace(countEvent("c", "g", "4", "5"), `["4"]`, `4`, 1), one}, "ADDED u1"},
		"no correlation":          {[]string{countEvent("", "g", "4", "5"), memberEvent("", "g", "u1")}, "MODIFIED u1"},
		"the group has no id":     {[]string{countEvent("c", "", "4", "5"), memberEvent("c", "", "u1")}, "MODIFIED u1"},
		"correlation of 129":      {[]string{countEvent(strings.Repeat("c", 129), "g", "4", "5"), memberEvent(strings.Repeat("c", 129), "g", "u1")}, "MODIFIED u1"},
		"correlation of 128":      {[]string{countEvent(strings.Repeat("c", 128), "g", "4", "5"), memberEvent(strings.Repeat("c", 128), "g", "u1")}, "ADDED u1"},
		"oldValues says it":       {[]string{strings.Replace(memberEvent("c", "g", "u2", "u3"), `"oldValues":[]`, `"oldValues":["[u1, u2]"]`, 1)}, "REMOVED u1, ADDED u3"},
		"the action says it":      {[]string{strings.Replace(one, `"Update"`, `"MemberRemove"`, 1)}, "REMOVED u1"},
		"not before every event":  {[]string{`7`, `{"propertyChanges":"memberCount","context":{"correlationId":[]}}`, countEvent("c", "g", "4", "5"), one}, "ADDED u1"},
		"memberships of no words": {[]string{countEvent("c", "g", "4", "5"), memberEvent("c", "g", "u 1")}, "MODIFIED "},
		"nobody":                  {[]string{countEvent("c", "g", "4", "5"), memberEvent("c", "g")}, "MODIFIED "},
	} {
		if got := kinds(t, newTestEncoder(t), c.step...); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	// A count that comes later in the step is known as well.
	all := stepChanges(t, newTestEncoder(t), one, countEvent("c", "g", "5", "4"))
	if got := all[0][0]; got.Type != "REMOVED" || *got.Previous != "u1" || got.New != nil || *got.Key != "group-membership" {
		t.Errorf("%s", asJSON(got))
	}
}

// TestSiblingsOfEarlierSteps are known from the step's commit on; a step that is
// written again gives the same records.
func TestSiblingsOfEarlierSteps(t *testing.T) {
	e := newTestEncoder(t)
	member := memberEvent("c", "g", "u1")
	if got := kinds(t, e, countEvent("c", "g", "4", "5"), `{}`); got != "NONE " {
		t.Fatal(got)
	}
	if got := kinds(t, e, member); got != "MODIFIED u1" {
		t.Errorf("the step before was not committed: %s", got)
	}
	kinds(t, e, countEvent("c", "g", "4", "5"))
	e.Committed()
	for range 3 {
		if got := kinds(t, e, member); got != "ADDED u1" {
			t.Errorf("the step before was committed: %s", got)
		}
	}
	e.Committed()
	for range 3 { // aborted twice, then committed
		if got := kinds(t, e, countEvent("c", "g", "5", "4"), member); got != "MODIFIED u1" {
			t.Errorf("this step and an earlier one contradict each other: %s", got)
		}
	}
	e.Committed()
	if got := kinds(t, e, member); got != "MODIFIED u1" {
		t.Errorf("two earlier steps contradict each other: %s", got)
	}
}

// TestSiblingsAreBounded: the oldest are forgotten, and then not guessed.
func TestSiblingsAreBounded(t *testing.T) {
	e := newTestEncoder(t)
	step := make([]string, 100)
	for n := 0; n < 3*keptSiblings; n += len(step) {
		for i := range step {
			step[i] = countEvent(fmt.Sprintf("c%d", n+i), "g", "4", "5")
		}
		stepChanges(t, e, step...)
		e.Committed()
		if len(e.siblings.past) > keptSiblings || len(e.siblings.step) > 0 {
			t.Fatalf("%d and %d are remembered", len(e.siblings.past), len(e.siblings.step))
		}
	}
	last := 3*keptSiblings/len(step)*len(step) + len(step) - 1
	for n, want := range map[int]string{last: "ADDED u1", last - keptSiblings + 1: "ADDED u1", last - keptSiblings: "MODIFIED u1", 0: "MODIFIED u1"} {
		if got := kinds(t, e, memberEvent(fmt.Sprintf("c%d", n), "g", "u1")); got != want {
			t.Errorf("change %d of %d: %s, want %s", n, last, got, want)
		}
	}
}

// TestObservingAllocatesNothingPerEvent: a step in which a direction is asked for
// costs two allocations, however many events it has, and no other step any.
func TestObservingAllocatesNothingPerEvent(t *testing.T) {
	e := newTestEncoder(t)
	typical, member := scan(t, typicalEvent), scan(t, memberEvent("c", "g", "u1", "u2"))
	for name, c := range map[string]struct {
		step   []*audit.Event
		allocs float64
	}{
		"typical":       {slices.Repeat([]*audit.Event{&typical}, 50), 0},
		"group members": {slices.Repeat([]*audit.Event{&typical, &member}, 50), 2},
	} {
		events := slices.Values(c.step)
		allocs := testing.AllocsPerRun(100, func() {
			e.Observe(events, nil)
			for _, ev := range c.step {
				for i := range e.Normalise(ev, readAt).Changes {
					e.Record(i)
				}
			}
			e.Committed()
		})
		if allocs > c.allocs {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// BenchmarkStep is what the siblings cost a step in which nobody asks for them.
func BenchmarkStep(b *testing.B) {
	e := newTestEncoder(b)
	ev := scan(b, typicalEvent)
	events := slices.Values(slices.Repeat([]*audit.Event{&ev}, 1000))
	b.ReportAllocs()
	for b.Loop() {
		e.Observe(events, nil)
		e.Committed()
	}
}
