package verify

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Kind is what is wrong with an event.
type Kind string

// The kinds.
const (
	Missing    Kind = "missing"
	Duplicate  Kind = "duplicate"
	Altered    Kind = "altered"
	Incomplete Kind = "incomplete"
)

// Finding is one event with which something is wrong.
type Finding struct {
	Kind Kind      `json:"kind"`
	ID   string    `json:"id"`
	Time time.Time `json:"time,omitzero"`
	// Shown has the API show the event when it is read: its own time, or, where
	// the event was shown outside that, the reading that showed it.
	Shown audit.Interval `json:"-"`
	// Elsewhere says that Shown is not the event's own time.
	Elsewhere bool `json:"-"`
}

// Day is what there is of one day, UTC.
type Day struct {
	Date       string `json:"date"` // YYYY-MM-DD; "" for events without a time
	API        int    `json:"api"`
	Kafka      int    `json:"kafka"`
	Missing    int    `json:"missing"`
	Duplicate  int    `json:"duplicate"`
	Altered    int    `json:"altered"`
	Incomplete int    `json:"incomplete"`
}

// Report is the outcome. It holds the memory of the events with which something
// is wrong, however many they are; Findings and Write spell out one at a time.
type Report struct {
	OK       bool           `json:"ok"`
	Interval audit.Interval `json:"interval"`
	Days     []Day          `json:"days"`
	Erased   int            `json:"erased,omitempty"` // events that the API shows or Kafka holds, and that were erased on purpose

	c        *Comparison
	suspects []place // in order of time
}

// Report ends the comparison, which takes in nothing more.
func (c *Comparison) Report() Report {
	r := Report{Interval: c.interval, Days: []Day{}, c: c}
	days, wrong := make(map[int64]*Day), 0
	c.events.all(func(e *event, _ place) {
		switch {
		case e.has(erased):
			r.Erased++
		case c.count(e, days):
			wrong++
		}
	})
	r.OK = wrong == 0
	r.suspects = make([]place, 0, wrong)
	// Where little is wrong, the memory of all the rest is given back.
	keep, few := new(store), wrong < c.events.n/4
	c.events.all(func(e *event, at place) {
		if !e.wrong() {
			return
		}
		if few {
			at = keep.add(e, len(r.suspects))
		}
		r.suspects = append(r.suspects, at)
	})
	if few {
		c.events.store = *keep
	}
	c.events.dir = nil
	for _, d := range days {
		r.Days = append(r.Days, *d)
	}
	slices.SortFunc(r.Days, func(a, b Day) int { return strings.Compare(a.Date, b.Date) })
	slices.SortFunc(r.suspects, func(a, b place) int { return r.compare(r.event(a), r.event(b)) })
	return r
}

// count adds an event to its day and reports whether anything is wrong with it.
func (c *Comparison) count(e *event, days map[int64]*Day) bool {
	number, date := int64(math.MinInt64), ""
	at := time.UnixMilli(e.ms()).UTC()
	if e.has(timed) {
		number = at.Truncate(24 * time.Hour).Unix()
	}
	day := days[number]
	if day == nil {
		if e.has(timed) {
			date = at.Format(time.DateOnly)
		}
		day = &Day{Date: date}
		days[number] = day
	}
	if e.has(shown) {
		day.API++
	}
	raw := e.raw()
	if raw == rawMax {
		raw += c.surplus[e.key]
	}
	day.Kafka += raw
	for kind := range e.kinds() {
		*day.of(kind)++
	}
	return e.wrong()
}

// wrong reports whether anything is.
func (e *event) wrong() bool {
	return !e.has(erased) && (e.raw() != 1 || e.has(altered) || !e.has(whole))
}

func (d *Day) of(kind Kind) *int {
	switch kind {
	case Missing:
		return &d.Missing
	case Duplicate:
		return &d.Duplicate
	case Altered:
		return &d.Altered
	default:
		return &d.Incomplete
	}
}

