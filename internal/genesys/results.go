package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/jsonscan"
)

// Results of a query, in all the shapes that they have: pages of events; an answer
// that names a file of events and the cursor of the next one, with a status of 200
// or of 3xx; files that are like a page, or nothing but an array. GENESYS-API.md,
// "What live organisations show"; AuditQueryExecutionLargeResultsResponse of the
// vendor's SDK.

// results gets what the pager's cursor leads to, a page or a file, and the cursor of
// what follows it.
func (c *Client) results(ctx context.Context, r *reading, id string, p *pager) (a *answer, next string, err error) {
	if !r.withoutFiles {
		a, next, err = c.resultsOrFile(ctx, r, id, p)
		if !errors.Is(err, errFileTooLarge) {
			return a, next, err
		}
		// The cursor of a file is none of a page: they are read from the first one.
		r.withoutFiles = true
		c.log.Info("file of results is too large, reading pages instead", zap.String("stream", r.Stream), zap.Error(err))
		if p.cursor != "" {
			return nil, "", fmt.Errorf("%w: %w", errQueryLost, err)
		}
	}
	return c.resultsOrFile(ctx, r, id, p)
}

// errFileTooLarge says that a file holds more than an answer may. Pages do not.
var errFileTooLarge = errors.New("the file of results is too large")

func (c *Client) resultsOrFile(ctx context.Context, r *reading, id string, p *pager) (a *answer, next string, err error) {
	query := url.Values{"pageSize": {strconv.Itoa(p.size)}, "expand": {"user"}}
	if !r.withoutFiles {
		query.Set("allowRedirect", "true")
	}
	if p.cursor != "" {
		query.Set("cursor", p.cursor)
	}
	req := &request{op: "GET " + queryPath + "/{id}/results", method: http.MethodGet, path: queryPath + "/" + id + "/results",
		query: query, purpose: r.Purpose, attempts: r.Attempts, redirects: true}
	file, beside := "", "" // a file's URL, and the cursor that stands beside it
	check := func(a *answer) (err error) {
		if _, err = a.results(); err != nil {
			return err
		}
		if next = beside; next == "" { // else the file is one of several
			next, err = a.cursor("cursor")
		}
		if err != nil {
			return err
		}
		return p.leads(next)
	}
	a, err = c.ask(ctx, req, func(a *answer) (err error) {
		beside = ""
		if file = fileOf(a); file == "" {
			return check(a)
		}
		if beside, err = a.nextFile(); err != nil {
			return err
		}
		return p.leads(beside)
	})
	if err == nil && file != "" {
		a.free()
		a, err = c.download(ctx, file, r.Attempts, check)
	}
	if gone(err) {
		return nil, "", fmt.Errorf("%w: %w", errQueryLost, err)
	}
	return a, next, err
}

// fileOf returns the URL of the file that an answer points to instead of carrying
// results; "" where it carries them.
func fileOf(a *answer) string {
	if root, err := a.document(); err == nil {
		if named := root.Get("downloadUrl"); named.Kind() == jsonscan.String && named.Text() != "" {
			return named.Text()
		}
	}
	if a.status >= 300 {
		return a.header.Get("Location")
	}
	return ""
}

// nextFile returns the cursor beside the name of a file. A redirect needs no body.
func (a *answer) nextFile() (string, error) {
	if _, err := a.document(); err != nil {
		return "", nil
	}
	return a.cursor("cursor")
}

// results is the array of events of a query's results: a member, or all that there is.
func (a *answer) results() (jsonscan.Value, error) {
	if root, err := a.document(); err == nil && root.Kind() == jsonscan.Array {
		return root, a.countEvents(root)
	}
	return a.entities()
}

// download gets a file of results. It lies on a host that must not see the
// token, and its URL is a secret: whoever has it has the file.
func (c *Client) download(ctx context.Context, location string, attempts int, check func(*answer) error) (*answer, error) {
	const op = "download of results"
	a, err := c.repeat(ctx, op, attempts, func() (*answer, error) {
		from := c.api
		for range downloadRedirects + 1 {
			to, err := from.Parse(location)
			if err != nil || location == "" || to.Host == "" || to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https") {
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
		return nil, fmt.Errorf("%w: %w", errFileTooLarge, &PageTooLargeError{Op: op, Limit: c.cfg.MaxBody, Err: errors.New("results come as one file")})
	}
	return a, err
}
