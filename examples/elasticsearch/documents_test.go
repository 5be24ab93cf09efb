//go:build connect && linux

package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/connecttest"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
)

const (
	topic      = "genesys.audit.changes"
	partitions = 3
	events     = 5000
)

// TestEveryChangeIsOneDocument runs the whole way from a simulated organisation through the connector, Apache Kafka and
// a Connect worker to OpenSearch: the shipped worker properties, pipeline, mappings, template and sink.
func TestEveryChangeIsOneDocument(t *testing.T) {
	searchProcess, search := startSearch(t)
	registry := connecttest.Service{URL: kafkatest.StartRegistry(t).URL}
	brokers := kafkatest.Start(t, kafkatest.Options{}).Brokers()
	worker := connecttest.StartWorker(t, "connect/worker.properties", brokers, registry,
		connecttest.Fetched(t, "plugins/avro"), connecttest.Fetched(t, "plugins/camel"))
	searchProcess.Await(t, func() error { return search.Do("GET", "/_cluster/health?wait_for_status=yellow", nil, nil) })
	install(t, search)
	publish(t, brokers, registry)
	changes, err := readChanges(brokers)
	if err != nil {
		t.Fatal(err)
	}
	worker.AwaitReady(t)

	s := newSink(t, worker, registry, search, nil)
	first := awaitDocuments(t, brokers, s, search, changes, nil)
	before := first
	for range 2 {
		s.Replay(t)
		before = awaitDocuments(t, brokers, s, search, changes, before)
	}
	for id, d := range before {
		if string(d.Source) != string(first[id].Source) {
			t.Fatalf("document %s is another one after two replays:\n%s\n%s", id, first[id].Source, d.Source)
		}
	}
	t.Run("documents", func(t *testing.T) { checkDocuments(t, changes, before) })
	t.Run("queries", func(t *testing.T) { checkQueries(t, search, changes) })
	t.Run("dashboard", func(t *testing.T) { checkDashboard(t, search) })
	t.Run("uncommitted", func(t *testing.T) { checkUncommitted(t, brokers, worker, registry, search, changes) })
}

// install runs the shipped script twice, as operators do.
func install(t *testing.T, search connecttest.Service) {
	t.Helper()
	for range 2 {
		out, err := exec.Command("./install", "opensearch", search.URL, "--no-lifecycle").CombinedOutput()
		if err != nil {
			t.Fatalf("install: %v\n%s", err, out)
		}
	}
}

// publish has the connector publish events, while an outsider's transaction is open in the same topic, which then is
// aborted. Others are aborted and committed, and the last records of all partitions are committed ones.
func publish(t *testing.T, brokers []string, registry connecttest.Service) {
	t.Helper()
	unlimited := sandbox.Limit{Requests: 1 << 30, Window: time.Second}
	world, err := sandbox.Start(sandbox.ServerOptions{Options: sandbox.Options{Seed: 11, Odd: -1, OtherTypes: -1, AuditlogsLimit: unlimited, PlatformLimit: unlimited}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	const live = 200
	now := time.Now()
	world.Org.Backfill(events-live, now.Add(-13*24*time.Hour), now.Add(-time.Minute))
	startConnector(t, brokers, registry, world.URL)
	history := awaitPublished(t, brokers, events-live)
	var value []byte
	for _, c := range history {
		value = c.record.Value
		break
	}
	o := newOutsider(t, brokers)
	o.begin(topic, partitions, 20, "aborted-open", value, now)
	world.Org.Emit(live)
	awaitWritten(t, brokers, events)
	if seen, err := readChanges(brokers); err != nil || len(seen) != len(history) {
		t.Fatalf("%d changes are visible beyond an open transaction, want the %d from before it; %v", len(seen), len(history), err)
	}
	o.end(kgo.TryAbort)
	awaitPublished(t, brokers, events)
	lastMonth := now.AddDate(0, 0, -40)
	for i := range 5 {
		o.begin(topic, partitions, 4, fmt.Sprintf("aborted-%d", i), value, now)
		o.end(kgo.TryAbort)
		o.begin(topic, partitions, 4, fmt.Sprintf("outsider-%d", i), value, lastMonth)
		o.end(kgo.TryCommit)
	}
	o.publishLive(registry, memberIn(t, history), now)
	all, err := readTopic(brokers, topic, kgo.ReadUncommitted())
	if err != nil {
		t.Fatal(err)
	}
	aborted := 0
	for _, r := range all {
		if strings.HasPrefix(string(r.Key), "aborted-") {
			aborted++
		}
	}
	if want := partitions * (20 + 5*4); aborted != want {
		t.Fatalf("%d aborted records are in the log, want %d", aborted, want)
	}
}

// memberIn is somebody who was given a role.
func memberIn(t *testing.T, changes map[string]published) string {
	t.Helper()
	for _, c := range changes {
		if isType(c, "Role") && c.Action == "MemberAdd" && c.MemberName != nil {
			return *c.MemberName
		}
	}
	t.Fatal("nobody was given a role")
	return ""
}

// startConnector builds the connector and runs it until the test ends.
func startConnector(t *testing.T, brokers []string, registry connecttest.Service, organisation string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "connector")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/connector").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	connecttest.Start(t, "connector", []string{
		"GENESYS_API_URL=" + organisation, "GENESYS_LOGIN_URL=" + organisation, "GENESYS_AUDIT_API=auditlogs",
		"GENESYS_CLIENT_ID=sandbox", "GENESYS_CLIENT_SECRET=sandbox-secret", "GENESYS_RATE_LIMIT=100000/1s", "GENESYS_RATE_SHARE=1",
		"KAFKA_BROKERS=" + strings.Join(brokers, ","), "KAFKA_TOPIC_CHANGES=" + topic, fmt.Sprintf("KAFKA_PARTITIONS=%d", partitions),
		"SCHEMA_REGISTRY_URL=" + registry.URL, "BACKFILL_FROM=14d", "POLL_INTERVAL=500ms", "HTTP_ADDR=127.0.0.1:0", "LOG_LEVEL=warn",
	}, program)
}

