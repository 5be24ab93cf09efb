package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// subject is a change with who did it, and to whom, where it is about a role.
type subject struct {
	*consumer.Message
	actorID, actorName   string
	roleID, roleName     string
	memberID, memberName string
}

func (r *Rules) subject(m *consumer.Message) *subject {
	s := &subject{Message: m}
	s.actorID = cmp.Or(consumer.Text(m.UserID), consumer.Text(m.ClientID))
	s.actorName = consumer.Text(m.UserName)
	if !strings.EqualFold(m.EntityType, "role") {
		return s
	}
	// The connector reads the ids out of the entity's name, where that is all there is.
	s.memberID, s.memberName = m.Context["userId"], m.Context["memberName"]
	s.roleID = cmp.Or(m.Context["roleId"], consumer.Text(m.EntityID))
	s.roleName = cmp.Or(m.Context["roleName"], r.Roles[s.roleID])
	if s.roleName == "" && s.memberID == "" {
		s.roleName = consumer.Text(m.EntityName) // a role that is itself what was changed
	}
	return s
}

// evaluator finds alerts. What it finds depends on the changes that it was
// shown and their times alone, not on when or in how many pieces they were
// shown, so that after a restart it finds the same, with the same keys. It is not
// safe for concurrent use.
type evaluator struct {
	rules  *Rules
	maxAge time.Duration

	sent    map[string]time.Time // keys, with the time of publishing of the change
	windows map[windowKey]*window
	shown   int // changes, for forgetting now and then
}

type windowKey struct {
	rule        int
	org, member string // of the organisation and of what Many.By says
}

// window is the events that a Many rule counts, by time.
type window struct{ events []occurrence }

type occurrence struct {
	at        time.Time
	published time.Time
	auditID   string
	alerted   bool
}

func newEvaluator(rules *Rules, maxAge time.Duration) *evaluator {
	return &evaluator{rules: rules, maxAge: maxAge, sent: map[string]time.Time{}, windows: map[windowKey]*window{}}
}

// alerts returns the alerts that a change gives rise to and that were not sent.
// Shown again, it gives the same.
func (e *evaluator) alerts(m *consumer.Message) []*Alert {
	if m.Published.Sub(m.Time) > e.maxAge {
		return nil // history that was read late
	}
	e.forget(m.Published)
	s := e.rules.subject(m)
	var found []*Alert
	for i := range e.rules.Rules {
		rule := &e.rules.Rules[i]
		if !e.rules.holds(&rule.When, s) {
			continue
		}
		if rule.Many != nil {
			found = append(found, e.burst(i, s)...)
			continue
		}
		key := alertKey(rule.Name, m.Org, m.AuditID)
		if _, ok := e.sent[key]; !ok {
			a := newAlert(key, rule, s)
			a.markSent = func() { e.sent[key] = m.Published }
			found = append(found, a)
		}
	}
	return found
}

// burst counts an event and looks whether that makes a burst that nobody was told of.
func (e *evaluator) burst(index int, s *subject) []*Alert {
	rule := &e.rules.Rules[index]
	key := windowKey{index, s.Org, s.member(rule.Many.By)}
	w := e.windows[key]
	if w == nil {
		w = &window{}
		e.windows[key] = w
	}
	w.add(occurrence{at: s.Time, published: s.Published, auditID: s.AuditID})
	end := w.unalerted(rule.Many, s.Time, s.AuditID)
	if end < 0 {
		return nil
	}
	last := w.events[end]
	// Where partitions were not read in step, another event may be the last after a
	// restart; but its time is about the same.
	stretch := last.at.UnixNano() / int64(rule.Many.Within)
	a := newAlert(alertKey(rule.Name, s.Org, key.member, strconv.FormatInt(stretch, 10)), rule, s)
	for _, o := range w.within(rule.Many.Within, end) {
		a.Events = append(a.Events, o.auditID)
	}
	a.Summary = fmt.Sprintf("%s: %d events within %s, the last: %s", rule.Name, len(a.Events), rule.Many.Within, s.sentence())
	a.markSent = func() { w.alert(last.auditID) }
	return []*Alert{a}
}

// member is what events are counted by.
func (s *subject) member(by string) string {
	switch by {
	case "actor":
		return s.actorID
	case "member":
		return s.memberID
	case "role":
		return s.roleID
	}
	return ""
}

// add puts an event in its place, by time. One that is there already (another change of
// it, or a repeat) is not added.
func (w *window) add(o occurrence) {
	i, found := slices.BinarySearchFunc(w.events, o, func(a, b occurrence) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.auditID, b.auditID))
	})
	if !found {
		w.events = slices.Insert(w.events, i, o)
	}
}

// unalerted returns the event that makes a burst, which the event of auditID has
// brought about: with it there are enough events, and with the one before it there
// were not. That depends on twice the window alone, so that it is the same after
// a restart. -1 is none. An event that comes late can move the beginning of a
// burst that was alerted already; that is no new one.
func (w *window) unalerted(m *Many, from time.Time, auditID string) int {
	enough := func(i int) bool { return i >= 0 && len(w.within(m.Within, i)) >= m.Count }
	for i := range w.events {
		o := w.events[i]
		if o.at.Sub(from) >= m.Within {
			break // what happened at from does not count there
		}
		if o.at.Before(from) || o.alerted || !enough(i) || enough(i-1) {
			continue
		}
		late := i < len(w.events)-1 || o.auditID != auditID
		close := func(other occurrence) bool { return other.alerted && other.at.Sub(o.at).Abs() < m.Within }
		if !late || !slices.ContainsFunc(w.events, close) {
			return i
		}
	}
	return -1
}

// within are the events of the time that ends with event i.
func (w *window) within(d time.Duration, i int) []occurrence {
	first := i
	for first > 0 && w.events[i].at.Sub(w.events[first-1].at) < d {
		first--
	}
	return w.events[first : i+1]
}

func (w *window) alert(auditID string) {
	for i := range w.events {
		if w.events[i].auditID == auditID {
			w.events[i].alerted = true
		}
	}
}

// forgetEvery is after how many changes memory is tidied up.
const forgetEvery = 1000

// forget drops what was published too long before now to count any more.
func (e *evaluator) forget(now time.Time) {
	if e.shown++; e.shown%forgetEvery != 0 {
		return
	}
	old := now.Add(-e.rules.Memory() - time.Hour) // partitions are not read in step
	for key, published := range e.sent {
		if published.Before(old) {
			delete(e.sent, key)
		}
	}
	for key, w := range e.windows {
		w.events = slices.DeleteFunc(w.events, func(o occurrence) bool { return o.published.Before(old) })
		if len(w.events) == 0 {
			delete(e.windows, key)
		}
	}
}

// alertKey is the same for the same rule and event (or burst), whoever works it out and when.
func alertKey(rule, org string, what ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{rule, org}, what...), "\x00")))
	return hex.EncodeToString(sum[:16])
}
