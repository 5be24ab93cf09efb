package poller

import (
	"maps"
	"time"

	"genesys-audit-connector/internal/offsets"
)

// An organisation in which nothing happens is read as often as any other, and each
// reading changes its ledger. A step that holds nothing but that is not worth a
// transaction: it is held back, and goes with the next event, or after holdFor. Those
// who wait for it go on at once, for plans and the status see it (Poller.held); what is
// durable (Poller.ledgers, Poller.ids) does not advance by it. All that is committed
// has everything in it that was held back before, so that the ledgers in Kafka are
// always some that the poller had. A term that dies takes along what it held back: the
// next one reads that time again.
//
// What somebody was promised is never held back: events, ids that were read back,
// tokens, requests, what a tail or a sweep hands over, the end of a backfill. A term that
// ends writes what it holds.

// holdFor is how long what was found to be empty may wait to become durable.
const holdFor = 30 * time.Second

// newestLedger returns a stream's ledger with what is held back. The caller has the lock.
func (p *Poller) newestLedger(stream string) (offsets.Ledger, bool) {
	l, ok := p.held[stream]
	if !ok {
		l, ok = p.ledgers[stream]
	}
	return l, ok
}

// mayWait reports whether the step holds nothing that must be durable by now.
func (b *stepBuilder) mayWait(now time.Time) bool {
	s := &b.step
	return !b.urgent && len(s.Events)+len(s.Remember)+len(s.Done) == 0 && s.Token == nil && !b.finishes() &&
		(!b.holds() || now.Sub(b.since) < b.p.hold)
}

// finishes reports whether the step leaves nothing to read of a stream that has something
// left as far as Kafka knows: somebody may be waiting for just that.
func (b *stepBuilder) finishes() bool {
	for stream, l := range b.step.Ledgers {
		if len(l.Wanted) == 0 && len(b.p.ledgers[stream].Wanted) > 0 { // ledgers: only the committer changes them
			return true
		}
	}
	return false
}

// holds reports whether something is held back.
func (b *stepBuilder) holds() bool { return !b.since.IsZero() }

// heldUntil returns a channel that tells when what is held back has to be written; nil
// where nothing is. stop frees it.
func (b *stepBuilder) heldUntil() (due <-chan time.Time, stop func()) {
	if !b.holds() {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(b.since.Add(b.p.hold)))
	return t.C, func() { t.Stop() }
}

// holdBack keeps what the step changes for a later one, and lets those go on who wait
// for it.
func (b *stepBuilder) holdBack(now time.Time) {
	p := b.p
	if !b.holds() && len(b.step.Ledgers)+len(b.step.Forget) > 0 {
		b.since = now
	}
	p.mu.Lock()
	maps.Copy(p.held, b.step.Ledgers)
	p.mu.Unlock()
	p.stats.heldBack(b)
	b.release()
	b.announce()
	clear(b.pages)
	clear(b.duplicates)
	clear(b.published)
	b.pages, b.tasks = b.pages[:0], nil
	b.events, b.size = p.sink.Capacity()
}
