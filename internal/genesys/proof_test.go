package genesys

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
)

// hour is an organisation's hour of audit, served in all dialects, with faults
// that stay. Its events are numbered, and so are their ids.
type hour struct {
	at     []time.Time // of each event, in order
	cut    int         // no answer tells of more events; 0: all
	told   bool        // the total is not cut with them
	silent bool        // neither total nor pageCount is told
	sizes  bool        // the page size is told all the same
	pages  int         // added to pageCount
	leaks  bool        // pageCount is of all events, cut or not
	rigid  bool        // the order that is asked for is ignored
	short  int         // events less on the last page
	ties   bool        // events of one millisecond come in another order each time
	late   func(asked int) []time.Time
	twin   int // this event has the id of the one before, and its time
	// spoil, where set, may answer instead.
	spoil func(w http.ResponseWriter, r *http.Request, part audit.Interval, from, to int) bool

	mu      *sync.Mutex
	asked   int // pages
	queries map[string]audit.Interval
	states  func(asked int) string // of a query of more than a millisecond
	always  bool                   // of any
	looks   map[string]int
}

// evenly makes an hour of n events.
func evenly(n int) []time.Time {
	var at []time.Time
	for k := range n {
		at = append(at, hourBegins.Add(time.Duration(k)*(time.Hour/time.Duration(n))).Truncate(time.Millisecond))
	}
	return at
}

// bulk makes an hour that has n more events in its middle millisecond.
func bulk(around, n int) []time.Time {
	at := append(evenly(around), slices.Repeat([]time.Time{hourBegins.Add(30 * time.Minute)}, n)...)
	slices.SortFunc(at, time.Time.Compare)
	return at
}

var hourBegins = time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)

var theHour = audit.Interval{From: hourBegins, To: hourBegins.Add(time.Hour)}

func eventAt(n int, at time.Time) string {
	return fmt.Sprintf(`{"id":"event-%d","eventDate":%q}`, n, at.Format(audit.TimeFormat))
}

func (h *hour) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch path := r.URL.Path; {
	case path == tokenPath:
		grants("access", 24*time.Hour)(w, r)
	case strings.HasSuffix(path, "servicemapping"):
		say(200, `{"services":[{"name":"Routing","entities":[{"name":"Queue","actions":["Update"]}]}]}`)(w, r)
	case path == realtimePath:
		var q struct {
			Interval             string
			PageNumber, PageSize int
			Sort                 []querySort
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			panic(err)
		}
		h.realtime(w, r, parseInterval(q.Interval), q.PageNumber, q.PageSize, q.Sort[0].SortOrder == "descending")
	case path == auditlogsPath:
		from, _ := time.Parse(audit.TimeFormat, r.URL.Query().Get("dateFrom"))
		to, _ := time.Parse(audit.TimeFormat, r.URL.Query().Get("dateTo"))
		h.chain(w, r, audit.Interval{From: from, To: to}, "nextPage", r.URL.Query().Get("pageToken"))
	case path == queryPath:
		var q struct{ Interval, ServiceName string }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			panic(err)
		}
		if q.ServiceName == "" {
			failing(400, "bad.request")(w, r)
			return
		}
		if h.queries == nil {
			h.queries, h.looks = make(map[string]audit.Interval), make(map[string]int)
		}
		id := fmt.Sprint("query-", len(h.queries))
		h.queries[id] = parseInterval(q.Interval)
		h.state(w, r, id)
	case strings.HasSuffix(path, "/results"):
		id := strings.Split(path, "/")[5]
		h.chain(w, r, h.queries[id], "cursor", r.URL.Query().Get("cursor"))
	default:
		h.state(w, r, strings.Split(path, "/")[5])
	}
}

func parseInterval(s string) audit.Interval {
	from, to, _ := strings.Cut(s, "/")
	a, err := time.Parse(time.RFC3339, from)
	b, err2 := time.Parse(time.RFC3339, to)
	if err != nil || err2 != nil {
		panic(s)
	}
	return audit.Interval{From: a, To: b}
}

