package txn

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// fetchVersion is the Fetch that is spoken: the last without topic ids and compact types; brokers have had it since
// Kafka 2.3. https://kafka.apache.org/protocol#The_Messages_Fetch
const fetchVersion = 11

// fetchRequest asks one partition for committed records. It is encoded and decoded here since kafka-go's fetch decodes
// every record through interfaces and drops what tells aborted batches apart; as a protocol.RawExchanger it still goes
// over protocol.Conn. The answer is read into a buffer that is used again.
type fetchRequest struct {
	clientID  string
	topic     string
	partition int32
	offset    int64
	maxWaitMs int32
	isolation isolation
	buf       []byte // of the answer before, or nil
}

// isolation says which records a fetch is to return.
type isolation byte

const (
	readUncommitted isolation = 0
	readCommitted   isolation = 1
)

// fetchSize is how many bytes a broker is asked for. A batch that is larger still comes whole, when it is the first.
const fetchSize = 2 << 20

// fetched is the answer. Its slices point into buf.
type fetched struct {
	code          kafka.Error
	highWatermark int64
	lastStable    int64
	logStart      int64
	aborted       []abortedTxn // by first offset
	records       []byte
	buf           []byte
}

type abortedTxn struct{ producerID, firstOffset int64 }

func (*fetchRequest) ApiKey() protocol.ApiKey { return protocol.Fetch }
func (*fetched) ApiKey() protocol.ApiKey      { return protocol.Fetch }

// Required makes protocol.Conn call RawExchange.
func (*fetchRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange sends the request and reads the answer.
func (f *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if _, err := rw.Write(f.encode()); err != nil {
		return nil, err
	}
	buf, err := readAnswer(rw, f.buf)
	if err != nil {
		return nil, err
	}
	res, err := decodeFetched(buf)
	if err != nil {
		return nil, err
	}
	res.buf = buf
	return res, nil
}

func (f *fetchRequest) encode() []byte {
	b := make([]byte, 4, 128)
	b = binary.BigEndian.AppendUint16(b, uint16(protocol.Fetch))
	b = binary.BigEndian.AppendUint16(b, fetchVersion)
	b = binary.BigEndian.AppendUint32(b, 0) // correlation id: one request is in flight
	b = appendString(b, f.clientID)
	b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // replica id: a consumer
	b = binary.BigEndian.AppendUint32(b, uint32(f.maxWaitMs))
	b = binary.BigEndian.AppendUint32(b, 1) // min bytes
	b = binary.BigEndian.AppendUint32(b, fetchSize)
	b = append(b, byte(f.isolation))
	b = binary.BigEndian.AppendUint32(b, 0)          // session id
	b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // session epoch: no session
	b = binary.BigEndian.AppendUint32(b, 1)          // topics
	b = appendString(b, f.topic)
	b = binary.BigEndian.AppendUint32(b, 1) // partitions
	b = binary.BigEndian.AppendUint32(b, uint32(f.partition))
	b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // current leader epoch: unknown
	b = binary.BigEndian.AppendUint64(b, uint64(f.offset))
	b = binary.BigEndian.AppendUint64(b, ^uint64(0)) // log start offset: not a follower
	b = binary.BigEndian.AppendUint32(b, fetchSize)
	b = binary.BigEndian.AppendUint32(b, 0) // forgotten topics
	b = appendString(b, "")                 // rack
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// readAnswer reads one answer, without its size, into buf where it fits.
func readAnswer(r io.Reader, buf []byte) ([]byte, error) {
	var front [4]byte
	if _, err := io.ReadFull(r, front[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(front[:])
	if size > maxBatch {
		return nil, fmt.Errorf("%w: answer of %d bytes", ErrCorrupt, size)
	}
	if int(size) > cap(buf) || cap(buf) > 2*fetchSize {
		buf = make([]byte, max(int(size), 64<<10))
	}
	buf = buf[:size]
	_, err := io.ReadFull(r, buf)
	return buf, err
}

// decodeFetched decodes an answer for one partition.
func decodeFetched(b []byte) (*fetched, error) {
	d := wireDecoder{buf: b}
	f := &fetched{}
	d.skip(4 + 4) // correlation id, throttle time
	f.code = kafka.Error(d.int16())
	d.skip(4) // session id
	if topics := d.int32(); f.code != 0 && topics == 0 {
		return f, d.err
	}
	d.skip(int(d.int16())) // topic
	d.skip(4 + 4)          // partitions, partition
	if code := kafka.Error(d.int16()); f.code == 0 {
		f.code = code
	}
	f.highWatermark, f.lastStable, f.logStart = d.int64(), d.int64(), d.int64()
	count := int(d.int32())
	if count > len(d.buf)/16 {
		return nil, fmt.Errorf("%w: %d aborted transactions", ErrCorrupt, count)
	}
	for range count {
		f.aborted = append(f.aborted, abortedTxn{d.int64(), d.int64()})
	}
	d.skip(4) // preferred read replica
	if size := int(d.int32()); size > 0 {
		f.records = d.take(size)
	}
	return f, d.err
}

// wireDecoder reads big-endian fields and remembers that there were too few bytes.
type wireDecoder struct {
	buf []byte
	err error
}

func (d *wireDecoder) take(n int) []byte {
	if n < 0 || n > len(d.buf) {
		d.err = fmt.Errorf("%w: answer is cut short", ErrCorrupt)
		d.buf = nil
		return nil
	}
	b := d.buf[:n]
	d.buf = d.buf[n:]
	return b
}

func (d *wireDecoder) skip(n int) { d.take(n) }

// uvarint decodes what flexible versions have in place of the size of a string or an array.
func (d *wireDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.take(len(d.buf) + 1)
		return 0
	}
	d.take(n)
	return v
}

func (d *wireDecoder) int16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *wireDecoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *wireDecoder) int64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}
