package poller

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Erasure removes an event that was published: a note of who, when and why, and
// tombstones for its records.
type Erasure struct {
	ID, By, Reason string
	At             time.Time
	Records        Records
}

// Records are those of one published event.
type Records struct {
	Index   int64    // of the event's entry in the evidence log; -1 for none
	Raw     *Record  // nil where the raw record is gone
	Changes []Record // in order of changeIndex
	// Sum is SHA-256 of the raw value, ChangesSum what the evidence log has of the changes.
	Sum, ChangesSum [32]byte
}

// Record is where a record stands.
type Record struct {
	Key       string
	Partition int32
	Time      int64 // its own, in milliseconds since 1970
}

// eraseStep is how many events a step erases at most.
const eraseStep = 100

// erase finds the records of the events and erases them. An event that is in neither
// topic, or that was erased before, is left out.
func (q *request) erase(time.Time) (*job, time.Time) {
	p := q.p
	return &job{ended: q.then(q.gone), run: func(ctx context.Context) error {
		found, err := p.archive.Find(ctx, q.IDs)
		if err != nil {
			return err
		}
		now, erased := time.Now().UTC().Truncate(time.Millisecond), 0
		for ids := range slices.Chunk(q.IDs, eraseStep) {
			err := p.do(ctx, func(b *stepBuilder) {
				for _, id := range ids {
					if records, ok := found[id]; ok && b.erase(Erasure{ID: id, By: q.By, Reason: q.Reason, At: now, Records: records}) {
						erased++
					}
				}
			})
			if err != nil {
				return err
			}
		}
		p.log.Info("events are erased", zap.String("request", q.id), zap.Int("asked", len(q.IDs)), zap.Int("erased", erased), zap.String("by", q.By))
		return p.do(ctx, func(b *stepBuilder) { b.step.Done = append(b.step.Done, q.id) })
	}}, time.Time{}
}

// erase takes an erasure into the step and reports whether it did: an event is
// erased once.
func (b *stepBuilder) erase(e Erasure) bool {
	if b.p.erased.Has(e.ID) || slices.ContainsFunc(b.step.Erase, func(x Erasure) bool { return x.ID == e.ID }) {
		return false
	}
	b.pending[e.ID] = struct{}{}
	b.step.Erase = append(b.step.Erase, e)
	return true
}

// erase takes note that events are erased for good.
func (p *Poller) erase(list []Erasure) {
	for _, e := range list {
		p.erased.Add(e.ID, forever)
		for _, r := range p.repairs {
			delete(r.missing, e.ID)
		}
	}
}
