package txn

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
	"github.com/segmentio/kafka-go/protocol/describegroups"
)

// Member is one replica of an election's group.
type Member struct {
	Name   string // as its ElectionConfig has it
	Active bool   // whether it owns the partition
}

// GroupMembers are the members that a consumer group has now, in no order, those among them that are about to be
// declared dead. A group that does not exist has none. While the group rebalances none may be active.
func (c *Cluster) GroupMembers(ctx context.Context, group string) ([]Member, error) {
	var members []Member
	err := retryPassing(ctx, func() error {
		addr, err := c.coordinator(ctx, kafka.CoordinatorKeyTypeConsumer, group)
		if err != nil {
			return err
		}
		answer, err := c.askAt(ctx, addr, &describegroups.Request{Groups: []string{group}})
		if err != nil {
			return unanswered(err)
		}
		members = nil
		for _, g := range answer.(*describegroups.Response).Groups {
			if code := kafka.Error(g.ErrorCode); code != 0 && code != kafka.GroupIdNotFound {
				return codeError(code, "Describe", "group "+group)
			}
			for _, m := range g.Members {
				_, name := readUserData(m.MemberMetadata)
				members = append(members, Member{Name: name, Active: owns(m.MemberAssignment)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	return members, nil
}

// subscription is what a member says of itself when it joins: in the user data its claim, then its name.
func subscription(topic string, claim int32, name string) ([]byte, error) {
	return protocol.Marshal(consumer.MaxVersionSupported, consumer.Subscription{
		Version:  consumer.MaxVersionSupported,
		Topics:   []string{topic},
		UserData: append(binary.BigEndian.AppendUint32(nil, uint32(claim)), name...),
	})
}

// readUserData is noClaim and no name for a member that is not one of ours.
func readUserData(metadata []byte) (claim int32, name string) {
	var s consumer.Subscription
	if err := protocol.Unmarshal(metadata, consumer.MaxVersionSupported, &s); err != nil || len(s.UserData) < 4 {
		return noClaim, ""
	}
	return int32(binary.BigEndian.Uint32(s.UserData)), string(s.UserData[4:])
}

// owns reports whether an assignment holds the partition. A member that waits for one has none.
func owns(assignment []byte) bool {
	var a consumer.Assignment
	return len(assignment) > 0 && protocol.Unmarshal(assignment, consumer.MaxVersionSupported, &a) == nil && len(a.AssignedPartitions) > 0
}
