package txn

import (
	"fmt"
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
			alter + configMinInsync + "=" + durableInsync,
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

// reassign is how the topic gets more replicas: Kafka has no shorter way.
func (t Topic) reassign() string {
	replicas := make([]string, min(t.Brokers, durableReplicas))
	for i := range replicas {
		replicas[i] = fmt.Sprintf("BROKER-%d", i+1)
	}
	return fmt.Sprintf(`kafka-reassign-partitions --execute --reassignment-json-file FILE, with {"topic":%q,"partition":N,"replicas":[%s]} in "partitions" for each N from 0 to %d`,
		t.Name, strings.Join(replicas, ","), t.Partitions-1)
}
