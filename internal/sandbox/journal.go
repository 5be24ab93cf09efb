package sandbox

import (
	"container/heap"
	"slices"
	"sort"
	"sync"
)

// journal is all that happened, in the order in which the API shows it. A page
// starts at a place, not at an offset: events that become visible while pages
// are being read neither shift later pages nor show one twice.
type journal struct {
	mu     sync.RWMutex
	seen   []*event // visible, ordered by place
	hidden waiting  // not visible yet
	seq    uint64
}

// add takes events in, in the order of arrival.
func (j *journal) add(now int64, events []*event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var visible []*event
	for _, e := range events {
		j.seq++
		e.seq = j.seq
		if e.visible > now {
			heap.Push(&j.hidden, e)
		} else {
			visible = append(visible, e)
		}
	}
	j.show(visible)
}

// reveal shows what has become visible by now.
func (j *journal) reveal(now int64) {
	j.mu.RLock()
	due := len(j.hidden) > 0 && j.hidden[0].visible <= now
	j.mu.RUnlock()
	if !due {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var visible []*event
	for len(j.hidden) > 0 && j.hidden[0].visible <= now {
		visible = append(visible, heap.Pop(&j.hidden).(*event))
	}
	j.show(visible)
}

// show merges events into the visible ones. Few come far from the end, so the
// merge goes backwards and stops early.
func (j *journal) show(events []*event) {
	slices.SortFunc(events, func(a, b *event) int {
		if a.precedes(b.place()) {
			return -1
		}
		return 1
	})
	old := len(j.seen)
	j.seen = append(j.seen, events...)
	i, k := old-1, len(events)-1
	for at := len(j.seen) - 1; k >= 0; at-- {
		if i >= 0 && events[k].precedes(j.seen[i].place()) {
			j.seen[at] = j.seen[i]
			i--
		} else {
			j.seen[at] = events[k]
			k--
		}
	}
}

// page collects up to limit matching events from a place until a time, and
// tells whether more follow.
func (j *journal) page(from place, until int64, limit int, match func(*event) bool) (page []*event, more bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for i := j.search(from); i < len(j.seen) && j.seen[i].at < until; i++ {
		if !match(j.seen[i]) {
			continue
		}
		if len(page) == limit {
			return page, true
		}
		page = append(page, j.seen[i])
	}
	return page, false
}

// count is how many matching events lie from a place to another.
func (j *journal) count(from, until place, match func(*event) bool) (n int) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for i := j.search(from); i < len(j.seen) && j.seen[i].precedes(until); i++ {
		if match(j.seen[i]) {
			n++
		}
	}
	return n
}

// before steps back over n matching events, not further than to a time: the
// place from which they would be shown again.
func (j *journal) before(p place, from int64, n int, match func(*event) bool) place {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for i := j.search(p) - 1; i >= 0 && n > 0 && j.seen[i].at >= from; i-- {
		if match(j.seen[i]) {
			p = j.seen[i].place()
			n--
		}
	}
	return p
}

// search is the index of the first event not before a place. Needs mu.
func (j *journal) search(p place) int {
	return sort.Search(len(j.seen), func(i int) bool { return !j.seen[i].precedes(p) })
}

// all is every event there is: the visible ones in order, then the hidden.
func (j *journal) all() (events []*event, visible int) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return slices.Concat(j.seen, []*event(j.hidden)), len(j.seen)
}

// waiting is a heap of events by the time from which they are visible.
type waiting []*event

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].visible < w[j].visible }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(e any)        { *w = append(*w, e.(*event)) }

func (w *waiting) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}
