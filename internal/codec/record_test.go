package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/schemas"
)

// canonical is the schema's Parsing Canonical Form, written by hand from the
// specification: no library's opinion of it.
const canonical = `{"name":"genesys.audit.ConfigurationChange","type":"record","fields":[` +
	`{"name":"auditId","type":"string"},{"name":"changeIndex","type":"int"},{"name":"changeCount","type":"int"},` +
	`{"name":"timestamp","type":"long"},` + // logicalType is stripped, and "type": {"type": "long"} is unwrapped
	`{"name":"userId","type":["null","string"]},{"name":"userName","type":["null","string"]},` +
	`{"name":"action","type":"string"},{"name":"entityType","type":"string"},` +
	`{"name":"entityId","type":["null","string"]},{"name":"entityName","type":["null","string"]},` +
	`{"name":"configurationKey","type":["null","string"]},` +
	`{"name":"changeType","type":{"name":"genesys.audit.ChangeType","type":"enum","symbols":["ADDED","REMOVED","MODIFIED","REORDERED","NONE"]}},` +
	`{"name":"previousValue","type":["null","string"]},{"name":"newValue","type":["null","string"]},` +
	`{"name":"previousType","type":{"name":"genesys.audit.ValueType","type":"enum","symbols":["ABSENT","NULL","STRING","NUMBER","BOOLEAN","OBJECT","ARRAY"]}},` +
	`{"name":"newType","type":"genesys.audit.ValueType"},` +
	`{"name":"orgId","type":["null","string"]},{"name":"serviceName","type":["null","string"]},{"name":"clientId","type":["null","string"]},` +
	`{"name":"status","type":["null","string"]},{"name":"level","type":["null","string"]},{"name":"application","type":["null","string"]},` +
	`{"name":"remoteIp","type":{"type":"array","items":"string"}},{"name":"context","type":{"type":"map","values":"string"}},` +
	`{"name":"message","type":["null","string"]},{"name":"transactionId","type":["null","string"]},` +
	`{"name":"memberId","type":["null","string"]},{"name":"memberType","type":["null","string"]},{"name":"memberName","type":["null","string"]},` +
	`{"name":"divisionId","type":["null","string"]},{"name":"divisionName","type":["null","string"]},` +
	`{"name":"resolvedNames","type":{"type":"array","items":"string"}},{"name":"maskedFields","type":{"type":"array","items":"string"}}]}`

// rabin is the specification's CRC-64-AVRO, bit by bit.
// https://avro.apache.org/docs/1.12.0/specification/#schema-fingerprints
func rabin(text string) uint64 {
	const empty = 0xC15D213AA4D7A795
	fp := uint64(empty)
	for _, c := range []byte(text) {
		fp ^= uint64(c)
		for range 8 {
			fp = fp>>1 ^ empty&-(fp&1)
		}
	}
	return fp
}

func TestFingerprint(t *testing.T) {
	// The specification's reference values are those of java's tests: "null" is 63dd24e7cc258f8a.
	if got := rabin(`"null"`); got != 0x63dd24e7cc258f8a {
		t.Fatalf("the test's own CRC-64-AVRO of \"null\" is %x", got)
	}
	const fastavros = 0x16029dc3ee71a9b2 // fastavro.schema.fingerprint(to_parsing_canonical_form(…), "CRC-64-AVRO"), which prints its bytes
	if got := rabin(canonical); got != fastavros {
		t.Errorf("the canonical form's fingerprint is %016x, fastavro's %016x", got, uint64(fastavros))
	}
	if got, want := Fingerprint(), rabin(canonical); got != want {
		t.Errorf("fingerprint %016x, want %016x", got, want)
	}
}

// TestSingleObject: goavro finds the schema of a record, and reads it, by the
// fingerprint alone, once it has the canonical form right.
func TestSingleObject(t *testing.T) {
	avro, err := goavro.NewCodec(canonical)
	if err != nil {
		t.Fatal(err)
	}
	ev := scan(t, typicalEvent)
	values, _ := records(newTestEncoder(t), &ev)
	for _, value := range values {
		native, rest, err := avro.NativeFromSingle(value)
		if err != nil || len(rest) > 0 {
			t.Fatalf("% x: %v", value, err)
		}
		if again, err := avro.SingleFromNative(nil, native); err != nil || !bytes.Equal(again, value) {
			t.Errorf("written   % x\ngoavro's % x (%v)", value, again, err)
		}
	}
}

