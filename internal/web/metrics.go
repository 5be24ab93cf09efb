package web

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
)

// maxLabelValues is the most series that names from the API may make, a metric; the rest
// are counted as "other". With many organisations it is few, for each of them.
const (
	maxLabelValues   = 200
	fleetLabelValues = 20
)

// A family is one metric: its description, and what it is at the moment.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newFamily(kind prometheus.ValueType, name, help string, labels ...string) family {
	labels = append([]string{"org"}, labels...)
	return family{prometheus.NewDesc("genesys_audit_"+name, help, labels, nil), kind}
}

func gauge(name, help string, labels ...string) family {
	return newFamily(prometheus.GaugeValue, name, help, labels...)
}

func counter(name, help string, labels ...string) family {
	return newFamily(prometheus.CounterValue, name, help, labels...)
}

// The metrics. Alert rules and dashboards name them.
var (
	buildInfo   = gauge("build_info", "Always 1; its labels tell what is running.", "version", "commit", "goversion", "api")
	activeNow   = gauge("active", "Whether this replica is the one that polls and publishes.")
	readyNow    = gauge("ready", "Whether /readyz answers 200.")
	failing     = gauge("failing", "How many things of this kind do not work at the moment.", "kind")
	fenced      = counter("fenced_total", "Times that another replica took over from this one while it thought that it was active.")
	panics      = counter("panics_total", "Faults of ours that were met and set aside; the log has the stack of each.")
	clockOffset = gauge("api_clock_offset_seconds", "The API's clock less ours; absent until an answer told.")

	lag        = gauge("lag_seconds", "How far the newest covered instant of a stream is behind the API's clock.", "stream")
	lastPoll   = gauge("last_poll_timestamp_seconds", "When the newest events of a stream were last read with success; 0 for never.", "stream")
	covered    = gauge("covered_seconds", "Time that was read completely.", "stream")
	wanted     = gauge("wanted_seconds", "Time that is left to read.", "stream")
	edge       = gauge("retention_edge_timestamp_seconds", "The oldest instant that the API still holds; absent where it forgets nothing.", "stream")
	gaps       = gauge("gaps", "Intervals that could not be read or published; the status page gives each reason.", "stream")
	gapTime    = gauge("gap_seconds", "Time in such gaps.", "stream")
	sweptUntil = gauge("swept_until_timestamp_seconds", "Up to which instant a stream was read again at this age.", "stream", "age")
	duplicates = counter("duplicates_dropped_total", "Events that the API showed again and that were not published again.", "stream")
	lateness   = newFamily(0, "late_event_age_seconds", "How old events were when a re-read found them. The last finite bound is the oldest sweep.", "stream")

	published   = counter("events_published_total", "Audit events published.")
	changesMade = counter("changes_published_total", "Change records published.")
	eventErrors = counter("event_errors_total", "Events published with the header error: without a usable id or time, or too deep to normalise.")
	remembered  = gauge("remembered_ids", "Audit ids remembered, so that no event is published twice.")
	unmapped    = counter("unmapped_total", "Events of entity types that no mapping knows; they are published all the same.", "entity_type")

	requests       = counter("requests_total", "Requests to the API.", "kind", "status")
	throttled      = counter("throttled_seconds_total", "Time waited for the request budget.")
	quotaLimit     = gauge("quota_limit", "Requests that a window allows to all consumers together.")
	quotaWindow    = gauge("quota_window_seconds", "Length of that window.")
	quotaUsed      = gauge("quota_used", "Requests used in the current window, by whom.", "by")
	quotaRemaining = gauge("quota_remaining", "Requests left in the current window.")
	quotaReserve   = gauge("quota_reserve", "Requests that the connector always leaves.")
	familyLimit    = gauge("family_quota_limit", "Requests that a window allows to a family of the API's routes.", "family")
	familyUsed     = gauge("family_quota_used", "Requests used of it in the current window, by whom.", "family", "by")
	familyLeft     = gauge("family_quota_remaining", "Requests left of it in the current window.", "family")
	lead           = newFamily(0, "dialect_lead_seconds", "By how much one dialect showed events before the other did. The count says which is first how often.", "first")

	transactions = counter("transactions_total", "Kafka transactions by result; unknown: the answer did not tell, and start-up found out.", "result")
	retries      = counter("transaction_retries_total", "Requests of the transaction protocol that were sent again.")
	quotaWaits   = counter("kafka_throttled_seconds_total", "Time for which a producer quota of the brokers wanted nothing to be sent.")
	newestEvent  = gauge("newest_event_timestamp_seconds", "The newest event's own time, over all processes; absent where no event was ever published, and where the organisation is not run here.")
	lastVerified = gauge("last_verified_timestamp_seconds", "When connector verify last ended; absent for never, and where the organisation is not run here.")
	stillMissing = gauge("verified_missing_events", "Events that connector verify left missing; absent as the time is.")

	duration = newFamily(0, "transaction_duration_seconds", "How long committed transactions took, from begin to the answer.")
)

