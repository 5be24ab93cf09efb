package genesys

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"genesys-audit-connector/internal/audit"
)

// All answers in the process share one budget of bytes: what they hold, in use or
// waiting to be used again, is charged before it is allocated. So however many
// readings there are, and whatever an API sends them, the memory is bounded: the
// collector lets the heap grow to about twice of what is alive (GOGC), so that
// memoryBudget keeps answers below some 100 MiB.
//
// Nobody waits while holding a part of it: an answer that needs more than is left
// is given up, and what it holds with it. So there is no deadlock.

const memoryBudget = 48 << 20

// What one charged item takes: a node of jsonscan (12 bytes, and 4 for a level that
// it may open), an event with the texts that it makes.
const (
	nodeBytes  = 16
	eventBytes = int(unsafe.Sizeof(audit.Event{})) + 160 // an id that is a digest, a problem
)

// Answers that hold more are left to the garbage collector.
const (
	keptBody   = 4 << 20
	keptNodes  = 1 << 20
	keptEvents = 4096
	keptIdle   = 16 << 20 // bytes of all that are not in use
)

// errNoMemory says that other answers take what this one would need. It passes.
var errNoMemory = errors.New("the answers that are being read take all the memory there is for them")

// memory is the budget, and the answers that are not in use. It is safe for
// concurrent use. An answer asks it for more when it grows, which one that was
// used before seldom does.
type memory struct {
	mu    sync.Mutex
	limit int
	used  int // bytes charged, idle answers among them
	idle  []*answer
	spare int // bytes of the idle ones
}

var shared = &memory{limit: memoryBudget}

// account is what one answer is charged with. The memory's mu protects it.
type account struct {
	of *memory
	n  int
}

// get returns an answer that is not in use. One that is never given back is
// credited when the collector finds it.
func (m *memory) get() *answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := len(m.idle) - 1; last >= 0 {
		a := m.idle[last]
		m.idle[last], m.idle = nil, m.idle[:last]
		m.spare -= a.account.n
		return a
	}
	a := &answer{account: &account{of: m}}
	runtime.AddCleanup(a, func(c *account) { c.give(c.n) }, a.account)
	return a
}

// put takes an answer back. One that had to grow for a giant body, or could not
// grow, is left to the collector.
func (m *memory) put(a *answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := a.account
	if a.short || cap(a.body) > keptBody || a.nodes > keptNodes || cap(a.events) > keptEvents || m.spare+c.n > keptIdle {
		m.used -= c.n
		c.n = 0
		return
	}
	m.spare += c.n
	m.idle = append(m.idle, a)
}

// take charges n bytes, and reports whether there were so many: idle answers make
// room.
func (c *account) take(n int) bool {
	m := c.of
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.used+n > m.limit && len(m.idle) > 0 {
		old := m.idle[0].account
		m.used -= old.n
		m.spare -= old.n
		old.n = 0
		m.idle = slices.Delete(m.idle, 0, 1)
	}
	if m.used+n > m.limit {
		return false
	}
	m.used += n
	c.n += n
	return true
}

func (c *account) give(n int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.used -= n
	c.n -= n
}

// charge charges n bytes more. Where they are not there it says whether the answer
// is too large by itself, or others have to be done first.
func (a *answer) charge(n int) error {
	c := a.account
	if c == nil || c.take(n) {
		return nil
	}
	a.short = true
	if len(a.body)+n > c.of.limit/2 {
		return &tooLargeError{int64(len(a.body))}
	}
	return errNoMemory
}

// credit gives back what was charged for nothing.
func (a *answer) credit(n int) {
	if a.account != nil {
		a.account.give(n)
	}
}
