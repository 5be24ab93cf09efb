package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"genesys-audit-connector/internal/retry"
)

// The fate of a failed call: every error that a Producer returns is exactly one of the first three.
var (
	// ErrRetry: nothing was committed and the same content may be taken later. Abort, wait, do the step again.
	ErrRetry = errors.New("retry")
	// ErrAbort: nothing was committed, and the same content would be refused again at once:
	// until it is another, or until somebody changes a topic, a right, a clock. Abort first.
	ErrAbort = errors.New("abort")
	// ErrFatal: the outcome is unknown, or this producer is at its end. Init, then read back what was committed.
	ErrFatal = errors.New("fatal")
	// ErrFenced is fatal: a newer producer with this transactional id has taken over, or the coordinator has ended a
	// transaction that took longer than its time-out.
	ErrFenced = fmt.Errorf("%w: fenced", ErrFatal)

	// ErrUnauthorized is in every error that is Kafka refusing for lack of a right, or of valid credentials.
	ErrUnauthorized = errors.New("not authorized")
	// ErrOutOfRange: the log no longer, or not yet, holds the offset to read from.
	ErrOutOfRange = errors.New("offset out of range")
	// ErrCorrupt: a batch cannot be decoded.
	ErrCorrupt = errors.New("corrupt record batch")

	errState      = errors.New("wrong state")
	errIndefinite = errors.New("indefinite")
	errResize     = errors.New("batches were sized by another max.message.bytes") // the caller must fill them again
)

// TooLargeError is the one record that a topic does not take. It is an ErrAbort.
type TooLargeError struct {
	Topic     string
	Partition int32
	Key       []byte
	Size      int // of the record in a batch of its own, as the topic counts it
	Limit     int // the topic's max.message.bytes; 0 where it may not be read
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s does not take the record %q: %d bytes, max.message.bytes %d", where(e.Topic, e.Partition), e.Key, e.Size, e.Limit)
}

func (e *TooLargeError) Unwrap() error { return ErrAbort }

// RefusalError is a topic, or a broker on its behalf, that refuses what was written for a
// reason that lasts until somebody changes something. It is an ErrAbort.
type RefusalError struct {
	Topic  string
	Code   kafka.Error
	Detail string // the broker's own words, if any
	err    error
}

func (e *RefusalError) Error() string {
	text := e.err.Error()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if cure := cures[e.Code]; cure != "" {
		text += "; " + fmt.Sprintf(cure, e.Topic)
	}
	return text
}

func (e *RefusalError) Unwrap() error { return e.err }

// cures say what to look at in the topic that refuses, where the code alone does not.
var cures = map[kafka.Error]string{
	kafka.InvalidTimestamp:            "the time of a record is further from the broker's clock than message.timestamp.before.max.ms or message.timestamp.after.max.ms of topic %s allow",
	kafka.InvalidRecord:               "does topic %s have its records validated by the broker?",
	kafka.PolicyViolation:             "a policy that whoever runs the cluster has set on topic %s forbids it",
	kafka.InvalidConfiguration:        "the configuration of topic %s is not valid",
	kafka.UnsupportedForMessageFormat: "message.format.version of topic %s must be 0.11 or later",
	kafka.UnsupportedCompressionType:  "the brokers that lead topic %s do not know this codec",
}

// codeError gives an error code its fate and, where a right is missing, names the operation and resource to grant.
func codeError(code kafka.Error, operation, resource string) error {
	switch code {
	case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.TransactionalIDAuthorizationFailed, kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism:
		return fmt.Errorf("%w: %w: %s on %s: %w", fateOf(code), ErrUnauthorized, operation, resource, code)
	}
	return fmt.Errorf("%w: %w", fateOf(code), code)
}

