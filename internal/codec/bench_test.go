package codec

import (
	"fmt"
	"strings"
	"testing"

	"genesys-audit-connector/internal/audit"
)

// typicalEvent is an update of a queue in dialect auditlogs, about 1.1 kB, with
// two of ten keys changed.
const typicalEvent = `{"auditId":"6f0c1a52-7a2f-4bd0-9c7e-0b6a51d1e8aa","userId":"0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11",` +
	`"userName":"Ingrid Bergström","timestamp":"2024-01-15T14:32:10.123Z","action":"Update","entityType":"queue",` +
	`"entityId":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de","entityName":"Billing EMEA",` +
	`"before":{"id":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de","name":"Billing EMEA","description":"First line","acwTimeoutMs":30000,` +
	`"skillEvaluationMethod":"BEST","enableTranscription":false,"members":["a1","b2","c3"],"mediaSettings":{"call":{"alertingTimeoutSeconds":8}},` +
	`"version":41,"divisionId":"home"},` +
	`"after":{"id":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de","name":"Billing EMEA","description":"First line","acwTimeoutMs":45000,` +
	`"skillEvaluationMethod":"BEST","enableTranscription":false,"members":["a1","b2","c3"],"mediaSettings":{"call":{"alertingTimeoutSeconds":12}},` +
	`"version":42,"divisionId":"home"},` +
	`"userHomeOrgId":"1f3c7d0a-cc5d-4f0e-bb6e-4b40f7b2a001","serviceName":"Routing","level":"USER","status":"SUCCESS","application":"Admin UI",` +
	`"remoteIp":["203.0.113.17"],"clientId":null,"context":{"transactionId":"5a1d2f"}}`

// liveEvent is an update of a queue as the dialects query and realtime show it,
// with four properties changed.
const liveEvent = `{"id":"6f0c1a52-7a2f-4bd0-9c7e-0b6a51d1e8aa","userHomeOrgId":"1f3c7d0a-cc5d-4f0e-bb6e-4b40f7b2a001",` +
	`"user":{"id":"0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11","name":"Ingrid Bergström","selfUri":"/api/v2/users/0b7f7f2e-44f5-4c1e-a9b4-2f8f0a7b9c11"},` +
	`"client":{"id":""},"remoteIp":["203.0.113.17"],"serviceName":"ContactCenter","level":"USER","eventDate":"2026-01-15T14:32:10.123Z",` +
	`"action":"Update","entity":{"id":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de","name":"Billing EMEA"},"entityType":"Queue","status":"SUCCESS",` +
	`"application":"","initiatingAction":{"transactionId":"5a1d2f","actionContext":"ADMIN_UI"},"transactionInitiator":true,"propertyChanges":[` +
	`{"property":"acwSettings.timeoutMs","oldValues":["30000"],"newValues":["45000"]},{"property":"version","oldValues":["41"],"newValues":["42"]},` +
	`{"property":"description","oldValues":[],"newValues":["First line"]},{"property":"wrapupCodes","oldValues":["a","b"],"newValues":["b","c"]}],` +
	`"context":{"entityId":"9d3a1b50-1e88-4f0b-8a55-7f2f43d0c0de","auditType":"QUEUE"},"entityChanges":[]}`

func BenchmarkNormaliseAndRecord(b *testing.B) { benchmarkEvent(b, typicalEvent) }

func BenchmarkNormaliseAndRecordLive(b *testing.B) { benchmarkEvent(b, liveEvent) }

func benchmarkEvent(b *testing.B, text string) {
	e := newTestEncoder(b)
	ev := scan(b, text)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		meta := e.Normalise(&ev, readAt)
		for i := range meta.Changes {
			e.Record(i)
		}
	}
}

// BenchmarkAsk is what it takes besides to find out which names an event needs.
func BenchmarkAsk(b *testing.B) {
	asker, err := NewAsker()
	if err != nil {
		b.Fatal(err)
	}
	ev := scan(b, liveEvent)
	b.ReportAllocs()
	b.SetBytes(int64(len(liveEvent)))
	for b.Loop() {
		asker.Ask(&ev, stranger{}, func(audit.Kind, []byte, []byte) {})
	}
}

// stranger knows nobody.
type stranger struct{}

func (stranger) NameOf(audit.Kind, []byte) (audit.Name, bool) { return audit.Name{}, false }

// BenchmarkHostile is what the worst events take per megabyte.
func BenchmarkHostile(b *testing.B) {
	e := newTestEncoder(b)
	for name, text := range hostileEvents(100_000) {
		ev := scan(b, text)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				meta := e.Normalise(&ev, readAt)
				for i := range meta.Changes {
					e.Record(i)
				}
			}
		})
	}
}

// hostileEvents are large events of n values, each made to cost much.
func hostileEvents(n int) map[string]string {
	list := func(sep string, format string, order func(i int) int) string {
		var s strings.Builder
		for i := range n {
			if i > 0 {
				s.WriteString(sep)
			}
			fmt.Fprintf(&s, format, order(i))
		}
		return s.String()
	}
	up := func(i int) int { return i }
	down := func(i int) int { return n - 1 - i }
	nest := func(inner string) string {
		return strings.Repeat(`{"a":`, 990) + inner + strings.Repeat(`}`, 990)
	}
	event := func(before, after string) string {
		return `{"auditId":"x","before":` + before + `,"after":` + after + `}`
	}
	return map[string]string{
		"object, other order":   event("{"+list(",", `"k%d":1`, up)+"}", "{"+list(",", `"k%d":1`, down)+"}"),
		"object, one key":       event("{"+list(",", `"k":%d`, up)+"}", "{"+list(",", `"k":%d`, down)+"}"),
		"object, all changed":   event("{"+list(",", `"k%d":1`, up)+"}", "{"+list(",", `"k%d":2`, down)+"}"),
		"array, other order":    event(`{"a":[`+list(",", `%d`, up)+"]}", `{"a":[`+list(",", `%d`, down)+"]}"),
		"array, equal members":  event(`{"a":[`+list(",", `7%.0d`, up)+"]}", `{"a":[`+list(",", `7%.0d`, up)+",8]}"),
		"array of objects":      event(`{"a":[`+list(",", `{"x":1,"y":%d}`, up)+"]}", `{"a":[`+list(",", `{"y":%d,"x":1}`, down)+"]}"),
		"escaped keys":          event("{"+list(",", `"\u006b%d":1`, up)+"}", "{"+list(",", `"k%d":1`, down)+"}"),
		"deep and wide":         event(nest("{"+list(",", `"k%d":1`, up)+"}"), nest("{"+list(",", `"k%d":2`, up)+"}")),
		"deep, changed at end":  event(nest("["+list(",", `%d`, up)+",1]"), nest("["+list(",", `%d`, up)+",2]")),
		"many property changes": `{"propertyChanges":[` + list(",", `%.0d0`, up) + `]}`,
		"large context":         `{"context":{` + list(",", `"k%d":"v"`, up) + `},"before":{` + list(",", `"k%d":1`, up) + `}}`,
	}
}
