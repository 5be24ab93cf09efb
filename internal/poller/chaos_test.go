package poller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// TestNothingLostNothingTwiceInChaos is TestNothingLostNothingTwice with all that
// can go wrong at the same time: two streams, one of which changes its name;
// poison, too much, clocks, retention; events and steps that are refused, small
// steps, an archive that fails; requests and repairs. When all is well again every
// event is there once, no gap is left, and all pages were given back.
func TestNothingLostNothingTwiceInChaos(t *testing.T) {
	seeds := 4
	if s := os.Getenv("POLLER_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newChaos(t, uint64(seed)).run() })
		})
	}
}

type chaos struct {
	*testing.T
	rnd   *dice
	api   *api
	kafka *kafka
	cfg   Config
	stats *Stats
	start time.Time
	back  time.Duration

	poisons []time.Time // each fails the readings that hold it
	archive bool        // whether the archive fails
	pages   atomic.Int64
	n       int // of requests
}

func newChaos(t *testing.T, seed uint64) *chaos {
	rnd := roll(seed)
	c := &chaos{T: t, rnd: rnd, api: newAPI(t, rnd), kafka: newKafka(t, rnd), start: time.Now().UTC()}
	c.back = time.Duration(2+rnd.IntN(10)) * time.Hour
	c.cfg = testConfig(t, c.back)
	c.cfg.PollInterval = 20 * time.Second
	c.cfg.Start = func(now time.Time, _ time.Duration) time.Time { return c.start.Add(-c.back) }
	c.stats = NewStats(c.cfg.PollOverlap, c.cfg.SweepAges)
	for i := range 300 + rnd.IntN(300) {
		at := c.start.Add(-c.back + rnd.upTo(c.back+6*time.Hour))
		for range 1 + rnd.IntN(10)/9*rnd.IntN(20) { // some in one millisecond
			visible := at
			if rnd.IntN(4) == 0 {
				visible = at.Add(rnd.upTo(50 * time.Minute))
			}
			e := c.api.add([]string{"a", "bb"}[i%2], fmt.Sprintf("event-%d-%d", i, len(c.api.events["a"])+len(c.api.events["bb"])), at, visible)
			if i%2 == 1 && rnd.IntN(5) > 0 {
				e.preview = at.Add(rnd.upTo(time.Minute))
			}
		}
	}
	c.api.previews = map[string][]audit.Previewed{"bb": {{Service: "some", Priority: seed%2 == 0}}}
	c.kafka.after = c.check
	return c
}

// check is called after each step.
func (c *chaos) check() {
	for name, l := range c.kafka.ledgers {
		for _, w := range l.Wanted {
			if len(l.Covered.Clip(w)) > 0 {
				c.Errorf("%s: %s is both wanted and covered", name, w)
			}
		}
		for age, mark := range l.Sweeps {
			if l.Forgotten.After(mark) {
				c.Errorf("%s: ids are forgotten up to %s, but the sweep at %s has only come to %s", name, l.Forgotten, age, mark)
			}
		}
		if l.Covered.Last().After(time.Now()) {
			c.Errorf("%s: covered to %s, which is not past", name, l.Covered.Last())
		}
	}
}

func (c *chaos) Open(ctx context.Context) ([]audit.Stream, error) { return c.api.Open(ctx) }
func (c *chaos) Now() time.Time                                   { return c.api.Now() }

// Read fails what holds a poison, and counts the pages that are not given back.
func (c *chaos) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	poisoned := slices.ContainsFunc(c.poisons, r.Interval.Contains)
	pages := c.rnd.IntN(3)
	poison := fmt.Errorf("GET: 500: %w", ErrUnreadable)
	err := c.api.Read(ctx, r, func(p audit.Page, last bool) error {
		if poisoned {
			if pages--; pages < 0 {
				return poison
			}
			last = false
		}
		c.pages.Add(1)
		freed := false
		p.Free = func() {
			if freed {
				c.Error("a page is given back twice")
			}
			freed = true
			c.pages.Add(-1)
		}
		return take(p, last)
	})
	if err == nil && poisoned {
		return poison
	}
	return err
}

var errArchive = errors.New("the raw topic cannot be read")

func (c *chaos) Each(ctx context.Context, f func(string, time.Time, bool) error) error {
	if c.archive {
		time.Sleep(time.Second)
		return errArchive
	}
	return c.kafka.Each(ctx, f)
}

func (c *chaos) Find(ctx context.Context, ids []string) (map[string]Records, error) {
	if c.archive {
		return nil, errArchive
	}
	return c.kafka.Find(ctx, ids)
}

func (c *chaos) mostly(n int) bool { return c.rnd.IntN(n) > 0 }

