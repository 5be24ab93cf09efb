package codec

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/schemas"
)

// since1 are the fields that version 1 of the schema lacks.
var since1 = []string{
	"message", "transactionId", "memberId", "memberType", "memberName", "divisionId", "divisionName", "resolvedNames", "maskedFields",
}

const fingerprint1 = 0x3ad62791504978cf // of version 1, by fastavro

// written is an event's first record as today's schema and version 1 have it,
// without framing. Version 1 is written by goavro.
func written(t *testing.T, event string) (now, before []byte) {
	t.Helper()
	ev := scan(t, event)
	values, _ := records(newTestEncoder(t), &ev)
	now = values[0][10:]
	avro, err := goavro.NewCodec(schemas.ConfigurationChange)
	if err != nil {
		t.Fatal(err)
	}
	native, _, err := avro.NativeFromBinary(now)
	if err != nil {
		t.Fatal(err)
	}
	fields := native.(map[string]any)
	maps.DeleteFunc(fields, func(name string, _ any) bool { return slices.Contains(since1, name) })
	if before, err = version1(t).BinaryFromNative(nil, fields); err != nil {
		t.Fatal(err)
	}
	return now, before
}

func version1(t *testing.T) *goavro.Codec {
	t.Helper()
	released, err := schemas.Released()
	if err != nil || len(released) == 0 {
		t.Fatal("no released schema", err)
	}
	c, rabin, err := compile(released[0])
	if err != nil || rabin != fingerprint1 {
		t.Fatalf("version 1 has fingerprint %016x, %v", rabin, err)
	}
	return c
}

const spokenEvent = `{"id":"x","action":"Update","entityType":"Queue","entity":{"id":"q"},"message":{"message":"said"},
	"initiatingAction":{"transactionId":"t"},"remoteIp":["192.0.2.1"],"context":{"a":"b"},
	"propertyChanges":[{"property":"name","oldValues":["a"],"newValues":["b"]}]}`

// TestRecordsOfVersion1AreRead: they stay in the topic when the connector is
// updated, under their own fingerprint, or their own id in the registry.
func TestRecordsOfVersion1AreRead(t *testing.T) {
	now, before := written(t, spokenEvent)
	today, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := today.Decode(append(singleObjectFraming(Fingerprint()), now...))
	if err != nil || *want.Message != "said" || *want.TransactionID != "t" {
		t.Fatalf("%s, %v", asJSON(want), err)
	}
	want.Message, want.TransactionID = nil, nil // all that version 1 lacks of this event
	single := append(binary.LittleEndian.AppendUint64([]byte{0xC3, 0x01}, fingerprint1), before...)
	registered, err := NewDecoder(ConfluentFraming(8), ConfluentFraming(7))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]func() (audit.Change, error){
		"single-object encoding": func() (audit.Change, error) { return today.Decode(single) },
		"Confluent's":            func() (audit.Change, error) { return registered.Decode(append(ConfluentFraming(7), before...)) },
	} {
		if c, err := got(); err != nil || !reflect.DeepEqual(c, want) {
			t.Errorf("%s: %s, %v", name, asJSON(c), err)
		}
	}
	if _, err := registered.Decode(append(ConfluentFraming(8), now...)); err != nil {
		t.Error(err)
	}
	for name, value := range map[string][]byte{
		"version 1 under today's id": append(ConfluentFraming(8), before...),
		"today's under version 1":    append(ConfluentFraming(7), now...),
		"an id of neither":           append(ConfluentFraming(6), now...),
	} {
		if c, err := registered.Decode(value); err == nil {
			t.Errorf("%s is taken for %s", name, asJSON(c))
		}
	}
	alone, err := NewDecoder(ConfluentFraming(8), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := alone.Decode(append(ConfluentFraming(7), before...)); err == nil {
		t.Errorf("a version that the registry does not have is taken for %s", asJSON(c))
	}
}

// TestReadersOfVersion1ReadNewRecords: what was there stands where it stood, and
// what is new comes behind it.
func TestReadersOfVersion1ReadNewRecords(t *testing.T) {
	now, before := written(t, spokenEvent)
	old := version1(t)
	got, rest, err := old.NativeFromBinary(now)
	if err != nil || len(rest) == 0 {
		t.Fatal(err)
	}
	want, _, err := old.NativeFromBinary(before)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v, %v", got, want, err)
	}
	if !bytes.HasPrefix(now, before) {
		t.Errorf("% x does not begin with % x", now, before)
	}
}

func TestFramingsAreThoseOfTheRegistry(t *testing.T) {
	ctx := context.Background()
	for name, registered := range map[string]bool{"upgraded": true, "new": false} {
		t.Run(name, func(t *testing.T) {
			fake := srfake.New()
			defer fake.Close()
			connector := registry(t, RegistryOptions{URL: fake.URL(), AutoRegister: true})
			var want []byte
			if registered {
				client, err := sr.NewClient(sr.URLs(fake.URL()))
				if err != nil {
					t.Fatal(err)
				}
				released, err := schemas.Released()
				if err != nil {
					t.Fatal(err)
				}
				id, err := client.RegisterSchema(ctx, Subject(topic), avro(released[0]), -1, -1)
				if err != nil {
					t.Fatal(err)
				}
				want = ConfluentFraming(id)
			}
			id, err := connector.SchemaID(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			framing, older, err := registry(t, RegistryOptions{URL: fake.URL()}).Framings(ctx, topic)
			if err != nil || !bytes.Equal(framing, ConfluentFraming(id)) || !bytes.Equal(older[0], want) {
				t.Errorf("framings % x and % x, %v; want % x and % x", framing, older, err, ConfluentFraming(id), want)
			}
		})
	}
}
