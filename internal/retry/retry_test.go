package retry

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffDoublesUpToItsMost(t *testing.T) {
	want := []time.Duration{100, 200, 400, 800, 1000, 1000}
	for range 200 {
		b := Backoff{First: 100, Most: 1000}
		for i, most := range want {
			if got := b.Next(); got <= 0 || got > most {
				t.Fatalf("pause %d is %v, want more than 0 and at most %v", i, got, most)
			}
		}
		if b.Failures() != len(want) {
			t.Fatalf("%d failures, want %d", b.Failures(), len(want))
		}
		b.Reset()
		if got := b.Next(); got > 100 {
			t.Fatalf("the pause after a reset is %v", got)
		}
	}
}

func TestBackoffIsBoundedAfterVeryManyFailures(t *testing.T) {
	b := Backoff{First: time.Millisecond, Most: time.Minute, failures: 100_000}
	if got := b.bound(); got != time.Minute {
		t.Errorf("bound %v", got)
	}
	b = Backoff{First: math.MaxInt64, Most: math.MaxInt64}
	if got := b.Next(); got <= 0 {
		t.Errorf("pause %v", got)
	}
}

// Pauses are spread over the whole of their bound, or those who failed together
// would come back together.
func TestPausesAreSpread(t *testing.T) {
	var pauses []time.Duration
	for range 1000 {
		b := Backoff{First: time.Second, Most: time.Second}
		pauses = append(pauses, b.Next())
	}
	slices.Sort(pauses)
	if low, high := pauses[100], pauses[900]; low > 200*time.Millisecond || high < 800*time.Millisecond {
		t.Errorf("a tenth of the pauses is below %v, a tenth above %v", low, high)
	}
}

func TestDo(t *testing.T) {
	passing, lasting, stop := errors.New("passing"), errors.New("lasting"), errors.New("stop")
	passes := func(err error) bool { return errors.Is(err, passing) }
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name    string
			errs    []error
			want    error
			retries int
		}{
			{"at once", []error{nil}, nil, 0},
			{"after failures that pass", []error{passing, passing, nil}, nil, 2},
			{"a failure that does not pass", []error{passing, lasting}, lasting, 1},
		} {
			calls, told := 0, 0
			err := Do(t.Context(), Backoff{First: time.Second, Most: time.Minute}, passes,
				func(error, time.Duration) { told++ }, func() error { calls++; return c.errs[calls-1] })
			if !errors.Is(err, c.want) || calls != len(c.errs) || told != c.retries {
				t.Errorf("%s: %v after %d calls, %d of them told", c.name, err, calls, told)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(90*time.Minute, func() { cancel(stop) })
		err := Do(ctx, Backoff{First: time.Hour, Most: time.Hour}, passes, nil, func() error { return passing })
		if !errors.Is(err, passing) || !errors.Is(err, stop) {
			t.Errorf("after the end of the context: %v", err)
		}
	})
}

func TestSleepEndsWithItsContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := Sleep(ctx, 0); err != nil {
		t.Errorf("no time at all: %v", err)
	}
	cancel(stop)
	for _, d := range []time.Duration{0, time.Hour} {
		if err := Sleep(ctx, d); !errors.Is(err, stop) {
			t.Errorf("%v: %v", d, err)
		}
	}
}
