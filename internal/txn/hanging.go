package txn

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
)

// hangAfter is how long reading waits for somebody's open transaction before it says so.
const hangAfter = 10 * time.Second

// hold is a reading that does not get on, and since when.
type hold struct {
	reader *Reader
	since  time.Time
	told   bool
}

func (h *hold) subject() health.Subject {
	return health.Subject{Kind: health.Kafka, Op: "read to the end", Of: where(h.reader.topic, h.reader.partition)}
}

// over notes that the reading gets on, or has ended.
func (h *hold) over() {
	h.since = time.Now()
	if h.told {
		h.told = false
		h.reader.cluster.report(h.subject(), nil)
	}
}

// goesOn notes that the reading still waits, and after a while says for whom.
func (h *hold) goesOn(ctx context.Context) {
	if h.told || time.Since(h.since) < hangAfter || h.reader.lastStable >= h.reader.highWatermark {
		return
	}
	h.told = true
	err := h.reader.openTransaction(ctx)
	h.reader.cluster.log.Warn("waiting for a transaction of another producer", zap.Error(err))
	h.reader.cluster.report(h.subject(), err)
}

// HangingError is a transaction that is open and keeps a reader from what was written after it.
type HangingError struct {
	Topic           string
	Partition       int32
	Offset          int64     // where it begins
	Since           time.Time // its producer's clock; zero where that is not known
	ProducerID      int64     // -1 where that is not known
	TransactionalID string    // "" where that is not known
}

func (e *HangingError) Error() string {
	text := fmt.Sprintf("%s: a transaction that began at offset %d is neither committed nor aborted", where(e.Topic, e.Partition), e.Offset)
	if e.ProducerID >= 0 {
		text += fmt.Sprintf("; its producer id is %d", e.ProducerID)
	}
	if e.TransactionalID != "" {
		text += fmt.Sprintf(", its transactional id %s", e.TransactionalID)
	}
	if !e.Since.IsZero() {
		text += ", its first record is of " + e.Since.UTC().Format(time.RFC3339)
	}
	return text + fmt.Sprintf("; a producer that lives ends it, a coordinator after transaction.timeout.ms, else: kafka-transactions abort --topic %s --partition %d --start-offset %d",
		e.Topic, e.Partition, e.Offset)
}

// openTransaction describes the transaction that holds the last stable offset back, as far
// as brokers tell.
func (r *Reader) openTransaction(ctx context.Context) error {
	e := &HangingError{Topic: r.topic, Partition: r.partition, Offset: r.lastStable, ProducerID: -1}
	other := r.cluster.NewReader(r.topic, r.partition, r.lastStable) // this one's buffer is in use
	defer other.Close()
	answer, err := other.fetch(ctx, 0, readUncommitted)
	if err != nil || answer.code != 0 {
		return e
	}
	first, _, complete, err := nextBatch(answer.records)
	if err != nil || !complete || !first.transactional() {
		return e
	}
	e.ProducerID, e.Since = first.producerID, time.UnixMilli(first.baseTime)
	e.TransactionalID = r.cluster.transactionalID(ctx, e.ProducerID)
	return e
}

// transactionalID returns under which transactional id a producer id has a transaction. Every
// broker knows those that it coordinates; "" where none tells (Kafka 3.0, Describe on the id).
func (c *Cluster) transactionalID(ctx context.Context, producerID int64) string {
	for _, addr := range c.addresses() {
		res, err := c.askAt(ctx, addr, &listTransactions{clientID: c.config.ClientID, producerID: producerID})
		if err != nil {
			continue
		}
		if ids := res.(*listedTransactions).ids; len(ids) > 0 {
			return strings.Join(ids, ", ")
		}
	}
	return ""
}

// listTransactions asks a broker for a producer's transactions: ListTransactions (KIP-664),
// which kafka-go 0.4.51 lacks. https://kafka.apache.org/protocol#The_Messages_ListTransactions
type listTransactions struct {
	clientID   string
	producerID int64
}

type listedTransactions struct{ ids []string }

const keyListTransactions, listTransactionsVersion = protocol.ApiKey(66), 0

func (*listTransactions) ApiKey() protocol.ApiKey   { return keyListTransactions }
func (*listedTransactions) ApiKey() protocol.ApiKey { return keyListTransactions }

// Required makes protocol.Conn call RawExchange.
func (*listTransactions) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange sends the request and reads the answer.
func (l *listTransactions) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	b := make([]byte, 4, 64)
	b = binary.BigEndian.AppendUint16(b, uint16(keyListTransactions))
	b = binary.BigEndian.AppendUint16(b, listTransactionsVersion)
	b = binary.BigEndian.AppendUint32(b, 0) // correlation id: one request is in flight
	b = appendString(b, l.clientID)
	const none, one = 1, 2      // sizes of compact arrays are one more
	b = append(b, 0, none, one) // tags; in any state; of one producer
	b = binary.BigEndian.AppendUint64(b, uint64(l.producerID))
	b = append(b, 0) // tags
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if _, err := rw.Write(b); err != nil {
		return nil, err
	}
	answer, err := readAnswer(rw, nil)
	if err != nil {
		return nil, err
	}
	return decodeListed(answer)
}

func decodeListed(b []byte) (*listedTransactions, error) {
	d := wireDecoder{buf: b}
	text := func() string { return string(d.take(int(d.uvarint()) - 1)) }
	d.skip(4)   // correlation id
	d.uvarint() // tags
	d.skip(4)   // throttle time
	if code := d.int16(); code != 0 || d.err != nil {
		return &listedTransactions{}, d.err
	}
	for n := d.uvarint(); n > 1 && d.err == nil; n-- {
		text() // a state that the broker does not know
	}
	listed := &listedTransactions{}
	for n := d.uvarint(); n > 1 && d.err == nil; n-- {
		listed.ids = append(listed.ids, text())
		d.skip(8) // producer id
		text()    // state
		d.uvarint()
	}
	return listed, d.err
}
