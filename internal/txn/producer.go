package txn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"go.uber.org/zap"
)

// defaultTransactionTimeout is when the coordinator ends a transaction whose producer is gone, and lets readers of the
// topics go on. Brokers allow 15 min by default (transaction.max.timeout.ms).
const defaultTransactionTimeout = 30 * time.Second

// ProducerConfig describes a producer.
type ProducerConfig struct {
	TransactionalID    string // owned by one live producer: a newer one fences the older
	Compression        Compression
	TransactionTimeout time.Duration // from a transaction's first request to its end; 30 s
}

// state is what a Producer may do next. An illegal call is answered without a request.
type state int

const (
	stateNew   state = iota // Init
	stateReady              // Begin
	stateOpen               // Produce, Commit, Abort
	stateAbort              // Abort, after a Commit that certainly committed nothing
)

func (s state) String() string { return [...]string{"needs Init", "ready", "open", "must Abort"}[s] }

// Producer writes transactions under one transactional id. It is not safe for concurrent use, but for Stats.
//
// An indefinite answer (a time-out, a lost connection, an unknown error) to AddPartitionsToTxn, Produce or EndTxn is
// never retried in the same epoch, for the protocol does not order messages: a delayed EndTxn can end a LATER
// transaction of its epoch (Jepsen, Bufstream 0.1.0, 2024; KAFKA-17754; KIP-890). The producer closes its connections,
// returns ErrFatal and refuses everything until Init has been given a new epoch, which fences whatever is still on its
// way. Definite, passing refusals are retried until the transaction's time is up.
type Producer struct {
	cluster *Cluster
	config  ProducerConfig
	log     *zap.Logger
	conns   *conns
	stats   counters

	state       state
	coordinator string // address; empty when to be found
	producerID  int64
	epoch       int16
	sent        bool // the coordinator knows, or may know, of the open transaction

	compressor *compressor
	packed     []byte // the batch that was sealed last; its memory is used again
	arena      []byte // of the sealed batches; used again after the transaction
	partitions map[topicPartition]*partitionLog
	touched    []*partitionLog // those with records in the open transaction, in order of their first one
}

type topicPartition struct {
	topic     string
	partition int32
}

func (t topicPartition) String() string { return where(t.topic, t.partition) }

// NewProducer returns a producer that needs Init first.
func (c *Cluster) NewProducer(config ProducerConfig) (*Producer, error) {
	if config.TransactionalID == "" {
		return nil, errors.New("a producer needs a transactional id")
	}
	if config.TransactionTimeout == 0 {
		config.TransactionTimeout = defaultTransactionTimeout
	}
	compressor, err := newCompressor(config.Compression)
	if err != nil {
		return nil, fmt.Errorf("compression %v: %w", config.Compression, err)
	}
	return &Producer{
		cluster:    c,
		config:     config,
		log:        c.log.With(zap.String("transactional_id", config.TransactionalID)),
		conns:      newConns(c),
		compressor: compressor,
		partitions: map[topicPartition]*partitionLog{},
	}, nil
}

// Close closes the producer's connections. A transaction that is open stays so until the next Init or its time-out.
func (p *Producer) Close() {
	p.state = stateNew
	p.conns.close()
}

// Stats returns what the producer has done. It may be called from another goroutine.
func (p *Producer) Stats() Stats { return p.stats.snapshot() }

