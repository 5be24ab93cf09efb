package txn

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// batchView is one record batch in a fetch answer. Its records are still compressed.
type batchView struct {
	baseOffset, lastOffset int64
	attributes             int16
	baseTime, maxTime      int64
	producerID             int64
	count                  int32
	records                []byte
}

// nextBatch splits the first batch off b. It returns no batch, and no error, where the rest is incomplete: a broker
// cuts its answer at a number of bytes, not at the end of a batch.
func nextBatch(b []byte) (view batchView, rest []byte, complete bool, err error) {
	if len(b) <= posMagic {
		return view, nil, false, nil
	}
	if magic := b[posMagic]; magic != 2 {
		return view, nil, false, fmt.Errorf("%w: message format %d; only 2 (Kafka 0.11 and later) is read", ErrCorrupt, magic)
	}
	size := int64(int32(binary.BigEndian.Uint32(b[posLength:]))) + lengthOverhead
	if size < batchHeader {
		return view, nil, false, fmt.Errorf("%w: %d bytes long", ErrCorrupt, size)
	}
	if size > int64(len(b)) {
		return view, nil, false, nil
	}
	rest, b = b[size:], b[:size]
	if sum := crc32.Checksum(b[posAttributes:], castagnoli); sum != binary.BigEndian.Uint32(b[posCRC:]) {
		return view, nil, false, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	view = batchView{
		baseOffset: int64(binary.BigEndian.Uint64(b[posBaseOffset:])),
		attributes: int16(binary.BigEndian.Uint16(b[posAttributes:])),
		baseTime:   int64(binary.BigEndian.Uint64(b[posBaseTime:])),
		maxTime:    int64(binary.BigEndian.Uint64(b[posMaxTime:])),
		producerID: int64(binary.BigEndian.Uint64(b[posProducerID:])),
		count:      int32(binary.BigEndian.Uint32(b[posCount:])),
		records:    b[batchHeader:],
	}
	delta := int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:]))
	view.lastOffset = view.baseOffset + int64(delta)
	if delta < 0 || view.count < 0 || view.baseOffset < 0 || view.lastOffset < 0 {
		return view, nil, false, fmt.Errorf("%w: offset %d+%d, %d records", ErrCorrupt, view.baseOffset, delta, view.count)
	}
	return view, rest, true, nil
}

func (v *batchView) codec() Compression  { return Compression(v.attributes & attrCodec) }
func (v *batchView) transactional() bool { return v.attributes&attrTransactional != 0 }
func (v *batchView) control() bool       { return v.attributes&attrControl != 0 }

// abortMarker tells whether a control batch aborts its producer's transaction. Its record's key is a version and a
// type, 0 for abort and 1 for commit: https://kafka.apache.org/documentation/#controlbatch
func (v *batchView) abortMarker() (bool, error) {
	var aborts bool
	d := recordDecoder{view: v, buf: v.records}
	err := d.each(func(r *Record) error {
		if len(r.Key) < 4 {
			return fmt.Errorf("%w: control record", ErrCorrupt)
		}
		aborts = binary.BigEndian.Uint16(r.Key[2:]) == 0
		return nil
	})
	return aborts, err
}

// recordDecoder walks over the records of a batch. What it hands out points into buf.
type recordDecoder struct {
	view *batchView
	buf  []byte // the records, not compressed

	record  Record
	headers []Header
	names   map[string]string // header keys seen so far, so that each costs one string
	bad     bool
}

// maxNames bounds names: header keys are few, or else not worth remembering.
const maxNames = 256

// each calls fn for every record. The record is valid until fn returns.
func (d *recordDecoder) each(fn func(*Record) error) error {
	for i := int32(0); i < d.view.count; i++ {
		size := d.varint()
		if d.bad || size < 0 || size > int64(len(d.buf)) {
			return d.corrupt(i)
		}
		rest := d.buf[size:]
		d.buf = d.buf[:size]
		d.one()
		if d.bad {
			return d.corrupt(i)
		}
		d.buf = rest
		if err := fn(&d.record); err != nil {
			return err
		}
	}
	if len(d.buf) > 0 {
		return d.corrupt(d.view.count)
	}
	return nil
}

func (d *recordDecoder) corrupt(i int32) error {
	return fmt.Errorf("%w: record %d of %d from offset %d", ErrCorrupt, i, d.view.count, d.view.baseOffset)
}

// one decodes the record that buf now holds, without its size. What may follow in it is for versions to come.
func (d *recordDecoder) one() {
	r := &d.record
	if len(d.buf) == 0 {
		d.bad = true
		return
	}
	d.buf = d.buf[1:]
	r.Time = d.view.baseTime + d.varint()
	if d.view.attributes&attrLogAppendTime != 0 {
		r.Time = d.view.maxTime
	}
	r.Offset = d.view.baseOffset + d.varint()
	r.Key = d.nullable()
	r.Value = d.nullable()
	count := d.varint()
	if count < 0 || count > int64(len(d.buf)) {
		d.bad = true
		return
	}
	d.headers = d.headers[:0]
	for range count {
		name := d.nullable()
		value := d.nullable()
		if d.bad {
			return
		}
		d.headers = append(d.headers, Header{Key: d.name(name), Value: value})
	}
	r.Headers = d.headers
}

func (d *recordDecoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	if d.names == nil || len(d.names) >= maxNames {
		d.names = map[string]string{}
	}
	s := string(b)
	d.names[s] = s
	return s
}

func (d *recordDecoder) varint() int64 {
	if len(d.buf) > 0 && d.buf[0] < 0x80 {
		u := d.buf[0]
		d.buf = d.buf[1:]
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *recordDecoder) nullable() []byte {
	n := d.varint()
	if n < 0 {
		return nil
	}
	if n > int64(len(d.buf)) {
		d.bad = true
		return nil
	}
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	return b
}
