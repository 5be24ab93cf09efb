//go:build postgres && linux

package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/connecttest"
	"genesys-audit-connector/internal/kafkatest"
)

const bulk = 5_000 // events, of two changes each: enough for a worker to be killed in the middle of them

// rig is everything between a change record and its row.
type rig struct {
	writer
	db        database
	registry  connecttest.Service
	transform string // the plugin's folder
	worker    connecttest.Worker
	sink      connecttest.Sink
}

// TestEveryChangeIsOneRow runs the whole way from change records through Apache Kafka and a Connect worker to PostgreSQL:
// the shipped install script, worker properties and sink, which logs in with the rights of the shipped role.
func TestEveryChangeIsOneRow(t *testing.T) {
	t.Setenv("TZ", "America/New_York") // of worker and database: no time may depend on it
	r := &rig{db: startServer(t), registry: connecttest.Service{URL: kafkatest.StartRegistry(t).URL}, transform: filepath.Join(t.TempDir(), "transform")}
	brokers := kafkatest.Start(t, kafkatest.Options{}).Brokers()
	r.writer = newWriter(t, brokers, r.registry)
	if out, err := exec.Command("transform/build", connecttest.Fetched(t, "worker"), r.transform).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	r.startWorker()
	install(t, r.db)

	now := time.Now().UTC()
	records := r.events(reportEvents(now)...)
	r.abort(records[0].Value)
	records = append(records, r.events(bulkEvents(now)...)...)
	r.produce(records)
	r.killedInTheMiddle()
	r.check()
	t.Run("redelivery changes no row", r.redelivery)
	t.Run("what is erased is deleted", r.erasure)
	t.Run("months", func(t *testing.T) { checkMonths(t, r.db, now) })
}

// startWorker starts a worker, without waiting for it.
func (r *rig) startWorker() {
	r.worker = connecttest.StartWorker(r.T, "../elasticsearch/connect/worker.properties", r.brokers, r.registry,
		connecttest.Fetched(r.T, "plugins/avro"), connecttest.Fetched(r.T, "plugins/jdbc"), r.transform)
}

// startSink creates the shipped sink once the worker is ready.
func (r *rig) startSink() {
	r.worker.AwaitReady(r.T)
	addresses := []string{"http://schema-registry:8081", r.registry.URL, "postgres:5432", r.db.host + ":" + r.db.port}
	r.sink = connecttest.NewSink(r.T, r.worker, "connect/postgres-sink.json", addresses, map[string]string{"connection.password": "none"})
}

// killedInTheMiddle has two workers deliver everything, the first of which is killed while it delivers.
func (r *rig) killedInTheMiddle() {
	r.startSink()
	began := time.Now()
	deadline := began.Add(time.Minute)
	for n := 0; n < len(r.written)/10; {
		var err error
		if n, err = r.db.count("SELECT count(*) FROM genesys_audit.changes"); err != nil {
			r.Fatal(err)
		}
		if _, err := r.sink.State(); errors.Is(err, connecttest.ErrFailed) || time.Now().After(deadline) {
			r.Fatalf("%d rows: %v", n, err)
		}
	}
	r.worker.End(syscall.SIGKILL)
	n, err := r.db.count("SELECT count(*) FROM genesys_audit.changes")
	if err != nil || n == 0 || n >= len(r.written) {
		r.Fatalf("%d of %d rows when the worker was killed, %v: not in the middle", n, len(r.written), err)
	}
	r.Logf("killed after %v at %d of %d rows", time.Since(began).Round(time.Millisecond), n, len(r.written))
	r.startWorker()
	r.startSink()
	r.delivered()
}

// delivered waits until the sink has delivered the topic to its end.
func (r *rig) delivered() {
	began := time.Now()
	connecttest.Eventually(r.T, 90*time.Second, "the sink has delivered everything", func() error {
		if _, err := r.sink.State(); errors.Is(err, connecttest.ErrFailed) {
			r.Fatal(err)
		}
		return r.sink.CaughtUp(r.brokers, topic)
	})
	r.Logf("delivered after %v", time.Since(began).Round(100*time.Millisecond))
}

// row is a row of the table, as JSON has it: an audit.Change by other names.
type row struct {
	AuditID       string            `json:"audit_id"`
	Index         int               `json:"change_index"`
	Count         int               `json:"change_count"`
	Time          time.Time         `json:"timestamp"`
	UserID        *string           `json:"user_id"`
	UserName      *string           `json:"user_name"`
	Action        string            `json:"action"`
	EntityType    string            `json:"entity_type"`
	EntityID      *string           `json:"entity_id"`
	EntityName    *string           `json:"entity_name"`
	Key           *string           `json:"configuration_key"`
	Type          string            `json:"change_type"`
	Previous      *string           `json:"previous_value"`
	New           *string           `json:"new_value"`
	PreviousType  string            `json:"previous_type"`
	NewType       string            `json:"new_type"`
	OrgID         *string           `json:"org_id"`
	ServiceName   *string           `json:"service_name"`
	ClientID      *string           `json:"client_id"`
	Status        *string           `json:"status"`
	Level         *string           `json:"level"`
	Application   *string           `json:"application"`
	RemoteIP      []string          `json:"remote_ip"`
	Context       map[string]string `json:"context"`
	Message       *string           `json:"message"`
	TransactionID *string           `json:"transaction_id"`
	MemberID      *string           `json:"member_id"`
	MemberType    *string           `json:"member_type"`
	MemberName    *string           `json:"member_name"`
	DivisionID    *string           `json:"division_id"`
	DivisionName  *string           `json:"division_name"`
	ResolvedNames []string          `json:"resolved_names"`
	MaskedFields  []string          `json:"masked_fields"`
}

