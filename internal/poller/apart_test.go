package poller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// The tests of this file are about one promise: one bad thing stops nothing else.

// faulty is an API of which some readings fail.
type faulty struct {
	*api
	fault func(r audit.Read) error // nil for none
}

func (f *faulty) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	if err := f.fault(r); err != nil {
		f.mu.Lock()
		f.reads = append(f.reads, r)
		f.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		return err
	}
	return f.api.Read(ctx, r, take)
}

// twoStreams has the events of b's API in two streams, of which "a" has none.
func (b *bench) twoStreams(n int, every, late time.Duration) {
	b.api.events = map[string][]*shownEvent{"a": nil, "bb": nil}
	for i := range n {
		at := b.start.Add(time.Duration(i) * every)
		b.api.add("bb", fmt.Sprint("e", i), at, at.Add(late))
	}
}

func TestBrokenSweepOfOneStreamHoldsUpNoOther(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.twoStreams(20, time.Minute, 8*time.Minute)
		src := &faulty{b.api, func(r audit.Read) error {
			if r.Stream == "a" && r.Purpose == audit.Sweep {
				return errPage
			}
			return nil
		}}
		b.during(src, 6*time.Hour, func() {
			if n := len(b.kafka.published); n != 20 {
				t.Errorf("%d of 20 late events of the stream that works are published", n)
			}
			failing := b.cfg.Health.Failing()
			if len(failing) != 2 || failing[0].String() != "sweep 10m a" || failing[1].String() != "sweep 1h a" {
				t.Errorf("failing: %v", failing)
			}
		})
	})
}

// A stream that is refused for good must not keep the ids of the others.
func TestDeadStreamKeepsNoIDsOfOthers(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.twoStreams(2000, time.Minute/2, 0)
		src := &faulty{b.api, func(r audit.Read) error {
			if r.Stream == "a" {
				return errPage
			}
			return nil
		}}
		b.free = 100
		b.during(src, 16*time.Hour, func() {
			b.kafka.mu.Lock()
			defer b.kafka.mu.Unlock()
			if published, kept := len(b.kafka.published), len(b.kafka.seen); published < 1900 || kept > 300 {
				t.Errorf("%d published, of which %d ids are remembered; the last hour and a half has 180", published, kept)
			}
		})
	})
}

// What a dead stream has begun to read stays remembered, however long it is dead.
func TestBegunChunkOfADeadStreamIsRemembered(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.free = 0
		b.twoStreams(1500, time.Minute, 0)
		for i := range 30 {
			at := b.start.Add(-9*time.Hour + time.Duration(i)*time.Second)
			b.api.add("a", fmt.Sprint("a", i), at, at)
		}
		dead := true
		src := &partly{api: b.api, stream: "a", dead: &dead}
		b.during(src, 8*time.Hour, func() {
			if n := b.published("a0"); n != 1 {
				t.Fatalf("the first page of the chunk was published %d times: the case shows nothing", n)
			}
		})
		dead = false
		b.during(src, 30*time.Minute, func() { // Commit complains of what comes twice
			for i := range 30 {
				if id := fmt.Sprint("a", i); b.published(id) != 1 {
					t.Errorf("%s is published %d times", id, b.published(id))
				}
			}
		})
	})
}

// partly fails each reading of a stream behind its first page.
type partly struct {
	*api
	stream string
	dead   *bool
}

func (s *partly) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	if r.Stream != s.stream || !*s.dead {
		return s.api.Read(ctx, r, take)
	}
	return s.api.Read(ctx, r, func(p audit.Page, last bool) error {
		if err := take(p, false); err != nil {
			return err
		}
		return errPage
	})
}

func (b *bench) published(id string) int {
	b.kafka.mu.Lock()
	defer b.kafka.mu.Unlock()
	return b.kafka.published[id]
}

func TestRefusedEventsDoNotStopTheBackfill(t *testing.T) {
	inBubble(t, 25*24*time.Hour, func(b *bench) {
		b.api.pageSize = 1000
		for i := range 80 {
			id := fmt.Sprint("huge", i)
			at := b.start.Add(-25*24*time.Hour + time.Duration(i)*25*time.Second)
			b.api.add(stream, id, at, at)
			b.kafka.refuse[id] = true
		}
		slow := &faulty{b.api, func(audit.Read) error { time.Sleep(500 * time.Millisecond); return nil }}
		b.during(slow, 8*time.Minute, func() {
			if l := b.ledger(); l.Wanted.Length() > 0 || len(l.Gaps) != 80 {
				t.Errorf("%v of 600h are left to read, %d gaps", l.Wanted.Length(), len(l.Gaps))
			}
		})
	})
}

