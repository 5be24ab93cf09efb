package genesys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/retry"
)

// Dialect query: submit a query for one service or all, wait until it has succeeded,
// read its results by cursor. GENESYS-API.md, "Dialect query".

const (
	queryPath         = "/api/v2/audits/query"
	resultsPage       = 500 // events, at most
	smallestResults   = 25
	firstLook         = 500 * time.Millisecond // after submitting, at least; each pause is half as long again
	longestLook       = 10 * time.Second
	queryDeadline     = 5 * time.Minute
	downloadRedirects = 3
)

// errQueryLost says that a query is to be submitted again: it failed, was
// cancelled, or its results or their cursor have expired.
var errQueryLost = errors.New("the query or its results are gone")

// queryBody is the body of both query dialects.
type queryBody struct {
	Interval    string      `json:"interval"`
	ServiceName string      `json:"serviceName,omitempty"` // all services without one, where that is allowed
	Sort        []querySort `json:"sort"`
	PageNumber  int         `json:"pageNumber,omitempty"`
	PageSize    int         `json:"pageSize,omitempty"`
}

type querySort struct {
	Name      string `json:"name"`
	SortOrder string `json:"sortOrder"`
}

func newQueryBody(service string, i audit.Interval) queryBody {
	return queryBody{Interval: i.String(), ServiceName: service, Sort: []querySort{{"Timestamp", ascending}}}
}

const ascending, descending = "ascending", "descending"

func (q queryBody) encode() []byte {
	b, err := json.Marshal(q)
	if err != nil {
		panic("genesys: a query of strings and numbers cannot be encoded: " + err.Error())
	}
	return b
}

// readQuery reads an interval by the dialect query. last says that nothing of
// the reading comes after it.
func (c *Client) readQuery(ctx context.Context, r *reading, i audit.Interval, last bool) error {
	r.by = func(ctx context.Context, r *reading, i audit.Interval) error { return c.readQuery(ctx, r, i, true) }
	// What an earlier reading had to leave while its query ran comes first.
	if p := c.queries.prefix(r.Stream, i); !p.Empty() && p.To.Before(i.To) && !r.counts {
		if err := c.readQuery(ctx, r, p, false); err != nil {
			return err
		}
		i.From = p.To
	}
	for restarts := 0; ; restarts++ {
		err := c.runQuery(ctx, r, i, last)
		if !errors.Is(err, errQueryLost) {
			return err
		}
		if restarts == r.restarts() {
			return &FaultError{Op: "query", Attempts: restarts + 1, Err: err, Reached: true}
		}
		c.log.Info("query lost, submitting it again", zap.String("stream", r.Stream), zap.Stringer("interval", i), zap.Error(err))
	}
}

func (c *Client) runQuery(ctx context.Context, r *reading, i audit.Interval, last bool) error {
	id, err := c.submit(ctx, r, i)
	if err != nil {
		return err
	}
	get := func(p *pager) (*answer, string, error) { return c.results(ctx, r, id, p) }
	count := func(ctx context.Context, i audit.Interval) (int, error) {
		part := r.counting(i)
		err := c.readQuery(ctx, part, i, true)
		return part.counted, err
	}
	return c.follow(ctx, r, i, last, "results", newPager(resultsPage, smallestResults), get, count)
}

// submit submits a query, unless one for the same interval still runs, and waits
// until it has succeeded.
func (c *Client) submit(ctx context.Context, r *reading, i audit.Interval) (id string, err error) {
	pending := c.queries.take(r.Stream, i)
	id = pending.id
	look := func() *request {
		return &request{op: "GET " + queryPath + "/{id}", method: http.MethodGet, path: queryPath + "/" + id, purpose: r.Purpose, attempts: r.Attempts}
	}
	req := &request{op: "POST " + queryPath, method: http.MethodPost, path: queryPath, purpose: r.Purpose, attempts: r.Attempts,
		body: newQueryBody(r.stream.subject, i).encode(), ready: func() error { return c.inRetention(r) }}
	if id != "" {
		req = look()
	}
	var state string
	began := time.Now()
	pauses := c.looks.of(r.Purpose)
	for {
		a, err := c.ask(ctx, req, func(a *answer) (err error) {
			id, state, err = readQueryState(a)
			return err
		})
		if id != "" && gone(err) {
			return "", fmt.Errorf("%w: %w", errQueryLost, err)
		}
		if err != nil {
			c.queries.keep(r.Stream, i, pending, id)
			return "", err
		}
		a.free()
		switch state {
		case "Succeeded":
			pauses.done(time.Since(pending.submitted))
			return id, nil
		case "Failed", "Cancelled":
			return "", fmt.Errorf("%w: it has %s", errQueryLost, strings.ToLower(state))
		}
		if time.Since(began) > pending.patience(r) {
			return "", c.leave(r, i, pending, id, state)
		}
		if err := retry.Sleep(ctx, pauses.next()); err != nil {
			c.queries.keep(r.Stream, i, pending, id)
			return "", err
		}
		req = look()
	}
}

