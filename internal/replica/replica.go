// Package replica is one process's life: it stands by, is elected, leads for a
// term, and steps down.
//
// It promises invariants 5 and 7 of exactly once: a term begins with a new
// producer epoch, which fences and aborts whatever an older self left open, then
// reads the offsets topic to its end, and only then polls; and a memory that has
// been led with is never led with again, for what a doubtful step did to it is
// not known. It refuses to know what is polled and what a step holds.
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
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/txn"
)

// Role is what a replica does at the moment.
type Role string

// The roles.
const (
	Starting Role = "starting"
	Standby  Role = "standby"
	Active   Role = "active"
)

// Term is what leading means: it polls until ctx ends or the term is over.
type Term interface {
	Run(ctx context.Context) error
	// Request takes over work that was handed in through the offsets topic. It does
	// not wait until the work is done.
	Request(id string, r offsets.Request)
}

// ErrAgain is wrapped by the error of a term that is to be followed by another
// at once: nothing failed.
var ErrAgain = errors.New("begin another term")

// What may fail here.
var (
	offsetsSubject = health.Subject{Kind: health.Kafka, Op: "offsets topic"}
	termSubject    = health.Subject{Kind: health.Kafka, Op: "lead"}
)

// Config says what a replica is made of. All of it is owned by the caller.
type Config struct {
	Org      string
	Cluster  *txn.Cluster
	Producer *txn.Producer
	Offsets  string // the topic
	Election txn.ElectionConfig
	// NewTerm makes a term that owns state.
	NewTerm func(state *offsets.State) Term
	Health  *health.Monitor
	Logger  *zap.Logger
}

// Replica is one process. Role and Loaded may be called at any time.
type Replica struct {
	cfg Config
	log *zap.Logger

	mu       sync.Mutex // protects what follows
	role     Role
	loaded   bool // the offsets topic was read to its end once
	fenced   int
	follower *follower
}

// New makes a replica that does nothing until Run.
func New(cfg Config) *Replica {
	return &Replica{cfg: cfg, log: cfg.Logger, role: Starting}
}

// Run takes part in the election and leads when elected, until ctx ends or an
// error says that only another configuration can help.
func (r *Replica) Run(ctx context.Context) error {
	part := r.cfg.Election
	part.Report = r.cfg.Health.Report
	election := r.cfg.Cluster.NewElection(part)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.follow(ctx)
	err := election.Run(ctx, func(lead context.Context) error {
		err := r.lead(lead)
		if configuration(err) {
			cancel(err)
		}
		r.follow(ctx)
		return err
	})
	r.unfollow()
	if cause := context.Cause(ctx); configuration(cause) {
		return cause
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func configuration(err error) bool {
	var version *offsets.VersionError
	return errors.Is(err, poller.ErrConfiguration) || errors.As(err, &version)
}

// lead leads term after term, until ownership is lost (ctx ends), a newer
// replica has fenced this one, or the configuration is wrong.
func (r *Replica) lead(ctx context.Context) error {
	group := txn.GroupSubject(r.cfg.Election.GroupID)
	defer r.cfg.Health.Drop(func(s health.Subject) bool { return s.Kind == health.Kafka && s != offsetsSubject && s != group }) // what hinders leading does not hinder a standby
	f := r.unfollow()
	for backoff := (retry.Backoff{First: time.Second, Most: time.Minute}); ; {
		began := time.Now()
		err := r.term(ctx, f)
		switch {
		case ctx.Err() != nil && !configuration(err):
			return nil
		case errors.Is(err, txn.ErrFenced):
			r.mu.Lock()
			r.fenced++
			r.mu.Unlock()
			r.log.Warn("another replica took over, this one stands by", zap.Error(err))
			return err
		case configuration(err):
			return err
		case errors.Is(err, ErrAgain):
			r.log.Info("another term", zap.Error(err))
			f = r.newFollower()
			continue
		}
		r.cfg.Health.Report(termSubject, err)
		if time.Since(began) > time.Minute {
			backoff.Reset()
		}
		pause := backoff.Next()
		r.log.Warn("leadership term ended; reloading state", zap.Error(err), zap.Duration("in", pause))
		if retry.Sleep(ctx, pause) != nil {
			return nil
		}
		f = r.newFollower() // what a doubtful step did to the old memory is not known
	}
}

// term leads once. The order of its first two steps is invariant 5.
func (r *Replica) term(ctx context.Context, f *follower) error {
	defer f.reader.Close()
	if err := r.cfg.Producer.Init(ctx); err != nil {
		return fmt.Errorf("a new producer epoch: %w", err)
	}
	started := time.Now()
	if err := f.catchUp(ctx); err != nil {
		return fmt.Errorf("load the offsets topic: %w", err)
	}
	r.cfg.Producer.Continues(r.cfg.Offsets, 0, f.reader.Offset())
	r.log.Info("active", zap.Int("ids", f.state.IDs.Len()), zap.Int("streams", len(f.state.Ledgers)),
		zap.Int64("offset", f.reader.Offset()), zap.Duration("caught_up_in", time.Since(started)))
	r.cfg.Health.Report(termSubject, nil)
	r.cfg.Health.Report(offsetsSubject, nil) // whatever following it met before
	r.set(Active, true)
	defer r.set(Standby, true)

	requests, facts := f.state.Requests, f.state.Facts
	term := r.cfg.NewTerm(f.state)
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.watch(ctx, f, term, requests, facts); err != nil {
			cancel(err)
		}
	})
	err := term.Run(ctx)
	if cause := context.Cause(ctx); err == nil && errors.Is(cause, ErrAgain) {
		err = cause
	}
	cancel(nil)
	wg.Wait()
	return err
}

