package poller

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
)

// much is an Archive of n events, and a Sink that takes everything. It looks at
// the memory in use as it goes.
type much struct {
	n    int
	peak uint64
}

func (m *much) Each(_ context.Context, f func(id string, at time.Time, astray bool) error) error {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range m.n {
		var u [16]byte
		binary.BigEndian.PutUint64(u[:], uint64(i)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(u[8:], uint64(i))
		id := fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
		if err := f(id, at.Add(time.Duration(i)*time.Millisecond), false); err != nil {
			return err
		}
		if i%100_000 == 0 {
			m.look()
		}
	}
	m.look()
	return nil
}

func (m *much) Find(context.Context, []string) (map[string]Records, error) { return nil, nil }

func (m *much) look() {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.peak = max(m.peak, s.Sys-s.HeapReleased)
}

func (m *much) Commit(context.Context, *Step) error { return nil }
func (m *much) Capacity() (int, int)                { return 4000, 2 << 20 }

// readBackMany reads n ids back, as a term does whose offsets topic was lost.
func readBackMany(tb testing.TB, n int) (m *much, ids int) {
	m = &much{n: n}
	state := offsets.NewState("org")
	p := New(Config{StopTimeout: time.Second, Health: new(health.Monitor), Logger: zap.NewNop()}, nil, m, m, state, NewStats(0, nil))
	ctx, cancel := context.WithCancel(tb.Context())
	alone, ended := make(chan struct{}), make(chan error)
	go func() { ended <- p.commitLoop(ctx, newStepBuilder(p), alone) }()
	all := audit.NewIntervalSet(audit.Interval{To: forever})
	err := p.recall(ctx, func(*stepBuilder) audit.IntervalSet { return all }, func(*stepBuilder) {})
	cancel()
	close(alone)
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return m, state.IDs.Len()
}

// Ids that are read back are held once: ten million of them fit in the 512 MiB of
// the chart's limit.
func TestReadBackHoldsIDsOnce(t *testing.T) {
	const n = 300_000
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, ids := readBackMany(t, n)
	if ids != n {
		t.Fatalf("%d of %d ids are remembered", ids, n)
	}
	// 25 bytes an id in a page that is at least half full, and what is on its way.
	if grown := int(m.peak) - int(before.Sys-before.HeapReleased); grown > 60*n+(24<<20) {
		t.Errorf("%d ids took %d bytes at their peak: %d each", n, grown, grown/n)
	}
}

func BenchmarkReadBack10M(b *testing.B) {
	for b.Loop() {
		m, ids := readBackMany(b, 10_000_000)
		if ids != m.n {
			b.Fatalf("%d of %d ids", ids, m.n)
		}
		b.ReportMetric(float64(m.peak)/float64(m.n), "peak-B/id")
		b.ReportMetric(float64(m.peak)/(1<<20), "peak-MiB")
	}
}
