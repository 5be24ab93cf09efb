package txn

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// Offsets to begin reading at, where it is not a number.
const (
	First int64 = -2 // the oldest record that is kept
	Last  int64 = -1 // only what comes from now on
)

const (
	readPoll = 500 * time.Millisecond
)

// Reader reads what was committed to one partition, in the order of its offsets. It is not safe for concurrent use.
//
// A broker answers a read-committed fetch up to the last stable offset, where the first open transaction begins, and
// names the transactions in it that were aborted. So every batch handed out is decided, whenever reading began, and
// however many producers are interleaved: a transactional batch counts unless its producer is, at that offset, within
// a transaction that is named as aborted (the way of Java's CompletedFetch). Nothing is kept back from one answer to
// the next. kafka-go 0.4.51 returns aborted and control records as if they were data (its issue 1332).
type Reader struct {
	cluster   *Cluster
	conns     *conns
	topic     string
	partition int32

	offset        int64 // of the next record; First or Last while not resolved
	begin         int64 // where reading began
	highWatermark int64 // as of the last answer; -1 before
	lastStable    int64 // where the first open transaction began, as of the last answer
	buf           []byte
	packed        decompressor
	decoder       recordDecoder
}

// NewReader returns a reader of a partition from an offset, First or Last on. It contacts nothing yet.
func (c *Cluster) NewReader(topic string, partition int32, offset int64) *Reader {
	return &Reader{
		cluster: c, conns: newConns(c, 1), topic: topic, partition: partition, offset: offset, begin: offset, highWatermark: -1,
	}
}

// Close closes the reader's connection.
func (r *Reader) Close() { r.conns.close() }

// Offset returns the offset of the next record, or First or Last as long as nothing was read.
func (r *Reader) Offset() int64 { return r.offset }

// Lag returns how many offsets the partition was ahead at the last answer, and false before the first.
func (r *Reader) Lag() (int64, bool) {
	if r.highWatermark < 0 || r.offset < 0 {
		return 0, false
	}
	return max(0, r.highWatermark-r.offset), true
}

// Poll fetches once and calls fn for every committed record in the answer; with none to be had it waits for maxWait.
// The record is valid until fn returns. An error of fn ends Poll, and that record is the next one again. ErrRetry means
// that the leader moved or did not answer: nothing is lost, call Poll again. ErrOutOfRange is for the caller to judge.
func (r *Reader) Poll(ctx context.Context, maxWait time.Duration, fn func(*Record) error) error {
	if err := r.poll(ctx, maxWait, fn); err != nil {
		return fmt.Errorf("read %s at %d: %w", where(r.topic, r.partition), r.offset, err)
	}
	return nil
}

func (r *Reader) poll(ctx context.Context, maxWait time.Duration, fn func(*Record) error) error {
	if err := r.resolve(ctx); err != nil {
		return err
	}
	answer, err := r.fetch(ctx, maxWait, readCommitted)
	if err != nil {
		return err
	}
	switch {
	case answer.code == kafka.OffsetOutOfRange && r.begin == First && r.highWatermark < 0:
		r.offset = First // retention has moved the beginning since it was asked for
		return nil
	case answer.code == kafka.OffsetOutOfRange:
		return fmt.Errorf("%w: the log is from %d to %d", ErrOutOfRange, answer.logStart, answer.highWatermark)
	case answer.code != 0:
		r.cluster.forget(r.topic)
		return codeError(answer.code, "Read", "topic "+r.topic)
	}
	r.highWatermark = answer.highWatermark
	r.lastStable = answer.lastStable
	return r.deliver(answer, fn)
}

// Start returns the offset that reading goes on at; of First, that of the oldest record
// which the topic's retention has left.
func (r *Reader) Start(ctx context.Context) (int64, error) {
	err := retryPassing(ctx, func() error { return r.resolve(ctx) })
	if err != nil {
		return 0, fmt.Errorf("begin of %s: %w", where(r.topic, r.partition), err)
	}
	return r.offset, nil
}

// resolve turns First and Last into a number.
func (r *Reader) resolve(ctx context.Context) error {
	if r.offset >= 0 {
		return nil
	}
	offset, err := r.listOffset(ctx, r.offset)
	if err == nil {
		r.offset = offset
	}
	return err
}

