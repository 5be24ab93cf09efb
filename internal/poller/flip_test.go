package poller

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
)

// TestStreamsThatReplaceEachOther: one stream of all services and one a service take
// turns, at any moment, with downtime between them, a dialect that fails for hours,
// previews that show some events sooner, events that are shown late, and commits whose
// fate is in doubt. All of it is published, once.
func TestStreamsThatReplaceEachOther(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := roll(seed + 1)
				b := &bench{T: t, api: newAPI(t, rnd), kafka: newKafka(t, rnd), cfg: testConfig(t, 3*time.Hour), start: time.Now().UTC(), free: 0, mostGaps: mostGaps}
				b.stats = NewStats(b.cfg.PollOverlap, b.cfg.SweepAges)
				const services = 3
				var all []*shownEvent
				own := make([][]*shownEvent, services)
				end := b.start.Add(10 * time.Hour)
				for at, n := b.start.Add(-3*time.Hour), 0; at.Before(end); at, n = at.Add(rnd.upTo(3*time.Minute)), n+1 {
					e := &shownEvent{id: fmt.Sprint("event-", n), at: at.UTC().Truncate(time.Millisecond)}
					e.visible = e.at.Add(rnd.upTo(time.Minute))
					if rnd.IntN(20) == 0 { // late, but not too late for the sweeps
						e.visible = e.at.Add(rnd.upTo(8 * time.Minute))
					}
					if rnd.IntN(3) > 0 {
						e.preview = e.at
					}
					all = append(all, e)
					own[n%services] = append(own[n%services], e)
				}
				b.kafka.doubt = 0.01
				names := []string{"query:0", "query:1", "query:2"}
				b.api.replaces = map[string][]string{"query:*": names}
				b.api.continues = map[string]string{}
				b.api.previews = map[string][]audit.Previewed{"query:*": {{Service: "a", Priority: true}, {Service: "b"}}}
				for i, name := range names {
					b.api.replaces[name] = []string{"query:*"}
					if seed%2 == 1 || i == 0 { // the others begin anew
						b.api.continues[name] = "query:*"
					}
					b.api.previews[name] = []audit.Previewed{{Service: "c"}}
				}
				mode := func(whole bool) {
					clear(b.api.events)
					if whole {
						b.api.events["query:*"] = all
						return
					}
					for i, name := range names {
						b.api.events[name] = own[i]
					}
				}
				for time.Now().Before(end) {
					mode(rnd.IntN(2) == 0)
					b.api.refusing = nil
					if rnd.IntN(3) == 0 { // only previews
						b.api.refusing = map[string]error{"": errors.New("query is down")}
					}
					b.lead(time.Minute + rnd.upTo(2*time.Hour))
					if rnd.IntN(2) == 0 {
						time.Sleep(rnd.upTo(90 * time.Minute))
					}
				}
				b.api.refusing = nil
				for _, whole := range []bool{true, false} {
					mode(whole)
					b.lead(2 * time.Hour)
				}
				mode(true)
				b.kafka.complete(b.api, b.start.Add(-3*time.Hour+time.Minute), end, 8*time.Minute)
				for name, l := range b.kafka.ledgers {
					if len(l.Gaps) > 0 {
						t.Errorf("%s: gaps %+v", name, l.Gaps)
					}
				}
			})
		})
	}
}
