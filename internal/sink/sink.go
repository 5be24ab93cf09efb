// Package sink turns one step of the poller into one Kafka transaction: the raw
// records, the change records, the remembered ids, the ledgers and what the evidence
// log gains, together.
//
// It promises invariant 1 of exactly once, and that the raw value is what the
// API sent, untouched. It is where the event's encoding (codec), the offsets
// topic's (offsets) and the transaction (txn) meet, and refuses to know why a
// step holds what it holds.
package sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

// Topic is a topic to write to and how many partitions it has.
type Topic struct {
	Name       string
	Partitions int32
	Oldest     time.Duration // how far a record's own time may lie back; 0 for no limit
}

// Partition is where the records of a key go.
func (t Topic) Partition(key string) int32 { return txn.Partition([]byte(key), t.Partitions) }

// Config says where to and under which name.
type Config struct {
	Org          string
	Raw, Changes Topic
	// Offsets is the topic that remembers, OffsetsPartition where in it this organisation is.
	Offsets          string
	OffsetsPartition int32
	// EventTime stamps records with the time of their event, never later than
	// now; otherwise it is the time of publishing.
	EventTime bool
}

// Sink is not safe for concurrent use, except Recent, Totals, Capacity, Throttled and Checkpoint.
type Sink struct {
	cfg      Config
	producer *txn.Producer
	encoder  *codec.Encoder

	// Buffers that are used again for every record.
	record           txn.Record
	key, value, text []byte
	headers          []txn.Header

	facts  *offsets.Facts // nil where nobody wants to know
	newest time.Time      // event of the step that is being written, where it is newer than those before

	log   *evidence.Log // nil where there is none
	logTo Topic
	hash  evidence.Changes

	step   totals // of the step that is being written
	recent recent
	cost   cost

	mu         sync.Mutex // protects what follows
	totals     totals
	checkpoint evidence.Checkpoint
}

// totals count what was committed.
type totals struct{ changes, problems, unknown int }

// New makes a Sink on a producer that it does not own.
func New(cfg Config, producer *txn.Producer, encoder *codec.Encoder) *Sink {
	return &Sink{cfg: cfg, producer: producer, encoder: encoder}
}

// Totals are how many change records were committed, how many events that carry
// the header error, and how many steps ended in doubt, since the Sink was made.
func (s *Sink) Totals() (changes, problems, unknown int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals.changes, s.totals.problems, s.totals.unknown
}

// Facts gives the Sink what is known of all events before, at the beginning of a term and
// never while Commit runs. The Sink adds what it publishes.
func (s *Sink) Facts(facts *offsets.Facts) { s.facts = facts }

// Recent are the values of the newest change records committed, newest first.
func (s *Sink) Recent() [][]byte { return s.recent.newest() }

// Forget drops from Recent what was erased, by another replica too: at the beginning of a term.
func (s *Sink) Forget(erased func(id string) bool) { s.recent.forget(erased) }

// Commit writes the step in one transaction: once, in no more than the transaction's
// time-out and a few seconds. poller.Sink says what its errors mean.
//
// The error wraps poller.ErrNotWritten only after an abort that the coordinator has
// confirmed, or where the transaction was not begun. Both are certain: the EndTxn that would
// have committed was never sent. The same step may then be written again without anything
// being loaded anew. Where a leader may have appended some of it, the producer first gets a
// new epoch, which it is refused where another replica has taken over; see txn.Producer.
func (s *Sink) Commit(ctx context.Context, step *poller.Step) error {
	before := s.producer.Stats().Bytes
	err := s.try(ctx, step)
	if err == nil {
		s.encoder.Committed()
		s.logged()
		if !s.newest.IsZero() {
			s.facts.Saw(s.newest)
		}
		s.cost.add(step, s.producer.Stats().Bytes-before)
		s.recent.keep()
		if len(step.Erase) > 0 {
			s.recent.forget(func(id string) bool {
				return slices.ContainsFunc(step.Erase, func(e poller.Erasure) bool { return e.ID == id })
			})
		}
		s.mu.Lock()
		s.totals.changes += s.step.changes
		s.totals.problems += s.step.problems
		s.mu.Unlock()
		return nil
	}
	if errors.Is(err, txn.ErrFatal) {
		if !errors.Is(err, txn.ErrFenced) {
			s.mu.Lock()
			s.totals.unknown++
			s.mu.Unlock()
		}
		return fmt.Errorf("commit of %d events: %w", len(step.Events), err)
	}
	if abortErr := s.producer.Abort(ctx); abortErr != nil {
		return fmt.Errorf("abort after %q: %w", err, abortErr)
	}
	if tooLarge, ok := errors.AsType[*txn.TooLargeError](err); ok {
		if refused := s.refused(tooLarge); refused != nil {
			return refused
		}
	}
	kind := poller.ErrNotWritten
	if errors.Is(err, txn.ErrThrottled) {
		kind = fmt.Errorf("%w: %w", kind, poller.ErrThrottled)
	}
	return fmt.Errorf("commit of %d events: %w: %w", len(step.Events), kind, s.withCure(err))
}