func (r *Reader) fetch(ctx context.Context, maxWait time.Duration, isolation isolation) (*fetched, error) {
	addr, err := r.cluster.leader(ctx, r.topic, r.partition)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxWait+r.cluster.config.RequestTimeout)
	defer cancel()
	res, err := r.conns.roundTrip(ctx, addr, &fetchRequest{
		clientID: r.cluster.config.ClientID, topic: r.topic, partition: r.partition, offset: r.offset,
		maxWaitMs: int32(maxWait.Milliseconds()), isolation: isolation, buf: r.buf,
	})
	if err != nil {
		r.cluster.forget(r.topic)
		return nil, unanswered(err)
	}
	answer := res.(*fetched)
	r.buf = answer.buf
	return answer, nil
}

// deliver hands out the committed records of an answer from r.offset on.
func (r *Reader) deliver(answer *fetched, fn func(*Record) error) error {
	slices.SortFunc(answer.aborted, func(a, b abortedTxn) int { return int(min(1, max(-1, a.firstOffset-b.firstOffset))) })
	aborting := map[int64]bool{} // producers that are, at this point, within a transaction that was aborted
	aborted, rest := answer.aborted, answer.records
	for {
		view, next, complete, err := nextBatch(rest)
		if err != nil {
			return err
		}
		if !complete {
			return nil
		}
		rest = next
		for len(aborted) > 0 && aborted[0].firstOffset <= view.lastOffset {
			aborting[aborted[0].producerID] = true
			aborted = aborted[1:]
		}
		if view.control() {
			aborts, err := view.abortMarker()
			if err != nil {
				return err
			}
			if aborts {
				delete(aborting, view.producerID)
			}
		} else if !view.transactional() || !aborting[view.producerID] {
			if err := r.deliverBatch(&view, fn); err != nil {
				return err
			}
		}
		r.offset = max(r.offset, view.lastOffset+1) // also over what compaction took out of the batch
	}
}

func (r *Reader) deliverBatch(view *batchView, fn func(*Record) error) error {
	if view.lastOffset < r.offset {
		return nil
	}
	records, err := r.packed.records(view)
	if err != nil {
		return err
	}
	r.decoder.view, r.decoder.buf, r.decoder.bad = view, records, false
	r.decoder.record.Partition = r.partition
	return r.decoder.each(func(record *Record) error {
		if record.Offset < r.offset {
			return nil // the fetch begins in the middle of a batch
		}
		if err := fn(record); err != nil {
			return err
		}
		r.offset = record.Offset + 1
		return nil
	})
}

// ReadToEnd reads up to the high watermark as of now, waiting where another producer's open transaction holds the last
// stable offset back. So it returns every record whose transaction was committed before the call.
//
// The end is what ListOffsets tells, which a leader that was just elected does not answer
// before it knows (KIP-207). The high watermark in its answer to a fetch lags for a moment:
// it must not end the reading. Where ListOffsets itself tells less than before, the log was
// cut off by an unclean election: ErrOutOfRange.
func (r *Reader) ReadToEnd(ctx context.Context, fn func(*Record) error) error {
	var end int64
	err := retryPassing(ctx, func() (err error) {
		if end, err = r.listOffset(ctx, Last); err != nil {
			return err
		}
		return r.resolve(ctx) // an empty partition is at its end already: nothing to wait for
	})
	if err != nil {
		return fmt.Errorf("end of %s: %w", where(r.topic, r.partition), err)
	}
	if r.offset > end { // cut off by an unclean election, or another topic of the same name
		return r.cutOff(r.offset, end)
	}
	return r.readTo(ctx, end, fn)
}

// ReadTo reads all that was committed before an offset that Settled has returned, and
// nothing from there on.
func (r *Reader) ReadTo(ctx context.Context, end int64, fn func(*Record) error) error {
	if _, err := r.Start(ctx); err != nil {
		return err
	}
	return r.readTo(ctx, end, func(record *Record) error {
		if record.Offset >= end {
			return nil
		}
		return fn(record)
	})
}

