package sink

import (
	"slices"
	"sync"

	"genesys-audit-connector/internal/codec"
)

const recentChanges = 50

// recent keeps the newest change records for people to look at.
type recent struct {
	step [][]byte // of the step that is being written; only the newest
	next int

	mu   sync.Mutex // protects kept
	kept [][]byte   // oldest first
}

func (r *recent) start() { r.step, r.next = r.step[:0], 0 }

func (r *recent) add(value []byte) {
	if len(r.step) < recentChanges {
		r.step = append(r.step, slices.Clone(value))
		return
	}
	r.step[r.next%recentChanges] = append(r.step[r.next%recentChanges][:0], value...)
	r.next++
}

// keep makes the step's records visible: it was committed.
func (r *recent) keep() {
	if len(r.step) == 0 {
		return
	}
	turn := r.next % recentChanges
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, r.step[min(turn, len(r.step)):]...)
	r.kept = append(r.kept, r.step[:min(turn, len(r.step))]...)
	r.kept = slices.Clone(r.kept[max(0, len(r.kept)-recentChanges):])
	r.step = nil
}

// forget drops the records of events that were erased.
func (r *recent) forget(erased func(id string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = slices.DeleteFunc(r.kept, func(value []byte) bool {
		id, _, _, err := codec.Position(value)
		return err != nil || erased(id)
	})
}

func (r *recent) newest() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.kept)
	slices.Reverse(out)
	return out
}
