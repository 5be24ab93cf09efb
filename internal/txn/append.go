package txn

import (
	"bytes"
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// Append writes one record outside of any transaction and returns when all
// in-sync replicas have it. It tries until ctx ends and may write the record
// more than once: it is for records whose repetition means nothing, such as
// those with one key in a compacted topic.
func (c *Cluster) Append(ctx context.Context, topic string, partition int32, record *Record) error {
	plain, err := newCompressor(None)
	if err != nil {
		return err
	}
	var b batch
	b.reset(nil)
	b.append(record)
	sealed := b.seal(nil, plain)
	sealed[4+posAttributes+1] &^= attrTransactional
	const none = -1 // no producer id, epoch or sequence
	stamp(sealed, none, none, none)
	err = retryPassing(ctx, func() error { return c.appendOnce(ctx, topic, partition, sealed) })
	if err != nil {
		return fmt.Errorf("append to %s: %w", where(topic, partition), err)
	}
	return nil
}

func (c *Cluster) appendOnce(ctx context.Context, topic string, partition int32, sealed []byte) error {
	addr, err := c.leader(ctx, topic, partition)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	answer, err := c.produce.roundTrip(ctx, addr, &rawproduce.Request{
		Acks: -1, Timeout: int32(c.config.RequestTimeout.Milliseconds()),
		Topics: []rawproduce.RequestTopic{{Topic: topic, Partitions: []rawproduce.RequestPartition{
			{Partition: partition, RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(sealed)}},
		}}},
	})
	if err != nil {
		c.forget(topic)
		return unanswered(err)
	}
	topics := answer.(*produce.Response).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return fmt.Errorf("%w: unexpected topic or partition in response", ErrRetry)
	}
	if code := topics[0].Partitions[0].ErrorCode; code != 0 {
		c.forget(topic)
		return codeError(kafka.Error(code), "Write", "topic "+topic)
	}
	return nil
}
