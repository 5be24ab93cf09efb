package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/document"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/txn"
)

// emitted has the organisation show events at minutes back from now.
func (s *scene) emitted(entityType string, bodies map[int]string) {
	s.Helper()
	now := time.Now().Truncate(time.Millisecond)
	for minutes, body := range bodies {
		at := now.Add(-time.Duration(minutes) * time.Minute)
		text := fmt.Sprintf(`{"auditId":"id-%d","timestamp":%q,"entityType":%q,%s}`, minutes, at.UTC().Format("2006-01-02T15:04:05.000Z"), entityType, body)
		if _, err := s.world.Org.EmitRaw(sandbox.Raw{At: at, Body: []byte(text), EntityType: entityType, Action: "Update"}); err != nil {
			s.Fatal(err)
		}
	}
}

// historyAt runs "connector history --at --json".
func (s *scene) historyAt(id, at string) (p document.Past) {
	s.Helper()
	var out bytes.Buffer
	if err := printHistory(s.Context(), envconfig.MapLookuper(s.env), id, historyOptions{at: at, asJSON: true}, &out); err != nil {
		s.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		s.Fatalf("%v: %s", err, out.Bytes())
	}
	return p
}

// TestHistoryAt rebuilds a document from the raw topic: one partition of it is read, what is
// masked elsewhere is there, and what was erased is not.
func TestHistoryAt(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, nil, o)
	s.env["MASK_FILE"] = filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(s.env["MASK_FILE"], []byte("rules: [{action: drop}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.world.Org.Backfill(300, time.Now().Add(-3*time.Hour), time.Now().Add(-time.Minute))
	s.emitted("Queue", map[int]string{
		90: `"action":"Create","entityId":"q-1","before":null,"after":{"name":"Billing","acw":{"timeout":30},"members":["a"]}`,
		80: `"action":"Update","entityId":"q-1","propertyChanges":[{"property":"acw.timeout","oldValues":["30"],"newValues":["45"]},{"property":"QueueMember/q-1:u","newValues":["<queue member added>"]}]`,
		70: `"action":"Update","entityId":"q-1"`,
		60: `"action":"Update","entityId":"q-1","rawPayload":"{\"before\":{\"name\":\"Billing\",\"acw\":{\"timeout\":45},\"members\":[\"a\"]},\"after\":{\"name\":\"Sales\",\"acw\":{\"timeout\":45},\"members\":[\"a\"]}}"`,
		50: `"action":"Delete","entityId":"q-1","before":{"name":"Sales","acw":{"timeout":45},"members":["a"]},"after":null`,
		40: `"action":"Update","entityId":"q-2","propertyChanges":[{"property":"name","oldValues":["Old"],"newValues":["New"]}],"context":{"about":"q-1"}`,
	})
	_, stop := s.start()
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	yes, no := true, false
	list := func(words ...string) []string { return append([]string{}, words...) }
	for at, want := range map[string]document.Past{
		"85m": {Exists: &yes, Known: decoded(t, `{"name":"Billing","acw":{"timeout":30},"members":["a"]}`), Basis: list("id-90")},
		"65m": {Exists: &yes, Known: decoded(t, `{"name":"Billing","acw":{"timeout":45},"members":["a"]}`), Basis: list("id-90", "id-80"), Spelled: list("acw.timeout"), Untold: list("id-70")},
		"55m": {Exists: &yes, Known: decoded(t, `{"name":"Sales","acw":{"timeout":45},"members":["a"]}`), Basis: list("id-60"), Untold: list("id-70")},
		"1m":  {Exists: &no, Known: map[string]any{}, Basis: list("id-50"), Untold: list("id-70")},
		"2h":  {Exists: &no, Known: map[string]any{}, Basis: list("id-90")},
	} {
		got := s.historyAt("q-1", at)
		want.EntityID, want.At, want.Unknown = "q-1", got.At, list()
		want.Spelled, want.Untold = append(list(), want.Spelled...), append(list(), want.Untold...)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("at %s:\ngot  %+v\nwant %+v", at, got, want)
		}
	}
	if p := s.historyAt("q-2", "45m"); !reflect.DeepEqual(p.Known, map[string]any{"name": "Old"}) || p.Exists != nil || !slices.Contains(p.Unknown, "description") {
		t.Errorf("of what was told later: %+v", p)
	}
	s.onePartition("q-1")

	var out bytes.Buffer
	if err := printHistory(t.Context(), envconfig.MapLookuper(s.env), "q-1", historyOptions{at: "65m"}, &out); err != nil ||
		!strings.Contains(out.String(), `"timeout": 45`) || !strings.Contains(out.String(), "do not tell what they changed: id-70") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	// Erased, as the command erase does it.
	count := int32(3)
	for topic, key := range map[string]string{s.env["KAFKA_TOPIC_RAW"]: "id-60", s.env["KAFKA_TOPIC_CHANGES"]: "id-60:0"} {
		s.produceTo(&kgo.Record{Topic: topic, Partition: txn.Partition([]byte("q-1"), count), Key: []byte(key)})
	}
	if p := s.historyAt("q-1", "55m"); !slices.Equal(p.Basis, list("id-90", "id-80", "id-50")) || !slices.Equal(p.Unknown, list("name")) {
		t.Errorf("what was erased counts: %+v", p)
	}
	for _, l := range s.lines("q-1", historyOptions{}) {
		if l.AuditID == "id-60" {
			t.Errorf("what was erased is told: %+v", l)
		}
	}
}

