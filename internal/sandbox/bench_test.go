package sandbox

import (
	"io"
	"net/http"
	"testing"
	"time"
)

func BenchmarkBackfill(b *testing.B) {
	o := New(Options{Seed: 1, Clock: fixedClock})
	b.ReportAllocs()
	for b.Loop() {
		o.Backfill(1000, noon.Add(-time.Hour), noon)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}

// BenchmarkPages serves pages of 1,000 events over loopback to a reader that
// throws them away.
func BenchmarkPages(b *testing.B) {
	s, err := Start(ServerOptions{Options: Options{Seed: 1, Clock: fixedClock, AuditlogsLimit: Limit{Requests: -1}}, History: 20_000, HistorySpan: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.Org.tokens.access["bench"] = noon.Add(time.Hour)
	params := hourWith("pageSize", "1000")
	request, err := http.NewRequest(http.MethodGet, s.URL+"/api/v2/auditlogs?"+params.Encode(), nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer bench")
	request.Header.Set("Accept-Encoding", "identity")
	b.ReportAllocs()
	for b.Loop() {
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response, err)
		}
		n, _ := io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		b.SetBytes(n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
