package poller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

const stream = "type=configuration"

// bench is one API, one Kafka and one stream in a bubble of time.
type bench struct {
	*testing.T
	api      *api
	kafka    *kafka
	cfg      Config
	stats    *Stats
	start    time.Time
	free     int // rememberFree of the terms
	mostGaps int
	hold     time.Duration
}

// inBubble runs a case. The clock starts on a whole millisecond.
func inBubble(t *testing.T, back time.Duration, f func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		rnd := roll(1)
		b := &bench{T: t, api: newAPI(t, rnd), kafka: newKafka(t, rnd), cfg: testConfig(t, back), start: time.Now().UTC(), free: rememberFreely, mostGaps: mostGaps, hold: holdFor}
		b.api.events[stream] = nil
		b.stats = NewStats(b.cfg.PollOverlap, b.cfg.SweepAges)
		f(b)
	})
}

// lead runs the poller for so long.
func (b *bench) lead(d time.Duration) {
	b.Helper()
	ctx, stop := context.WithTimeout(b.Context(), d)
	defer stop()
	lead(ctx, b.T, b.cfg, b.api, b.kafka, b.stats, b.tune)
}

// leadAnd is lead; look is called just before the term ends.
func (b *bench) leadAnd(d time.Duration, look func(*Poller)) {
	b.Helper()
	var term *Poller
	time.AfterFunc(d-time.Second, func() { look(term) })
	ctx, stop := context.WithTimeout(b.Context(), d)
	defer stop()
	lead(ctx, b.T, b.cfg, b.api, b.kafka, b.stats, func(p *Poller) { b.tune(p); term = p })
}

// tune sets what only tests set.
func (b *bench) tune(p *Poller) { p.rememberFree, p.mostGaps, p.hold = b.free, b.mostGaps, b.hold }

// during runs one term of src for so long, and looks at it just before it is ended.
func (b *bench) during(src Source, d time.Duration, look func()) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	p := New(b.cfg, src, b.kafka, b.kafka, b.kafka.load(), b.stats)
	b.tune(p)
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	time.Sleep(d)
	look()
	stop()
	if err := <-ended; err != nil {
		b.Errorf("the term ended with %v", err)
	}
}

func (b *bench) ledger() offsets.Ledger {
	b.kafka.mu.Lock()
	defer b.kafka.mu.Unlock()
	return b.kafka.ledgers[stream]
}

func TestDowntimeHealsBehindTheTail(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.lead(time.Minute)
		time.Sleep(21 * 24 * time.Hour)
		back := time.Now()
		for i := range 50 {
			b.api.add(stream, fmt.Sprint("missed-", i), b.start.Add(time.Duration(i)*10*time.Hour), b.start)
		}
		b.api.add(stream, "new", back.Add(10*time.Second), back.Add(10*time.Second))
		b.api.fail = 0
		b.lead(20 * time.Second)
		if b.kafka.published["new"] != 1 {
			t.Error("a new event waited behind three weeks of old ones")
		}
		b.lead(10 * time.Minute)
		for i := range 50 {
			if id := fmt.Sprint("missed-", i); b.kafka.published[id] != 1 {
				t.Errorf("%s is published %d times", id, b.kafka.published[id])
			}
		}
		if l := b.ledger(); len(l.Wanted) > 0 || len(l.Covered) != 1 {
			t.Errorf("the ledger did not heal: %+v", l)
		}
	})
}

func TestRetentionIsAGapWithItsReason(t *testing.T) {
	inBubble(t, 24*time.Hour, func(b *bench) {
		b.api.retention = 10 * time.Hour
		b.lead(time.Minute)
		gaps := b.ledger().Gaps
		if len(gaps) != 1 || !strings.Contains(gaps[0].Reason, "retention") {
			t.Fatalf("gaps: %+v", gaps)
		}
		if got := gaps[0].Length(); got < 14*time.Hour || got > 14*time.Hour+time.Minute {
			t.Errorf("the gap is %s long, 14 h are older than retention", got)
		}
		if b.api.tooOld > 0 {
			t.Errorf("%d requests asked for more than retention holds", b.api.tooOld)
		}
	})
}

// All there is, ordered: no part of it is late for retention, and none is a gap.
func TestAllThereIsHasNoGap(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.api.retention = 10 * time.Hour
		at := b.start.Add(-10*time.Hour + 40*time.Second)
		b.api.add(stream, "oldest", at, at)
		b.lead(time.Minute)
		if gaps := b.ledger().Gaps; len(gaps) != 0 {
			t.Errorf("gaps: %+v", gaps)
		}
		if b.kafka.published["oldest"] != 1 || b.api.tooOld > 0 {
			t.Errorf("the oldest event is published %d times; %d requests asked for more than retention holds", b.kafka.published["oldest"], b.api.tooOld)
		}
	})
}