// kinds is what is wrong with the event, in the order of a report.
func (e *event) kinds() iter.Seq[Kind] {
	return func(yield func(Kind) bool) {
		if e.raw() == 0 {
			yield(Missing)
			return
		}
		_ = (!e.has(altered) || yield(Altered)) &&
			(e.raw() == 1 || yield(Duplicate)) &&
			(e.has(whole) || yield(Incomplete))
	}
}

func (r *Report) event(at place) *event { return r.c.events.store.event(at) }

// compare orders events by time, those without one first, and then by id.
func (r *Report) compare(a, b *event) int {
	if !a.has(timed) || !b.has(timed) {
		if a.has(timed) != b.has(timed) {
			if a.has(timed) {
				return 1
			}
			return -1
		}
	} else if n := cmp.Compare(a.ms(), b.ms()); n != 0 {
		return n
	}
	return strings.Compare(r.c.events.id(a), r.c.events.id(b))
}

// Findings are what is wrong, in order of time; those without one come first.
func (r *Report) Findings() iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, s := range r.suspects {
			e := r.event(s)
			f := r.c.finding(e)
			for f.Kind = range e.kinds() {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// finding is what is known of an event with which something is wrong, but for the kind.
func (c *Comparison) finding(e *event) Finding {
	f := Finding{ID: c.events.id(e), Elsewhere: !e.has(timed) || e.has(elsewhere)}
	at := time.UnixMilli(e.ms()).UTC()
	if e.has(timed) {
		f.Time = at
	}
	f.Shown = audit.Interval{From: at, To: at.Add(time.Millisecond)}
	if e.has(elsewhere) {
		f.Shown.From = time.UnixMilli(c.elsewhere[e.key]).UTC()
	}
	if f.Elsewhere {
		f.Shown.To = f.Shown.From.Add(c.longest)
	}
	return f
}

// Count is how many findings there are of a kind.
func (r *Report) Count(kind Kind) (n int) {
	for i := range r.Days {
		n += *r.Days[i].of(kind)
	}
	return n
}

// WriteJSON writes the report as one JSON object: ok, interval, days, findings.
func (r *Report) WriteJSON(out io.Writer) error {
	w := bufio.NewWriter(out)
	head, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, _ = w.Write(head[:len(head)-1]) // Flush tells of an error
	_, _ = w.WriteString(`,"findings":[`)
	first := true
	for f := range r.Findings() {
		line, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if !first {
			_ = w.WriteByte(',')
		}
		first = false
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	_, _ = w.WriteString("]}\n")
	return w.Flush()
}

// Print writes a line for each finding, then a table with a line for each day.
func (r *Report) Print(out io.Writer) error {
	lines := bufio.NewWriter(out)
	for f := range r.Findings() {
		line := string(f.Kind) + " " + f.ID
		if f.Kind == Missing && !f.Time.IsZero() {
			line += " " + f.Time.Format(audit.TimeFormat)
		}
		if _, err := fmt.Fprintln(lines, line); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(lines, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "day\tin API\tin Kafka\tmissing\tduplicate\taltered\tincomplete\t")
	var sum Day
	for _, d := range r.Days {
		row(w, cmp.Or(d.Date, "no time"), d)
		sum.API, sum.Kafka, sum.Missing = sum.API+d.API, sum.Kafka+d.Kafka, sum.Missing+d.Missing
		sum.Duplicate, sum.Altered, sum.Incomplete = sum.Duplicate+d.Duplicate, sum.Altered+d.Altered, sum.Incomplete+d.Incomplete
	}
	row(w, "all", sum)
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Erased > 0 {
		fmt.Fprintf(lines, "%d erased on purpose, and not compared\n", r.Erased)
	}
	return lines.Flush()
}

func row(w io.Writer, name string, d Day) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, d.API, d.Kafka, d.Missing, d.Duplicate, d.Altered, d.Incomplete)
}
