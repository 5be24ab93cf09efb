package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

const (
	// batchTarget is the size, before compression, at which a batch is full. It never exceeds what the topic takes.
	batchTarget = 512 << 10
	// requestTarget bounds a Produce request; a broker refuses over socket.request.max.bytes (100 MiB) by hanging up.
	requestTarget = 8 << 20
	// keepBuffer is the capacity over which a buffer is let go: one large event must not cost its memory for ever.
	keepBuffer = 2 << 20
	// defaultLimit is the broker's own default of max.message.bytes, where reading the topic's is not permitted.
	defaultLimit = 1048588
)

// partitionLog is what the open transaction appends to a partition.
type partitionLog struct {
	topicPartition
	sequence int32 // of the next batch to be appended in this epoch
	end      int64 // where the log ended when that was seen last; nothing is appended before it

	// unsure says that the next batch was sent in this epoch and may have been appended,
	// though no answer has acknowledged it.
	unsure bool

	open   batch
	target int    // the size at which it is full
	key    []byte // of its first record
	sealed []sealedBatch
	next   int // the first of sealed that is not appended yet
}

type sealedBatch struct {
	bytes []byte // a Produce request's record set: 4 bytes of size, then the batch
	key   []byte // of its first record; it names the record that is too large
	count int32
}

// size is the batch as max.message.bytes counts it.
func (b sealedBatch) size() int { return len(b.bytes) - 4 }

func (p *Producer) append(l *partitionLog, r *Record) {
	if l.open.count == 0 && len(l.sealed) == 0 {
		p.touched = append(p.touched, l)
		l.target = p.target(l.topic)
	}
	size := l.open.size(r)
	if l.open.count > 0 && len(l.open.buf)+varintSize(int64(size))+size > l.target {
		p.seal(l)
		size = l.open.size(r)
	}
	if l.open.count == 0 {
		if l.open.buf == nil {
			l.open.buf = p.borrow().buffer()
		}
		l.open.reset(l.open.buf)
		l.key = append(l.key[:0], r.Key...)
	}
	l.open.appendSized(r, size)
}

// target returns the size of a full batch: small enough that only a record in a batch of its own can be too large.
func (p *Producer) target(topic string) int {
	if limit, ok := p.cluster.knownLimit(topic); ok {
		return min(batchTarget, limit)
	}
	return batchTarget
}

// seal finishes the open batch. It is compressed in memory with room for the worst case, and kept in no more than it needs.
func (p *Producer) seal(l *partitionLog) {
	s := p.borrow()
	s.packed = l.open.seal(s.packed, s.compressor)
	l.sealed = append(l.sealed, sealedBatch{bytes: s.keep(s.packed), key: bytes.Clone(l.key), count: l.open.count})
	l.open.count = 0
	if cap(l.open.buf) > keepBuffer {
		l.open.buf = nil
	}
	if cap(s.packed) > keepBuffer {
		s.packed = nil
	}
}

