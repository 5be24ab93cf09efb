package txn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// rateLimit measures as a broker with the default windows does (Rate, QuotaUtils.throttleTime).
type rateLimit struct {
	bytesPerSecond float64
	seconds        map[int64]int // bytes by second
}

// take returns for how long the client is to wait after a request of this size.
func (r *rateLimit) take(size int) (throttleMs int32) {
	now := time.Now().Unix()
	r.seconds[now] += size
	total := 0
	for at, n := range r.seconds {
		if now-at > 10 {
			delete(r.seconds, at)
			continue
		}
		total += n
	}
	window := quotaWindow.Seconds()
	if over := float64(total)/window - r.bytesPerSecond; over > 0 {
		return int32(1000 * over / r.bytesPerSecond * window)
	}
	return 0
}

// After one step that was far too large, steps are of about a second's worth, each goes
// within a few seconds, and what is sent stays within the quota; once that is lifted, steps
// grow again to what they were.
func TestStepsFollowTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, normal = 5000, 1 << 20
		q, broker := &quota{}, &rateLimit{rate, map[int64]int{}}
		step := func(size int) time.Duration {
			began := time.Now()
			if err := q.wait(t.Context(), size); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			q.answered(time.Now(), "broker", size, broker.take(size))
			return time.Since(began)
		}
		if took := step(normal); took != 0 {
			t.Errorf("without a quota a step waited for %v", took)
		}
		if got := q.budget(); got < rate*9/10 || got > rate*11/10 {
			t.Errorf("a step of %d bytes is thought to cost a second of %d bytes", got, rate)
		}
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			if took := step(q.budget()); took > quotaWait {
				t.Errorf("a step of the right size waited for %v", took)
			}
			if took := step(100); took > time.Second {
				t.Errorf("a small step waited for %v", took)
			}
		}
		if !q.throttled(time.Now()) {
			t.Error("throttled, and it is not said so")
		}
		began, sent := time.Now(), 0
		for time.Since(began) < 5*time.Minute {
			time.Sleep(10 * time.Millisecond)
			sent += q.budget()
			step(q.budget())
		}
		if got := float64(sent) / time.Since(began).Seconds(); got < rate/2 || got > rate*3/2 {
			t.Errorf("%.0f bytes a second at a quota of %d", got, rate)
		}
		broker.bytesPerSecond = 1e9
		for range 100 {
			time.Sleep(time.Second)
			step(max(1, q.budget()))
		}
		if q.rate != 0 || q.throttled(time.Now()) {
			t.Errorf("the quota is lifted; a step should hold %d bytes, throttled %v", q.budget(), q.throttled(time.Now()))
		}
	})
}

// A transaction that is far too large for the quota waits in pieces, so that others have
// their turn between; a caller that goes away is not waited for; and neither sends anything.
func TestTooLargeForTheQuotaLetsOthersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{}
		q.answered(time.Now(), "broker", 100_000, 20_000)
		turns := 0
		for began := time.Now(); ; turns++ {
			err := q.wait(t.Context(), 100_000)
			if err == nil {
				if took := time.Since(began); took < 20*time.Second || took > 26*time.Second {
					t.Errorf("it waited for %v", took)
				}
				break
			}
			if !errors.Is(err, ErrThrottled) || !fateIs(err, ErrRetry) {
				t.Fatal(err)
			}
		}
		if turns < 3 {
			t.Errorf("%d turns for others", turns)
		}
		q.answered(time.Now(), "broker", 100_000, 20_000)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := q.wait(ctx, 100_000); !errors.Is(err, context.DeadlineExceeded) || !fateIs(err, ErrRetry) {
			t.Error(err)
		}
	})
}

// The throttle time of every answer counts, also a coordinator's.
func TestThrottleTimesAreRead(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	p := newProducer(t, dialFake(t, fake), ProducerConfig{})
	throttle := func(key kmsg.Key) {
		switch key {
		case kmsg.Produce:
			rewriteAnswers(t, proxy, key, kmsg.NewPtrProduceResponse, func(r *kmsg.ProduceResponse) bool { r.ThrottleMillis = 300; return true })
		case kmsg.AddPartitionsToTxn:
			rewriteAnswers(t, proxy, key, kmsg.NewPtrAddPartitionsToTxnResponse, func(r *kmsg.AddPartitionsToTxnResponse) bool { r.ThrottleMillis = 300; return true })
		case kmsg.EndTxn:
			rewriteAnswers(t, proxy, key, kmsg.NewPtrEndTxnResponse, func(r *kmsg.EndTxnResponse) bool { r.ThrottleMillis = 300; return true })
		case kmsg.InitProducerID:
			rewriteAnswers(t, proxy, key, kmsg.NewPtrInitProducerIDResponse, func(r *kmsg.InitProducerIDResponse) bool { r.ThrottleMillis = 300; return true })
		}
	}
	throttle(kmsg.InitProducerID)
	ready(t, p)
	total := .3
	for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.EndTxn} {
		if got := p.Stats().ThrottledSeconds; got < total-.1 || got > total+.1 {
			t.Errorf("before %s: %.2f s, not %.2f", key.Name(), got, total)
		}
		throttle(key)
		began := time.Now()
		write(t, p, key.Name())
		commit(t, p)
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("%s: the wait that was asked for before was not kept: %v", key.Name(), took)
		}
		total += .3
	}
	if !p.Throttled() {
		t.Error("not said to be throttled")
	}
}
