//go:build connect && linux

package elasticsearch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/connecttest"
)

// readTopic reads what a client that nobody here wrote finds in a topic up to now.
func readTopic(brokers []string, topic string, level kgo.IsolationLevel) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// Control records are kept, for a log may end in one, and left out below.
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchIsolationLevel(level))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListCommittedOffsets(ctx, topic)
	if err := errors.Join(err, ends.Error()); err != nil {
		return nil, err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			from[end.Partition], left[end.Partition] = kgo.NewOffset().AtStart(), end.Offset
		}
	})
	c.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read %s, left %v: %w", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records, nil
}

// published is one change record as it stands in Kafka.
type published struct {
	audit.Change
	record *kgo.Record
}

// readChanges reads all committed change records, by their keys, each of which must be there once.
func readChanges(brokers []string) (map[string]published, error) {
	records, err := readTopic(brokers, topic, kgo.ReadCommitted())
	if err != nil {
		return nil, err
	}
	changes := map[string]published{}
	for _, r := range records {
		if _, twice := changes[string(r.Key)]; twice {
			return nil, fmt.Errorf("record %s is there twice", r.Key)
		}
		decoder, err := codec.NewDecoder(codec.ConfluentFraming(int(binary.BigEndian.Uint32(r.Value[1:5]))))
		if err != nil {
			return nil, err
		}
		change, err := decoder.Decode(r.Value)
		if err != nil {
			return nil, err
		}
		changes[string(r.Key)] = published{change, r}
	}
	return changes, nil
}

// outsider writes transactions of its own into the connector's topic.
type outsider struct {
	*testing.T
	*kgo.Client
}

func newOutsider(t *testing.T, brokers []string) outsider {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("outsider"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return outsider{t, c}
}

// begin opens a transaction and writes n records to each of the first partitions. Their values are good ones, so that
// they would be documents if they were committed.
func (o outsider) begin(topic string, partitions, n int, name string, value []byte, at time.Time) {
	o.Helper()
	if err := o.BeginTransaction(); err != nil {
		o.Fatal(err)
	}
	var records []*kgo.Record
	for p := range partitions {
		for i := range n {
			key := fmt.Sprintf("%s-%d-%d:0", name, p, i)
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(p), Key: []byte(key), Value: value, Timestamp: at})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := o.ProduceSync(ctx, records...).FirstErr(); err != nil {
		o.Fatal(err)
	}
}

func (o outsider) end(how kgo.TransactionEndTry) {
	o.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := o.EndTransaction(ctx, how); err != nil {
		o.Fatal(err)
	}
}

// delivered says nil when the sink's group has committed offsets beyond the last change record of each partition.
func delivered(brokers []string, s connecttest.Sink, changes map[string]published) error {
	offsets, err := s.Offsets(brokers)
	if err != nil {
		return err
	}
	for _, c := range changes {
		r := c.record
		if at, ok := offsets.Lookup(r.Topic, r.Partition); !ok || at.At <= r.Offset {
			return fmt.Errorf("partition %d has offset %d, the sink has come to %d", r.Partition, r.Offset, at.At)
		}
	}
	return nil
}

func createTopic(t *testing.T, brokers []string, name string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, name); err != nil {
		t.Fatal(err)
	}
}
