package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// Dialect auditlogs: GET /api/v2/auditlogs, a filter expression, pages linked
// by opaque tokens. GENESYS-API.md, "Dialect auditlogs".

const (
	auditlogsPath = "/api/v2/auditlogs"
	auditlogsPage = 1000 // events, at most
	// invalidPageToken is the code of a 400 for a token that has expired.
	invalidPageToken = "invalid.page.token"
)

func (c *Client) auditlogsStream() *stream {
	s := &stream{
		Stream: audit.Stream{
			Name:      string(Auditlogs) + ":" + c.filter.name(),
			Retention: c.retention(Auditlogs),
			MaxWindow: traits[Auditlogs].window,
		},
		dialect: string(Auditlogs),
		subject: c.filter.String(),
	}
	s.read = c.readAuditlogs
	return s
}

// readAuditlogs reads an interval from its first page, again when a page token
// dies on the way.
func (c *Client) readAuditlogs(ctx context.Context, r *reading) error {
	r.by = func(ctx context.Context, r *reading, _ audit.Interval) error { return c.auditlogsPages(ctx, r) }
	for restarts := 0; ; restarts++ {
		err := c.auditlogsPages(ctx, r)
		var status *StatusError
		if !errors.As(err, &status) || status.Code != invalidPageToken {
			c.noteServed(err)
			return err
		}
		if restarts == maxRestarts {
			return fmt.Errorf("%w: %w", ErrCursorExpired, err)
		}
		c.log.Info("page token expired, reading the interval again",
			zap.String("stream", r.Stream), zap.Stringer("interval", r.Interval))
	}
}

func (c *Client) auditlogsPages(ctx context.Context, r *reading) error {
	const op = "GET " + auditlogsPath
	get := func(p *pager) (a *answer, next string, err error) {
		req := c.auditlogsRequest(r.stream.subject, r.Interval, r.Purpose, p)
		req.attempts = r.Attempts
		if p.cursor == "" {
			req.ready = func() error { return c.inRetention(r) }
		}
		a, err = c.ask(ctx, req, func(a *answer) (err error) {
			if _, err = a.entities(); err != nil {
				return err
			}
			if next, err = a.cursor("nextPage"); err != nil {
				return err
			}
			return p.leads(next)
		})
		return a, next, err
	}
	count := func(ctx context.Context, i audit.Interval) (int, error) {
		part := r.counting(i)
		err := c.readAuditlogs(ctx, part)
		return part.counted, err
	}
	return c.follow(ctx, r, r.Interval, true, op, newPager(auditlogsPage, 1), get, count)
}

func (c *Client) auditlogsRequest(filter string, i audit.Interval, purpose audit.Purpose, p *pager) *request {
	query := url.Values{
		"dateFrom": {i.From.UTC().Format(audit.TimeFormat)},
		"dateTo":   {i.To.UTC().Format(audit.TimeFormat)},
		"pageSize": {strconv.Itoa(p.size)},
	}
	if filter != "" {
		query.Set("filter", filter)
	}
	if p.cursor != "" {
		query.Set("pageToken", p.cursor)
	}
	return &request{op: "GET " + auditlogsPath, method: http.MethodGet, path: auditlogsPath, query: query, purpose: purpose}
}
