package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/jsonscan"
)

func event(t testing.TB, text string) Event {
	t.Helper()
	doc := new(jsonscan.Doc)
	if err := doc.Parse([]byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return NewEvent(doc.Root())
}

func TestNewEventID(t *testing.T) {
	long := strings.Repeat("x", MaxIDBytes)
	wide := strings.Repeat("é", MaxIDBytes/2)
	for name, c := range map[string]struct{ text, id string }{
		"UUID":                      {`{"auditId":"6f0c1a52"}`, "6f0c1a52"},
		"dialect query":             {`{"id":"6f0c1a52"}`, "6f0c1a52"},
		"both":                      {`{"id":"b","auditId":"a"}`, "a"},
		"auditId null beside id":    {`{"id":"b","auditId":null}`, ""},
		"one byte":                  {`{"auditId":"0"}`, "0"},
		"blank around":              {`{"auditId":" a "}`, " a "},
		"escaped":                   {`{"auditId":"\u0061\/\ud83d\ude00"}`, "a/😀"},
		"under an escaped name":     {`{"\u0061uditId":"a"}`, "a"},
		"under a name of else case": {`{"AuditId":"a"}`, ""},
		"twice":                     {`{"auditId":"a","auditId":"b"}`, "b"},
		"twice, then null":          {`{"auditId":"a","auditId":null}`, ""},
		"512 bytes":                 {`{"auditId":"` + long + `"}`, long},
		"512 bytes, 256 characters": {`{"auditId":"` + wide + `"}`, wide},
		"512 bytes, spelled longer": {`{"auditId":"` + strings.Repeat(`\u0078`, MaxIDBytes) + `"}`, long},
		"513 bytes":                 {`{"auditId":"` + long + `x"}`, ""},
		"empty":                     {`{"auditId":""}`, ""},
		"blank":                     {`{"auditId":" \t\n"}`, ""},
		"blank in Unicode":          {`{"auditId":"\u00a0\u3000\u2028"}`, ""},
		"number":                    {`{"auditId":7}`, ""},
		"boolean":                   {`{"auditId":true}`, ""},
		"null":                      {`{"auditId":null}`, ""},
		"object":                    {`{"auditId":{"id":"a"}}`, ""},
		"array":                     {`{"auditId":["a"]}`, ""},
		"missing":                   {`{}`, ""},
		"half a surrogate pair":     {`{"auditId":"a\ud83d"}`, ""},
		"no UTF-8":                  {"{\"auditId\":\"a\xff\"}", ""},
		"event null":                {`null`, ""},
		"event a string":            {`"auditId"`, ""},
		"event an array":            {`[{"auditId":"a"}]`, ""},
		"id only deeper":            {`{"entity":{"auditId":"a","id":"b"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := event(t, c.text)
			want, problem := c.id, ""
			if want == "" {
				sum := sha256.Sum256([]byte(c.text))
				want, problem = "sha256:"+hex.EncodeToString(sum[:]), "no usable audit id"
			}
			if e.ID != want {
				t.Errorf("id %q, want %q", e.ID, want)
			}
			if got := strings.Contains(e.Problem, "no usable audit id"); got != (problem != "") {
				t.Errorf("problem %q", e.Problem)
			}
			if string(e.Raw) != c.text {
				t.Errorf("raw %s", e.Raw)
			}
		})
	}
}

func TestNewEventTime(t *testing.T) {
	at := time.Date(2024, 1, 15, 14, 32, 10, 123e6, time.UTC)
	for text, want := range map[string]time.Time{
		`{"auditId":"a","timestamp":"2024-01-15T14:32:10.123Z"}`:                                       at,
		`{"id":"a","eventDate":"2024-01-15T14:32:10.123Z"}`:                                            at,
		`{"id":"a","timestamp":"2024-01-15T14:32:10.123Z","eventDate":"x"}`:                            at,
		`{"id":"a","timestamp":"2024-01-15T14:32:10.123\u005a"}`:                                       at,
		`{"id":"a","timestamp":"2000-01-01T00:00:00Z","timestamp":"2024-01-15T14:32:10.123999+00:00"}`: at,
		`{"id":"a","eventTime":"2024-01-15T15:32:10.123999+01:00"}`:                                    at,
		`{"id":"a","eventTime":"x","eventDate":"2024-01-15T14:32:10.123Z"}`:                            at,
		`{"id":"a"}`:                           {},
		`{"id":"a","eventTime":1705329130123}`: {},
		`{"id":"a","timestamp":null,"eventDate":"2024-01-15T14:32:10.123Z"}`: {},
		`{"id":"a","timestamp":1705329130123}`:                               {},
		`{"id":"a","timestamp":"soon"}`:                                      {},
		`{"id":"a","timestamp":["2024-01-15T14:32:10.123Z"]}`:                {},
	} {
		e := event(t, text)
		if !e.Time.Equal(want) || e.Time.IsZero() != want.IsZero() {
			t.Errorf("%s: time %v, want %v", text, e.Time, want)
		}
		problem := ""
		if want.IsZero() {
			problem = "no readable time"
		}
		if e.Problem != problem {
			t.Errorf("%s: problem %q, want %q", text, e.Problem, problem)
		}
	}
	if e := event(t, `7`); e.Problem != "no usable audit id; no readable time" {
		t.Errorf("problem %q", e.Problem)
	}
}

func TestReleaseFreesOnce(t *testing.T) {
	freed := 0
	p := Page{Events: make([]Event, 3), Free: func() { freed++ }}
	p.Release()
	p.Release()
	if freed != 1 || p.Events != nil {
		t.Errorf("freed %d times, events %v", freed, p.Events)
	}
}

func BenchmarkNewEvent(b *testing.B) {
	e := event(b, `{"auditId":"6f0c1a52-7a2f-4bd0-9c7e-0b6a51d1e8aa","userId":"0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11","userName":"Ingrid Bergström",`+
		`"timestamp":"2024-01-15T14:32:10.123Z","action":"Update","entityType":"queue","entityId":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de",`+
		`"entityName":"Billing EMEA","before":{"name":"a","x":1},"after":{"name":"b","x":2},"userHomeOrgId":"1f3c7d0a","serviceName":"Routing",`+
		`"level":"USER","status":"SUCCESS","application":"Admin UI","remoteIp":["203.0.113.17"],"clientId":null,"context":{}}`)
	b.ReportAllocs()
	for b.Loop() {
		if NewEvent(e.Fields).Problem != "" {
			b.Fatal("a problem")
		}
	}
}
