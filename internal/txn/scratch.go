package txn

import (
	"fmt"
	"sync"
)

// scratch is the memory that a producer needs while a transaction is open. Producers lend it to each other: one that
// has nothing to write has none, and what nobody uses for a while the garbage collector takes.
type scratch struct {
	compressor *compressor
	packed     []byte   // the batch that was sealed last; its memory is used again
	arena      []byte   // of the sealed batches; used again after the transaction
	buffers    [][]byte // for open batches
}

// scratches are those that nobody uses, by codec.
var scratches [Zstd + 1]sync.Pool

const (
	// firstArena holds the batches of a small transaction, compressed; largestArena those of most.
	firstArena   = 64 << 10
	largestArena = 2 << 20
)

// checkCompression returns an error where batches cannot be compressed so.
func checkCompression(codec Compression) error {
	if codec < None || codec > Zstd {
		return fmt.Errorf("%v is not known", codec)
	}
	c, err := newCompressor(codec)
	if err == nil {
		scratches[codec].Put(&scratch{compressor: c})
	}
	return err
}

// borrow returns the scratch of the open transaction.
func (p *Producer) borrow() *scratch {
	if p.scratch != nil {
		return p.scratch
	}
	s, ok := scratches[p.config.Compression].Get().(*scratch)
	if !ok {
		c, _ := newCompressor(p.config.Compression) // it succeeded before: checkCompression
		s = &scratch{compressor: c}
	}
	p.scratch = s
	return s
}

// giveBack ends the use of the scratch. Nothing of it may be in use.
func (p *Producer) giveBack() {
	s := p.scratch
	if s == nil {
		return
	}
	p.scratch = nil
	if s.arena = s.arena[:0]; cap(s.arena) > keepBuffer {
		s.arena = nil
	}
	scratches[p.config.Compression].Put(s)
}

// buffer returns memory for a batch, nil where there is none to be used again.
func (s *scratch) buffer() (b []byte) {
	if last := len(s.buffers) - 1; last >= 0 {
		b, s.buffers = s.buffers[last], s.buffers[:last]
	}
	return b
}

// reuse takes memory that a batch was in.
func (s *scratch) reuse(b []byte) {
	if cap(b) > 0 && cap(b) <= keepBuffer {
		s.buffers = append(s.buffers, b[:0])
	}
}

// keep copies b to memory that holds until the transaction ends.
func (s *scratch) keep(b []byte) []byte {
	if cap(s.arena)-len(s.arena) < len(b) {
		// Batches that are there already keep the old one alive.
		s.arena = make([]byte, 0, max(len(b), min(largestArena, max(firstArena, 2*cap(s.arena)))))
	}
	at := len(s.arena)
	s.arena = append(s.arena, b...)
	return s.arena[at:len(s.arena):len(s.arena)]
}
