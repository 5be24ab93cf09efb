package poller

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// phoneBook calls everything by the number of the step that asks.
type phoneBook struct {
	takes time.Duration
	steps atomic.Int32
	while func(ctx context.Context)
}

type stepNames string

func (n stepNames) NameOf(audit.Kind, []byte) (audit.Name, bool) {
	return audit.Name{Text: string(n)}, true
}

func (b *phoneBook) Resolve(ctx context.Context, events iter.Seq[*audit.Event]) audit.Names {
	for range events {
	}
	n := b.steps.Add(1)
	if b.while != nil {
		b.while(ctx)
	}
	time.Sleep(b.takes)
	return stepNames(fmt.Sprint("step ", n))
}

// Names are looked up once a step, before the first attempt: a step that is written
// again has the same, so that its records are the same.
func TestStepKeepsItsNames(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		book := &phoneBook{takes: 10 * time.Millisecond}
		b.cfg.Namer = book
		at := b.start.Add(-time.Minute)
		b.api.add(stream, "e", at, at)
		b.api.add(stream, "later", b.start.Add(5*time.Minute), b.start.Add(5*time.Minute))
		var called []string
		b.kafka.reject = func(s *Step) error {
			if len(s.Events) == 0 {
				return nil
			}
			name, _ := s.Names.NameOf(audit.UserKind, nil)
			called = append(called, s.Events[0].Event.ID+" in "+name.Text)
			if len(called) < 4 {
				return fmt.Errorf("%w: NOT_ENOUGH_REPLICAS", ErrNotWritten)
			}
			return nil
		}
		b.lead(10 * time.Minute)
		want := []string{"e in step 1", "e in step 1", "e in step 1", "e in step 1", "later in step 2"}
		if fmt.Sprint(called) != fmt.Sprint(want) || b.published("e") != 1 {
			t.Errorf("%q, want %q", called, want)
		}
	})
}

// A lookup may need a login that replaces the refresh token: it is written while the
// step waits for the lookup.
func TestTokenIsWrittenWhileNamesAreLookedUp(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		var term *Poller
		var saved error
		took := time.Hour
		book := &phoneBook{while: func(ctx context.Context) {
			began := time.Now()
			saved = term.SaveToken(ctx, []byte("sealed"))
			took = time.Since(began)
		}}
		b.cfg.Namer = book
		at := b.start.Add(-time.Minute)
		b.api.add(stream, "e", at, at)
		ctx, stop := context.WithTimeout(b.Context(), time.Minute)
		defer stop()
		lead(ctx, b.T, b.cfg, b.api, b.kafka, b.stats, func(p *Poller) { b.tune(p); term = p })
		if saved != nil || took > time.Second || string(b.kafka.token) != "sealed" || b.published("e") != 1 {
			t.Errorf("saved after %s: %v, token %q, published %d times", took, saved, b.kafka.token, b.published("e"))
		}
	})
}
