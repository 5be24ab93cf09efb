//go:build kafka

package main

import (
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/kafkatest"
)

// testTopics: topics that are missing are created as CONTRACT wants them, and
// those that are there are judged before anything is written.
func testTopics(t *testing.T, kafka *kafkatest.Cluster) {
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	create := func(t *testing.T, topic string, partitions int32, configs map[string]string) {
		t.Helper()
		pointers := map[string]*string{}
		for k, v := range configs {
			pointers[k] = &v
		}
		if r, err := admin.CreateTopic(t.Context(), partitions, 1, pointers, topic); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	none := func(*testing.T, *scene) {}
	for _, test := range []struct {
		name    string
		prepare func(*testing.T, *scene)
		env     map[string]string
		topic   string // the variable of the one that is named
		words   []string
	}{
		{"offsets not compacted", func(t *testing.T, s *scene) {
			create(t, s.env["KAFKA_TOPIC_OFFSETS"], 1, map[string]string{"cleanup.policy": "delete"})
		}, nil, "KAFKA_TOPIC_OFFSETS", []string{"cleanup.policy=delete", "cleanup.policy=compact"}},
		{"offsets compacted and deleted", func(t *testing.T, s *scene) {
			create(t, s.env["KAFKA_TOPIC_OFFSETS"], 1, map[string]string{"cleanup.policy": "compact,delete"})
		}, nil, "KAFKA_TOPIC_OFFSETS", []string{"cleanup.policy=compact"}},
		{"offsets with three partitions", func(t *testing.T, s *scene) {
			create(t, s.env["KAFKA_TOPIC_OFFSETS"], 3, map[string]string{"cleanup.policy": "compact"})
		}, nil, "KAFKA_TOPIC_OFFSETS", []string{"3 partitions", "exactly 1"}},
		{"event time where records would be deleted", func(t *testing.T, s *scene) {
			create(t, s.env["KAFKA_TOPIC_RAW"], 3, map[string]string{"retention.ms": strconv.Itoa(7 * 24 * 3600 * 1000)})
		}, map[string]string{"KAFKA_RECORD_TIME": "event", "BACKFILL_FROM": "30d"}, "KAFKA_TOPIC_RAW", []string{"KAFKA_RECORD_TIME", "retention.ms"}},
		{"event time where records would be refused", func(t *testing.T, s *scene) {
			create(t, s.env["KAFKA_TOPIC_CHANGES"], 3, map[string]string{"message.timestamp.before.max.ms": strconv.Itoa(7 * 24 * 3600 * 1000)})
		}, map[string]string{"KAFKA_RECORD_TIME": "event", "BACKFILL_FROM": "30d"}, "KAFKA_TOPIC_CHANGES", []string{"KAFKA_RECORD_TIME", "BACKFILL_FROM", "message.timestamp.before.max.ms"}},
		{"missing and not to be created", none, map[string]string{"KAFKA_CREATE_TOPICS": "false"}, "KAFKA_TOPIC_RAW", []string{"does not exist", "create"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t, kafka.Brokers(), unlimited())
			test.prepare(t, s)
			maps.Copy(s.env, test.env)
			s.refusedWith(append(test.words, s.env[test.topic])...)
		})
	}
	t.Run("created", func(t *testing.T) {
		o := unlimited()
		o.OtherTypes = -1
		s := newScene(t, kafka.Brokers(), o)
		s.world.Org.Emit(10)
		s.start()
		s.published(30 * time.Second)
		size := strconv.Itoa(8 << 20)
		forever := map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": size}
		expectTopic(t, admin, s.env["KAFKA_TOPIC_RAW"], 3, forever)
		expectTopic(t, admin, s.env["KAFKA_TOPIC_CHANGES"], 3, forever)
		expectTopic(t, admin, s.env["KAFKA_TOPIC_OFFSETS"], 1, map[string]string{"cleanup.policy": "compact", "max.message.bytes": size})
	})
	t.Run("less retention is a warning", func(t *testing.T) {
		o := unlimited()
		o.OtherTypes = -1
		s := newScene(t, kafka.Brokers(), o)
		create(t, s.env["KAFKA_TOPIC_RAW"], 2, map[string]string{"retention.ms": "604800000"})
		c := s.spawn("run")
		s.world.Org.Emit(10)
		s.published(30 * time.Second)
		if out := c.out.String(); !strings.Contains(out, s.env["KAFKA_TOPIC_RAW"]) || !strings.Contains(out, "retention.ms=-1") {
			t.Errorf("the topic is not named in a warning:\n%s", out)
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	})
}

func expectTopic(t *testing.T, admin *kadm.Client, topic string, partitions int, configs map[string]string) {
	t.Helper()
	details, err := admin.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(details[topic].Partitions); n != partitions {
		t.Errorf("%s has %d partitions", topic, n)
	}
	described, err := admin.DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range described[0].Configs {
		found[c.Key] = c.MaybeValue()
	}
	for key, want := range configs {
		if found[key] != want {
			t.Errorf("%s: %s is %q, not %q", topic, key, found[key], want)
		}
	}
}