// Very many refused events must not make the ledger grow without bound, and each
// of them heals.
func TestVeryManyRefusedEventsAreMergedAndHeal(t *testing.T) {
	inBubble(t, 24*time.Hour, func(b *bench) {
		const n, most = 150, 40
		b.free, b.mostGaps = 0, most
		at := func(i int) time.Time { return b.start.Add(-23*time.Hour + time.Duration(i)*500*time.Second) }
		for i := range n {
			id := fmt.Sprint("huge", i)
			b.kafka.refuse[id] = true
			b.api.add(stream, id, at(i), at(i))
			b.api.add(stream, fmt.Sprint("fits", i), at(i).Add(7*time.Second), at(i))
		}
		b.lead(2 * time.Hour)
		l := b.ledger()
		if len(l.Gaps) > most {
			t.Errorf("%d gaps", len(l.Gaps))
		}
		for i := range n {
			if l.Covered.Contains(at(i)) {
				t.Fatalf("the time of a refused event counts as covered")
			}
			if n := b.kafka.published[fmt.Sprint("fits", i)]; n != 1 {
				t.Fatalf("fits%d is published %d times", i, n)
			}
		}
		clear(b.kafka.refuse)
		b.lead(30 * time.Minute)
		b.kafka.complete(b.api, b.start.Add(-24*time.Hour), b.start, time.Hour)
		if l := b.ledger(); len(l.Gaps) > 0 || len(l.Wanted) > 0 || len(l.Covered) != 1 {
			t.Errorf("healed, but the ledger has %d gaps, wants %v, covers %d pieces", len(l.Gaps), l.Wanted, len(l.Covered))
		}
	})
}

// A reading whose interval holds a poisoned instant fails: that instant becomes a
// gap, everything around it is published, and it heals when the API is well again.
func TestPoisonIsCutOutAndHeals(t *testing.T) {
	for name, offset := range map[string]time.Duration{
		"in the backfill": -9*time.Hour - 1234567*time.Millisecond, "in the tail": 10 * time.Minute, "in two places": -5 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 10*time.Hour, func(b *bench) {
				poisons := []time.Time{b.start.Add(offset)}
				if name == "in two places" {
					poisons = append(poisons, b.start.Add(offset+3*time.Second))
				}
				for i := range 200 {
					for _, at := range poisons {
						near := at.Add(time.Duration(i-100) * 1500 * time.Millisecond)
						b.api.add(stream, fmt.Sprint("near", at.Unix(), "-", i), near, near)
					}
				}
				var healed atomic.Bool
				src := &faulty{b.api, func(r audit.Read) error {
					for _, at := range poisons {
						if r.Interval.Contains(at) && time.Now().After(at) && !healed.Load() {
							return fmt.Errorf("GET: 500: %w", ErrUnreadable)
						}
					}
					return nil
				}}
				b.during(src, 30*time.Minute, func() {
					l := b.ledger()
					if len(l.Gaps) != len(poisons) || len(l.Wanted) > 0 {
						t.Fatalf("gaps %v, wanted %v", l.Gaps, l.Wanted)
					}
					for i, g := range l.Gaps {
						if g.Length() != time.Millisecond || !g.Contains(poisons[i]) || g.Kind != offsets.Unreadable || !strings.Contains(g.Reason, "500") {
							t.Errorf("gap %+v", g)
						}
					}
					for _, e := range b.api.events[stream] {
						if n := b.published(e.id); n != 1 && !slices.Contains(poisons, e.at) {
							t.Errorf("%s at %s is published %d times", e.id, e.at, n)
						}
					}
					if f := b.cfg.Health.Failing(); len(f) != 1 || !f[0].Warning || !strings.Contains(f[0].Err.Error(), poisons[0].Format(audit.TimeFormat)) {
						t.Errorf("what is a gap is a warning, and nothing else: %v", f)
					}
					if lag := time.Since(l.Covered.Last()); lag > 10*time.Second+holdFor {
						t.Errorf("the tail is %s behind", lag)
					}
					healed.Store(true)
				})
				b.during(src, 90*time.Minute, func() {
					if l := b.ledger(); len(l.Gaps) > 0 || len(l.Wanted) > 0 || len(l.Covered) != 1 || len(b.cfg.Health.Failing()) > 0 {
						t.Errorf("it did not heal: %+v; failing: %v", l, b.cfg.Health.Failing())
					}
					b.kafka.complete(b.api, b.start.Add(-10*time.Hour), b.start.Add(20*time.Minute), time.Hour)
				})
			})
		})
	}
}

