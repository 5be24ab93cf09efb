// Package retry is the one way in which this program waits before it tries
// something again: exponential backoff with full jitter, so that replicas,
// streams and chunks that failed together do not come back together.
//
// It refuses to know what is tried, and which errors pass.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff is a sequence of pauses whose upper bound doubles from First to Most.
// It is a value: a copy starts where the original stands. It is not safe for
// concurrent use.
type Backoff struct {
	First, Most time.Duration
	failures    int
}

// Next returns the pause after one more failure: a random part of the bound,
// never zero.
func (b *Backoff) Next() time.Duration {
	b.failures++
	return jitter(b.bound())
}

// bound returns the upper bound of the pause after the newest failure.
func (b *Backoff) bound() time.Duration {
	bound := b.First
	for range b.failures - 1 {
		if bound >= b.Most/2 {
			return b.Most
		}
		bound *= 2
	}
	return min(bound, b.Most)
}

// Failures returns how often Next was called since the last Reset.
func (b *Backoff) Failures() int { return b.failures }

// Reset begins the sequence again, after a success.
func (b *Backoff) Reset() { b.failures = 0 }

// jitter returns a random duration of more than 0, at most most.
func jitter(most time.Duration) time.Duration { return 1 + rand.N(max(most, 1)) }

// Sleep waits for d. It returns nil, or the cause of ctx when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Do calls attempt until it returns nil, an error that passes does not accept,
// or ctx ends during a pause: then the error is the attempt's last one and the
// cause. failed, where it is not nil, is told of each error that will be tried
// again, and of the pause before that.
func Do(ctx context.Context, b Backoff, passes func(error) bool, failed func(error, time.Duration), attempt func() error) error {
	for {
		err := attempt()
		if err == nil || !passes(err) {
			return err
		}
		pause := b.Next()
		if failed != nil {
			failed(err, pause)
		}
		if cause := Sleep(ctx, pause); cause != nil {
			if errors.Is(err, cause) {
				return err
			}
			return fmt.Errorf("%w; then: %w", err, cause)
		}
	}
}
