package poller

import (
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// TestCrowdIsReadWithoutHoles: where many streams share the limit each is polled more
// seldom, and one poll reads on where the one before ended: nothing is left behind for
// the backfill, which would cost as much again, and what is shown out of order within
// the overlap is found by the next poll and not by a sweep.
func TestCrowdIsReadWithoutHoles(t *testing.T) {
	inBubble(t, 0, func(b *bench) {
		delete(b.api.events, stream)
		b.api.previews = map[string][]audit.Previewed{}
		for i := range 3 * crowd { // more than are polled at the same time
			name := fmt.Sprint("query:", i)
			b.api.previews[name] = []audit.Previewed{{Service: name}}
			for n := range 60 { // each shown a minute late, and by no preview
				at := b.start.Add(time.Duration(n)*time.Minute + time.Duration(i)*time.Second)
				b.api.add(name, fmt.Sprint(name, "-", n), at, at.Add(time.Minute))
			}
		}
		published := make(map[string]time.Time)
		b.kafka.after = func() {
			for id := range b.kafka.published {
				if _, known := published[id]; !known {
					published[id] = time.Now()
				}
			}
		}
		b.lead(time.Hour)
		polls, behind := 0, 0
		for _, r := range b.api.reads {
			switch {
			case r.Preview != "" || r.Interval.To.Before(b.start.Add(time.Minute)):
			case r.Purpose == audit.Backfill:
				behind++
			case r.Interval.To.After(b.start):
				polls++
			}
		}
		if behind > 0 {
			b.Errorf("%d polls and sweeps left %d pieces behind", polls, behind)
		}
		late := 0
		for _, events := range b.api.events {
			for _, e := range events {
				if at, ok := published[e.id]; ok && at.Sub(e.at) > time.Minute+b.cfg.PollOverlap+30*time.Second {
					late++
				}
			}
		}
		if late > 0 {
			b.Errorf("%d of %d events were found by a sweep only", late, len(published))
		}
	})
}
