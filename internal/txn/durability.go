package txn

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Weakness is what may cost records of a topic, or stop them, though it works today.
type Weakness struct {
	Fault string
	Cure  string // a command, as an operator of the cluster would give it
}

func (w Weakness) String() string { return w.Fault }

// clockSlack is by how much clocks may differ that nobody looks after. A limit below it stops
// all writing one day.
const clockSlack = time.Hour

// Weaknesses returns what of a topic's configuration makes it less durable than the cluster
// could have it. What may not be read is not named.
func (t Topic) Weaknesses() []Weakness {
	var all []Weakness
	alter := "kafka-configs --alter --topic " + t.Name + " --add-config "
	if t.ReplicationFactor == 1 && t.Brokers > 1 {
		all = append(all, Weakness{
			"has replication factor 1: what it holds is lost with one broker",
			t.reassign(),
		})
	}
	if t.ReplicationFactor >= 2 && t.MinInsync == 1 {
		all = append(all, Weakness{
			"has min.insync.replicas=1: a record may be acknowledged while one broker alone has it, and be lost with that",
			t.raiseInsync(alter + configMinInsync + "=" + durableInsync),
		})
	}
	if 0 < t.ReplicationFactor && t.ReplicationFactor < t.MinInsync {
		// Newer brokers take the smaller of both (Partition.effectiveMinIsr: 3.9.1 has it, 3.3.2 not).
		all = append(all, Weakness{
			fmt.Sprintf("has min.insync.replicas=%d and replication factor %d: older brokers, those of Kafka 3.3 among them, take no record for it", t.MinInsync, t.ReplicationFactor),
			alter + configMinInsync + "=" + strconv.Itoa(t.ReplicationFactor),
		})
	}
	if t.UncleanElection {
		all = append(all, Weakness{
			"has " + configUnclean + "=true: a broker that lacks acknowledged records may come to lead, and they are lost",
			alter + configUnclean + "=false",
		})
	}
	if strings.Contains(t.CleanupPolicy, "delete") && t.RetentionBytes > 0 {
		all = append(all, Weakness{
			fmt.Sprintf("deletes its oldest records beyond %d bytes a partition (%s)", t.RetentionBytes, configRetentionBytes),
			alter + configRetentionBytes + "=-1",
		})
	}
	for _, limit := range []TimeLimit{t.OldestRecord, t.NewestRecord} {
		if limit.Most > 0 && limit.Most < clockSlack {
			all = append(all, Weakness{
				fmt.Sprintf("refuses records whose time differs by more than %s from a broker's clock (%s)", limit.Most, limit.Config),
				alter + limit.Config + "=3600000, and have all clocks synchronised",
			})
		}
		if limit.Config == configTimestampDifference {
			break // it is both
		}
	}
	return all
}

// raiseInsync is how to have two brokers acknowledge each record: with two replicas, either
// could stop all writing.
func (t Topic) raiseInsync(alter string) string {
	switch {
	case t.ReplicationFactor >= durableReplicas:
		return alter
	case t.Brokers >= durableReplicas:
		return t.reassign() + "; then " + alter
	}
	return alter + ", and then one broker that is down stops all writing until it is back"
}

// reassign is how the topic gets more replicas: Kafka has no shorter way.
func (t Topic) reassign() string {
	replicas := make([]string, min(t.Brokers, durableReplicas))
	for i := range replicas {
		replicas[i] = fmt.Sprintf("BROKER-%d", i+1)
	}
	return fmt.Sprintf(`kafka-reassign-partitions --execute --reassignment-json-file FILE, with {"topic":%q,"partition":N,"replicas":[%s]} in "partitions" for each N from 0 to %d`,
		t.Name, strings.Join(replicas, ","), t.Partitions-1)
}
