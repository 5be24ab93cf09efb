//go:build kafka

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/schemas"
)

// TestPythonClientReadsBothTopics has librdkafka and fastavro, which share no
// code with anything here, read what the connector wrote: with and without a
// schema registry.
func TestPythonClientReadsBothTopics(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{})
	t.Run("single-object encoding", func(t *testing.T) { readByPython(t, publishOddities(t, kafka), "") })
	t.Run("registry", func(t *testing.T) {
		registry := kafkatest.StartRegistry(t)
		s := publishOddities(t, kafka, "SCHEMA_REGISTRY_URL", registry.URL)
		readByPython(t, s, registry.URL)
		expectBackward(t, registry.URL, s.env["KAFKA_TOPIC_CHANGES"]+"-value")
	})
}

// publishOddities runs a connector, with more settings, until everything that
// the sandbox can think of is published.
func publishOddities(t *testing.T, kafka *kafkatest.Cluster, settings ...string) *scene {
	o := unlimited()
	o.Odd, o.OtherTypes = 0.2, -1
	s := newScene(t, kafka.Brokers(), o)
	for pair := range slices.Chunk(settings, 2) {
		s.env[pair[0]] = pair[1]
	}
	now := time.Now()
	s.world.Org.Backfill(1500, now.Add(-20*time.Hour), now.Add(-time.Minute))
	for i, name := range sandbox.Oddities() {
		if _, err := s.world.Org.EmitOdd(now.Add(-time.Duration(i)*time.Minute), name); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := s.start()
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	return s
}

// line is what read_topics.py prints of a record.
type line struct {
	Topic     string            `json:"topic"`
	Key       string            `json:"key"`
	SHA256    string            `json:"sha256"`
	Value     map[string]any    `json:"value"`
	Headers   map[string]string `json:"headers"`
	Timestamp int64             `json:"timestamp"`
}

// readByPython holds what the client reads against the sandbox's truth, and each
// field of the changes against what goavro reads.
func readByPython(t *testing.T, s *scene, registry string) {
	raw, changes := map[string][]line{}, map[string]line{}
	for _, l := range runPython(t, s, registry) {
		if l.Topic == "raw" {
			raw[l.Key] = append(raw[l.Key], l)
			continue
		}
		if _, twice := changes[l.Key]; twice {
			t.Errorf("change %q twice", l.Key)
		}
		changes[l.Key] = l
	}
	shown := s.world.Org.Shown()
	if len(raw) != len(shown) {
		t.Errorf("%d events were shown, %d read", len(shown), len(raw))
	}
	for id, truth := range shown {
		lines := raw[id]
		if len(lines) != 1 {
			t.Errorf("%q: %d raw records", id, len(lines))
			continue
		}
		l := lines[0]
		if !slices.ContainsFunc(truth.Bodies, func(b []byte) bool { return fmt.Sprintf("%x", sha256.Sum256(b)) == l.SHA256 }) || l.Headers["sha256"] != l.SHA256 {
			t.Errorf("%q: the raw value is not what was shown, or not what its header says", id)
		}
		if l.Headers["audit-id"] != id || l.Headers["org"] != "default" {
			t.Errorf("%q: headers %v", id, l.Headers)
		}
		if age := time.Since(time.UnixMilli(l.Timestamp)); age < 0 || age > 10*time.Minute {
			t.Errorf("%q: a record's time is that of its publishing, not %s ago", id, age)
		}
	}
	content, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], s.env["KAFKA_TOPIC_EVIDENCE"])
	if err != nil {
		t.Fatal(err)
	}
	compared, decoder := 0, decoderFor(content)
	for id, records := range content.changes {
		for _, r := range records {
			expectChange(t, decoder, r, changes[string(r.Key)])
			compared++
		}
		if _, ok := shown[id]; !ok {
			t.Errorf("changes of %q, which was never shown", id)
		}
	}
	if compared != len(changes) || compared < len(shown) {
		t.Errorf("%d changes read here, %d by the client, of %d events", compared, len(changes), len(shown))
	}
	t.Logf("%d events and %d changes are the same", len(raw), compared)
}

