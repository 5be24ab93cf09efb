package genesys

import (
	"context"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/poller"
)

// readPreview reads the preview of a service by realtime. Nothing is proved: what
// it lacks, the stream's own dialect shows. It is read once; pages that moved show
// next time.
func (c *Client) readPreview(ctx context.Context, s *stream, rd *reading) error {
	served := false
	for _, p := range s.Previews {
		served = served || p.Service == rd.Preview
	}
	if !served {
		return &notPreviewedError{rd.Preview}
	}
	// The reading's own stream, so that nothing is noted of the other dialect.
	rd.stream = &stream{Stream: s.Stream, subject: rd.Preview, dialect: string(Realtime)}
	p := &passes{c: c, r: rd, i: rd.Interval, total: -1}
	final, err := p.read(ctx, descending) // the newest first: they are what it is for
	if err != nil {
		return err
	}
	if p.doubt != "" {
		c.log.Debug("preview is not whole", zap.String("service", rd.Preview), zap.String("doubt", p.doubt))
	}
	return rd.hand(final, true)
}

// notPreviewedError says that realtime does not serve a service, or no more.
type notPreviewedError struct{ service string }

func (e *notPreviewedError) Error() string { return "realtime does not serve " + e.service }

// Unwrap makes it a poller.ErrNoPreview.
func (e *notPreviewedError) Unwrap() error { return poller.ErrNoPreview }