var families = []family{
	buildInfo, activeNow, readyNow, failing, fenced, panics, clockOffset,
	lag, lastPoll, covered, wanted, edge, gaps, gapTime, sweptUntil, duplicates, lateness,
	published, changesMade, eventErrors, remembered, unmapped,
	requests, throttled, quotaLimit, quotaWindow, quotaUsed, quotaRemaining, quotaReserve,
	familyLimit, familyUsed, familyLeft, lead,
	transactions, retries, quotaWaits, duration,
	newestEvent, lastVerified, stillMissing,
}

// metrics serves our metrics and those of the Go runtime and the process, from a registry of our own.
func (s *Server) metrics(ours prometheus.Collector) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(ours, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	errorLog, _ := zap.NewStdLogAt(s.log, zap.ErrorLevel) // the level is a known one: no error
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorLog: errorLog, MaxRequestsInFlight: 4, Timeout: writeTimeout / 2})
}

// collector makes metrics from a snapshot at each scrape. Nothing is counted here.
type collector struct{ source Source }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	snap := c.source.Snapshot()
	e := emitter{ch, snap.Org, maxLabelValues}
	e.process(&snap)
	for i := range snap.Streams {
		figures := snap.Streams[i].figures()
		e.stream(&figures)
	}
	e.events(&snap)
	e.requests(&snap)
	e.transactions(&snap.Transactions)
}

// emitter sends metrics of one organisation.
type emitter struct {
	ch   chan<- prometheus.Metric
	org  string
	most int // series that names from the API may make, a metric
}

func (e emitter) put(f family, value float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, e.labels(labels)...)
}

func (e emitter) histogram(f family, h Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var below uint64
	for i, bound := range h.Bounds {
		below += h.at(i)
		buckets[bound] = below
	}
	e.ch <- prometheus.MustNewConstHistogram(f.desc, h.Total(), h.Sum, buckets, e.labels(labels)...)
}

// labels makes any text a label value: names come from the API, and those that
// are not UTF-8 would break the whole scrape.
func (e emitter) labels(values []string) []string {
	all := append([]string{e.org}, values...)
	for i := range all {
		all[i] = strings.ToValidUTF8(all[i], "\uFFFD")
	}
	return all
}

func (e emitter) process(s *Snapshot) {
	e.put(buildInfo, 1, s.Version, s.Commit, runtime.Version(), s.API)
	e.put(activeNow, indicator(s.Role == Active))
	e.put(readyNow, indicator(s.NotReady == ""))
	e.put(fenced, float64(s.Fenced))
	e.put(panics, float64(s.Panics))
	if s.ClockKnown {
		e.put(clockOffset, s.ClockOffset.Seconds())
	}
	kinds := make(map[health.Kind]int)
	for _, f := range s.lasting() {
		if f.Warning {
			continue
		}
		if !slices.Contains(health.Kinds, f.Kind) {
			f.Kind = health.Other
		}
		kinds[f.Kind]++
	}
	for _, k := range health.Kinds {
		e.put(failing, float64(kinds[k]), string(k))
	}
}

