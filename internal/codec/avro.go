package codec

import "encoding/binary"

// Avro's binary encoding, as far as the schema needs it.
// https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
// Its int and long are the zigzag varints of encoding/binary.

const (
	isNull      = 0 // union ["null","string"]: branch 0, as a zigzag varint
	isString    = 2 // branch 1
	endOfBlocks = 0 // of an array or a map
)

// appendBytes appends a string or bytes: length and content.
func appendBytes(dst, s []byte) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}

// appendEnum appends the position of a symbol.
func appendEnum(dst []byte, symbol uint8) []byte {
	return binary.AppendVarint(dst, int64(symbol))
}