func (s *Sink) try(ctx context.Context, step *poller.Step) error {
	s.recent.start()
	s.step = totals{}
	if err := s.producer.Begin(); err != nil {
		return err
	}
	now := time.Now()
	if s.log != nil {
		s.log.Begin()
	}
	s.encoder.Observe(eventsOf(step.Events), step.Names)
	for i := range step.Events {
		// Each event has a change at least: of those before nobody would see one.
		newest := i >= len(step.Events)-recentChanges
		if err := s.event(&step.Events[i], now, newest); err != nil {
			return err
		}
	}
	for i := range step.Erase {
		if err := s.erase(&step.Erase[i], now); err != nil {
			return err
		}
	}
	if err := s.offsets(step, now); err != nil {
		return err
	}
	if err := s.newestEvent(step, now); err != nil {
		return err
	}
	if err := s.evidence(step, now); err != nil {
		return err
	}
	return s.producer.Commit(ctx)
}

func eventsOf(published []poller.Publication) iter.Seq[*audit.Event] {
	return func(yield func(*audit.Event) bool) {
		for i := range published {
			if !yield(published[i].Event) {
				return
			}
		}
	}
}

// event writes the raw record, the change records and the remembered id of one event,
// which may be one of the newest.
func (s *Sink) event(pub *poller.Publication, now time.Time, newest bool) error {
	ev := pub.Event
	meta := s.encoder.Normalise(ev, pub.At)
	s.key = append(s.key[:0], meta.EntityID...)
	if len(s.key) == 0 {
		s.key = append(s.key, ev.ID...)
	}
	raw, changes := txn.Partition(s.key, s.cfg.Raw.Partitions), txn.Partition(s.key, s.cfg.Changes.Partitions)
	r := &s.record
	r.Time = now.UnixMilli()
	if s.cfg.EventTime && pub.At.Before(now) {
		r.Time = pub.At.UnixMilli()
	}
	sum := sha256.Sum256(ev.Raw)
	r.Headers = s.eventHeaders(ev, meta, &sum)

	s.key = append(s.key[:0], ev.ID...)
	r.Key, r.Value = s.key, ev.Raw
	if err := s.producer.Produce(s.cfg.Raw.Name, raw, r); err != nil {
		return err
	}
	s.hash.Reset()
	s.key = append(s.key, ':')
	id := len(s.key)
	for i := range meta.Changes {
		s.key = strconv.AppendInt(s.key[:id], int64(i), 10)
		r.Key, r.Value = s.key, s.encoder.Record(i)
		if err := s.producer.Produce(s.cfg.Changes.Name, changes, r); err != nil {
			return err
		}
		if newest {
			s.recent.add(r.Value)
		}
		if s.log != nil {
			s.hash.Add(r.Value)
		}
	}
	if s.log != nil {
		if err := s.log.Append(ev.ID, sum, s.hash.Sum()); err != nil {
			return err
		}
	}
	s.step.changes += meta.Changes
	if meta.Problem != "" || ev.Problem != "" {
		s.step.problems++
	}
	s.key = offsets.AppendSeenKey(s.key[:0], s.cfg.Org, ev.ID)
	s.value = offsets.AppendSeenValue(s.value[:0], pub.Remember)
	return s.offset(s.key, s.value, now)
}

// eventHeaders are the headers that the raw record and the change records share.
// One without a value is left out. Their values lie in one buffer; where
// it has to grow, those from before stay in the old one.
func (s *Sink) eventHeaders(ev *audit.Event, meta codec.Meta, sum *[sha256.Size]byte) []txn.Header {
	s.headers, s.text = s.headers[:0], s.text[:0]
	put := func(key string, text []byte) { // text is s.text and the value behind it
		value := text[len(s.text):len(text):len(text)]
		s.text = text
		if len(value) > 0 {
			s.headers = append(s.headers, txn.Header{Key: key, Value: value})
		}
	}
	put("audit-id", append(s.text, ev.ID...))
	put("org", append(s.text, s.cfg.Org...))
	put("entity-type", append(s.text, meta.EntityType...))
	put("action", append(s.text, meta.Action...))
	if !ev.Time.IsZero() {
		put("event-time", audit.AppendTime(s.text, ev.Time))
	}
	put("sha256", hex.AppendEncode(s.text, sum[:]))
	problem := ev.Problem
	if problem != "" && meta.Problem != "" {
		problem += "; "
	}
	put("error", append(append(s.text, problem...), meta.Problem...))
	if s.log != nil {
		put("log-index", strconv.AppendUint(s.text, s.log.Next(), 10))
	}
	return s.headers
}

