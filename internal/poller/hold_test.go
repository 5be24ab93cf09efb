package poller

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/offsets"
)

// term is one that runs until it is stopped.
type term struct {
	*Poller
	stop func()
}

// begin runs a term beside the test.
func (b *bench) begin() *term {
	ended := make(chan error)
	ctx, stop := context.WithCancel(b.Context())
	t := &term{New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats), func() { stop(); <-ended }}
	b.tune(t.Poller)
	go func() { ended <- t.Run(ctx) }()
	return t
}

// idleMinutes runs 58 streams in which nothing happens, though ids of before are
// forgotten meanwhile, and returns what ten minutes of it cost.
func idleMinutes(t *testing.T, hold time.Duration) (transactions, reads, forgotten int) {
	inBubble(t, 2*time.Hour, func(b *bench) {
		b.hold, b.free = hold, 0
		clear(b.api.events)
		for i := range 58 {
			at := b.start.Add(-55 * time.Minute).Add(time.Duration(i) * 5 * time.Second)
			b.api.add(fmt.Sprint("service ", i), fmt.Sprint("e", i), at, at)
		}
		b.kafka.after = func() { transactions++ }
		run := b.begin()
		so := func() (committed, asked, ids int) {
			b.api.mu.Lock()
			defer b.api.mu.Unlock()
			b.kafka.mu.Lock()
			defer b.kafka.mu.Unlock()
			return transactions, len(b.api.reads), len(b.kafka.seen)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		before, asked, ids := so()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		committed, askedThen, idsThen := so()
		for _, s := range run.Streams() {
			l, _ := run.ledger(s.Name)
			polled := b.stats.Counts().Streams[s.Name].LastPoll
			if behind := time.Since(l.Covered.Last()); behind > 2*b.cfg.PollInterval || time.Since(polled) > 2*b.cfg.PollInterval {
				t.Errorf("%s is read up to %s ago, says the status, and was polled %s ago", s.Name, behind, time.Since(polled))
			}
		}
		run.stop()
		b.kafka.after = nil
		transactions, reads, forgotten = committed-before, askedThen-asked, ids-idsThen
		for name, l := range b.kafka.ledgers {
			if behind := time.Since(l.Covered.Last()); behind > 2*b.cfg.PollInterval {
				t.Errorf("a term that was ended has left %s covered up to %s ago", name, behind)
			}
		}
	})
	return transactions, reads, forgotten
}

// An organisation in which nothing happens costs at most two transactions a minute,
// however many streams it has, and no more requests than it would without.
func TestIdleIsCheap(t *testing.T) {
	transactions, reads, forgotten := idleMinutes(t, holdFor)
	without, readsWithout, _ := idleMinutes(t, 0)
	t.Logf("in ten minutes: %d transactions and %d requests; %d and %d where nothing is held back", transactions, reads, without, readsWithout)
	if transactions > 20 || transactions == 0 {
		t.Errorf("%d transactions in ten minutes of nothing", transactions)
	}
	if float64(reads) > 1.02*float64(readsWithout) {
		t.Errorf("%d requests in ten minutes, %d where nothing is held back", reads, readsWithout)
	}
	if forgotten == 0 {
		t.Error("no id was forgotten")
	}
}

// An event does not wait for what is held back, and takes it along.
func TestEventsDoNotWaitForWhatIsHeldBack(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		shown := make(map[string]time.Time)
		for i := range 40 {
			at := b.start.Add(time.Minute + time.Duration(i)*13*time.Second)
			shown[fmt.Sprint("e", i)] = at
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		met := 0
		b.kafka.after = func() {
			for id, at := range shown {
				if b.kafka.published[id] == 0 {
					continue
				}
				delete(shown, id)
				met++
				if late := time.Since(at); late > b.cfg.PollInterval+time.Second {
					t.Errorf("%s is published %s after it was shown", id, late)
				}
				if c := b.kafka.ledgers[stream].Covered.Last(); c.Before(at) {
					t.Errorf("%s came without its time: covered to %s", id, c)
				}
			}
		}
		b.lead(12 * time.Minute)
		if met != 40 {
			t.Errorf("%d of 40 events were published", met)
		}
	})
}

