package txn

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describeclientquotas"
)

// Quota is a limit that brokers set to this client.
type Quota struct {
	Key   string // producer_byte_rate, consumer_byte_rate, request_percentage, …
	Value float64
	// Entity is whom it is set for, as kafka-configs spells it.
	Entity string
}

// Cure is the command that takes the quota away.
func (q Quota) Cure() string {
	return fmt.Sprintf("kafka-configs --alter %s --delete-config %s", q.Entity, q.Key)
}

// quotaKeys are the limits that may slow this client down.
var quotaKeys = []string{"producer_byte_rate", "consumer_byte_rate", "request_percentage"}

// Quotas returns the limits that hold for this client as that user, of each kind the one that
// counts. The user is "" where it is not known; quotas of users by name are then left out.
// It needs DescribeConfigs on the cluster, and is ErrUnauthorized without.
func (c *Cluster) Quotas(ctx context.Context, user string) ([]Quota, error) {
	var entries []describeclientquotas.ResponseQuotas
	err := retryPassing(ctx, func() error {
		res, err := c.ask(ctx, &describeclientquotas.Request{}) // no component: every quota
		if err != nil {
			return err
		}
		answer := res.(*describeclientquotas.Response)
		if code := kafka.Error(answer.ErrorCode); code != 0 {
			return codeError(code, "DescribeConfigs", "the cluster")
		}
		entries = answer.Entries
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("client quotas: %w", err)
	}
	var all []Quota
	for _, key := range quotaKeys {
		best := 0
		var quota Quota
		for _, e := range entries {
			rank, entity := c.applies(e.Entities, user)
			i := slices.IndexFunc(e.Values, func(v describeclientquotas.Value) bool { return v.Key == key })
			if i >= 0 && rank > best {
				best, quota = rank, Quota{key, e.Values[i].Value, entity}
			}
		}
		if best > 0 {
			all = append(all, quota)
		}
	}
	return all, nil
}

// applies returns 0 where a quota is another's, else its precedence: that of a user with a
// client counts most, of either a name more than the default, of the user's part more than the
// client's. https://kafka.apache.org/documentation/#design_quotasconfig
func (c *Cluster) applies(entities []describeclientquotas.Entity, user string) (rank int, entity string) {
	var names []string
	for _, e := range entities {
		own, weight := "", 0
		switch e.EntityType {
		case "user":
			own, weight = user, 9
		case "client-id":
			own, weight = c.config.ClientID, 1
		default: // of an address
			return 0, ""
		}
		switch e.EntityName {
		case "": // null: the default
			rank += weight
		case own:
			rank += 2 * weight
		default:
			return 0, ""
		}
		kind := map[string]string{"user": "users", "client-id": "clients"}[e.EntityType]
		if e.EntityName == "" {
			names = append(names, "--entity-type "+kind+" --entity-default")
		} else {
			names = append(names, "--entity-type "+kind+" --entity-name "+e.EntityName)
		}
	}
	return rank, strings.Join(names, " ")
}
