package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// fixedFleet is a fleet that always tells the same.
type fixedFleet struct {
	whole Fleet
	orgs  map[string]Snapshot
}

func (f fixedFleet) Fleet() Fleet {
	copied := f.whole
	copied.Organisations = slices.Clone(copied.Organisations)
	return copied
}

func (f fixedFleet) Organisation(name string) (Snapshot, bool) {
	s, ok := f.orgs[name]
	return s, ok
}

// fleetOf is a fleet of that many organisations, all of them run here and well.
func fleetOf(n int) fixedFleet {
	f := fixedFleet{orgs: make(map[string]Snapshot, n), whole: Fleet{
		Replica: "audit-0", Version: "v1.4.0", Commit: "0f3c1d2e4b5a69788776", Now: noon, Started: before(9 * day),
		Members: []Member{{"audit-1", 4}, {"audit-0", 8}},
	}}
	for i := range n {
		s := healthy()
		s.Org = fmt.Sprintf("org-%05d", i)
		s.NewestEvent = before(time.Duration(7+i*37%5000) * time.Second)
		line := s.Summary()
		line.Partition, line.Replica = int32(i%12), "audit-0"
		for h := range line.Hourly {
			line.Hourly[h] = uint64((i*31 + h*h*7) % 97)
		}
		f.add(line, s)
	}
	return f
}

func (f *fixedFleet) add(line Summary, s Snapshot) {
	f.whole.Organisations = append(f.whole.Organisations, line)
	f.orgs[line.Org] = s
}

// mixed is a fleet with an organisation in each state.
func mixed() fixedFleet {
	f := fleetOf(14)
	line := func(i int) *Summary { return &f.whole.Organisations[i] }
	line(2).Gaps = 3
	line(3).Lag = 8 * time.Minute
	line(4).LastError = "tail type=configuration: GET /api/v2/audits: 401 Unauthorized: the client secret was refused"
	line(5).LastError, line(5).Warning = "others take most of the request budget", true
	line(6).NewestEvent, line(6).LastVerified, line(6).Hourly = time.Time{}, nil, [24]uint64{}
	line(7).Wanted = 90 * day
	for i, replica := range map[int]string{8: "audit-1", 9: "audit-1", 10: ""} {
		o := line(i)
		*o = Summary{Org: o.Org, Role: Standby, Partition: o.Partition, Replica: replica}
		delete(f.orgs, o.Org)
	}
	line(11).LastVerified = &Verification{At: before(9 * day), From: before(40 * day), To: before(9 * day), Missing: 12}
	line(12).Gaps, line(12).Lag = 1, 3*hour
	return f
}

// fleets are the fixtures by name.
var fleets = map[string]func() fixedFleet{
	"none": func() fixedFleet { return fleetOf(0) },
	"fine": func() fixedFleet { return fleetOf(40) },
	"mixed": func() fixedFleet {
		f := mixed()
		f.whole.OrgsFileError = "line 14: organisation emea: GENESYS_REGIN is no variable; did you mean GENESYS_REGION?"
		return f
	},
}

func fleetHandler(t testing.TB, f FleetSource) http.Handler {
	t.Helper()
	return NewFleet(f, zaptest.NewLogger(t)).Handler()
}

// names are the organisations of the overview, from top to bottom.
func names(page string) (list []string) {
	for _, m := range regexp.MustCompile(`href="/org/([^"]+)"`).FindAllStringSubmatch(page, -1) {
		list = append(list, m[1])
	}
	return list
}

