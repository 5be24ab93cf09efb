package web

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// view is what the template writes down. All thinking is done before it.
type view struct {
	Style  template.CSS
	Script template.JS
	Icon   template.URL

	Fleet                           bool // it is one of many organisations
	Org, Role, API, Version, Commit string
	Taken, TakenAt                  string // when, for people and for programs

	Verdict  verdict
	Answers  []answer
	Troubles []failureRow

	Timelines []timeline
	Edges     []string
	Streams   []streamRow
	Sweeps    bool
	Gaps      []gapRow

	Rate     rateBar
	Lateness lateChart
	Changes  []changeRow
	Replicas []replicaRow
	Facts    []fact
	Requests []requestRow
	Unmapped []unmappedRow
	Past     []failureRow
}

type fact struct{ Name, Value, Note string }

type replicaRow struct {
	Name, Role string
	Self       bool
}

type failureRow struct{ What, Err, Since, Last, Times, Ended string }

type streamRow struct {
	Name, Lag, LastPoll, Covered, Wanted, Gaps, Sweeps, Duplicates string
	Level                                                          level
}

type gapRow struct{ Stream, From, To, Length, Reason string }

type requestRow struct{ Purpose, Status, Count string }

type unmappedRow struct{ Type, Count string }

func newView(s *Snapshot) *view {
	t := s.sums()
	v := &view{
		Style: template.CSS(pageCSS), Script: template.JS(pageJS),
		Org: s.Org, Role: string(cmp.Or(s.Role, Starting)), API: s.API,
		Version: s.Version, Commit: shortCommit(s.Commit),
		Taken: s.Now.UTC().Format("15:04:05"), TakenAt: s.Now.UTC().Format(audit.TimeFormat),
		Verdict: judge(s, t), Answers: answers(s, t),
		Rate: newRateBar(&s.Rate), Lateness: newLateChart(s.Streams),
		Facts: facts(s),
	}
	if s.Recent != nil {
		v.Changes = changeRows(s.Recent(), s.Now)
	}
	v.Icon = icons[v.Verdict.Level]
	if len(s.Streams) > 0 {
		v.Timelines = timelines(s)
	}
	for i := range s.Streams {
		v.addStream(&s.Streams[i], s)
	}
	slices.SortStableFunc(v.Streams, func(a, b streamRow) int { return cmp.Compare(urgency[a.Level], urgency[b.Level]) })
	for _, f := range s.lasting() {
		v.Troubles = append(v.Troubles, newFailureRow(&f, s.Now))
	}
	v.Past = pastFailures(s)
	v.Replicas = replicaRows(s)
	for _, r := range s.Requests {
		v.Requests = append(v.Requests, requestRow{r.Purpose, shown(r.Status, maxName), number(r.Count)})
	}
	slices.SortFunc(v.Requests, func(a, b requestRow) int {
		return cmp.Or(cmp.Compare(a.Purpose, b.Purpose), cmp.Compare(a.Status, b.Status))
	})
	for _, u := range commonest(s.Unmapped, 20) {
		v.Unmapped = append(v.Unmapped, unmappedRow{shown(u.name, maxName), number(u.count)})
	}
	return v
}

// urgency orders streams: what needs a look stands first.
var urgency = map[level]int{warn: -2, busy: -1}

// words tells when a backfill goes on, and when it will be done, as far as that is known.
func (b Backfill) words(now time.Time) string {
	text := ""
	if !b.Resumes.IsZero() {
		text = ", goes on " + stamp(b.Resumes, now)
	}
	if !b.Done.IsZero() {
		text += ", done about " + stamp(b.Done, now)
	}
	return text
}

func (v *view) addStream(st *Stream, s *Snapshot) {
	name := shown(st.Name, 2*maxName)
	row := streamRow{
		Name: name, Lag: human(st.Lag), LastPoll: "–", Covered: human(st.Covered.Length()),
		Wanted: "nothing", Gaps: "none", Sweeps: sweeps(st.Sweeps, s.apiNow()), Duplicates: number(st.Duplicates), Level: good,
	}
	if !st.LastPoll.IsZero() {
		row.LastPoll = ago(st.LastPoll, s.Now)
	}
	if len(st.Wanted) > 0 {
		row.Wanted, row.Level = human(st.Wanted.Length())+st.Backfill.words(s.Now), busy
	}
	if len(st.Gaps) > 0 {
		row.Gaps, row.Level = number(uint64(len(st.Gaps))), warn
	}
	if st.Lag >= lagWarns {
		row.Level = warn
	}
	v.Streams = append(v.Streams, row)
	v.Sweeps = v.Sweeps || row.Sweeps != ""
	for _, g := range st.Gaps {
		v.Gaps = append(v.Gaps, gapRow{
			name, stamp(g.From, s.Now), stamp(g.To, s.Now), human(g.Length()), shown(g.Reason, 2*maxValue),
		})
	}
	if !st.Edge.IsZero() {
		text := fmt.Sprintf("Retention edge: the API holds events back to %s.", longStamp(st.Edge))
		if !slices.Contains(v.Edges, text) {
			v.Edges = append(v.Edges, text)
		}
	}
}

