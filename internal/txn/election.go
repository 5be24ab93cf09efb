package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/retry"
)

// Role is what a replica is at the moment.
type Role string

const (
	RoleStarting Role = "starting" // not yet in the group
	RoleStandby  Role = "standby"
	RoleActive   Role = "active"
)

const (
	defaultSessionTimeout = 10 * time.Second
	// heartbeats come so often that a standby learns of a death or a departure well within 2 s.
	maxHeartbeat = 700 * time.Millisecond

	firstBackoff, lastBackoff = 200 * time.Millisecond, 10 * time.Second
	// A leadership that lasted this long was no failed attempt.
	steadyLeadership = time.Minute
)

// ElectionConfig describes the group of replicas of which one is active.
type ElectionConfig struct {
	GroupID        string
	Name           string        // of this replica, for GroupMembers; need not be unique
	Topic          string        // the owner of its only partition is active
	SessionTimeout time.Duration // after which a dead active replica is replaced; 10 s
	// Report, where set, is told how each contact with the group went: nil, or why there was none.
	Report func(health.Subject, error)
}

// Election makes this replica one of a group of which one is active. It is a consumer group whose members keep the
// partition where it is (see assign): a newcomer never takes it from a live owner, so that a rolling restart moves it
// once. What an active replica writes is made safe by its Producer's fencing, not by this: for a moment after a
// network split there may be two that think they are active.
type Election struct {
	config ElectionConfig
	log    *zap.Logger
	member *member
	role   atomic.Value // Role

	// Counted apart: a heartbeat proves that the group is reached, only a long leadership
	// that leading works.
	joins, leads retry.Backoff

	// The leadership, if any. Owned by Run's goroutine, but for the timer.
	leading     bool
	cancel      context.CancelCauseFunc
	done        chan error
	since       time.Time
	mu          sync.Mutex  // protects what follows
	session     *time.Timer // ends the leadership when the coordinator was not heard for a session
	sessionLost bool
}

var (
	errOwnershipLost = errors.New("another replica is active")
	errSteppedDown   = errors.New("stepped down")
	errSessionLost   = errors.New("no response from the group coordinator within the session timeout")
)

// NewElection returns an election; Run takes part in it.
func (c *Cluster) NewElection(config ElectionConfig) *Election {
	if config.SessionTimeout == 0 {
		config.SessionTimeout = defaultSessionTimeout
	}
	e := &Election{
		config: config,
		log:    c.log.With(zap.String("group", config.GroupID)),
		member: newMember(c, config),
		joins:  retry.Backoff{First: firstBackoff, Most: lastBackoff},
		leads:  retry.Backoff{First: firstBackoff, Most: lastBackoff},
	}
	e.role.Store(RoleStarting)
	return e
}

// Role returns what this replica is. It may be called from another goroutine.
func (e *Election) Role() Role { return e.role.Load().(Role) }

// Run takes part until ctx ends and then leaves the group, so that another replica takes over at once. While this
// replica is active it runs lead, whose context ends when the partition is lost: taken away, or the coordinator not
// heard for a session; not by a rebalance in which it stays here. When lead returns by itself the replica steps down
// and stands by again after a pause that grows while it fails. An unreachable broker never ends Run.
func (e *Election) Run(ctx context.Context, lead func(context.Context) error) error {
	defer e.member.close()
	for ctx.Err() == nil {
		err := e.takePart(ctx, lead)
		if ctx.Err() != nil {
			break
		}
		if !errors.Is(err, errSteppedDown) {
			e.contact(err)
		}
		pause := e.pauseAfter(err)
		e.log.Warn("election interrupted", zap.Error(err), zap.Duration("pause", pause))
		_ = retry.Sleep(ctx, pause)
	}
	e.stepDown(context.Cause(ctx))
	e.member.leave()
	return nil
}

// pauseAfter returns how long to wait: longer from failure to failure.
func (e *Election) pauseAfter(err error) time.Duration {
	if !errors.Is(err, errSteppedDown) {
		return e.joins.Next()
	}
	if time.Since(e.since) > steadyLeadership {
		e.leads.Reset()
	}
	return e.leads.Next()
}

// takePart joins, keeps the membership alive and starts or ends the leadership as the assignment says. It returns when
// something failed; the leadership goes on as long as the session may still be alive.
func (e *Election) takePart(ctx context.Context, lead func(context.Context) error) error {
	for {
		owner, err := e.member.join(ctx, e.leading)
		if err != nil {
			return e.failed(fmt.Errorf("join: %w", err))
		}
		e.heard()
		if !owner {
			e.stepDown(errOwnershipLost)
			e.setRole(RoleStandby)
		} else if !e.leading {
			e.startLeading(ctx, lead)
		}
		if err := e.beat(ctx); err != nil {
			return e.failed(err)
		}
	}
}

// failed ends the leadership where the error says that the membership is gone.
func (e *Election) failed(err error) error {
	if errors.Is(err, errEvicted) {
		e.stepDown(err)
	}
	return err
}

// beat sends heartbeats until the group rebalances (nil), the leadership ended, or something failed.
func (e *Election) beat(ctx context.Context) error {
	ticker := time.NewTicker(e.member.heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-e.done:
			return e.ledToEnd(ctx, err)
		case <-ticker.C:
		}
		rebalance, err := e.member.beat(ctx)
		if err != nil {
			return fmt.Errorf("heartbeat: %w", err)
		}
		e.heard()
		if rebalance {
			return nil
		}
	}
}

// ledToEnd gives the partition back after lead returned by itself.
func (e *Election) ledToEnd(ctx context.Context, err error) error {
	e.done <- err // for stepDown
	e.stepDown(nil)
	if ctx.Err() == nil {
		e.member.leave()
	}
	return errors.Join(errSteppedDown, err)
}

func (e *Election) startLeading(ctx context.Context, lead func(context.Context) error) {
	leadCtx, cancel := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	e.leading, e.cancel, e.done, e.since = true, cancel, done, time.Now()
	e.mu.Lock()
	e.sessionLost = false
	e.session = time.AfterFunc(e.config.SessionTimeout, func() {
		e.mu.Lock()
		e.sessionLost = true
		e.mu.Unlock()
		cancel(errSessionLost)
	})
	e.mu.Unlock()
	e.setRole(RoleActive)
	go func() { done <- lead(leadCtx) }()
}

// heard puts off the end of the session. It cannot bring back a leadership that the timer has ended: that one returns
// by itself and is then given back.
func (e *Election) heard() {
	e.joins.Reset()
	e.contact(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leading && !e.sessionLost {
		e.session.Reset(e.config.SessionTimeout)
	}
}

func (e *Election) contact(err error) {
	if e.config.Report != nil {
		e.config.Report(GroupSubject(e.config.GroupID), err)
	}
}

// stepDown ends the leadership, if any, and waits until lead has returned.
func (e *Election) stepDown(cause error) {
	if !e.leading {
		return
	}
	e.mu.Lock()
	e.session.Stop()
	e.mu.Unlock()
	e.cancel(cause)
	if err := <-e.done; err != nil && !errors.Is(err, context.Canceled) {
		e.log.Info("leadership ended", zap.Error(err))
	}
	e.leading, e.done = false, nil
	e.setRole(RoleStandby)
}

func (e *Election) setRole(role Role) {
	if e.role.Swap(role) != role {
		e.log.Info("role", zap.String("role", string(role)))
	}
}

// GroupSubject is what fails while a replica cannot take part in its group.
func GroupSubject(group string) health.Subject {
	return health.Subject{Kind: health.Kafka, Op: "replica group", Of: group}
}
