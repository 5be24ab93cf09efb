//go:build kafka

package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"genesys-audit-connector/internal/kafkatest"
)

// testErasure: once Kafka's cleaner has come to the tombstones, the bytes of an erased
// event are in no file of the broker any more, the evidence log still proves the rest, and
// nothing brings the event back.
func testErasure(t *testing.T, kafka *kafkatest.Cluster) {
	s := newScene(t, kafka.Brokers(), unlimited())
	s.env["KAFKA_ERASABLE"], s.env["KAFKA_COMPRESSION"], s.env["KAFKA_PARTITIONS"] = "true", "none", "1"
	s.env["SWEEP_AGES"] = "3s"
	_, stop := s.start()
	s.world.Org.EmitGrants(30)
	s.published(30 * time.Second)
	before := s.content()
	ids := slices.Sorted(maps.Keys(before.raw))
	gone := ids[:2]
	var bodies [][]byte
	for _, id := range gone {
		for _, r := range slices.Concat(before.raw[id], before.changes[id]) {
			bodies = append(bodies, r.Value)
		}
	}
	onDisk := func() (n int) {
		for _, body := range bodies {
			if s.onDisk(kafka, body) {
				n++
			}
		}
		return n
	}
	if n := onDisk(); n != len(bodies) {
		t.Fatalf("%d of %d values are in the broker's files: the case shows nothing", n, len(bodies))
	}
	if _, err := s.admin().AlterBrokerConfigs(t.Context(), config("log.cleaner.backoff.ms", "100")); err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES"} {
		expectTopic(t, s.admin(), s.env[variable], 1, map[string]string{
			"cleanup.policy": "compact", "retention.ms": "-1", "max.compaction.lag.ms": "604800000", "delete.retention.ms": "34560000000",
		})
		hurry := slices.Concat(config("segment.ms", "100"), config("min.cleanable.dirty.ratio", "0.01"), config("delete.retention.ms", "0"), config("file.delete.delay.ms", "0"))
		if _, err := s.admin().AlterTopicConfigs(t.Context(), hurry, s.env[variable]); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := s.erase(eraseOptions{ids: gone}); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := s.awaited(60*time.Second, "the cleaner has removed the values and the tombstones", func() bool {
		s.world.Org.Emit(3) // a segment ends when something follows
		time.Sleep(200 * time.Millisecond)
		return onDisk() == 0 && len(s.content().tombs) == 0
	})
	t.Logf("removed from the broker's files in %s", took)
	s.awaited(30*time.Second, "everything else is there", func() bool { return judge(s.content(), s.world.Org.Shown()).ok() })
	s.wantErased(gone, 0)
	if r, err := s.verify(verifyOptions{repair: true}); err != nil || !r.OK {
		t.Errorf("verify --repair: %v, %+v", err, r.Findings)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	_, stop = s.start()
	s.world.Org.Emit(5)
	time.Sleep(5 * time.Second) // the sweep
	s.awaited(30*time.Second, "all is right after a restart", func() bool { return judge(s.content(), s.world.Org.Shown()).ok() })
	if c := s.content(); len(c.raw[gone[0]])+len(c.raw[gone[1]]) > 0 {
		t.Error("an erased event was published again")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func config(name, value string) []kadm.AlterConfig {
	return []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}
}

// onDisk reports whether a file of the topics' partitions has the bytes in it.
func (s *scene) onDisk(kafka *kafkatest.Cluster, text []byte) bool {
	for _, dir := range kafka.DataDirs() {
		for _, variable := range []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES"} {
			files, err := filepath.Glob(filepath.Join(dir, s.env[variable]+"-*", "*"))
			if err != nil || len(files) == 0 {
				s.Fatalf("no files of %s in %s: %v", s.env[variable], dir, err)
			}
			for _, file := range files {
				// A file may be removed meanwhile.
				if b, err := os.ReadFile(file); err == nil && !strings.HasSuffix(file, "index") && bytes.Contains(b, text) {
					return true
				}
			}
		}
	}
	return false
}