// Init gets a new epoch. This fences every older producer of this transactional id, also this one's own past, and
// aborts what it left open: when Init returns, that transaction is decided. Init is retried until ctx ends, also after
// indefinite answers: one that is applied late does no more than fence again.
func (p *Producer) Init(ctx context.Context) error {
	p.conns.drop()
	p.discard()
	p.state, p.coordinator = stateNew, ""
	clear(p.partitions) // a new epoch counts sequences from 0
	err := p.retry(ctx, func() error {
		// A coordinator may take a request and never answer: it is safe to ask again.
		asked, cancel := context.WithTimeout(ctx, p.cluster.config.RequestTimeout)
		defer cancel()
		answer, err := p.atCoordinator(asked, &initproducerid.Request{
			TransactionalID:      p.config.TransactionalID,
			TransactionTimeoutMs: int32(p.config.TransactionTimeout.Milliseconds()),
			ProducerID:           -1, // KIP-360: -1 asks for a new epoch whatever the current one is
			ProducerEpoch:        -1,
		})
		if errors.Is(err, errIndefinite) && ctx.Err() == nil {
			return fmt.Errorf("%w: %v", ErrRetry, err)
		}
		if err != nil {
			return err
		}
		res := answer.(*initproducerid.Response)
		if res.ErrorCode != 0 {
			return p.refused(kafka.Error(res.ErrorCode))
		}
		p.producerID, p.epoch, p.state = res.ProducerID, res.ProducerEpoch, stateReady
		return nil
	})
	if err != nil {
		return fmt.Errorf("init %q: %w", p.config.TransactionalID, fatal(err))
	}
	p.log.Debug("producer initialised", zap.Int64("producer_id", p.producerID), zap.Int16("epoch", p.epoch))
	return nil
}

// Begin opens a transaction, in memory only.
func (p *Producer) Begin() error {
	if p.state != stateReady {
		return p.illegal("begin")
	}
	p.state, p.sent = stateOpen, false
	return nil
}

// Produce adds a record to the open transaction, copying it. Nothing is sent before Commit.
func (p *Producer) Produce(topic string, partition int32, record *Record) error {
	if p.state != stateOpen {
		return p.illegal("produce")
	}
	key := topicPartition{topic, partition}
	l := p.partitions[key]
	if l == nil {
		l = &partitionLog{topicPartition: key}
		p.partitions[key] = l
	}
	p.append(l, record)
	return nil
}

// Commit sends the transaction and ends it. After nil, everything in it is visible to read-committed consumers; after
// ErrRetry or ErrAbort nothing is, nor ever will be, once Abort has been called; after ErrFatal either may be the case.
func (p *Producer) Commit(ctx context.Context) error {
	if p.state != stateOpen {
		return p.illegal("commit")
	}
	if len(p.touched) == 0 {
		p.state = stateReady
		return nil
	}
	began := time.Now()
	// The broker's clock for the transaction starts at AddPartitionsToTxn. This one starts no later and ends before,
	// so that a step that hangs is given up while its transaction is still open.
	ctx, cancel := context.WithTimeout(ctx, p.config.TransactionTimeout*9/10)
	defer cancel()
	if err := p.commit(ctx); err != nil {
		if fateIs(err, ErrFatal) {
			p.state = stateNew
			p.conns.drop()
		} else {
			p.state = stateAbort
		}
		return fmt.Errorf("commit: %w", err)
	}
	records, bytes := p.content()
	p.discard()
	p.state = stateReady
	p.stats.committed(records, bytes, time.Since(began))
	return nil
}

