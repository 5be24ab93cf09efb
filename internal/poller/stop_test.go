package poller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// rotating is an API whose login is under way when the term ends, and has then
// replaced the refresh token: the old one is dead.
type rotating struct {
	*api
	opening chan struct{}
	save    func(context.Context) error
	saved   error
}

func (r *rotating) Open(ctx context.Context) ([]audit.Stream, error) {
	close(r.opening)
	<-ctx.Done()
	time.Sleep(2 * time.Second) // the answer takes a while
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	r.saved = r.save(grace)
	return nil, ctx.Err()
}

func TestTokenReplacedWhileStoppingIsSaved(t *testing.T) {
	for name, doubt := range map[string]float64{"committed": 0, "in doubt": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, time.Hour, func(b *bench) {
				b.kafka.doubt = doubt
				src := &rotating{api: b.api, opening: make(chan struct{})}
				p := New(b.cfg, src, b.kafka, b.kafka, offsets.NewState("org"), b.stats)
				src.save = func(ctx context.Context) error { return p.SaveToken(ctx, []byte("sealed")) }
				ctx, stop := context.WithCancel(b.Context())
				go func() { <-src.opening; stop() }()
				if err := p.Run(ctx); err != nil {
					t.Errorf("Run returned %v", err)
				}
				switch {
				case doubt == 0 && (src.saved != nil || string(b.kafka.token) != "sealed"):
					t.Errorf("saved: %v; %q is in Kafka", src.saved, b.kafka.token)
				case doubt == 1 && !errors.Is(src.saved, context.DeadlineExceeded):
					t.Errorf("saved: %v, though the commit failed", src.saved)
				}
			})
		})
	}
}

// A page that is written in many small steps, for the broker throttles, does not
// hold up the end of a term; its memory is given back, once.
func TestStopDoesNotWaitForTheRestOfAPage(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.api.pageSize = 500
		b.kafka.capacity = 1
		for i := range 500 {
			at := b.start.Add(-time.Duration(i) * time.Second)
			b.api.add(stream, fmt.Sprint("e", i), at, at)
		}
		b.kafka.reject = func(*Step) error { time.Sleep(2 * time.Second); return nil }
		ctx, stop := context.WithCancel(b.Context())
		p := New(b.cfg, b.api, b.kafka, b.kafka, b.kafka.load(), b.stats)
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(time.Minute)
		began := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > b.cfg.StopTimeout {
			t.Errorf("the term took %s to end", took)
		}
		b.kafka.reject, b.kafka.capacity = nil, 0
		b.lead(10 * time.Minute)
		b.kafka.complete(b.api, b.start.Add(-time.Hour), b.start, time.Hour)
	})
}
