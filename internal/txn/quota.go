package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/retry"
)

const (
	// quotaWindow is over how long a broker measures a client's rate by default:
	// quota.window.num (11) windows, the one that runs among them, of
	// quota.window.size.seconds (1). What was sent may count for up to two seconds more.
	quotaWindow = 10 * time.Second
	quotaSlack  = 2 * time.Second
	// quotaStep is how much of a quota one transaction should use.
	quotaStep = time.Second
	// quotaPatience is how often over a transaction waits for what it costs, while a
	// broker wants more: so the producer takes half of its quota until then, and what is
	// small goes soon.
	quotaPatience = 2
	// quotaWait is the longest that Commit waits.
	quotaWait = 5 * time.Second
	// quotaMemory is how long after a broker last asked to wait the quota counts as exceeded.
	quotaMemory = 30 * time.Second
)

// ErrThrottled is in the error of a Commit that a broker's quota holds up. It is an ErrRetry.
var ErrThrottled = errors.New("the broker's producer quota is exceeded")

// quota follows what brokers let this producer send. A broker takes every request, and where
// that exceeds the client's quota, it answers at once, says for how long to wait, and reads
// nothing more from that connection until then (KIP-219). To wait within a transaction would
// be to let it time out, and would hold up its readers. So the waiting is done before the
// next one begins, and what a transaction still has to send goes over another connection (conns).
type quota struct {
	mu      sync.Mutex
	until   time.Time     // until when brokers want nothing to be sent
	told    time.Time     // when one said so last
	total   time.Duration // of all such times
	rate    float64       // bytes a second that a broker takes; 0 where that is not known
	brokers map[string]*brokerQuota
}

type brokerQuota struct{ sent []sentBytes }

type sentBytes struct {
	at   time.Time
	size int
}

// answered notes that a broker wants nothing to be sent for so long, and how much it was
// sent before. Coordinators have no address here: their requests are small.
func (q *quota) answered(now time.Time, addr string, size int, throttleMs int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait := time.Duration(throttleMs) * time.Millisecond
	if addr != "" {
		q.sent(now, addr, size, wait)
	}
	if wait <= 0 {
		return
	}
	q.told = now
	if until := now.Add(wait); until.After(q.until) {
		from := q.until
		if from.Before(now) {
			from = now
		}
		q.total += until.Sub(from)
		q.until = until
	}
}

// sent works out the rate that a broker takes. It waits until what came in its window is what
// the quota allows in the window and the wait (QuotaUtils.throttleTime). Where others share
// the quota that is an underestimate: it is taken in steps. Without a wait after a large step
// the rate may be higher than was thought.
func (q *quota) sent(now time.Time, addr string, size int, wait time.Duration) {
	b := q.brokers[addr]
	if b == nil {
		b = &brokerQuota{}
		if q.brokers == nil {
			q.brokers = map[string]*brokerQuota{}
		}
		q.brokers[addr] = b
	}
	old := 0
	for old < len(b.sent) && now.Sub(b.sent[old].at) > quotaWindow+quotaSlack {
		old++
	}
	b.sent = append(b.sent[old:], sentBytes{now, size})
	switch {
	case wait > 0:
		inWindow := 0
		for _, s := range b.sent {
			inWindow += s.size
		}
		q.rate = max(q.rate/2, float64(inWindow)/(quotaWindow+wait).Seconds())
	case q.rate > 0 && size >= q.budget()/2 && now.After(q.until):
		if q.rate *= 2; q.budget() > largestArena {
			q.rate = 0
		}
	}
}

// budget returns how many bytes a transaction should send.
func (q *quota) budget() int { return int(q.rate * quotaStep.Seconds()) }

// wait waits before a transaction of this size for as long as the brokers want, but at most
// quotaPatience times what it costs, and at most quotaWait. A transaction of more than twice
// the budget does not go then: its error is ErrThrottled, so that others have their turn.
func (q *quota) wait(ctx context.Context, size int) error {
	q.mu.Lock()
	left := time.Until(q.until)
	wait, budget := left, q.budget()
	if cost := quotaPatience * float64(size); cost < q.rate*left.Seconds() {
		wait = time.Duration(cost / q.rate * float64(time.Second))
	}
	q.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if err := retry.Sleep(ctx, min(wait, quotaWait)); err != nil {
		return fmt.Errorf("%w: %w: %w", ErrRetry, ErrThrottled, err)
	}
	if wait > quotaWait && size > 2*budget {
		return fmt.Errorf("%w: %w: it wants a wait of %v before %d bytes", ErrRetry, ErrThrottled, left.Round(time.Millisecond), size)
	}
	return nil
}

// throttled reports whether the quota is, or was a moment ago, exceeded.
func (q *quota) throttled(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.until) || !q.told.IsZero() && now.Sub(q.told) < quotaMemory
}

// throttling is what is reported while a quota is exceeded. The work goes on.
var throttling = health.Subject{Kind: health.Kafka, Op: "throttled by the broker's producer quota", Warning: true}

// tellThrottled reports whether a quota slows this producer down, and logs it when that changes.
func (p *Producer) tellThrottled() {
	if !p.Throttled() {
		if p.throttled {
			p.throttled = false
			p.cluster.report(throttling, nil)
			p.log.Info("no longer throttled by the broker's producer quota")
		}
		return
	}
	p.quota.mu.Lock()
	left, rate := max(0, time.Until(p.quota.until)), p.quota.rate
	p.quota.mu.Unlock()
	err := fmt.Errorf("%w (%s): the broker takes about %.0f bytes a second and wants a wait of %v; raise producer_byte_rate with kafka-configs, or let it take its time",
		ErrThrottled, p.cluster.config.ClientID, rate, left.Round(time.Millisecond))
	p.cluster.report(throttling, err)
	if !p.throttled {
		p.throttled = true
		p.log.Warn("throttled by the broker's producer quota; writing in smaller steps", zap.Error(err))
	}
}

// Throttled reports whether a broker's quota slows this producer down. It may be called from
// another goroutine, and so may Budget.
func (p *Producer) Throttled() bool { return p.quota.throttled(time.Now()) }

// Budget returns how many bytes, compressed, a transaction should hold so that it costs a
// second or two of the brokers' quota; 0 where no quota is met.
func (p *Producer) Budget() int {
	p.quota.mu.Lock()
	defer p.quota.mu.Unlock()
	if p.quota.rate == 0 {
		return 0
	}
	return max(1, p.quota.budget())
}
