package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/txn"
)

// LeaderConfig says what leads one organisation. All of it is owned by the caller.
type LeaderConfig struct {
	Org      string
	Producer *txn.Producer
	// NewTerm makes a term that owns state.
	NewTerm func(state *offsets.State) Term
	Health  *health.Monitor
	Logger  *zap.Logger
	// Fenced, where it is not zero, is how long it waits after another replica took over
	// before it leads again, as long as the shard is this replica's. Zero: it gives up.
	Fenced time.Duration
}

// Leader leads one organisation, term after term. Its methods but Lead may be called at any time.
type Leader struct {
	cfg LeaderConfig

	mu     sync.Mutex // protects what follows
	role   Role
	loaded bool // the offsets topic was read to its end once
	fenced int
}

// NewLeader makes a leader that does nothing until Lead.
func NewLeader(cfg LeaderConfig) *Leader { return &Leader{cfg: cfg, role: Starting} }

// Lead leads on the shard until ctx ends (the shard is another replica's now, or all
// ends), a newer replica has fenced this one, or only another configuration helps.
func (l *Leader) Lead(ctx context.Context, shard *Shard) error {
	defer l.cfg.Health.Drop(func(s health.Subject) bool { // what hinders leading does not hinder a standby
		return s.Kind == health.Kafka && s.Op != groupOp && s != offsetsSubject
	})
	for backoff := (retry.Backoff{First: time.Second, Most: time.Minute}); ; {
		began := time.Now()
		err := l.term(ctx, shard)
		switch {
		case ctx.Err() != nil && !configuration(err):
			return nil
		case errors.Is(err, txn.ErrFenced):
			if err := l.wasFenced(ctx, err); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		case configuration(err):
			return err
		case errors.Is(err, ErrAgain):
			l.cfg.Logger.Info("another term", zap.Error(err))
			continue
		}
		l.cfg.Health.Report(termSubject, err)
		if time.Since(began) > time.Minute {
			backoff.Reset()
		}
		pause := backoff.Next()
		l.cfg.Logger.Warn("leadership term ended; reloading state", zap.Error(err), zap.Duration("in", pause))
		if retry.Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// groupOp is the operation of what fails while a replica cannot take part in its group.
var groupOp = txn.GroupSubject("").Op

// wasFenced returns the error where this replica is to give up.
func (l *Leader) wasFenced(ctx context.Context, err error) error {
	l.mu.Lock()
	l.fenced++
	l.mu.Unlock()
	l.cfg.Logger.Warn("another replica took over, this one stands by", zap.Error(err))
	if l.cfg.Fenced == 0 {
		return err
	}
	_ = retry.Sleep(ctx, l.cfg.Fenced) // the caller sees that ctx has ended
	return nil
}

// term leads once. The order of its first two steps is invariant 5.
func (l *Leader) term(ctx context.Context, shard *Shard) error {
	if err := l.cfg.Producer.Init(ctx); err != nil {
		return fmt.Errorf("a new producer epoch: %w", err)
	}
	started := time.Now()
	in := shard.enter(l.cfg.Org)
	defer shard.leave(in)
	state, offset, err := shard.load(ctx, in)
	if err != nil {
		return fmt.Errorf("load the offsets topic: %w", err)
	}
	l.cfg.Producer.Continues(shard.topic, shard.partition, offset)
	l.cfg.Logger.Info("active", zap.Int("ids", state.IDs.Len()), zap.Int("streams", len(state.Ledgers)),
		zap.Int64("offset", offset), zap.Duration("caught_up_in", time.Since(started)))
	l.cfg.Health.Report(termSubject, nil)
	l.cfg.Health.Report(offsetsSubject, nil) // whatever following it met before
	l.set(Active, true)
	defer l.set(Standby, true)

	requests := state.Requests
	term := l.cfg.NewTerm(state)
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := forward(ctx, in, term, requests); err != nil {
			cancel(err)
		}
	})
	err = l.cfg.Health.Guard(func() error { return term.Run(ctx) })
	if panicked, ok := errors.AsType[*health.PanicError](err); ok {
		l.cfg.Logger.Error("panic; the term ends", zap.Error(panicked), zap.ByteString("stack", panicked.Stack))
	}
	if cause := context.Cause(ctx); err == nil && errors.Is(cause, ErrAgain) {
		err = cause
	}
	cancel(nil)
	wg.Wait()
	return err
}

// forward hands the term what other processes ask for, until ctx ends, or with an error
// that wraps ErrAgain when the offsets topic is not the one any more that the term's memory
// is of. The term owns the state by now: forward must not touch it.
func forward(ctx context.Context, in *inbox, term Term, pending map[string]offsets.Request) error {
	for id, request := range pending {
		term.Request(id, request)
	}
	for {
		select {
		case <-in.arrived:
			for id, r := range in.take() {
				term.Request(id, r.Request)
			}
		case err := <-in.broken:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *Leader) set(role Role, loaded bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.role, l.loaded = role, loaded
}

// Role is what the replica does for the organisation at the moment, and whether it has
// loaded the offsets topic.
func (l *Leader) Role() (role Role, loaded bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.role, l.loaded
}

// Fenced is how often a newer replica has fenced this one.
func (l *Leader) Fenced() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fenced
}
