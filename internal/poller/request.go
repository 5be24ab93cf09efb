package poller

import (
	"context"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

// Request does work that was handed in through the offsets topic. A backfill is
// taken over into the ledger, a repair is done; then the request is tombstoned,
// in the step that makes it true.
func (p *Poller) Request(ctx context.Context, id string, r offsets.Request) error {
	select {
	case <-p.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.log.Info("request", zap.String("request", id), zap.String("kind", r.Kind), zap.Time("from", r.From),
		zap.Time("to", r.To), zap.Int("ids", len(r.IDs)), zap.String("by", r.By))
	if r.Kind == offsets.KindRepair {
		return p.persist(ctx, "repair", func() error { return p.repair(ctx, id, r) })
	}
	return p.persist(ctx, "backfill request", func() error { return p.want(ctx, id, r) })
}

// want makes the interval of a backfill wanted, as far as the tail has come.
func (p *Poller) want(ctx context.Context, id string, r offsets.Request) error {
	iv := audit.Interval{From: r.From, To: earliest(r.To, p.now().Add(-p.cfg.PollOverlap))}
	var lost audit.IntervalSet
	ledgers := p.Ledgers()
	for _, s := range p.openStreams() {
		wanted := audit.NewIntervalSet(iv).Subtract(ledgers[s.Name].Covered)
		lost = lost.Union(unremembered(wanted, nil, s.Name, ledgers))
	}
	return p.recall(ctx, lost, func(b *stepBuilder) {
		b.step.Done = append(b.step.Done, id)
		for _, s := range p.openStreams() {
			b.change(s.Name, func(l offsets.Ledger) offsets.Ledger { return l.Want(iv) })
		}
	})
}

// repair is the ids that verify found missing. It belongs to the committer once
// reading has begun.
type repair struct {
	missing map[string]bool // ids that are still to be published
	// forced are those of them that the memory takes for published: it knew them
	// before the raw topic was read to its end and they were not found there.
	forced map[string]bool
}

// repair publishes exactly the events of the request that the raw topic lacks.
// This replica alone writes there, so what it finds missing stays missing until
// it publishes it: nothing can come out twice.
func (p *Poller) repair(ctx context.Context, id string, r offsets.Request) error {
	work := &repair{missing: make(map[string]bool), forced: make(map[string]bool)}
	for _, id := range r.IDs {
		work.missing[id] = true
	}
	// What the memory knows now was committed before the raw topic is read.
	err := p.do(ctx, func(*stepBuilder) {
		for id := range work.missing {
			work.forced[id] = p.ids.Has(id)
		}
	})
	if err != nil {
		return err
	}
	err = p.archive.Each(ctx, func(id string, _ time.Time) error {
		delete(work.missing, id)
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range p.openStreams() {
		edge := retentionEdge(p.now(), s.Retention)
		for from := latest(r.From, edge); from.Before(r.To); from = from.Add(p.longest(s)) {
			piece := audit.Interval{From: from, To: earliest(r.To, from.Add(p.longest(s)))}
			err := p.coverInParts(ctx, delivery{
				read: audit.Read{Stream: s.Name, Interval: piece, Purpose: audit.Backfill}, again: true, repair: work,
				finish: func(l offsets.Ledger) offsets.Ledger { return l },
			})
			if err != nil {
				return err
			}
		}
	}
	p.log.Info("repair is done", zap.String("request", id), zap.Int("asked", len(r.IDs)))
	return p.do(ctx, func(b *stepBuilder) { b.step.Done = append(b.step.Done, id) })
}
