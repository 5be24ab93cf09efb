package connecttest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Offsets returns how far the sink has come, as it has committed it.
func (s Sink) Offsets(brokers []string) (kadm.OffsetResponses, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return kadm.NewClient(c).FetchOffsets(ctx, "connect-"+s.Name)
}

// CaughtUp fails as long as the sink has not delivered all of a topic, whose partitions all end in a record that it is shown.
func (s Sink) CaughtUp(brokers []string, topic string) error {
	offsets, err := s.Offsets(brokers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err := errors.Join(err, ends.Error()); err != nil {
		return err
	}
	var behind error
	ends.Each(func(end kadm.ListedOffset) {
		if at, _ := offsets.Lookup(topic, end.Partition); at.At < end.Offset {
			behind = fmt.Errorf("partition %d ends at %d, the sink has come to %d", end.Partition, end.Offset, at.At)
		}
	})
	return behind
}
