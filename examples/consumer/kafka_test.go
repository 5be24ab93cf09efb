//go:build kafka

package consumer

import (
	"testing"

	"genesys-audit-connector/examples/consumer/consumertest"
	"genesys-audit-connector/internal/kafkatest"
)

// TestKafka does on real Apache Kafka what the other tests do on the embedded broker.
func TestKafka(t *testing.T) {
	brokers := kafkatest.Start(t, kafkatest.Options{}).Brokers()
	t.Run("delivers what is committed", func(t *testing.T) {
		testDeliversWhatIsCommitted(t, consumertest.On(t, brokers, "committed.changes", nil))
	})
	t.Run("rebalance", func(t *testing.T) {
		testRebalance(t, consumertest.On(t, brokers, "rebalance.changes", nil))
	})
}
