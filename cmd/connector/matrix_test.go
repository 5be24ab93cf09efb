//go:build matrix

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"genesys-audit-connector/internal/kafkatest"
)

// TestEveryKafka: the whole job on each release of Apache Kafka that users have, and on the newest
// what its owners may have set otherwise.
func TestEveryKafka(t *testing.T) {
	for _, version := range kafkatest.Versions() {
		t.Run(version, func(t *testing.T) {
			options := kafkatest.Options{Version: version}
			newest := version == kafkatest.Versions()[len(kafkatest.Versions())-1]
			if newest {
				options.Users, options.IPv6 = map[string]string{"connector": "sesame"}, true
				options.Properties = map[string]string{"connections.max.reauth.ms": "2000"}
			}
			kafka := kafkatest.Start(t, options)
			t.Run("backfill and tail", func(t *testing.T) { everyOddity(t, kafka.Brokers()) })
			if !newest {
				return
			}
			for name, configs := range map[string]map[string]string{
				"LogAppendTime":         {"message.timestamp.type": "LogAppendTime"},
				"compressed by brokers": {"compression.type": "gzip"},
			} {
				t.Run(name, func(t *testing.T) { testTopicsOfOthers(t, kafka.Brokers(), configs) })
			}
			t.Run("IPv6, SASL_SSL and sessions that end", func(t *testing.T) { testSessionsEnd(t, kafka) })
			t.Run("offsets topic made again", func(t *testing.T) { testOffsetsMadeAgain(t, kafka.Brokers()) })
		})
	}
}

// testTopicsOfOthers: topics are there with settings that let brokers rewrite what is written; a
// connector writes, is killed, reads them back and goes on.
func testTopicsOfOthers(t *testing.T, brokers []string, configs map[string]string) {
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, brokers, o)
	admin := s.admin()
	for variable, partitions := range map[string]int32{"KAFKA_TOPIC_RAW": 3, "KAFKA_TOPIC_CHANGES": 3, "KAFKA_TOPIC_OFFSETS": 1} {
		pointers := map[string]*string{"cleanup.policy": kadm.StringPtr("delete")}
		for k, v := range configs {
			pointers[k] = &v
		}
		if partitions == 1 {
			pointers["cleanup.policy"] = kadm.StringPtr("compact")
		}
		if r, err := admin.CreateTopic(t.Context(), partitions, 1, pointers, s.env[variable]); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	s.world.Org.Backfill(1000, time.Now().Add(-20*time.Hour), time.Now())
	first := s.instance()
	s.published(60 * time.Second)
	_ = first.end(syscall.SIGKILL)
	s.world.Org.Emit(50)
	second := s.instance()
	s.published(60 * time.Second)
	if err := second.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, tailOf(second.out.String()))
	}
	s.published(0)
	records, err := readTopic(t.Context(), brokers, s.env["KAFKA_TOPIC_OFFSETS"])
	if err != nil || len(records) == 0 {
		t.Fatal(len(records), err)
	}
	const gzip = 1
	for _, r := range records {
		if a := r.Attrs; configs["compression.type"] != "" && a.CompressionType() != gzip || configs["compression.type"] == "" && a.TimestampType() != 1 {
			t.Fatalf("the broker has not rewritten the record at %d: attributes %+v", r.Offset, a)
		}
	}
}

// testSessionsEnd: brokers end each session after 2 s (KIP-368). The connector logs in again
// in time: no transaction is cut, and no term ends.
func testSessionsEnd(t *testing.T, kafka *kafkatest.Cluster) {
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, kafka.Brokers(), o)
	addrs, ca := kafka.IPv6Brokers()
	s.env["KAFKA_BROKERS"] = strings.Join(addrs, ",")
	s.env["KAFKA_TLS"], s.env["KAFKA_TLS_CA_FILE"] = "true", ca
	s.env["KAFKA_SASL_MECHANISM"], s.env["KAFKA_SASL_USERNAME"], s.env["KAFKA_SASL_PASSWORD"] = "PLAIN", "connector", "sesame"
	r := s.instance()
	stop := s.emitting()
	defer stop()
	time.Sleep(9 * time.Second) // more than four sessions
	stop()
	s.published(60 * time.Second)
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, tailOf(r.out.String()))
	}
	committed, aborted := s.transactions()
	if said := r.out.String(); committed < 10 || aborted > 0 || strings.Contains(said, "term ended") {
		t.Errorf("%d transactions were committed and %d aborted; the connector said:\n%s", committed, aborted, tailOf(said))
	}
}

// testOffsetsMadeAgain: somebody deletes the offsets topic under a connector that runs, and makes
// it again. Nothing is lost and nothing written twice: the raw topic tells what was written.
func testOffsetsMadeAgain(t *testing.T, brokers []string) {
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, brokers, o)
	s.world.Org.Backfill(500, time.Now().Add(-20*time.Hour), time.Now())
	r := s.instance()
	s.published(60 * time.Second)
	admin, topic := s.admin(), s.env["KAFKA_TOPIC_OFFSETS"]
	if deleted, err := admin.DeleteTopic(t.Context(), topic); err != nil || deleted.Err != nil {
		t.Fatal(err, deleted.Err)
	}
	s.world.Org.Emit(50)
	s.awaited(30*time.Second, "the topic can be made again", func() bool {
		made, err := admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}, topic)
		return err == nil && made.Err == nil
	})
	s.published(90 * time.Second)
	s.world.Org.Emit(50)
	s.published(90 * time.Second)
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, tailOf(r.out.String()))
	}
	s.instance()
	s.world.Org.Emit(50)
	s.published(60 * time.Second)
}
