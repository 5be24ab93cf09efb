package txn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// eventLike makes records like the connector's: a raw event of about 1.1 kB of JSON, or a change of about 0.5 kB.
func eventLike(count, size int) []Record {
	random := rand.New(rand.NewPCG(1, 2))
	uuid := func() string {
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", random.Uint32(), random.IntN(1<<16), random.IntN(1<<12), random.IntN(1<<12), random.Int64N(1<<48))
	}
	records := make([]Record, count)
	for i := range records {
		id := uuid()
		value := fmt.Sprintf(`{"id":"%s","userHomeOrgId":"6b9a3a0e-2f0f-4d8e-9c55-8d8b2f9f1a11","user":{"id":"%s","name":"Admin %d"},"serviceName":"Routing",`+
			`"eventDate":"2026-01-01T00:%02d:%02d.%03dZ","action":"Update","entity":{"id":"%s","name":"Queue %d","type":"Queue"},"propertyChanges":[`,
			id, uuid(), random.IntN(50), i/60%60, i%60, random.IntN(1000), uuid(), random.IntN(300))
		for len(value) < size {
			value += fmt.Sprintf(`{"property":"acwTimeoutMs%d","oldValues":["%d"],"newValues":["%d"]},`, random.IntN(40), random.IntN(100000), random.IntN(100000))
		}
		records[i] = Record{
			Key: []byte(id), Value: []byte(value[:size]), Time: 1_767_225_600_000 + int64(i),
			Headers: []Header{
				{"audit-id", []byte(id)}, {"org", []byte("default")}, {"entity-type", []byte("Queue")}, {"action", []byte("Update")},
				{"event-time", []byte("2026-01-01T00:00:00.000Z")}, {"sha256", []byte(uuid() + uuid())},
			},
		}
	}
	return records
}

func BenchmarkBatch(b *testing.B) {
	for _, codec := range []Compression{None, Snappy, LZ4, Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			records := eventLike(400, 1100)
			c := mustCompressor(b, codec)
			var open batch
			var out []byte
			b.ReportAllocs()
			size := 0
			for n := 0; b.Loop(); n++ {
				r := &records[n%len(records)]
				if open.count == 0 {
					open.reset(open.buf)
				}
				open.append(r)
				if len(open.buf) > batchTarget {
					out = open.seal(out, c)
					stamp(out, 1, 2, 3)
					size = len(out) * 100 / len(open.buf)
					open.count = 0
				}
			}
			b.ReportMetric(float64(size), "%size")
		})
	}
}

// BenchmarkCommit writes transactions of 500 events of two records to an embedded broker that keeps nothing. Its own
// share of the CPU is in the figure.
func BenchmarkCommit(b *testing.B) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topicLog), kfake.SeedTopics(partitions, topicWide), kfake.BlackholeProduce())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(fake.Close)
	raw, changes := eventLike(500, 1100), eventLike(500, 400)
	p := newProducer(b, dialFake(b, fake), ProducerConfig{Compression: LZ4})
	ready(b, p)
	b.ReportAllocs()
	events := 0
	for b.Loop() {
		produceEvents(b, p, raw, changes)
		events += len(raw)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}

func produceEvents(b testing.TB, p *Producer, raw, changes []Record) {
	if err := p.Begin(); err != nil {
		b.Fatal(err)
	}
	for i := range raw {
		part := int32(i % partitions)
		if err := p.Produce(topicWide, part, &raw[i]); err != nil {
			b.Fatal(err)
		}
		if err := p.Produce(topicWide, part, &changes[i]); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Commit(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkDecode(b *testing.B) {
	const count = 4000
	records := make([]Record, count)
	for i := range records {
		records[i] = smallRecord(i)
	}
	for _, codec := range []Compression{None, LZ4} {
		b.Run(codec.String(), func(b *testing.B) {
			answer := &fetched{records: sealed(b, codec, records)[4:]}
			r := &Reader{highWatermark: -1}
			b.ReportAllocs()
			read := 0
			for b.Loop() {
				r.offset = 0
				if err := r.deliver(answer, func(*Record) error { read++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read), "ns/record")
		})
	}
}

// smallRecord is like one of the offsets topic: a key of 60 bytes, a value of 13.
func smallRecord(i int) Record {
	random := rand.New(rand.NewPCG(uint64(i), 7))
	return Record{
		Key:   fmt.Appendf(nil, "organisation-1/seen/%08x-%04x-4%03x-8%03x-%016x", random.Uint32(), random.IntN(1<<16), random.IntN(1<<12), random.IntN(1<<12), random.Uint64()),
		Value: fmt.Appendf(nil, "%013d", 1_767_225_600_000+int64(i)),
		Time:  1_767_225_600_000 + int64(i),
	}
}
