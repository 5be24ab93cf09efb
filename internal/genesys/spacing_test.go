package genesys

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
)

// TestNobodyWaitsForAnEvenTurn: beside previews that take all there is, a poll of the
// tail each second, and the lookups that its events need, are sent at once; and never
// more in a window than our share.
func TestNobodyWaitsForAnEvenTurn(t *testing.T) {
	// A turn may have to wait for the window, where the turns of the one before were sent
	// a little later than these; and where few are kept, for one more.
	for limit, allowed := range map[RateLimit]time.Duration{
		{300, time.Minute}: 100 * time.Millisecond, {100, 10 * time.Second}: 150 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer(limit, 0.7, 10, 0)
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
			defer stop()
			var running sync.WaitGroup
			var previews atomic.Int32
			for range 5 {
				running.Go(asker(ctx, p, auditlogsFamily, audit.Preview, &previews))
			}
			waits := func(f family, purpose audit.Purpose) time.Duration {
				began := time.Now()
				turn, err := p.wait(ctx, f, purpose)
				if err != nil {
					return 0
				}
				p.done(turn, outcome{status: 200})
				return time.Since(began)
			}
			for second := 0; ctx.Err() == nil; second++ {
				time.Sleep(time.Second)
				if waited := waits(realtimeFamily, audit.Tail); waited > allowed {
					t.Errorf("limit %v: poll %d waited for %s", limit, second, waited)
				}
				if second >= 20 && second%10 > 0 { // the first meet many, the others few
					continue
				}
				if waited := waits(namesFamily, audit.Lookup); waited > allowed {
					t.Errorf("limit %v: the lookup of poll %d waited for %s", limit, second, waited)
				}
			}
			running.Wait()
			most := p.most(limit.Requests)
			if all := int(p.seq); all > most*int(5*time.Minute/limit.Per)+most || previews.Load() < int32(all*6/10) {
				t.Errorf("limit %v: %d requests, %d of them previews", limit, all, previews.Load())
			}
			for i := most; i < len(p.sent); i++ {
				if within := p.sent[i].at.Sub(p.sent[i-most].at); within < limit.Per {
					t.Fatalf("limit %v: %d requests within %s", limit, most+1, within)
				}
			}
		})
	}
}
