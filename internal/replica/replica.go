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
	"sync"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
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

// Replica is one process of an organisation that has an offsets topic of one partition. It
// stands by warm: it follows the topic, so that it leads at once when it is elected.
type Replica struct {
	*Leader
	cfg Config
	log *zap.Logger

	mu       sync.Mutex // protects follower
	follower *follower
}

// New makes a replica that does nothing until Run.
func New(cfg Config) *Replica {
	return &Replica{cfg: cfg, log: cfg.Logger, Leader: NewLeader(LeaderConfig{
		Org: cfg.Org, Producer: cfg.Producer, NewTerm: cfg.NewTerm, Health: cfg.Health, Logger: cfg.Logger,
	})}
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
	err := election.Run(ctx, func(lead context.Context, _ int32) error {
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

// lead leads with what was followed so far.
func (r *Replica) lead(ctx context.Context) error {
	shard := NewShard(r.cfg.Cluster, r.cfg.Offsets, 0, r.log)
	shard.warm = r.unfollow()
	serving, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { shard.Run(serving) })
	defer wg.Wait()
	defer cancel()
	return r.Lead(ctx, shard)
}