func (p *Producer) commit(ctx context.Context) error {
	if err := p.sealAll(ctx); err != nil {
		return err
	}
	if err := p.addPartitions(ctx); err != nil {
		return fmt.Errorf("add partitions: %w", err)
	}
	if err := p.sendAll(ctx); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	if err := p.end(ctx, true); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// Abort ends the open transaction and forgets its records.
func (p *Producer) Abort(ctx context.Context) error {
	if p.state != stateOpen && p.state != stateAbort {
		return p.illegal("abort")
	}
	p.discard()
	if p.sent {
		ctx, cancel := context.WithTimeout(ctx, p.config.TransactionTimeout)
		defer cancel()
		if err := p.end(ctx, false); err != nil {
			p.state = stateNew
			p.conns.drop()
			return fmt.Errorf("abort: %w", err)
		}
	}
	p.state = stateReady
	p.stats.aborts.Add(1)
	return nil
}

// addPartitions makes the coordinator know every partition of the transaction before anything is written to it.
func (p *Producer) addPartitions(ctx context.Context) error {
	req := &addpartitionstotxn.Request{TransactionalID: p.config.TransactionalID, ProducerID: p.producerID, ProducerEpoch: p.epoch}
	at := map[string]int{}
	for _, l := range p.touched {
		i, ok := at[l.topic]
		if !ok {
			i = len(req.Topics)
			at[l.topic] = i
			req.Topics = append(req.Topics, addpartitionstotxn.RequestTopic{Name: l.topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, l.partition)
	}
	return p.retry(ctx, func() error {
		answer, err := p.atCoordinator(ctx, req)
		if err != nil {
			return err
		}
		worst := p.added(answer.(*addpartitionstotxn.Response))
		// Refused, a transaction has not begun, and an EndTxn for it would be an INVALID_TXN_STATE. Two of the codes may
		// come after the coordinator has written it down.
		if worst == nil || errors.Is(worst, kafka.NotCoordinatorForGroup) || errors.Is(worst, kafka.GroupCoordinatorNotAvailable) {
			p.sent = true
		}
		return worst
	})
}

// added returns the gravest of the coordinator's answers for the partitions.
func (p *Producer) added(res *addpartitionstotxn.Response) error {
	var worst error
	answered, passedOver := 0, 0
	for _, t := range res.Results {
		for _, r := range t.Results {
			answered++
			switch code := kafka.Error(r.ErrorCode); code {
			case 0:
			case operationNotAttempted: // the answer for another partition says why
				passedOver++
			default:
				worst = worse(worst, p.refusedFor(code, t.Name, r.PartitionIndex))
			}
		}
	}
	if answered != len(p.touched) || worst == nil && passedOver > 0 {
		return fmt.Errorf("%w: answer for %d of %d partitions", ErrFatal, answered-passedOver, len(p.touched))
	}
	return worst
}

// end sends EndTxn. Every error is fatal: the coordinator may have written the decision although it answered with a
// code that asks for a retry (TransactionStateManager.appendTransactionToLog), so that only success is definite.
// The retries within are safe: the request before was answered, and the same decision twice is one.
func (p *Producer) end(ctx context.Context, commit bool) error {
	err := p.retry(ctx, func() error {
		answer, err := p.atCoordinator(ctx, &endtxn.Request{
			TransactionalID: p.config.TransactionalID, ProducerID: p.producerID, ProducerEpoch: p.epoch, Committed: commit,
		})
		if err != nil {
			return err
		}
		if code := answer.(*endtxn.Response).ErrorCode; code != 0 {
			return p.refused(kafka.Error(code))
		}
		return nil
	})
	if err != nil {
		return fatal(err)
	}
	return nil
}

// refused gives a code that is about the transactional id its error. The coordinator is looked for again where it may
// have moved.
func (p *Producer) refused(code kafka.Error) error {
	switch code {
	case kafka.NotCoordinatorForGroup, kafka.GroupCoordinatorNotAvailable:
		p.coordinator = ""
	}
	return codeError(code, "Write", "transactional id "+p.config.TransactionalID)
}

func (p *Producer) refusedFor(code kafka.Error, topic string, partition int32) error {
	if code == kafka.TopicAuthorizationFailed || fateOf(code) == ErrAbort {
		return fmt.Errorf("%s: %w", where(topic, partition), codeError(code, "Write", "topic "+topic))
	}
	return fmt.Errorf("%s: %w", where(topic, partition), p.refused(code))
}

// retry calls attempt until it succeeds, fails for good, or ctx ends. Pauses begin at the millisecond that
// CONCURRENT_TRANSACTIONS after an EndTxn mostly lasts.
func (p *Producer) retry(ctx context.Context, attempt func() error) error {
	const shortest, longest = time.Millisecond, 250 * time.Millisecond
	for pause := shortest; ; pause = min(2*pause, longest) {
		err := attempt()
		if err == nil || !fateIs(err, ErrRetry) || errors.Is(err, errResize) {
			return err
		}
		p.stats.retries.Add(1)
		p.log.Debug("retry", zap.Error(err))
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return fmt.Errorf("%w; then: %w", err, context.Cause(ctx))
		}
	}
}

func (p *Producer) illegal(call string) error {
	return fmt.Errorf("%s: %w: the producer is in state %q", call, errors.Join(ErrFatal, errState), p.state)
}
