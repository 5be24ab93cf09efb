package genesys

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// retries is how long one request is tried before its Read gives up. The caller
// then tries again, but from the first page.
type retries struct {
	faults   int           // attempts
	refusals int           // attempts that 429 may cost besides
	first    time.Duration // backoff, doubled from one to the next, with full jitter
	last     time.Duration
}

var defaultRetries = retries{faults: 8, refusals: 30, first: 250 * time.Millisecond, last: 10 * time.Second}

// What a request fails with is worth a line of the log when it has not got
// through for tellAfter, or is told to wait that long, and again every tellAgain:
// with a slow fault all attempts together take minutes.
const (
	tellAfter = 10 * time.Second
	tellAgain = time.Minute
)

// longestWait is the longest pause that Retry-After gets before one more attempt;
// after a 429 the pacer may keep it for longer.
const longestWait = time.Minute

// Limits of a chain of pages: what goes beyond has lost its way.
const (
	maxPages      = 100_000
	maxEmptyPages = 1000 // in a row
	maxRestarts   = 3    // of an interval, after its cursor died or its pages moved
	growAfter     = 8    // good pages until a page size that was halved is doubled again
)

// ask sends a request until check accepts its answer, which the caller then owns.
func (c *Client) ask(ctx context.Context, r *request, check func(*answer) error) (*answer, error) {
	return c.repeat(ctx, r.op, func() (*answer, error) { return c.send(ctx, r) }, check)
}

// repeat tries until check accepts an answer. What passes by itself is tried
// again, a bounded number of times.
func (c *Client) repeat(ctx context.Context, op string, try func() (*answer, error), check func(*answer) error) (*answer, error) {
	faults, refusals := 0, 0
	started, tell := time.Now(), tellAfter
	told := false
	defer func() {
		if told && c.cfg.Trouble != nil {
			c.cfg.Trouble(op, nil)
		}
	}()
	for {
		a, err := try()
		if err == nil {
			if err = check(a); err == nil {
				return a, nil
			}
			a.free()
			var broken *malformedError
			if errors.As(err, &broken) {
				err = &FaultError{Op: op, Err: err}
			}
		}
		var fault *FaultError
		if !errors.As(err, &fault) || ctx.Err() != nil {
			return nil, err
		}
		status := new(statusFault) // of none
		errors.As(err, &status)
		if failing := time.Since(started); failing >= tell || status.wait >= tellAfter {
			tell = failing + tellAgain
			c.log.Warn("a request does not get through, it is tried again", zap.Error(err),
				zap.Duration("for", failing), zap.Duration("retry_after", status.wait))
			if told = true; c.cfg.Trouble != nil {
				c.cfg.Trouble(op, err)
			}
		}
		if status.status == http.StatusTooManyRequests && refusals < c.patience.refusals {
			refusals++
		} else if faults++; faults >= c.patience.faults {
			fault.Attempts = faults + refusals
			return nil, fault
		}
		pause := rand.N(min(c.patience.first<<min(faults+refusals-1, 20), c.patience.last))
		pause = max(pause, min(status.wait, longestWait))
		c.log.Debug("a request failed, trying again", zap.Error(err), zap.Int("faults", faults), zap.Duration("in", pause))
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// sleep returns the cause when ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pager follows a chain of pages: how many events to ask for, and which cursors
// have been there already.
type pager struct {
	largest, smallest int
	size              int
	good              int // pages since the size was last changed
	pages, empty      int
	cursor            string
	seen              map[uint64]struct{}
}

var cursorSeed = maphash.MakeSeed()

func newPager(largest, smallest int) *pager {
	return &pager{largest: largest, smallest: smallest, size: largest, seen: make(map[uint64]struct{})}
}

// leads checks the cursor that a page carries: one that leads back would never end.
func (p *pager) leads(cursor string) error {
	if cursor == "" {
		return nil
	}
	if _, back := p.seen[maphash.String(cursorSeed, cursor)]; back {
		return &FaultError{Op: "follow pages", Err: fmt.Errorf("a page names one that was there already as the next: %w", ErrEndless)}
	}
	return nil
}

// turn goes on to the page that cursor leads to.
func (p *pager) turn(cursor string, events int) error {
	p.pages++
	if p.empty++; events > 0 {
		p.empty = 0
	}
	if p.pages >= maxPages || p.empty >= maxEmptyPages {
		return ErrEndless
	}
	p.cursor = cursor
	p.seen[maphash.String(cursorSeed, cursor)] = struct{}{}
	if p.good++; p.good >= growAfter && p.size < p.largest {
		p.size, p.good = min(2*p.size, p.largest), 0
	}
	return nil
}

// shrink asks for smaller pages after one that was too large.
func (p *pager) shrink(op string, limit int64, err error) error {
	if p.size == p.smallest {
		return &PageTooLargeError{Op: op, Limit: limit, Err: err}
	}
	p.size, p.good = max(p.size/2, p.smallest), 0
	return nil
}

func tooLarge(err error) bool {
	var large *tooLargeError
	return errors.As(err, &large)
}