// awaitPublished waits until so many events are in Kafka, all their changes with them.
func awaitPublished(t *testing.T, brokers []string, count int) map[string]published {
	t.Helper()
	var changes map[string]published
	connecttest.Eventually(t, 90*time.Second, fmt.Sprintf("%d events are published", count), func() (err error) {
		if changes, err = readChanges(brokers); err != nil {
			return err
		}
		ids, want := map[string]bool{}, 0
		for _, c := range changes {
			if ids[c.AuditID] = true; c.Index == 0 {
				want += c.Count
			}
		}
		if len(ids) != count || len(changes) != want {
			return fmt.Errorf("there are %d of them, with %d of %d changes", len(ids), len(changes), want)
		}
		return nil
	})
	return changes
}

// awaitWritten waits until so many events of the connector stand in the log, be they visible or not.
func awaitWritten(t *testing.T, brokers []string, count int) {
	t.Helper()
	connecttest.Eventually(t, time.Minute, fmt.Sprintf("%d events are written", count), func() error {
		records, err := readTopic(brokers, topic, kgo.ReadUncommitted())
		ids := map[string]bool{}
		for _, r := range records {
			if key := string(r.Key); !strings.HasPrefix(key, "aborted-") {
				ids[key[:strings.LastIndexByte(key, ':')]] = true
			}
		}
		if len(ids) != count {
			return fmt.Errorf("there are %d of them, %w", len(ids), err)
		}
		return nil
	})
}

// document is one that OpenSearch has.
type document struct {
	ID      string          `json:"_id"`
	Index   string          `json:"_index"`
	Version int             `json:"_version"`
	Source  json.RawMessage `json:"_source"`
	Sort    []any           `json:"sort"`
}

// awaitDocuments waits until the sink has brought all changes, every one of them once more than before.
func awaitDocuments(t *testing.T, brokers []string, s connecttest.Sink, search connecttest.Service, changes map[string]published, before map[string]document) map[string]document {
	t.Helper()
	began := time.Now()
	var found map[string]document
	connecttest.Eventually(t, 4*time.Minute, "the sink has delivered everything", func() error {
		if _, err := s.State(); errors.Is(err, connecttest.ErrFailed) {
			t.Fatal(err)
		}
		if err := delivered(brokers, s, changes); err != nil {
			return err
		}
		var err error
		if found, err = allDocuments(search); err != nil {
			return err
		}
		for id := range changes {
			if found[id].Version <= before[id].Version {
				return fmt.Errorf("document %s has version %d, as before", id, found[id].Version)
			}
		}
		return nil
	})
	took := time.Since(began)
	t.Logf("%d documents of %d change records in %v", len(found), len(changes), took.Round(100*time.Millisecond))
	if len(found) != len(changes) {
		t.Fatalf("%d documents, %d change records", len(found), len(changes))
	}
	return found
}

// allDocuments reads every document, whichever index it is in.
func allDocuments(search connecttest.Service) (map[string]document, error) {
	if err := search.Do("POST", "/genesys-audit-*/_refresh", nil, nil); err != nil {
		return nil, err
	}
	found := map[string]document{}
	var after []any
	for {
		query := map[string]any{"size": 2000, "version": true, "sort": []string{"event.id", "event.sequence", "_id"}}
		if after != nil {
			query["search_after"] = after
		}
		var answer struct{ Hits struct{ Hits []document } }
		if err := search.Do(http.MethodPost, "/genesys-audit-*/_search", query, &answer); err != nil {
			return nil, err
		}
		hits := answer.Hits.Hits
		if len(hits) == 0 {
			return found, nil
		}
		for _, d := range hits {
			if other, twice := found[d.ID]; twice {
				return nil, fmt.Errorf("document %s is in %s and in %s", d.ID, other.Index, d.Index)
			}
			found[d.ID] = d
		}
		after = hits[len(hits)-1].Sort
	}
}