// sweeps tells the ages that are swept, and those that are late by how much.
func sweeps(list []Sweep, now time.Time) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = spell(w.Age)
		if late := now.Sub(w.Until) - w.Age; !w.Until.IsZero() && late > w.Age/2+lagWarns {
			words[i] += " (" + human(late.Truncate(time.Second)) + " late)"
		}
	}
	return strings.Join(words, ", ")
}

func newFailureRow(f *Failure, now time.Time) failureRow {
	row := failureRow{
		What: shown(f.What, maxName), Err: shown(f.Err, 4*maxValue),
		Since: stamp(f.Since, now), Last: ago(f.Last, now), Times: number(uint64(max(0, f.Times))),
	}
	if !f.Ended.IsZero() {
		row.Ended = stamp(f.Ended, now)
	}
	return row
}

// pastFailures are those that are over, the newest first.
func pastFailures(s *Snapshot) []failureRow {
	over := slices.DeleteFunc(slices.Clone(s.Failures), func(f Failure) bool { return f.Ended.IsZero() })
	slices.SortStableFunc(over, func(a, b Failure) int { return b.Ended.Compare(a.Ended) })
	var rows []failureRow
	for i := range over {
		rows = append(rows, newFailureRow(&over[i], s.Now))
	}
	return rows
}

func replicaRows(s *Snapshot) []replicaRow {
	if len(s.Replicas) == 0 {
		return []replicaRow{{cmp.Or(s.Replica, "this replica"), string(cmp.Or(s.Role, Starting)), true}}
	}
	var rows []replicaRow
	for _, r := range s.Replicas {
		row := replicaRow{Name: r.Name, Role: string(Standby), Self: r.Name == s.Replica}
		switch {
		case row.Self:
			row.Role = string(cmp.Or(s.Role, Starting))
		case r.Active:
			row.Role = string(Active)
		}
		rows = append(rows, row)
	}
	return rows
}

func facts(s *Snapshot) []fact {
	t := &s.Transactions
	list := []fact{
		{"Events published", number(s.Events.Published), ""},
		{"Changes published", number(s.Events.Changes), ""},
		{"Duplicates dropped", number(s.duplicates()), "shown again by the API"},
		{"Events with an error", number(s.Events.Errors), "published all the same"},
		{"Transactions", number(t.Committed), fmt.Sprintf("%s aborted, %s unknown", number(t.Aborted), number(t.Unknown))},
		{"Commit takes", commitTime(t.Duration), ""},
		{"Ids remembered", number(uint64(max(0, s.IDs))), ""},
		{"Waited for the budget", human(s.Rate.Throttled.Truncate(100 * time.Millisecond)), ""},
	}
	if s.ClockKnown {
		list = append(list, fact{"The API's clock", clock(s.ClockOffset), ""})
	}
	if s.Fenced > 0 {
		list = append(list, fact{"Fenced", number(s.Fenced), "another replica took over"})
	}
	list = append(list, fact{"Last verified", "never", "connector verify proves that nothing is missing"})
	if v := s.LastVerified; v != nil {
		list[len(list)-1] = fact{"Last verified", ago(v.At, s.Now), v.words() + ", for " + span(v.From, v.To, s.Now)}
	}
	if !s.Started.IsZero() {
		list = append(list, fact{"Counting since", stamp(s.Started, s.Now), human(s.Now.Sub(s.Started).Truncate(time.Second)) + ", when this process started"})
	}
	return list
}

// words are what it found.
func (v *Verification) words() string {
	text := "nothing missing"
	if v.Missing > 0 {
		text = number(uint64(v.Missing)) + " missing"
	}
	if v.Repaired > 0 {
		text += ", " + number(uint64(v.Repaired)) + " repaired"
	}
	return text
}

