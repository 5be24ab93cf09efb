//go:build kafka

package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/kafkatest"
)

// evidenceTopics are the variables of the topics that evidence is about.
var evidenceTopics = []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES", "KAFKA_TOPIC_EVIDENCE"}

// exhibit is a copy of the topics, to be tampered with.
type exhibit struct {
	*scene
	admin   *kadm.Client
	client  *kgo.Client
	records map[string][]*kgo.Record // by variable
}

// exhibit reads the topics.
func (s *scene) exhibit(client *kgo.Client) *exhibit {
	s.Helper()
	e := &exhibit{scene: s, admin: kadm.NewClient(client), client: client, records: map[string][]*kgo.Record{}}
	for _, variable := range evidenceTopics {
		records, err := readTopic(s.Context(), s.brokers, s.env[variable])
		if err != nil {
			s.Fatal(err)
		}
		e.records[variable] = records
	}
	return e
}

// tampered writes a copy into topics of its own, as tamper leaves it.
func (e *exhibit) tampered(name string, tamper func(map[string][]*kgo.Record)) *scene {
	e.Helper()
	s := *e.scene
	s.env = map[string]string{}
	copied := map[string][]*kgo.Record{}
	for _, variable := range evidenceTopics {
		s.env[variable] = "copy." + name + "." + e.scene.env[variable]
		partitions := int32(1)
		for _, r := range e.records[variable] {
			c := *r
			copied[variable] = append(copied[variable], &c)
			partitions = max(partitions, r.Partition+1)
		}
		if _, err := e.admin.CreateTopic(e.Context(), partitions, 1, map[string]*string{"retention.ms": kadm.StringPtr("-1")}, s.env[variable]); err != nil {
			e.Fatal(err)
		}
	}
	s.env["KAFKA_BROKERS"] = e.scene.env["KAFKA_BROKERS"]
	tamper(copied)
	for variable, records := range copied {
		for _, r := range records {
			r.Topic = s.env[variable]
		}
		if err := e.client.ProduceSync(e.Context(), records...).FirstErr(); err != nil {
			e.Fatal(err)
		}
	}
	return &s
}

// keepCheckpoint takes the newest checkpoint out of the house.
func (s *scene) keepCheckpoint(addr, dir, name string) {
	s.Helper()
	resp, err := http.Get("http://" + addr + "/evidence/checkpoint")
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.Fatalf("%s, %v: %s", resp.Status, err, text)
	}
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		s.Fatal(err)
	}
}

