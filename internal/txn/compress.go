package txn

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is the codec of a batch, by its number in the batch's attributes.
type Compression int8

const (
	None Compression = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var compressionNames = []string{"none", "gzip", "snappy", "lz4", "zstd"}

func (c Compression) String() string {
	if c < 0 || int(c) >= len(compressionNames) {
		return fmt.Sprintf("codec %d", int8(c))
	}
	return compressionNames[c]
}

// ParseCompression returns the codec that Kafka's own tools call by this name.
func ParseCompression(name string) (Compression, error) {
	for i, n := range compressionNames {
		if n == name {
			return Compression(i), nil
		}
	}
	return None, fmt.Errorf("compression %q is none of %v", name, compressionNames)
}

// compressor compresses batch after batch with the same tables. It is not safe for concurrent use.
type compressor struct {
	codec Compression
	lz4   lz4.Compressor
	gzip  *gzip.Writer
	zstd  *zstd.Encoder
}

func newCompressor(codec Compression) (*compressor, error) {
	c := &compressor{codec: codec}
	var err error
	switch codec {
	case Gzip:
		c.gzip, err = gzip.NewWriterLevel(nil, gzip.BestSpeed)
	case Zstd:
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	}
	return c, err
}

// append compresses src behind dst.
func (c *compressor) append(dst, src []byte) []byte {
	switch c.codec {
	case Gzip:
		w := appendWriter{dst}
		c.gzip.Reset(&w)
		_, _ = c.gzip.Write(src) // an appendWriter does not fail
		_ = c.gzip.Close()
		return w.buf
	case Snappy:
		return appendXerial(dst, src)
	case LZ4:
		return c.appendLZ4(dst, src)
	case Zstd:
		return c.zstd.EncodeAll(src, dst)
	}
	return dst
}

type appendWriter struct{ buf []byte }

func (w *appendWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// lz4Block is the size of an LZ4 block before compression: a reader keeps a buffer of it.
const lz4Block = 256 << 10

// lz4Header begins the LZ4 frame (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md): magic, version 1 with
// independent blocks and neither checksums nor sizes, blocks of at most 256 KiB, and the second byte of the xxh32 of
// the two descriptor bytes. Kafka's own reader (Lz4BlockInputStream.java) takes independent blocks only. The frame is
// written here since lz4.Writer copies and allocates for each.
var lz4Header = []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb}

const lz4Stored = 1 << 31 // in a block's size: it is not compressed

func (c *compressor) appendLZ4(dst, src []byte) []byte {
	dst = append(dst, lz4Header...)
	for len(src) > 0 {
		block := src[:min(len(src), lz4Block)]
		src = src[len(block):]
		at := len(dst)
		dst = growBy(dst, 4+lz4.CompressBlockBound(len(block)))
		n, err := c.lz4.CompressBlock(block, dst[at+4:cap(dst)])
		if err != nil || n == 0 || n >= len(block) {
			n = copy(dst[at+4:cap(dst)], block)
			binary.LittleEndian.PutUint32(dst[at:at+4], uint32(n)|lz4Stored)
		} else {
			binary.LittleEndian.PutUint32(dst[at:at+4], uint32(n))
		}
		dst = dst[:at+4+n]
	}
	return append(dst, 0, 0, 0, 0) // the end mark
}

// growBy returns b, of the same content, with room for n bytes more, 4 of which already count to its length.
func growBy(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n+len(b)/4), b...)
	}
	return b[:len(b)+4]
}

// xerialHeader begins the snappy stream of xerial/snappy-java, which Kafka's Java clients write and read: magic,
// version 1, compatible with 1. Blocks with a 4-byte size follow.
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

// xerialBlock is the size of snappy-java's blocks.
const xerialBlock = 32 << 10

func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlock)]
		src = src[len(block):]
		at := len(dst)
		dst = growBy(dst, 4+snappy.MaxEncodedLen(len(block)))
		n := len(snappy.Encode(dst[at+4:cap(dst)], block))
		binary.BigEndian.PutUint32(dst[at:], uint32(n))
		dst = dst[:at+4+n]
	}
	return dst
}
