package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// ElectionConfig describes the group of replicas that share the partitions of a topic.
type ElectionConfig struct {
	GroupID        string
	Name           string        // of this replica, for GroupMembers; need not be unique
	Topic          string        // whose partitions are owned
	Partitions     int32         // of the topic; 1 where it is 0. The same for all replicas of the group
	SessionTimeout time.Duration // after which a dead replica is replaced; 10 s
	// Report, where set, is told how each contact with the group went: nil, or why there was none.
	Report func(health.Subject, error)
}

// Election makes this replica one of a group of which each partition of a topic has one owner; with one partition, one
// is active and the others stand by. It is a consumer group with an assignor of its own (see assign). A partition that
// moves between living replicas has come to rest before its new owner begins: the old one is told to stop in one
// generation of the group, says that it has in its next join, and only that generation gives the partition away
// (KIP-429). What an owner writes is made safe by its Producer's fencing, not by this: for a moment after a network
// split there may be two that think they own a partition.
type Election struct {
	config  ElectionConfig
	log     *zap.Logger
	member  *member
	held    *holdings
	joins   retry.Backoff
	session *session // the last one; nil before the first. Owned by Run's goroutine

	role  atomic.Value // Role
	owned atomic.Value // []int32
}

// session is the time for which this replica may take itself for a member. Its context ends when the coordinator was
// not heard for a session timeout, and all leads with it.
type session struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	until  time.Time
}

var (
	errOwnershipLost = errors.New("another replica takes over")
	errSessionLost   = errors.New("no response from the group coordinator within the session timeout")
)

// NewElection returns an election; Run takes part in it.
func (c *Cluster) NewElection(config ElectionConfig) *Election {
	if config.SessionTimeout == 0 {
		config.SessionTimeout = defaultSessionTimeout
	}
	config.Partitions = max(config.Partitions, 1)
	log := c.log.With(zap.String("group", config.GroupID))
	e := &Election{
		config: config,
		log:    log,
		member: newMember(c, config),
		held:   newHoldings(log, config.SessionTimeout),
		joins:  retry.Backoff{First: firstBackoff, Most: lastBackoff},
	}
	e.role.Store(RoleStarting)
	e.owned.Store([]int32(nil))
	return e
}

// Role returns what this replica is: active where it leads at least one partition. It may be called from another
// goroutine.
func (e *Election) Role() Role { return e.role.Load().(Role) }

// Owned returns the partitions that this replica leads, in order. It may be called from another goroutine.
func (e *Election) Owned() []int32 { return slices.Clone(e.owned.Load().([]int32)) }

// Run takes part until ctx ends, waits for its leads to return and leaves the group, so that other replicas take over
// at once. For each partition that this replica owns it runs lead in a goroutine of its own, whose context ends when
// the partition is lost: taken away, or the coordinator not heard for a session; not by a rebalance in which it stays
// here. When lead returns by itself its partition is given back, others are preferred as far as evenness allows, and it
// is led here again after a pause that grows while it fails. An unreachable broker never ends Run.
func (e *Election) Run(ctx context.Context, lead func(ctx context.Context, partition int32) error) error {
	defer e.member.close()
	e.held.lead = lead
	e.member.heard = func() { e.prolong(ctx) }
	for ctx.Err() == nil {
		err := e.takePart(ctx)
		if ctx.Err() != nil {
			break
		}
		e.contact(err)
		pause := e.joins.Next()
		e.log.Warn("election interrupted", zap.Error(err), zap.Duration("pause", pause))
		_ = retry.Sleep(ctx, pause)
	}
	e.held.stop(context.Cause(ctx))
	e.publish(nil)
	if e.session != nil {
		e.session.timer.Stop()
	}
	e.member.leave()
	return nil
}

// takePart joins, keeps the membership alive and starts or ends leads as the assignment says. It returns when something
// failed; the leads go on as long as the session may still be alive.
func (e *Election) takePart(ctx context.Context) error {
	for {
		given, err := e.member.join(ctx, e.held.standing(e.config.Name))
		if err != nil {
			return e.failed(fmt.Errorf("join: %w", err))
		}
		e.heard()
		e.held.take(e.member.generation, given)
		if err := e.beat(ctx); err != nil {
			return e.failed(err)
		}
	}
}

// failed ends the leads where the error says that the membership is gone.
func (e *Election) failed(err error) error {
	if errors.Is(err, errEvicted) {
		e.held.lose(err)
		e.publish(nil)
	}
	return err
}

// beat tends the leads and sends heartbeats until it is time to join again (nil) or something failed.
func (e *Election) beat(ctx context.Context) error {
	ticker := time.NewTicker(e.member.heartbeat)
	defer ticker.Stop()
	for {
		news := e.held.tend(e.session.context())
		e.publish(e.held.led())
		if news {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.held.changed:
			continue
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

// heard is called when the group was reached.
func (e *Election) heard() {
	e.joins.Reset()
	e.contact(nil)
}

// prolong puts off the end of the session. One that has ended is followed by another.
func (e *Election) prolong(ctx context.Context) {
	if e.session == nil || !e.session.prolong(e.config.SessionTimeout) {
		e.session = newSession(ctx, e.config.SessionTimeout)
	}
}

func newSession(ctx context.Context, d time.Duration) *session {
	ctx, cancel := context.WithCancelCause(ctx)
	return &session{
		ctx: ctx, cancel: cancel, until: time.Now().Add(d),
		timer: time.AfterFunc(d, func() { cancel(errSessionLost) }),
	}
}

// prolong reports false where the session has ended.
func (s *session) prolong(d time.Duration) bool {
	if !s.timer.Stop() || time.Now().After(s.until) {
		s.cancel(errSessionLost)
		return false
	}
	s.until = time.Now().Add(d)
	s.timer.Reset(d)
	return true
}

// context returns the context of the session's leads, which has ended when its time is over: after a freeze the timer
// may be late.
func (s *session) context() context.Context {
	if time.Now().After(s.until) {
		s.cancel(errSessionLost)
	}
	return s.ctx
}

func (e *Election) contact(err error) {
	if e.config.Report != nil {
		e.config.Report(GroupSubject(e.config.GroupID), err)
	}
}

// publish says what is led now.
func (e *Election) publish(led []int32) {
	if !slices.Equal(e.owned.Swap(led).([]int32), led) {
		e.log.Info("partitions", zap.Int32s("owned", led))
	}
	role := RoleStandby
	if len(led) > 0 {
		role = RoleActive
	}
	if e.role.Swap(role) != role {
		e.log.Info("role", zap.String("role", string(role)))
	}
}

// GroupSubject is what fails while a replica cannot take part in its group.
func GroupSubject(group string) health.Subject {
	return health.Subject{Kind: health.Kafka, Op: "replica group", Of: group}
}
