package poller

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// TestPreviewPublishesSoonerAndCoversNothing: what the stream's own dialect shows
// half a minute later is there in seconds, once; what the preview lacks is there
// when the own dialect shows it.
func TestPreviewPublishesSoonerAndCoversNothing(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.previews = map[string][]audit.Previewed{stream: {{Service: "Routing"}}}
		var soon, late []string
		for i := range 200 {
			at := b.start.Add(time.Duration(i) * 3 * time.Second)
			e := b.api.add(stream, fmt.Sprint("event-", i), at, at.Add(30*time.Second))
			if i%4 == 0 {
				late = append(late, e.id)
				continue
			}
			e.preview = at
			soon = append(soon, e.id)
		}
		published := make(map[string]time.Time)
		b.kafka.after = func() {
			for id := range b.kafka.published {
				if _, known := published[id]; !known {
					published[id] = time.Now()
				}
			}
		}
		b.lead(20 * time.Minute)
		worst := func(ids []string) (worst time.Duration) {
			for _, id := range ids {
				at, ok := published[id]
				if !ok || b.kafka.published[id] != 1 {
					b.Fatalf("%s is published %d times", id, b.kafka.published[id])
				}
				worst = max(worst, at.Sub(b.kafka.times[id]))
			}
			return worst
		}
		if d := worst(soon); d > b.cfg.PollInterval+3*time.Second {
			b.Errorf("an event that the preview shows came after %s", d)
		}
		if d := worst(late); d < 30*time.Second || d > 30*time.Second+b.cfg.PollInterval+5*time.Second {
			b.Errorf("an event that it lacks came after %s", d)
		}
		n := b.stats.Counts()
		first := 0
		for _, c := range n.PreviewFirst.Buckets {
			first += c
		}
		if first != len(soon) || n.PreviewFirst.Sum < time.Duration(len(soon))*20*time.Second {
			b.Errorf("the preview is said to have been first %d times of %d, by %s", first, len(soon), n.PreviewFirst.Sum)
		}
	})
}

// TestPreviewThatFailsHoldsUpNothing: nor is the replica unready for it.
func TestPreviewThatFailsHoldsUpNothing(t *testing.T) {
	for name, err := range map[string]error{
		"it fails": errPage, "too much": fmt.Errorf("much: %w", ErrTooMuch), "not served": ErrNoPreview, "unreadable": fmt.Errorf("500: %w", ErrUnreadable),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, time.Hour, func(b *bench) {
				b.api.previews = map[string][]audit.Previewed{stream: {{Service: "Routing", Priority: true}}}
				b.api.refusing = map[string]error{"Routing": err}
				for i := range 100 {
					at := b.start.Add(time.Duration(i) * 3 * time.Second)
					b.api.add(stream, fmt.Sprint("event-", i), at, at).preview = at
				}
				b.during(b.api, 10*time.Minute, func() {
					for _, f := range b.cfg.Health.Failing() {
						if !f.Warning {
							b.Errorf("failing: %v", f)
						}
					}
				})
				b.kafka.complete(b.api, b.start, b.start.Add(5*time.Minute), 0)
				asked := 0
				for _, r := range b.api.reads {
					if r.Preview != "" {
						asked++
					}
				}
				if asked == 0 || errors.Is(err, ErrNoPreview) && asked > 11 {
					b.Errorf("the preview was asked for %d times", asked)
				}
				if l := b.kafka.ledgers[stream]; len(l.Gaps) > 0 || len(l.Wanted) > 0 {
					b.Errorf("the ledger: %+v", l)
				}
			})
		})
	}
}

// TestStreamTakesThePlaceOfOthers: one stream that sees everything follows several
// that did not; what they missed is published, and nothing twice.
func TestStreamTakesThePlaceOfOthers(t *testing.T) {
	inBubble(t, 6*time.Hour, func(b *bench) {
		delete(b.api.events, stream)
		b.free = 0 // ids are forgotten
		all := make([]*shownEvent, 0, 600)
		for i := range 600 {
			at := b.start.Add(-6*time.Hour + time.Duration(i)*90*time.Second)
			e := &shownEvent{id: fmt.Sprint("event-", i), at: at, visible: at}
			all = append(all, e)
			if i%5 > 0 { // the old streams lack every fifth
				name := fmt.Sprint("auto:", i%2)
				b.api.events[name] = append(b.api.events[name], e)
			}
		}
		b.lead(3 * time.Hour)
		b.cfg.Start = func(now time.Time, _ time.Duration) time.Time { return now.Add(-time.Hour) }
		clear(b.api.events)
		b.api.events["query:*"] = all
		b.api.replaces = map[string][]string{"query:*": {"auto:0", "auto:1"}}
		b.lead(6 * time.Hour)
		b.kafka.complete(b.api, b.start.Add(-6*time.Hour), b.start.Add(8*time.Hour), 0)
		if l := b.kafka.ledgers["query:*"]; len(l.Covered) != 1 || l.Covered[0].From.After(b.start.Add(-6*time.Hour)) || len(l.Gaps) > 0 {
			b.Errorf("the ledger: %+v", l)
		}
	})
}
