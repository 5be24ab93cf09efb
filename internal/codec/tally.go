package codec

import "sync"

// tally counts events by entity type. It tells the first so many types apart,
// so that a source of ever new ones costs bounded memory.
type tally struct {
	mu     sync.Mutex
	counts map[string]*uint64
}

const (
	talliedTypes     = 256
	talliedTypeBytes = 64
	otherTypes       = "other" // those beyond
)

func (t *tally) add(entityType []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.counts[string(entityType)]; n != nil {
		*n++
		return
	}
	name := otherTypes
	if len(t.counts) < talliedTypes && len(entityType) <= talliedTypeBytes {
		name = string(entityType)
	}
	if t.counts == nil {
		t.counts = make(map[string]*uint64)
	}
	if t.counts[name] == nil {
		t.counts[name] = new(uint64)
	}
	*t.counts[name]++
}

func (t *tally) snapshot() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := make(map[string]uint64, len(t.counts))
	for name, n := range t.counts {
		counts[name] = *n
	}
	return counts
}
