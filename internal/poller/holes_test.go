package poller

import (
	"context"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// The tests of this file are about one promise: no instant between the ledger's
// start and the newest covered one is unknown, whatever was entered ahead of the tail.

// everyMinute has an event a minute, from so long before the start on.
func (b *bench) everyMinute(before, after time.Duration) {
	for at := b.start.Add(-before); at.Before(b.start.Add(after)); at = at.Add(time.Minute) {
		b.api.add(stream, fmt.Sprint("at", at.Sub(b.start)), at, at)
	}
}

// A backfill of the last hours is asked for when the connector starts after a
// downtime, before the tail has come to see how long that was.
func TestRequestBeforeTheFirstPollHidesNoDowntime(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.everyMinute(time.Hour, 12*time.Hour)
		b.lead(10 * time.Minute)
		time.Sleep(10 * time.Hour) // downtime
		slow := &faulty{b.api, func(r audit.Read) error {
			if r.Purpose == audit.Tail {
				time.Sleep(5 * time.Second)
			}
			return nil
		}}
		ctx, stop := context.WithTimeout(b.Context(), 30*time.Minute)
		defer stop()
		p := New(b.cfg, slow, b.kafka, b.kafka, b.kafka.load(), b.stats)
		p.Request("r", offsets.Request{Kind: offsets.KindBackfill, From: time.Now().Add(-2 * time.Hour), To: time.Now()})
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start.Add(10*time.Hour), time.Hour)
	})
}

// A poll publishes its first page, an event of which is refused, and fails; what
// it did not come to is not lost behind the gap.
func TestRefusedEventOfAFailingPollHidesNothing(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.everyMinute(time.Hour, 3*time.Hour)
		for i := range 12 { // more than a page, in the time that one poll is to read
			at := b.start.Add(10*time.Minute + time.Duration(i)*time.Second)
			e := b.api.add(stream, fmt.Sprint("new", i), at, at.Add(20*time.Second))
			if i == 6 {
				b.kafka.refuse[e.id] = true
			}
			if i < 6 {
				e.visible = at.Add(5 * time.Minute) // the page begins behind them
			}
		}
		b.lead(10 * time.Minute)
		time.Sleep(time.Minute)
		dead := true
		src := &partly{api: b.api, stream: stream, dead: &dead}
		b.during(src, 40*time.Minute, func() {
			if len(b.ledger().Gaps) == 0 {
				t.Fatal("no gap: the case shows nothing")
			}
		})
		dead = false
		b.during(src, 20*time.Minute, func() {
			b.kafka.mu.Lock()
			defer b.kafka.mu.Unlock()
			b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start.Add(time.Hour), time.Hour)
			checkLedgers(t, b.kafka, b.cfg)
		})
	})
}

// Our clock is slow, an event of what only the API's clock calls past is refused,
// and then our clock is right.
func TestRefusedEventOfADoubtedTimeHidesNothing(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		const slow = 3 * time.Hour
		b.everyMinute(time.Hour, 5*time.Hour)
		b.api.skew = slow
		b.api.seen = func() time.Time { return time.Now().Add(b.api.skew) }
		at := b.start.Add(slow + 30*time.Second)
		b.api.add(stream, "huge", at, at)
		b.kafka.refuse["huge"] = true
		b.lead(5 * time.Minute)
		if len(b.ledger().Gaps) == 0 {
			t.Fatal("no gap: the case shows nothing")
		}
		b.api.skew = 0
		time.Sleep(slow)
		b.lead(30 * time.Minute)
		b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start.Add(3*time.Hour), time.Hour)
		checkLedgers(t, b.kafka, b.cfg)
	})
}

// The API's clock falls back by an hour, for a minute, behind a gap.
func TestRewindingBehindAGapHidesNothing(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.everyMinute(time.Hour, 3*time.Hour)
		at := b.start.Add(40 * time.Minute)
		b.api.add(stream, "huge", at, at)
		b.kafka.refuse["huge"] = true
		b.lead(time.Hour)
		b.api.skew = -time.Hour
		b.lead(time.Minute)
		b.api.skew = 0
		b.lead(30 * time.Minute)
		checkLedgers(t, b.kafka, b.cfg)
		if l := b.ledger(); len(l.Covered) != 2 || len(l.Wanted) > 0 {
			t.Errorf("covered %v, wanted %v, gaps %v", l.Covered, l.Wanted, l.Gaps)
		}
		delete(b.kafka.refuse, "huge")
		b.lead(30 * time.Minute)
		b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start.Add(time.Hour), time.Hour)
	})
}

// Of many events in one millisecond one is refused; when the topic takes it, the
// others may not have been read yet.
func TestHealedMillisecondIsReadToItsEnd(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		at := b.start.Add(-5 * time.Hour)
		for i := range 20 { // three pages
			b.api.add(stream, fmt.Sprint("tied", i), at, at)
		}
		b.kafka.refuse["tied3"] = true
		dead := true
		src := &partly{api: b.api, stream: stream, dead: &dead}
		b.during(src, 3*time.Minute, func() {
			if n := len(b.kafka.published); n != 6 || len(b.ledger().Gaps) != 1 {
				t.Fatalf("%d published, ledger %+v: the case shows nothing", n, b.ledger())
			}
			b.kafka.mu.Lock()
			defer b.kafka.mu.Unlock()
			delete(b.kafka.refuse, "tied3")
		})
		b.during(src, 10*time.Minute, func() {
			if b.published("tied3") != 1 {
				t.Fatal("it was not tried again: the case shows nothing")
			}
			if b.ledger().Covered.Contains(at) {
				t.Error("a millisecond counts as covered of which one page was read")
			}
		})
		dead = false
		b.during(src, 10*time.Minute, func() {
			for i := range 20 {
				if id := fmt.Sprint("tied", i); b.published(id) != 1 {
					t.Errorf("%s is published %d times", id, b.published(id))
				}
			}
			if l := b.ledger(); len(l.Gaps) > 0 || len(l.Wanted) > 0 || !l.Covered.Contains(at) {
				t.Errorf("ledger %+v", l)
			}
		})
	})
}
