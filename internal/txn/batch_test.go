package txn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func mustCompressor(t testing.TB, codec Compression) *compressor {
	t.Helper()
	c, err := newCompressor(codec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealed encodes records as one batch, ready to be sent.
func sealed(t testing.TB, codec Compression, records []Record) []byte {
	t.Helper()
	var b batch
	b.reset(nil)
	for i := range records {
		before := len(b.buf)
		size := b.size(&records[i])
		size += varintSize(int64(size))
		b.append(&records[i])
		if grown := len(b.buf) - before; grown != size {
			t.Fatalf("record %d: size says %d, it is %d", i, size, grown)
		}
	}
	out := b.seal(nil, mustCompressor(t, codec))
	stamp(out, 0x0102030405060708, 0x1112, 0x21222324)
	return out
}

var goldenRecords = []Record{
	{Key: []byte("key"), Value: []byte("value"), Time: 1_700_000_000_123, Headers: []Header{{"audit-id", []byte("1")}, {"null", nil}, {"empty", []byte{}}}},
	{Key: []byte("tombstone"), Time: 1_700_000_000_000}, // earlier than the first
	{Value: []byte{}, Time: 1_700_000_009_999},
	{Key: []byte("schlüssel"), Value: bytes.Repeat([]byte("wert "), 60), Time: 1_700_000_000_124},
}

func TestBatchGolden(t *testing.T) {
	for _, codec := range []Compression{None, LZ4} {
		path := filepath.Join("testdata", "batch_"+codec.String()+".hex")
		got := hex.Dump(sealed(t, codec, goldenRecords))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s\nnot\n%s", path, got, want)
		}
	}
}

// text is a record's content, to compare what three decoders made of it.
func text(offset, time int64, key, value []byte, headers []Header) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d @%d %q %v %q %v", offset, time, key, key == nil, value, value == nil)
	for _, h := range headers {
		fmt.Fprintf(&b, " %q=%q %v", h.Key, h.Value, h.Value == nil)
	}
	return b.String()
}

func ownText(t testing.TB, batch []byte) []string {
	t.Helper()
	view, rest, complete, err := nextBatch(batch)
	if err != nil || !complete || len(rest) != 0 {
		t.Fatalf("complete=%v, %d bytes left, %v", complete, len(rest), err)
	}
	if view.producerID != 0x0102030405060708 || !view.transactional() || view.control() {
		t.Errorf("header %+v", view)
	}
	var unpack decompressor
	records, err := unpack.records(&view)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	d := recordDecoder{view: &view, buf: records}
	if err := d.each(func(r *Record) error {
		lines = append(lines, text(r.Offset, r.Time, r.Key, r.Value, r.Headers))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

// kafkaGoText decodes with kafka-go's own reader.
func kafkaGoText(t testing.TB, set []byte) []string {
	t.Helper()
	var rs protocol.RecordSet
	if _, err := rs.ReadFrom(bytes.NewReader(set)); err != nil {
		t.Fatalf("kafka-go: %v", err)
	}
	if !rs.Attributes.Transactional() {
		t.Error("kafka-go: not transactional")
	}
	var lines []string
	for rs.Records != nil {
		r, err := rs.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("kafka-go: %v", err)
		}
		key, value := readBytes(t, r.Key), readBytes(t, r.Value)
		var headers []Header
		for _, h := range r.Headers {
			headers = append(headers, Header{h.Key, h.Value})
		}
		lines = append(lines, text(r.Offset, r.Time.UnixMilli(), key, value, headers))
	}
	return lines
}

func readBytes(t testing.TB, b protocol.Bytes) []byte {
	t.Helper()
	if b == nil {
		return nil
	}
	out, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{}, out...)
}

// franzText decodes with franz-go's wire types; it knows no compression.
func franzText(t testing.TB, batch []byte) []string {
	t.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(batch); err != nil {
		t.Fatalf("franz-go: %v", err)
	}
	if int32(crc32.Checksum(batch[21:], crc32.MakeTable(crc32.Castagnoli))) != b.CRC {
		t.Error("franz-go: checksum")
	}
	if b.ProducerID != 0x0102030405060708 || b.ProducerEpoch != 0x1112 || b.FirstSequence != 0x21222324 || b.Magic != 2 ||
		b.LastOffsetDelta != b.NumRecords-1 || b.PartitionLeaderEpoch != -1 {
		t.Errorf("franz-go: header %+v", b)
	}
	var lines []string
	for in := b.Records; len(in) > 0; {
		var r kmsg.Record
		size, n := binary.Varint(in)
		if err := r.ReadFrom(in[:int(size)+n]); err != nil {
			t.Fatalf("franz-go: %v", err)
		}
		in = in[int(size)+n:]
		var headers []Header
		for _, h := range r.Headers {
			headers = append(headers, Header{h.Key, h.Value})
		}
		lines = append(lines, text(int64(r.OffsetDelta), b.FirstTimestamp+r.TimestampDelta64, r.Key, r.Value, headers))
	}
	return lines
}

func checkDecoders(t testing.TB, records []Record) {
	t.Helper()
	var want []string
	for i, r := range records {
		want = append(want, text(int64(i), r.Time, r.Key, r.Value, r.Headers))
	}
	for _, codec := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		set := sealed(t, codec, records)
		if got := ownText(t, set[4:]); !slices.Equal(got, want) {
			t.Errorf("%v: %q, not %q", codec, got, want)
		}
		if got := kafkaGoText(t, set); !slices.Equal(got, want) {
			t.Errorf("%v by kafka-go: %q, not %q", codec, got, want)
		}
		if codec == None {
			if got := franzText(t, set[4:]); !slices.Equal(got, want) {
				t.Errorf("by franz-go: %q, not %q", got, want)
			}
		}
	}
}

