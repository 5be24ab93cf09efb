//go:build kafka

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"genesys-audit-connector/internal/doctor"
	"genesys-audit-connector/internal/kafkatest"
)

// TestClusterThatAllowsLess: on Kafka with a policy for topics that refuses records of this
// size, retention without an end and topics that are only compacted, the check says so before,
// and the connector takes what it gets, says so in one warning a topic, publishes, and starts
// again on the topics it made. Its quota is named by the check.
func TestClusterThatAllowsLess(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{
		Java:       []string{"testdata/policy/LimitsPolicy.java"},
		Properties: map[string]string{"create.topic.policy.class.name": "LimitsPolicy"},
	})
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, kafka.Brokers(), o)
	for _, name := range []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES", "KAFKA_TOPIC_OFFSETS"} {
		s.env[name] = "limited." + s.env[name]
	}
	shortfalls := map[string][]string{
		"topic raw":     {"max.message.bytes=8388608 was asked for and is 2097164", "retention.ms=-1 was asked for and is 3153600000000"},
		"topic changes": {"max.message.bytes=8388608 was asked for and is 2097164", "retention.ms=-1 was asked for and is 3153600000000"},
		"topic offsets": {"max.message.bytes=8388608 was asked for and is 2097164"},
	}
	report, err := s.checks(nil)
	if err != nil {
		t.Errorf("%v: %+v", err, report.notOK())
	}
	for name, want := range shortfalls {
		c := report.notOK()[name]
		for _, text := range want {
			if c.Status != doctor.Warning || !strings.Contains(c.Detail, text) || !strings.Contains(c.Hint, "kafka-topics --create") {
				t.Errorf("%s: %+v does not say %s", name, c, text)
			}
		}
	}

	for range 2 {
		c := s.spawn("run")
		s.world.Org.Emit(20)
		s.published(60 * time.Second)
		if err := c.end(syscall.SIGTERM); err != nil {
			t.Errorf("%v\n%s", err, tailOf(c.out.String()))
		}
		out := c.out.String()
		if n := strings.Count(out, "the cluster does not allow the topic as it was asked for"); n != len(shortfalls) {
			t.Errorf("%d such warnings, not %d:\n%s", n, len(shortfalls), tailOf(out))
		}
		for name, want := range shortfalls {
			for _, text := range want {
				if !strings.Contains(out, text) {
					t.Errorf("%s: the log does not say %s:\n%s", name, text, tailOf(out))
				}
			}
		}
		shortfalls = nil // the next one finds topics that are there
	}
	admin := s.admin()
	limited := map[string]string{"cleanup.policy": "delete", "retention.ms": "3153600000000", "retention.bytes": "-1", "max.message.bytes": "2097164"}
	expectTopic(t, admin, s.env["KAFKA_TOPIC_RAW"], 3, limited)
	expectTopic(t, admin, s.env["KAFKA_TOPIC_CHANGES"], 3, limited)
	expectTopic(t, admin, s.env["KAFKA_TOPIC_OFFSETS"], 1, map[string]string{
		"cleanup.policy": "compact,delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "2097164",
	})

	client := "genesys-audit-connector"
	quota := kadm.AlterClientQuotaEntry{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &client}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 100000}},
	}
	if altered, err := admin.AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{quota}); err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	s.awaited(20*time.Second, "the quota is named", func() bool {
		report, _ := s.checks(nil)
		c := report.notOK()["quotas"]
		return strings.Contains(c.Detail, "producer_byte_rate is 100000") && strings.Contains(c.Hint, "--entity-name genesys-audit-connector --delete-config producer_byte_rate")
	})
}
