package poller

import (
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// The tests of this file are about one promise: nothing lasting on a momentary fact.

// The query mapping was not served for a moment: the streams had the retention of
// realtime alone for one term.
func TestShorterRetentionForATermMakesNoLastingGap(t *testing.T) {
	inBubble(t, 25*24*time.Hour, func(b *bench) {
		for i := range 500 {
			at := b.start.Add(-25*24*time.Hour + time.Duration(i)*time.Hour + time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(5 * time.Second) // some of the backfill
		b.api.retention = 14 * 24 * time.Hour
		b.lead(10 * time.Second)
		if len(b.ledger().Gaps) == 0 {
			t.Fatal("no gap: the case shows nothing")
		}
		b.api.retention = 30 * 24 * time.Hour
		b.lead(24 * time.Hour)
		if l := b.ledger(); len(b.kafka.published) != 500 || len(l.Gaps) > 0 {
			t.Errorf("%d of 500 events published, wanted %v, gaps %v", len(b.kafka.published), l.Wanted, l.Gaps)
		}
	})
}

// The API's clock is hours ahead, for longer than the oldest sweep: what is past
// comes out all the same, and nothing of the future counts as covered.
func TestClockFarAheadLosesNothing(t *testing.T) {
	for name, skew := range map[string]time.Duration{"hours": 3 * time.Hour, "less than the overlap": 50 * time.Second, "more": 90 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, time.Hour, func(b *bench) {
				for i := range 600 {
					at := b.start.Add(time.Duration(i) * time.Minute)
					b.api.add(stream, fmt.Sprint("e", i), at, at)
				}
				b.lead(10 * time.Minute)
				b.api.skew = skew
				b.lead(5 * time.Hour)
				if skew > time.Minute {
					for i := range 300 {
						if id := fmt.Sprint("e", i); b.kafka.published[id] != 1 {
							t.Errorf("while the clock is wrong: %s is published %d times", id, b.kafka.published[id])
						}
					}
					if l := b.ledger(); l.Covered.Last().After(time.Now()) {
						t.Errorf("covered to %s, which is not past", l.Covered.Last())
					}
				}
				b.api.skew = 0
				b.lead(20 * time.Minute)
				for i := range 320 {
					if id := fmt.Sprint("e", i); b.kafka.published[id] != 1 {
						t.Errorf("%s is published %d times", id, b.kafka.published[id])
					}
				}
			})
		})
	}
}

// Our own clock is hours slow: new events come at once all the same.
func TestOurClockFarBehindDelaysNothing(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		const slow = 3 * time.Hour // the bubble's clock is ours
		b.api.skew = slow
		b.api.seen = func() time.Time { return time.Now().Add(slow) }
		b.api.add(stream, "new", b.start.Add(slow+time.Minute), b.start.Add(slow+time.Minute))
		b.lead(70 * time.Second)
		if b.kafka.published["new"] != 1 {
			t.Error("a new event is not published")
		}
		b.lead(4 * time.Hour) // Commit complains of what comes twice
		if !b.ledger().Covered.Contains(b.start.Add(slow + time.Minute)) {
			t.Errorf("ledger %+v", b.ledger())
		}
	})
}

// A ledger of long ago that reaches into the future is corrected, and what it may
// have read too early is read again at once.
func TestLedgerOfTheFutureIsReadAgainAtOnce(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		for i := range 120 {
			at := b.start.Add(time.Duration(i-60) * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(time.Minute)
		l := b.ledger()
		l = l.Cover(l.Covered[0]) // a copy
		last := l.Covered.Last()
		l.Covered = l.Covered.Add(l.Covered[0])
		l.Covered[len(l.Covered)-1].To = last.Add(30 * time.Minute)
		b.kafka.ledgers[stream] = l
		time.Sleep(10 * time.Minute)
		b.lead(2 * time.Minute)
		for i := range 71 {
			if id := fmt.Sprint("e", i); b.kafka.published[id] != 1 {
				t.Errorf("%s is published %d times", id, b.kafka.published[id])
			}
		}
	})
}

