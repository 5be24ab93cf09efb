package genesys

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/sandbox"
)

// TestPacerWithOtherConsumers backfills from an organisation that enforces its
// limit, next to others that eat from it, and looks at what each of them got.
func TestPacerWithOtherConsumers(t *testing.T) {
	const windows = 30
	x := sandbox.Limit{Requests: 100, Window: 10 * time.Second, Headers: sandbox.HeadersX}
	inin := sandbox.Limit{Requests: 300, Window: time.Minute, Headers: sandbox.HeadersInin}
	none := sandbox.Limit{Requests: 100, Window: 10 * time.Second, Headers: sandbox.HeadersNone}
	for _, tc := range []struct {
		name      string
		limit     sandbox.Limit
		share     float64
		consumers []sandbox.Consumer
		least     float64 // of the allowed share
		refused   int     // most refusals of the others
	}{
		{"alone", x, 0.7, nil, 0.95, 0},
		{"alone, the other headers", inin, 0.7, nil, 0.95, 0},
		{"alone, no headers", none, 0.7, nil, 0.95, 0},
		{"alone, nearly all of it", x, 0.85, nil, 0.95, 0},
		{"steady, there is room", x, 0.7, []sandbox.Consumer{sandbox.Steady(1.5)}, 0.95, 0},
		{"steady, they need half", x, 0.7, []sandbox.Consumer{sandbox.Steady(5)}, 0.5, 0},
		{"steady, they need nearly all", x, 0.7, []sandbox.Consumer{sandbox.Steady(8.5)}, 0.05, 0},
		{"bursty", x, 0.7, []sandbox.Consumer{sandbox.Bursty(40, 20*time.Second)}, 0.5, 0},
		{"bursty, every window", inin, 0.7, []sandbox.Consumer{sandbox.Bursty(150, time.Minute)}, 0.5, 0},
		// It takes all that is left at the first instant of each window: nothing can be had beside it.
		{"greedy", x, 0.7, []sandbox.Consumer{sandbox.Greedy()}, 0, 1 << 30},
	} {
		t.Run(tc.name, func(t *testing.T) {
			org := &lazyOrg{}
			limit := RateLimit{tc.limit.Requests, tc.limit.Window}
			inLab(t, org, func(cfg *Config) {
				cfg.ClientID, cfg.ClientSecret = Text("sandbox"), Text("sandbox-secret")
				cfg.RateShare, cfg.RateReserve = tc.share, 10
				cfg.RateLimit = limit
			}, func(l *lab) {
				t := l.t
				org.Org = sandbox.New(sandbox.Options{Seed: 1, AuditlogsLimit: tc.limit, Consumers: tc.consumers,
					Latency: 300 * time.Millisecond, Escalate: true})
				ctx, cancel := context.WithTimeout(t.Context(), windows*limit.Per)
				defer cancel()
				streams, err := l.client.Open(ctx)
				for err != nil && ctx.Err() == nil { // next to a greedy one
					streams, err = l.client.Open(ctx)
				}
				// What others take is not known before the first window is over.
				known := make(chan sandbox.Quota, 1)
				time.AfterFunc(limit.Per, func() { known <- org.Stats().Quotas["auditlogs"] })
				var chains sync.WaitGroup
				for range 4 {
					chains.Go(func() {
						for ctx.Err() == nil {
							err := l.client.Read(ctx, audit.Read{Stream: streams[0].Name, Interval: l.lastHour(), Purpose: audit.Backfill},
								func(p audit.Page, _ bool) error { p.Release(); return nil })
							if err != nil && ctx.Err() == nil && tc.name != "greedy" {
								t.Error(err)
							}
						}
					})
				}
				chains.Wait()
				quota := org.Stats().Quotas["auditlogs"]
				allowed := tc.share * float64(limit.Requests) * windows
				used := float64(quota.Ours.Allowed) / allowed
				first, others := <-known, 0
				for name, u := range quota.Others {
					others += u.Refused - first.Others[name].Refused
				}
				t.Logf("used %.1f %% of the share, most in a window %d, ours refused %d, others %+v, throttled %s",
					100*used, quota.Peak, quota.Ours.Refused, quota.Others, l.client.Rate().Throttled)
				if used < tc.least {
					t.Errorf("only %.1f %% of the share was used", 100*used)
				}
				if most := int(tc.share*float64(limit.Requests)) + 2; quota.Peak > most {
					t.Errorf("%d requests in a window, at most %d were allowed", quota.Peak, most)
				}
				if n := quota.Ours.Refused - first.Ours.Refused; n > 0 && tc.name != "greedy" || n > windows {
					t.Errorf("%d of ours were refused", n)
				}
				if others > tc.refused {
					t.Errorf("%d requests of others were refused", others)
				}
				if v := org.Stats().Violations; v.BeforeRetryAfter > 0 {
					t.Errorf("%d requests before Retry-After had passed", v.BeforeRetryAfter)
				}
			})
		})
	}
}