func TestBackfillFromNowReadsNothingOlder(t *testing.T) {
	inBubble(t, 0, func(b *bench) {
		b.api.add(stream, "old", b.start.Add(-time.Second), b.start.Add(-time.Second))
		b.api.add(stream, "new", b.start.Add(time.Second), b.start.Add(time.Second))
		b.lead(time.Minute)
		if b.kafka.published["old"] != 0 || b.kafka.published["new"] != 1 {
			t.Errorf("published: %v", b.kafka.published)
		}
	})
}

func TestEarlierStartExtendsWhatIsWanted(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.add(stream, "yesterday", b.start.Add(-20*time.Hour), b.start.Add(-20*time.Hour))
		b.lead(time.Minute)
		if b.kafka.published["yesterday"] != 0 {
			t.Fatal("it was not ordered yet")
		}
		b.cfg = testConfig(t, 24*time.Hour)
		b.lead(2 * time.Minute)
		if b.kafka.published["yesterday"] != 1 {
			t.Error("an earlier BACKFILL_FROM read nothing more")
		}
		before := b.ledger().Start
		b.cfg = testConfig(t, time.Minute)
		b.lead(time.Minute)
		if !b.ledger().Start.Equal(before) {
			t.Error("a later BACKFILL_FROM changed something")
		}
	})
}

func TestRefusedEventIsAGapUntilTheTopicTakesIt(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		at := b.start.Add(-30 * time.Minute)
		for _, id := range []string{"before", "huge", "after"} { // all in one millisecond
			b.api.add(stream, id, at, at)
		}
		b.kafka.refuse["huge"] = true
		b.lead(3 * time.Minute)
		if b.kafka.published["before"] != 1 || b.kafka.published["after"] != 1 || b.kafka.published["huge"] != 0 {
			t.Fatalf("published: %v", b.kafka.published)
		}
		gaps := b.ledger().Gaps
		if len(gaps) != 1 || gaps[0].ID != "huge" || gaps[0].Size == 0 || !strings.Contains(gaps[0].Reason, "max.message.bytes") {
			t.Fatalf("gaps: %+v", gaps)
		}
		if b.ledger().Covered.Contains(at) {
			t.Error("the millisecond of an event that is missing counts as covered")
		}
		// A day later all sweeps are over; the ids beside the event must still be known.
		b.lead(24 * time.Hour)
		delete(b.kafka.refuse, "huge")
		b.lead(3 * time.Minute)
		if b.kafka.published["huge"] != 1 {
			t.Error("it did not heal when the topic took it")
		}
		if gaps := b.ledger().Gaps; len(gaps) != 0 || !b.ledger().Covered.Contains(at) {
			t.Errorf("healed, but the ledger says %+v", b.ledger())
		}
	})
}

func TestChunkWithTooMuchIsSplit(t *testing.T) {
	inBubble(t, 5*time.Hour, func(b *bench) {
		b.api.tooMuch = 10 * time.Minute
		for i := range 30 {
			at := b.start.Add(-time.Duration(i) * 10 * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.cfg.PollOverlap = time.Minute
		b.lead(10 * time.Minute)
		b.kafka.complete(b.api, b.start.Add(-5*time.Hour), b.start, time.Hour)
		if l := b.ledger(); len(l.Wanted) > 0 {
			t.Errorf("still wanted: %v", l.Wanted)
		}
	})
}

func TestStopAndStartRepeatsNoFinishedChunk(t *testing.T) {
	inBubble(t, 48*time.Hour, func(b *bench) {
		b.lead(time.Second) // some chunks, not all
		covered := b.ledger().Covered
		if done := covered.Length(); done < time.Hour || done > 47*time.Hour {
			t.Fatalf("%s covered: the case needs a half-done backfill", done)
		}
		b.api.reads = nil
		b.lead(time.Minute)
		for _, r := range b.api.reads {
			if r.Purpose == audit.Backfill && len(covered.Clip(r.Interval)) > 0 {
				t.Errorf("%s was read again", r.Interval)
			}
		}
	})
}

func TestFailingHourDoesNotHoldUpTheOthers(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		poisoned := b.start.Add(-9*time.Hour - 30*time.Minute)
		broken := &brokenHour{api: b.api, at: poisoned}
		b.during(broken, 5*time.Minute, func() {
			wanted := b.ledger().Wanted
			if len(wanted) != 1 || !wanted.Contains(poisoned) || wanted.Length() > time.Hour {
				t.Errorf("wanted: %v", wanted)
			}
			if f := b.cfg.Health.Failing(); len(f) != 1 || f[0].Op != "backfill" {
				t.Errorf("failing: %v", f)
			}
		})
	})
}