var errCrash = fmt.Errorf("the process dies: %w", errDoubt)

// A process that dies while something is held back loses nothing: what was held back
// is read again, and what the API shows late in it is found as it would have been.
func TestCrashWhileSomethingIsHeldBack(t *testing.T) {
	for after := time.Second; after < holdFor+10*time.Second; after += 7 * time.Second {
		inBubble(t, time.Hour, func(b *bench) {
			for i := range 200 {
				at := b.start.Add(time.Duration(i%100) * 3 * time.Second)
				b.api.add(stream, fmt.Sprint("e", i), at, at.Add(time.Duration(i%7)*time.Minute))
			}
			for range 8 {
				run := b.begin()
				time.Sleep(time.Minute + after)
				b.kafka.mu.Lock()
				b.kafka.reject = func(*Step) error { return errCrash }
				b.kafka.mu.Unlock()
				run.stop()
				b.kafka.reject = nil
			}
			b.lead(time.Hour + 15*time.Minute)
			b.kafka.complete(b.api, b.start, b.start.Add(10*time.Minute), 7*time.Minute)
			if l := b.ledger(); len(l.Wanted) != 0 || len(l.Covered) != 1 {
				t.Errorf("the ledger at the end: %+v", l)
			}
		})
	}
}

// History in which there is nothing is read as fast as the API answers, in a few
// transactions; the process that dies reads no more of it again than was held back.
func TestEmptyHistoryDoesNotWait(t *testing.T) {
	inBubble(t, 60*24*time.Hour, func(b *bench) {
		b.api.retention = 90 * 24 * time.Hour
		var transactions atomic.Int64
		b.kafka.after = func() { transactions.Add(1) }
		run := b.begin()
		defer run.stop()
		var took time.Duration
		for took = 0; took < 10*time.Minute; took += time.Second {
			time.Sleep(time.Second)
			if l, ok := run.ledger(stream); ok && len(l.Wanted) == 0 {
				break
			}
		}
		t.Logf("%d chunks in %s and %d transactions", 60*24, took, transactions.Load())
		if took > 90*time.Second { // 1,440 chunks, three at a time, of at most 200 ms
			t.Errorf("60 days of nothing took %s", took)
		}
		if transactions.Load() > 10 {
			t.Errorf("60 days of nothing took %d transactions", transactions.Load())
		}
		time.Sleep(holdFor + time.Second)
		if l := b.ledger(); len(l.Wanted) != 0 {
			t.Errorf("%v is still wanted in Kafka", l.Wanted)
		}
	})
}

// A refresh token, a request, ids that were read back do not wait, and take along what does.
func TestPromisesAreNotHeldBack(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		run := b.begin()
		defer run.stop()
		time.Sleep(10 * time.Minute)
		for range 5 {
			time.Sleep(b.cfg.PollInterval)
			began := time.Now()
			if err := run.SaveToken(b.Context(), fmt.Append(nil, began)); err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > time.Second || string(b.kafka.token) != fmt.Sprint(began) {
				t.Errorf("a token took %s", time.Since(began))
			}
			if c := b.ledger().Covered.Last(); time.Since(c) > 2*b.cfg.PollInterval {
				t.Errorf("the token's transaction left coverage behind: %s", c)
			}
		}
		id, r := "r", offsets.Request{Kind: offsets.KindBackfill, From: b.start.Add(-2 * time.Hour), To: b.start.Add(-time.Hour)}
		b.kafka.requests[id] = r
		run.Request(id, r)
		time.Sleep(2 * time.Second)
		b.kafka.mu.Lock()
		defer b.kafka.mu.Unlock()
		if len(b.kafka.requests) > 0 {
			t.Error("a request is held back")
		}
	})
}
