package genesys

import (
	"context"
	"fmt"
	"time"

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
		c.log.Info("stream opened", zap.String("stream", s.Name), zap.String("dialect", s.dialect), zap.Duration("retention", s.Retention))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams, c.spoken, c.gone = named, spoken, lasting{}
	if spoken == string(Auditlogs) {
		c.back = lasting{}
	}
	return list, nil
}

// choose finds the dialect that is configured, or the first one that is served.
func (c *Client) choose(ctx context.Context) (streams []*stream, spoken string, err error) {
	d := c.cfg.Dialect
	asked := d == Auditlogs || d == Auto && c.asksAuditlogs()
	if asked {
		if streams, err = c.chooseAuditlogs(ctx); d == Auditlogs || !notServed(err) {
			return streams, string(Auditlogs), err
		}
	}
	err = c.confirm(ctx, wrongSetting, func() (err error) {
		streams, spoken, err = c.chooseServices(ctx, audit.Tail)
		return err
	})
	if d == Auto && !asked && notServed(err) {
		if streams, missing := c.chooseAuditlogs(ctx); missing == nil {
			return streams, string(Auditlogs), nil
		}
	}
	return streams, spoken, err
}

// chooseAuditlogs makes the stream of dialect auditlogs, where that is served.
func (c *Client) chooseAuditlogs(ctx context.Context) ([]*stream, error) {
	if err := c.filter.checkKnown(); err != nil {
		return nil, err
	}
	c.pacer.setLimit(c.limit(Auditlogs))
	var s *stream
	known := c.knowsAuditlogs()
	err := c.confirm(ctx, func(err error) time.Duration {
		if c.cfg.Dialect == Auditlogs {
			return wrongSetting(err)
		}
		return max(wrongSetting(err), withoutDialect(err, known))
	}, func() (err error) {
		s, err = c.openAuditlogs(ctx)
		return err
	})
	return []*stream{s}, err
}
