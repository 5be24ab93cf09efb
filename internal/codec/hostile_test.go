package codec

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestHostileEventsTakeLinearTime: ten times the event must not take a hundred
// times as long. What squares shows at once: 100,000 values would take minutes.
func TestHostileEventsTakeLinearTime(t *testing.T) {
	e, n := newTestEncoder(t), 100_000
	if testing.Short() {
		n = 10_000
	}
	for name, text := range hostileEvents(n) {
		t.Run(name, func(t *testing.T) {
			ev := scan(t, text)
			start := time.Now()
			meta := e.Normalise(&ev, readAt)
			var bytes int
			for i := range meta.Changes {
				bytes += len(e.Record(i))
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%d bytes took %v", len(text), took)
			}
			if bytes > maxRecordBytes+2*len(text) {
				t.Errorf("%d bytes gave %d bytes of records", len(text), bytes)
			}
		})
	}
}

// TestRecordsOfOneEventAreBounded: every record repeats the event's context.
func TestRecordsOfOneEventAreBounded(t *testing.T) {
	keys := func(n int) string {
		return `{` + hostileKeys(n) + `}`
	}
	context := strings.Repeat("x", 10_000)
	for name, c := range map[string]struct {
		event string
		ok    bool
	}{
		"within":                     {`{"context":{"c":"` + context + `"},"after":` + keys(6_000) + `}`, true},
		"beyond, by the context":     {`{"context":{"c":"` + context + `"},"after":` + keys(7_000) + `}`, false},
		"beyond, by the path":        {`{"after":{"` + context + `":{"x":1}},"before":{"` + context + `":` + keys(7_000) + `}}`, false},
		"beyond, by property":        {`{"userId":"` + strings.Repeat("x", 1000) + `","propertyChanges":[` + strings.Repeat(`0,`, 100_000) + `0]}`, false},
		"a million property changes": {`{"auditId":"x","propertyChanges":[` + strings.Repeat(`0,`, 1_100_000) + `0]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEncoder(t)
			ev := scan(t, c.event)
			meta := e.Normalise(&ev, readAt)
			if (meta.Problem == "") != c.ok || !c.ok && (meta.Changes != 1 || meta.Problem != problemTooMany) {
				t.Errorf("%d changes, problem %q", meta.Changes, meta.Problem)
			}
			if c.ok {
				return
			}
			decoder, err := NewDecoder(nil)
			if err != nil {
				t.Fatal(err)
			}
			if change, err := decoder.Decode(e.Record(0)); err != nil || line(change) != nothing {
				t.Errorf("%.100s, %v", line(change), err)
			}
		})
	}
}

func hostileKeys(n int) string {
	var s strings.Builder
	for i := range n {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(`"k`)
		for d := i; d > 0; d /= 10 {
			s.WriteByte(byte('0' + d%10))
		}
		s.WriteString(`":1`)
	}
	return s.String()
}

// TestMemoryIsGivenBack: after a large event the encoder holds no more than it
// allows itself.
func TestMemoryIsGivenBack(t *testing.T) {
	e := newTestEncoder(t)
	small := scan(t, typicalEvent)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	e.Normalise(&small, readAt)
	before := heap()
	n := 30_000
	if testing.Short() {
		n = 5_000
	}
	for _, text := range hostileEvents(n) {
		large := scan(t, text)
		for i := range e.Normalise(&large, readAt).Changes {
			e.Record(i)
		}
	}
	e.Normalise(&small, readAt)
	if grown := int64(heap()) - int64(before); grown > 16<<20 {
		t.Errorf("the encoder keeps %d bytes of events that are gone", grown)
	}
	runtime.KeepAlive(e)
}

// TestPayloadOfTooManyValues stands for what jsonscan bounds.
func TestPayloadOfTooManyValues(t *testing.T) {
	e := newTestEncoder(t)
	e.payload.MaxValues = 10
	ev := scan(t, `{"rawPayload":"{\"after\":{\"a\":[1,2,3,4,5,6,7,8,9,10]}}"}`)
	if meta := e.Normalise(&ev, readAt); meta.Problem != problemPayload || meta.Changes != 1 {
		t.Errorf("%d changes, problem %q", meta.Changes, meta.Problem)
	}
}
