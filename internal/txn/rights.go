package txn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/heartbeat"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// Everything in this file asks whether something may be done and does not do it, so that nobody is disturbed who works
// under the same names at that moment. Where Kafka has no question for it, the request is one that must be refused,
// for it names a producer or a member that nobody is; Kafka looks at the rights before it looks at that
// (KafkaApis.scala), so the refusal tells of them.

// Operation is what may be done with a resource, as kafka-acls spells it.
type Operation string

// The operations that a topic may want.
const (
	OpRead            Operation = "Read"
	OpWrite           Operation = "Write"
	OpDescribeConfigs Operation = "DescribeConfigs"
)

// operationBits are the places of operations in the bit field of KIP-430: AclOperation.code.
var operationBits = map[Operation]int{OpRead: 3, OpWrite: 4, OpDescribeConfigs: 10}

// Rights are the operations that this client may do.
type Rights int32

// rightsUntold is what stands for "not told" in the protocol.
const rightsUntold Rights = math.MinInt32

// Told reports whether the broker says what may be done.
func (r Rights) Told() bool { return r != rightsUntold }

// Allow reports whether an operation may be done.
func (r Rights) Allow(o Operation) bool { return r&(1<<operationBits[o]) != 0 }

// TopicRights returns whether a topic exists, and what this client may do with it, also where it does not exist. Of a
// topic that may not even be described, Kafka does not tell whether it exists: that is (false, 0).
func (c *Cluster) TopicRights(ctx context.Context, topic string) (exists bool, rights Rights, err error) {
	err = retryPassing(ctx, func() error {
		res, err := c.ask(ctx, &metadata.Request{TopicNames: []string{topic}, IncludeTopicAuthorizedOperations: true})
		if err != nil {
			return fmt.Errorf("metadata: %w", err)
		}
		topics := res.(*metadata.Response).Topics
		if len(topics) != 1 {
			return fmt.Errorf("%w: metadata: answer for %d topics", ErrRetry, len(topics))
		}
		switch code := kafka.Error(topics[0].ErrorCode); code {
		case 0:
			exists, rights = true, Rights(topics[0].TopicAuthorizedOperations)
		case kafka.UnknownTopicOrPartition:
			rights = Rights(topics[0].TopicAuthorizedOperations)
		case kafka.TopicAuthorizationFailed:
		default:
			return codeError(code, "Describe", "topic "+topic)
		}
		return nil
	})
	if err != nil {
		return false, 0, fmt.Errorf("rights on topic %s: %w", topic, err)
	}
	return exists, rights, nil
}

// MayCreate returns nil where the topic could be created now, and what it would have less of
// than it is specified.
func (c *Cluster) MayCreate(ctx context.Context, spec TopicSpec) ([]Shortfall, error) {
	layout, err := c.refresh(ctx)
	if err != nil {
		return nil, err
	}
	asked := spec.durable(len(layout.Brokers))
	got, err := c.negotiate(ctx, asked, true)
	if err != nil {
		return nil, err
	}
	t := Topic{made: got}
	return shortfalls(asked, t.values(nil)), nil
}

const (
	nobodysProducer int64 = math.MaxInt64 // producer ids are given out from 0 on, in blocks of 1,000
	nobodysMember         = "examination"
)

// errAccepted: a request that names nobody was taken, so that its answer tells nothing.
var errAccepted = errors.New("the broker takes requests of a producer or member that does not exist")

