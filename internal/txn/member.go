package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"

	"genesys-audit-connector/internal/retry"
)

const protocolType = "consumer" // so that Kafka's own tools can describe the group

// errEvicted: the coordinator no longer knows this member; others may own its partitions.
var errEvicted = errors.New("no longer a member of the group")

// errLate: this process was frozen meanwhile. What the answer says may long be otherwise.
var errLate = errors.New("response read after its time")

// member is a membership in a consumer group with one topic. kafka-go's ConsumerGroup is not used: it
// leaves the group and waits at every refusal while a coordinator moves, cannot be interrupted while it joins, and
// ends its generation, thus all leads, at every rebalance.
type member struct {
	cluster   *Cluster
	conns     *conns
	config    ElectionConfig
	heartbeat time.Duration
	rebalance time.Duration // how long the others are waited for
	patience  time.Duration // for an answer

	coordinator string // address; empty when to be found
	id          string
	generation  int32
	heard       func() // called when the coordinator has answered this member
}

func newMember(c *Cluster, config ElectionConfig) *member {
	return &member{
		cluster:   c,
		conns:     newConns(c, 1),
		config:    config,
		heartbeat: min(maxHeartbeat, config.SessionTimeout/10),
		heard:     func() {},
		patience:  max(config.SessionTimeout/4, 500*time.Millisecond),
		rebalance: config.SessionTimeout / 2, // shorter than a session, or waiting for a dead member would end the leads
	}
}

func (m *member) close() { m.conns.close() }

// join takes part in the group's next generation and returns the partitions that are this member's in it.
func (m *member) join(ctx context.Context, s standing) ([]int32, error) {
	var given []int32
	passes := func(err error) bool {
		return errors.Is(err, kafka.MemberIDRequired) || errors.Is(err, kafka.RebalanceInProgress)
	}
	err := retry.Do(ctx, retry.Backoff{First: 10 * time.Millisecond, Most: time.Second}, passes, nil, func() error {
		joined, err := m.joinOnce(ctx, s)
		if err != nil {
			return err
		}
		m.id, m.generation = joined.MemberID, joined.GenerationID
		if code := kafka.Error(joined.ErrorCode); code == kafka.MemberIDRequired {
			return code // KIP-394: join again with the id just given
		}
		if given, err = m.sync(ctx, joined); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		return nil
	})
	return given, err
}

func (m *member) joinOnce(ctx context.Context, s standing) (*joingroup.Response, error) {
	metadata, err := subscription(m.config.Topic, m.config.Partitions, s)
	if err != nil {
		return nil, err
	}
	// The coordinator answers when all members have joined, or m.rebalance has passed.
	res, err := m.ask(ctx, m.rebalance+m.patience, &joingroup.Request{
		GroupID:            m.config.GroupID,
		MemberID:           m.id,
		SessionTimeoutMS:   int32(m.config.SessionTimeout.Milliseconds()),
		RebalanceTimeoutMS: int32(m.rebalance.Milliseconds()),
		ProtocolType:       protocolType,
		Protocols:          []joingroup.RequestProtocol{{Name: m.protocol(), Metadata: metadata}},
	})
	if err != nil {
		return nil, err
	}
	joined := res.(*joingroup.Response)
	if kafka.Error(joined.ErrorCode) == kafka.MemberIDRequired {
		return joined, nil
	}
	return joined, m.refused(joined.ErrorCode)
}

// sync hands the assignment in, where this member is to make it, and returns the partitions that are this member's.
func (m *member) sync(ctx context.Context, joined *joingroup.Response) ([]int32, error) {
	req := &syncgroup.Request{
		GroupID: m.config.GroupID, GenerationID: m.generation, MemberID: m.id,
		ProtocolType: protocolType, ProtocolName: m.protocol(),
	}
	if joined.LeaderID == m.id {
		candidates := make([]candidate, len(joined.Members))
		for i, other := range joined.Members {
			candidates[i] = candidate{other.MemberID, readSubscription(m.protocol(), other.Metadata)}
		}
		for i, given := range assign(m.config.Partitions, candidates) {
			encoded, err := assignment(m.config.Topic, given)
			if err != nil {
				return nil, err
			}
			req.Assignments = append(req.Assignments, syncgroup.RequestAssignment{MemberID: candidates[i].id, Assignment: encoded})
		}
	}
	res, err := m.ask(ctx, m.rebalance+m.patience, req)
	if err != nil {
		return nil, err
	}
	synced := res.(*syncgroup.Response)
	if err := m.refused(synced.ErrorCode); err != nil {
		return nil, err
	}
	return readAssignment(synced.Assignments)
}

func (m *member) protocol() string { return protocolFor(m.config.Partitions) }

// beat sends a heartbeat and returns whether the group is rebalancing, so that this member must join again.
func (m *member) beat(ctx context.Context) (bool, error) {
	res, err := m.ask(ctx, m.patience, &heartbeat.Request{
		GroupID: m.config.GroupID, GenerationID: m.generation, MemberID: m.id,
	})
	if err != nil {
		return false, err
	}
	err = m.refused(heartbeatCode(res.(*heartbeat.Response)))
	if errors.Is(err, kafka.RebalanceInProgress) {
		return true, nil
	}
	return false, err
}

// heartbeatCode is the error code of an answer. From version 1 on the throttle time comes first on the wire; kafka-go
// 0.4.51 reads the code first, which leaves it in the low half of what it takes for the throttle time. (Its LeaveGroup
// has the same fault, of no effect here.)
func heartbeatCode(res *heartbeat.Response) int16 { return int16(res.ThrottleTimeMs) }

// leave gives the membership up, so that the others need not wait for the session to end. Best effort.
func (m *member) leave() {
	if m.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.patience)
	defer cancel()
	_, _ = m.ask(ctx, m.patience, &leavegroup.Request{
		GroupID: m.config.GroupID, Members: []leavegroup.RequestMember{{MemberID: m.id}},
	})
	m.id = ""
}

// ask sends a request to the group's coordinator. All of them may be sent twice.
func (m *member) ask(ctx context.Context, timeout time.Duration, req protocol.Message) (protocol.Message, error) {
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if m.coordinator == "" {
		addr, err := m.cluster.coordinator(ctx, kafka.CoordinatorKeyTypeConsumer, m.config.GroupID)
		if err != nil {
			return nil, err
		}
		m.coordinator = addr
	}
	res, err := m.conns.roundTrip(ctx, m.coordinator, req)
	if err == nil && time.Since(sent) > timeout {
		err = errLate
	}
	if err != nil {
		m.coordinator = ""
	}
	return res, err
}

// refused returns the error for a code, and forgets what the code says is no longer so.
func (m *member) refused(code int16) error {
	switch kafka.Error(code) {
	case 0:
		m.heard()
		return nil
	case kafka.RebalanceInProgress:
		m.heard()
		return kafka.RebalanceInProgress
	case kafka.NotCoordinatorForGroup, kafka.GroupCoordinatorNotAvailable:
		m.coordinator = ""
	case kafka.UnknownMemberId, kafka.IllegalGeneration, kafka.FencedInstanceID:
		m.id = ""
		return fmt.Errorf("%w: %w", errEvicted, kafka.Error(code))
	case kafka.InconsistentGroupProtocol:
		return fmt.Errorf("group %s has members that share another number of partitions; stop them before this one can join: %w",
			m.config.GroupID, kafka.Error(code))
	}
	return codeError(kafka.Error(code), "Read", "group "+m.config.GroupID)
}
