package genesys

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/retry"
)

// retries is how long one request is tried before its Read gives up. The caller
// then tries again, but from the first page.
type retries struct {
	faults   int           // attempts
	refusals int           // attempts that 429 may cost besides
	backoff  retry.Backoff // between them
}

var defaultRetries = retries{faults: 8, refusals: 30, backoff: retry.Backoff{First: 250 * time.Millisecond, Most: 10 * time.Second}}

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
	interceptions = 3    // attempts at a request that something in front of the API refuses
	growAfter     = 8    // good pages until a page size that was halved is doubled again
)

// ask sends a request until check accepts its answer, which the caller then owns.
func (c *Client) ask(ctx context.Context, r *request, check func(*answer) error) (*answer, error) {
	return c.repeat(ctx, r.op, r.attempts, func() (*answer, error) { return c.send(ctx, r) }, check)
}

// repeat tries until check accepts an answer. What passes by itself is tried
// again, at most so many times; 0 for as often as usual.
func (c *Client) repeat(ctx context.Context, op string, attempts int, try func() (*answer, error), check func(*answer) error) (*answer, error) {
	most := c.patience.faults
	if attempts > 0 {
		most = attempts
	}
	faults, refusals := 0, 0
	backoff := c.patience.backoff
	lasting := trouble{c: c, op: op, started: time.Now(), tell: tellAfter}
	defer lasting.over()
	for {
		a, err := try()
		if err == nil {
			if err = check(a); err == nil {
				return a, nil
			}
			a.free()
			var broken *malformedError
			if errors.As(err, &broken) {
				broken.correlation = c.secrets.clean(broken.correlation)
				err = &FaultError{Op: op, Err: err, Reached: true}
			}
		}
		if errors.Is(err, errNoMemory) && !isFault(err) { // holding nothing, it waits
			err = &FaultError{Op: op, Err: err}
		}
		var fault *FaultError
		if !errors.As(err, &fault) || ctx.Err() != nil {
			return nil, err
		}
		wait, refused := asked(err)
		if attempts == 0 { // else it failed before, and whoever tries again has told people
			lasting.failed(err, wait)
		}
		if between := new(InterceptedError); errors.As(err, &between) {
			most = min(most, interceptions)
		}
		if refused && refusals < c.patience.refusals {
			refusals++
		} else if faults++; faults >= most {
			fault.Attempts = faults + refusals
			return nil, fault
		}
		pause := max(backoff.Next(), min(wait, longestWait))
		c.log.Debug("request failed, retrying", zap.Error(err), zap.Int("faults", faults), zap.Duration("in", pause))
		if err := retry.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func isFault(err error) bool {
	var fault *FaultError
	return errors.As(err, &fault)
}

// asked returns how long an answer asked to be left alone, and whether it was a 429.
func asked(err error) (wait time.Duration, refused bool) {
	var status *statusFault
	var between *InterceptedError
	switch {
	case errors.As(err, &status):
		return status.wait, status.status == http.StatusTooManyRequests
	case errors.As(err, &between):
		return between.wait, false
	}
	return 0, false
}

// trouble tells people of a request that has not got through for a while.
type trouble struct {
	c       *Client
	op      string
	started time.Time
	tell    time.Duration // after the start
	told    bool
}

func (t *trouble) failed(err error, wait time.Duration) {
	failing := time.Since(t.started)
	if failing < t.tell && wait < tellAfter {
		return
	}
	t.tell, t.told = failing+tellAgain, true
	t.c.log.Warn("request still failing, retrying", zap.Error(err), zap.Duration("for", failing), zap.Duration("retry_after", wait))
	t.c.report(t.subject(), err)
}

// over ends the trouble: it is with whoever sent the request from here on.
func (t *trouble) over() {
	if t.told {
		t.c.report(t.subject(), nil)
	}
}

func (t *trouble) subject() health.Subject { return health.Subject{Kind: health.API, Op: t.op} }

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

func newPager(largest, smallest int) *pager {
	return &pager{largest: largest, smallest: smallest, size: largest, seen: make(map[uint64]struct{})}
}

// leads checks the cursor that a page carries: one that leads back would never end.
func (p *pager) leads(cursor string) error {
	if cursor == "" {
		return nil
	}
	if _, back := p.seen[maphash.String(idSeed, cursor)]; back {
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
	p.seen[maphash.String(idSeed, cursor)] = struct{}{}
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

// follow hands on the pages of a chain, from the first one to one that leads
// nowhere. get gets the page that the pager stands at, and the cursor of the next
// one; count counts the events of an interval.
func (c *Client) follow(ctx context.Context, r *reading, i audit.Interval, last bool, op string, p *pager,
	get func(*pager) (*answer, string, error), count func(context.Context, audit.Interval) (int, error)) error {
	var t tally
	for {
		a, next, err := get(p)
		if tooLarge(err) {
			if err := p.shrink(op, c.cfg.MaxBody, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		page := a.page()
		events := len(page.Events)
		t.add(page.Events)
		if next == "" {
			return c.finish(ctx, r, i, page, last, &t, count)
		}
		if err := r.hand(page, false); err != nil {
			return err
		}
		if err := p.turn(next, events); err != nil {
			return err
		}
	}
}

func tooLarge(err error) bool {
	var large *tooLargeError
	return errors.As(err, &large)
}
