package poller

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// continuing has two services take the place of one stream of all: the events of half
// of the minutes are each one's. It returns how to go there and back.
func continuing(b *bench, from, to time.Duration) (all []*shownEvent, whole, services func()) {
	delete(b.api.events, stream)
	b.free = 0 // ids are forgotten
	own := map[string][]*shownEvent{}
	for n, at := 0, from; at < to; n, at = n+1, at+time.Minute {
		e := &shownEvent{id: fmt.Sprint("event-", n), at: b.start.Add(at), visible: b.start.Add(at)}
		all = append(all, e)
		name := fmt.Sprint("query:", n%2)
		own[name] = append(own[name], e)
	}
	b.api.replaces = map[string][]string{"query:*": {"query:0", "query:1"}, "query:0": {"query:*"}, "query:1": {"query:*"}}
	b.api.continues = map[string]string{"query:0": "query:*", "query:1": "query:*"}
	whole = func() { clear(b.api.events); b.api.events["query:*"] = all }
	services = func() {
		clear(b.api.events)
		for name, events := range own {
			b.api.events[name] = events
		}
	}
	return all, whole, services
}

// TestServicesGoOnWhereTheWholeStopped: the stream of all services has read days, then
// fails for an hour. Each service goes on from there: nothing is lost, nothing is
// published twice, what was covered is not read again, nor ids read back for it.
func TestServicesGoOnWhereTheWholeStopped(t *testing.T) {
	inBubble(t, 48*time.Hour, func(b *bench) {
		_, whole, services := continuing(b, -48*time.Hour, 12*time.Hour)
		whole()
		b.lead(6 * time.Hour)
		b.api.refusing = map[string]error{"": errors.New("it has failed")}
		b.lead(time.Hour)
		b.api.refusing = nil
		covered := b.kafka.ledgers["query:*"].Covered.Last()
		b.kafka.each = func() { b.Error("ids are read back") }
		before := len(b.api.reads)

		services()
		b.lead(3 * time.Hour)
		for _, r := range b.api.reads[before:] {
			if r.Interval.From.Before(covered.Add(-90 * time.Minute)) { // as far as the sweeps reach
				b.Fatalf("read again: %v, covered up to %s", r, covered)
			}
		}
		for _, name := range []string{"query:0", "query:1"} {
			if l := b.kafka.ledgers[name]; len(l.Covered) != 1 || len(l.Wanted)+len(l.Gaps) > 0 || !l.Start.Equal(b.kafka.ledgers["query:*"].Start) {
				b.Errorf("%s: %+v", name, l)
			}
		}
		b.kafka.each = nil
		whole()
		b.lead(time.Hour)
		b.kafka.complete(b.api, b.start.Add(-48*time.Hour+time.Minute), b.start.Add(11*time.Hour), 0)
	})
}

// TestServicesTakeOverWhatTheWholeCouldNotRead: what was wanted, what could not be read
// and what a topic refused is left to whichever service has it, and ends there.
func TestServicesTakeOverWhatTheWholeCouldNotRead(t *testing.T) {
	inBubble(t, 6*time.Hour, func(b *bench) {
		all, whole, services := continuing(b, -6*time.Hour, 6*time.Hour)
		refused := all[100].id
		b.kafka.refuse[refused] = true
		whole()
		b.lead(2 * time.Hour)
		l := b.kafka.ledgers["query:*"]
		if len(l.Gaps) != 1 || l.Gaps[0].ID != refused {
			b.Fatalf("gaps: %+v", l.Gaps)
		}
		broken := audit.Interval{From: b.start.Add(-2 * time.Hour), To: b.start.Add(-time.Hour)} // as if it had never been read
		for _, e := range all {
			if broken.Contains(e.at) {
				delete(b.kafka.published, e.id)
				delete(b.kafka.seen, e.id)
			}
		}
		l = l.Doubt(broken)
		l.Begun = nil
		b.kafka.ledgers["query:*"] = l.AddGap(offsets.Gap{Interval: audit.Interval{From: broken.From, To: broken.From.Add(time.Minute)}, Kind: offsets.Unreadable, Reason: "tried"})

		services()
		b.lead(time.Hour)
		if gaps := b.kafka.ledgers["query:1"].Gaps; len(gaps) != 0 {
			b.Errorf("a gap in the stream that has not the event: %+v", gaps)
		}
		if gaps := b.kafka.ledgers["query:0"].Gaps; len(gaps) != 1 || gaps[0].ID != refused {
			b.Errorf("the refused event is forgotten: %+v", gaps)
		}
		delete(b.kafka.refuse, refused)
		b.lead(2 * time.Hour)
		b.kafka.complete(b.api, b.start.Add(-6*time.Hour+time.Minute), b.start.Add(5*time.Hour-time.Minute), 0)
		for name := range b.api.events {
			if l := b.kafka.ledgers[name]; len(l.Gaps)+len(l.Wanted) > 0 {
				b.Errorf("%s: %+v", name, l)
			}
		}
	})
}
