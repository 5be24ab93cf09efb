package genesys

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// Dialect realtime: one request a page, pages by number. GENESYS-API.md,
// "Dialect realtime".
//
// Page numbers are a weak thread: what comes into the interval, or changes its
// place among events of one millisecond, moves from a page not yet read to one
// that was. So an interval of several pages is whole only when as many different
// events came as the API promised; where it promises nothing, when reading all
// again brings nothing new. An interval of one page needs no such proof.

const (
	realtimePath = "/api/v2/audits/query/realtime"
	realtimePage = 500 // events, at most
	probePage    = 25  // of which nothing but the total is wanted
	// mostPasses bounds how often an interval is read while each time brings
	// events that the times before did not.
	mostPasses = 10
)

// readRealtime reads an interval by page numbers, from the first page again as
// long as the answers contradict each other.
func (c *Client) readRealtime(ctx context.Context, r *reading, i audit.Interval) error {
	r.by = c.readRealtime
	p := &passes{c: c, r: r, i: i, total: -1}
	for {
		final, err := p.read(ctx, ascending)
		if err != nil {
			return err
		}
		doubt, again := p.verdict()
		proved := doubt == "" && !p.suspicious()
		if err := r.hand(final, proved); err != nil || proved {
			return err
		}
		if doubt == "" {
			if err := p.prove(ctx); err != nil {
				return err
			}
			return r.hand(audit.Page{}, true)
		}
		if !again || doubt == p.last && p.fresh == 0 { // it says the same again and again
			return p.unproven(doubt)
		}
		p.last = doubt
		c.log.Debug("pages contradict each other, reading the interval again", zap.String("stream", r.Stream),
			zap.Stringer("interval", i), zap.String("doubt", doubt))
	}
}

// passes is one interval that is read, from its first page to its last, once or
// several times.
type passes struct {
	c *Client
	r *reading
	i audit.Interval

	n     int   // passes
	ids   idSet // of all of them while the total stays the same
	total int   // as the first page of the pass told it; -1 for not told

	// Of the current pass.
	tally
	pages  int // that held events
	size   int // of a page
	told   told
	fresh  int // events that no pass before brought
	twins  int // events that one answer held twice: nothing moved, there are two of them
	doubt  string
	before int    // rows of the pass before
	last   string // the doubt that the pass before left
}

// told is what a page says of the whole; -1 where it says nothing. All of it is
// optional in the vendor's SDK (AuditRealtimeQueryResultsResponse).
type told struct{ total, pages, size int }

// read reads the interval once. It hands on all pages but the last one, which it
// returns.
func (p *passes) read(ctx context.Context, order string) (final audit.Page, err error) {
	p.n++
	p.before, p.tally, p.pages, p.fresh, p.twins, p.doubt = p.rows, tally{}, 0, 0, 0, ""
	q := newQueryBody(p.r.stream.subject, p.i)
	q.Sort[0].SortOrder = order
	q.PageNumber, q.PageSize = 1, realtimePage
	for ; q.PageNumber < maxPages; q.PageNumber++ {
		a, said, err := p.c.realtimeRequest(ctx, p.r, p.i, q)
		if tooLarge(err) {
			if q.PageSize == 1 {
				return audit.Page{}, &PageTooLargeError{Op: "POST " + realtimePath, Limit: p.c.cfg.MaxBody, Err: err}
			}
			// The page begins where two pages of half the size do. An odd size
			// would begin in the middle of one.
			done := (q.PageNumber - 1) * q.PageSize
			q.PageSize = largestDivisor(done, q.PageSize/2)
			q.PageNumber = done / q.PageSize // the loop adds one
			continue
		}
		if err != nil {
			return audit.Page{}, err
		}
		page := a.page()
		more := p.take(page.Events, said, &q)
		if len(p.ids.ids) > maxIDs {
			page.Release()
			return audit.Page{}, p.unproven(fmt.Sprintf("it has more than %d events", maxIDs))
		}
		if !more {
			return page, nil
		}
		if err := p.r.hand(page, false); err != nil {
			return audit.Page{}, err
		}
	}
	return audit.Page{}, ErrEndless
}

// realtimeRequest gets one page and what it says of the whole.
func (c *Client) realtimeRequest(ctx context.Context, r *reading, i audit.Interval, q queryBody) (*answer, told, error) {
	req := &request{op: "POST " + realtimePath, method: http.MethodPost, path: realtimePath, attempts: r.Attempts,
		query: url.Values{"expand": {"user"}}, body: q.encode(), purpose: r.Purpose}
	if q.PageNumber == 1 {
		req.ready = func() error { return c.inRetention(r) }
	}
	var said told
	a, err := c.ask(ctx, req, func(a *answer) (err error) {
		list, err := a.entities()
		if err != nil {
			return err
		}
		if said.total, err = a.optionalNumber("total"); err != nil {
			return err
		}
		if said.pages, err = a.optionalNumber("pageCount"); err != nil {
			return err
		}
		if said.size, err = a.optionalNumber("pageSize"); err != nil {
			return err
		}
		if some := list.Elements(); said.total == 0 && some.Next() {
			said.total = -1 // it was not counted
		}
		return nil
	})
	return a, said, err
}

// optionalNumber returns a member that is a whole number of 0 or more; -1 where
// it is absent or null.
func (a *answer) optionalNumber(name string) (int, error) {
	switch a.doc.Root().Get(name).Kind() {
	case jsonscan.Absent, jsonscan.Null:
		return -1, nil
	}
	return a.number(name)
}