// watch hands the term what other processes ask for through the offsets topic.
// It ends with ctx, or with an error that wraps ErrAgain when the topic is not the
// one any more that the term's memory is of. The term owns the state by now: watch
// must not touch it.
func (r *Replica) watch(ctx context.Context, f *follower, term Term, pending map[string]offsets.Request, facts *offsets.Facts) error {
	for id, request := range pending {
		term.Request(id, request)
	}
	backoff := retry.Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}
	for ctx.Err() == nil {
		found := make(map[string]offsets.Request)
		err := f.reader.Poll(ctx, time.Second, func(rec *txn.Record) error {
			if err := facts.Apply(r.cfg.Org, rec.Key, rec.Value); err != nil {
				r.log.Warn("a fact in the offsets topic cannot be read", zap.Error(err))
			}
			id, request, err := offsets.ParseRequest(r.cfg.Org, rec.Key, rec.Value)
			switch {
			case err != nil:
				r.log.Warn("a request in the offsets topic cannot be read", zap.Error(err))
			case request != nil:
				found[id] = *request
			case id != "": // a tombstone: somebody has taken it over
				delete(found, id)
			}
			return nil
		})
		switch {
		case errors.Is(err, txn.ErrOutOfRange):
			return fmt.Errorf("%w: the offsets topic was truncated or recreated: %w", ErrAgain, err)
		case err != nil && ctx.Err() == nil:
			pause := backoff.Next()
			r.log.Warn("following the offsets topic failed, retrying", zap.Error(err), zap.Duration("in", pause))
			_ = retry.Sleep(ctx, pause) // the loop sees that ctx has ended
		default:
			backoff.Reset()
		}
		for id, request := range found {
			term.Request(id, request)
		}
	}
	return nil
}

func (r *Replica) set(role Role, loaded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.role, r.loaded = role, loaded
}

// Role is what the replica does at the moment, and whether it has loaded the offsets topic.
func (r *Replica) Role() (role Role, loaded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.role, r.loaded
}

// Fenced is how often a newer replica has fenced this one.
func (r *Replica) Fenced() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fenced
}
