//go:build postgres && linux

package postgres

import (
	"context"
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/connecttest"
	"genesys-audit-connector/internal/jsonscan"
)

const (
	topic      = "genesys.audit.changes"
	partitions = 3
)

// encoding makes change records of events, the way that the connector does.
type encoding struct {
	*testing.T
	encoder *codec.Encoder
	decoder *codec.Decoder
	written map[string]audit.Change // by record key: what is to be in the table
}

func newEncoding(t *testing.T, framing []byte) encoding {
	t.Helper()
	e := encoding{T: t, written: map[string]audit.Change{}}
	var err error
	if e.encoder, err = codec.NewEncoder(codec.Options{Framing: framing}); err != nil {
		t.Fatal(err)
	}
	if e.decoder, err = codec.NewDecoder(framing); err != nil {
		t.Fatal(err)
	}
	return e
}

// writer puts records into Kafka.
type writer struct {
	encoding
	brokers []string
	client  *kgo.Client
}

func newWriter(t *testing.T, brokers []string, registry connecttest.Service) writer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := codec.NewRegistry(codec.RegistryOptions{URL: registry.URL, AutoRegister: true})
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.SchemaID(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	return writer{newEncoding(t, codec.ConfluentFraming(id)), brokers, client}
}

// record is one of the topic; the records of one key are in one partition.
func record(key string, value []byte) *kgo.Record {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return &kgo.Record{Topic: topic, Partition: int32(h.Sum32() % partitions), Key: []byte(key), Value: value}
}

// events makes the records of events.
func (e encoding) events(events ...string) []*kgo.Record {
	e.Helper()
	var records []*kgo.Record
	for _, text := range events {
		var doc jsonscan.Doc
		if err := doc.Parse([]byte(text)); err != nil {
			e.Fatalf("%v: %s", err, text)
		}
		event := audit.NewEvent(doc.Root())
		meta := e.encoder.Normalise(&event, time.Time{})
		for i := range meta.Changes {
			value := append([]byte(nil), e.encoder.Record(i)...)
			change, err := e.decoder.Decode(value)
			if err != nil {
				e.Fatal(err)
			}
			key := fmt.Sprintf("%s:%d", event.ID, i)
			e.written[key] = change
			records = append(records, record(key, value))
		}
	}
	return records
}

// erase makes tombstones, as an erasure of events leaves them.
func (w writer) erase(keys ...string) []*kgo.Record {
	w.Helper()
	var records []*kgo.Record
	for _, key := range keys {
		if _, ok := w.written[key]; !ok {
			w.Fatalf("no record %s", key)
		}
		delete(w.written, key)
		records = append(records, record(key, nil))
	}
	return records
}

func (w writer) produce(records []*kgo.Record) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		w.Fatal(err)
	}
}

// abort puts records into all partitions, in a transaction that is aborted.
func (w writer) abort(value []byte) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.TransactionalID("outsider"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		w.Fatal(err)
	}
	var records []*kgo.Record
	for p := range int32(partitions) {
		records = append(records, &kgo.Record{Topic: topic, Partition: p, Key: fmt.Appendf(nil, "aborted-%d:0", p), Value: value})
	}
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		w.Fatal(err)
	}
	if err := c.EndTransaction(ctx, kgo.TryAbort); err != nil {
		w.Fatal(err)
	}
}