// A chunk that could not be read until it left the API's retention is a gap, and
// no failure any more.
func TestFailingHourThatLeavesRetention(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.api.retention = 10 * time.Hour
		broken := &brokenHour{api: b.api, at: b.start.Add(-9*time.Hour - 30*time.Minute)}
		ctx, stop := context.WithTimeout(b.Context(), 3*time.Hour)
		defer stop()
		p := New(b.cfg, broken, b.kafka, b.kafka, b.kafka.load(), b.stats)
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if l := b.ledger(); len(l.Gaps) != 1 || !l.Gaps[0].Contains(broken.at) || len(l.Wanted) > 0 {
			t.Errorf("gaps %v, wanted %v", l.Gaps, l.Wanted)
		}
		if f := b.cfg.Health.Failing(); len(f) > 0 || b.api.tooOld > 0 {
			t.Errorf("failing: %v; %d requests asked for more than retention holds", f, b.api.tooOld)
		}
	})
}

type brokenHour struct {
	*api
	at time.Time
}

func (b *brokenHour) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	if r.Interval.Contains(b.at) {
		return errPage
	}
	return b.api.Read(ctx, r, take)
}

// A clock that was wrong for a moment must not make the ledger skip the future.
func TestWrongClockIsRewound(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.skew = 3 * time.Hour
		b.lead(time.Minute)
		b.api.skew = 0
		b.kafka.after = func() {}
		at := time.Now().Add(time.Minute)
		b.api.add(stream, "after", at, at)
		b.lead(3 * time.Minute)
		if b.kafka.published["after"] != 1 {
			t.Errorf("an event after the wrong clock was lost: %+v", b.ledger())
		}
	})
}

// A clock that falls back behind what is forgotten must not publish it again.
func TestClockBehindPublishesNothingTwice(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.cfg.SweepAges = []time.Duration{5 * time.Minute}
		for i := range 60 {
			at := b.start.Add(time.Duration(i) * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(2 * time.Hour)
		b.api.skew = -100 * time.Minute
		if wrong := time.Now().Add(b.api.skew); !b.ledger().Forgotten.After(wrong.Add(30 * time.Minute)) {
			t.Fatalf("ids are remembered from %s on, and the clock says %s: the case shows nothing", b.ledger().Forgotten, wrong)
		}
		b.lead(time.Minute)
		if last := b.ledger().Covered.Last(); last.After(time.Now().Add(b.api.skew)) {
			t.Errorf("covered to %s, which is in the future of the API's clock", last)
		}
		b.api.skew = 0
		b.lead(10 * time.Minute) // Commit complains of what comes twice
		b.kafka.complete(b.api, b.start, b.start.Add(time.Hour), time.Hour)
	})
}

func TestOffsetsTopicLostRawTopicKept(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		for i := range 40 {
			at := b.start.Add(-time.Duration(i) * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(time.Minute)
		clear(b.kafka.seen)
		clear(b.kafka.ledgers)
		b.lead(time.Minute) // Commit complains about whatever is published twice
		b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start, time.Hour)
	})
}

// What was published before the offsets topic was lost is not published again
// when older time is ordered later.
func TestOffsetsTopicLostThenMoreIsOrdered(t *testing.T) {
	for _, how := range []string{"request", "earlier start"} {
		inBubble(t, 24*time.Hour, func(b *bench) {
			for i := range 40 {
				at := b.start.Add(-time.Duration(i) * 30 * time.Minute)
				b.api.add(stream, fmt.Sprint("e", i), at, at)
			}
			b.lead(time.Minute)
			clear(b.kafka.seen)
			clear(b.kafka.ledgers)
			b.cfg = testConfig(t, time.Hour)
			b.lead(time.Minute)
			if how == "earlier start" {
				b.cfg = testConfig(t, 24*time.Hour)
				b.lead(2 * time.Minute)
			} else {
				p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
				ctx, stop := context.WithTimeout(b.Context(), 2*time.Minute)
				defer stop()
				done := make(chan error)
				go func() { done <- p.Run(ctx) }()
				r := offsets.Request{Kind: offsets.KindBackfill, From: b.start.Add(-24 * time.Hour), To: b.start}
				p.Request("r", r)
				<-done
			}
			b.kafka.complete(b.api, b.start.Add(-24*time.Hour), b.start, time.Hour) // Commit complains of what comes twice
		})
	}
}

