package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNoRecord says that a value is no change record.
var ErrNoRecord = errors.New("not a change record")

// singleObject begins a value in Avro single-object encoding.
var singleObject = [2]byte{0xC3, 0x01}

// Position reads which change of which event a record is, without the rest of
// it: the schema's first three fields. It takes single-object encoding and the
// Confluent wire format.
func Position(value []byte) (auditID string, index, count int, err error) {
	const magic, singleLength, confluentLength = 0, 10, 5
	switch {
	case len(value) > singleLength && [2]byte(value) == singleObject:
		value = value[singleLength:]
	case len(value) > confluentLength && value[0] == magic:
		value = value[confluentLength:]
	default:
		return "", 0, 0, fmt.Errorf("%w: neither single-object encoding nor Confluent's wire format", ErrNoRecord)
	}
	// A string is its length and its bytes, numbers are zig-zag varints.
	// https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
	length, n := binary.Varint(value)
	if n <= 0 || length < 0 || length > int64(len(value)-n) {
		return "", 0, 0, fmt.Errorf("%w: no auditId", ErrNoRecord)
	}
	id, rest := value[n:n+int(length)], value[n+int(length):]
	first, n := binary.Varint(rest)
	if n <= 0 {
		return "", 0, 0, fmt.Errorf("%w: no changeIndex", ErrNoRecord)
	}
	second, n := binary.Varint(rest[n:])
	if n <= 0 {
		return "", 0, 0, fmt.Errorf("%w: no changeCount", ErrNoRecord)
	}
	return string(id), int(first), int(second), nil
}
