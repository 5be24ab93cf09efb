package health

import (
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
)

// PanicError is what Guard makes of a panic.
type PanicError struct{ Value any }

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Guard runs f. A panic in it (an answer that nobody had thought of) is logged with its
// stack, counted, and becomes an error, so that it ends this work and nothing else.
func (m *Monitor) Guard(log *zap.Logger, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			m.mu.Lock()
			m.panics++
			m.mu.Unlock()
			err = &PanicError{r}
			log.Error("panic; the work that met it is given up", zap.Error(err), zap.ByteString("stack", debug.Stack()))
		}
	}()
	return f()
}

// Panics is how many there were.
func (m *Monitor) Panics() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.panics
}
