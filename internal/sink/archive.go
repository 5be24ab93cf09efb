package sink

import (
	"context"
	"fmt"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/txn"
)

// Archive reads back what was published: the raw topic is the last word on it.
type Archive struct {
	Org     string
	Raw     Topic
	Cluster *txn.Cluster
}

// Each calls f for the id and the time of every event of this organisation in
// the raw topic, up to what was committed when Each was called. The time is the
// zero time where the event has none that can be read. The order is by
// partition. An error of f ends Each.
func (a *Archive) Each(ctx context.Context, f func(id string, at time.Time) error) error {
	for partition := range a.Raw.Partitions {
		err := a.partition(ctx, partition, f)
		if err != nil {
			return fmt.Errorf("read back topic %s, partition %d: %w", a.Raw.Name, partition, err)
		}
	}
	return nil
}

func (a *Archive) partition(ctx context.Context, partition int32, f func(string, time.Time) error) error {
	r := a.Cluster.NewReader(a.Raw.Name, partition, txn.First)
	defer r.Close()
	return r.ReadToEnd(ctx, func(rec *txn.Record) error {
		var at time.Time
		ours := false
		for _, h := range rec.Headers {
			switch h.Key {
			case "org":
				ours = string(h.Value) == a.Org
			case "event-time":
				at, _ = audit.ParseTime(string(h.Value))
			}
		}
		if !ours {
			return nil
		}
		return f(string(rec.Key), at)
	})
}