// fateOf sorts the error codes of https://kafka.apache.org/protocol#protocol_error_codes.
func fateOf(code kafka.Error) error {
	switch code {
	case kafka.InvalidProducerEpoch, kafka.ProducerFenced:
		return ErrFenced
	// Definite and passing. Some may come after the leader has appended: see
	// refusedBeforeAppend. The batch that is sent again has the same sequence, by which the
	// leader knows it. UNKNOWN_TOPIC is what a new or moving topic answers first.
	case kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.UnknownTopicOrPartition, kafka.BrokerNotAvailable,
		kafka.ReplicaNotAvailable, kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable,
		kafka.NotCoordinatorForGroup, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend,
		kafka.ConcurrentTransactions, kafka.KafkaStorageError, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch,
		kafka.OffsetNotAvailable, kafka.ThrottlingQuotaExceeded, kafka.NotController, kafka.InvalidMessage:
		return ErrRetry
	// Definite, about the content: too large.
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		return ErrAbort
	// Definite, until somebody changes the topic or the cluster, or a clock.
	case kafka.InvalidTimestamp, kafka.InvalidRecord, kafka.InvalidTopic, kafka.PolicyViolation, kafka.InvalidConfiguration,
		kafka.UnsupportedForMessageFormat, kafka.UnsupportedCompressionType, kafka.UnsupportedVersion:
		return ErrAbort
	// Definite, until somebody grants a right or corrects a password.
	case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.TransactionalIDAuthorizationFailed, kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism:
		return ErrAbort
	// Everything else is indefinite (REQUEST_TIMED_OUT, NETWORK_EXCEPTION, UNKNOWN_SERVER_ERROR), or
	// says that this producer and the broker no longer agree (OUT_OF_ORDER_SEQUENCE_NUMBER,
	// UNKNOWN_PRODUCER_ID, INVALID_TXN_STATE, INVALID_PRODUCER_ID_MAPPING,
	// TRANSACTION_COORDINATOR_FENCED, INVALID_TRANSACTION_TIMEOUT), or is no answer to what is
	// asked here.
	default:
		return ErrFatal
	}
}

// NoTopic reports whether an error says that a topic, or the partition, is not there. So does
// for a moment one that was just made or has moved.
func NoTopic(err error) bool { return errors.Is(err, kafka.UnknownTopicOrPartition) }

// refusedBeforeAppend reports whether a leader answers a Produce with this code only before
// it appends (KafkaApis.handleProduceRequest, ReplicaManager.appendRecordsToLeader,
// LogValidator). Of a batch that was refused with any other code nothing is certain: acks=all
// waits after the append, and what ends that wait are NOT_ENOUGH_REPLICAS_AFTER_APPEND, and
// NOT_LEADER, UNKNOWN_TOPIC or KAFKA_STORAGE_ERROR where the partition moved, went or broke
// meanwhile (DelayedProduce.tryComplete).
func refusedBeforeAppend(code kafka.Error) bool {
	return code == kafka.NotEnoughReplicas || code == kafka.InvalidMessage || fateOf(code) == ErrAbort
}

// retryFor is for how long, without any success, retryPassing goes on.
const retryFor = 30 * time.Second

// retryPassing repeats an attempt that changes nothing, or may be made twice, while it fails with ErrRetry, for a limited time.
func retryPassing(ctx context.Context, attempt func() error) error {
	deadline := time.Now().Add(retryFor)
	passes := func(err error) bool { return errors.Is(err, ErrRetry) && time.Now().Before(deadline) }
	return retry.Do(ctx, retry.Backoff{First: 20 * time.Millisecond, Most: 2 * time.Second}, passes, nil, attempt)
}

// operationNotAttempted is OPERATION_NOT_ATTEMPTED; kafka-go 0.4.51 gives the number another name.
const operationNotAttempted = kafka.Error(55)

// fateIs reports whether err has this fate. Fatal wins where an error joins several.
func fateIs(err, fate error) bool {
	if fate != ErrFatal && errors.Is(err, ErrFatal) {
		return false
	}
	return errors.Is(err, fate)
}

// indefinite gives the error of a round trip its fate: certain not to have been sent, or unknown.
func indefinite(err error) error {
	if errors.Is(err, errNotSent) {
		return unanswered(err)
	}
	return fmt.Errorf("%w: %w: %w", ErrFatal, errIndefinite, err)
}

// unanswered gives its fate to the error of a request that was not sent, or that changes
// nothing: it may be tried again, unless a login was refused or there is no common version.
func unanswered(err error) error {
	if errors.Is(err, ErrAbort) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrRetry, err)
}

// fatal makes an error fatal that is not yet.
func fatal(err error) error {
	if errors.Is(err, ErrFatal) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrFatal, err)
}

// notFatal is for requests that change nothing: whatever went wrong with them, nothing was committed.
func notFatal(err error) error {
	if errors.Is(err, ErrFatal) || !errors.Is(err, ErrAbort) && !errors.Is(err, ErrRetry) {
		return fmt.Errorf("%w: %v", ErrRetry, err)
	}
	return err
}

// worse returns the error with the graver fate: fatal, then abort, then retry.
func worse(a, b error) error {
	for _, fate := range []error{ErrFenced, ErrFatal, ErrAbort, ErrRetry} {
		switch {
		case a != nil && errors.Is(a, fate):
			return a
		case b != nil && errors.Is(b, fate):
			return b
		}
	}
	return errors.Join(a, b)
}
