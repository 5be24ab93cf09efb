package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/txn"
)

const (
	firstPause = 250 * time.Millisecond
	maxPause   = time.Minute
	// recallSlack is for clocks that differ and transactions that take their time.
	recallSlack = time.Minute
	peekWait    = 50 * time.Millisecond
)

var (
	errGivenBack = errors.New("the partition is another member's") // or is about to be
	errNoChange  = errors.New("a record that is no change holds its partition up; " +
		"behind a schema registry set SCHEMA_REGISTRY_URL, and ON_REFUSED=skip leaves out what is not the connector's")
	errEnough = errors.New("enough read")
)

// partition is one partition for as long as it is this member's. One goroutine
// has it.
type partition struct {
	*consumer
	id         int32
	generation *kafka.Generation
	committed  int64 // the group's offset; txn.First or txn.Last where it has none
	reader     *txn.Reader
	batch      []Message
}

// run reads, delivers and commits until ctx ends, or the partition is lost. Its
// error is one that does not pass.
func (p *partition) run(ctx context.Context, recalled *barrier) error {
	p.reader = p.cluster.NewReader(p.Topic, p.id, p.committed)
	defer func() { p.reader.Close() }()
	if err := p.recall(ctx); err != nil {
		p.log.Warn("what was delivered before cannot be recalled; joining anew", p.where(), zap.Error(err))
		sleep(ctx, joinPause)
		return nil
	}
	recalled.wait(ctx)
	var pause backoff
	for ctx.Err() == nil {
		err := p.step(ctx)
		switch {
		case err == nil:
			pause = 0
		case errors.Is(err, errGivenBack):
			p.log.Info("partition given back", p.where(), zap.Error(err))
			return nil
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, txn.ErrOutOfRange):
			p.log.Error("records were deleted before they were delivered (the topic's retention); going on with the oldest", p.where(), zap.Error(err))
			p.reader.Close()
			p.reader = p.cluster.NewReader(p.Topic, p.id, txn.First)
		case errors.Is(err, txn.ErrRetry), errors.Is(err, txn.ErrUnauthorized):
			p.log.Warn("cannot read", p.where(), zap.Error(err))
			sleep(ctx, pause.next())
		case errors.Is(err, errNoChange):
			p.log.Error("cannot go on", p.where(), zap.Error(err))
			sleep(ctx, pause.next())
		default:
			return err
		}
	}
	return nil
}

// step delivers what one fetch brings, if only up to a record that stops it, and
// commits where that ends: also behind what no handler gets to see, and at the
// first step of a new group, so that "latest" means the same when it comes back.
func (p *partition) step(ctx context.Context) error {
	p.batch = p.batch[:0]
	stopped := p.reader.Poll(ctx, pollWait, p.add)
	if stopped != nil && !errors.Is(stopped, errNoChange) {
		return stopped
	}
	for batch := p.batch; len(batch) > 0; {
		delivered, err := p.deliver(ctx, batch[:min(len(batch), p.BatchSize)])
		if err != nil {
			return err
		}
		if batch = batch[delivered:]; len(batch) > 0 {
			if err := p.commit(batch[0].Offset); err != nil {
				return err
			}
		}
	}
	if err := p.commit(p.reader.Offset()); err != nil {
		return err
	}
	return stopped
}

// deliver calls the handler until it has delivered at least one of the messages.
func (p *partition) deliver(ctx context.Context, messages []Message) (int, error) {
	handling, done := withGrace(ctx, handleGrace)
	defer done()
	var pause backoff
	for {
		delivered, err := p.handle(handling, messages)
		if delivered == 0 && errors.Is(err, ErrRefused) && p.OnRefused == RefusedSkip {
			p.log.Error("a change was refused and is left out", p.where(), zap.String("id", messages[0].ID), zap.Int64("offset", messages[0].Offset), zap.Error(err))
			delivered = 1
		}
		if delivered > 0 {
			return delivered, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("%w: not delivered: %w", errGivenBack, err)
		}
		wait := pause.next()
		p.log.Warn("not delivered, will be again", p.where(), zap.String("id", messages[0].ID), zap.Duration("in", wait), zap.Error(err))
		sleep(ctx, wait)
	}
}

