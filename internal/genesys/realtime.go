package genesys

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
)

// Dialect realtime: one request a page, pages by number. GENESYS-API.md,
// "Dialect realtime".

const (
	realtimePath = "/api/v2/audits/query/realtime"
	realtimePage = 500 // events, at most
)

// errPagesMoved says that events came into the interval while its pages were
// read, so that one may have moved from a page not yet read to one that was.
var errPagesMoved = fmt.Errorf("events keep coming into the interval while its pages are read: %w", poller.ErrTooMuch)

// readRealtime reads an interval by page numbers, from the first page again
// when the total has moved.
func (c *Client) readRealtime(ctx context.Context, r *reading, i audit.Interval) error {
	for restarts := 0; ; restarts++ {
		moved, err := c.realtimePages(ctx, r, i)
		if err != nil || !moved {
			return err
		}
		if restarts == maxRestarts {
			return errPagesMoved
		}
		c.log.Debug("the pages have moved, the interval is read again", zap.String("stream", r.Stream), zap.Stringer("interval", i))
	}
}

func (c *Client) realtimePages(ctx context.Context, r *reading, i audit.Interval) (moved bool, err error) {
	q := newInquiry(r.stream.subject, i)
	q.PageNumber, q.PageSize = 1, realtimePage
	first := -1 // the total that the first page told
	for ; q.PageNumber < maxPages; q.PageNumber++ {
		req := &request{op: "POST " + realtimePath, method: http.MethodPost, path: realtimePath,
			query: url.Values{"expand": {"user"}}, body: q.body(), purpose: r.Purpose}
		if q.PageNumber == 1 {
			req.ready = func() error { return cmp.Or(c.inRetention(r), c.inRealtime(i)) }
		}
		var total int
		a, err := c.ask(ctx, req, func(a *answer) (err error) {
			if _, err = a.entities(); err == nil {
				total, err = a.number("total")
			}
			return err
		})
		if tooLarge(err) {
			if q.PageSize == 1 {
				return false, &PageTooLargeError{Op: req.op, Limit: c.cfg.MaxBody, Err: err}
			}
			// The page begins where two pages of half the size do. An odd size
			// would begin in the middle of one.
			done := (q.PageNumber - 1) * q.PageSize
			q.PageSize = largestDivisor(done, q.PageSize/2)
			q.PageNumber = done / q.PageSize // the loop adds one
			continue
		}
		if err != nil {
			return false, err
		}
		if first < 0 {
			first = total
		}
		size, page := q.PageSize, a.page()
		if told, err := a.number("pageSize"); err == nil && told > 0 {
			size = min(size, told)
		}
		if q.PageNumber == 1 { // it begins where any first page does
			q.PageSize = size
		}
		more := q.PageNumber*q.PageSize < total
		if total != first || size != q.PageSize || more && len(page.Events) < size {
			page.Release()
			return true, nil
		}
		if err := r.hand(page, !more); err != nil || !more {
			return false, err
		}
	}
	return false, ErrEndless
}

// errRealtimePast says that the interval begins before what realtime shows: it
// had to wait for its turn, or for whoever took the pages before. It mends
// itself: with the next reading more is asked of the dialect query.
var errRealtimePast = fmt.Errorf("realtime holds only %s, and the interval has waited for too long", traits[Realtime].retention)

func (c *Client) inRealtime(i audit.Interval) error {
	if i.From.Before(c.Now().Add(-traits[Realtime].retention - retentionSlack)) {
		return errRealtimePast
	}
	return nil
}

// largestDivisor is the largest number up to most that divides n; most itself for 0.
func largestDivisor(n, most int) int {
	for n%most != 0 {
		most--
	}
	return most
}
