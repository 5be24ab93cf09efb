package sandbox

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// whole tells whether an answer is a page that a client may take.
func whole(r received) bool {
	var p page
	return r.err == nil && r.status == http.StatusOK && json.Unmarshal(r.body, &p) == nil && p.Entities != nil
}

func notJSON(r received) bool { return r.err == nil && r.status == 200 && !json.Valid(r.body) }

func wasReset(r received) bool {
	return errors.Is(r.err, syscall.ECONNRESET) || errors.Is(r.err, io.EOF)
}

func status(code int) func(received) bool {
	return func(r received) bool { return r.err == nil && r.status == code }
}

// requestFaults is every fault that spoils a single request for a page, and what
// the client gets of it.
var requestFaults = map[string]struct {
	fault Fault
	looks func(received) bool
	shows bool // the events count as shown
}{
	"403":           {Fault{Kind: StatusCode, Status: 403}, status(403), false},
	"408":           {Fault{Kind: StatusCode, Status: 408}, status(408), false},
	"500":           {Fault{Kind: StatusCode, Status: 500}, status(500), false},
	"502":           {Fault{Kind: StatusCode, Status: 502}, status(502), false},
	"503":           {Fault{Kind: StatusCode}, status(503), false},
	"429":           {Fault{Kind: TooMany}, status(429), false},
	"reset before":  {Fault{Kind: ResetBefore}, wasReset, false},
	"reset after":   {Fault{Kind: ResetAfter}, wasReset, false},
	"reset in body": {Fault{Kind: ResetBody}, wasReset, false},
	"hang":          {Fault{Kind: Hang, Delay: 100 * time.Millisecond}, wasReset, false},
	"cut length":    {Fault{Kind: TruncatedLength}, func(r received) bool { return errors.Is(r.err, io.ErrUnexpectedEOF) }, false},
	"cut chunks":    {Fault{Kind: TruncatedChunks}, func(r received) bool { return errors.Is(r.err, io.ErrUnexpectedEOF) }, false},
	"cut JSON":      {Fault{Kind: CutJSON}, notJSON, false},
	"HTML":          {Fault{Kind: HTML}, func(r received) bool { return notJSON(r) && strings.Contains(string(r.body), "<html>") }, false},
	"empty body":    {Fault{Kind: EmptyBody}, func(r received) bool { return notJSON(r) && len(r.body) == 0 }, false},
	"no entities":   {Fault{Kind: NoEntities}, func(r received) bool { return !whole(r) && r.status == 200 && json.Valid(r.body) }, false},
	"broken gzip":   {Fault{Kind: BrokenGzip}, func(r received) bool { return r.err != nil || !json.Valid(r.body) }, false},
	"redirect": {Fault{Kind: Redirect}, func(r received) bool {
		return r.status == 302 && strings.HasPrefix(r.header.Get("Location"), "/api/v2/auditlogs?")
	}, false},
	"firewall": {Fault{Kind: Firewall, RetryAfter: 7 * time.Second}, func(r received) bool {
		return r.status == 403 && r.header.Get("Retry-After") == "7" && !json.Valid(r.body) && r.header.Get("ININ-Correlation-Id") == ""
	}, false},
	"HTML with a status": {Fault{Kind: HTML, Status: 400}, func(r received) bool { return r.status == 400 && !json.Valid(r.body) }, false},
	"byte order mark": {Fault{Kind: BOM}, func(r received) bool {
		rest, marked := bytes.CutPrefix(r.body, []byte("\xef\xbb\xbf"))
		return marked && whole(received{status: r.status, body: rest})
	}, true},
	"token expired":   {Fault{Kind: ExpireToken}, status(401), false},
	"trickle":         {Fault{Kind: Trickle, Delay: time.Millisecond}, whole, true},
	"slow":            {Fault{Kind: Slow, Delay: time.Millisecond}, whole, true},
	"gzip":            {Fault{Kind: Gzip}, whole, true},
	"huge page":       {Fault{Kind: HugePage, Size: 3 << 20}, func(r received) bool { return whole(r) && len(r.body) > 3<<20 }, true},
	"wrong date":      {Fault{Kind: WrongDate, Shift: time.Hour}, func(r received) bool { return whole(r) && dateOf(r).Equal(noon.Add(time.Hour)) }, true},
	"unreadable date": {Fault{Kind: WrongDate}, func(r received) bool { return whole(r) && dateOf(r).IsZero() }, true},
	"none":            {Fault{Kind: Slow, Skip: 1}, whole, true},
}

func dateOf(r received) time.Time {
	date, _ := http.ParseTime(r.header.Get("Date"))
	return date
}

