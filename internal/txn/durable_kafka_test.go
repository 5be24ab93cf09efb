//go:build kafka

package txn

import (
	"testing"
	"time"

	"genesys-audit-connector/internal/kafkatest"
)

// TestTopicMadeWhileABrokerIsDownIsDurable: a topic keeps the replication factor that it was
// made with, so one of three brokers that is down that day must not decide it.
func TestTopicMadeWhileABrokerIsDownIsDurable(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{Nodes: 3, Properties: map[string]string{"default.replication.factor": "1", "min.insync.replicas": "1"}})
	c := dialBrokers(t, kafka.Brokers())
	kafka.Stop(2)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		layout, err := c.refresh(within(t, 20*time.Second))
		if err == nil && len(layout.Brokers) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster still has %+v, %v", layout, err)
		}
	}
	topics, err := c.EnsureTopics(within(t, 60*time.Second), []TopicSpec{{Name: "made", Partitions: 2, Configs: forever("1000000")}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if made := topics[0]; made.ReplicationFactor != 3 || made.MinInsync != 2 || len(made.Shortfalls) > 0 {
		t.Errorf("%+v", made)
	}
}
