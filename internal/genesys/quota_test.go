package genesys

import (
	"net/http"
	"testing"
	"time"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestReadLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		h    http.Header
		want limitReport
	}{
		"none": {header(), limitReport{}},
		"x":    {header("X-RateLimit-Remaining", "42", "X-RateLimit-Reset", "7"), limitReport{true, 42, 0, 7 * time.Second}},
		"inin": {header("inin-ratelimit-count", "100", "inin-ratelimit-allowed", "300", "inin-ratelimit-reset", "59"), limitReport{true, 200, 300, 59 * time.Second}},
		"both, the stricter counts": {header("X-RateLimit-Remaining", "42", "X-RateLimit-Reset", "7",
			"inin-ratelimit-count", "290", "inin-ratelimit-allowed", "300", "inin-ratelimit-reset", "59"), limitReport{true, 10, 300, 59 * time.Second}},
		"over the limit":         {header("inin-ratelimit-count", "310", "inin-ratelimit-allowed", "300"), limitReport{true, 0, 300, 0}},
		"count without allowed":  {header("inin-ratelimit-count", "310"), limitReport{}},
		"fractions":              {header("X-RateLimit-Remaining", "1.2", "X-RateLimit-Reset", "0.5"), limitReport{true, 2, 0, time.Second}},
		"negative":               {header("X-RateLimit-Remaining", "-1"), limitReport{true, 0, 0, 0}},
		"nonsense":               {header("X-RateLimit-Remaining", "many", "inin-ratelimit-allowed", "NaN"), limitReport{}},
		"a reset far away":       {header("X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "100000"), limitReport{true, 1, 0, longestPause}},
		"a reset that is a time": {header("X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "1767323109", "Date", "Fri, 02 Jan 2026 03:05:00 GMT"), limitReport{true, 1, 0, 9 * time.Second}},
		"a time without a Date":  {header("X-RateLimit-Remaining", "1", "X-RateLimit-Reset", "1767323109"), limitReport{true, 1, 0, 0}},
	} {
		if got := readLimit(tc.h); got != tc.want {
			t.Errorf("%s: %+v, expected %+v", name, got, tc.want)
		}
	}
}

func TestReadRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		h    http.Header
		want time.Duration
		ok   bool
	}{
		"none":                   {header(), 0, false},
		"seconds":                {header("Retry-After", "12"), 12 * time.Second, true},
		"a fraction":             {header("Retry-After", "0.5"), 500 * time.Millisecond, true},
		"negative":               {header("Retry-After", "-3"), 0, true},
		"a year":                 {header("Retry-After", "31536000"), longestPause, true},
		"nonsense":               {header("Retry-After", "soon"), 0, false},
		"NaN":                    {header("Retry-After", "NaN"), 0, false},
		"a date, by Date":        {header("Retry-After", "Fri, 02 Jan 2026 05:00:10 GMT", "Date", "Fri, 02 Jan 2026 05:00:00 GMT"), 11 * time.Second, true},
		"a date, by our clock":   {header("Retry-After", "Fri, 02 Jan 2026 03:04:15 GMT"), 11 * time.Second, true},
		"a date that has passed": {header("Retry-After", "Fri, 02 Jan 2025 03:04:15 GMT"), 0, true},
	} {
		if got, ok := readRetryAfter(tc.h, now); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %s %t, expected %s %t", name, got, ok, tc.want, tc.ok)
		}
	}
}

func FuzzLimitHeaders(f *testing.F) {
	for _, seed := range []string{"", "5", "-5", "1e9", "1e400", "NaN", "Inf", "0.0001", "Fri, 02 Jan 2026 05:00:10 GMT", "Fri, 02 Jan 9999 05:00:10 GMT"} {
		f.Add(seed, "3", "300", seed)
		f.Add("3", seed, seed, seed)
	}
	f.Fuzz(func(t *testing.T, remaining, count, allowed, wait string) {
		h := header("X-RateLimit-Remaining", remaining, "X-RateLimit-Reset", wait, "inin-ratelimit-count", count, "inin-ratelimit-allowed", allowed, "inin-ratelimit-reset", wait, "Retry-After", wait)
		if r := readLimit(h); r.remaining < 0 || r.allowed < 0 || r.reset < 0 || r.reset > longestPause || !r.known && r != (limitReport{}) {
			t.Fatalf("%v gave %+v", h, r)
		}
		if d, _ := readRetryAfter(h, time.Now()); d < 0 || d > longestPause {
			t.Fatalf("%v gave %s", h, d)
		}
	})
}