// TestTamperMatrix on real Kafka: what evidence verify notices by itself, and what only
// with a checkpoint that was kept elsewhere; and whether verify.py notices it in an export of
// what was tampered with. A whole log passes, time stamps and all.
func TestTamperMatrix(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{"log.cleaner.backoff.ms": "200"}})
	refusals := 1
	tsa, ca := authority(t, func() bool { refusals--; return refusals >= 0 })
	s := newScene(t, kafka.Brokers(), unlimited())
	var signers, verifiers [2]string
	for i := range signers {
		var err error
		if signers[i], verifiers[i], err = evidence.GenerateKey("default", nil); err != nil {
			t.Fatal(err)
		}
	}
	s.env["EVIDENCE_KEY"], s.env["EVIDENCE_TSA_URL"], s.env["EVIDENCE_TSA_INTERVAL"] = signers[0], tsa, "1s"
	r := s.instance()
	dir := t.TempDir()
	s.awaited(time.Minute, "it leads", r.is("active"))
	s.world.Org.EmitGrants(40)
	s.published(60 * time.Second)
	s.keepCheckpoint(r.addr, dir, "first.txt")
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close) // after what runs in parallel
	s.stamped(1)            // or both are of the same size
	older := s.exhibit(client)
	s.world.Org.EmitGrants(40)
	s.published(60 * time.Second)
	s.stamped(2)
	s.keepCheckpoint(r.addr, dir, "second.txt")
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	alone := evidenceOptions{keys: verifiers[:1], authorities: ca}
	with := alone
	with.checkpoints = []string{dir}
	whole := s.evidenceReport(with)
	if !whole.OK || whole.Verified != 80 || whole.Checkpoints != 2 || whole.Stamps < 2 {
		t.Fatalf("a whole log: %+v", whole)
	}
	s.offline(verifiers[0], ca, true)
	e := s.exhibit(client)
	raw, changes, log := "KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES", "KAFKA_TOPIC_EVIDENCE"
	for _, c := range []struct {
		name   string
		from   *exhibit
		tamper func(map[string][]*kgo.Record)
		alone  bool // whether it is noticed without a checkpoint from elsewhere
		kind   evidence.Kind
	}{
		{"deleted", e, func(m map[string][]*kgo.Record) { m[raw] = slices.Delete(m[raw], 30, 31) }, true, evidence.Missing},
		{"altered", e, func(m map[string][]*kgo.Record) { m[raw][30].Value = append([]byte(" "), m[raw][30].Value...) }, true, evidence.Altered},
		{"change-altered", e, func(m map[string][]*kgo.Record) {
			m[changes][30].Value = append(slices.Clone(m[changes][30].Value), 0)
		}, true, evidence.Altered},
		{"swapped", e, func(m map[string][]*kgo.Record) { swapNeighbours(m[raw]) }, true, evidence.Reordered},
		{"added", e, func(m map[string][]*kgo.Record) {
			c := *m[raw][0]
			c.Headers = nil
			m[raw] = append(m[raw], withOrg(&c))
		}, true, evidence.Inserted},
		{"log-record-deleted", e, func(m map[string][]*kgo.Record) { m[log] = m[log][1:] }, true, evidence.Damaged},
		{"tail-of-the-log-cut", e, func(m map[string][]*kgo.Record) { m[log] = m[log][:1] }, true, evidence.Inserted},
		{"older-copy-restored", older, func(map[string][]*kgo.Record) {}, false, evidence.Shorter},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			copied := c.from.tampered(c.name, c.tamper)
			copied.TB = t
			if r := copied.evidenceReport(alone); c.alone && r.Counts[c.kind] == 0 || !c.alone && !r.OK {
				t.Errorf("alone: %+v", r)
			}
			if r := copied.evidenceReport(with); r.Counts[c.kind] == 0 {
				t.Errorf("with checkpoints: %+v", r)
			}
			copied.offline(verifiers[0], ca, !c.alone)
		})
	}
	t.Run("deleted by compaction", func(t *testing.T) {
		t.Parallel()
		copied := e.tampered("compaction", func(map[string][]*kgo.Record) {})
		copied.TB = t
		e.compact(copied, e.records[raw][30])
		if r := copied.evidenceReport(alone); r.Counts[evidence.Missing] != 1 {
			t.Errorf("%+v", r)
		}
		copied.offline(verifiers[0], ca, false)
	})
	t.Run("beginning deleted as retention does", func(t *testing.T) {
		copied := e.tampered("retention", func(map[string][]*kgo.Record) {})
		copied.TB = t
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: copied.env[raw], Partition: e.records[raw][0].Partition, At: 2})
		if deleted, err := e.admin.DeleteRecords(t.Context(), offsets); err != nil || deleted.Error() != nil {
			t.Fatal(err, deleted.Error())
		}
		if r := copied.evidenceReport(with); !r.OK || r.Expired == 0 || r.Expired+r.Verified != r.Size {
			t.Errorf("%+v", r)
		}
	})
	for name, signer := range map[string]string{"same key": signers[0], "another key": signers[1]} {
		t.Run("all written anew with "+name, func(t *testing.T) {
			anew := newScene(t, s.brokers, unlimited())
			anew.env["EVIDENCE_KEY"] = signer
			r := anew.instance()
			anew.awaited(time.Minute, "it leads", r.is("active"))
			anew.world.Org.EmitGrants(100)
			anew.published(60 * time.Second)
			if err := r.end(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if r := anew.evidenceReport(alone); r.OK != (signer == signers[0]) || !r.OK && r.Counts[evidence.Signer] == 0 {
				t.Errorf("alone: %+v", r)
			}
			anew.offline(verifiers[0], ca, signer == signers[0])
			if r := anew.evidenceReport(with); r.Counts[evidence.Inconsistent] != 2 {
				t.Errorf("with checkpoints: %+v", r)
			}
		})
	}
}

// compact has the raw topic of a copy compacted, and with it a record removed for good.
func (e *exhibit) compact(copied *scene, victim *kgo.Record) {
	copied.Helper()
	topic := copied.env["KAFKA_TOPIC_RAW"]
	value := func(name, value string) kadm.AlterConfig {
		return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	}
	answers, err := e.admin.AlterTopicConfigs(copied.Context(), []kadm.AlterConfig{
		value("cleanup.policy", "compact"), value("segment.ms", "100"), value("min.cleanable.dirty.ratio", "0"),
	}, topic)
	if err != nil || answers[0].Err != nil {
		copied.Fatal(err, answers[0].Err)
	}
	tombstone := kgo.Record{Topic: topic, Partition: victim.Partition, Key: victim.Key}
	copied.awaited(time.Minute, "the cleaner to remove the record", func() bool {
		again := tombstone // whose time makes the segment end, which only then is cleaned
		if err := e.client.ProduceSync(copied.Context(), withOrg(&again)).FirstErr(); err != nil {
			copied.Fatal(err)
		}
		records, err := readTopic(copied.Context(), copied.brokers, topic)
		return err == nil && !slices.ContainsFunc(records, func(r *kgo.Record) bool {
			return string(r.Key) == string(victim.Key) && r.Value != nil
		})
	})
}

// offline exports all and has verify.py look at it.
func (s *scene) offline(verifier, ca string, passes bool) {
	s.Helper()
	path, err := s.exported(exportOptions{from: "2000-01-01", file: filepath.Join(s.TempDir(), "export.zip")}, time.Now())
	if err != nil && !errors.Is(err, errTampered) {
		s.Fatal(err)
	}
	if out, ok := checkedOffline(s, path, "--key", verifier, "--tsa-ca", ca, "--unsigned"); ok != passes {
		s.Errorf("verify.py passes: %t\n%s", ok, out)
	}
}

// withOrg makes a record one of the organisation's.
func withOrg(r *kgo.Record) *kgo.Record {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "org", Value: []byte("default")})
	return r
}

// swapNeighbours swaps two records of one partition.
func swapNeighbours(records []*kgo.Record) {
	for i := range records[1:] {
		if records[i].Partition == records[i+1].Partition && i > 5 {
			records[i], records[i+1] = records[i+1], records[i]
			return
		}
	}
}