func TestOverviewIsWorstFirst(t *testing.T) {
	_, page := get(t, fleetHandler(t, mixed()), "GET", "/")
	got := names(page)
	want := []string{
		"org-00004", "org-00002", "org-00012", "org-00011", "org-00003", "org-00005", "org-00006", "org-00010", "org-00007", "org-00008", "org-00009",
		"org-00000", "org-00001", "org-00013",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, says := range []string{"1 of 14 organisations is failing", "401 Unauthorized", "12 missing", "nothing missing, 3 repaired", "without any event", `<path d="M0 20`} {
		if !strings.Contains(page, says) {
			t.Errorf("the page does not say %q", says)
		}
	}
}

// Each fleet is without the trouble that outranks the next one's.
func TestOverviewHeadlineRanks(t *testing.T) {
	f := mixed()
	f.whole.OrgsFileError = "line 3: no name"
	check := func(want string, level level) {
		t.Helper()
		totals := f.whole.totals(f.whole.worstFirst())
		v := judgeFleet(&f.whole, &totals)
		if !strings.HasPrefix(v.Title, want) || v.Level != level {
			t.Errorf("%q (%s), not %q (%s)", v.Title, v.Level, want, level)
		}
		if _, page := get(t, fleetHandler(t, f), "GET", "/"); !strings.Contains(page, `<body class="`+string(level)+`">`) {
			t.Errorf("%q: the page has another colour", v.Title)
		}
	}
	drop := func(s state) {
		f.whole.Organisations = slices.DeleteFunc(f.whole.Organisations, func(o Summary) bool { return o.state() == s })
	}
	check("1 of 14 organisations is failing", bad)
	drop(stateFailing)
	check("2 of 13 organisations have gaps", warn)
	drop(stateGaps)
	check("1 of 11 organisations lacks events", warn)
	drop(stateMissing)
	check("1 of 10 organisations is behind", warn)
	drop(stateBehind)
	check("Running, with trouble", warn)
	f.whole.OrgsFileError = ""
	check("1 of 9 organisations has a warning", warn)
	drop(stateWarning)
	check("1 of 8 organisations has shown no event", warn)
	drop(stateSilent)
	check("1 of 7 organisations is starting", idle)
	drop(stateStarting)
	check("Up to date, filling in history", busy)
	drop(stateFilling)
	check("Everything is there, of what this replica runs", good)
	drop(stateElsewhere)
	check("Everything is there", good)
	drop(stateFine)
	check("No organisation", idle)
	f.whole.NotReady = "the offsets topic is not loaded yet"
	check("Starting", idle)
	f.whole.Failures = []Failure{{What: "Kafka", Err: "no broker answers", Since: before(hour), Last: noon, Times: 9}}
	check("This replica is not ready", bad)
}

func TestOverviewFilters(t *testing.T) {
	h := fleetHandler(t, mixed())
	for query, want := range map[string][]string{
		"?state=failing":              {"org-00004"},
		"?state=gaps&q=0012":          {"org-00012"},
		"?q=AUDIT-1":                  {"org-00008", "org-00009"},
		"?q=00004&state=fine":         nil,
		"?q=%3Cscript%3E":             nil,
		"?state=failing&page=99":      {"org-00004"},
		"?q=+org-00007+&page=nothing": {"org-00007"},
	} {
		_, page := get(t, h, "GET", "/"+query)
		if got := names(page); !slices.Equal(got, want) {
			t.Errorf("%s: %v", query, got)
		}
		if strings.Count(page, "<script") != 1 {
			t.Errorf("%s: the query is markup", query)
		}
	}
	if _, page := get(t, h, "GET", "/?q=12&state=behind"); !strings.Contains(page, `value="12"`) || !strings.Contains(page, `href="/?q=12&amp;state=gaps"`) {
		t.Error("a state's link forgets the query, or the box does")
	}
	if _, page := get(t, h, "GET", "/?state=nonsense"); len(names(page)) != 14 {
		t.Error("a state that there is not hides organisations")
	}
	resp, _ := get(t, h, "GET", "/")
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self'") {
		t.Errorf("the filter may not be sent: %s", policy)
	}
}

// However many there are, each stands on one page, and no page is too much for a browser.
func TestOverviewPages(t *testing.T) {
	const all = 3*pageRows + 7
	h := fleetHandler(t, fleetOf(all))
	seen, path := make(map[string]bool), "/"
	for pages := 1; path != ""; pages++ {
		_, page := get(t, h, "GET", path)
		for _, name := range names(page) {
			if seen[name] {
				t.Fatalf("%s stands on two pages", name)
			}
			seen[name] = true
		}
		path = ""
		if next := regexp.MustCompile(`href="(/[^"]*)" rel="next"`).FindStringSubmatch(page); next != nil && pages < 100 {
			path = next[1]
		}
	}
	if len(seen) != all {
		t.Errorf("%d organisations on all pages", len(seen))
	}
}

