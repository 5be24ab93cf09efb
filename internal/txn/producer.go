package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/addpartitionstotxn"
	"github.com/segmentio/kafka-go/protocol/endtxn"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/retry"
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
// transaction of its epoch (Jepsen, Bufstream 0.1.0, 2024; KAFKA-17754; KIP-890). The connection that it was awaited on
// is closed, the requests beside it (to other leaders) are awaited or closed too, so that none is on its way any more
// but in a broker's hands; the producer returns ErrFatal and refuses everything until Init has been given a new epoch,
// which fences what the brokers have. Connections are shared with other producers (conns). Definite, passing refusals are retried until the transaction's time is up.
//
// A batch that may have been appended and is not acknowledged in the end makes its epoch
// stale, whatever else ended the transaction: an abort does not reset the sequences that a
// leader remembers of an epoch, so that the next transaction's batch with the same base
// sequence would be taken for a duplicate of the ABORTED one, acknowledged, and lost (seen
// on Apache Kafka 4.4). A stale producer gets a new epoch before it sends anything more;
// see renew. After an acknowledged batch that was aborted sequences simply count on.
type Producer struct {
	cluster *Cluster
	config  ProducerConfig
	log     *zap.Logger
	quota   quota
	// throttled says that exceeding a quota was reported.
	throttled bool
	stats     counters

	state       state
	coordinator string // address; empty when to be found
	producerID  int64
	epoch       int16
	sent        bool // the coordinator knows, or may know, of the open transaction
	stale       bool // a leader may remember sequences of this epoch that are not counted here

	scratch    *scratch // of the open transaction; nil while there is none
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
	if err := checkCompression(config.Compression); err != nil {
		return nil, fmt.Errorf("compression %v: %w", config.Compression, err)
	}
	return &Producer{
		cluster:    c,
		config:     config,
		log:        c.log.With(zap.String("transactional_id", config.TransactionalID)),
		partitions: map[topicPartition]*partitionLog{},
	}, nil
}

// Close ends the use of the producer. A transaction that is open stays so until the next Init or its time-out.
func (p *Producer) Close() {
	p.state = stateNew
	p.discard()
}

// Stats returns what the producer has done. It may be called from another goroutine.
func (p *Producer) Stats() Stats {
	s := p.stats.snapshot()
	p.quota.mu.Lock()
	defer p.quota.mu.Unlock()
	s.ThrottledSeconds = p.quota.total.Seconds()
	return s
}

// Init gets a new epoch. This fences every older producer of this transactional id, also this one's own past, and
// aborts what it left open: when Init returns, that transaction is decided. Init is retried until ctx ends, also after
// indefinite answers: one that is applied late does no more than fence again.
func (p *Producer) Init(ctx context.Context) error {
	p.state = stateNew
	p.discard()
	p.coordinator = ""
	for _, l := range p.partitions {
		l.end = 0 // whoever calls reads the topics as they are now
	}
	// KIP-360: -1 asks for a new epoch whatever the current one is.
	if err := p.retry(ctx, func() error { return p.newEpoch(ctx, -1, -1) }); err != nil {
		return fmt.Errorf("init %q: %w", p.config.TransactionalID, fatal(err))
	}
	p.state = stateReady
	p.log.Debug("producer initialised", zap.Int64("producer_id", p.producerID), zap.Int16("epoch", p.epoch))
	return nil
}

// renew gets the epoch after the current one, where that is stale and no transaction is open
// at the coordinator. It differs from Init in that it cannot fence a newer producer: the
// request names the current epoch, and a coordinator that has given out another one since
// answers PRODUCER_FENCED (KIP-360; TransactionMetadata.prepareIncrementProducerEpoch).
//
// So what the caller remembers of the topics need not be read again: EndTxn(abort) was
// answered with success before, hence nothing of the transaction is, nor can be, committed
// (its EndTxn(commit) was never sent); and nobody else has written under this transactional
// id since, or renew would have been refused. It may be sent again after an indefinite
// answer: the coordinator answers a repeated one with the epoch that it gave the first time.
func (p *Producer) renew(ctx context.Context) error {
	err := p.retry(ctx, func() error { return p.newEpoch(ctx, p.producerID, p.epoch) })
	if errors.Is(err, errIndefinite) {
		err = fmt.Errorf("%w: %v", ErrRetry, err) // the epoch stays stale
	}
	if err != nil {
		return fmt.Errorf("renew the epoch: %w", err)
	}
	p.stats.renewals.Add(1)
	p.log.Debug("producer has a new epoch", zap.Int64("producer_id", p.producerID), zap.Int16("epoch", p.epoch))
	return nil
}

// newEpoch asks for the epoch that follows the named one, or any. Sequences count from 0 in it.
func (p *Producer) newEpoch(ctx context.Context, producerID int64, epoch int16) error {
	// A coordinator may take a request and never answer: it is safe to ask again.
	asked, cancel := context.WithTimeout(ctx, p.cluster.config.RequestTimeout)
	defer cancel()
	answer, err := p.atCoordinator(asked, &initproducerid.Request{
		TransactionalID:      p.config.TransactionalID,
		TransactionTimeoutMs: int32(p.config.TransactionTimeout.Milliseconds()),
		ProducerID:           producerID,
		ProducerEpoch:        epoch,
	})
	if errors.Is(err, errIndefinite) && ctx.Err() == nil {
		return fmt.Errorf("%w: %v", ErrRetry, err)
	}
	if err != nil {
		return err
	}
	res := answer.(*initproducerid.Response)
	p.quota.answered(time.Now(), "", 0, res.ThrottleTimeMs)
	if res.ErrorCode != 0 {
		return p.refused(kafka.Error(res.ErrorCode))
	}
	p.producerID, p.epoch, p.stale = res.ProducerID, res.ProducerEpoch, false
	for _, l := range p.partitions {
		l.sequence, l.unsure = 0, false
	}
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
	p.append(p.logOf(topic, partition), record)
	return nil
}

