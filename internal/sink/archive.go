package sink

import (
	"context"
	"fmt"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

// Archive reads back what was published: the raw topic is the last word on it.
type Archive struct {
	Org     string
	Topic   string // the raw topic
	Changes string // the changes topic
	Cluster *txn.Cluster
	Looked  func() // is told of each record that Find looks at; nil for nobody
}

// Each calls f for every event of this organisation in the raw topic, up to what
// was committed when Each was called: its id, its time (zero where it has none
// that can be read), and whether it was shown in an interval that does not hold
// that time. The order is by partition. An error of f ends Each.
func (a *Archive) Each(ctx context.Context, f func(id string, at time.Time, astray bool) error) error {
	err := a.Cluster.ReadTopic(ctx, a.Topic, func(rec *txn.Record) error {
		var at time.Time
		ours, astray := false, false
		for _, h := range rec.Headers {
			switch h.Key {
			case "org":
				ours = string(h.Value) == a.Org
			case "event-time":
				at, _ = audit.ParseTime(string(h.Value))
			case "error":
				astray = strings.Contains(string(h.Value), poller.Astray)
			}
		}
		if !ours {
			return nil
		}
		if rec.Value == nil {
			return f(string(rec.Key), time.Time{}, false)
		}
		return f(string(rec.Key), at, astray)
	})
	if err != nil {
		return fmt.Errorf("read back topic %s: %w", a.Topic, err)
	}
	return nil
}
