package export

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
)

//go:embed report.html
var reportHTML string

//go:embed verify.md
var verifyMD string

var words = map[string]any{
	"n": thousands, "at": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
	"exact": func(t time.Time) string { return t.UTC().Format(audit.TimeFormat) },
	"short": short,
}

var (
	reportPage = template.Must(template.New("report.html").Funcs(words).Parse(reportHTML))
	verifyText = texttemplate.Must(texttemplate.New("VERIFY.md").Funcs(words).Parse(verifyMD))
)

// view is what report.html and VERIFY.md show.
type view struct {
	Summary
	Verdict     verdict
	Asked       []string
	Filtered    bool
	Stats       struct{ Failed, Masked, Granted, Removed int }
	Report      *evidence.Report
	Findings    []evidence.Finding // the first ones
	FindingsOf  int
	Counts      []count
	Unprovable  []string // in words: what of the interval is not in the export, or not proved
	Coverage    coverage
	Days        chart
	Charts      []table
	Grants      []grant
	GrantsOf    int
	Erasures    []erasure
	Stamps      []*evidence.Stamp
	StampsLeft  int
	Checkpoint  string
	Size        uint64
	Signed      bool // checkpoints
	Protected   bool // the files of the export
	API         string
	First, Last time.Time
}

// verdict is the sentence at the top.
type verdict struct{ Class, Sentence, Detail string }

// table is a chart of what is most frequent.
type table struct {
	Title, What string
	Rows        []count
	Kinds, Rest int
}

// erasure is an erased event, in the words of its note.
type erasure struct{ AuditID, By, At, Reason string }

const (
	maxFindings = 100
	maxErasures = 500
	maxRows     = 12
)

func (e *Export) view(s Summary, o Outcome) (*view, error) {
	c, err := evidence.ParseCheckpoint([]byte(e.newest.Checkpoint))
	if err != nil {
		return nil, err
	}
	v := &view{
		Summary: s, Asked: e.describe(), Filtered: e.Filtered(), Report: o.Report,
		Coverage: coverageOf(e.newest.Coverage, e.Interval), Days: e.stats.chart(),
		Stamps: e.stamps, StampsLeft: e.stampsLeft, Checkpoint: e.newest.Checkpoint, Size: c.Size,
		Signed: c.Signed(), Protected: e.Signer != nil, API: apiResult(o.API), First: e.stats.first, Last: e.stats.last,
		Findings: o.Report.Findings[:min(maxFindings, len(o.Report.Findings))],
	}
	v.Stats.Failed, v.Stats.Masked, v.Stats.Granted, v.Stats.Removed = e.stats.failed, e.stats.masked, e.stats.granted, e.stats.removed
	for _, kind := range slices.Sorted(maps.Keys(o.Report.Counts)) {
		v.FindingsOf += o.Report.Counts[kind]
		v.Counts = append(v.Counts, count{Name: string(kind), N: o.Report.Counts[kind]})
	}
	for _, t := range []struct {
		title, what string
		tally       *tally
	}{{"By type of object", "Type of object", &e.stats.types}, {"By action", "Action", &e.stats.actions}, {"By actor", "Actor", &e.stats.actors}} {
		rows, kinds, rest := t.tally.top(maxRows)
		v.Charts = append(v.Charts, table{t.title, t.what, rows, kinds, rest})
	}
	v.Grants = slices.Clone(e.stats.grants)
	v.GrantsOf = e.stats.granted + e.stats.removed
	slices.SortStableFunc(v.Grants, func(a, b grant) int { return a.Time.Compare(b.Time) })
	for _, one := range o.Erased[:min(maxErasures, len(o.Erased))] {
		v.Erasures = append(v.Erasures, erasureOf(one))
	}
	v.Unprovable = e.unprovable(o.Report)
	v.Verdict = e.verdict(v)
	return v, nil
}

func (e *Export) verdict(v *view) verdict {
	switch {
	case e.broken:
		return verdict{"bad", "The log itself is damaged: nothing can be proved", "Records of the evidence log are missing or altered, so no event can be proved to be in it. See below for what was found."}
	case v.FindingsOf > 0:
		return verdict{"bad", "Something in Kafka is not as it was published", fmt.Sprintf("%s found, see below. The events in this export are proved all the same.", plural(v.FindingsOf, "fault was", "faults were"))}
	case v.Events == 0:
		return verdict{"note", "No event of this interval is in the log", "That says nothing of what happened: see which time was read."}
	case len(v.Unprovable) > 0 || !v.Coverage.Whole:
		return verdict{"note", fmt.Sprintf("%s, each of them proved; not all time or events are covered", plural(v.Events, "event", "events")), "What is missing and why stands below."}
	}
	return verdict{"good", fmt.Sprintf("%s, each of them proved; all time of the interval was read", plural(v.Events, "event", "events")), "Every event is as the connector published it, and nothing was found to be wrong in Kafka."}
}

