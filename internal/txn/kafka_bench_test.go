//go:build kafka

package txn

import (
	"context"
	"flag"
	"runtime"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/internal/kafkatest"
)

var smallRecords = flag.Int("small", 1_000_000, "records that BenchmarkKafkaRead loads")

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKafkaWrite commits 200,000 events of two records (1.1 kB and 0.4 kB, both with headers) to Apache Kafka.
func BenchmarkKafkaWrite(b *testing.B) {
	kafka := kafkatest.Start(b, kafkatest.Options{})
	testTopics(b, kafka.Brokers())
	raw, changes := eventLike(1000, 1100), eventLike(1000, 400)
	p := newProducer(b, dialBrokers(b, kafka.Brokers()), ProducerConfig{Compression: LZ4})
	ready(b, p)
	events := 0
	runtime.GC()
	began := cpuTime()
	for b.Loop() {
		for range 200 {
			produceEvents(b, p, raw, changes)
			events += len(raw)
		}
	}
	b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/1000/float64(events), "CPU-µs/event")
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
	b.Logf("%+v", p.Stats())
}

// BenchmarkKafkaRead loads small records, as at the start of a connector that remembers many ids.
func BenchmarkKafkaRead(b *testing.B) {
	kafka := kafkatest.Start(b, kafkatest.Options{})
	testTopics(b, kafka.Brokers())
	p := newProducer(b, dialBrokers(b, kafka.Brokers()), ProducerConfig{Compression: LZ4})
	ready(b, p)
	for i := 0; i < *smallRecords; {
		if err := p.Begin(); err != nil {
			b.Fatal(err)
		}
		for end := i + 2000; i < end; i++ {
			r := smallRecord(i)
			if err := p.Produce(topicWide, 0, &r); err != nil {
				b.Fatal(err)
			}
		}
		if err := p.Commit(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	read := 0
	runtime.GC()
	began := cpuTime()
	for b.Loop() {
		r := dialBrokers(b, kafka.Brokers()).NewReader(topicWide, 0, First)
		if err := r.ReadToEnd(context.Background(), func(*Record) error { read++; return nil }); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
	if read%*smallRecords != 0 {
		b.Errorf("%d records read", read)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(read / *smallRecords), "s/load")
	b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(read), "CPU-ns/record")
}