// Each fault spoils one request as it promises, its events count as shown only
// if they came whole, and the next request succeeds.
func TestRequestFaults(t *testing.T) {
	for name, test := range requestFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serveOrg(t, Options{Seed: 1, Odd: -1, OtherTypes: -1})
			c.org.Backfill(50, noon.Add(-time.Hour), noon)
			if err := c.org.Inject(test.fault); err != nil {
				t.Fatal(err)
			}
			r := c.get("/api/v2/auditlogs?" + hourWith().Encode())
			if !test.looks(r) {
				t.Errorf("status %d, %d bytes, %v: %.200s", r.status, len(r.body), r.err, r.body)
			}
			settle(t, c.org)
			if _, _, shown := c.org.Counts(); (shown == 50) != test.shows || shown != 0 && shown != 50 {
				t.Errorf("%d events count as shown", shown)
			}
			if struck := c.org.Stats().Faults[test.fault.Kind]; struck != 1-test.fault.Skip {
				t.Errorf("the fault struck %d times", struck)
			}
			c.login()
			c.org.ClearFaults()
			if got := c.readAll(hourWith()); len(got) != 50 {
				t.Errorf("afterwards: %d events, want 50", len(got))
			}
			settle(t, c.org)
			if _, _, shown := c.org.Counts(); shown != 50 {
				t.Errorf("afterwards: %d events count as shown, want 50", shown)
			}
		})
	}
}

// settle waits until no request is being answered: the client may have its last
// byte before the handler has come back.
func settle(t *testing.T, o *Org) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		o.stats.mu.Lock()
		current := o.stats.current
		o.stats.mu.Unlock()
		if current == 0 {
			return
		}
	}
	t.Fatal("a request is answered for ever")
}

