package txn

import (
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// The fate of a failed call: every error that a Producer returns is exactly one of the first three.
var (
	// ErrRetry: nothing was committed and the same content may be taken later. Abort, wait, do the step again.
	ErrRetry = errors.New("retry")
	// ErrAbort: nothing was committed and the same content would be refused again. Abort, then change it.
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
	// Definite and passing. Two of them come after the leader has appended (NOT_ENOUGH_REPLICAS_AFTER_APPEND, and
	// NOT_LEADER when leadership moves while acks=all waits: ReplicaManager.scala); the batch that is sent again has
	// the same sequence, by which the leader knows it. UNKNOWN_TOPIC is what a new or moving topic answers first.
	case kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.UnknownTopicOrPartition, kafka.BrokerNotAvailable,
		kafka.ReplicaNotAvailable, kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable,
		kafka.NotCoordinatorForGroup, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend,
		kafka.ConcurrentTransactions, kafka.KafkaStorageError, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch,
		kafka.OffsetNotAvailable, kafka.ThrottlingQuotaExceeded, kafka.NotController:
		return ErrRetry
	// Definite, and about the content.
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTopic, kafka.InvalidTimestamp,
		kafka.InvalidRecord, kafka.TopicAuthorizationFailed, kafka.UnsupportedCompressionType, kafka.PolicyViolation,
		kafka.UnsupportedForMessageFormat:
		return ErrAbort
	// Everything else is indefinite (REQUEST_TIMED_OUT, UNKNOWN_SERVER_ERROR…), or says that this producer and the
	// broker no longer agree (sequences, transaction state).
	default:
		return ErrFatal
	}
}

// operationNotAttempted is OPERATION_NOT_ATTEMPTED; kafka-go 0.4.51 gives the number another name.
const operationNotAttempted = kafka.Error(55)

// fateIs tells whether err has this fate. Fatal wins where an error joins several.
func fateIs(err, fate error) bool {
	if fate != ErrFatal && errors.Is(err, ErrFatal) {
		return false
	}
	return errors.Is(err, fate)
}

// indefinite gives the error of a round trip its fate: certain not to have been sent, or unknown.
func indefinite(err error) error {
	if errors.Is(err, errNotSent) {
		return fmt.Errorf("%w: %w", ErrRetry, err)
	}
	return fmt.Errorf("%w: %w: %w", ErrFatal, errIndefinite, err)
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