// offsets writes what the step changes in the offsets topic besides the ids.
func (s *Sink) offsets(step *poller.Step, now time.Time) error {
	for _, r := range step.Remember {
		s.key = offsets.AppendSeenKey(s.key[:0], s.cfg.Org, r.ID)
		s.value = offsets.AppendSeenValue(s.value[:0], r.At)
		if err := s.offset(s.key, s.value, now); err != nil {
			return err
		}
	}
	for _, id := range step.Forget {
		s.key = offsets.AppendSeenKey(s.key[:0], s.cfg.Org, id)
		if err := s.offset(s.key, nil, now); err != nil {
			return err
		}
	}
	for _, id := range step.Done {
		s.key = offsets.AppendRequestKey(s.key[:0], s.cfg.Org, id)
		if err := s.offset(s.key, nil, now); err != nil {
			return err
		}
	}
	if step.Token != nil {
		s.key = offsets.AppendTokenKey(s.key[:0], s.cfg.Org)
		if err := s.offset(s.key, step.Token, now); err != nil {
			return err
		}
	}
	for stream, ledger := range step.Ledgers {
		s.key = offsets.AppendLedgerKey(s.key[:0], s.cfg.Org, stream)
		value, err := ledger.MarshalJSON()
		if err != nil {
			return fmt.Errorf("ledger of %s: %w", stream, err)
		}
		if err := s.offset(s.key, value, now); err != nil {
			return err
		}
	}
	return nil
}

// newestEvent writes the time of the newest event, where the step holds it. A time that is
// ahead of us and of the interval that the event was read in says nothing.
func (s *Sink) newestEvent(step *poller.Step, now time.Time) error {
	s.newest = time.Time{}
	if s.facts == nil {
		return nil
	}
	newest := s.facts.Newest()
	for i := range step.Events {
		pub := &step.Events[i]
		if at := pub.Event.Time; at.After(newest) && (at.Before(now) || at.Equal(pub.Remember)) {
			newest, s.newest = at, at
		}
	}
	if s.newest.IsZero() {
		return nil
	}
	s.key = offsets.AppendNewestKey(s.key[:0], s.cfg.Org)
	s.value = offsets.AppendNewestValue(s.value[:0], s.newest)
	return s.offset(s.key, s.value, now)
}

func (s *Sink) offset(key, value []byte, now time.Time) error {
	return s.producer.Produce(s.cfg.Offsets, s.cfg.OffsetsPartition, &txn.Record{Key: key, Value: value, Time: now.UnixMilli()})
}

// refused finds the event whose record a topic does not take; nil where it is a record of
// the offsets topic, which no event is to blame for.
func (s *Sink) refused(e *txn.TooLargeError) error {
	id := string(e.Key)
	switch e.Topic {
	case s.cfg.Raw.Name:
	case s.cfg.Changes.Name:
		id = id[:strings.LastIndexByte(id, ':')]
	default:
		return nil
	}
	return &poller.RefusedError{ID: id, Topic: e.Topic, Size: e.Size, Limit: e.Limit}
}

// withCure adds what to do about a refusal that lasts, where that is known here.
func (s *Sink) withCure(err error) error {
	if tooLarge, ok := errors.AsType[*txn.TooLargeError](err); ok {
		return fmt.Errorf("%w; raise max.message.bytes of topic %s", err, tooLarge.Topic)
	}
	refusal, ok := errors.AsType[*txn.RefusalError](err)
	switch {
	case !ok:
		return err
	case refusal.Code == kafka.InvalidTimestamp && s.cfg.EventTime && refusal.Topic != s.cfg.Offsets:
		return fmt.Errorf("%w; set KAFKA_RECORD_TIME=publish, or raise message.timestamp.before.max.ms of the topic; if the events are new, the clock of this host is wrong", err)
	case refusal.Code == kafka.InvalidTimestamp:
		return fmt.Errorf("%w; the clock of this host or the broker's is wrong by more than that: set it right, or raise both", err)
	case refusal.Code == kafka.UnsupportedCompressionType:
		return fmt.Errorf("%w; set KAFKA_COMPRESSION to another one", err)
	}
	return err
}
