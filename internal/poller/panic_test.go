package poller

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/internal/health"
)

// A panic in the schedule itself ends the term as any error does: Run returns only once the
// commit that is under way has ended, for the next term writes with the same producer.
func TestPanicInTheScheduleWaitsForTheCommit(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		at := b.start.Add(time.Minute)
		b.api.add(stream, "e", at, at)
		var committing atomic.Bool
		b.kafka.reject = func(s *Step) error {
			if len(s.Events) > 0 {
				committing.Store(true)
				time.Sleep(5 * time.Second)
				committing.Store(false)
			}
			return nil
		}
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		b.tune(p)
		p.schedule.lanes = append(p.schedule.lanes, &lane{class: chores, next: func(now time.Time) (*job, time.Time) {
			if committing.Load() {
				panic("a bug")
			}
			return nil, now.Add(100 * time.Millisecond)
		}})
		err := b.cfg.Health.Guard(func() error { return p.Run(b.Context()) })
		if _, ok := errors.AsType[*health.PanicError](err); !ok {
			t.Errorf("the term ended with %v", err)
		}
		if committing.Load() {
			t.Error("the term has ended, and its commit is still under way: the next term's producer is the same")
		}
	})
}