// lazyOrg is an organisation that is made inside the bubble.
type lazyOrg struct{ *sandbox.Org }

// turns makes one request after the other and returns when each was sent.
func turns(t *testing.T, p *pacer, n int, o outcome) []time.Duration {
	t.Helper()
	return turnsOf(t, p, audit.Tail, n, o)
}

func turnsOf(t *testing.T, p *pacer, purpose audit.Purpose, n int, o outcome) []time.Duration {
	t.Helper()
	start := time.Now()
	var at []time.Duration
	for range n {
		turn, err := p.wait(t.Context(), auditlogsFamily, purpose)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, time.Since(start))
		p.done(turn, o)
	}
	return at
}

func TestPacerSpacesEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{100, 10 * time.Second}, 0.5, 10, 0)
		at := turnsOf(t, p, audit.Backfill, 101, outcome{status: 200})
		for i := burst; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 190*time.Millisecond && i%50 > 1 || gap > 210*time.Millisecond && i%50 > 1 {
				t.Fatalf("request %d came %s after the one before; 50 in 10 s are one every 200 ms", i, gap)
			}
			if i >= 50 && at[i]-at[i-50] < 10*time.Second {
				t.Fatalf("more than 50 requests within 10 s of %s", at[i-50])
			}
		}
	})
}

func TestPacerReserve(t *testing.T) {
	reports := func(remaining int, reset time.Duration) outcome {
		return outcome{status: 200, limit: limitReport{known: true, remaining: remaining, reset: reset}}
	}
	for _, tc := range []struct {
		name      string
		remaining int
		min, max  time.Duration // until the next request
	}{
		{"plenty", 60, 0, 0},
		{"above the reserve", 11, 0, 0},
		{"at the reserve", 10, 2 * time.Second, 2 * time.Second},
		{"five", 5, 2 * time.Second, 2 * time.Second},
		{"below five", 4, 30 * time.Second, 31 * time.Second},
		{"nothing", 0, 30 * time.Second, 31 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPacer(RateLimit{300, time.Minute}, 1, 10, 0)
				turns(t, p, 1, reports(tc.remaining, 30*time.Second))
				gap := turns(t, p, 1, outcome{status: 200})[0]
				if gap < tc.min || gap > tc.max {
					t.Fatalf("the next request went out after %s, expected %s to %s", gap, tc.min, tc.max)
				}
				if held := p.rate().Throttled; held != gap {
					t.Errorf("throttled for %s of %s", held, gap)
				}
			})
		})
	}
}

func TestPacerObeysRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{100, 10 * time.Second}, 1, 0, 0)
		at := turns(t, p, 4, outcome{status: 429, retryAfter: 7 * time.Second, hasRetry: true})
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 7*time.Second || gap > 7*time.Second+100*time.Millisecond+lastRefusal {
				t.Fatalf("try %d came %s after a 429 with Retry-After: 7", i, gap)
			}
		}
	})
}

func TestPacerBacksOffWithoutRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{1000, 10 * time.Second}, 1, 0, 0)
		at := turns(t, p, 40, outcome{status: 429})
		if total := at[39]; total < 5*time.Minute || total > 40*time.Minute {
			t.Fatalf("39 refusals in a row took %s; half a minute each is expected in the end", total)
		}
	})
}

// After a 429 one request goes alone, whoever waits.
func TestPacerProbesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{1000, 10 * time.Second}, 1, 0, 0)
		turns(t, p, 1, outcome{status: 429, retryAfter: time.Second, hasRetry: true})
		got := make(chan uint64, 10)
		for range 10 {
			go func() {
				turn, _ := p.wait(t.Context(), auditlogsFamily, audit.Tail)
				got <- turn
			}()
		}
		time.Sleep(time.Minute)
		if len(got) != 1 {
			t.Fatalf("%d requests went out before the first was answered", len(got))
		}
		p.done(<-got, outcome{status: 200})
		time.Sleep(time.Minute)
		if len(got) != 9 {
			t.Fatalf("%d of 9 requests went out after a good answer", len(got))
		}
	})
}

