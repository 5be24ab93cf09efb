package verify_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/verify"
)

// id is the i-th of many: a UUID of evenly spread bits, as version 4 has them.
func id(i int) string {
	var u [16]byte
	x := uint64(i)
	for half := range 2 { // splitmix64
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		for k := range 8 {
			u[8*half+k] = byte(z >> (8 * k))
		}
	}
	return audit.FormatUUID(u)
}

// heap is what is alive.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// compare takes in n events of both sides, all right but for every lost-th, which
// Kafka lacks. each is called after every event.
func compare(n, lost int, each func(i int)) *verify.Comparison {
	const step = 10 * time.Millisecond
	whole := audit.Interval{From: from, To: from.Add(time.Duration(n) * step)}
	v := verify.New(whole)
	for i := range n {
		at := from.Add(time.Duration(i) * step)
		start := at.Truncate(time.Hour)
		v.API(id(i), at, audit.Interval{From: start, To: start.Add(time.Hour)})
		each(i)
	}
	value := []byte("{}")
	sum := digest("{}")
	for i := range n {
		if i%lost == lost-1 {
			continue
		}
		at, id := from.Add(time.Duration(i)*step), []byte(id(i))
		v.Raw(id, at, sum, value)
		for change := range 3 {
			v.Change(id, at, change, 3)
		}
	}
	return v
}

// TestFortyBytesAnEvent: at every moment while events come, and when they are compared.
func TestFortyBytesAnEvent(t *testing.T) {
	const n, most = 400_000, 40.0
	before := heap()
	worst := 0.0
	v := compare(n, 1000, func(i int) {
		if i >= n/4 && i%(n/40) == 0 {
			worst = max(worst, float64(heap()-before)/float64(i+1))
		}
	})
	worst = max(worst, float64(heap()-before)/n)
	r := v.Report()
	if got := r.Count(verify.Missing); got != n/1000 {
		t.Errorf("%d events are missing", got)
	}
	t.Logf("at most %.1f bytes an event; %d bytes for the report of %d findings", worst, heap()-before, n/1000)
	if worst > most {
		t.Errorf("%.1f bytes an event, more than %.0f", worst, most)
	}
	runtime.KeepAlive(v)
	runtime.KeepAlive(r)
}

var events = flag.Int("events", 1_000_000, "how many events BenchmarkComparison compares")

// BenchmarkComparison prints what a comparison takes with the collector set as
// the connector sets it, when little is wrong and when Kafka holds nothing. It
// fails where ten million events (make bench-verify) need 512 MiB.
func BenchmarkComparison(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	for _, lost := range []int{1000, 1} {
		b.Run(fmt.Sprintf("%d/missing=1:%d", *events, lost), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				debug.FreeOSMemory()
				resetPeak(b)
				v := compare(*events, lost, func(int) {})
				alive := heap() - before
				r := v.Report()
				if got := r.Count(verify.Missing); got != *events/lost {
					b.Fatalf("%d events are missing", got)
				}
				peak := peakMemory(b)
				b.ReportMetric(float64(alive)/float64(*events), "bytes/event")
				b.ReportMetric(peak, "MiB-peak")
				if peak > 512 {
					b.Errorf("%.0f MiB resident at most", peak)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N**events), "µs/event")
		})
	}
}

// resetPeak has the kernel begin anew with the greatest resident size (proc_pid_clear_refs(5)).
func resetPeak(b *testing.B) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Logf("the peak is that of the whole process: %v", err)
	}
}

// peakMemory is the greatest resident size, in MiB.
func peakMemory(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal("the peak is only known where /proc is:", err)
	}
	_, rest, _ := strings.Cut(string(text), "\nVmHWM:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