func (e emitter) stream(s *streamFigures) {
	e.put(lag, s.lag.Seconds(), s.name)
	e.put(lastPoll, unix(s.lastPoll), s.name)
	e.put(covered, s.covered.Seconds(), s.name)
	e.put(wanted, s.wanted.Seconds(), s.name)
	if !s.edge.IsZero() {
		e.put(edge, unix(s.edge), s.name)
	}
	e.put(gaps, float64(s.gaps), s.name)
	e.put(gapTime, s.gapTime.Seconds(), s.name)
	for _, w := range s.sweeps {
		e.put(sweptUntil, unix(w.Until), s.name, spell(w.Age))
	}
	e.put(duplicates, float64(s.duplicates), s.name)
	e.histogram(lateness, s.lateness, s.name)
}

func (e emitter) events(s *Snapshot) {
	e.put(published, float64(s.Events.Published))
	e.put(changesMade, float64(s.Events.Changes))
	e.put(eventErrors, float64(s.Events.Errors))
	e.put(remembered, float64(s.IDs))
	for _, t := range commonest(s.Unmapped, e.most) {
		e.put(unmapped, float64(t.count), t.name)
	}
	if s.Role != Active {
		return // what a standby knows of these may be old
	}
	if !s.NewestEvent.IsZero() {
		e.put(newestEvent, unix(s.NewestEvent))
	}
	if v := s.LastVerified; v != nil {
		e.put(lastVerified, unix(v.At))
		e.put(stillMissing, float64(v.Missing))
	}
}

func (e emitter) requests(s *Snapshot) {
	e.answers(s.Requests)
	e.put(throttled, s.Rate.Throttled.Seconds())
	e.put(quotaLimit, float64(s.Rate.Limit))
	e.put(quotaWindow, s.Rate.Window.Seconds())
	e.put(quotaUsed, float64(s.Rate.Ours), "connector")
	e.put(quotaUsed, float64(s.Rate.Others), "others")
	e.put(quotaRemaining, float64(s.Rate.Remaining))
	e.put(quotaReserve, float64(s.Rate.Reserve))
	for _, f := range s.Rate.Families {
		e.put(familyLimit, float64(f.Limit), f.Name)
		e.put(familyUsed, float64(f.Used), f.Name, "connector")
		e.put(familyUsed, float64(f.Others), f.Name, "others")
		e.put(familyLeft, float64(f.Remaining), f.Name)
	}
	for dialect, h := range s.Leads {
		e.histogram(lead, h, dialect)
	}
}

// answers sends one series for each purpose and status, whatever the list repeats.
func (e emitter) answers(list []Requests) {
	type key struct{ kind, status string }
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Requests) int { return cmp.Compare(b.Count, a.Count) })
	sums := make(map[key]uint64)
	for _, r := range list {
		k := key{r.Purpose, r.Status}
		if _, known := sums[k]; !known && len(sums) >= e.most-1 {
			k = key{"other", "other"}
		}
		sums[k] += r.Count
	}
	for k, n := range sums {
		e.put(requests, float64(n), k.kind, k.status)
	}
}

func (e emitter) transactions(t *Transactions) {
	e.put(transactions, float64(t.Committed), "committed")
	e.put(transactions, float64(t.Aborted), "aborted")
	e.put(transactions, float64(t.Unknown), "unknown")
	e.put(retries, float64(t.Retries))
	e.put(quotaWaits, t.Throttled)
	e.histogram(duration, t.Duration)
}

// tally is how often a name was counted.
type tally struct {
	name  string
	count uint64
}

// commonest are the most frequent names, at most that many, by count; what is
// left is the last, called "other".
func commonest(counts map[string]uint64, most int) []tally {
	valid := make(map[string]uint64, len(counts)) // two names that are no UTF-8 may become one
	for name, n := range counts {
		valid[strings.ToValidUTF8(name, "\uFFFD")] += n
	}
	other, named := valid["other"], len(valid) > most
	if named {
		delete(valid, "other")
	}
	list := make([]tally, 0, len(valid))
	for _, name := range slices.Sorted(maps.Keys(valid)) {
		list = append(list, tally{name, valid[name]})
	}
	slices.SortStableFunc(list, func(a, b tally) int { return cmp.Compare(b.count, a.count) })
	if !named {
		return list
	}
	rest := tally{"other", other}
	for _, t := range list[min(most-1, len(list)):] {
		rest.count += t.count
	}
	return append(list[:min(most-1, len(list))], rest)
}

func indicator(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// unix is t in seconds since 1970; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