func decoded(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// produceTo writes records into the partitions that they name.
func (s *scene) produceTo(records ...*kgo.Record) {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		s.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(s.Context(), records...).FirstErr(); err != nil {
		s.Fatal(err)
	}
}

// onePartition looks at what the broker is asked for.
func (s *scene) onePartition(id string) {
	s.Helper()
	var mu sync.Mutex
	read := map[string]bool{}
	s.world.Broker.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		s.world.Broker.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, t := range r.(*kmsg.FetchRequest).Topics {
			for _, p := range t.Partitions {
				read[fmt.Sprintf("%s/%d", t.Topic, p.Partition)] = true
			}
		}
		return nil, nil, false
	})
	s.lines(id, historyOptions{})
	s.historyAt(id, "1m")
	mu.Lock()
	defer mu.Unlock()
	p := txn.Partition([]byte(id), 3)
	want := map[string]bool{fmt.Sprintf("%s/%d", s.env["KAFKA_TOPIC_RAW"], p): true, fmt.Sprintf("%s/%d", s.env["KAFKA_TOPIC_CHANGES"], p): true}
	if !reflect.DeepEqual(read, want) {
		s.Errorf("read were %v, want %v", read, want)
	}
}

func TestHistoryAtIsOfOneInstant(t *testing.T) {
	for _, o := range []historyOptions{{at: "1h", member: true}, {at: "1h", from: "2h"}, {at: "1h", from: "2h", to: "1h"}, {at: "yesterday"}} {
		err := printHistory(t.Context(), envconfig.MapLookuper(nil), "id", o, &bytes.Buffer{})
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--at") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestHistoryOfAMemberHasEveryShape: roles, queues and groups, as live organisations tell
// them, with names where somebody has them.
func TestHistoryOfAMemberHasEveryShape(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, nil, o)
	s.env["GENESYS_NAMES"] = "false"
	s.emitted("Role", map[int]string{
		90: `"action":"MemberAdd","entityId":"r-1","entity":{"id":"r-1","name":"u-1--r-1--*"},"userName":"Grace","context":{"memberName":"Ada","roleName":"Admin"}`,
		89: `"action":"MemberRemove","entityId":"r-1","entity":{"id":"r-1","name":"u-1--r-1--d-1"},"userName":"Grace"`,
		88: `"action":"MemberUpdate","entityId":"r-1","entity":{"id":"r-1","name":"u-1--r-1--d-1"}`,
		87: `"action":"MemberAdd","entityId":"r-1","entity":{"id":"r-1","name":"u-2--r-1--d-1"}`,
	})
	s.emitted("Queue", map[int]string{
		70: `"action":"MemberAdd","entityId":"q-1","propertyChanges":[{"property":"QueueMember/q-1:u-1","newValues":["<queue member added>"]}]`,
		69: `"action":"MemberUpdate","entityId":"q-1","propertyChanges":[{"property":"QueueMember/q-1:u-1:joined","oldValues":["false"],"newValues":["true"]}]`,
		68: `"action":"MemberRemove","entityId":"q-1","propertyChanges":[{"property":"queueId:q-1:members","oldValues":["queueMember:u-1"]}]`,
	})
	s.emitted("DirectoryGroup", map[int]string{
		50: `"action":"Update","entityId":"g-1","context":{"correlationId":"c-1"},"propertyChanges":[{"property":"memberCount","oldValues":["1"],"newValues":["3"]}]`,
		49: `"action":"Update","entityId":"g-1","context":{"correlationId":"c-1"},"propertyChanges":[{"property":"group-membership","newValues":["[u-1, u-2]"]}]`,
		48: `"action":"Update","entityId":"g-1","context":{"correlationId":"c-2"},"propertyChanges":[{"property":"group-membership","newValues":["[u-1]"]}]`,
	})
	_, stop := s.start()
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	var got []string
	for _, l := range s.lines("u-1", historyOptions{member: true}) {
		text := func(v *string) string {
			if v == nil {
				return "-"
			}
			return *v
		}
		got = append(got, strings.Join([]string{l.AuditID, text(l.Key), l.ChangeType, text(l.PreviousValue), text(l.NewValue), text(l.DivisionID), text(l.EntityName), text(l.MemberName), text(l.UserName)}, " "))
	}
	want := []string{
		"id-90 members ADDED - u-1 * Admin Ada Grace", "id-89 members REMOVED u-1 - d-1 - - Grace", "id-88 members MODIFIED u-1 u-1 d-1 - - -",
		"id-70 QueueMember/q-1:u-1 ADDED - <queue member added> - - - -", "id-69 QueueMember/q-1:u-1:joined MODIFIED false true - - - -",
		"id-68 queueId:q-1:members REMOVED queueMember:u-1 - - - - -",
		"id-49 group-membership ADDED - u-1 - - - -", "id-48 group-membership MODIFIED - u-1 - - - -",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var words bytes.Buffer
	if err := printHistory(t.Context(), envconfig.MapLookuper(s.env), "u-1", historyOptions{member: true}, &words); err != nil ||
		!strings.Contains(words.String(), `Grace granted role "Admin" to user "Ada" in all divisions`) || !strings.Contains(words.String(), "+ member u-1") {
		t.Errorf("%v:\n%s", err, words.String())
	}
}

// BenchmarkHistoryAt is the cost of a raw record that is of another object, as nearly all are.
func BenchmarkHistoryAt(b *testing.B) {
	p, err := newPast("3fa85f64-5717-4562-b3fc-2c963f66afa6", "default")
	if err != nil {
		b.Fatal(err)
	}
	r := &txn.Record{Value: bytes.Repeat([]byte("0123456789abcdef-"), 70)}
	b.SetBytes(int64(len(r.Value)))
	for b.Loop() {
		if err := p.take(r); err != nil {
			b.Fatal(err)
		}
	}
}
