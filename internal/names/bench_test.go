package names

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// endless is a source of more names than are kept.
type endless struct{ name string }

func (s endless) ListNames(_ context.Context, kind audit.Kind, add func(id, name string)) error {
	for i := range 2 * mostListed {
		add(fmt.Sprintf("%08d-%027d", kind, i), strings.Clone(s.name))
	}
	return nil
}

func (s endless) UserNames(_ context.Context, ids []string, add func(id, name string), none func(id string)) error {
	for i, id := range ids {
		if i%2 == 0 {
			add(id, strings.Clone(s.name))
		} else {
			none(id)
		}
	}
	return nil
}

// fill fills a Resolver with as much as it takes, and returns what that is in bytes.
func fill(t testing.TB, name string) (r *Resolver, bytes uint64) {
	t.Helper()
	source := endless{name}
	before := heap()
	r = New(source, fakeReader{}, zap.NewNop())
	for _, l := range r.lists {
		for range 2 {
			r.readList(t.Context(), l)
		}
	}
	for i := range 3 * mostUsers / batch {
		ids := make([]string, batch)
		for j := range ids {
			ids[j] = fmt.Sprintf("u-%034d", i*batch+j)
		}
		r.readBatch(t.Context(), ids)
	}
	return r, heap() - before
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The memory has the bounds that the package comment promises.
func TestMemoryIsBounded(t *testing.T) {
	r, bytes := fill(t, strings.Repeat("n", 2*longestName))
	known := r.Known()
	if known[audit.UserKind] > mostUsers || known[audit.UserKind] < mostUsers/2 || r.users.strangers.len() > mostStrangers {
		t.Errorf("%d users, %d strangers", known[audit.UserKind], r.users.strangers.len())
	}
	for kind, n := range known {
		if kind != audit.UserKind && n != mostListed {
			t.Errorf("%d %s", n, kind)
		}
	}
	if bytes > 64<<20 {
		t.Errorf("%d MiB", bytes>>20)
	}
	runtime.KeepAlive(r)
}

// BenchmarkMemory prints what names take: with as many as are kept, of the greatest
// length and of a usual one, and what a step of 500 events costs that are all known.
func BenchmarkMemory(b *testing.B) {
	for _, length := range []int{20, longestName} {
		b.Run(fmt.Sprint("names of ", length), func(b *testing.B) {
			var r *Resolver
			var bytes uint64
			for b.Loop() {
				r, bytes = fill(b, strings.Repeat("n", length))
			}
			known := 0
			for _, n := range r.Known() {
				known += n
			}
			b.ReportMetric(float64(bytes)/(1<<20), "MiB")
			b.ReportMetric(float64(known), "names")
			b.ReportMetric(float64(bytes)/float64(known), "bytes/name")
		})
	}
	b.Run("a step of 500 events", func(b *testing.B) {
		r := New(endless{"Ann"}, fakeReader{}, zap.NewNop())
		events := make([]*audit.Event, 500)
		for i := range events {
			id := fmt.Sprintf("u-%034d", i%100)
			events[i] = &audit.Event{ID: "u:" + id, Time: time.Now()}
			r.users.known.put(id, user{"Ann", time.Now().Unix(), audit.UserKind})
		}
		b.ReportAllocs()
		for b.Loop() {
			r.Resolve(b.Context(), slices.Values(events))
		}
	})
}