// trouble chooses what goes wrong in the next term.
func (c *chaos) trouble() {
	a, k := c.api, c.kafka
	a.fail, k.doubt = 0.1*c.rnd.Float64(), 0.01*c.rnd.Float64()
	a.skew, a.retention, a.tooMuch, k.capacity, k.reject, c.archive = 0, 30*24*time.Hour, 0, 0, nil, false
	c.poisons = nil
	clear(k.refuse)
	if !c.mostly(3) {
		a.skew = c.rnd.upTo(3*time.Hour) + 2*time.Minute
		if c.rnd.IntN(2) == 0 {
			a.skew = -a.skew
		}
	}
	if !c.mostly(4) {
		a.retention = 5*time.Hour + c.rnd.upTo(6*time.Hour) // a sweep comes in time, whatever the clock
	}
	if !c.mostly(4) {
		a.tooMuch = time.Minute + c.rnd.upTo(time.Hour)
	}
	if !c.mostly(3) {
		k.capacity = 1 + c.rnd.IntN(5)
	}
	if !c.mostly(4) {
		k.reject = func(*Step) error {
			if c.rnd.IntN(3) == 0 {
				return fmt.Errorf("%w: NOT_ENOUGH_REPLICAS", ErrNotWritten)
			}
			return nil
		}
	}
	c.archive = !c.mostly(4)
	all := slices.Concat(slices.Collect(maps.Values(a.events))...)
	for range c.rnd.IntN(4) {
		c.poisons = append(c.poisons, all[c.rnd.IntN(len(all))].at)
	}
	for range c.rnd.IntN(20) {
		k.refuse[all[c.rnd.IntN(len(all))].id] = true
	}
	if !c.mostly(4) { // another filter, or back to the one before
		for old, other := range map[string]string{"a": "A", "A": "a"} {
			if events, ok := a.events[old]; ok {
				delete(a.events, old)
				a.events[other] = events
				break
			}
		}
	}
}

// ask hands a request in.
func (c *chaos) ask(p *Poller) {
	c.n++
	id := fmt.Sprint("request", c.n)
	from := c.start.Add(-c.back + c.rnd.upTo(c.back+time.Since(c.start)))
	r := offsets.Request{Kind: offsets.KindBackfill, From: from, To: from.Add(time.Minute + c.rnd.upTo(4*time.Hour))}
	r.From, r.To = r.From.Truncate(time.Millisecond), r.To.Truncate(time.Millisecond) // as the topic gives it
	if kind := c.rnd.IntN(4); kind < 3 {
		if r.Kind = offsets.KindRepair; kind == 0 {
			r.Kind, r.By, r.Reason = offsets.KindErase, "somebody", "asked for"
		}
		for range 20 {
			all := slices.Concat(slices.Collect(maps.Values(c.api.events))...)
			r.IDs = append(r.IDs, all[c.rnd.IntN(len(all))].id)
		}
	}
	c.kafka.mu.Lock()
	c.kafka.requests[id] = r
	c.kafka.mu.Unlock()
	p.Request(id, r)
}

func (c *chaos) lead(d time.Duration, during func(*Poller)) {
	ctx, kill := context.WithTimeout(c.Context(), d)
	defer kill()
	for ctx.Err() == nil {
		p := New(c.cfg, c, c.kafka, c, c.kafka.load(), c.stats)
		p.rememberFree, p.mostGaps = 0, 8
		for id, r := range c.kafka.requests {
			p.Request(id, r)
		}
		during(p)
		if err := p.Run(ctx); err != nil && !errors.Is(err, errDoubt) {
			c.Errorf("the term ended with %v", err)
			return
		}
		if n := c.pages.Load(); n != 0 {
			c.Errorf("%d pages are not given back when the term has ended", n)
		}
	}
}

func (c *chaos) run() {
	for time.Since(c.start) < 6*time.Hour {
		c.trouble()
		began := time.Now()
		asks := c.rnd.IntN(2)
		c.lead(time.Minute+c.rnd.upTo(time.Hour), func(p *Poller) {
			if asks--; asks == 0 {
				time.AfterFunc(c.rnd.upTo(time.Minute), func() { c.ask(p) })
			}
		})
		if took := time.Since(began); took > time.Hour+2*time.Minute {
			c.Errorf("a term took %s", took)
		}
		if c.rnd.IntN(4) == 0 {
			time.Sleep(c.rnd.upTo(2 * time.Hour)) // downtime
		}
	}
	a, k := c.api, c.kafka
	a.fail, k.doubt, a.skew, a.tooMuch, k.capacity, k.reject, c.archive, c.poisons = 0, 0, 0, 0, 0, nil, false, nil
	a.retention = 30 * 24 * time.Hour
	clear(k.refuse)
	end := time.Now()
	c.lead(3*time.Hour, func(*Poller) {})
	k.complete(a, c.start.Add(-c.back), end, 50*time.Minute)
	for stream := range a.events {
		l := k.ledgers[stream]
		if holes := unknown(l, l.Covered.Last()); len(l.Wanted) != 0 || len(l.Gaps) != 0 || len(holes) != 0 || time.Since(l.Covered.Last()) > time.Minute {
			c.Errorf("the ledger of %s at the end: covered %v, wanted %v, gaps %v, nothing about %v", stream, l.Covered, l.Wanted, l.Gaps, holes)
		}
	}
	if len(k.requests) > 0 {
		c.Errorf("requests that never ended: %v", k.requests)
	}
	if f := c.cfg.Health.Failing(); len(f) > 0 {
		c.Errorf("failing at the end: %v", f)
	}
}
