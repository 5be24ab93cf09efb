package poller

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
)

// TestNothingLostNothingTwice drives the poller against a model of the API and
// of Kafka: events that show up late, pages that fail, steps whose answer is
// lost, applied or not, processes that die, and downtime. After each step the
// ledger's invariants hold; at the end every event that was shown is there once.
func TestNothingLostNothingTwice(t *testing.T) {
	seeds := 8
	if s := os.Getenv("POLLER_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { driveModel(t, uint64(seed)) })
		})
	}
}

func driveModel(t *testing.T, seed uint64) {
	rnd := roll(seed)
	a, k := newAPI(t, rnd), newKafka(t, rnd)
	a.fail, k.doubt = 0.1*rnd.Float64(), 0.1*rnd.Float64()
	start := time.Now()
	back, length := time.Duration(1+rnd.IntN(30))*time.Hour, time.Duration(1+rnd.IntN(12))*time.Hour
	for i := range 400 + rnd.IntN(800) {
		at := start.Add(-back - time.Hour + rnd.upTo(back+length+time.Hour))
		visible := at
		switch rnd.IntN(6) {
		case 0:
			visible = at.Add(rnd.upTo(time.Minute))
		case 1:
			visible = at.Add(rnd.upTo(55 * time.Minute))
		}
		a.add("type=configuration", fmt.Sprintf("event-%d", i), at, visible)
	}
	cfg := testConfig(t, back)
	k.after = func() { checkLedgers(t, k, cfg) }
	stats := NewStats(cfg.PollOverlap, cfg.SweepAges)
	for time.Since(start) < length {
		ctx, kill := context.WithTimeout(t.Context(), rnd.upTo(2*time.Hour))
		lead(ctx, t, cfg, a, k, stats, func(*Poller) {})
		kill()
		if rnd.IntN(3) == 0 {
			time.Sleep(rnd.upTo(3 * time.Hour)) // downtime
		}
	}
	// Long enough for the last sweep, with nothing failing.
	a.fail, k.doubt = 0, 0
	end := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Hour+10*time.Minute)
	lead(ctx, t, cfg, a, k, stats, func(*Poller) {})
	stop()
	k.complete(a, start.Add(-back), end, 55*time.Minute)
	for id := range k.published {
		if k.published[id] != 1 {
			t.Errorf("%s is published %d times", id, k.published[id])
		}
	}
	if a.tooOld > 0 {
		t.Errorf("%d requests were older than the API's retention", a.tooOld)
	}
	l := k.ledgers["type=configuration"]
	if len(l.Wanted) != 0 || len(l.Gaps) != 0 || len(l.Covered) != 1 {
		t.Errorf("the ledger at the end: %+v", l)
	}
	if n := len(k.seen); n > len(k.published)/2 && length > 6*time.Hour && back > 12*time.Hour {
		t.Errorf("%d of %d ids are still remembered", n, len(k.published))
	}
}

// checkLedgers checks what must hold after every step.
func checkLedgers(t *testing.T, k *kafka, cfg Config) {
	t.Helper()
	now := time.Now()
	for name, l := range k.ledgers {
		for _, w := range l.Wanted {
			if len(l.Covered.Clip(w)) > 0 {
				t.Errorf("%s: %s is both wanted and covered", name, w)
			}
		}
		if l.Covered.Last().After(now) {
			t.Errorf("%s: covered to %s, which is not past", name, l.Covered.Last())
		}
		known := l.Covered.Union(l.Wanted)
		for _, g := range l.Gaps {
			known = known.Add(g.Interval)
		}
		if all := (audit.Interval{From: l.Start, To: l.Covered.Last()}); !known.Covers(all) {
			t.Errorf("%s: of %s, %v is neither covered nor wanted nor a gap", name, all, audit.NewIntervalSet(all).Subtract(known))
		}
		for age, mark := range l.Sweeps {
			if mark.After(now.Add(-age)) {
				t.Errorf("%s: the sweep at %s is at %s, which is younger", name, age, mark)
			}
			if l.Forgotten.After(mark) {
				t.Errorf("%s: ids are forgotten up to %s, but the sweep at %s has only come to %s", name, l.Forgotten, age, mark)
			}
		}
	}
}
