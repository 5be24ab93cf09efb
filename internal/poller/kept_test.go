package poller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// The tests of this file are about one promise: an id that was read back is
// remembered until its time was read.

// unhurried takes a minute for each chunk of a backfill.
func (b *bench) unhurried() Source {
	return &faulty{b.api, func(r audit.Read) error {
		if r.Purpose == audit.Backfill {
			time.Sleep(time.Minute)
		}
		return nil
	}}
}

func TestIDsReadBackAtTheStartAreKept(t *testing.T) {
	for _, lost := range []string{"offsets topic", "filter"} {
		t.Run(lost, func(t *testing.T) {
			inBubble(t, 48*time.Hour, func(b *bench) {
				b.free = 0 // as if there were very many
				for i := range 48 {
					at := b.start.Add(-time.Duration(i) * time.Hour)
					b.api.add(stream, fmt.Sprint("e", i), at, at)
				}
				b.lead(2 * time.Hour)
				if lost == "filter" {
					b.api.events = map[string][]*shownEvent{"another": b.api.events[stream]}
				} else {
					clear(b.kafka.seen)
					clear(b.kafka.ledgers)
				}
				b.during(b.unhurried(), 2*time.Hour, func() {}) // Commit complains of what comes twice
			})
		})
	}
}

func TestIDsReadBackForARequestAreKept(t *testing.T) {
	inBubble(t, 48*time.Hour, func(b *bench) {
		b.free = 0
		for i := range 48 {
			at := b.start.Add(-time.Duration(i) * time.Hour)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(2 * time.Hour)
		clear(b.kafka.seen)
		clear(b.kafka.ledgers)
		b.cfg = testConfig(t, time.Hour)
		ctx, stop := context.WithTimeout(b.Context(), 2*time.Hour)
		defer stop()
		p := New(b.cfg, b.unhurried(), b.kafka, b.kafka, b.kafka.load(), b.stats)
		b.tune(p)
		p.Request("r", offsets.Request{Kind: offsets.KindBackfill, From: b.start.Add(-48 * time.Hour), To: b.start})
		if err := p.Run(ctx); err != nil { // Commit complains of what comes twice
			t.Fatal(err)
		}
	})
}

// The clock falls back in the moment in which ids are being forgotten: what is
// forgotten in the very step in which the ledger's rewinding begins is read back.
func TestIDsForgottenWhileRewindingBeginsAreReadBack(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.free = 0
		at := b.start.Add(-50 * time.Minute)
		b.api.add(stream, "e", at, at)
		b.lead(5 * time.Second)
		l := b.ledger()
		for age := range l.Sweeps {
			l.Sweeps[age] = b.start.Add(-time.Minute) // it has been swept: the id is not needed any more
		}
		state := b.kafka.load()
		state.Ledgers[stream] = l
		p := New(b.cfg, b.api, b.kafka, b.kafka, state, b.stats)
		b.tune(p)
		p.streams = []audit.Stream{{Name: stream}}
		ctx, stop := context.WithCancel(b.Context())
		alone, ended := make(chan struct{}), make(chan error)
		go func() { ended <- p.commitLoop(ctx, newStepBuilder(p), alone) }()
		go func() { _ = p.do(ctx, func(*stepBuilder) {}) }() // the others wait for this step and share the next
		synctest.Wait()
		go func() {
			if err := p.forgetAll(ctx); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if err := p.stepBack(ctx, stream, at.Add(-time.Minute)); err != nil {
			t.Error(err)
		}
		if !p.ledgers[stream].Forgotten.Before(at) {
			t.Fatal("its time is not read again: the case shows nothing")
		}
		if !p.ids.Has("e") {
			t.Error("its time is read again, and its id is not known")
		}
		stop()
		close(alone)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Gaps that are too many are merged with what lies between them, which was covered
// and published; when a request has all of it read again nothing comes out twice.
func TestIDsBetweenMergedGapsAreKept(t *testing.T) {
	inBubble(t, 24*time.Hour, func(b *bench) {
		b.free, b.mostGaps = 0, 6
		at := func(i int) time.Time { return b.start.Add(-23*time.Hour + time.Duration(i)*time.Minute) }
		for i := range 60 {
			b.api.add(stream, fmt.Sprint("e", i), at(i).Add(time.Second), at(i))
		}
		var again atomic.Pointer[time.Time] // when it was asked for again
		src := &faulty{b.api, func(r audit.Read) error {
			if asked := again.Load(); asked != nil {
				if r.Purpose == audit.Backfill && time.Since(*asked) < 10*time.Minute {
					return errPage
				}
				return nil
			}
			for i := 0; i < 60; i += 6 {
				if r.Interval.Contains(at(i)) {
					return fmt.Errorf("GET: 500: %w", ErrUnreadable)
				}
			}
			return nil
		}}
		ctx, stop := context.WithTimeout(b.Context(), 3*time.Hour)
		defer stop()
		p := New(b.cfg, src, b.kafka, b.kafka, b.kafka.load(), b.stats)
		b.tune(p)
		time.AfterFunc(2*time.Hour, func() {
			if l := b.ledger(); len(l.Gaps) > 6 || len(l.Wanted) > 0 {
				t.Errorf("gaps %v, wanted %v: the case shows nothing", l.Gaps, l.Wanted)
			}
			now := time.Now()
			again.Store(&now)
			p.Request("r", offsets.Request{Kind: offsets.KindBackfill, From: at(0), To: at(60)})
		})
		if err := p.Run(ctx); err != nil { // Commit complains of what comes twice
			t.Fatal(err)
		}
		if l := b.ledger(); len(l.Gaps) > 0 || len(l.Wanted) > 0 {
			t.Errorf("gaps %v, wanted %v", l.Gaps, l.Wanted)
		}
	})
}

// Another filter takes the place of one that has begun a chunk, and that has a gap
// among what it has covered.
func TestIDsOfAFilterThatWasNotDoneAreKept(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.free = 0
		old := b.start.Add(-9 * time.Hour)
		for i := range 20 {
			b.api.add(stream, fmt.Sprint("begun", i), old.Add(time.Duration(i)*time.Second), old)
			b.api.add(stream, fmt.Sprint("tied", i), old.Add(2*time.Hour), old)
		}
		b.kafka.refuse["tied10"] = true
		b.during(&onlyFirstPage{b.api, old}, 2*time.Hour, func() {
			if b.published("begun0") != 1 || b.published("begun19") != 0 || b.published("tied0") != 1 || len(b.ledger().Gaps) != 1 {
				t.Fatal("the case shows nothing")
			}
		})
		b.api.events = map[string][]*shownEvent{"another": b.api.events[stream]}
		clear(b.kafka.refuse)
		b.cfg = testConfig(t, 24*time.Hour)
		b.during(b.unhurried(), 2*time.Hour, func() {}) // Commit complains of what comes twice
		b.kafka.complete(b.api, b.start.Add(-10*time.Hour), b.start, 10*time.Hour)
	})
}

// While a stream is away another one forgets what it needs, by a clock that is
// slower: to an instant that is older than what was forgotten when it left.
func TestIDsForgottenByASlowerClockAreReadBack(t *testing.T) {
	for name, other := range map[string]string{"a rewound ledger": "bb", "a new ledger": "another"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 10*time.Hour, func(b *bench) {
				b.free = 0
				old := b.start.Add(-9 * time.Hour)
				b.api.events["bb"] = nil
				for i := range 20 {
					b.api.add(stream, fmt.Sprint("tied", i), old, old)
				}
				b.api.add(stream, "swept", b.start.Add(50*time.Minute), b.start)
				b.kafka.refuse["tied10"] = true
				b.lead(2 * time.Hour)
				left := b.ledger()
				if len(left.Gaps) != 1 {
					t.Fatalf("the case needs a gap: %+v", left)
				}
				clear(b.kafka.refuse)
				events := b.api.events[stream]
				b.api.events = map[string][]*shownEvent{"bb": nil}
				if other != "bb" {
					b.api.events[other] = events
				}
				b.api.skew = -30 * time.Minute
				b.lead(5 * time.Minute)
				now := b.kafka.ledgers[other].Forgotten
				if _, known := b.kafka.seen["tied0"]; known || !now.After(old) || !now.Before(left.Forgotten) {
					t.Fatalf("remembered: %v; forgotten up to %s, and before up to %s: the case shows nothing", known, now, left.Forgotten)
				}
				b.api.events, b.api.skew = map[string][]*shownEvent{stream: events, "bb": nil}, 0
				b.lead(5 * time.Minute) // Commit complains of what comes twice
				b.kafka.complete(b.api, b.start.Add(-10*time.Hour), b.start, 10*time.Hour)
			})
		})
	}
}

