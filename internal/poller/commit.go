package poller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// A step is closed once it holds this much. It bounds memory and the time that
// a new event waits for a transaction full of old ones.
const (
	stepEvents = 4000
	stepBytes  = 2 << 20
)

// delivery is one page on its way from a reader to the committer.
type delivery struct {
	read audit.Read
	page audit.Page
	// finish, on the last page of the interval, writes into the ledger that it
	// has been read. It is nil on the pages before.
	finish func(offsets.Ledger) offsets.Ledger
	// lateness is the most by which an event that this reading finds in covered
	// time can have been shown late: an earlier reading, at a younger age, did not see it.
	lateness time.Duration
	// again says that events which a topic did not take are to be tried again.
	again bool
	// repair, where it is not nil, is all that may be published of the page.
	repair *repair
	// fresh, where it is not nil, counts the events that were not published before.
	// It belongs to the committer until done is closed.
	fresh *int
	// done is closed when the step that holds the page is durable and the page released.
	done chan struct{}
}

// task is a change of the ledgers that comes with no page.
type task struct {
	change func(*stepBuilder)
	done   chan struct{}
}

// do has the committer make a change, and waits until it is durable.
func (p *Poller) do(ctx context.Context, change func(*stepBuilder)) error {
	t := task{change, make(chan struct{})}
	select {
	case p.tasks <- t:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// commitLoop is the one place where anything becomes durable. It groups the
// pages that are waiting into a step, commits it, and only then lets the memory
// know. It ends with the first step whose fate is in doubt, or once ctx has ended
// and everybody else is gone.
func (p *Poller) commitLoop(ctx context.Context, alone <-chan struct{}) error {
	b := newStepBuilder(p)
	for {
		b.reset()
		if !b.gather(ctx, alone) {
			return nil
		}
		err := p.commit(ctx, b)
		b.release()
		if err != nil {
			return err // those who wait end with the term
		}
		b.announce()
	}
}

// commit writes the step; an event that a topic does not take is left out, and
// entered in the ledger as a gap.
func (p *Poller) commit(ctx context.Context, b *stepBuilder) error {
	// A term that is ended finishes the step that it is in.
	ctx, cancel := stopLater(ctx, p.cfg.StopTimeout)
	defer cancel()
	pauses := retry.Backoff{First: 250 * time.Millisecond, Most: 10 * time.Second}
	for {
		err := p.sink.Commit(ctx, &b.step)
		var refused *RefusedError
		if errors.As(err, &refused) && b.leaveOut(refused) {
			p.log.Warn("a topic does not take an event; it stands in the ledger as a gap until the topic does",
				zap.String("audit_id", refused.ID), zap.String("topic", refused.Topic),
				zap.Int("bytes", refused.Size), zap.Int("limit", refused.Limit), zap.String("hint", cure(refused)))
			continue
		}
		if errors.Is(err, ErrNotWritten) {
			p.stats.Failed("kafka", err)
			p.log.Warn("Kafka rejected the write; retrying", zap.Error(err))
			if cause := retry.Sleep(ctx, pauses.Next()); cause != nil {
				return fmt.Errorf("%w; then: %w", err, cause)
			}
			continue
		}
		if err != nil {
			return err
		}
		p.stats.Succeeded("kafka")
		p.advance(b)
		p.stats.committed(b)
		return nil
	}
}

// stopLater is ctx, but it ends only after a grace once ctx has.
func stopLater(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return late, func() { stop(); cancel() }
}

// advance is invariant 2: the memory follows what is known to be durable.
func (p *Poller) advance(b *stepBuilder) {
	for i := range b.step.Events {
		e := &b.step.Events[i]
		p.ids.Add(e.Event.ID, e.Remember)
		delete(p.refused, e.Event.ID)
	}
	for _, r := range b.step.Remember {
		p.ids.Add(r.ID, r.At)
	}
	for _, id := range b.step.Forget {
		p.ids.Remove(id)
	}
	for _, id := range b.refused {
		p.refused[id] = true
	}
	p.mu.Lock()
	maps.Copy(p.ledgers, b.step.Ledgers)
	if b.step.Token != nil {
		p.token = b.step.Token
	}
	p.mu.Unlock()
}

// stepBuilder gathers one step, and then the next in the same memory. It belongs
// to the committer.
type stepBuilder struct {
	p     *Poller
	step  Step
	pages []*delivery
	tasks []task

	pending    map[string]struct{} // ids of step.Events
	refused    []string            // ids of events that this step leaves out
	bytes      int
	duplicates map[string]int
	late       map[string][]time.Duration // lateness of events that a re-reading found
}

func newStepBuilder(p *Poller) *stepBuilder {
	return &stepBuilder{
		p: p, step: Step{Ledgers: make(map[string]offsets.Ledger)},
		pending: make(map[string]struct{}), duplicates: make(map[string]int), late: make(map[string][]time.Duration),
	}
}

// reset forgets the step before.
func (b *stepBuilder) reset() {
	clear(b.step.Events)
	clear(b.step.Ledgers)
	b.step = Step{Events: b.step.Events[:0], Ledgers: b.step.Ledgers}
	clear(b.pages)
	clear(b.pending)
	clear(b.duplicates)
	clear(b.late)
	b.pages, b.tasks, b.refused, b.bytes = b.pages[:0], nil, nil, 0
}

// gather waits for something to commit, then takes what else is waiting, the
// tail first, until the step is full. When the term has ended it still waits for
// tasks, for a refresh token that was replaced meanwhile must not be lost; false
// means that none can come any more.
func (b *stepBuilder) gather(ctx context.Context, alone <-chan struct{}) bool {
	select {
	case d := <-b.p.urgent:
		b.add(d)
	case t := <-b.p.tasks:
		b.addTask(t)
	default:
		select {
		case d := <-b.p.urgent:
			b.add(d)
		case t := <-b.p.tasks:
			b.addTask(t)
		case d := <-b.p.bulk:
			b.add(d)
		case <-ctx.Done():
			select {
			case t := <-b.p.tasks:
				b.addTask(t)
			case <-alone:
				return false
			}
		}
	}
	for len(b.step.Events) < stepEvents && b.bytes < stepBytes {
		select {
		case d := <-b.p.urgent:
			b.add(d)
			continue
		case t := <-b.p.tasks:
			b.addTask(t)
			continue
		default:
		}
		select {
		case d := <-b.p.bulk:
			b.add(d)
		default:
			return true
		}
	}
	return true
}

func (b *stepBuilder) addTask(t task) {
	b.tasks = append(b.tasks, t)
	t.change(b)
}

// add takes a page whole: its unseen events, and on the last page the news that
// the interval is covered.
func (b *stepBuilder) add(d *delivery) {
	b.pages = append(b.pages, d)
	l := b.ledger(d.read.Stream)
	now := b.p.now()
	for i := range d.page.Events {
		e := &d.page.Events[i]
		if d.repair != nil && !d.repair.missing[e.ID] {
			continue
		}
		if _, twice := b.pending[e.ID]; twice || b.p.ids.Has(e.ID) && (d.repair == nil || !d.repair.forced[e.ID]) {
			b.duplicates[d.read.Stream]++
			continue
		}
		if b.p.refused[e.ID] && !d.again {
			continue
		}
		at := e.Time
		if at.IsZero() {
			at = d.read.Interval.From
		}
		slot := clamp(at, d.read.Interval)
		pub := Publication{Event: e, At: at, Remember: slot, stream: d.read.Stream, slot: slot}
		if e.Time.IsZero() {
			pub.Remember = forever
		}
		if l.Covered.Contains(slot) && d.read.Purpose != audit.Backfill {
			b.late[d.read.Stream] = append(b.late[d.read.Stream], min(d.lateness, now.Sub(at)))
		}
		if b.p.refused[e.ID] {
			b.change(d.read.Stream, func(l offsets.Ledger) offsets.Ledger { return l.Heal(e.ID) })
		}
		if d.repair != nil {
			delete(d.repair.missing, e.ID)
		}
		b.pending[e.ID] = struct{}{}
		b.step.Events = append(b.step.Events, pub)
		if d.fresh != nil {
			*d.fresh++
		}
		b.bytes += len(e.Raw)
	}
	if d.finish != nil {
		b.change(d.read.Stream, d.finish)
	}
}

// forever is the time under which the id of an event without a time is
// remembered: no reading can be said to be the last that meets it.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// clamp moves t into i, which is not empty.
func clamp(t time.Time, i audit.Interval) time.Time {
	return latest(i.From, earliest(t, i.To.Add(-time.Millisecond)))
}

// ledger is the stream's ledger as this step leaves it.
func (b *stepBuilder) ledger(stream string) offsets.Ledger {
	if l, ok := b.step.Ledgers[stream]; ok {
		return l
	}
	l, _ := b.p.ledger(stream)
	return l
}

func (b *stepBuilder) change(stream string, f func(offsets.Ledger) offsets.Ledger) {
	b.step.Ledgers[stream] = f(b.ledger(stream))
}

// leaveOut takes the refused event out of the step. false means that it is not there.
func (b *stepBuilder) leaveOut(r *RefusedError) bool {
	for i, e := range b.step.Events {
		if e.Event.ID != r.ID {
			continue
		}
		b.step.Events = append(b.step.Events[:i], b.step.Events[i+1:]...)
		b.refused = append(b.refused, r.ID)
		b.change(e.stream, func(l offsets.Ledger) offsets.Ledger {
			return l.AddGap(offsets.Gap{
				Interval: audit.Interval{From: e.slot, To: e.slot.Add(time.Millisecond)},
				Reason:   fmt.Sprintf("topic %s does not take event %.80q of %d bytes: %s", r.Topic, r.ID, r.Size, cure(r)), ID: r.ID, Size: r.Size,
			})
		})
		return true
	}
	return false
}

// forget tombstones ids that no reading can meet any more (invariant 4), at
// most n of them. It reports whether there may be more.
func (b *stepBuilder) forget(n int) (more bool) {
	streams := b.p.openStreams()
	if b.p.recalling.Load() > 0 {
		return false
	}
	if b.p.ids.Len() < rememberFreely && slices.ContainsFunc(streams, func(s audit.Stream) bool { return len(b.ledger(s.Name).Wanted) > 0 }) {
		return false
	}
	ledgers := make([]offsets.Ledger, len(streams))
	var limit time.Time
	for i, s := range streams {
		ledgers[i] = b.ledger(s.Name)
		h := horizon(ledgers[i], b.p.cfg.PollOverlap)
		if i == 0 || h.Before(limit) {
			limit = h
		}
	}
	keep := func(t time.Time) bool {
		for i := range ledgers {
			if mayReturn(ledgers[i], t) {
				return true
			}
		}
		return false
	}
	before := len(b.step.Forget)
	b.p.ids.Before(limit, n, keep, func(id string) { b.step.Forget = append(b.step.Forget, id) })
	if len(b.step.Forget) == before {
		return false
	}
	for _, s := range streams {
		b.change(s.Name, func(l offsets.Ledger) offsets.Ledger {
			l = l.Clone()
			l.Forgotten = latest(l.Forgotten, limit)
			return l
		})
	}
	return len(b.step.Forget)-before >= n
}

// release gives the memory of the pages back.
func (b *stepBuilder) release() {
	for _, d := range b.pages {
		d.page.Release()
	}
}

// announce tells those who wait that the step is durable.
func (b *stepBuilder) announce() {
	for _, d := range b.pages {
		close(d.done)
	}
	for _, t := range b.tasks {
		close(t.done)
	}
}
