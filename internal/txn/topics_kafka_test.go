//go:build kafka || matrix

package txn

import (
	"testing"
	"time"
)

// testTopics makes the topics of the tests on a real cluster.
func testTopics(t testing.TB, brokers []string) {
	t.Helper()
	_, err := dialBrokers(t, brokers).EnsureTopics(within(t, 30*time.Second), []TopicSpec{
		{Name: topicLog, Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}, RequireCompacted: true, RequirePartitions: true},
		{Name: topicWide, Partitions: partitions, Configs: map[string]string{
			"max.message.bytes": "2000000", "retention.ms": "-1", // the records are older than the default of 7 days
		}},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
}