// 20,000 organisations are no more on a page than 500 are.
func TestOverviewOfTwentyThousand(t *testing.T) {
	f := fleetOf(1)
	for i := range 20_000 - 1 {
		o := f.whole.Organisations[0]
		o.Org = fmt.Sprintf("another-%d", i)
		f.whole.Organisations = append(f.whole.Organisations, o)
	}
	h := fleetHandler(t, f)
	for _, path := range []string{"/", "/?page=40", "/?page=4000"} {
		if _, page := get(t, h, "GET", path); len(names(page)) != pageRows || len(page) > 500_000 {
			t.Errorf("%s: %d organisations in %d bytes", path, len(names(page)), len(page))
		}
	}
}

// 300 organisations on one page, in at most 300 kB and 100 ms.
func TestOverviewOfThreeHundred(t *testing.T) {
	h := fleetHandler(t, fleetOf(300))
	limit, fastest := slow*100*time.Millisecond, time.Hour
	// The machine may have other things to do: that it is fast once shows that it can be.
	for deadline := time.Now().Add(10 * time.Second); fastest > limit && time.Now().Before(deadline); {
		began := time.Now()
		_, page := get(t, h, "GET", "/")
		fastest = min(fastest, time.Since(began))
		if len(page) > 300_000 || len(names(page)) != 300 {
			t.Fatalf("%d organisations in %d bytes", len(names(page)), len(page))
		}
	}
	if fastest > limit {
		t.Errorf("it takes %s", fastest)
	}
}

// slow is how many times longer than it should things may take; see race_test.go.
var slow time.Duration = 1

func TestFleetStatus(t *testing.T) {
	h := fleetHandler(t, fleets["mixed"]())
	_, body := get(t, h, "GET", "/api/status")
	golden(t, "fleet-status.json", body)
	var back FleetStatus
	if err := json.Unmarshal([]byte(body), &back); err != nil {
		t.Fatal(err)
	}
	order := regexp.MustCompile(`"(\w+)": `).FindAllStringSubmatch(body, 9)
	var fields []string
	for _, m := range order {
		fields = append(fields, m[1])
	}
	if got := strings.Join(fields, " "); got != "replica organisations org role partition lagSeconds gaps newestEvent lastError" {
		t.Errorf("fields %s", got)
	}
	_, one := get(t, h, "GET", "/api/status?org=org-00001")
	s := mixed().orgs["org-00001"]
	if _, alone := get(t, handler(t, s), "GET", "/api/status"); one != alone {
		t.Errorf("one of many is not as it is alone:\n%s", one)
	}
	if _, elsewhere := get(t, h, "GET", "/api/status?org=org-00008"); !strings.Contains(elsewhere, `"role": "standby"`) {
		t.Errorf("run by another replica: %s", elsewhere)
	}
}

