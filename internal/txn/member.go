package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"

	"genesys-audit-connector/internal/retry"
)

const (
	protocolType = "consumer"       // so that Kafka's own tools can describe the group
	protocolName = "active-standby" // the assignment below
)

const (
	noClaim  int32 = 0
	resigned int32 = -1 // it had the partition and gave it back: anyone else is to be preferred
)

// errEvicted: the coordinator no longer knows this member; another one may be the owner.
var errEvicted = errors.New("no longer a member of the group")

// member is a membership in a consumer group with one topic of one partition. kafka-go's ConsumerGroup is not used: it
// leaves the group and waits at every refusal while a coordinator moves, cannot be interrupted while it joins, and
// ends its generation, thus the leadership, at every rebalance.
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
	claim       int32 // to the partition: the last generation in which it was this member's, noClaim, or resigned
}

func newMember(c *Cluster, config ElectionConfig) *member {
	return &member{
		cluster:   c,
		conns:     newConns(c, 1),
		config:    config,
		heartbeat: min(maxHeartbeat, config.SessionTimeout/10),
		patience:  max(config.SessionTimeout/4, 500*time.Millisecond),
		rebalance: config.SessionTimeout / 2, // shorter than a session, or waiting for a dead member would end a leadership
	}
}

func (m *member) close() { m.conns.close() }

// join takes part in the group's next generation and returns whether this member owns the partition in it.
func (m *member) join(ctx context.Context, owner bool) (bool, error) {
	if !owner {
		m.claim = min(m.claim, noClaim)
	}
	var owns bool
	passes := func(err error) bool {
		return errors.Is(err, kafka.MemberIDRequired) || errors.Is(err, kafka.RebalanceInProgress)
	}
	err := retry.Do(ctx, retry.Backoff{First: 10 * time.Millisecond, Most: time.Second}, passes, nil, func() error {
		joined, err := m.joinOnce(ctx)
		if err != nil {
			return err
		}
		m.id, m.generation = joined.MemberID, joined.GenerationID
		if code := kafka.Error(joined.ErrorCode); code == kafka.MemberIDRequired {
			return code // KIP-394: join again with the id just given
		}
		if owns, err = m.sync(ctx, joined); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if owns {
		m.claim = m.generation
	}
	return owns, nil
}

func (m *member) joinOnce(ctx context.Context) (*joingroup.Response, error) {
	metadata, err := subscription(m.config.Topic, m.claim, m.config.Name)
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
		Protocols:          []joingroup.RequestProtocol{{Name: protocolName, Metadata: metadata}},
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

// sync hands the assignment in, where this member is to make it, and returns whether this member owns the partition.
func (m *member) sync(ctx context.Context, joined *joingroup.Response) (bool, error) {
	req := &syncgroup.Request{
		GroupID: m.config.GroupID, GenerationID: m.generation, MemberID: m.id,
		ProtocolType: protocolType, ProtocolName: protocolName,
	}
	if joined.LeaderID == m.id {
		owner := assign(joined.Members)
		for _, other := range joined.Members {
			a := consumer.Assignment{Version: consumer.MaxVersionSupported}
			if other.MemberID == owner {
				a.AssignedPartitions = []consumer.TopicPartition{{Topic: m.config.Topic, Partitions: []int32{0}}}
			}
			encoded, err := protocol.Marshal(consumer.MaxVersionSupported, a)
			if err != nil {
				return false, err
			}
			req.Assignments = append(req.Assignments, syncgroup.RequestAssignment{MemberID: other.MemberID, Assignment: encoded})
		}
	}
	res, err := m.ask(ctx, m.rebalance+m.patience, req)
	if err != nil {
		return false, err
	}
	synced := res.(*syncgroup.Response)
	if err := m.refused(synced.ErrorCode); err != nil {
		return false, err
	}
	if len(synced.Assignments) == 0 {
		return false, nil
	}
	var mine consumer.Assignment
	if err := protocol.Unmarshal(synced.Assignments, consumer.MaxVersionSupported, &mine); err != nil {
		return false, fmt.Errorf("assignment: %w", err)
	}
	return len(mine.AssignedPartitions) > 0, nil
}

// assign chooses the owner: the member with the latest claim, else the first by id. A zombie that claims an older
// generation than another member has had its turn.
func assign(members []joingroup.ResponseMember) string {
	claim := func(m joingroup.ResponseMember) int32 {
		c, _ := readUserData(m.Metadata)
		return c
	}
	return slices.MinFunc(members, func(a, b joingroup.ResponseMember) int {
		return cmp.Or(cmp.Compare(claim(b), claim(a)), cmp.Compare(a.MemberID, b.MemberID))
	}).MemberID
}

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
	m.id, m.claim = "", resigned
}

// ask sends a request to the group's coordinator. All of them may be sent twice.
func (m *member) ask(ctx context.Context, timeout time.Duration, req protocol.Message) (protocol.Message, error) {
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
	if err != nil {
		m.coordinator = ""
	}
	return res, err
}

// refused returns the error for a code, and forgets what the code says is no longer so.
func (m *member) refused(code int16) error {
	switch kafka.Error(code) {
	case 0:
		return nil
	case kafka.RebalanceInProgress:
		return kafka.RebalanceInProgress
	case kafka.NotCoordinatorForGroup, kafka.GroupCoordinatorNotAvailable:
		m.coordinator = ""
	case kafka.UnknownMemberId, kafka.IllegalGeneration, kafka.FencedInstanceID:
		m.id, m.claim = "", noClaim
		return fmt.Errorf("%w: %w", errEvicted, kafka.Error(code))
	}
	return codeError(kafka.Error(code), "Read", "group "+m.config.GroupID)
}