func (p *partition) commit(offset int64) error {
	if offset == p.committed {
		return nil
	}
	// The coordinator refuses who is no longer the partition's owner.
	if err := p.generation.CommitOffsets(map[string]map[int]int64{p.Topic: {int(p.id): offset}}); err != nil {
		return fmt.Errorf("%w: commit offset %d: %w", errGivenBack, offset, err)
	}
	p.committed = offset
	return nil
}

// add takes a record of the reader's into the batch.
func (p *partition) add(r *txn.Record) error {
	if r.Value == nil {
		return nil // the change of this key was erased; what was made of it is not the handler's to undo
	}
	change, err := p.decoder.Decode(r.Value)
	if err != nil {
		if p.OnRefused == RefusedSkip {
			p.log.Error("a record that is no change is left out", p.where(), zap.Int64("offset", r.Offset), zap.Error(err))
			return nil
		}
		return fmt.Errorf("%w: %w", errNoChange, err)
	}
	m := Message{
		Change: change, ID: change.AuditID + ":" + strconv.Itoa(change.Index),
		Partition: r.Partition, Offset: r.Offset, Published: time.UnixMilli(r.Time).UTC(),
	}
	for _, h := range r.Headers {
		if h.Key == "org" {
			m.Org = string(h.Value)
		}
	}
	p.batch = append(p.batch, m)
	return nil
}

// recall hands out what was published and delivered shortly before the group's
// offset, so that the handler remembers what it did before it was restarted.
func (p *partition) recall(ctx context.Context) error {
	if p.Recall == 0 || p.committed <= 0 {
		return nil
	}
	reference, err := p.nextPublished(ctx)
	if errors.Is(err, txn.ErrOutOfRange) {
		return nil // deleted, like all that was before it; run goes on with the oldest
	}
	if err != nil {
		return err
	}
	from, err := p.offsetAt(ctx, reference.Add(-p.Recall-recallSlack))
	if err != nil || from < 0 || from >= p.committed {
		return err
	}
	reader := p.cluster.NewReader(p.Topic, p.id, from)
	defer reader.Close()
	for reader.Offset() < p.committed {
		p.batch = p.batch[:0]
		err := reader.Poll(ctx, pollWait, func(r *txn.Record) error {
			if r.Offset >= p.committed {
				return errEnough
			}
			if err := p.add(r); !errors.Is(err, errNoChange) {
				return err
			}
			return nil // was left out then, and is now
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		for i := range p.batch {
			p.batch[i].Recalled = true
		}
		if len(p.batch) > 0 {
			if _, err := p.handle(ctx, p.batch); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// nextPublished is when the next record was published; now, where there is none yet.
func (p *partition) nextPublished(ctx context.Context) (time.Time, error) {
	at := time.Now()
	peek := p.cluster.NewReader(p.Topic, p.id, p.committed)
	defer peek.Close()
	err := peek.Poll(ctx, peekWait, func(r *txn.Record) error {
		at = time.UnixMilli(r.Time)
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return at, err
}

// offsetAt is the offset of the first record that was published at a time or
// later, -1 where there is none.
func (p *partition) offsetAt(ctx context.Context, at time.Time) (int64, error) {
	var err error
	for _, broker := range p.Brokers {
		var conn *kafka.Conn
		if conn, err = p.dialer.DialLeader(ctx, "tcp", broker, p.Topic, int(p.id)); err != nil {
			continue
		}
		defer func() { _ = conn.Close() }()
		return conn.ReadOffset(at)
	}
	return 0, err
}

func (p *partition) where() zap.Field { return zap.Int32("partition", p.id) }

// backoff is a pause that doubles, with full jitter; the zero value is ready.
type backoff time.Duration

func (b *backoff) next() time.Duration {
	*b = backoff(min(max(2*time.Duration(*b), firstPause), maxPause))
	return rand.N(time.Duration(*b))
}

// withGrace is a context that ends a while after ctx: what is on its way to an
// endpoint gets the time to arrive, or it would arrive twice.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	outlasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return outlasting, func() { stop(); cancel() }
}

// barrier lets everyone through once all have come: nothing new is delivered
// before all partitions have recalled what was.
type barrier struct {
	mu   sync.Mutex
	left int
	open chan struct{}
}

func newBarrier(n int) *barrier { return &barrier{left: n, open: make(chan struct{})} }

func (b *barrier) wait(ctx context.Context) {
	b.mu.Lock()
	if b.left--; b.left == 0 {
		close(b.open)
	}
	b.mu.Unlock()
	select {
	case <-b.open:
	case <-ctx.Done():
	}
}
