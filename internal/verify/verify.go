// Package verify compares what the API shows with what Kafka holds, event by
// event.
//
// It promises that every difference has a name: an event that the API shows and
// the raw topic lacks is missing; one that stands there twice is duplicate; one
// whose bytes do not match the digest that was published with them is altered;
// one whose change records are not 0 to changeCount-1, once each, is incomplete.
// It refuses to know how either side is read.
package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Kind is what is wrong with an event.
type Kind string

// The kinds, in the order of a report.
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

// Report is the outcome.
type Report struct {
	OK       bool           `json:"ok"`
	Interval audit.Interval `json:"interval"`
	Days     []Day          `json:"days"`
	Findings []Finding      `json:"findings"`
}

// Comparison takes in both sides, the API first, and is some 200 bytes an event.
type Comparison struct {
	interval audit.Interval
	events   map[string]*event
}

type event struct {
	at      int64 // ms since 1970; 0 where unknown
	raw     int
	api     bool
	altered bool
	changes changes
}

// changes are the change records of an event that were found.
type changes struct {
	count  int      // as the records say
	found  []uint64 // bits by changeIndex
	number int
	wrong  bool // two that contradict each other, or one twice
}

// New compares what lies in the interval.
func New(interval audit.Interval) *Comparison {
	return &Comparison{interval: interval, events: make(map[string]*event)}
}

// API takes in an event that the API shows; at is zero where it has no time.
func (c *Comparison) API(id string, at time.Time) {
	e := c.event(id)
	e.api = true
	if !at.IsZero() {
		e.at = at.UnixMilli()
	}
}

// Raw takes in a record of the raw topic. digest is its header sha256.
func (c *Comparison) Raw(id string, at time.Time, digest, value []byte) {
	if !c.concerns(id, at) {
		return
	}
	e := c.event(id)
	e.raw++
	if !at.IsZero() {
		e.at = at.UnixMilli()
	}
	sum := sha256.Sum256(value)
	e.altered = e.altered || hex.EncodeToString(sum[:]) != string(digest)
}

// Change takes in a record of the changes topic.
func (c *Comparison) Change(id string, at time.Time, index, count int) {
	if c.concerns(id, at) {
		c.event(id).changes.add(index, count)
	}
}

// concerns tells whether an event of Kafka is part of the comparison. What the
// API showed is, whatever time the event itself claims, or none at all.
func (c *Comparison) concerns(id string, at time.Time) bool {
	if _, shown := c.events[id]; shown {
		return true
	}
	return !at.IsZero() && c.interval.Contains(at)
}

func (c *Comparison) event(id string) *event {
	e := c.events[id]
	if e == nil {
		e = new(event)
		c.events[id] = e
	}
	return e
}

// maxChanges bounds what a changeIndex can make us allocate.
const maxChanges = 1 << 24

func (c *changes) add(index, count int) {
	if index < 0 || index >= count || count > maxChanges || c.number > 0 && count != c.count {
		c.wrong = true
		return
	}
	c.count = count
	for index/64 >= len(c.found) {
		c.found = append(c.found, 0)
	}
	bit := uint64(1) << (index % 64)
	c.wrong = c.wrong || c.found[index/64]&bit != 0
	c.found[index/64] |= bit
	c.number++
}

func (c *changes) complete() bool { return !c.wrong && c.number > 0 && c.number == c.count }

// Report tells what was found, by time.
func (c *Comparison) Report() Report {
	r := Report{OK: true, Interval: c.interval, Days: []Day{}, Findings: []Finding{}}
	days := make(map[string]*Day)
	for id, e := range c.events {
		var at time.Time
		date := ""
		if e.at != 0 {
			at = time.UnixMilli(e.at).UTC()
			date = at.Format(time.DateOnly)
		}
		day := days[date]
		if day == nil {
			day = &Day{Date: date}
			days[date] = day
		}
		if e.api {
			day.API++
		}
		day.Kafka += e.raw
		find := func(kind Kind, n *int) {
			*n++
			r.OK = false
			r.Findings = append(r.Findings, Finding{kind, id, at})
		}
		switch {
		case e.raw == 0:
			find(Missing, &day.Missing)
			continue
		case e.raw > 1:
			find(Duplicate, &day.Duplicate)
		}
		if e.altered {
			find(Altered, &day.Altered)
		}
		if !e.changes.complete() {
			find(Incomplete, &day.Incomplete)
		}
	}
	for _, d := range days {
		r.Days = append(r.Days, *d)
	}
	slices.SortFunc(r.Days, func(a, b Day) int { return strings.Compare(a.Date, b.Date) })
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		if n := a.Time.Compare(b.Time); n != 0 {
			return n
		}
		return strings.Compare(a.ID+string(a.Kind), b.ID+string(b.Kind))
	})
	return r
}

// IDs are the findings of a kind.
func (r Report) IDs(kind Kind) []string {
	var ids []string
	for _, f := range r.Findings {
		if f.Kind == kind {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// Print writes a line for each finding, then a table with a line for each day.
func (r Report) Print(out io.Writer) error {
	for _, f := range r.Findings {
		line := string(f.Kind) + " " + f.ID
		if f.Kind == Missing && !f.Time.IsZero() {
			line += " " + f.Time.Format(audit.TimeFormat)
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "day\tin API\tin Kafka\tmissing\tduplicate\taltered\tincomplete\t")
	var sum Day
	for _, d := range r.Days {
		row(w, orElse(d.Date, "no time"), d)
		sum.API, sum.Kafka, sum.Missing = sum.API+d.API, sum.Kafka+d.Kafka, sum.Missing+d.Missing
		sum.Duplicate, sum.Altered, sum.Incomplete = sum.Duplicate+d.Duplicate, sum.Altered+d.Altered, sum.Incomplete+d.Incomplete
	}
	row(w, "all", sum)
	return w.Flush()
}

func row(w io.Writer, name string, d Day) {
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, d.API, d.Kafka, d.Missing, d.Duplicate, d.Altered, d.Incomplete)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