// An event that a topic refused, and then another filter or dialect: the stream
// that is read now must not count it as covered.
func TestRefusedEventMetByAnotherStream(t *testing.T) {
	for name, still := range map[string]bool{"taken now": false, "still refused": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, time.Hour, func(b *bench) {
				at := b.start.Add(-30 * time.Minute)
				b.api.add(stream, "huge", at, at)
				b.api.add(stream, "other", at.Add(time.Second), at)
				b.kafka.refuse["huge"] = true
				b.lead(3 * time.Minute)
				const next = "auto:Routing"
				b.api.events = map[string][]*shownEvent{next: b.api.events[stream]}
				if !still {
					delete(b.kafka.refuse, "huge")
				}
				b.lead(3 * time.Hour)
				l := b.kafka.ledgers[next]
				if still && (l.Covered.Contains(at) || len(l.Gaps) != 1 || l.Gaps[0].Kind != offsets.Refused) {
					t.Errorf("the new stream covers it: %v, gaps %v", l.Covered.Contains(at), l.Gaps)
				}
				delete(b.kafka.refuse, "huge")
				b.lead(10 * time.Minute)
				if b.kafka.published["huge"] != 1 || !b.kafka.ledgers[next].Covered.Contains(at) {
					t.Errorf("published %v, ledger %+v", b.kafka.published, b.kafka.ledgers[next])
				}
			})
		})
	}
}

// An event that is shown in an interval which does not hold its time is known
// again, whichever interval shows it next, also when the offsets topic was lost.
func TestEventShownOutsideItsTimeComesOnce(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.free = 0
		at := b.start.Add(10 * time.Minute)
		e := b.api.add(stream, "astray", at, at)
		e.says = b.start.Add(-100 * 24 * time.Hour)
		b.lead(6 * time.Hour)
		if !b.kafka.astray["astray"] {
			t.Error("nobody can tell from the raw topic that it was shown elsewhere")
		}
		clear(b.kafka.seen)
		clear(b.kafka.ledgers)
		b.cfg = testConfig(t, 12*time.Hour)
		b.lead(time.Hour) // Commit complains of what comes twice
		if b.kafka.published["astray"] != 1 {
			t.Errorf("published %d times", b.kafka.published["astray"])
		}
	})
}

// Two streams show one event in the same step, and a topic refuses it: neither may
// count it as covered.
func TestRefusedEventThatTwoStreamsShowAtOnce(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		at := b.start.Add(-30 * time.Minute)
		e := b.api.add(stream, "huge", at, at)
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		step := newStepBuilder(p)
		i := audit.Interval{From: b.start.Add(-time.Hour), To: b.start}
		for _, s := range []string{"a", "bb"} {
			var rest *delivery
			step.add(&rest, &delivery{read: audit.Read{Stream: s, Interval: i}, page: render(t, []*shownEvent{e}), last: true,
				note: func(l offsets.Ledger, part audit.Interval) offsets.Ledger { return l.Cover(part) }})
		}
		if !step.leaveOut(&RefusedError{ID: "huge", Topic: "raw"}) {
			t.Fatal("it is not in the step")
		}
		for _, s := range []string{"a", "bb"} {
			if l := step.ledger(s); l.Covered.Contains(at) || len(l.Gaps) != 1 {
				t.Errorf("%s: covered %v, gaps %v", s, l.Covered, l.Gaps)
			}
		}
	})
}

// The API's clock is ahead by more than its retention reaches beyond a sweep: what
// that clock calls too old is swept once the clock is right again.
func TestSweepPassesNothingOnADoubtedClock(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.retention = 4 * time.Hour
		for i := range 60 {
			at := b.start.Add(time.Duration(i) * time.Minute)
			b.api.add(stream, fmt.Sprint("late", i), at, at.Add(50*time.Minute))
		}
		b.lead(70 * time.Minute)
		b.api.skew = 3*time.Hour + 30*time.Minute
		b.lead(20 * time.Minute)
		b.api.skew = 0
		b.lead(90 * time.Minute)
		b.kafka.complete(b.api, b.start, b.start.Add(time.Hour), time.Hour)
	})
}