// MayTransact returns nil where this client may write under a transactional id (Write), ErrUnauthorized where it may
// not. The topic is one that transactions would write to; neither it nor a right on it needs to be there.
//
// It does not call InitProducerID, which would fence whoever works under the id. It adds a partition to the transaction
// of a producer that is not the id's: INVALID_PRODUCER_ID_MAPPING, and nothing is changed
// (TransactionCoordinator.handleAddPartitionsToTransaction).
func (c *Cluster) MayTransact(ctx context.Context, transactionalID, topic string) error {
	resource := "transactional id " + transactionalID
	req := &addpartitionstotxn.Request{
		TransactionalID: transactionalID, ProducerID: nobodysProducer,
		Topics: []addpartitionstotxn.RequestTopic{{Name: topic, Partitions: []int32{0}}},
	}
	return retryPassing(ctx, func() error {
		addr, err := c.coordinator(ctx, kafka.CoordinatorKeyTypeTransaction, transactionalID)
		if err != nil {
			return err
		}
		res, err := c.askAt(ctx, addr, req)
		if err != nil {
			return unanswered(err)
		}
		results := res.(*addpartitionstotxn.Response).Results
		if len(results) != 1 || len(results[0].Results) != 1 {
			return fmt.Errorf("%w: add partitions: answer for %d topics", ErrRetry, len(results))
		}
		switch code := kafka.Error(results[0].Results[0].ErrorCode); code {
		case kafka.InvalidProducerIDMapping, kafka.TopicAuthorizationFailed, kafka.UnknownTopicOrPartition:
			return nil // refused, after the right on the id was found to be there
		case 0:
			return fmt.Errorf("%s: %w", resource, errAccepted)
		default:
			return codeError(code, "Write", resource)
		}
	})
}

// MayJoin returns nil where this client may be a member of a group (Read), ErrUnauthorized where it may not. It sends a
// heartbeat of a member that the group does not have: UNKNOWN_MEMBER_ID, and the group notices nothing.
func (c *Cluster) MayJoin(ctx context.Context, group string) error {
	return retryPassing(ctx, func() error {
		addr, err := c.coordinator(ctx, kafka.CoordinatorKeyTypeConsumer, group)
		if err != nil {
			return err
		}
		res, err := c.askAt(ctx, addr, &heartbeat.Request{GroupID: group, GenerationID: -1, MemberID: nobodysMember})
		if err != nil {
			return unanswered(err)
		}
		switch code := kafka.Error(heartbeatCode(res.(*heartbeat.Response))); code {
		case kafka.UnknownMemberId, kafka.GroupIdNotFound:
			return nil // refused, after the right was found to be there
		case 0: // so is every heartbeat answered while the group is being loaded (GroupCoordinatorService.heartbeat)
			return fmt.Errorf("%w: group %s: %w", ErrRetry, group, errAccepted)
		default:
			return codeError(code, "Read", "group "+group)
		}
	})
}

// Broker is an address and what stands in the way to whoever should answer there.
type Broker struct {
	Addr       string
	Configured bool // else the cluster says that one of its brokers is there
	Err        error
	Lacks      []error // VersionErrors: the requests that are needed and that it does not serve
}

// Brokers goes to every broker: those of the configuration, and those that the cluster, if it is reached, says it has.
func (c *Cluster) Brokers(ctx context.Context) []Broker {
	brokers, advertised := c.tryBrokers(ctx, c.config.Brokers)
	for i := range brokers {
		brokers[i].Configured = true
	}
	advertised = slices.DeleteFunc(advertised, func(addr string) bool { return slices.Contains(c.config.Brokers, addr) })
	others, _ := c.tryBrokers(ctx, advertised)
	return append(brokers, others...)
}

// tryBrokers asks all addresses at the same time, and returns which brokers they say the cluster has.
func (c *Cluster) tryBrokers(ctx context.Context, addrs []string) (brokers []Broker, advertised []string) {
	brokers, layouts := make([]Broker, len(addrs)), make([]*metadata.Response, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			res, err := c.askAt(ctx, addr, &metadata.Request{TopicNames: []string{}})
			brokers[i] = Broker{Addr: addr, Err: err}
			if err == nil {
				brokers[i].Lacks = c.control.servedBy(addr).lacks()
			}
			layouts[i], _ = res.(*metadata.Response)
		})
	}
	wg.Wait()
	for _, layout := range layouts {
		if layout == nil {
			continue
		}
		for _, b := range layout.Brokers {
			advertised = append(advertised, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
		}
	}
	slices.Sort(advertised)
	return brokers, slices.Compact(advertised)
}