// sealAll finishes the open batches and finds, before anything is sent, a record that its topic does not take. The
// limit that says so is fresh: it heals by itself once the topic takes more.
func (p *Producer) sealAll(ctx context.Context) error {
	for _, l := range p.touched {
		if l.open.count > 0 {
			p.seal(l)
		}
		for i := range l.sealed {
			if err := p.fits(ctx, l, l.sealed[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Producer) fits(ctx context.Context, l *partitionLog, b sealedBatch) error {
	if limit, ok := p.cluster.knownLimit(l.topic); ok && b.size() <= limit {
		return nil
	}
	limit, err := p.cluster.readLimit(ctx, l.topic)
	switch {
	case errors.Is(err, ErrUnauthorized) && b.size() <= requestTarget:
		return nil // the leader will judge
	case err != nil && !errors.Is(err, ErrUnauthorized):
		return fmt.Errorf("max.message.bytes of %s: %w", l.topic, notFatal(err))
	case b.size() <= limit:
		return nil
	}
	return p.tooLarge(l, b, limit)
}

func (p *Producer) tooLarge(l *partitionLog, b sealedBatch, limit int) error {
	if b.count > 1 {
		return fmt.Errorf("%w: %v: %w, now %d", ErrRetry, l.topicPartition, errResize, limit)
	}
	return &TooLargeError{Topic: l.topic, Partition: l.partition, Key: b.key, Size: b.size(), Limit: limit}
}

// sendAll appends every batch, round by round: a Produce request holds one batch a partition, and the next batch of a
// partition waits for the one before, as idempotence wants. Requests to several leaders go out at the same time.
func (p *Producer) sendAll(ctx context.Context) error {
	for p.unsent() {
		if err := p.retry(ctx, func() error { return p.sendRound(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (p *Producer) unsent() bool {
	for _, l := range p.touched {
		if l.next < len(l.sealed) {
			return true
		}
	}
	return false
}

// sendRound sends the next batch of every partition that has one, one request a leader.
func (p *Producer) sendRound(ctx context.Context) error {
	byLeader := map[string][]*partitionLog{}
	size := map[string]int{}
	var worst error
	for _, l := range p.touched {
		if l.next == len(l.sealed) {
			continue
		}
		addr, err := p.cluster.leader(ctx, l.topic, l.partition)
		if err != nil {
			worst = worse(worst, notFatal(err))
			continue
		}
		b := l.sealed[l.next]
		if size[addr] > 0 && size[addr]+b.size() > requestTarget {
			continue // in the next round
		}
		size[addr] += b.size()
		byLeader[addr] = append(byLeader[addr], l)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for addr, logs := range byLeader {
		send := func() {
			err := p.sendTo(ctx, addr, logs)
			mu.Lock()
			defer mu.Unlock()
			worst = worse(worst, err)
		}
		if len(byLeader) == 1 {
			send()
			break
		}
		wg.Go(send)
	}
	wg.Wait()
	return worst
}

// sendTo sends one batch for each of logs to their leader, and counts those up that it has appended.
func (p *Producer) sendTo(ctx context.Context, addr string, logs []*partitionLog) error {
	req := &rawproduce.Request{
		TransactionalID: p.config.TransactionalID,
		Acks:            -1,
		Timeout:         int32(p.config.TransactionTimeout.Milliseconds() / 3),
	}
	slices.SortStableFunc(logs, func(a, b *partitionLog) int { return strings.Compare(a.topic, b.topic) })
	byPartition := make(map[topicPartition]*partitionLog, len(logs))
	size := 0
	for _, l := range logs {
		b := l.sealed[l.next]
		stamp(b.bytes, p.producerID, p.epoch, l.sequence)
		byPartition[l.topicPartition] = l
		size += b.size()
		i := len(req.Topics) - 1
		if i < 0 || req.Topics[i].Topic != l.topic {
			req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: l.topic})
			i++
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rawproduce.RequestPartition{
			Partition: l.partition, RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b.bytes)},
		})
	}
	answer, err := p.cluster.produce.roundTrip(ctx, addr, req)
	if err != nil {
		for _, l := range logs {
			p.cluster.forget(l.topic)
		}
		return indefinite(err)
	}
	res := answer.(*produce.Response)
	p.quota.answered(time.Now(), addr, size, res.ThrottleTimeMs)
	var worst error
	for _, t := range res.Topics {
		for i := range t.Partitions {
			r := &t.Partitions[i]
			l := byPartition[topicPartition{t.Topic, r.Partition}]
			if l == nil {
				return fmt.Errorf("%w: answer for %s, which was not asked", ErrFatal, where(t.Topic, r.Partition))
			}
			delete(byPartition, l.topicPartition)
			worst = worse(worst, p.appended(ctx, l, r))
		}
	}
	if len(byPartition) > 0 {
		return fmt.Errorf("%w: no answer for %d of %d partitions", ErrFatal, len(byPartition), len(logs))
	}
	return worst
}

// appended takes the leader's answer for one batch.
func (p *Producer) appended(ctx context.Context, l *partitionLog, r *produce.ResponsePartition) error {
	b := l.sealed[l.next]
	code := kafka.Error(r.ErrorCode)
	switch code {
	case kafka.DuplicateSequenceNumber: // a batch sent again that had been appended the first time
		if !l.unsure {
			return fmt.Errorf("%w: %v: %w: but this batch was not sent before", ErrFatal, l.topicPartition, code)
		}
		fallthrough
	case 0:
		if r.BaseOffset >= 0 && r.BaseOffset < l.end { // -1: not told, of a duplicate
			return fmt.Errorf("%w: %v was cut off or recreated: it ended at offset %d, and now a batch is at %d",
				ErrFatal, l.topicPartition, l.end, r.BaseOffset)
		}
		l.end = max(l.end, r.BaseOffset+int64(b.count))
		l.sequence, l.unsure = nextSequence(l.sequence, b.count), false
		l.next++
		return nil
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		limit, err := p.cluster.readLimit(ctx, l.topic)
		if err != nil {
			limit = 0
		}
		return p.tooLarge(l, b, limit)
	}
	l.unsure = l.unsure || !refusedBeforeAppend(code)
	if fateOf(code) == ErrRetry {
		p.cluster.forget(l.topic)
	}
	detail := r.ErrorMessage
	for _, e := range r.RecordErrors {
		detail += fmt.Sprintf(" (record %d: %s)", e.BatchIndex, e.BatchIndexErrorMessage)
	}
	return p.refusedFor(code, l.topic, l.partition, detail)
}

// atCoordinator sends a request to the transaction coordinator, looking for it where it is not known.
func (p *Producer) atCoordinator(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	if p.coordinator == "" {
		addr, err := p.cluster.coordinator(ctx, kafka.CoordinatorKeyTypeTransaction, p.config.TransactionalID)
		if err != nil {
			return nil, err
		}
		p.coordinator = addr
	}
	answer, err := p.cluster.control.roundTrip(ctx, p.coordinator, req)
	if err != nil {
		p.coordinator = ""
		return nil, indefinite(err)
	}
	return answer, nil
}

// content returns how much the open transaction holds.
func (p *Producer) content() (records, size int) {
	for _, l := range p.touched {
		for _, b := range l.sealed {
			records += int(b.count)
			size += b.size()
		}
	}
	return records, size
}

// discard forgets the records of the open transaction.
func (p *Producer) discard() {
	for _, l := range p.touched {
		clear(l.sealed)
		l.sealed, l.next, l.open.count = l.sealed[:0], 0, 0
		p.borrow().reuse(l.open.buf)
		l.open.buf = nil
	}
	p.touched = p.touched[:0]
	p.giveBack()
}
