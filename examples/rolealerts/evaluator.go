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

// evaluator finds alerts. What it finds depends on the changes that it was
// shown and their times alone, not on when or in how many pieces they were
// shown, so that after a restart it finds the same, with the same keys. It is not
// safe for concurrent use.
type evaluator struct {
	rules  *Rules
	maxAge time.Duration

	sent    map[string]time.Time // keys, with the time of publishing of the change
	windows map[windowKey]*window
	shown   int // changes
	tidy    int // how many of them are shown when memory is next tidied up
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
	return &evaluator{rules: rules, maxAge: maxAge, sent: map[string]time.Time{}, windows: map[windowKey]*window{}, tidy: forgetEvery}
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
	asked := false // by a rule before
	for i := range e.rules.Rules {
		rule := &e.rules.Rules[i]
		if rule.Otherwise && asked || !e.rules.holds(rule.When, s) {
			continue
		}
		if rule.Many != nil {
			found = append(found, e.burst(i, s)...)
			continue
		}
		asked = true
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
	key := windowKey{index, s.Org, s.countedBy(rule.Many.By)}
	if key.member == "" && mustBeKnown[rule.Many.By] {
		return nil
	}
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
	a.summarise(fmt.Sprintf("%d events within %s, the last: %s", len(a.Events), rule.Many.Within, s.sentence()))
	a.markSent = func() { w.alert(last.auditID) }
	return []*Alert{a}
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
	enough := func(i int) bool {
		first := i - m.Count + 1
		return first >= 0 && w.events[i].at.Sub(w.events[first].at) < m.Within
	}
	for i := w.firstFrom(from); i < len(w.events); i++ {
		o := w.events[i]
		if o.at.Sub(from) >= m.Within {
			break // what happened at from does not count there
		}
		if o.alerted || !enough(i) || enough(i-1) {
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

// firstFrom is the first event that did not happen before from.
func (w *window) firstFrom(from time.Time) int {
	i, _ := slices.BinarySearchFunc(w.events, from, func(o occurrence, from time.Time) int { return o.at.Compare(from) })
	return i
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

const (
	// forgetEvery is after how many changes memory is tidied up, or more where there is
	// much of it.
	forgetEvery = 1000
	// mostOccurrences bounds what is counted at a time, some 10 MB: somebody who tries
	// a million logins must not end the program that tells of it.
	mostOccurrences = 50_000
)

// forget drops what was published too long before now to count any more, and the
// older half of what is counted where that is too much.
func (e *evaluator) forget(now time.Time) {
	if e.shown++; e.shown < e.tidy {
		return
	}
	old := now.Add(-e.rules.Memory() - time.Hour) // partitions are not read in step
	for key, published := range e.sent {
		if published.Before(old) {
			delete(e.sent, key)
		}
	}
	left := e.forgetUntil(old)
	if len(left) > mostOccurrences {
		slices.SortFunc(left, time.Time.Compare)
		left = e.forgetUntil(left[len(left)/2])
	}
	e.tidy = e.shown + max(forgetEvery, len(left)/4)
}

// forgetUntil drops what was published up to old, and returns when the rest was.
func (e *evaluator) forgetUntil(old time.Time) (left []time.Time) {
	for key, w := range e.windows {
		w.events = slices.DeleteFunc(w.events, func(o occurrence) bool { return !o.published.After(old) })
		if len(w.events) == 0 {
			delete(e.windows, key)
		}
		for _, o := range w.events {
			left = append(left, o.published)
		}
	}
	return left
}

// alertKey is the same for the same rule and event (or burst), whoever works it out and when.
func alertKey(rule, org string, what ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{rule, org}, what...), "\x00")))
	return hex.EncodeToString(sum[:16])
}