// patience returns how long a reading looks at the query. Where somebody has
// waited before it is shorter.
func (p pendingQuery) patience(r *reading) time.Duration {
	if r.Attempts > 0 || p.looks > 0 {
		return queryDeadline / 2
	}
	return queryDeadline
}

// leave gives up waiting for a query. Its id is kept, for the next reading of the
// interval to look at again; after some such looks the interval is to blame.
func (c *Client) leave(r *reading, i audit.Interval, p pendingQuery, id, state string) error {
	p.looks++
	err := &FaultError{Op: "query", Err: fmt.Errorf("still %q after %s, looked at %d times",
		c.secrets.clean(state), time.Since(p.submitted).Round(time.Second), p.looks)}
	if err.Reached = p.looks >= mostLooks; !err.Reached {
		c.queries.keep(r.Stream, i, p, id)
	}
	return err
}

// readQueryState reads {"id","state",…}.
func readQueryState(a *answer) (id, state string, err error) {
	root, err := a.document()
	if err != nil {
		return "", "", err
	}
	id, state = root.Get("id").Text(), root.Get("state").Text()
	// It becomes a part of a path.
	if id == "" || len(id) > 200 || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
		return "", "", a.malformed("there is no id of a query")
	}
	return id, state, nil
}

// gone reports whether a query, or the cursor into its results, is not known any more.
func gone(err error) bool {
	var status *StatusError
	return errors.As(err, &status) &&
		(status.Status == http.StatusNotFound || status.Status == http.StatusGone || status.Code == invalidPageToken)
}

// results gets a page of results, from the API or from the file that it points to.
func (c *Client) results(ctx context.Context, r *reading, id string, p *pager) (a *answer, next string, err error) {
	query := url.Values{"pageSize": {strconv.Itoa(p.size)}, "expand": {"user"}}
	if p.cursor != "" {
		query.Set("cursor", p.cursor)
	}
	req := &request{op: "GET " + queryPath + "/{id}/results", method: http.MethodGet, path: queryPath + "/" + id + "/results",
		query: query, purpose: r.Purpose, attempts: r.Attempts, redirects: true}
	check := func(a *answer) (err error) {
		if _, err = a.entities(); err != nil {
			return err
		}
		if next, err = a.cursor("cursor"); err != nil {
			return err
		}
		return p.leads(next)
	}
	a, err = c.ask(ctx, req, func(a *answer) error {
		if fileOf(a) != "" {
			return nil
		}
		return check(a)
	})
	if err == nil {
		if file := fileOf(a); file != "" {
			a.free()
			a, err = c.download(ctx, file, r.Attempts, check)
		}
	}
	if gone(err) {
		return nil, "", fmt.Errorf("%w: %w", errQueryLost, err)
	}
	return a, next, err
}

// fileOf is the URL of the file that an answer points to instead of carrying
// results; "" where it carries them.
func fileOf(a *answer) string {
	if a.status >= 300 {
		return a.header.Get("Location")
	}
	root, err := a.document()
	if err != nil {
		return ""
	}
	url := root.Get("downloadUrl")
	list := root.Get("entities").Elements()
	if url.Kind() != jsonscan.String || list.Next() {
		return ""
	}
	return url.Text()
}

// download gets a file of results. It lies on a host that must not see the
// token, and its URL is a secret: whoever has it has the file.
func (c *Client) download(ctx context.Context, location string, attempts int, check func(*answer) error) (*answer, error) {
	const op = "download of results"
	a, err := c.repeat(ctx, op, attempts, func() (*answer, error) {
		from := c.api
		for range downloadRedirects + 1 {
			to, err := from.Parse(location)
			if err != nil || to.Host == "" || to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https") {
				return nil, &RedirectError{Op: op, Status: http.StatusFound, To: withoutQuery(location)}
			}
			req, err := http.NewRequest(http.MethodGet, to.String(), nil)
			if err != nil {
				return nil, fmt.Errorf("%s: make the request: %w", op, plain(err))
			}
			a, err := c.exchange(ctx, op, req, c.cfg.MaxBody)
			switch {
			case err != nil && a != nil:
				a.free()
				var fault *FaultError
				if errors.As(err, &fault) {
					fault.Reached = true
				}
				return nil, err
			case err != nil:
				return nil, err
			case a.status < 300 || a.status >= 400:
				return a, nil
			}
			from, location = to, a.header.Get("Location")
			a.free()
		}
		return nil, &RedirectError{Op: op, Status: http.StatusFound, To: withoutQuery(location)}
	}, func(a *answer) error {
		switch {
		case a.status >= 200 && a.status < 300:
			return check(a)
		case a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout:
			wait, _ := readRetryAfter(a.header, time.Now())
			return &FaultError{Op: op, Reached: true, Err: &statusFault{status: a.status, wait: wait}}
		}
		return fmt.Errorf("%w: the file is refused with %d", errQueryLost, a.status)
	})
	if tooLarge(err) { // a smaller page size would not make the file smaller
		return nil, &PageTooLargeError{Op: op, Limit: c.cfg.MaxBody, Err: errors.New("results come as one file")}
	}
	return a, err
}