// TestPacerPriority: whatever else waits, a tail request is delayed by one
// other request at most; and what is less urgent is not starved by the tail.
func TestPacerPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{100, 10 * time.Second}, 1, 0, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var order []audit.Purpose
		var running sync.WaitGroup
		ask := func(purpose audit.Purpose) error {
			turn, err := p.wait(ctx, auditlogsFamily, purpose)
			if err != nil {
				return err
			}
			mu.Lock()
			order = append(order, purpose)
			mu.Unlock()
			p.done(turn, outcome{status: 200})
			return nil
		}
		for _, purpose := range []audit.Purpose{audit.Sweep, audit.Backfill, audit.Backfill} {
			running.Go(func() {
				for ask(purpose) == nil {
				}
			})
		}
		time.Sleep(30 * time.Second)
		for range 50 {
			synctest.Wait() // so that nobody is between two requests now
			p.mu.Lock()
			before := p.seq
			p.mu.Unlock()
			turn, err := p.wait(ctx, auditlogsFamily, audit.Tail)
			if err != nil {
				t.Fatal(err)
			}
			p.done(turn, outcome{status: 200})
			if n := turn - before - 1; n > 1 {
				t.Errorf("%d others went before a tail request", n)
			}
			time.Sleep(time.Second + 37*time.Millisecond)
		}
		// Now the tail alone would take more than there is.
		mu.Lock()
		order = nil
		mu.Unlock()
		for range 5 {
			running.Go(func() {
				for ask(audit.Tail) == nil {
				}
			})
		}
		time.Sleep(5 * time.Minute)
		cancel()
		running.Wait()
		others := 0
		for _, purpose := range []audit.Purpose{audit.Sweep, audit.Backfill} {
			n := 0
			for _, o := range order {
				if o == purpose {
					n++
				}
			}
			if n < len(order)/16 {
				t.Errorf("%s got %d of %d turns", purpose, n, len(order))
			}
			others += n
		}
		if others > len(order)/4 {
			t.Errorf("less than three of four turns of %d went to the tail: %d did not", len(order), others)
		}
		if n := slices.IndexFunc(order, func(p audit.Purpose) bool { return p != audit.Tail }); n < 0 {
			t.Error("the tail took every turn")
		}
	})
}

func TestPacerGivesBackATurnThatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{100, 10 * time.Second}, 1, 0, 0)
		turns(t, p, 1, outcome{status: 429, retryAfter: time.Minute, hasRetry: true})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if _, err := p.wait(ctx, auditlogsFamily, audit.Tail); !errors.Is(err, gone) {
			t.Fatalf("wait returned %v", err)
		}
		// A queue that is empty does not count as held back.
		before := p.rate().Throttled
		time.Sleep(10 * time.Second)
		if after := p.rate().Throttled; before != time.Second || after != before {
			t.Fatalf("throttled for %s, then %s; it was one second", before, after)
		}
	})
}

// However many wait, and however long: of four turns three go to the most urgent, or
// all of the first ones, which are kept for it.
func TestPacerEveryFourthTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{100, 10 * time.Second}, 1, 0, 0)
		turns(t, p, 1, outcome{status: 429, retryAfter: time.Minute, hasRetry: true})
		var mu sync.Mutex
		order := make([]audit.Purpose, 51) // by turn
		var running sync.WaitGroup
		for purpose, n := range map[audit.Purpose]int{audit.Backfill: 10, audit.Sweep: 10, audit.Tail: 30} {
			for range n {
				running.Go(func() {
					turn, err := p.wait(t.Context(), auditlogsFamily, purpose)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					order[turn-1] = purpose
					mu.Unlock()
					p.done(turn, outcome{status: 200})
				})
			}
		}
		running.Wait()
		order = order[1:] // the 429
		last := len(order) - 1
		for order[last] != audit.Tail {
			last--
		}
		row := inARow // the 429's turn came before
		for i, purpose := range order[:last] {
			if purpose == audit.Tail {
				row++
				continue
			}
			if row < inARow && i > 0 {
				t.Errorf("turn %d goes past the tail after %d of its turns: %v", i, row, order)
			}
			row = 0
		}
		if n := last + 1 - 30; n < 6 || n > 10 {
			t.Errorf("%d others went before the last of 30 tail requests that waited with them: %v", n, order)
		}
	})
}