// onlyFirstPage fails readings that hold an instant, behind their first page.
type onlyFirstPage struct {
	Source
	at time.Time
}

func (s *onlyFirstPage) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	if !r.Interval.Contains(s.at) {
		return s.Source.Read(ctx, r, take)
	}
	return s.Source.Read(ctx, r, func(p audit.Page, last bool) error {
		if err := take(p, false); err != nil {
			return err
		}
		return errPage
	})
}

// A gap, or a chunk that was begun, that is older than what is forgotten must not
// have each new term read the whole raw topic before it polls: its ids were kept.
func TestRestartWithAnOldGapReadsNothingBack(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.free = 0
		b.api.events = map[string][]*shownEvent{"a": nil, "bb": nil}
		for i := range 600 {
			at := b.start.Add(time.Duration(i-500) * time.Minute)
			b.api.add("a", fmt.Sprint("a", i), at, at)
			b.api.add("bb", fmt.Sprint("b", i), at, at)
		}
		b.kafka.refuse["a3"] = true
		b.lead(4 * time.Hour)
		if l := b.kafka.ledgers["a"]; len(l.Gaps) != 1 || !l.Forgotten.After(l.Gaps[0].To) {
			t.Fatalf("the case needs a gap that is older than what is forgotten: %+v", l)
		}
		read := 0
		b.kafka.each = func() { read++ }
		b.lead(time.Minute)
		if read > 0 {
			t.Errorf("the raw topic was read %d times", read)
		}
		delete(b.kafka.refuse, "a3")
		b.lead(10 * time.Minute) // Commit complains of what comes twice
		if b.kafka.published["a3"] != 1 {
			t.Error("the gap did not heal")
		}
		// A stream that was away while the other forgot has its ids read back.
		b.api.events = map[string][]*shownEvent{"bb": b.api.events["bb"], "cc": b.api.events["a"]}
		b.lead(3 * time.Hour)
		if read == 0 {
			t.Error("another stream of the same events read nothing back")
		}
	})
}