// unprovable says what of the interval is not proved by the export.
func (e *Export) unprovable(r *evidence.Report) (all []string) {
	if n := e.before.Load(); n > 0 {
		all = append(all, plural(int(n), "event of this interval was", "events of this interval were")+" published before the evidence log began. They are in the topics, but the log cannot prove them, and they are not in this export.")
	}
	if e.partial > 0 {
		all = append(all, plural(e.partial, "event of this interval is", "events of this interval are")+" no longer whole in the topics, or not as published. They are not in this export.")
	}
	if r.Expired > 0 {
		text := plural(int(r.Expired), "entry of the log has", "entries of the log have") + " lost their records to the topics' retention; when those events happened cannot be told any more."
		if !e.oldest.IsZero() && e.Interval.From.Before(e.oldest) {
			text += " The oldest event that is still there is of " + e.oldest.UTC().Format(audit.TimeFormat) + ": of the time before, this export has nothing."
		}
		all = append(all, text)
	}
	if e.stats.unreadable > 0 {
		all = append(all, plural(e.stats.unreadable, "event has", "events have")+" change records that could not be decoded: proved byte for byte, but not in changes.csv and not counted below.")
	}
	return all
}

// apiResult says what the newest "connector verify" found, by the fields that its result has.
func apiResult(text json.RawMessage) string {
	var result map[string]any
	if text == nil || json.Unmarshal(text, &result) != nil {
		return ""
	}
	var said []string
	for _, name := range slices.Sorted(maps.Keys(result)) {
		switch value := result[name].(type) {
		case string, bool, float64:
			said = append(said, fmt.Sprintf("%s: %v", name, short(fmt.Sprint(value), 60)))
		}
	}
	return strings.Join(said, "; ")
}

// erasureOf reads what a note says; one that says it in another way is shown as it is.
func erasureOf(one Erased) erasure {
	var said map[string]any
	_ = json.Unmarshal(one.Note, &said)
	field := func(names ...string) string {
		for _, name := range names {
			if s, ok := said[name].(string); ok {
				return s
			}
		}
		return ""
	}
	e := erasure{AuditID: one.AuditID, By: field("who", "by", "user"), At: field("when", "at", "time"), Reason: field("why", "reason")}
	if e.By == "" && e.At == "" && e.Reason == "" {
		e.Reason = string(one.Note)
	}
	return e
}

// chart is a bar for each piece of the interval.
type chart struct {
	Unit string // of a bar: day, week, month
	Bars []column
	Most int
}

type column struct {
	Label      string
	N          int
	X, Y, W, H float64
	Mark       string // under the bar; "" for most
}

const (
	chartWidth  = 1000.0
	chartHeight = 150.0
	maxColumns  = 100
)

// chart counts events by day, or by as many days as it takes to have room for all.
func (s *stats) chart() chart {
	if s.events == s.unreadable {
		return chart{}
	}
	first, last := s.first.Unix()/86400, s.last.Unix()/86400
	step := (last-first)/maxColumns + 1
	c := chart{Unit: "day"}
	if step > 1 {
		c.Unit = fmt.Sprintf("%d days", step)
	}
	for day := first; day <= last; day += step {
		bar := column{Label: time.Unix(day*86400, 0).UTC().Format(time.DateOnly)}
		for d := day; d < day+step; d++ {
			bar.N += s.days[d]
		}
		c.Most = max(c.Most, bar.N)
		c.Bars = append(c.Bars, bar)
	}
	width := chartWidth / float64(len(c.Bars))
	every := (len(c.Bars) + 7) / 8
	for i := range c.Bars {
		b := &c.Bars[i]
		b.X, b.W = float64(i)*width+width*0.1, min(width*0.8, 60)
		b.H = chartHeight * float64(b.N) / float64(max(c.Most, 1))
		if b.N > 0 {
			b.H = max(b.H, 1)
		}
		b.Y = chartHeight - b.H
		if i%every == 0 && b.X < chartWidth-80 { // or it would be cut off
			b.Mark = b.Label
		}
	}
	return c
}

// thousands writes a number in groups of three digits.
func thousands(n any) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// short cuts what is long.
func short(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