// TestBackfillTakesItsShare: however much waits, and whatever is left.
func TestBackfillTakesItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{300, time.Minute}, 0.7, 10, 0.1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		sent := map[audit.Purpose]int{}
		var mu sync.Mutex
		var running sync.WaitGroup
		for _, purpose := range []audit.Purpose{audit.Backfill, audit.Backfill, audit.Backfill, audit.Sweep} {
			running.Go(func() {
				for {
					turn, err := p.wait(ctx, queryFamily, purpose)
					if err != nil {
						return
					}
					p.done(turn, outcome{status: 200})
					mu.Lock()
					sent[purpose]++
					mu.Unlock()
				}
			})
		}
		running.Wait()
		if n := sent[audit.Backfill]; n < 280 || n > 303 {
			t.Errorf("the backfill sent %d requests in 10 minutes; a tenth of the limit is 300", n)
		}
		if n := sent[audit.Sweep]; n < 1700 {
			t.Errorf("the rest sent %d", n)
		}
	})
}

// TestFamiliesHaveTheirOwnLimits: what one has used up, or is refused, does not
// stop another; all of them together keep to the token's share.
func TestFamiliesHaveTheirOwnLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(RateLimit{300, time.Minute}, 0.7, 10, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var mu sync.Mutex
		sent := map[family][]time.Time{}
		began := time.Now()
		server := func(f family) (o outcome) { // query: 30 a minute, and a 429 each third minute
			o.status = 200
			if f != queryFamily {
				return o
			}
			minute := time.Since(began).Truncate(time.Minute)
			n := 0
			for _, at := range sent[f] {
				if at.Sub(began) >= minute {
					n++
				}
			}
			o.limit = limitReport{known: true, remaining: max(30-n, 0), allowed: 30, reset: minute + time.Minute - time.Since(began)}
			if n > 30 {
				t.Error("more than the family's limit")
			}
			if minute%(3*time.Minute) == 0 && n == 3 {
				o.status, o.retryAfter, o.hasRetry = 429, 20*time.Second, true
			}
			return o
		}
		var running sync.WaitGroup
		for _, f := range []family{queryFamily, queryFamily, realtimeFamily} {
			running.Go(func() {
				for {
					turn, err := p.wait(ctx, f, audit.Tail)
					if err != nil {
						return
					}
					mu.Lock()
					sent[f] = append(sent[f], time.Now())
					o := server(f)
					mu.Unlock()
					p.done(turn, o)
				}
			})
		}
		running.Wait()
		var longest time.Duration
		for i, at := range sent[realtimeFamily][1:] {
			longest = max(longest, at.Sub(sent[realtimeFamily][i]))
		}
		if longest > 4*p.usual()+time.Millisecond {
			t.Errorf("realtime waited for %s, more than four turns", longest)
		}
		if n := len(sent[queryFamily]); n < 120 || n > 210 {
			t.Errorf("query sent %d requests in 10 minutes", n)
		}
		if n := len(sent[queryFamily]) + len(sent[realtimeFamily]); n < 1900 || n > 2110 {
			t.Errorf("%d requests in 10 minutes; the share is 2,100", n)
		}
		for _, r := range p.rate().Families {
			if want := map[string]int{"query": 30, "realtime": 300}[r.Name]; r.Limit != want {
				t.Errorf("%s has a limit of %d, not %d", r.Name, r.Limit, want)
			}
		}
	})
}

// TestLowestLimitsOfAFamily: what is always left of a token's limit may be all there is
// of a family's; it is asked all the same, and never more than its limit.
func TestLowestLimitsOfAFamily(t *testing.T) {
	for _, limit := range []int{1, 2, 4, 5, 6, 10} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer(RateLimit{300, time.Minute}, 0.7, 10, 0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began, n := time.Now(), map[time.Duration]int{}
			for {
				turn, err := p.wait(ctx, queryFamily, audit.Tail)
				if err != nil {
					break
				}
				minute := time.Since(began).Truncate(time.Minute)
				n[minute]++
				p.done(turn, outcome{status: 200, limit: limitReport{known: true, remaining: max(limit-n[minute], 0), allowed: limit,
					reset: (minute + time.Minute - time.Since(began)).Truncate(time.Second)}})
			}
			total := 0
			for minute, n := range n {
				if total += n; n > limit {
					t.Errorf("a limit of %d: %d in minute %s", limit, n, minute)
				}
			}
			if total < 50 {
				t.Errorf("a limit of %d: %d requests in an hour", limit, total)
			}
		})
	}
}