// check compares every row, field by field, with the change record that it was.
func (r *rig) check() {
	r.Helper()
	var found []struct {
		RecordID string          `json:"record_id"`
		Row      json.RawMessage `json:"row"`
	}
	if err := r.db.rows("SELECT record_id, to_jsonb(c) AS row FROM genesys_audit.changes c", &found); err != nil {
		r.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range found {
		var got row
		if err := json.Unmarshal(f.Row, &got); err != nil {
			r.Fatal(err)
		}
		want, ok := r.written[f.RecordID]
		if !ok || seen[f.RecordID] {
			r.Fatalf("row %s: of a record that is to be there %v, there already %v", f.RecordID, ok, seen[f.RecordID])
		}
		seen[f.RecordID] = true
		if g := audit.Change(got); !reflect.DeepEqual(comparable(g), comparable(want)) {
			r.Fatalf("row %s is\n%s\nwant\n%+v", f.RecordID, f.Row, want)
		}
	}
	if len(found) != len(r.written) {
		r.Fatalf("%d rows, %d change records", len(found), len(r.written))
	}
}

// comparable makes no difference between nothing and an empty list, writes times in one zone, and values as the shipped
// transform does.
func comparable(c audit.Change) audit.Change {
	c.Time = c.Time.UTC()
	if c.Previous != nil {
		previous := strings.ReplaceAll(*c.Previous, "\x00", "\ufffd")
		c.Previous = &previous
	}
	if len(c.Context) == 0 {
		c.Context = nil
	}
	for _, list := range []*[]string{&c.RemoteIP, &c.ResolvedNames, &c.MaskedFields} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return c
}

// redelivery has the sink read the topic again from its beginning: every row is written again, and is the same.
func (r *rig) redelivery(*testing.T) {
	newest, err := r.db.count("SELECT max(xmin::text::bigint) FROM genesys_audit.changes")
	if err != nil {
		r.Fatal(err)
	}
	r.sink.Replay(r.T)
	r.delivered()
	if left, err := r.db.count(fmt.Sprintf("SELECT count(*) FROM genesys_audit.changes WHERE xmin::text::bigint <= %d", newest)); err != nil || left != 0 {
		r.Fatalf("%d rows were not written again, %v", left, err)
	}
	r.check()
}

// erasure: a tombstone deletes the row of its key and no other, wherever its month may be; a replay of everything, in
// which the record comes before its tombstone, brings none back.
func (r *rig) erasure(*testing.T) {
	keys := slices.Sorted(maps.Keys(r.written))
	var chosen []string
	for i := 9; i < len(keys); i += 200 { // not those without a month, which come first
		chosen = append(chosen, keys[i])
	}
	r.produce(r.erase(chosen...))
	r.delivered()
	r.check()
	r.sink.Replay(r.T)
	r.delivered()
	r.check()
	r.produce([]*kgo.Record{record("never:0", nil)})
	r.delivered()
	r.check()
}

// bulkEvents are changes of queues over thirteen months, the first ones of times that no month has.
func bulkEvents(now time.Time) []string {
	events := make([]string, 0, bulk)
	for i := range bulk {
		at := now.Add(-time.Duration(i) * 395 * 24 * time.Hour / bulk)
		switch i {
		case 0:
			at = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
		case 1:
			at = now.AddDate(3, 0, 0)
		case 2:
			at = now.AddDate(-3, 0, 0)
		}
		events = append(events, fmt.Sprintf(`{"id":"bulk-%05d","user":{"id":"bulk-user"},"client":{"id":"c"},"remoteIp":["203.0.113.%d","2001:db8::1"],
			"serviceName":"ContactCenter","level":"USER","eventDate":%q,"action":"Update","entityType":"Queue","entity":{"id":"bulk-%05d","name":"Ünïcode \"%d\" \\ {},NULL"},
			"status":"SUCCESS","context":{"entityId":"q","quote \" and \\":"a => \"b\", NULL\u00e9\n\t\u0001","empty":""},
			"propertyChanges":[{"property":"title","oldValues":["a'b; \"c\" \\d {e}\u0000"],"newValues":[""]},{"property":"acw.timeoutMs","oldValues":["1"],"newValues":["%d"]}]}`,
			i, i%256, at.Format("2006-01-02T15:04:05.000Z"), i%50, i, i))
	}
	return events
}