func (r *Reader) readTo(ctx context.Context, end int64, fn func(*Record) error) error {
	hold := hold{reader: r, since: time.Now()}
	defer hold.over()
	for r.offset < end {
		before := r.offset
		if err := retryPassing(ctx, func() error { return r.Poll(ctx, readPoll, fn) }); err != nil {
			return err
		}
		if r.offset > before {
			hold.over()
			continue
		}
		if r.highWatermark < end {
			if err := r.expect(ctx, end); err != nil {
				return err
			}
		}
		hold.goesOn(ctx)
	}
	return nil
}

// Stable returns the offset before which every transaction is decided, and its decision
// can be read.
func (r *Reader) Stable(ctx context.Context) (stable int64, err error) {
	err = retryPassing(ctx, func() (err error) { stable, err = r.listOffsetOf(ctx, Last, readCommitted); return err })
	if err != nil {
		return 0, fmt.Errorf("end of %s: %w", where(r.topic, r.partition), err)
	}
	return stable, nil
}

// settlePoll is how often Settled looks.
const settlePoll = 50 * time.Millisecond

// Settled returns the high watermark as of now, once every transaction before it is decided.
func (r *Reader) Settled(ctx context.Context) (end int64, err error) {
	err = retryPassing(ctx, func() (err error) { end, err = r.listOffset(ctx, Last); return err })
	if err != nil {
		return 0, fmt.Errorf("end of %s: %w", where(r.topic, r.partition), err)
	}
	probe := &Reader{cluster: r.cluster, conns: r.conns, topic: r.topic, partition: r.partition, highWatermark: end}
	hold := hold{reader: probe, since: time.Now()}
	defer hold.over()
	for {
		if probe.lastStable, err = r.Stable(ctx); err != nil || probe.lastStable >= end {
			return end, err
		}
		if err := r.expect(ctx, end); err != nil {
			return 0, err
		}
		hold.goesOn(ctx)
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// expect returns ErrOutOfRange where the log ends before an end that it had.
func (r *Reader) expect(ctx context.Context, end int64) error {
	var now int64
	err := retryPassing(ctx, func() (err error) { now, err = r.listOffset(ctx, Last); return err })
	if err != nil {
		return fmt.Errorf("end of %s: %w", where(r.topic, r.partition), err)
	}
	if now < end {
		return r.cutOff(end, now)
	}
	return nil
}

func (r *Reader) cutOff(was, is int64) error {
	return fmt.Errorf("%s: %w: the log ends at %d and went to %d before: it was cut off, or created again",
		where(r.topic, r.partition), ErrOutOfRange, is, was)
}

// listOffset returns the offset of the oldest record (First) or the high watermark (Last).
func (r *Reader) listOffset(ctx context.Context, which int64) (int64, error) {
	return r.listOffsetOf(ctx, which, readUncommitted)
}

// listOffsetOf is listOffset; with readCommitted Last is the last stable offset.
// Source: KIP-98, "ListOffsetRequest"; version 2 of it has the isolation level.
func (r *Reader) listOffsetOf(ctx context.Context, which int64, level isolation) (int64, error) {
	addr, err := r.cluster.leader(ctx, r.topic, r.partition)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cluster.config.RequestTimeout)
	defer cancel()
	res, err := r.conns.roundTrip(ctx, addr, &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: int8(level),
		Topics: []listoffsets.RequestTopic{{Topic: r.topic, Partitions: []listoffsets.RequestPartition{
			{Partition: r.partition, CurrentLeaderEpoch: -1, Timestamp: which},
		}}},
	})
	if err != nil {
		r.cluster.forget(r.topic)
		return 0, unanswered(err)
	}
	topics := res.(*listoffsets.Response).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("%w: list offsets: unexpected topic or partition in response", ErrRetry)
	}
	p := topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		r.cluster.forget(r.topic)
		return 0, codeError(kafka.Error(p.ErrorCode), "Describe", "topic "+r.topic)
	}
	return p.Offset, nil
}

// ReadTopic reads all partitions of a topic to their ends, one after the other.
func (c *Cluster) ReadTopic(ctx context.Context, topic string, fn func(*Record) error) error {
	count, err := c.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	for p := range count {
		r := c.NewReader(topic, p, First)
		err := r.ReadToEnd(ctx, fn)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
