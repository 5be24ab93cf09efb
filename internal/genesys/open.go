package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// Open gets a token, and with it the API's clock; chooses the dialect; checks
// filter or services against what the API knows; and names the streams to read.
// A *ValueError (a poller.ErrConfiguration) says that no later try can succeed.
// It may be called again: by another term, or to find services that are new.
func (c *Client) Open(ctx context.Context) ([]audit.Stream, error) {
	if err := c.Login(ctx); err != nil {
		return nil, fmt.Errorf("open the API: %w", err)
	}
	streams, spoken, err := c.choose(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the API: %w", err)
	}
	named := make(map[string]*stream, len(streams))
	list := make([]audit.Stream, len(streams))
	for i, s := range streams {
		named[s.Name], list[i] = s, s.Stream
		c.log.Info("a stream is read", zap.String("stream", s.Name), zap.String("dialect", s.dialect), zap.Duration("retention", s.Retention))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams, c.spoken = named, spoken
	return list, nil
}

// choose finds the dialect that is configured, or the first one that is served.
func (c *Client) choose(ctx context.Context) (streams []*stream, spoken string, err error) {
	if d := c.cfg.Dialect; d == Auditlogs || d == Auto {
		c.pacer.setLimit(c.limit(d))
		s, err := c.openAuditlogs(ctx)
		if d == Auditlogs || !notServed(err) {
			if err != nil {
				return nil, "", err
			}
			return []*stream{s}, string(Auditlogs), nil
		}
	}
	return c.chooseServices(ctx, audit.Tail)
}

// notServed reports whether the organisation does not serve what was asked for.
func notServed(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound
}
