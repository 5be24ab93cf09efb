package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
)

func text(s string) *string { return &s }

var noon = time.Date(2026, 9, 1, 10, 0, 0, 0, time.UTC) // Tuesday 12:00 in Berlin

// grant is a role given to somebody, as dialect auditlogs tells it.
func grant(id, actor, member, role string, at time.Time) consumer.Message {
	return consumer.Message{
		ID: id + ":0", Org: "acme", Published: at.Add(time.Second),
		Change: consumer.Change{
			AuditID: id, Count: 1, Time: at, UserID: text(actor), UserName: text("Name of " + actor), Action: "MemberAdd",
			EntityType: "role", EntityID: text("id of " + role), EntityName: text(member + "--id of " + role + "--org"), Type: "NONE",
			Context: map[string]string{"userId": member, "roleId": "id of " + role, "orgId": "org", "roleName": role, "memberName": "Name of " + member},
			Status:  text("SUCCESS"),
		},
	}
}

func edited(m consumer.Message, edit func(*consumer.Message)) consumer.Message {
	edit(&m)
	return m
}

// names are the rules of alerts.
func names(alerts []*Alert) string {
	var list []string
	for _, a := range alerts {
		list = append(list, a.Rule)
	}
	return strings.Join(list, ", ")
}

func TestRules(t *testing.T) {
	own := parse(t, `rules:
- {name: actor, when: {actor: ["u-7", "*client*"]}}
- {name: values, when: {key: "o.*", previousValue: "1", newValue: "/^[23]$/", changeType: MODIFIED}}
- {name: failed, when: {status: FAILURE, member: Name of b}}
- {name: name, when: {entityName: "*--id of Agent--*"}}`)
	for name, c := range map[string]struct {
		rules   *Rules
		message consumer.Message
		want    string
	}{
		"history": {own, edited(grant("1", "u-7", "b", "x", noon), func(m *consumer.Message) { m.Published = noon.Add(25 * time.Hour) }), ""},
		"late":    {own, edited(grant("1", "u-7", "b", "x", noon), func(m *consumer.Message) { m.Published = noon.Add(23 * time.Hour) }), "actor"},
		"client":  {own, edited(grant("1", "a", "b", "x", noon), func(m *consumer.Message) { m.UserID, m.UserName, m.ClientID = nil, nil, text("my-client-1") }), "actor"},
		"values": {own, edited(grant("1", "a", "b", "x", noon), func(m *consumer.Message) {
			m.Key, m.Type, m.Previous, m.New = text("o.timeout"), "MODIFIED", text("1"), text("2")
		}), "values"},
		"other values": {own, edited(grant("1", "a", "b", "x", noon), func(m *consumer.Message) {
			m.Key, m.Type, m.Previous, m.New = text("o.timeout"), "MODIFIED", text("1"), text("4")
		}), ""},
		"failed": {own, edited(grant("1", "a", "b", "x", noon), func(m *consumer.Message) { m.Status = text("FAILURE") }), "failed"},
		"name":   {own, grant("1", "a", "b", "Agent", noon), "name"},
	} {
		e := newEvaluator(c.rules, 24*time.Hour)
		alerts := e.alerts(&c.message)
		if got := names(alerts); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

// TestOncePerEvent: an event of several changes alerts once, and again as long as it was not sent.
func TestOncePerEvent(t *testing.T) {
	e := newEvaluator(parse(t, "rules: [{name: any, when: {entityType: role}}]"), time.Hour)
	first := grant("1", "a", "b", "x", noon)
	second := edited(first, func(m *consumer.Message) { m.Index, m.ID = 1, "1:1" })
	failed := e.alerts(&first)
	again := e.alerts(&first)
	if len(failed) != 1 || len(again) != 1 || failed[0].Key != again[0].Key {
		t.Fatalf("%v, then %v", failed, again)
	}
	again[0].markSent()
	if alerts := e.alerts(&second); len(alerts) != 0 {
		t.Errorf("another change of the event: %v", alerts)
	}
	other := grant("2", "a", "b", "x", noon)
	if alerts := e.alerts(&other); len(alerts) != 1 || alerts[0].Key == again[0].Key {
		t.Errorf("another event: %v", alerts)
	}
	elsewhere := edited(first, func(m *consumer.Message) { m.Org = "other" })
	if alerts := e.alerts(&elsewhere); len(alerts) != 1 || alerts[0].Key == again[0].Key {
		t.Errorf("another organisation: %v", alerts)
	}
}

const burstRules = "rules: [{name: burst, when: {action: MemberAdd}, many: {count: 3, within: 10m, by: actor}}]"

// feed shows messages, sends what is found, and returns the events that bursts end with, and the keys.
func feed(e *evaluator, messages []consumer.Message) (ends, keys []string) {
	for i := range messages {
		for _, a := range e.alerts(&messages[i]) {
			a.markSent()
			if len(a.Events) > 0 {
				ends = append(ends, a.Events[len(a.Events)-1])
			}
			keys = append(keys, a.Key)
		}
	}
	return ends, keys
}

func TestBurst(t *testing.T) {
	minutes := func(actor string, list ...float64) []consumer.Message {
		var messages []consumer.Message
		for _, at := range list {
			messages = append(messages, grant(fmt.Sprint(actor, at), actor, "m", "r", noon.Add(time.Duration(at*float64(time.Minute)))))
		}
		return messages
	}
	for name, c := range map[string]struct {
		messages []consumer.Message
		ends     []string // audit ids of the events that alerts are about
	}{
		"too few":               {minutes("a", 0, 5), nil},
		"enough":                {minutes("a", 0, 5, 9.9), []string{"a9.9"}},
		"too slow":              {minutes("a", 0, 5, 10), nil},
		"sliding":               {minutes("a", 0, 9, 12, 18), []string{"a18"}},
		"one burst, one alert":  {minutes("a", 0, 1, 2, 3, 4, 5, 6), []string{"a2"}},
		"it goes on":            {minutes("a", 0, 1, 2, 5, 8, 11, 13), []string{"a2"}},
		"it ends and begins":    {minutes("a", 0, 1, 2, 11.5, 11.6, 11.7), []string{"a2", "a11.6"}},
		"two bursts":            {minutes("a", 0, 1, 2, 30, 31, 32), []string{"a2", "a32"}},
		"by actor":              {append(minutes("a", 0, 1), minutes("b", 2, 3)...), nil},
		"one late":              {minutes("a", 0, 5, 2), []string{"a5"}},
		"late, already alerted": {minutes("a", 0, 5, 6, 2), []string{"a6"}},
		"repeats":               {minutes("a", 0, 0, 0, 0), nil},
	} {
		e := newEvaluator(parse(t, burstRules), 24*time.Hour)
		if got, _ := feed(e, c.messages); !slices.Equal(got, c.ends) {
			t.Errorf("%s: %v, not %v", name, got, c.ends)
		}
		again := newEvaluator(parse(t, burstRules), 24*time.Hour)
		if got, _ := feed(again, append(slices.Clone(c.messages), c.messages...)); !slices.Equal(got, c.ends) {
			t.Errorf("%s, shown twice: %v", name, got)
		}
	}
	e := newEvaluator(parse(t, burstRules), 24*time.Hour)
	var last *Alert
	for _, m := range minutes("a", 0, 5, 9) {
		for _, a := range e.alerts(&m) {
			last = a
		}
	}
	if last == nil || !slices.Equal(last.Events, []string{"a0", "a5", "a9"}) || !strings.HasPrefix(last.Summary, "burst: 3 events within 10m0s, the last: ") {
		t.Errorf("%+v", last)
	}
}

// TestRestart ends the evaluator anywhere and starts another, which is shown what
// was published within Memory again: the alerts must be the same.
func TestRestart(t *testing.T) {
	rules := parse(t, burstRules)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	bursts := 0
	for range 200 {
		at := noon
		var messages []consumer.Message
		for i := range 60 {
			at = at.Add(time.Duration(random.IntN(400)) * time.Second)
			messages = append(messages, grant(fmt.Sprint(i), fmt.Sprint("actor ", random.IntN(2)), "m", "r", at))
		}
		wantEnds, wantKeys := feed(newEvaluator(rules, 24*time.Hour), messages)
		bursts += len(wantEnds)
		var gotEnds, gotKeys []string
		for start := 0; start < len(messages); {
			e := newEvaluator(rules, 24*time.Hour)
			for i := range messages[:start] {
				if messages[start].Published.Sub(messages[i].Published) <= rules.Memory()+time.Minute {
					feed(e, messages[i:i+1]) // recalled
				}
			}
			end := min(start+1+random.IntN(20), len(messages))
			ends, keys := feed(e, messages[start:end])
			gotEnds, gotKeys = append(gotEnds, ends...), append(gotKeys, keys...)
			start = end
		}
		if !slices.Equal(gotEnds, wantEnds) || !slices.Equal(gotKeys, wantKeys) {
			t.Fatalf("bursts %v, with restarts %v", wantEnds, gotEnds)
		}
	}
	if bursts < 200 {
		t.Errorf("only %d bursts were there to lose", bursts)
	}
}

// TestMemory shows that what cannot count any more is forgotten.
func TestMemory(t *testing.T) {
	rules := parse(t, "rules: [{name: any, when: {entityType: role}}, {name: burst, when: {action: MemberAdd}, many: {count: 3, within: 10m, by: actor}}]")
	e := newEvaluator(rules, 24*time.Hour)
	for i := range 20 * forgetEvery {
		m := grant(fmt.Sprint(i), fmt.Sprint("actor ", i%5000), "m", "r", noon.Add(time.Duration(i)*10*time.Second))
		feed(e, []consumer.Message{m})
	}
	occurrences := 0
	for _, w := range e.windows {
		occurrences += len(w.events)
	}
	// An hour and the memory, at one event in 10 s, and what came since it was last tidied up.
	if most := 6*80 + forgetEvery; len(e.sent) > most || occurrences > most || len(e.windows) > most {
		t.Errorf("%d keys, %d windows with %d events", len(e.sent), len(e.windows), occurrences)
	}
}
