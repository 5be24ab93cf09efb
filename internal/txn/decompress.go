package txn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxBatch bounds a batch after decompression, and a fetch answer: more is taken for damage, not for data.
const maxBatch = 128 << 20

// decompressor unpacks batch after batch into the same buffer. It is not safe for concurrent use.
type decompressor struct {
	limit int // bytes, of a batch; set at the first use
	buf   []byte
	gzip  *gzip.Reader
	lz4   *lz4.Reader
	zstd  *zstd.Decoder
}

// records returns a batch's records. They are valid until the next call.
func (d *decompressor) records(v *batchView) ([]byte, error) {
	var err error
	if d.limit == 0 {
		d.limit = maxBatch
	}
	if cap(d.buf) > keepBuffer {
		d.buf = nil
	}
	switch v.codec() {
	case None:
		return v.records, nil
	case Gzip:
		if d.gzip == nil {
			d.gzip = new(gzip.Reader)
		}
		if err = d.gzip.Reset(bytes.NewReader(v.records)); err == nil {
			err = d.readAll(d.gzip)
		}
	case Snappy:
		err = d.snappy(v.records)
	case LZ4:
		if d.lz4 == nil {
			d.lz4 = lz4.NewReader(nil)
		}
		d.lz4.Reset(bytes.NewReader(v.records))
		err = d.readAll(d.lz4)
	case Zstd:
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(d.limit)))
		}
		if err == nil {
			d.buf, err = d.zstd.DecodeAll(v.records, d.buf[:0])
		}
	default:
		err = fmt.Errorf("unknown %v", v.codec())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v at offset %d: %w", ErrCorrupt, v.codec(), v.baseOffset, err)
	}
	return d.buf, nil
}

func (d *decompressor) readAll(r io.Reader) error {
	d.buf = d.buf[:0]
	for {
		if len(d.buf) == cap(d.buf) {
			d.buf = append(d.buf, make([]byte, max(64<<10, cap(d.buf)))...)[:len(d.buf)]
		}
		n, err := r.Read(d.buf[len(d.buf):cap(d.buf)])
		d.buf = d.buf[:len(d.buf)+n]
		switch {
		case len(d.buf) > d.limit:
			return fmt.Errorf("more than %d bytes", d.limit)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// snappy reads the stream of xerial/snappy-java, or a bare block, which some clients write.
func (d *decompressor) snappy(src []byte) error {
	d.buf = d.buf[:0]
	if !bytes.HasPrefix(src, xerialHeader[:8]) {
		return d.snappyBlock(src)
	}
	if len(src) < len(xerialHeader) {
		return io.ErrUnexpectedEOF
	}
	for src = src[len(xerialHeader):]; len(src) > 0; {
		if len(src) < 4 {
			return io.ErrUnexpectedEOF
		}
		size := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(size) > uint64(len(src)) {
			return io.ErrUnexpectedEOF
		}
		if err := d.snappyBlock(src[:size]); err != nil {
			return err
		}
		src = src[size:]
	}
	return nil
}

func (d *decompressor) snappyBlock(block []byte) error {
	size, err := snappy.DecodedLen(block)
	if err != nil {
		return err
	}
	// A snappy block grows at most 22-fold (a copy of 64 bytes costs 3): a size beyond that is a lie, not worth a buffer.
	if size > 32*len(block)+64 || len(d.buf)+size > d.limit {
		return fmt.Errorf("%d bytes from %d", size, len(block))
	}
	at := len(d.buf)
	if cap(d.buf)-at < size {
		d.buf = append(make([]byte, 0, at+size+at/2), d.buf...)
	}
	out, err := snappy.Decode(d.buf[at:at+size], block)
	d.buf = d.buf[:at+len(out)]
	return err
}