// An outage is no poison: nothing becomes a gap, however long it lasts.
func TestOutageMakesNoGap(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		for i := range 300 {
			at := b.start.Add(time.Duration(i-240) * 2 * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		var down atomic.Bool
		src := &faulty{b.api, func(audit.Read) error {
			if down.Load() {
				return fmt.Errorf("GET: 503: %w", ErrUnreadable)
			}
			return nil
		}}
		b.during(src, time.Second, func() {})
		for range 3 {
			down.Store(true)
			b.during(src, 2*time.Hour, func() {
				if l := b.ledger(); len(l.Gaps) > 0 {
					t.Errorf("gaps %v", l.Gaps)
				}
				down.Store(false)
				time.Sleep(20 * time.Second)
				down.Store(true)
				time.Sleep(20 * time.Minute)
			})
		}
		down.Store(false)
		b.during(src, 2*time.Hour, func() {
			b.kafka.complete(b.api, b.start.Add(-10*time.Hour), b.start.Add(2*time.Hour), time.Hour)
			if l := b.ledger(); len(l.Gaps) > 0 || len(l.Wanted) > 0 {
				t.Errorf("gaps %v, wanted %v", l.Gaps, l.Wanted)
			}
		})
	})
}

// A failing chunk is told of until it works itself: another chunk's success is not its own.
func TestFailureOfAChunkIsItsOwn(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		broken := &brokenHour{api: b.api, at: b.start.Add(-9*time.Hour - 30*time.Minute)}
		b.during(broken, time.Minute, func() {
			failing := b.cfg.Health.Failing()
			if len(failing) != 1 || !failing[0].Lasting(time.Now()) || time.Since(failing[0].Since) < 50*time.Second {
				t.Errorf("failing: %+v", failing)
			}
		})
	})
}

