package txn

import (
	"context"
	"fmt"
	"slices"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describegroups"
)

// Member is one replica of an election's group.
type Member struct {
	Name       string  // as its ElectionConfig has it
	Active     bool    // whether it owns a partition
	Partitions []int32 // that it owns, in order
}

// GroupMembers are the members that a consumer group has now, in no order, those among them that are about to be
// declared dead. A group that does not exist has none. While the group rebalances they may have neither names nor
// partitions.
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
				owned, _ := readAssignment(m.MemberAssignment) // a member that is not one of ours has none
				slices.Sort(owned)
				name := readSubscription(g.ProtocolData, m.MemberMetadata).name
				members = append(members, Member{Name: name, Active: len(owned) > 0, Partitions: owned})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	return members, nil
}