func clock(offset time.Duration) string {
	switch offset = offset.Truncate(100 * time.Millisecond); {
	case offset > 0:
		return human(offset) + " ahead of ours"
	case offset < 0:
		return human(-offset) + " behind ours"
	}
	return "as ours"
}

// commitTime is the range in which half and nearly all of the commits took.
func commitTime(h Histogram) string {
	if h.Total() == 0 {
		return "–"
	}
	half, most := h.quantile(0.5), h.quantile(0.99)
	if half == most {
		return half + " at most"
	}
	return fmt.Sprintf("%s for half, %s for 99 %%", half, most)
}

// quantile is the upper bound of the bucket that holds it.
func (h Histogram) quantile(q float64) string {
	var below uint64
	for i, bound := range h.Bounds {
		below += h.at(i)
		if float64(below) >= q*float64(h.Total()) {
			return "≤ " + millis(fromSeconds(bound))
		}
	}
	return "> " + millis(fromSeconds(h.Bounds[len(h.Bounds)-1]))
}

func millis(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return human(d)
}

func shortCommit(c string) string { return c[:min(len(c), 12)] }

// icons are a dot in the browser's tab: the answer without opening it.
var icons = func() map[level]template.URL {
	m := make(map[level]template.URL)
	for l, color := range map[level]string{good: "1a7f4b", busy: "2563ad", idle: "7a8694", warn: "c98a00", bad: "c0362c"} {
		m[l] = template.URL("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E" +
			"%3Ccircle cx='8' cy='8' r='7' fill='%23" + color + "'/%3E%3C/svg%3E")
	}
	return m
}()

// rateBar is the budget of requests of the current window.
type rateBar struct {
	Known                          bool
	Ours, Others, Reserve, Share   percent
	Limit, Window                  string
	OursN, OthersN, Left, ReserveN string
	Shares                         string
	Label                          string
}

func newRateBar(r *Rate) rateBar {
	if r.Limit <= 0 {
		return rateBar{}
	}
	of := func(n int) percent { return percent(100 * min(1, max(0, float64(n)/float64(r.Limit)))) }
	b := rateBar{
		Known: true, Ours: of(r.Ours), Others: of(r.Others), Reserve: of(r.Reserve), Share: percent(100 * r.Share),
		Limit: number(uint64(r.Limit)), Window: human(r.Window), OursN: number(uint64(max(0, r.Ours))),
		OthersN: number(uint64(max(0, r.Others))), Left: number(uint64(max(0, r.Remaining))), ReserveN: number(uint64(max(0, r.Reserve))),
		Shares: fmt.Sprintf("%.0f %%", 100*r.Share),
	}
	b.Others = min(b.Others, 100-b.Ours)
	b.Label = fmt.Sprintf("Of %s requests in %s we made %s, others %s; %s are left.", b.Limit, b.Window, b.OursN, b.OthersN, b.Left)
	return b
}

// X places a bar that ends at the right edge.
func (b rateBar) ReserveX() percent { return 100 - b.Reserve }

// lateChart shows how late the API really shows events.
type lateChart struct {
	Rows   []lateRow
	Total  string
	Beyond bool // events that no sweep would have found
}

type lateRow struct {
	Label, Count string
	W            percent
	Beyond       bool
}

// newLateChart adds the streams up. They are swept at the same ages.
func newLateChart(streams []Stream) lateChart {
	counts := make(map[float64]uint64)
	var beyond, total, most uint64
	for i := range streams {
		h := &streams[i].Lateness
		for j, bound := range h.Bounds {
			counts[bound] += h.at(j)
		}
		beyond += h.at(len(h.Bounds))
		total += h.Total()
	}
	if total == 0 {
		return lateChart{}
	}
	for _, n := range counts {
		most = max(most, n)
	}
	most = max(most, beyond)
	width := func(n uint64) percent {
		if n == 0 {
			return 0
		}
		return max(1, percent(100*float64(n)/float64(most)))
	}
	c := lateChart{Total: number(total), Beyond: beyond > 0}
	bounds := slices.Sorted(maps.Keys(counts))
	for _, bound := range bounds {
		n := counts[bound]
		c.Rows = append(c.Rows, lateRow{"up to " + human(fromSeconds(bound)), number(n), width(n), false})
	}
	if len(bounds) > 0 {
		c.Rows = append(c.Rows, lateRow{"older than that", number(beyond), width(beyond), beyond > 0})
	}
	return c
}