func TestRepairThatCannotReadAPieceBlocksNothing(t *testing.T) {
	inBubble(t, 3*time.Hour, func(b *bench) {
		for i := range 100 {
			at := b.start.Add(-150 * time.Minute).Add(time.Duration(i) * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(time.Minute)
		for _, lost := range []string{"e5", "e95"} {
			delete(b.kafka.published, lost)
		}
		old := b.start.Add(-20 * time.Hour)
		b.api.add(stream, "old", old, old)
		src := &brokenHour{api: b.api, at: b.start.Add(-145 * time.Minute)}
		ctx, stop := context.WithTimeout(b.Context(), 10*time.Minute)
		defer stop()
		p := New(b.cfg, src, b.kafka, b.kafka, b.kafka.load(), b.stats)
		b.kafka.requests = map[string]offsets.Request{"repair": {}, "backfill": {}}
		p.Request("repair", offsets.Request{Kind: offsets.KindRepair, From: b.start.Add(-3 * time.Hour), To: b.start, IDs: []string{"e5", "e95"}})
		p.Request("backfill", offsets.Request{Kind: offsets.KindBackfill, From: old.Add(-time.Minute), To: old.Add(time.Minute)})
		time.AfterFunc(time.Minute, func() {
			if b.published("old") != 1 {
				t.Error("a request waits behind a repair that cannot be done")
			}
			if b.published("e95") != 1 {
				t.Error("a piece of the repair waits behind one that cannot be read")
			}
		})
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if b.kafka.published["e5"] != 0 {
			t.Error("the piece could be read: the case shows nothing")
		}
		if len(b.kafka.requests) > 0 {
			t.Errorf("requests that never end: %v", b.kafka.requests)
		}
	})
}

// A refresh token is written while Kafka rejects everything else.
func TestTokenDoesNotWaitBehindARejectedStep(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		at := b.start.Add(-time.Minute)
		b.api.add(stream, "e", at, at)
		var rejecting atomic.Bool
		rejecting.Store(true)
		b.kafka.reject = func(s *Step) error {
			if rejecting.Load() && len(s.Events) > 0 {
				return fmt.Errorf("%w: NOT_ENOUGH_REPLICAS", ErrNotWritten)
			}
			return nil
		}
		ctx, stop := context.WithTimeout(b.Context(), 10*time.Minute)
		defer stop()
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(time.Minute)
		if f := b.cfg.Health.Failing(); len(f) != 1 || f[0].Op != "commit" {
			t.Errorf("failing: %v", f)
		}
		began := time.Now()
		if err := p.SaveToken(ctx, []byte("sealed")); err != nil || time.Since(began) > time.Second {
			t.Errorf("saved after %s: %v", time.Since(began), err)
		}
		rejecting.Store(false)
		time.Sleep(time.Minute)
		if b.published("e") != 1 || len(b.cfg.Health.Failing()) > 0 {
			t.Errorf("published %d times, failing: %v", b.published("e"), b.cfg.Health.Failing())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A sweep that a slow first reading is under way of waits for it.
func TestSweepWaitsForASlowTail(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.cfg.SweepAges = []time.Duration{10 * time.Minute}
		for i := range 240 {
			at := b.start.Add(time.Duration(i) * 15 * time.Second)
			b.api.add(stream, fmt.Sprint("late", i), at, at.Add(8*time.Minute))
		}
		b.during(&slowTail{api: b.api, from: b.start.Add(20 * time.Minute)}, 6*time.Hour, func() {
			if n := len(b.kafka.published); n != 240 {
				t.Errorf("%d of 240 late events are published", n)
			}
		})
	})
}

// slowTail takes 25 minutes for one poll.
type slowTail struct {
	*api
	from time.Time
	done bool
}

func (s *slowTail) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	if r.Purpose != audit.Tail || s.done || time.Now().Before(s.from) {
		return s.api.Read(ctx, r, take)
	}
	s.done = true
	return s.api.Read(ctx, r, func(p audit.Page, last bool) error {
		time.Sleep(25 * time.Minute)
		return take(p, last)
	})
}

// Ten streams that hang must not keep the others from being polled.
func TestHangingStreamsHoldUpNoOther(t *testing.T) {
	inBubble(t, time.Minute, func(b *bench) {
		b.api.events = map[string][]*shownEvent{}
		for i := range 2 * tailsAtOnce {
			b.api.events[fmt.Sprint("s", i)] = nil
		}
		at := b.start.Add(time.Minute)
		b.api.add("s0", "new", at, at)
		src := &faulty{b.api, func(r audit.Read) error {
			if r.Stream != "s0" {
				time.Sleep(4 * time.Minute)
				return errPage
			}
			return nil
		}}
		b.during(src, 90*time.Second, func() {
			if b.published("new") != 1 {
				t.Error("a new event of the stream that works is not published")
			}
		})
	})
}

// A page that is larger than a step may be is spread over several.
func TestStepsAreNoLargerThanTheSinkTakes(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.pageSize = 500
		for i := range 1200 {
			at := b.start.Add(-50 * time.Minute).Add(time.Duration(i) * time.Millisecond)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.kafka.capacity = 40
		b.kafka.reject = func(s *Step) error {
			if len(s.Events) > 40 {
				t.Errorf("a step of %d events", len(s.Events))
			}
			return nil
		}
		b.kafka.doubt = 0.05
		b.lead(5 * time.Minute)
		b.kafka.doubt = 0
		b.lead(time.Minute)
		b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start, time.Hour)
	})
}

// Many hours that cannot be read (the API refuses what is older than it says, say)
// must not keep those from being read that can.
func TestManyFailingHoursDoNotHoldUpTheOthers(t *testing.T) {
	inBubble(t, 60*time.Hour, func(b *bench) {
		for i := range 60 {
			at := b.start.Add(-time.Duration(i)*time.Hour - time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		src := &faulty{b.api, func(r audit.Read) error {
			if r.Interval.From.Before(b.start.Add(-35 * time.Hour)) {
				return errPage
			}
			return nil
		}}
		b.during(src, time.Hour, func() {
			for i := range 34 {
				if id := fmt.Sprint("e", i); b.published(id) != 1 {
					t.Errorf("%s is published %d times", id, b.published(id))
				}
			}
			if n := len(b.cfg.Health.Failing()); n == 0 || n > 100 {
				t.Errorf("%d failures", n)
			}
		})
	})
}
