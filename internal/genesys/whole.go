package genesys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// fewTries bounds the attempts of a request that tells how to read, not what there is.
const fewTries = 2

// errNeedsService says that the organisation refuses a query without a service.
var errNeedsService = errors.New("the organisation wants a service in each query")

// allowsWhole reports whether one query may ask for all services. It is tried; what
// was once decided is decided anew only by answers that last. As long as nothing is
// decided, because queries fail, it is taken to be as it was before, or allowed:
// then a start waits for nothing, and previews are read meanwhile.
func (c *Client) allowsWhole(ctx context.Context, m mappings, purpose audit.Purpose) bool {
	if m.query == nil || len(c.cfg.Services) > 0 {
		return false
	}
	c.mu.Lock()
	decided, failing := c.whole, c.inVain.given
	c.mu.Unlock()
	if failing || decided == nil && c.wasGivenUp() {
		return false
	}
	if decided != nil {
		return c.stillAllowsWhole(c.tryWhole(ctx, purpose))
	}
	needed := lastingAtFirst
	if c.knowsStream(wholeName) {
		needed = lastingTime
	}
	err := c.confirm(ctx, func(err error) time.Duration {
		if errors.Is(err, errNeedsService) {
			return needed
		}
		return 0
	}, func() error { return c.tryWhole(ctx, purpose) })
	allowed := err == nil
	if !allowed && !errors.Is(err, errNeedsService) {
		c.log.Warn("cannot see whether one query may ask for all services", zap.Error(err))
		return c.knowsStream(wholeName) || !c.knows(Query)
	}
	c.log.Info("queries", zap.Bool("all_services_at_once", allowed))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole, c.otherwise = &allowed, lasting{}
	return allowed
}

// stillAllowsWhole takes note of another try.
func (c *Client) stillAllowsWhole(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && !errors.Is(err, errNeedsService): // it says nothing
	case (err == nil) == *c.whole:
		c.otherwise = lasting{}
	default:
		if c.otherwise.again(); c.otherwise.over(lastingTime) {
			changed := !*c.whole
			c.whole, c.otherwise = &changed, lasting{}
		}
	}
	return *c.whole
}

// tryWhole submits a query of all services for one millisecond, whose results
// nobody reads.
func (c *Client) tryWhole(ctx context.Context, purpose audit.Purpose) error {
	at := c.Now().Add(-controlAge).Truncate(time.Millisecond)
	req := &request{op: "POST " + queryPath, method: http.MethodPost, path: queryPath, purpose: purpose, attempts: fewTries,
		body: newQueryBody("", audit.Interval{From: at, To: at.Add(time.Millisecond)}).encode()}
	a, err := c.ask(ctx, req, func(a *answer) error { _, _, err := readQueryState(a); return err })
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest && status.Code+status.Message != "" { // the API's own words
		return fmt.Errorf("%w: %w", errNeedsService, err)
	}
	if err != nil {
		return err
	}
	a.free()
	return nil
}

// Served is what an organisation serves, as far as the last Open told.
type Served struct {
	Query, Realtime []string // services, sorted; nil where the dialect is not served
	// Whole says whether one query may ask for all services; nil while not known.
	Whole *bool
}

// Served tells what the organisation serves of the dialects that know services.
func (c *Client) Served() Served {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Served{
		Query: slices.Sorted(maps.Keys(c.mappings.query)), Realtime: slices.Sorted(maps.Keys(c.mappings.realtime)), Whole: c.whole,
	}
}