func TestFraming(t *testing.T) {
	ev := scan(t, typicalEvent)
	plain, _ := records(newTestEncoder(t), &ev)
	want := binary.LittleEndian.AppendUint64([]byte{0xC3, 0x01}, rabin(canonical))
	if !bytes.HasPrefix(plain[0], want) {
		t.Errorf("single-object encoding starts with % x, want % x", plain[0][:10], want)
	}
	framing := ConfluentFraming(0x01020304)
	if !bytes.Equal(framing, []byte{0, 1, 2, 3, 4}) {
		t.Errorf("Confluent's framing is % x", framing)
	}
	for _, framing := range [][]byte{framing, {}} {
		e, err := NewEncoder(Options{Framing: framing})
		if err != nil {
			t.Fatal(err)
		}
		framed, _ := records(e, &ev)
		decoder, err := NewDecoder(framing)
		if err != nil {
			t.Fatal(err)
		}
		for i := range framed {
			if !bytes.Equal(framed[i], append(slices.Clone(framing), plain[i][10:]...)) {
				t.Errorf("framing % x: record %d differs in more than its framing", framing, i)
			}
			if _, err := decoder.Decode(framed[i]); err != nil {
				t.Errorf("framing % x: %v", framing, err)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	ev := scan(t, typicalEvent)
	values, _ := records(newTestEncoder(t), &ev)
	for _, framing := range [][]byte{nil, ConfluentFraming(7)} {
		decoder, err := NewDecoder(framing)
		if err != nil {
			t.Fatal(err)
		}
		whole := append(slices.Clone(framing), values[0]...)
		if framing != nil {
			whole = append(slices.Clone(framing), values[0][10:]...)
		}
		if _, err := decoder.Decode(whole); err != nil {
			t.Fatalf("a whole record: %v", err)
		}
		for _, wrong := range [][]byte{nil, whole[:4], whole[:len(whole)-1], append(slices.Clone(whole), 0), append([]byte{0xC3, 1, 0, 0, 0, 0, 0, 0, 0, 0}, whole[10:]...)} {
			if c, err := decoder.Decode(wrong); err == nil {
				t.Errorf("% x is taken for %+v", wrong, c)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	e := newTestEncoder(f)
	for _, event := range []string{typicalEvent, `{}`, `{"remoteIp":["a","b"],"context":{"a":"b","c":"d"},"userId":"\u0000"}`} {
		ev := scan(f, event)
		values, _ := records(e, &ev)
		for _, value := range values {
			f.Add(value)
		}
	}
	decoder, err := NewDecoder(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		// Whatever it is, it decodes or is refused; a record's changeIndex and
		// enums are what goavro has checked.
		c, err := decoder.Decode(value)
		if err == nil && (c.Type == "" || c.PreviousType == "" || c.NewType == "" || c.Context == nil) {
			t.Errorf("% x is taken for %+v", value, c)
		}
	})
}

func text(s string) *string { return &s }

// TestFields: every field of the record, from both shapes of an event.
func TestFields(t *testing.T) {
	want := audit.Change{
		AuditID: "id-1", Index: 0, Count: 1, Time: time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC),
		UserID: text("u"), UserName: text("Ingrid"), Action: "Update", EntityType: "Queue", EntityID: text("e"), EntityName: text("Billing"),
		Key: text("name"), Type: "MODIFIED", Previous: text("a"), New: text("b"), PreviousType: "STRING", NewType: "STRING",
		OrgID: text("o"), ServiceName: text("Routing"), ClientID: text("c"), Status: text("SUCCESS"), Level: text("USER"), Application: text("UI"),
		RemoteIP: []string{"203.0.113.1", "2001:db8::1"}, Context: map[string]string{"k": "v"},
	}
	shared := `"action":"Update","entityType":"Queue","userHomeOrgId":"o","serviceName":"Routing","status":"SUCCESS","level":"USER","application":"UI",
		"remoteIp":["203.0.113.1","2001:db8::1"],"context":{"k":"v"},`
	for name, event := range map[string]string{
		"auditlogs": `{"auditId":"id-1","timestamp":"2026-02-03T04:05:06.789Z","userId":"u","userName":"Ingrid","entityId":"e","entityName":"Billing","clientId":"c",` + shared +
			`"before":{"name":"a"},"after":{"name":"b"}}`,
		"query": `{"id":"id-1","eventDate":"2026-02-03T05:05:06.789+01:00","user":{"id":"u","name":"Ingrid","selfUri":"/x"},"entity":{"id":"e","name":"Billing"},"client":{"id":"c"},` + shared +
			`"propertyChanges":[{"property":"name","oldValues":["a"],"newValues":["b"]}]}`,
		"mixed": `{"id":"id-1","eventDate":"2026-02-03T04:05:06.789999Z","userId":null,"user":{"id":"u","name":"x"},"userName":"Ingrid","entityId":"e","entity":{"name":"Billing"},
			"client":{"id":"x"},"clientId":"c",` + shared + `"rawPayload":"{\"before\":{\"name\":\"a\"},\"after\":{\"name\":\"b\"}}"}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, meta := changes(t, event)
			if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("got %s\nwant %s", asJSON(got), asJSON(want))
			}
			if string(meta.EntityID) != "e" || string(meta.EntityType) != "Queue" || string(meta.Action) != "Update" || meta.Problem != "" {
				t.Errorf("meta %s %s %s %q", meta.EntityID, meta.EntityType, meta.Action, meta.Problem)
			}
		})
	}
}

// TestOddFields: values of other types where strings belong.
func TestOddFields(t *testing.T) {
	got, _ := changes(t, `{"auditId":"x","userId":7,"userName":{"a":1},"action":null,"entityType":[1],"entityId":-0.50,"entityName":null,"clientId":true,
		"userHomeOrgId":"","serviceName":"\ud83d \u00e9","status":[],"level":false,"application":"\u0000",
		"remoteIp":["a",1,null,{"x":1},true,[2]],"context":{"a":1,"b":null,"c":{"d":1},"e":"f","g":[1],"e":"last","":"empty","\u0068":false}}`)
	want := audit.Change{
		AuditID: "x", Count: 1, Time: readAt, UserID: text("7"), EntityID: text("-0.50"), ClientID: text("true"),
		Type: "NONE", PreviousType: "ABSENT", NewType: "ABSENT",
		ServiceName: text("\ufffd é"), Level: text("false"), Application: text("\x00"),
		RemoteIP: []string{"a", "1", "true"}, Context: map[string]string{"a": "1", "e": "last", "": "empty", "h": "false"},
	}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %s\nwant %s", asJSON(got), asJSON(want))
	}
	for list, want := range map[string][]string{`"10.0.0.1"`: {"10.0.0.1"}, `7`: {"7"}, `null`: nil, `{"a":"b"}`: nil, `[]`: nil, `[null]`: nil} {
		if got, _ := changes(t, `{"remoteIp":`+list+`}`); !slices.Equal(got[0].RemoteIP, want) {
			t.Errorf("remoteIp %s: %q, want %q", list, got[0].RemoteIP, want)
		}
	}
	for _, context := range []string{`null`, `"x"`, `[{"a":"b"}]`, `{}`, `{"a":null}`} {
		if got, _ := changes(t, `{"context":`+context+`}`); len(got[0].Context) > 0 {
			t.Errorf("context %s: %v", context, got[0].Context)
		}
	}
}

func TestRoleMembership(t *testing.T) {
	const name = "0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11--9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de--1f3c7d0a-cc5d-4f0e-bb6e-4b40f7b2a001"
	ids := map[string]string{
		"userId": "0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11", "roleId": "9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de", "orgId": "1f3c7d0a-cc5d-4f0e-bb6e-4b40f7b2a001"}
	for what, c := range map[string]struct {
		event string
		want  map[string]string
	}{
		"query":               {`{"action":"MemberAdd","entityType":"Role","entity":{"id":"r","name":"` + name + `"}}`, ids},
		"auditlogs":           {`{"action":"MemberRemove","entityType":"role","entityName":"` + name + `"}`, ids},
		"update":              {`{"action":"MemberUpdate","entityType":"Role","entityName":"` + name + `"}`, ids},
		"own context":         {`{"action":"MemberAdd","entityType":"Role","entityName":"u--r--o","context":{"roleId":"mine","x":"y"}}`, map[string]string{"roleId": "mine", "x": "y", "userId": "u", "orgId": "o"}},
		"own context, null":   {`{"action":"MemberAdd","entityType":"Role","entityName":"u--r--o","context":{"roleId":null}}`, map[string]string{"roleId": "r", "userId": "u", "orgId": "o"}},
		"another action":      {`{"action":"Update","entityType":"Role","entityName":"` + name + `"}`, map[string]string{}},
		"action in else case": {`{"action":"memberadd","entityType":"Role","entityName":"` + name + `"}`, map[string]string{}},
		"another type":        {`{"action":"MemberAdd","entityType":"Group","entityName":"` + name + `"}`, map[string]string{}},
		"two ids":             {`{"action":"MemberAdd","entityType":"Role","entityName":"a--b"}`, map[string]string{}},
		"four ids":            {`{"action":"MemberAdd","entityType":"Role","entityName":"a--b--c--d"}`, map[string]string{}},
		"an empty id":         {`{"action":"MemberAdd","entityType":"Role","entityName":"a----c"}`, map[string]string{}},
		"an empty last id":    {`{"action":"MemberAdd","entityType":"Role","entityName":"a--b--"}`, map[string]string{}},
		"no name":             {`{"action":"MemberAdd","entityType":"Role"}`, map[string]string{}},
		"a name":              {`{"action":"MemberAdd","entityType":"Role","entityName":"Supervisor"}`, map[string]string{}},
	} {
		if got, _ := changes(t, c.event); !maps.Equal(got[0].Context, c.want) {
			t.Errorf("%s: context %v, want %v", what, got[0].Context, c.want)
		}
	}
}

// TestRecordInAnyOrder: records may be written again, and in any order.
func TestRecordInAnyOrder(t *testing.T) {
	e := newTestEncoder(t)
	ev := scan(t, `{"auditId":"x","before":{"a":1,"b":"\u0041"},"after":{"a":2,"b":"\u0042","c":3}}`)
	first, meta := records(e, &ev)
	if meta.Changes != 3 {
		t.Fatalf("%d changes", meta.Changes)
	}
	for _, i := range []int{2, 0, 1, 1, 0, 2} {
		if !bytes.Equal(e.Record(i), first[i]) {
			t.Errorf("record %d is written otherwise a second time", i)
		}
	}
}

// TestEncoderForgets: no event leaves a trace in the next one.
func TestEncoderForgets(t *testing.T) {
	used, fresh := newTestEncoder(t), newTestEncoder(t)
	events := []string{
		typicalEvent, `{}`, `{"rawPayload":"{\"before\":{\"\\u0061\":1}}","context":{"a":"b"},"entityId":"\u0065"}`, `null`,
		`{"after":` + strings.Repeat(`[`, 1200) + strings.Repeat(`]`, 1200) + `}`, `{"before":{"memberIds":[1,2]},"after":{"memberIds":[2,1]}}`, `{"action":"\u0041"}`,
	}
	for i, a := range events {
		for j, b := range events {
			first, second := scan(t, a), scan(t, b)
			records(used, &first)
			got, _ := records(used, &second)
			want, _ := records(fresh, &second)
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("event %d after event %d differs", j, i)
			}
		}
	}
}

func TestNoAllocationPerEvent(t *testing.T) {
	e := newTestEncoder(t)
	for name, text := range map[string]string{
		"typical":      typicalEvent,
		"escapes":      `{"auditId":"x","userName":"\u0041","before":{"\u0062":"\u00e9","c":[1,2]},"after":{"b":"\n","c":[2,1]},"context":{"\u0061":"\/"}}`,
		"listed":       `{"entityType":"Role","action":"MemberAdd","entity":{"name":"a--b--c"},"propertyChanges":[{"property":"p","oldValues":["1","2"],"newValues":["2","1"]}]}`,
		"payload":      `{"rawPayload":"{\"before\":{\"a\":1},\"after\":{\"a\":2}}"}`,
		"unknown type": `{"entityType":"Unheard of"}`,
	} {
		ev := scan(t, text)
		allocs := testing.AllocsPerRun(100, func() {
			for i := range e.Normalise(&ev, readAt).Changes {
				e.Record(i)
			}
		})
		if allocs > 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// TestSchemaFields: the schema's fields are in the contract's order, and those
// that an event may lack have a default, for readers with an older schema.
func TestSchemaFields(t *testing.T) {
	var schema struct{ Fields []map[string]any }
	if err := json.Unmarshal([]byte(schemas.ConfigurationChange), &schema); err != nil {
		t.Fatal(err)
	}
	var names []string
	always := strings.Fields("auditId changeIndex changeCount timestamp action entityType changeType previousType newType")
	for _, f := range schema.Fields {
		name := f["name"].(string)
		names = append(names, name)
		if _, has := f["default"]; !has && !slices.Contains(always, name) {
			t.Errorf("%s has no default", name)
		}
	}
	want := "auditId changeIndex changeCount timestamp userId userName action entityType entityId entityName configurationKey changeType " +
		"previousValue newValue previousType newType orgId serviceName clientId status level application remoteIp context " +
		"message transactionId memberId memberType memberName divisionId divisionName resolvedNames maskedFields"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("fields\n%s, want\n%s", got, want)
	}
	if _, err := goavro.NewCodec(schemas.ConfigurationChange); err != nil {
		t.Error(err)
	}
}
