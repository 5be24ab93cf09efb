package poller

import (
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// closedUntil are hours that begin so long from now.
func closedUntil(opens time.Time) Hours {
	clock := func(t time.Time) time.Duration { return t.Sub(t.Truncate(24 * time.Hour)) }
	return Hours{{From: clock(opens), To: clock(opens.Add(2 * time.Hour)), Place: time.UTC}}
}

// TestMissedIsReadAtOnceAfterARestart: a term that ends before it has read what was
// missed does not leave it to the night.
func TestMissedIsReadAtOnceAfterARestart(t *testing.T) {
	inBubble(t, 48*time.Hour, func(b *bench) {
		b.cfg.Hours = closedUntil(b.start.Add(20 * time.Hour))
		b.lead(10 * time.Minute)
		time.Sleep(3 * time.Hour) // downtime
		from, to := b.start.Add(10*time.Minute), b.start.Add(3*time.Hour)
		for i := range 100 {
			at := from.Add(time.Duration(i) * time.Minute)
			b.api.add(stream, fmt.Sprint("missed-", i), at, at)
		}
		b.during(slowTurns{b.api, time.Minute}, 30*time.Second, func() {})
		if l := b.ledger(); l.Covered.Covers(audit.Interval{From: from, To: to}) {
			b.Fatal("it was read already")
		}
		b.lead(10 * time.Minute)
		l := b.ledger()
		if !l.Covered.Covers(audit.Interval{From: from, To: to}) {
			b.Errorf("what was missed is not read: %v", l.Covered)
		}
		if old := l.Covered.Clip(audit.Interval{From: b.start.Add(-48 * time.Hour), To: b.start.Add(-24 * time.Hour)}); len(old) > 0 {
			b.Errorf("history was read before its hours: %v", old)
		}
	})
}

// TestTakeoverLeavesNothingNewToTheNight: what came while one stream took the place of
// another is read at once; older history waits.
func TestTakeoverLeavesNothingNewToTheNight(t *testing.T) {
	inBubble(t, 48*time.Hour, func(b *bench) {
		delete(b.api.events, stream)
		b.api.events["auto:0"] = nil
		b.lead(6 * time.Hour)
		time.Sleep(time.Hour) // the upgrade
		b.cfg.Hours = closedUntil(time.Now().Add(8 * time.Hour))
		clear(b.api.events)
		missed := b.start.Add(6*time.Hour + 30*time.Minute)
		b.api.add("query:*", "missed", missed, missed)
		b.api.replaces = map[string][]string{"query:*": {"auto:0"}}
		b.lead(10 * time.Minute)
		if b.kafka.published["missed"] != 1 {
			b.Errorf("what came during the upgrade is not read: %v", b.kafka.ledgers["query:*"].Covered)
		}
		if old := b.kafka.ledgers["query:*"].Covered.Clip(audit.Interval{From: b.start.Add(-48 * time.Hour), To: b.start.Add(-24 * time.Hour)}); len(old) > 0 {
			b.Errorf("history was read before its hours: %v", old)
		}
	})
}

// TestStreamThatComesBackWantsWhatOthersWanted: older time was ordered while others
// took a stream's place, and not all of it read: the stream reads it when it is back.
func TestStreamThatComesBackWantsWhatOthersWanted(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.free = 0
		delete(b.api.events, stream)
		old := b.start.Add(-20 * time.Hour)
		e := &shownEvent{id: "old", at: old, visible: old}
		b.api.events["query:*"] = []*shownEvent{e}
		b.lead(2 * time.Hour)

		clear(b.api.events)
		b.api.events["query:0"] = []*shownEvent{e}
		b.api.replaces = map[string][]string{"query:0": {"query:*"}, "query:*": {"query:0"}}
		b.lead(10 * time.Minute)
		order := func(l offsets.Ledger) offsets.Ledger {
			return l.Want(audit.Interval{From: b.start.Add(-24 * time.Hour), To: b.start.Add(-2 * time.Hour)})
		}
		b.kafka.ledgers["query:0"] = order(b.kafka.ledgers["query:0"]) // as a request does, before any of it is read

		clear(b.api.events)
		b.api.events["query:*"] = []*shownEvent{e}
		b.lead(10 * time.Minute)
		if b.kafka.published["old"] != 1 {
			b.Errorf("what was ordered is not read: %+v", b.kafka.ledgers["query:*"])
		}
		var wanted int
		b.during(b.api, 3*time.Second, func() {
			b.kafka.mu.Lock()
			defer b.kafka.mu.Unlock()
			wanted = len(b.kafka.ledgers["query:*"].Wanted)
		})
		if wanted > 0 {
			b.Error("it is wanted again at each start")
		}
	})
}
