package poller

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/retry"
)

// task is a change that comes with no page.
type task struct {
	change  func(*stepBuilder)
	patient bool // it may be held back
	done    chan struct{}
}

// do has the committer make a change, and waits until it is durable.
func (p *Poller) do(ctx context.Context, change func(*stepBuilder)) error {
	return p.hand(ctx, p.tasks, task{change: change})
}

// note is do for a change that may be lost with the term, for what it enters would be
// found again: it returns when the change is durable, or held back.
func (p *Poller) note(ctx context.Context, change func(*stepBuilder)) error {
	return p.hand(ctx, p.tasks, task{change: change, patient: true})
}

func (p *Poller) hand(ctx context.Context, to chan task, t task) error {
	t.done = make(chan struct{})
	select {
	case to <- t:
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
// know. What only says that nothing was found waits for more (hold.go). It ends with
// the first step whose fate is in doubt, or once ctx has ended and everybody else is gone.
func (p *Poller) commitLoop(ctx context.Context, b *stepBuilder, alone <-chan struct{}) error {
	b.reset()
	for {
		if !b.gather(ctx, alone) {
			return nil
		}
		if ctx.Err() == nil && b.mayWait(time.Now()) {
			b.holdBack(time.Now())
			continue
		}
		err := p.commit(ctx, b)
		b.release()
		if err != nil {
			return err // those who wait end with the term
		}
		b.announce()
		b.reset()
	}
}

// commitSubject is what fails while Kafka rejects what is written.
var commitSubject = health.Subject{Kind: health.Kafka, Op: "commit"}

// commit writes the step; an event that a topic refuses is left out, and entered
// in the ledger as a gap. What Kafka rejects for a reason that may pass is written
// again, and a refresh token does not wait behind it.
func (p *Poller) commit(ctx context.Context, b *stepBuilder) error {
	// A term that is ended finishes the step that it is in.
	ctx, cancel := stopLater(ctx, p.cfg.StopTimeout)
	defer cancel()
	if err := p.name(ctx, b); err != nil {
		return err
	}
	b.step.Known = p.ledgers // which only the committer changes
	for backoff := (retry.Backoff{First: 250 * time.Millisecond, Most: 10 * time.Second}); ; {
		err := p.sink.Commit(ctx, &b.step)
		var refused *RefusedError
		switch {
		case err == nil:
			p.advance(b)
			p.stats.committed(b)
			p.cfg.Health.Report(commitSubject, nil)
			return nil
		case errors.As(err, &refused) && b.leaveOut(refused):
			p.log.Warn("event exceeds the topic's limit; recorded as a gap",
				zap.String("audit_id", refused.ID), zap.String("topic", refused.Topic),
				zap.Int("bytes", refused.Size), zap.Int("limit", refused.Limit), zap.String("hint", cure(refused)))
			continue
		case !errors.Is(err, ErrNotWritten):
			return err
		}
		if err := p.standBack(ctx, err, backoff.Next()); err != nil {
			return err
		}
	}
}

// name has the ids in the step's events looked up, before the first attempt to write
// it: a record that is written again is the same. Refresh tokens that were replaced
// meanwhile are written at once, for a lookup may wait for one.
func (p *Poller) name(ctx context.Context, b *stepBuilder) error {
	if p.cfg.Namer == nil || len(b.step.Events) == 0 {
		return nil
	}
	named := make(chan audit.Names, 1)
	go func() {
		var names audit.Names
		_ = p.guarded(func() error { // without names the events are published all the same
			names = p.cfg.Namer.Resolve(ctx, b.step.events())
			return nil
		})
		named <- names
	}()
	var failed error
	for {
		select {
		case t := <-p.tokens:
			if err := p.commitToken(ctx, t); err != nil && failed == nil {
				failed = err
			}
		case b.step.Names = <-named: // it reads the events: nobody releases them before
			return failed
		}
	}
}

func (s *Step) events() iter.Seq[*audit.Event] {
	return func(yield func(*audit.Event) bool) {
		for i := range s.Events {
			if !yield(s.Events[i].Event) {
				return
			}
		}
	}
}

// standBack waits before a rejected step is written again. Refresh tokens that
// were replaced meanwhile are written at once, each in a step of its own.
func (p *Poller) standBack(ctx context.Context, cause error, pause time.Duration) error {
	if !errors.Is(cause, ErrThrottled) { // which the sink reports by another name
		p.cfg.Health.Report(commitSubject, cause)
		p.log.Warn("Kafka rejected the write; retrying", zap.Error(cause), zap.Duration("in", pause))
	}
	late := p.waiting
	p.waiting = nil
	for _, t := range late {
		if err := p.commitToken(ctx, t); err != nil {
			return err
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case t := <-p.tokens:
			if err := p.commitToken(ctx, t); err != nil {
				return err
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), cause)
		}
	}
}

// commitToken writes a refresh token in a step of its own. One that is rejected
// waits for the next try.
func (p *Poller) commitToken(ctx context.Context, t task) error {
	alone := newStepBuilder(p)
	alone.addTask(t)
	err := p.sink.Commit(ctx, &alone.step)
	switch {
	case err == nil:
		p.advance(alone)
		alone.announce()
	case errors.Is(err, ErrNotWritten):
		p.waiting = append(p.waiting, t)
		return nil
	}
	return err
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
		for _, r := range p.repairs {
			delete(r.missing, e.Event.ID)
		}
		if e.from.compare {
			p.sooner.publish(e.Event.ID, e.from.read.Preview != "")
		}
	}
	for _, r := range b.step.Remember {
		p.ids.Add(r.ID, r.At)
	}
	for _, id := range b.step.Forget {
		p.ids.Remove(id)
	}
	p.erase(b.step.Erase)
	for _, r := range b.refused {
		p.refused[r.id] = append(p.refused[r.id], r.stream)
	}
	p.mu.Lock()
	for stream, l := range b.step.Ledgers {
		p.ledgers[stream] = l
		delete(p.held, stream)
	}
	if b.step.Token != nil {
		p.token = b.step.Token
	}
	p.mu.Unlock()
}

// cure tells an operator how to have a refused event taken.
func cure(r *RefusedError) string {
	return fmt.Sprintf("raise max.message.bytes of topic %s above %d", r.Topic, r.Size)
}