func TestAnotherFilterPublishesNothingTwice(t *testing.T) {
	inBubble(t, 3*time.Hour, func(b *bench) {
		for i := range 60 {
			at := b.start.Add(-time.Duration(i) * 3 * time.Minute)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.lead(2 * time.Hour) // long enough for ids to be forgotten
		if len(b.kafka.seen) >= 60 {
			t.Fatal("nothing was forgotten: the case shows nothing")
		}
		b.api.events = map[string][]*shownEvent{"type=configuration,entityType=queue": b.api.events[stream]}
		b.cfg = testConfig(t, 6*time.Hour)
		b.lead(time.Minute)
		if len(b.kafka.ledgers) != 2 {
			t.Errorf("%d ledgers, a changed filter is a stream of its own", len(b.kafka.ledgers))
		}
	})
}

// A stream whose place another took (another dialect, or filter) and that comes
// back knows nothing of what was forgotten meanwhile.
func TestStreamThatComesBackPublishesNothingTwice(t *testing.T) {
	for name, back := range map[string]time.Duration{"whole": 3 * time.Hour, "from now": 0} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3*time.Hour, func(b *bench) {
				for i := range 400 {
					at := b.start.Add(time.Duration(i-60) * time.Minute)
					b.api.add(stream, fmt.Sprint("e", i), at, at)
				}
				events := b.api.events[stream]
				turn := func(stream string, d time.Duration) {
					b.api.events = map[string][]*shownEvent{stream: events}
					b.lead(d)
				}
				turn("query:Routing", 40*time.Minute)
				b.cfg = testConfig(t, back)
				turn("realtime:Routing", 3*time.Hour) // long enough for ids to be forgotten
				if len(b.kafka.seen) >= 200 {
					t.Fatal("nothing was forgotten: the case shows nothing")
				}
				turn("query:Routing", 30*time.Minute) // Commit complains of what comes twice
				turn("auto:Routing", 90*time.Minute)
				turn("realtime:Routing", 30*time.Minute)
				b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start.Add(5*time.Hour), time.Hour)
			})
		})
	}
}

func TestRequestBecomesWanted(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		at := b.start.Add(-5 * 24 * time.Hour)
		b.api.add(stream, "old", at, at)
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		ctx, stop := context.WithTimeout(b.Context(), time.Minute)
		defer stop()
		b.kafka.requests["r1"] = offsets.Request{}
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		p.Request("r1", offsets.Request{Kind: "backfill", From: at.Add(-time.Hour), To: at.Add(time.Hour)})
		time.Sleep(time.Second)
		b.kafka.mu.Lock()
		_, waits := b.kafka.requests["r1"]
		b.kafka.mu.Unlock()
		if waits {
			t.Error("the request was not tombstoned with the step that took it over")
		}
		if l := b.ledger(); !l.Wanted.Contains(at) && !l.Covered.Contains(at) {
			t.Errorf("not wanted: %+v", l)
		}
		<-done
		if b.kafka.published["old"] != 1 {
			t.Error("what was requested was not read")
		}
		if !b.ledger().Start.Equal(b.start.Add(-time.Hour)) {
			t.Error("a request moved the start of what is followed without a break")
		}
	})
}

func TestTokenIsDurableBeforeItIsUsed(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		ctx, stop := context.WithTimeout(b.Context(), time.Minute)
		defer stop()
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		if err := p.SaveToken(ctx, []byte("sealed")); err != nil {
			t.Fatal(err)
		}
		b.kafka.mu.Lock()
		durable := string(b.kafka.token)
		b.kafka.mu.Unlock()
		if durable != "sealed" || string(p.Token()) != "sealed" {
			t.Errorf("token %q in Kafka, %q in memory", durable, p.Token())
		}
		<-done
	})
}

func TestConfigurationErrorEndsTheTerm(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.openErr = fmt.Errorf("GENESYS_FILTER: %w", ErrConfiguration)
		err := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats).Run(b.Context())
		if !errors.Is(err, ErrConfiguration) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestDoubtEndsTheTerm(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.kafka.doubt = 1
		err := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats).Run(b.Context())
		if !errors.Is(err, errDoubt) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestLateEventsAreCounted(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		at := b.start.Add(time.Minute)
		b.api.add(stream, "late", at, at.Add(5*time.Minute))
		b.api.add(stream, "later", at, at.Add(30*time.Minute))
		b.lead(2 * time.Hour)
		late := b.stats.Counts().Streams[stream].Late
		if !slices.Equal(late, []int{0, 1, 1, 0}) { // found by the sweeps at 10 m and at 1 h
			t.Errorf("late by bucket %v: %v", b.stats.LateBuckets(), late)
		}
	})
}
