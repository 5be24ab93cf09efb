package poller

import (
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// TestHistoryWaitsForItsHours: nothing of it is read before they begin, and the
// page says when that is; what was missed while nothing ran is read at once.
func TestHistoryWaitsForItsHours(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		opens := b.start.Add(4 * time.Hour)
		clock := func(t time.Time) time.Duration { return t.Sub(t.Truncate(24 * time.Hour)) }
		b.cfg.Hours = Hours{{From: clock(opens), To: clock(opens.Add(2 * time.Hour)), Place: time.UTC}}
		for i := range 300 {
			at := b.start.Add(-10*time.Hour + time.Duration(i)*3*time.Minute)
			b.api.add(stream, fmt.Sprint("event-", i), at, at)
		}
		history := audit.Interval{From: b.start.Add(-10 * time.Hour), To: b.start.Add(-b.cfg.PollOverlap)}
		b.leadAnd(time.Hour, func(p *Poller) {
			if got := p.Progress(stream).Resumes; !got.Equal(opens) {
				b.Errorf("it says that it goes on at %s, not %s", got, opens)
			}
		})
		time.Sleep(time.Hour) // downtime
		b.lead(time.Hour)
		l := b.kafka.ledgers[stream]
		if len(l.Covered.Clip(history)) > 0 {
			b.Errorf("history was read before its hours: %v", l.Covered)
		}
		if missed := (audit.Interval{From: history.To, To: b.start.Add(2*time.Hour + 50*time.Minute)}); !l.Covered.Covers(missed) {
			b.Errorf("what was missed is not read: %v", l.Covered)
		}
		b.lead(4 * time.Hour)
		if l = b.kafka.ledgers[stream]; len(l.Wanted) > 0 {
			b.Errorf("wanted after its hours: %v", l.Wanted)
		}
		b.kafka.complete(b.api, history.From, b.start.Add(5*time.Hour), 0)
	})
}

// TestBackfillThatIsOvertaken: whether retention overtakes a backfill is known
// before it begins.
func TestBackfillThatIsOvertaken(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	edge := now.Add(-180 * 24 * time.Hour)
	night := Hours{{20 * time.Hour, 6 * time.Hour, time.UTC}}
	all := func(after time.Duration) audit.IntervalSet {
		return audit.NewIntervalSet(audit.Interval{From: edge.Add(after), To: now})
	}
	for name, tc := range map[string]struct {
		wanted  audit.IntervalSet
		speed   float64
		hours   Hours
		about   time.Duration
		between time.Duration
	}{
		"fast":                                {all(time.Minute), 100, nil, 0, 0},
		"it waits for the evening":            {all(time.Minute), 10_000, night, 8 * time.Hour, time.Hour},
		"it begins late enough":               {all(15 * time.Hour), 10_000, night, 0, 0},
		"slower than time":                    {all(24 * time.Hour), 0.5, nil, 179 * 24 * time.Hour, 10 * 24 * time.Hour},
		"as fast as nights allow, not enough": {all(15 * time.Hour), 1.5, night, 100 * 24 * time.Hour, 80 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			lost := overtakes(tc.wanted, edge, now, tc.speed, tc.hours)
			if (lost - tc.about).Abs() > tc.between {
				t.Errorf("%s is lost, not about %s", lost, tc.about)
			}
		})
	}
}