// expectChange compares one record as two libraries read it.
func expectChange(t *testing.T, goavro *codec.Decoder, r *kgo.Record, l line) {
	t.Helper()
	change, err := goavro.Decode(r.Value)
	if err != nil {
		t.Fatalf("%q: %v", r.Key, err)
	}
	want, err := json.Marshal(fieldsOf(change))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(want))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fields, l.Value) {
		t.Errorf("%q: Python reads\n%v\ngoavro\n%v", r.Key, l.Value, fields)
	}
}

// fieldsOf is a change under the names of the schema.
func fieldsOf(c audit.Change) map[string]any {
	return map[string]any{
		"auditId": c.AuditID, "changeIndex": c.Index, "changeCount": c.Count, "timestamp": c.Time.UnixMilli(),
		"userId": c.UserID, "userName": c.UserName, "action": c.Action, "entityType": c.EntityType,
		"entityId": c.EntityID, "entityName": c.EntityName, "configurationKey": c.Key, "changeType": c.Type,
		"previousValue": c.Previous, "newValue": c.New, "previousType": c.PreviousType, "newType": c.NewType,
		"orgId": c.OrgID, "serviceName": c.ServiceName, "clientId": c.ClientID, "status": c.Status, "level": c.Level,
		"application": c.Application, "remoteIp": append([]string{}, c.RemoteIP...), "context": c.Context,
		"message": c.Message, "transactionId": c.TransactionID,
		"memberId": c.MemberID, "memberType": c.MemberType, "memberName": c.MemberName,
		"divisionId": c.DivisionID, "divisionName": c.DivisionName,
		"resolvedNames": append([]string{}, c.ResolvedNames...), "maskedFields": append([]string{}, c.MaskedFields...),
	}
}

// runPython runs scripts/clients/read_topics.py in the environment that
// scripts/clients/install makes.
func runPython(t *testing.T, s *scene, registry string) []line {
	root := filepath.Join("..", "..")
	python := filepath.Join(root, ".cache", "clients", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no Python environment; run scripts/clients/install: %v", err)
	}
	args := []string{
		filepath.Join(root, "scripts", "clients", "read_topics.py"), "--brokers", strings.Join(s.brokers, ","),
		"--raw", s.env["KAFKA_TOPIC_RAW"], "--changes", s.env["KAFKA_TOPIC_CHANGES"],
		"--schema", filepath.Join(root, "schemas", "configuration_change.avsc"),
	}
	if registry != "" {
		args = append(args, "--registry", registry)
	}
	c := exec.CommandContext(t.Context(), python, args...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		t.Fatalf("read_topics.py: %v\n%s", err, tailOf(said.String()))
	}
	var lines []line
	decoder := json.NewDecoder(&out)
	decoder.UseNumber()
	for {
		var l line
		err := decoder.Decode(&l)
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
}

// expectBackward: the schema stands under its subject, and the registry takes a
// next one that readers of the old records can do with, and no other.
func expectBackward(t *testing.T, registry, subject string) {
	var schema map[string]any
	if err := json.Unmarshal([]byte(schemas.ConfigurationChange), &schema); err != nil {
		t.Fatal(err)
	}
	with := func(field map[string]any) string {
		next := map[string]any{}
		for k, v := range schema {
			next[k] = v
		}
		next["fields"] = append(slices.Clone(schema["fields"].([]any)), field)
		text, err := json.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, test := range []struct {
		what, schema string
		compatible   bool
	}{
		{"the schema itself", schemas.ConfigurationChange, true},
		{"a new field with a default", with(map[string]any{"name": "later", "type": "string", "default": ""}), true},
		{"a new field without a default", with(map[string]any{"name": "later", "type": "string"}), false},
	} {
		body, err := json.Marshal(map[string]string{"schema": test.schema})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(registry+"/compatibility/subjects/"+subject+"/versions/latest",
			"application/vnd.schemaregistry.v1+json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`"is_compatible":%t`, test.compatible); resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(want)) {
			t.Errorf("%s: %s %s, not %s", test.what, resp.Status, answer, want)
		}
	}
}
