package genesys

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
)

// flood writes text again and again, until so many bytes were written.
func flood(w io.Writer, text string, size int) {
	chunk := bytes.Repeat([]byte(text), max(1, 32<<10/len(text)))
	for size > 0 {
		n, err := w.Write(chunk)
		if err != nil {
			return
		}
		size -= n
	}
}

func bomb(size int) http.HandlerFunc {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	flood(z, " ", size)
	_ = z.Close()
	return say(200, packed.String(), "Content-Encoding", "gzip")
}

// around is a body that begins and ends as an answer does.
func around(begin, text, end string, size int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, begin)
		flood(w, text, size)
		_, _ = io.WriteString(w, end)
	}
}

// TestHostileAPIStaysWithinItsMemory lets many readings meet an API that sends
// whatever takes memory, all at once.
func TestHostileAPIStaysWithinItsMemory(t *testing.T) {
	const most = 200 << 20
	hostile := []http.HandlerFunc{
		bomb(256 << 20),
		around(`{"entities":[`, " ", "]}", 1<<30),
		around(`{"entities":[1`, ",1", "]}", 16<<20),
		around(`{"entities":[{}`, ",{}", "]}", 8<<20),
		around(`{"entities":[`+strings.Repeat("[", 4<<20), " ", "]", 64),
		around(`{"entities":[{"auditId":"1"}`, `,{"auditId":"1"}`, "]}", 30<<20),
		around(`{"entities":[{"text":"`, "x", `"}]}`, 30<<20),
		func(w http.ResponseWriter, r *http.Request) { // says a length, and sends nothing
			w.Header().Set("Content-Length", "33554432")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			hang(w, r)
		},
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(503)
			around(`{"message":"`, "x", `"}`, 31<<20)(w, r)
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var asked atomic.Int64
	s := (&script{fallback: func(w http.ResponseWriter, r *http.Request) {
		n := int(asked.Add(1))
		if n == 40*len(hostile) {
			cancel() // enough seen
		}
		hostile[n%len(hostile)](w, r)
	}}).then()
	server := httptest.NewServer(s)
	defer server.Close()
	c, err := New(Config{APIURL: server.URL, LoginURL: server.URL, ClientID: Text("a"), ClientSecret: Text("b"), Dialect: Auditlogs,
		RateLimit: RateLimit{1_000_000, time.Second}, RequestTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.patience.backoff.First, c.patience.backoff.Most = time.Millisecond, 50*time.Millisecond
	l := &lab{t: t, client: c}
	stream := l.open()[0]
	i := l.lastHour()

	runtime.GC()
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			for ctx.Err() == nil {
				// 30 MB of events are many, but events: it may well be read.
				_ = c.Read(ctx, audit.Read{Stream: stream, Interval: i, Attempts: 2}, func(p audit.Page, _ bool) error { p.Release(); return nil })
			}
		})
	}
	peak := watchMemory(ctx)
	running.Wait()
	t.Logf("peak %d MiB in %d answers", peak>>20, asked.Load())
	if peak > most {
		t.Errorf("the process took %d MiB, expected at most %d", peak>>20, most>>20)
	}
	if asked.Load() < int64(2*len(hostile)) {
		t.Errorf("only %d answers in all that time", asked.Load())
	}
	shared.mu.Lock()
	if shared.used != shared.spare || shared.spare > keptIdle {
		t.Errorf("when all is over %d bytes are charged, of which %d are spare", shared.used, shared.spare)
	}
	shared.mu.Unlock()
}

// watchMemory returns the most that the process took until ctx ended: what the
// runtime has from the system, less what it gave back.
func watchMemory(ctx context.Context) (peak uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for ctx.Err() == nil {
		metrics.Read(samples)
		peak = max(peak, samples[0].Value.Uint64()-samples[1].Value.Uint64())
		time.Sleep(2 * time.Millisecond)
	}
	return peak
}

// What others take for now is waited for; what alone is too much is not.
func TestMemoryThatOthersHold(t *testing.T) {
	usual := shared
	defer func() { shared = usual }()
	shared = &memory{limit: 1 << 20}
	hog := shared.get()
	if err := hog.grow(980 << 10); err != nil {
		t.Fatal(err)
	}
	s := (&script{fallback: padded(60 << 10)}).then()
	inLab(t, s, nil, func(l *lab) {
		if _, err := l.client.Open(l.t.Context()); err != nil {
			l.t.Fatal(err)
		}
		stream := "auditlogs:type=configuration"
		_, err := l.read(stream, l.lastHour())
		if !errors.Is(err, errNoMemory) || errors.Is(err, poller.ErrTooMuch) || errors.Is(err, poller.ErrUnreadable) {
			l.t.Errorf("the error is %v", err)
		}
		hog.free()
		if _, err := l.read(stream, l.lastHour()); err != nil {
			l.t.Error(err)
		}
		s.fallback = padded(700 << 10)
		if _, err := l.read(stream, l.lastHour()); !isType[*PageTooLargeError](err) {
			l.t.Errorf("the error is %v", err)
		}
	})
}

// A page that nobody gives back is credited when the collector finds it.
func TestForgottenPagesAreCredited(t *testing.T) {
	m := &memory{limit: 1 << 20}
	for range 20 {
		a := m.get()
		for a.grow(100<<10) != nil {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}
}

// Memory of a giant page is not kept; that of an ordinary one is used again.
func TestAnswersAreKeptWithinBounds(t *testing.T) {
	m := &memory{limit: memoryBudget}
	giant, usual := m.get(), m.get()
	if err := errors.Join(giant.grow(keptBody+1), usual.grow(keptBody)); err != nil {
		t.Fatal(err)
	}
	giant.free()
	usual.free()
	if a := m.get(); a != usual {
		t.Error("the usual answer was not used again")
	}
	if a := m.get(); a == giant || a == usual {
		t.Error("a giant answer was kept, or one given out twice")
	}
	if m.used != keptBody {
		t.Errorf("%d bytes are charged", m.used)
	}
	var many []*answer
	for range 10 {
		a := m.get()
		if err := a.grow(keptBody); err != nil {
			t.Fatal(err)
		}
		many = append(many, a)
	}
	for _, a := range many {
		a.free()
	}
	if m.spare > keptIdle {
		t.Errorf("%d bytes are kept", m.spare)
	}
}
