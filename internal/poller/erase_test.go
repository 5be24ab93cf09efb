package poller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/offsets"
)

// erased publishes four events an hour apart and has two of them erased, and one that
// there is not.
func erased(b *bench) {
	b.Helper()
	for i := range 4 {
		at := b.start.Add(-time.Duration(i)*time.Hour - time.Minute)
		b.api.add(stream, fmt.Sprint("e", i), at, at)
	}
	b.lead(10 * time.Minute)
	b.request(offsets.Request{Kind: offsets.KindErase, IDs: []string{"e0", "e2", "e2", "unknown"}, By: "somebody", Reason: "asked for"}, 10*time.Minute)
	if len(b.kafka.notes) != 2 || b.kafka.notes["e0"] != 1 || b.kafka.notes["e2"] != 1 {
		b.Fatalf("erased: %v", b.kafka.notes)
	}
}

// request hands a request in and leads for so long, term after term.
func (b *bench) request(r offsets.Request, d time.Duration) {
	b.Helper()
	b.kafka.requests["r"] = r
	ctx, stop := context.WithTimeout(b.Context(), d)
	defer stop()
	for ctx.Err() == nil {
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		b.tune(p)
		for id, r := range b.kafka.requests {
			p.Request(id, r)
		}
		if err := p.Run(ctx); err != nil && !errors.Is(err, errDoubt) {
			b.Fatal(err)
		}
	}
	if len(b.kafka.requests) > 0 {
		b.Errorf("requests that never end: %v", b.kafka.requests)
	}
}

// TestErasedIsNeverPublishedAgain: by no reading that meets it again though its id was
// forgotten, nor by a repair, which finds neither record nor tombstone in the raw topic.
// Commit complains of what comes twice.
func TestErasedIsNeverPublishedAgain(t *testing.T) {
	inBubble(t, 5*time.Hour, func(b *bench) {
		erased(b)
		b.kafka.cleaned = true
		for id := range b.kafka.notes {
			delete(b.kafka.seen, id)
		}
		before := b.stats.Counts().Streams[stream].Duplicates
		b.request(offsets.Request{Kind: offsets.KindRepair, From: b.start.Add(-4 * time.Hour), To: b.start, IDs: []string{"e0", "e2"}}, 2*time.Hour)
		if after := b.stats.Counts().Streams[stream].Duplicates; after < before+3 {
			t.Errorf("met %d times: the case shows nothing", after-before)
		}
		b.request(offsets.Request{Kind: offsets.KindErase, IDs: []string{"e0"}, By: "another", Reason: "again"}, time.Minute)
	})
}

// TestErasedOutlivesTheOffsetsTopic as long as the tombstone is there.
func TestErasedOutlivesTheOffsetsTopic(t *testing.T) {
	inBubble(t, 5*time.Hour, func(b *bench) {
		b.free = 0
		erased(b)
		clear(b.kafka.seen)
		clear(b.kafka.ledgers)
		clear(b.kafka.notes)
		b.request(offsets.Request{Kind: offsets.KindRepair, From: b.start.Add(-4 * time.Hour), To: b.start, IDs: []string{"e0", "e2"}}, 48*time.Hour)
		for _, id := range []string{"e0", "e2"} {
			if _, ok := b.kafka.seen[id]; !ok {
				t.Errorf("%s is forgotten, though the API shows it", id)
			}
		}
	})
}

// TestErasureIsCommittedOnce whether the answer to its commit is lost before or after it
// was applied, or the step is rejected at first.
func TestErasureIsCommittedOnce(t *testing.T) {
	for seed := range uint64(8) {
		inBubble(t, 5*time.Hour, func(b *bench) {
			b.kafka.rnd = roll(seed)
			rejected := false
			b.kafka.reject = func(s *Step) error {
				if len(s.Erase) == 0 {
					b.kafka.doubt = 0
					return nil
				}
				if !rejected {
					rejected = true
					return fmt.Errorf("%w: NOT_ENOUGH_REPLICAS", ErrNotWritten)
				}
				b.kafka.doubt = 0.7
				return nil
			}
			erased(b)
			if !rejected {
				t.Error("the case shows nothing")
			}
		})
	}
}