func (p *Producer) logOf(topic string, partition int32) *partitionLog {
	key := topicPartition{topic, partition}
	l := p.partitions[key]
	if l == nil {
		l = &partitionLog{topicPartition: key}
		p.partitions[key] = l
	}
	return l
}

// Continues tells, after Init, up to which offset a partition was read. Where a batch is
// appended before it, or before another batch of this epoch, the log is not the one any more
// that was read: Commit is ErrFatal then, and commits nothing.
func (p *Producer) Continues(topic string, partition int32, offset int64) {
	p.logOf(topic, partition).end = offset
}

// Commit sends the transaction and ends it. After nil, everything in it is visible to read-committed consumers; after
// ErrRetry or ErrAbort nothing is, nor ever will be, once Abort has been called; after ErrFatal either may be the case.
// Where the broker's quota is exceeded, it first waits for some seconds, see quota.wait.
func (p *Producer) Commit(ctx context.Context) error {
	if p.state != stateOpen {
		return p.illegal("commit")
	}
	if len(p.touched) == 0 {
		p.state = stateReady
		return nil
	}
	defer p.tellThrottled()
	var began time.Time
	err := p.prepare(ctx)
	if err == nil {
		began = time.Now()
		err = p.commit(ctx)
	}
	if err != nil {
		if fateIs(err, ErrFatal) {
			p.state = stateNew
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

// prepare does all that comes before the transaction's first request.
func (p *Producer) prepare(ctx context.Context) error {
	if err := p.sealAll(ctx); err != nil {
		return err
	}
	_, size := p.content()
	return p.quota.wait(ctx, size)
}

func (p *Producer) commit(ctx context.Context) error {
	// The broker's clock for the transaction starts at AddPartitionsToTxn. This one starts no later and ends before,
	// so that a step that hangs is given up while its transaction is still open.
	ctx, cancel := context.WithTimeout(ctx, p.config.TransactionTimeout*9/10)
	defer cancel()
	if p.stale {
		if err := p.renew(ctx); err != nil {
			return err
		}
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
	for _, l := range p.touched {
		p.stale = p.stale || l.unsure
	}
	p.discard()
	if p.sent {
		ctx, cancel := context.WithTimeout(ctx, p.config.TransactionTimeout)
		defer cancel()
		if err := p.end(ctx, false); err != nil {
			p.state = stateNew
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
		res := answer.(*addpartitionstotxn.Response)
		p.quota.answered(time.Now(), "", 0, res.ThrottleTimeMs)
		worst := p.added(res)
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
				worst = worse(worst, p.refusedFor(code, t.Name, r.PartitionIndex, ""))
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
		res := answer.(*endtxn.Response)
		p.quota.answered(time.Now(), "", 0, res.ThrottleTimeMs)
		if res.ErrorCode != 0 {
			return p.refused(kafka.Error(res.ErrorCode))
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

// refusedFor gives a code that is about a partition its error; detail is what the broker says of it.
func (p *Producer) refusedFor(code kafka.Error, topic string, partition int32, detail string) error {
	if fateOf(code) == ErrAbort && code != kafka.TransactionalIDAuthorizationFailed {
		err := fmt.Errorf("%s: %w", where(topic, partition), codeError(code, "Write", "topic "+topic))
		return &RefusalError{Topic: topic, Code: code, Detail: detail, err: err}
	}
	err := fmt.Errorf("%s: %w", where(topic, partition), p.refused(code))
	if detail != "" {
		err = fmt.Errorf("%w: %s", err, detail)
	}
	return err
}

// lastAttempt is how long before the end of its time nothing is tried again: what was refused
// is known not to be applied, and a request that is cut by the end of its time is not.
const lastAttempt = 200 * time.Millisecond

// retry calls attempt until it succeeds, fails for good, or ctx ends. Pauses begin with the
// few milliseconds that CONCURRENT_TRANSACTIONS after an EndTxn mostly lasts.
func (p *Producer) retry(ctx context.Context, attempt func() error) error {
	passes := func(err error) bool {
		ends, limited := ctx.Deadline()
		return fateIs(err, ErrRetry) && !errors.Is(err, errResize) && (!limited || time.Until(ends) > lastAttempt)
	}
	failed := func(err error, _ time.Duration) {
		p.stats.retries.Add(1)
		p.log.Debug("retry", zap.Error(err))
	}
	pauses := retry.Backoff{First: 3 * time.Millisecond, Most: 250 * time.Millisecond}
	return retry.Do(ctx, pauses, passes, failed, attempt)
}

func (p *Producer) illegal(call string) error {
	return fmt.Errorf("%s: %w: the producer is in state %q", call, errors.Join(ErrFatal, errState), p.state)
}