func TestEveryFaultKindIsTested(t *testing.T) {
	tested := map[FaultKind]bool{
		ExpirePageToken: true, Repeat: true, MovingPages: true, StuckPage: true, EmptyPage: true, // below
		QueryFailed: true, QueryCancelled: true, QueryStuck: true, // query_test.go
		ResultsExpired: true, ResultsRedirect: true, ResultsDownload: true,
		QuerySlow: true, Cap: true, CapRepeat: true, CapTotal: true, CapPages: true, Ties: true, // condition_test.go
		NoTotal: true, NoPageCount: true, ShortPage: true, EmptyMapping: true, LacksService: true,
	}
	for _, test := range requestFaults {
		tested[test.fault.Kind] = true
	}
	for _, kind := range FaultKinds {
		if !tested[kind] {
			t.Errorf("fault %s has no test", kind)
		}
	}
	if err := New(Options{}).Inject(Fault{Kind: "earthquake"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown fault: %v", err)
	}
}

func TestPageFaults(t *testing.T) {
	first := hourWith("pageSize", "20")
	for name, test := range map[string]struct {
		fault   Fault
		check   func(t *testing.T, c *client, one, two page)
		refused bool
	}{
		"repeat": {fault: Fault{Kind: Repeat, Page: "later", Events: 4}, check: func(t *testing.T, _ *client, one, two page) {
			for i := range 4 {
				if string(two.Entities[i]) != string(one.Entities[16+i]) {
					t.Errorf("event %d of the second page is not event %d of the first", i, 16+i)
				}
			}
		}},
		"moving pages": {fault: Fault{Kind: MovingPages, Page: "later"}, check: func(t *testing.T, c *client, one, two page) {
			again := 0
			for _, e := range two.Entities {
				for _, known := range one.Entities {
					if string(e) == string(known) {
						again++
					}
				}
			}
			if made, _, _ := c.org.Counts(); again == 0 || made != 56 {
				t.Errorf("%d events again, %d in all, want some again and 56", again, made)
			}
		}},
		"stuck page": {fault: Fault{Kind: StuckPage, Page: "later"}, check: func(t *testing.T, c *client, one, two page) {
			if two.next() != one.next() || len(two.Entities) != 20 {
				t.Errorf("%d events, token %q, want 20 and %q", len(two.Entities), two.next(), one.next())
			}
		}},
		"empty page": {fault: Fault{Kind: EmptyPage, Page: "later"}, check: func(t *testing.T, c *client, one, two page) {
			if len(two.Entities) != 0 || two.next() == "" {
				t.Errorf("%d events, token %q", len(two.Entities), two.next())
			}
			if rest := c.readAll(hourWith("pageSize", "20", "pageToken", two.next())); len(rest) != 30 {
				t.Errorf("%d events after the empty page, want 30", len(rest))
			}
		}},
		"expired page token": {fault: Fault{Kind: ExpirePageToken}, refused: true},
		"first page only":    {fault: Fault{Kind: StatusCode, Page: "first"}},
		"other endpoint":     {fault: Fault{Kind: StatusCode, Endpoint: EndpointResults}},
	} {
		t.Run(name, func(t *testing.T) {
			c := serveOrg(t, Options{Seed: 1, Odd: -1, OtherTypes: -1})
			c.org.Backfill(50, noon.Add(-time.Hour), noon)
			one := c.page(first)
			if err := c.org.Inject(test.fault); err != nil {
				t.Fatal(err)
			}
			next := hourWith("pageSize", "20", "pageToken", one.next())
			if test.refused {
				if r := c.get("/api/v2/auditlogs?" + next.Encode()); r.status != 400 || !strings.Contains(string(r.body), "invalid.page.token") {
					t.Errorf("%d %s", r.status, r.body)
				}
				return
			}
			two := c.page(next)
			if test.check != nil {
				test.check(t, c, one, two)
			}
		})
	}
}

func TestFaultCounts(t *testing.T) {
	statuses := func(requests int, faults ...Fault) string {
		c := serveOrg(t, Options{Seed: 4})
		if err := c.org.Inject(faults...); err != nil {
			t.Fatal(err)
		}
		var got []string
		for range requests {
			got = append(got, strconv.Itoa(c.get("/api/v2/auditlogs?"+hourWith().Encode()).status))
		}
		return strings.Join(got, " ")
	}
	for _, test := range []struct {
		faults []Fault
		want   string
	}{
		{[]Fault{{Kind: StatusCode}}, "503 200 200 200"},
		{[]Fault{{Kind: StatusCode, Count: 2, Skip: 1}}, "200 503 503 200"},
		{[]Fault{{Kind: StatusCode, Count: -1}}, "503 503 503 503"},
		{[]Fault{{Kind: StatusCode, Status: 500}, {Kind: StatusCode, Status: 502}}, "500 502 200 200"},
	} {
		if got := statuses(4, test.faults...); got != test.want {
			t.Errorf("%+v: %s, want %s", test.faults, got, test.want)
		}
	}
	chance := Fault{Kind: StatusCode, Probability: 0.3}
	first, second := statuses(80, chance), statuses(80, chance)
	if first != second {
		t.Error("the same seed struck other requests")
	}
	if n := strings.Count(first, "503"); n < 10 || n > 40 {
		t.Errorf("a probability of 0.3 struck %d of 80 requests", n)
	}
}

// A reader that repeats what fails, under all random faults at once, ends with
// exactly what is there.
func TestRandomFaultsAreSurvivable(t *testing.T) {
	c := serveOrg(t, Options{Seed: 9, Odd: -1, OtherTypes: -1, AuditlogsLimit: Limit{Requests: -1}, Clock: time.Now})
	now := time.Now().UTC()
	c.org.Backfill(600, now.Add(-time.Hour), now.Add(-time.Minute))
	if err := c.org.Inject(RandomFaults(0.02)...); err != nil {
		t.Fatal(err)
	}
	c.org.faults.mu.Lock()
	for _, a := range c.org.faults.armed { // a test has no time for these
		a.Delay, a.RetryAfter = a.Delay/50, 0
	}
	c.org.faults.mu.Unlock()
	params := span(now.Add(-time.Hour), now)
	params.Set("pageSize", "20")
	seen := map[string]bool{}
	for range 2000 {
		r := c.get("/api/v2/auditlogs?" + params.Encode())
		var p page
		switch {
		case whole(r):
			_ = json.Unmarshal(r.body, &p)
			for _, e := range p.Entities {
				seen[string(e)] = true
			}
			params.Set("pageToken", p.next())
		case r.status == 401:
			c.login()
		case r.status == 400:
			params.Del("pageToken")
		}
		if whole(r) && p.next() == "" {
			break
		}
	}
	c.org.ClearFaults()
	settle(t, c.org)
	shown := c.org.Shown()
	for id, truth := range shown {
		if !seen[string(truth.Bodies[0])] {
			t.Errorf("%s was shown and not seen", id)
		}
	}
	if len(seen) < 600 {
		t.Errorf("%d events seen, want all 600", len(seen))
	}
	if len(c.org.Stats().Faults) < 10 {
		t.Errorf("only %v struck", c.org.Stats().Faults)
	}
}

func TestGzip(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Gzip: true})
	c.org.Backfill(50, noon.Add(-time.Hour), noon)
	path := "/api/v2/auditlogs?" + hourWith().Encode()
	packed := c.do(http.MethodGet, path, nil, http.Header{"Accept-Encoding": {"gzip"}})
	plain := c.do(http.MethodGet, path, nil, http.Header{"Accept-Encoding": {"identity"}})
	if packed.header.Get("Content-Encoding") != "gzip" || plain.header.Get("Content-Encoding") != "" {
		t.Fatalf("encodings %q and %q", packed.header.Get("Content-Encoding"), plain.header.Get("Content-Encoding"))
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed.body))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(got, plain.body) {
		t.Errorf("unpacked %d bytes (%v), plain %d", len(got), err, len(plain.body))
	}
}

// A reset after the request was applied and one before differ in what is left:
// here whether the refresh token was replaced.
func TestFaultsAppliedAndNot(t *testing.T) {
	for _, test := range []struct {
		kind    FaultKind
		applied bool
	}{{ResetBefore, false}, {ResetAfter, true}} {
		c := serveOrg(t, Options{RefreshToken: "first"})
		if err := c.org.Inject(Fault{Kind: test.kind, Endpoint: EndpointToken}); err != nil {
			t.Fatal(err)
		}
		if r := c.refresh("first"); r.err == nil {
			t.Fatalf("%s: status %d", test.kind, r.status)
		}
		if again := c.refresh("first"); (again.status == 200) == test.applied {
			t.Errorf("%s: the same refresh token again gets %d", test.kind, again.status)
		}
	}
}
