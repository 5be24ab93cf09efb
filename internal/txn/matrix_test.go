//go:build matrix

package txn

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"genesys-audit-connector/internal/kafkatest"
)

// TestTransactionsOnEveryKafka is what transactions promise, on each release that users have.
func TestTransactionsOnEveryKafka(t *testing.T) {
	for _, version := range kafkatest.Versions() {
		t.Run(version, func(t *testing.T) {
			kafka := kafkatest.Start(t, kafkatest.Options{Version: version, Proxy: true})
			testTopics(t, kafka.Brokers())
			t.Run("Codecs", func(t *testing.T) { testCodecs(t, kafka.Brokers()) })
			t.Run("Cut", func(t *testing.T) { testCutCommits(t, kafka.Brokers(), kafka.Proxy) })
			t.Run("AbortOfRefused", func(t *testing.T) { testAbortOfRefused(t, kafka.Brokers()) })
			t.Run("Fencing", func(t *testing.T) { testFencing(t, kafka.Brokers()) })
			t.Run("DelayedEndTxn", func(t *testing.T) { testDelayedEndTxn(t, kafka.Brokers(), kafka.Proxy) })
			t.Run("AbortedBatchIsNoDuplicate", func(t *testing.T) {
				testAbortedBatchIsNoDuplicate(t, kafka.Brokers(), kafka.Proxy, kerr.NotEnoughReplicasAfterAppend)
			})
			t.Run("ReaderAgreesWithFranz", func(t *testing.T) { testReaderAgrees(t, kafka.Brokers()) })
		})
	}
}