func TestFleetOfOneOrganisation(t *testing.T) {
	h := fleetHandler(t, mixed())
	_, page := get(t, h, "GET", "/org/org-00001")
	for _, want := range []string{"Everything is there", `<a href="/">All organisations</a>`, `href="/api/status?org=org-00001"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of one lacks %q", want)
		}
	}
	if _, page := get(t, h, "GET", "/org/org-00008"); !strings.Contains(page, "audit-1 is active") {
		t.Error("the page of one that another replica runs does not say which")
	}
	if _, body := get(t, h, "GET", "/evidence/checkpoint?org=org-00001"); body != healthy().Log.Checkpoint {
		t.Errorf("checkpoint: %q", body)
	}
	if resp, _ := get(t, h, "GET", "/evidence/checkpoint"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("checkpoint of nobody: %s", resp.Status)
	}
	for _, path := range []string{"/org/nobody", "/api/status?org=nobody", "/evidence/checkpoint?org=nobody", "/api/status?org="} {
		if resp, body := get(t, h, "GET", path); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "there is no organisation") {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
	}
}

// One organisation's trouble does not make the replica unready.
func TestFleetReadiness(t *testing.T) {
	f := mixed()
	if resp, body := get(t, fleetHandler(t, f), "GET", "/readyz"); resp.StatusCode != 200 || body != "ready, runs 11 organisations\n" {
		t.Errorf("%s %q", resp.Status, body)
	}
	f.whole.NotReady = "no broker answers"
	h := fleetHandler(t, f)
	if resp, body := get(t, h, "GET", "/readyz"); resp.StatusCode != 503 || body != "no broker answers\n" {
		t.Errorf("%s %q", resp.Status, body)
	}
	if resp, _ := get(t, h, "GET", "/healthz"); resp.StatusCode != 200 {
		t.Errorf("healthz: %s", resp.Status)
	}
}

func TestFleetOnlyReads(t *testing.T) {
	h := fleetHandler(t, mixed())
	for _, path := range []string{"/", "/org/org-00001", "/api/status", "/metrics", "/healthz", "/readyz"} {
		if resp, _ := get(t, h, "POST", path); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, resp.StatusCode)
		}
		resp, _ := get(t, h, "GET", path)
		policy := resp.Header.Get("Content-Security-Policy")
		if resp.StatusCode != 200 || !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") {
			t.Errorf("GET %s: %d, policy %q", path, resp.StatusCode, policy)
		}
	}
}

// maxFleetSeries is what docs/operating.md says that an organisation takes at most, when
// the API names as much as it can.
const maxFleetSeries = 150

func TestFleetMetricsAreBounded(t *testing.T) {
	f := fixedFleet{orgs: make(map[string]Snapshot)}
	s := services()
	s.Streams = slices.Concat(s.Streams, s.Streams, s.Streams)
	s.Unmapped = make(map[string]uint64)
	for i := range 500 {
		s.Unmapped[fmt.Sprintf("type-%d", i)] = 1
		s.Requests = append(s.Requests, Requests{"tail", fmt.Sprintf("status %d", i), 1})
	}
	s.Leads = Leads{"query": s.Transactions.Duration, "realtime": s.Transactions.Duration}
	for _, name := range []string{"auditlogs", "query", "realtime", "names"} {
		s.Rate.Families = append(s.Rate.Families, FamilyRate{name, 300, 1, 2, 297})
	}
	line := s.Summary()
	line.Replica = "audit-0"
	f.add(line, s)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(fleetCollector{f})
	gathered, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, family := range gathered {
		for _, m := range family.Metric {
			if h := m.Histogram; h != nil {
				series += len(h.Bucket) + 2 // its sum and its count, and +Inf is not among the buckets
			}
			series++
		}
	}
	if series > maxFleetSeries {
		t.Errorf("an organisation makes %d series", series)
	}
	t.Logf("%d series", series)
}

func TestFleetMetrics(t *testing.T) {
	for name, fleet := range fleets {
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(fleetCollector{fleet()})
		problems, err := testutil.GatherAndLint(reg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
		}
	}
	f := fleets["mixed"]()
	s := services()
	s.Org = "org-00002"
	f.orgs["org-00002"] = s
	_, text := get(t, fleetHandler(t, f), "GET", "/metrics")
	for _, want := range []string{
		`genesys_audit_orgs_file_error 1`, `genesys_audit_replica_ready 1`, `genesys_audit_replica_partitions 8`,
		`genesys_audit_organisations{role="active"} 11`, `genesys_audit_organisations{role="standby"} 3`,
		`genesys_audit_active{org="org-00001"} 1`, `genesys_audit_active{org="org-00008"} 0`,
		// The worst of 25 streams, and the sum of their gaps.
		`genesys_audit_lag_seconds{org="org-00002",stream="all streams"} 420`, `genesys_audit_gaps{org="org-00002",stream="all streams"} 1`,
		`genesys_audit_newest_event_timestamp_seconds{org="org-00000"} 1.705329123e+09`,
		`genesys_audit_late_event_age_seconds_bucket{org="org-00002",stream="all streams",le="120"} 300`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^genesys_audit_\w+.*$`).FindAllString(text, -1) {
		ofReplica := regexp.MustCompile(`^genesys_audit_(replica_\w+|orgs_file_error|organisations\{role="\w+"\}) `).MatchString(line)
		if !ofReplica && !strings.Contains(line, `org="org-`) {
			t.Errorf("without an organisation: %s", line)
		}
	}
}

func BenchmarkOverview(b *testing.B) {
	for _, n := range []int{300, 20_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := NewFleet(fleetOf(n), zap.NewNop()).Handler()
			benchmarkGet(b, h, "/")
		})
	}
}

func BenchmarkFleetMetrics(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := fleetOf(n)
			for name, s := range f.orgs {
				all := services()
				s.Streams = all.Streams
				f.orgs[name] = s
			}
			h := NewFleet(f, zap.NewNop()).Handler()
			benchmarkGet(b, h, "/metrics")
		})
	}
}

func benchmarkGet(b *testing.B, h http.Handler, path string) {
	b.Helper()
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		size = rec.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes/answer")
}
