package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/retry"
)

// Nothing lasting is done on a momentary answer. Which dialect serves which
// service decides what is read and how far back, and a gap in the ledger may come
// of it; so an answer that takes something away counts only when it has lasted.

const (
	lastingAnswers = 3           // in a row
	lastingTime    = time.Minute // from the first to the last of them
	// lastingAtFirst is enough where nothing was read yet that could be given up.
	lastingAtFirst = 5 * time.Second
)

// lasting is an answer that came several times in a row.
type lasting struct {
	times       int
	first, last time.Time
}

func (l *lasting) again() {
	l.last = time.Now()
	if l.times == 0 {
		l.first = l.last
	}
	l.times++
}

// over reports whether the answer has lasted for so long.
func (l lasting) over(d time.Duration) bool {
	return l.times >= lastingAnswers && l.last.Sub(l.first) >= d
}

// believed is what the client goes by, and what speaks against it. The client's
// mu protects it.
type believed struct {
	mappings mappings
	missing  map[string]lasting // by dialect and service: what the mappings lack of it
	back     lasting            // good answers of auditlogs while services are read
	gone     lasting            // 404 of auditlogs while that is read
	// whole says whether one query may ask for all services, nil while that was not
	// tried; otherwise is answers to the contrary.
	whole     *bool
	otherwise lasting
	inVain    inVain
}

// confirm asks until the answer is one that counts at once, or has lasted.
// needed returns how long an error has to last; 0 for one that counts at once.
func (c *Client) confirm(ctx context.Context, needed func(error) time.Duration, ask func() error) error {
	var l lasting
	subject := health.Subject{Kind: health.API, Op: "open", Of: "to be confirmed"}
	for {
		err := ask()
		over := needed(err)
		if l.again(); over == 0 || l.over(over) {
			if l.times > 1 {
				c.report(subject, nil)
			}
			return err
		}
		c.log.Info("odd answer, asking again before it counts", zap.Error(err), zap.Duration("until_it_lasted", over))
		c.report(subject, err)
		if cause := retry.Sleep(ctx, over/(lastingAnswers-1)); cause != nil {
			return fmt.Errorf("%w; then: %w", err, cause)
		}
	}
}

// wrongSetting is how long an error of configuration has to last: it ends the process.
func wrongSetting(err error) time.Duration {
	if errors.Is(err, poller.ErrConfiguration) {
		return lastingAtFirst
	}
	return 0
}

// withoutDialect returns how long a 404 of a dialect has to last. known says that
// the dialect was there before.
func withoutDialect(err error, known bool) time.Duration {
	var status *StatusError
	switch own := errors.As(err, &status) && status.Code+status.Message != ""; {
	case !notServed(err):
		return 0
	case known, !own:
		return lastingTime
	}
	return lastingAtFirst
}

// knows reports whether streams of a kind were read before, by any process.
func (c *Client) knows(kind Dialect) bool {
	return c.cfg.KnownStreams != nil && slices.ContainsFunc(c.cfg.KnownStreams(), func(name string) bool {
		return strings.HasPrefix(name, string(kind)+":")
	})
}

// knowsStream reports whether this very stream was read before: then what it asks
// for is no mistake of whoever configured it.
func (c *Client) knowsStream(name string) bool {
	return c.cfg.KnownStreams != nil && slices.Contains(c.cfg.KnownStreams(), name)
}

// asksAuditlogs reports whether auto begins with auditlogs: unless services were
// read before and nothing lasting has come of auditlogs since.
func (c *Client) asksAuditlogs() bool {
	c.mu.Lock()
	spoken, back := c.spoken, c.back
	c.mu.Unlock()
	switch spoken {
	case string(Auditlogs):
		return true
	case "":
		return c.knows(Auditlogs) || !c.knows(Auto) && !c.knows(Query)
	}
	return back.over(lastingTime)
}

// knowsAuditlogs reports whether auditlogs was served before.
func (c *Client) knowsAuditlogs() bool { return c.API() == string(Auditlogs) || c.knows(Auditlogs) }

// noteServed takes note of whether auditlogs is still served.
func (c *Client) noteServed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.gone = lasting{}
	case notServed(err):
		c.gone.again()
	}
}

// lookForAuditlogs asks, while services are read, whether auditlogs is served by
// now, and reports whether that has lasted.
func (c *Client) lookForAuditlogs(ctx context.Context) bool {
	now := c.Now().Truncate(time.Millisecond)
	req := c.auditlogsRequest(c.filter.String(), audit.Interval{From: now.Add(-time.Second), To: now}, audit.Sweep, newPager(1, 1))
	req.attempts = 1
	a, err := c.ask(ctx, req, func(a *answer) error { _, err := a.entities(); return err })
	if err == nil {
		a.free()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.back = lasting{}
		return false
	}
	c.back.again()
	return c.back.over(lastingTime)
}

// settle returns the mappings to go by: a service counts at once when it appears,
// and no more when it has been missing for long.
func (c *Client) settle(fresh mappings) mappings {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := make(map[string]lasting)
	keep := func(dialect Dialect, before, now mapping) mapping {
		for service, entities := range before {
			if _, there := now[service]; there {
				continue
			}
			key := string(dialect) + " " + service
			l := c.missing[key]
			l.again()
			missing[key] = l
			if l.over(lastingTime) {
				continue
			}
			if now == nil {
				now = make(mapping)
			}
			now[service] = entities
		}
		return now
	}
	fresh.query = keep(Query, c.mappings.query, fresh.query)
	fresh.realtime = keep(Realtime, c.mappings.realtime, fresh.realtime)
	c.mappings, c.missing = fresh, missing
	return fresh
}

// notServed reports whether the organisation does not serve what was asked for, or
// something in front of the API says so.
func notServed(err error) bool {
	var status *StatusError
	var between *InterceptedError
	return errors.As(err, &status) && status.Status == http.StatusNotFound ||
		errors.As(err, &between) && between.Status == http.StatusNotFound
}
