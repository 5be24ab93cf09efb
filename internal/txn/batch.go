package txn

import (
	"encoding/binary"
	"hash/crc32"
)

// Record is one record to write, or one that was read. What a reader hands out is valid until its function returns.
type Record struct {
	Key, Value []byte // a nil Value is a tombstone
	Headers    []Header
	Time       int64 // ms since 1970

	// Set when read.
	Partition int32
	Offset    int64
}

// Header is a record header. A nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// The record batch, version 2: https://kafka.apache.org/documentation/#recordbatch. Fields by their offset.
const (
	posBaseOffset      = 0
	posLength          = 8
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21
	posLastOffsetDelta = 23
	posBaseTime        = 27
	posMaxTime         = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57
	batchHeader        = 61 // where the records begin

	lengthOverhead = 12 // base offset and length are not in the length

	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batch collects the records of one batch, encoded, in a buffer that is used again. The header is written by seal.
type batch struct {
	buf               []byte // room for the header, then the records
	count             int32
	baseTime, maxTime int64
}

// reset makes the batch empty, on a buffer that it may have used before.
func (b *batch) reset(buf []byte) {
	if cap(buf) < batchHeader {
		buf = make([]byte, batchHeader, 16<<10)
	}
	b.buf, b.count = buf[:batchHeader], 0
}

// append encodes one more record; key, value and headers are copied.
func (b *batch) append(r *Record) { b.appendSized(r, b.size(r)) }

// appendSized is append where the record's size is known.
func (b *batch) appendSized(r *Record, size int) {
	if b.count == 0 {
		b.baseTime, b.maxTime = r.Time, r.Time
	}
	b.maxTime = max(b.maxTime, r.Time)
	timeDelta := r.Time - b.baseTime
	buf := appendVarint(b.buf, int64(size))
	buf = append(buf, 0) // attributes: none are defined
	buf = appendVarint(buf, timeDelta)
	buf = appendVarint(buf, int64(b.count))
	buf = appendNullable(buf, r.Key)
	buf = appendNullable(buf, r.Value)
	buf = appendVarint(buf, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		buf = appendVarint(buf, int64(len(h.Key)))
		buf = append(buf, h.Key...)
		buf = appendNullable(buf, h.Value)
	}
	b.buf = buf
	b.count++
}

// size is that of a record as the batch's next one, without the varint that says it.
func (b *batch) size(r *Record) int {
	timeDelta := int64(0)
	if b.count > 0 {
		timeDelta = r.Time - b.baseTime
	}
	size := 1 + varintSize(timeDelta) + varintSize(int64(b.count)) + nullableSize(r.Key) + nullableSize(r.Value) +
		varintSize(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		size += varintSize(int64(len(h.Key))) + len(h.Key) + nullableSize(h.Value)
	}
	return size
}

// seal returns the finished batch in dst, compressed where that makes it smaller, with all but the producer's fields
// and the checksum, which stamp adds. In front are the 4 bytes of size that the Produce request has there.
func (b *batch) seal(dst []byte, c *compressor) []byte {
	const front = 4
	dst = append(dst[:0], make([]byte, front+batchHeader)...)
	codec := c.codec
	dst = c.append(dst, b.buf[batchHeader:])
	if codec != None && len(dst) >= front+len(b.buf) {
		codec = None
		dst = dst[:front+batchHeader]
	}
	if codec == None {
		dst = append(dst[:front+batchHeader], b.buf[batchHeader:]...)
	}
	binary.BigEndian.PutUint32(dst, uint32(len(dst)-front))
	h := dst[front:]
	binary.BigEndian.PutUint64(h[posBaseOffset:], 0)
	binary.BigEndian.PutUint32(h[posLength:], uint32(len(h)-lengthOverhead))
	binary.BigEndian.PutUint32(h[posMagic-4:], ^uint32(0)) // partition leader epoch, for the broker to fill in
	h[posMagic] = 2
	binary.BigEndian.PutUint16(h[posAttributes:], uint16(codec)|attrTransactional)
	binary.BigEndian.PutUint32(h[posLastOffsetDelta:], uint32(b.count-1))
	binary.BigEndian.PutUint64(h[posBaseTime:], uint64(b.baseTime))
	binary.BigEndian.PutUint64(h[posMaxTime:], uint64(b.maxTime))
	binary.BigEndian.PutUint32(h[posCount:], uint32(b.count))
	return dst
}

// stamp adds who sends a sealed batch, and its checksum.
func stamp(sealed []byte, producerID int64, epoch int16, sequence int32) {
	h := sealed[4:]
	binary.BigEndian.PutUint64(h[posProducerID:], uint64(producerID))
	binary.BigEndian.PutUint16(h[posProducerEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(h[posBaseSequence:], uint32(sequence))
	binary.BigEndian.PutUint32(h[posCRC:], crc32.Checksum(h[posAttributes:], castagnoli))
}

// nextSequence counts a partition's sequence up by the records of a batch; after 2^31-1 comes 0.
func nextSequence(sequence, count int32) int32 { return int32(uint32(sequence+count) &^ (1 << 31)) }

func appendVarint(buf []byte, v int64) []byte {
	return binary.AppendUvarint(buf, uint64(v)<<1^uint64(v>>63))
}

func varintSize(v int64) int {
	size := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		size++
	}
	return size
}

func appendNullable(buf, b []byte) []byte {
	if b == nil {
		return append(buf, 1) // zigzag of -1
	}
	return append(appendVarint(buf, int64(len(b))), b...)
}

func nullableSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}
