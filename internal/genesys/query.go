package genesys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
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
