package poller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// Events that the memory takes for published, but that the raw topic has lost:
// a repair publishes them and nothing else, however little one reading can take.
func TestRepairPublishesWhatIsMissing(t *testing.T) {
	for name, most := range map[string]time.Duration{"in one piece": 0, "in parts": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, time.Hour, func(b *bench) {
				for i := range 20 {
					at := b.start.Add(time.Duration(i-60) * time.Minute)
					b.api.add(stream, string(rune('a'+i)), at, at)
				}
				b.lead(5 * time.Minute)
				for _, lost := range []string{"c", "h"} {
					delete(b.kafka.published, lost)
				}
				b.api.tooMuch = most
				ctx, stop := context.WithTimeout(b.Context(), 5*time.Minute)
				defer stop()
				b.kafka.requests["r"] = offsets.Request{}
				done := make(chan error)
				p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
				go func() { done <- p.Run(ctx) }()
				// "a" is asked for although it is there: it must not come twice.
				p.Request("r", offsets.Request{Kind: offsets.KindRepair, From: b.start.Add(-time.Hour), To: b.start, IDs: []string{"a", "c", "h"}})
				<-done
				if len(b.kafka.requests) > 0 {
					t.Error("the request was not tombstoned")
				}
				b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start, time.Hour)
			})
		})
	}
}

// A millisecond that cannot be read, of time that was covered long ago, keeps back
// no event but its own: else no later repair would publish those beside it either.
func TestRepairPublishesWhatIsBesideAMillisecondThatCannotBeRead(t *testing.T) {
	inBubble(t, 3*time.Hour, func(b *bench) {
		for i := range 100 {
			at := b.start.Add(-150 * time.Minute).Add(time.Duration(i) * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(time.Minute)
		for _, lost := range []string{"e4", "e5", "e6"} {
			delete(b.kafka.published, lost)
		}
		src := &faulty{b.api, func(r audit.Read) error {
			if r.Interval.Contains(b.start.Add(-145 * time.Minute)) {
				return fmt.Errorf("GET: 500: %w", ErrUnreadable)
			}
			return nil
		}}
		b.kafka.requests = map[string]offsets.Request{"repair": {}}
		ctx, stop := context.WithTimeout(b.Context(), 10*time.Minute)
		defer stop()
		p := New(b.cfg, src, b.kafka, b.kafka, b.kafka.load(), b.stats)
		p.Request("repair", offsets.Request{Kind: offsets.KindRepair, From: b.start.Add(-3 * time.Hour), To: b.start, IDs: []string{"e4", "e5", "e6"}})
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if b.published("e4") != 1 || b.published("e5") != 0 || b.published("e6") != 1 {
			t.Errorf("published %d, %d, %d", b.published("e4"), b.published("e5"), b.published("e6"))
		}
		if len(b.kafka.requests) > 0 {
			t.Errorf("requests that never end: %v", b.kafka.requests)
		}
	})
}

// A replica that does not lead any more fails at nothing that was asked of it.
func TestFailingRequestEndsWithTheTerm(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.cfg.SweepAges = nil
		ctx, stop := context.WithTimeout(b.Context(), time.Minute)
		defer stop()
		b.lead(time.Second)
		p := New(b.cfg, b.api, b.kafka, noArchive{}, b.kafka.load(), b.stats)
		p.Request("r", offsets.Request{Kind: offsets.KindRepair, From: b.start.Add(-time.Hour), To: b.start, IDs: []string{"a"}})
		time.AfterFunc(50*time.Second, func() {
			if len(b.cfg.Health.Failing()) == 0 {
				t.Error("nothing fails: the case shows nothing")
			}
		})
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		if f := b.cfg.Health.Failing(); len(f) > 0 {
			t.Errorf("failing: %v", f)
		}
	})
}

type noArchive struct{}

func (noArchive) Find(context.Context, []string) (map[string]Records, error) {
	return nil, errors.New("the raw topic cannot be read")
}

func (noArchive) Each(context.Context, func(string, time.Time, bool) error) error {
	return errors.New("the raw topic cannot be read")
}

// What a repair is asked for may be published meanwhile by the backfill, and be
// forgotten again before the repair comes to it.
func TestRepairPublishesNothingThatWasPublishedMeanwhile(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.free = 0
		at, from := b.start.Add(-8*time.Hour), b.start.Add(-9*time.Hour-30*time.Minute)
		b.api.add(stream, "e", at, at)
		fails := true
		src := &faulty{b.api, func(r audit.Read) error {
			switch {
			case r.Interval.From.Equal(from): // the repair's first piece; "e" is in its second
				time.Sleep(time.Minute)
			case r.Interval.Contains(at) && fails:
				return errPage
			case r.Interval.Contains(at): // the raw topic is searched before that
				time.Sleep(time.Second)
			}
			return nil
		}}
		b.during(src, holdFor+10*time.Second, func() {
			if l := b.ledger(); l.Wanted.Length() > time.Hour || !l.Wanted.Contains(at) {
				t.Fatalf("wanted is %v: the case shows nothing", l.Wanted)
			}
		})
		fails = false
		b.kafka.requests = map[string]offsets.Request{"r": {}}
		ctx, stop := context.WithTimeout(b.Context(), 5*time.Minute)
		defer stop()
		p := New(b.cfg, src, b.kafka, b.kafka, b.kafka.load(), b.stats)
		b.tune(p)
		p.Request("r", offsets.Request{Kind: offsets.KindRepair, From: from, To: b.start.Add(-7 * time.Hour), IDs: []string{"e"}})
		time.AfterFunc(50*time.Second, func() {
			b.kafka.mu.Lock()
			defer b.kafka.mu.Unlock()
			if _, known := b.kafka.seen["e"]; known || b.kafka.published["e"] != 1 {
				t.Errorf("published %d times, remembered: %v: the case shows nothing", b.kafka.published["e"], known)
			}
		})
		if err := p.Run(ctx); err != nil { // Commit complains of what comes twice
			t.Fatal(err)
		}
		if len(b.kafka.requests) > 0 {
			t.Errorf("requests that never end: %v", b.kafka.requests)
		}
	})
}
