package codec

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/linkedin/goavro/v2"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/schemas"
)

// checker compares an Encoder with the reference and with goavro, event by event.
type checker struct {
	encoder *Encoder
	decoder *Decoder
	avro    *goavro.Codec
	doc     jsonscan.Doc
}

func newChecker(t testing.TB) *checker {
	t.Helper()
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	avro, err := goavro.NewCodec(schemas.ConfigurationChange)
	if err != nil {
		t.Fatal(err)
	}
	return &checker{encoder: newTestEncoder(t), decoder: decoder, avro: avro}
}

func (c *checker) check(t *testing.T, text []byte) {
	t.Helper()
	if err := c.doc.Parse(text); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	ev := audit.NewEvent(c.doc.Root())
	values, meta := records(c.encoder, &ev)
	at := ev.Time
	if at.IsZero() {
		at = readAt
	}
	want := refNormalise(text, ev.ID, at, c.encoder.mappings)
	var got []audit.Change
	for _, value := range values {
		change, err := c.decoder.Decode(value)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got = append(got, change)
		c.recode(t, value, len(change.Context))
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("event %s\nmeta %+v\n got %s\nwant %s", text, meta, asJSON(got), asJSON(want))
	}
	first := got[0]
	if string(meta.Action) != first.Action || string(meta.EntityType) != first.EntityType || string(meta.EntityID) != refOr(first.EntityID) {
		t.Fatalf("event %s: meta %s %s %s", text, meta.Action, meta.EntityType, meta.EntityID)
	}
}

// recode reads a value with goavro and writes it again: the same bytes, but for
// the order of a map.
func (c *checker) recode(t *testing.T, value []byte, mapped int) {
	t.Helper()
	body := value[10:]
	native, rest, err := c.avro.NativeFromBinary(body)
	if err != nil || len(rest) > 0 {
		t.Fatalf("% x: %v, %d bytes left", value, err, len(rest))
	}
	again, err := c.avro.BinaryFromNative(nil, native)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) != len(body) || mapped < 2 && !bytes.Equal(again, body) {
		t.Fatalf("written   % x\ngoavro's % x", body, again)
	}
}

func asJSON(v any) string {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestRandomEventsLikeReference(t *testing.T) {
	n := 6_000
	if testing.Short() {
		n = 1_000
	}
	c := newChecker(t)
	w := &writer{Rand: rand.New(rand.NewPCG(1, 2))}
	kinds := make(map[string]int)
	for range n {
		text := w.event()
		c.check(t, []byte(text))
		change := c.first(t)
		kinds[change.Type]++
		if change.MemberID != nil {
			kinds["member "+change.Type]++
		}
	}
	// The events must reach every kind of change, or the comparison says little.
	for _, kind := range []string{"ADDED", "REMOVED", "MODIFIED", "REORDERED", "NONE"} {
		if kinds[kind] < n/100 {
			t.Errorf("only %d of %d events have %s first", kinds[kind], n, kind)
		}
	}
	for _, kind := range []string{"member ADDED", "member REMOVED", "member MODIFIED"} {
		if kinds[kind] < n/3000 {
			t.Errorf("only %d of %d events have %s first", kinds[kind], n, kind)
		}
	}
}

// first is the first record of the event at hand.
func (c *checker) first(t *testing.T) audit.Change {
	t.Helper()
	change, err := c.decoder.Decode(c.encoder.Record(0))
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func FuzzNormalise(f *testing.F) {
	w := &writer{Rand: rand.New(rand.NewPCG(3, 4))}
	for range 200 {
		f.Add([]byte(w.event()))
	}
	f.Add([]byte(typicalEvent))
	for _, odd := range []string{`{"":"0"}`, liveEvent, memberEvent("c", "g", "a", "b"), `null`, `"x"`, `7`, `[{}]`, `{}`, `{"before":{"a":{}},"after":{"a":[]}}`} {
		f.Add([]byte(odd))
	}
	c := newChecker(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) || nesting(text) > 500 {
			t.Skip("not for the reference")
		}
		c.check(t, text)
	})
}

// nesting is at least how deep a text is nested, strings included.
func nesting(text []byte) int {
	return bytes.Count(text, []byte("{")) + bytes.Count(text, []byte("["))
}