// in lists the numbers of the events of an interval, cut.
func (h *hour) in(i audit.Interval, descending bool) (list []int, all int) {
	if h.late != nil {
		h.at = append(h.at, h.late(h.asked)...)
	}
	for n, at := range h.at {
		if i.Contains(at) {
			list = append(list, n)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return h.at[a].Compare(h.at[b]) })
	if h.ties {
		rand.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
		slices.SortStableFunc(list, func(a, b int) int { return h.at[a].Compare(h.at[b]) })
	}
	if descending {
		slices.Reverse(list)
	}
	all = len(list)
	if h.cut > 0 {
		list = list[:min(h.cut, len(list))]
	}
	return list, all
}

func (h *hour) events(list []int) string {
	var events []string
	for _, n := range list {
		id := n
		if n > 0 && n == h.twin {
			id--
		}
		events = append(events, eventAt(id, h.at[id]))
	}
	return strings.Join(events, ",")
}

func (h *hour) realtime(w http.ResponseWriter, r *http.Request, i audit.Interval, number, size int, descending bool) {
	h.asked++
	list, all := h.in(i, descending && !h.rigid)
	total := len(list)
	counted := total
	if h.leaks {
		counted = all
	}
	if h.told {
		total = all
	}
	from, to := min((number-1)*size, len(list)), min(number*size, len(list))
	if h.spoil != nil && h.spoil(w, r, i, from, to) {
		return
	}
	if to == len(list) && to-from > h.short {
		to -= h.short
	}
	body := `{"entities":[` + h.events(list[from:to]) + `]`
	if !h.silent {
		body += fmt.Sprintf(`,"total":%d,"pageCount":%d`, total, (counted+size-1)/size+h.pages)
	}
	if !h.silent || h.sizes {
		body += fmt.Sprintf(`,"pageSize":%d`, size)
	}
	say(200, body+"}")(w, r)
}

func (h *hour) chain(w http.ResponseWriter, r *http.Request, i audit.Interval, cursor, at string) {
	h.asked++
	size, from := 500, 0
	_, _ = fmt.Sscan(r.URL.Query().Get("pageSize"), &size)
	_, _ = fmt.Sscan(at, &from)
	list, _ := h.in(i, false)
	to := min(from+size, len(list))
	if h.spoil != nil && h.spoil(w, r, i, from, to) {
		return
	}
	body := `{"entities":[` + h.events(list[from:to]) + `]`
	if to < len(list) {
		body += fmt.Sprintf(`,%q:"%d"`, cursor, to)
	}
	say(200, body+"}")(w, r)
}

func (h *hour) state(w http.ResponseWriter, r *http.Request, id string) {
	state := "Succeeded"
	h.looks[id]++
	if h.states != nil && (h.always || h.queries[id].Length() > time.Millisecond) {
		state = h.states(h.looks[id])
	}
	say(200, fmt.Sprintf(`{"id":%q,"state":%q}`, id, state))(w, r)
}