// take counts a page, and reports whether another one comes after it.
func (p *passes) take(events []audit.Event, said told, q *queryBody) (more bool) {
	if q.PageNumber == 1 {
		if p.n > 1 && said.total != p.total {
			p.ids = idSet{} // the events before do not count
		}
		p.total = said.total
		if said.size > 0 { // an API that gives smaller pages numbers those
			q.PageSize = min(q.PageSize, said.size)
		}
	}
	switch {
	case said.total < 0: // the first page told for all
		said.total = p.total
	case said.total == 0 && p.total < 0: // it was not counted
		said.total = -1
	}
	n := len(events)
	p.add(events)
	fresh := p.ids.add(events)
	if p.fresh += fresh; fresh < n {
		p.twins += n - new(idSet).add(events)
	}
	p.told, p.size = said, q.PageSize
	if n > 0 {
		p.pages++
	}
	begins := (q.PageNumber - 1) * q.PageSize
	ends := begins + q.PageSize
	switch {
	case said.total != p.total:
		p.doubt = fmt.Sprintf("a total of %d became one of %d", p.total, said.total)
	case said.size > 0 && said.size < q.PageSize && said.size != n:
		p.doubt = fmt.Sprintf("a page size of %d became one of %d", q.PageSize, said.size)
	case n > q.PageSize:
		p.doubt = fmt.Sprintf("%d events on a page of %d", n, q.PageSize)
	case p.total >= 0 && n < min(q.PageSize, p.total-begins):
		p.doubt = fmt.Sprintf("page %d holds %d events where a total of %d leaves %d", q.PageNumber, n, p.total, min(q.PageSize, p.total-begins))
	}
	switch {
	case p.doubt != "":
		return false
	case n == 0:
		return false // nothing comes behind an empty page
	case p.total >= 0 && ends < p.total, said.pages > q.PageNumber:
		return true
	case p.total >= 0:
		return false
	}
	return n >= q.PageSize || said.size < 0 // without a size nobody knows whether a page is full
}

// verdict returns what speaks against the pass being whole, "" for nothing, and
// whether to read the interval again.
func (p *passes) verdict() (doubt string, again bool) {
	distinct := len(p.ids.ids) + p.twins
	most := 1 + p.r.restarts()
	if p.fresh > 0 && p.n > 1 {
		most = max(most, mostPasses) // it gets somewhere
	}
	again = p.n < most
	needed := (p.total + p.size - 1) / p.size
	switch {
	case p.doubt != "":
		return p.doubt, again
	case p.pages <= 1 && (p.total < 0 || p.rows == p.total):
		return "", false // one answer, which is of one moment
	case p.total < 0 && (p.rows != p.before || p.rows != distinct || p.fresh > 0):
		return fmt.Sprintf("%d events on %d pages of which nobody tells how many there are", distinct, p.pages), again
	case p.total < 0:
		return "", false
	case distinct != p.total:
		return fmt.Sprintf("%d different events came of %d", distinct, p.total), again
	case p.told.pages >= 0 && p.told.pages != needed:
		return fmt.Sprintf("%d events are said to be on %d pages of %d", p.total, p.told.pages, p.size), again
	}
	return "", false
}

// suspicious reports whether what looks whole may have been cut.
func (p *passes) suspicious() bool {
	n := p.rows
	return roundNumber(n) || p.c.cuts.known(n) || p.c.cuts.again(n, p.ids.fingerprint)
}

// prove looks for more events than came.
func (p *passes) prove(ctx context.Context) error {
	n := p.rows
	if p.total < 0 {
		if p.i.Length() > time.Millisecond {
			return p.unproven(fmt.Sprintf("%d events, and nobody tells how many there are", n))
		}
		return p.fromTheEnd(ctx)
	}
	count := func(ctx context.Context, part audit.Interval) (int, error) {
		q := newQueryBody(p.r.stream.subject, part)
		q.PageNumber, q.PageSize = 1, probePage
		a, said, err := p.c.realtimeRequest(ctx, p.r, part, q)
		if err != nil {
			return 0, err
		}
		a.free()
		if said.total < 0 {
			return 0, p.unproven("the total is told for some intervals only")
		}
		return said.total, nil
	}
	return p.c.proveCount(ctx, p.r, p.i, &p.tally, n, count, func() error { return p.fromTheEnd(ctx) })
}

// fromTheEnd reads the interval from its other end: a cut would be elsewhere.
func (p *passes) fromTheEnd(ctx context.Context) error {
	n := p.rows
	final, err := p.read(ctx, descending)
	if err != nil {
		return err
	}
	if err := p.r.hand(final, false); err != nil {
		return err
	}
	if p.doubt != "" {
		return p.unproven(p.doubt)
	}
	if p.fresh > 0 || p.rows != n {
		p.c.cuts.note(n)
		return p.unproven(fmt.Sprintf("%d events from its begin, and others from its end", n))
	}
	return nil
}

func (p *passes) unproven(reason string) error {
	return &UnprovenError{Op: "POST " + realtimePath, Interval: p.i, Reason: reason}
}

// largestDivisor is the largest number up to most that divides n; most itself for 0.
func largestDivisor(n, most int) int {
	for n%most != 0 {
		most--
	}
	return most
}