func TestBatchIsReadByOthers(t *testing.T) {
	checkDecoders(t, goldenRecords)
	// Over the sizes at which a varint grows and an LZ4 block ends.
	var records []Record
	for _, size := range []int{0, 1, 63, 64, 8191, 8192, lz4Block - 1, lz4Block, lz4Block + 1} {
		records = append(records, Record{Key: bytes.Repeat([]byte("k"), min(size, 9000)), Value: bytes.Repeat([]byte("abcdefg"), size/7+1)[:size], Time: int64(size)})
	}
	checkDecoders(t, records)
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "header", []byte("x"), int64(1_700_000_000_000), int64(-5), byte(0))
	f.Add([]byte{}, bytes.Repeat([]byte("ab"), 5000), "", []byte{}, int64(0), int64(1), byte(0xff))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, time, delta int64, nulls byte) {
		// kafka-go holds times as nanoseconds.
		time, delta = time%math.MaxUint32, delta%math.MaxUint32
		records := []Record{
			{Key: key, Value: value, Time: time, Headers: []Header{{name, header}}},
			{Key: value, Value: key, Time: time + delta, Headers: []Header{{name, header}, {"", nil}}},
			{Time: time},
		}
		for i := range records {
			r := &records[i]
			for bit, field := range []*[]byte{&r.Key, &r.Value} {
				if nulls>>(2*i+bit)&1 != 0 {
					*field = nil
				} else if *field == nil {
					*field = []byte{}
				}
			}
			for j := range r.Headers {
				if r.Headers[j].Value == nil && r.Headers[j].Key != "" {
					r.Headers[j].Value = []byte{}
				}
			}
		}
		checkDecoders(t, records)
	})
}

// FuzzFetched decodes whatever a broker might answer. The checksum is put right, or nothing behind it would be reached.
func FuzzFetched(f *testing.F) {
	frame := func(records []byte) []byte {
		b := make([]byte, 4+4+2+4+4+2)
		b = append(b, make([]byte, 4+4+2+24)...)
		b = binary.BigEndian.AppendUint32(b, 1) // one aborted transaction
		b = append(b, make([]byte, 16)...)
		b = append(b, make([]byte, 4)...)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(records))), records...)
	}
	for _, codec := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		f.Add(frame(sealed(f, codec, goldenRecords)[4:]))
	}
	f.Add(frame(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		answer, err := decodeFetched(in)
		if err != nil {
			return
		}
		for b := answer.records; len(b) > batchHeader; {
			size := int(int32(binary.BigEndian.Uint32(b[posLength:]))) + lengthOverhead
			if size < batchHeader || size > len(b) {
				break
			}
			binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:size], castagnoli))
			b = b[size:]
		}
		r := &Reader{highWatermark: -1}
		_ = r.deliver(answer, func(r *Record) error {
			if len(r.Key)+len(r.Value) > maxBatch {
				t.Error("a record larger than a batch may be")
			}
			return nil
		})
	})
}