// take reads the hour in halves where it must, and returns the numbers of the
// events that came and what is a gap.
func (h *hour) take(l *lab) (came map[string]int, gaps []audit.Interval) {
	l.t.Helper()
	came = make(map[string]int)
	gaps, err := inHalves(l.t.Context(), l.client, l.open()[0], theHour, func(p audit.Page) {
		for _, e := range p.Events {
			came[e.ID]++
		}
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return came, gaps
}

// fastLab is a lab whose limit is far away.
func (h *hour) fastLab(t *testing.T, dialect Dialect, test func(*lab)) {
	h.mu = new(sync.Mutex)
	inLab(t, h, func(cfg *Config) { cfg.Dialect, cfg.RateLimit = dialect, RateLimit{100_000, time.Second} }, test)
}

// TestCompleteIsProved: whatever an API keeps back, its hour is not taken to be
// whole before all that it holds has come; and an API that keeps nothing back is
// believed, for few requests more.
func TestCompleteIsProved(t *testing.T) {
	for name, tc := range map[string]struct {
		hour     hour
		dialects []Dialect
		most     int // pages asked for; 0: not looked at
	}{
		"few events":                         {hour{at: evenly(7)}, []Dialect{Auditlogs, Query, Realtime}, 1},
		"none":                               {hour{}, []Dialect{Auditlogs, Query, Realtime}, 1},
		"several pages":                      {hour{at: evenly(1_234)}, []Dialect{Auditlogs, Query, Realtime}, 3},
		"honest 500":                         {hour{at: evenly(500)}, []Dialect{Auditlogs, Query, Realtime}, 4},
		"honest 1,000":                       {hour{at: evenly(1_000)}, []Dialect{Auditlogs, Query, Realtime}, 6},
		"honest 10,000":                      {hour{at: evenly(10_000)}, []Dialect{Auditlogs, Query, Realtime}, 43},
		"honest 1,000 in a millisecond":      {hour{at: bulk(0, 1_000)}, []Dialect{Auditlogs, Query, Realtime}, 7},
		"honest 2,000, half in one":          {hour{at: bulk(1_000, 1_000)}, []Dialect{Auditlogs, Query, Realtime}, 12},
		"cut at 10,000":                      {hour{at: evenly(12_000), cut: 10_000}, []Dialect{Auditlogs, Query, Realtime}, 0},
		"cut at 5,000":                       {hour{at: evenly(12_000), cut: 5_000}, []Dialect{Auditlogs, Query, Realtime}, 0},
		"cut at 1,000":                       {hour{at: evenly(7_000), cut: 1_000}, []Dialect{Auditlogs, Query, Realtime}, 0},
		"cut at a power of two":              {hour{at: evenly(7_000), cut: 4_096}, []Dialect{Auditlogs, Query, Realtime}, 0},
		"cut after a page":                   {hour{at: evenly(1_700), cut: 500}, []Dialect{Realtime, Query}, 0},
		"cut, and the total is not":          {hour{at: evenly(12_000), cut: 10_000, told: true}, []Dialect{Realtime}, 0},
		"pages behind the cut come empty":    {hour{at: evenly(3_300), cut: 1_777, told: true}, []Dialect{Realtime}, 0},
		"cut anywhere, and pageCount is not": {hour{at: evenly(3_300), cut: 1_777, leaks: true}, []Dialect{Realtime}, 0},
		"a pageCount too large":              {hour{at: evenly(1_700), pages: 3}, []Dialect{Realtime}, 0},
		"a pageCount too small":              {hour{at: evenly(1_700), pages: -1}, []Dialect{Realtime}, 0},
		"one page, a pageCount too large":    {hour{at: evenly(70), pages: 3}, []Dialect{Realtime}, 2},
		"ties in another order":              {hour{at: bulk(40, 1_200), ties: true}, []Dialect{Realtime}, 0},
		"ties in another order, no total":    {hour{at: bulk(40, 1_200), ties: true, silent: true}, []Dialect{Realtime}, 0},
		"no total, one page":                 {hour{at: evenly(70), silent: true, sizes: true}, []Dialect{Realtime}, 1},
		"no total, no size, one page":        {hour{at: evenly(70), silent: true}, []Dialect{Realtime}, 2},
		"no total, several pages":            {hour{at: evenly(1_234), silent: true, sizes: true}, []Dialect{Realtime}, 6},
		"no total, no size, several pages":   {hour{at: evenly(1_234), silent: true}, []Dialect{Realtime}, 8},
		"no total, none":                     {hour{silent: true}, []Dialect{Realtime}, 1},
		"no total, cut at 1,000":             {hour{at: evenly(3_000), cut: 1_000, silent: true}, []Dialect{Realtime}, 0},
		"no total, honest 1,000 in a moment": {hour{at: bulk(0, 1_000), silent: true}, []Dialect{Realtime}, 0},
		"events come while pages are read": {hour{at: evenly(1_700), late: func(asked int) []time.Time {
			return slices.Repeat([]time.Time{hourBegins}, map[int]int{2: 3, 5: 1}[asked])
		}}, []Dialect{Realtime}, 0},
	} {
		for _, dialect := range tc.dialects {
			t.Run(name+", "+string(dialect), func(t *testing.T) {
				h := tc.hour // a copy for each dialect
				h.at = slices.Clone(tc.hour.at)
				h.fastLab(t, dialect, func(l *lab) {
					before := 0
					if dialect == Auditlogs {
						before = 2 // the baseline
					}
					came, gaps := h.take(l)
					if len(came) != len(h.at) || len(gaps) > 0 {
						l.t.Errorf("%d of %d events came, gaps %v", len(came), len(h.at), gaps)
					}
					if tc.most > 0 && h.asked-before > tc.most {
						l.t.Errorf("%d pages were asked for, expected at most %d", h.asked-before, tc.most)
					}
				})
			})
		}
	}
}

// Two events that are the same are one (and in one answer, which is of one moment,
// no sign that pages moved). Pages must not be read again and again for it, and the
// hour not be split.
func TestAnEventShownTwiceIsNoDoubt(t *testing.T) {
	for _, silent := range []bool{false, true} {
		h := &hour{at: evenly(1_234), twin: 700, silent: silent, sizes: true}
		h.fastLab(t, Realtime, func(l *lab) {
			ids, err := l.read(l.open()[0], theHour)
			slices.Sort(ids)
			if n := len(slices.Compact(ids)); err != nil || n != 1_233 {
				l.t.Errorf("%d events, %v", n, err)
			}
			if most := map[bool]int{false: 3, true: 6}[silent]; h.asked > most {
				l.t.Errorf("%d pages were asked for, expected %d", h.asked, most)
			}
		})
	}
}

// Where nothing can be proved even for one millisecond, that is a gap, and all
// around it is read.
func TestWhatCannotBeProvedIsAGap(t *testing.T) {
	moment := audit.Interval{From: hourBegins.Add(30 * time.Minute), To: hourBegins.Add(30*time.Minute + time.Millisecond)}
	for name, tc := range map[string]struct {
		hour hour
		most int // events that may be missing
	}{
		"more in a millisecond than the cap":             {hour{at: bulk(2_000, 12_000), cut: 10_000}, 2_001},
		"more in a millisecond than a cap that was seen": {hour{at: bulk(3_100, 1_200), cut: 1_000}, 201},
		"nothing but a millisecond above a small cap":    {hour{at: bulk(0, 1_200), cut: 1_000}, 201},
		"the same, and no total":                         {hour{at: bulk(0, 1_200), cut: 1_000, silent: true}, 201},
		"a cap that was seen, from whatever end":         {hour{at: bulk(3_100, 1_200), cut: 1_000, rigid: true}, 201},
		"the last page is short":                         {hour{at: bulk(300, 600), short: 1}, 300},
	} {
		t.Run(name, func(t *testing.T) {
			h := tc.hour
			h.fastLab(t, Realtime, func(l *lab) {
				came, gaps := h.take(l)
				if !slices.ContainsFunc(gaps, func(g audit.Interval) bool { return g == moment }) {
					l.t.Errorf("the millisecond is not among %d gaps", len(gaps))
				}
				if missing := len(h.at) - len(came); missing > tc.most {
					l.t.Errorf("%d of %d events are missing", missing, len(h.at))
				}
			})
		})
	}
}

// A page that holds fewer events than its total leaves is not the last one.
func TestShortPagesAreNotAccepted(t *testing.T) {
	for _, n := range []int{40, 700} {
		h := &hour{at: evenly(n), short: 1}
		h.fastLab(t, Realtime, func(l *lab) {
			if _, err := l.read(l.open()[0], theHour); !errors.Is(err, poller.ErrTooMuch) {
				l.t.Errorf("%d events: the error is %v", n, err)
			}
		})
	}
}

// A total that stays the same for other events does not grow with the interval.
func TestTotalThatDoesNotGrowIsDoubted(t *testing.T) {
	h := &hour{at: evenly(9_000), cut: 777}
	h.fastLab(t, Realtime, func(l *lab) {
		stream := l.open()[0]
		half := theHour.From.Add(30 * time.Minute)
		_, _ = l.read(stream, audit.Interval{From: theHour.From, To: half}) // nothing is known yet
		if _, err := l.read(stream, audit.Interval{From: half, To: theHour.To}); !errors.Is(err, poller.ErrTooMuch) {
			l.t.Errorf("the error is %v", err)
		}
	})
}
