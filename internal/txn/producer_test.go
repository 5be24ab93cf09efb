package txn

import (
	"testing"
	"time"
)

func TestCommitAndAbort(t *testing.T) {
	for _, codec := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			fake, _ := fakeKafka(t, 3)
			p := newProducer(t, dialFake(t, fake), ProducerConfig{Compression: codec})
			ready(t, p)
			write(t, p, "one")
			commit(t, p)
			write(t, p, "two")
			if err := p.Abort(within(t, 5*time.Second)); err != nil {
				t.Fatal(err)
			}
			write(t, p, "three")
			commit(t, p)
			committed(t, fake.ListenAddrs()).expect(t, "one", "three")
			if s := p.Stats(); s.Commits != 2 || s.Aborts != 1 || s.Records != 2*(partitions+1) || s.Bytes == 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}
