package health

import (
	"fmt"
	"runtime/debug"
)

// PanicError is what Guard makes of a panic.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Guard runs f. A panic in it (an answer that nobody had thought of) is counted and becomes
// a *PanicError, so that it ends this work and nothing else.
func (m *Monitor) Guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			m.Panicked()
			err = &PanicError{r, debug.Stack()}
		}
	}()
	return f()
}

// Panicked counts a panic that was met elsewhere.
func (m *Monitor) Panicked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.panics++
}

// Panics is how many there were.
func (m *Monitor) Panics() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.panics
}