func TestHostileSizes(t *testing.T) {
	good := sealed(t, None, goldenRecords)[4:]
	change := func(at int, bytes ...byte) []byte {
		b := slices.Clone(good)
		copy(b[at:], bytes)
		binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], castagnoli))
		return b
	}
	for name, c := range map[string]struct {
		batch   []byte
		corrupt bool // else it is taken for incomplete
	}{
		"a length over the end":     {change(posLength, 0x7f, 0xff, 0xff, 0xff), false},
		"a negative length":         {change(posLength, 0xff, 0xff, 0xff, 0xff), true},
		"an old format":             {change(posMagic, 1), true},
		"more records than bytes":   {change(posCount, 0x7f, 0xff, 0xff, 0xff), true},
		"fewer records than bytes":  {change(posCount, 0, 0, 0, 1), true},
		"a negative count":          {change(posCount, 0xff, 0xff, 0xff, 0xff), true},
		"an offset over the end":    {change(posBaseOffset, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), true},
		"a record of 2 GB":          {change(batchHeader, 0xfe, 0xff, 0xff, 0xff, 0x0f), true},
		"an unknown codec":          {change(posAttributes+1, 7), true},
		"snappy that claims 4 GB":   {change(posAttributes+1, byte(Snappy), 0, 0, 0, 3), true},
		"a checksum that is wrong":  {append(slices.Clone(good[:len(good)-1]), good[len(good)-1]^1), true},
		"lz4 that is none":          {change(posAttributes+1, byte(LZ4)), true},
		"an endless record varint ": {change(batchHeader, bytes.Repeat([]byte{0xff}, 11)...), true},
	} {
		r := &Reader{highWatermark: -1}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := r.deliver(&fetched{records: c.batch}, func(*Record) error { return nil })
		runtime.ReadMemStats(&after)
		if errors.Is(err, ErrCorrupt) != c.corrupt {
			t.Errorf("%s: %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
			t.Errorf("%s: allocated %d bytes", name, got)
		}
	}
	// A bomb: what grows over the limit is refused, whatever the codec.
	const limit = 4 << 20
	zeros := make([]byte, limit+1)
	for _, codec := range []Compression{Gzip, LZ4, Zstd, Snappy} {
		packed := mustCompressor(t, codec).append(nil, zeros)
		d := decompressor{limit: limit}
		if _, err := d.records(&batchView{attributes: int16(codec), records: packed}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: a bomb of %d bytes: %v", codec, len(packed), err)
		}
	}
	unset := &decompressor{}
	if _, err := unset.records(&batchView{}); err != nil || unset.limit != maxBatch {
		t.Errorf("a limit of %d by default: %v", unset.limit, err)
	}
	if _, err := readAnswer(bytes.NewReader([]byte{0x7f, 0xff, 0xff, 0xff}), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("an answer of 2 GB: %v", err)
	}
}

// A batch that compression would make larger is sent as it is.
func TestIncompressible(t *testing.T) {
	r := []Record{{Value: []byte("x")}}
	for _, codec := range []Compression{Gzip, Snappy, LZ4, Zstd} {
		if got, want := sealed(t, codec, r), sealed(t, None, r); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, not %x", codec, got, want)
		}
	}
}

func TestNextSequence(t *testing.T) {
	for _, c := range [][3]int32{{0, 1, 1}, {math.MaxInt32 - 1, 1, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 2, 10, 7}} {
		if got := nextSequence(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d, not %d", c[0], c[1], got, c[2])
		}
	}
}
