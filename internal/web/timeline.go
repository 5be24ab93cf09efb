package web

import (
	"fmt"
	"time"

	"genesys-audit-connector/internal/audit"
)

// A timeline shows which time of each stream is covered, on one scale for all.
// Everything is placed in percent of the width, so that it fits any screen.
type timeline struct {
	Title string
	Ticks []tick
	Rows  []timelineRow
}

type tick struct {
	X     percent
	Label string
	Minor bool // left out on a narrow screen
}

type timelineRow struct {
	Stream string
	Label  string // for people who cannot see it
	Bars   []bar  // later ones lie on earlier ones
	Edge   *percent
	Beyond percent // what the API has forgotten: from 0 to here
}

type bar struct {
	Class string
	X, W  percent
	Title string
}

type percent float64

func (p percent) String() string { return fmt.Sprintf("%.3f%%", float64(p)) }

const (
	recently time.Duration = 24 * time.Hour
	// A bar narrower than this cannot be seen, and what is missing must be seen.
	minMissing percent = 0.4
	// Two bars of a kind that are nearer to each other than this look like one.
	minApart percent = 0.05
	maxTicks int     = 8
)

// timelines are one of everything there is, and one of the last day where
// a day is too little of that to be seen.
func timelines(s *Snapshot) []timeline {
	now := s.apiNow()
	all := audit.Interval{From: now.Add(-time.Hour), To: now}
	for i := range s.Streams {
		st := &s.Streams[i]
		sets := []audit.IntervalSet{st.Covered, st.Wanted, st.Reading}
		for _, g := range st.Gaps {
			sets = append(sets, audit.IntervalSet{g.Interval})
		}
		for _, set := range sets {
			if len(set) > 0 && set.First().Before(all.From) {
				all.From = set.First()
			}
		}
	}
	whole := newTimeline("Everything, "+human(all.Length().Truncate(time.Minute)), s, all)
	if all.Length() < 3*recently {
		return []timeline{whole}
	}
	return []timeline{newTimeline("The last 24 hours", s, audit.Interval{From: now.Add(-recently), To: now}), whole}
}

func newTimeline(title string, s *Snapshot, frame audit.Interval) timeline {
	t := timeline{Title: title, Ticks: ticks(frame)}
	shown, folded := fold(s.Streams, frame)
	for i := range shown {
		t.Rows = append(t.Rows, newTimelineRow(&shown[i], frame, s.Now))
	}
	if folded != nil {
		t.Rows = append(t.Rows, newTimelineRow(folded, frame, s.Now))
	}
	return t
}

// foldFrom is how many streams with nothing to see it takes to show them as one.
const foldFrom = 4

// fold makes one stream of all those that miss nothing in the frame, so that
// those that do can be seen among two dozen. It covers what all of them cover.
func fold(streams []Stream, frame audit.Interval) (single []Stream, folded *Stream) {
	quiet := 0
	for i := range streams {
		if streams[i].quiet(frame) {
			quiet++
		}
	}
	if quiet < foldFrom {
		return streams, nil
	}
	folded = &Stream{Name: count(quiet, "stream") + " without a gap", Covered: audit.IntervalSet{frame}}
	for i := range streams {
		st := &streams[i]
		if !st.quiet(frame) {
			single = append(single, *st)
			continue
		}
		folded.Covered = folded.Covered.Subtract(audit.IntervalSet{frame}.Subtract(st.Covered))
		if st.Edge.After(folded.Edge) {
			folded.Edge = st.Edge
		}
	}
	return single, folded
}

// quiet reports whether there is nothing to be seen of the stream in the frame
// but that it is covered as far as it should be.
func (s *Stream) quiet(frame audit.Interval) bool {
	for _, g := range s.Gaps {
		if !g.Intersect(frame).Empty() {
			return false
		}
	}
	return s.Lag < lagWarns && len(s.Wanted.Clip(frame)) == 0 && len(s.Covered) > 0
}

func newTimelineRow(s *Stream, frame audit.Interval, now time.Time) timelineRow {
	row := timelineRow{Stream: shown(s.Name, 2*maxName), Label: s.describe(frame, now)}
	row.bars("covered", s.Covered, frame, 0, "")
	if last := s.Covered.Last(); len(s.Covered) > 0 {
		row.bars("wanted", audit.IntervalSet{{From: last, To: frame.To}}, frame, 0, "not read yet")
	}
	row.bars("wanted", s.Wanted, frame, minMissing, "left to read")
	row.bars("reading", s.Reading, frame, minMissing, "being read")
	for _, g := range s.Gaps {
		row.bars("gap", audit.IntervalSet{g.Interval}, frame, minMissing,
			"gap "+span(g.From, g.To, now)+": "+shown(g.Reason, maxValue))
	}
	if x := place(s.Edge, frame); !s.Edge.IsZero() && x > 0 && x < 100 {
		row.Edge, row.Beyond = &x, x
	}
	return row
}

// bars adds what of the set is in the frame, none of it narrower than least.
func (r *timelineRow) bars(class string, set audit.IntervalSet, frame audit.Interval, least percent, title string) {
	start := len(r.Bars)
	for _, i := range set.Clip(frame) {
		x, end := place(i.From, frame), place(i.To, frame)
		w := max(least, end-x)
		x = min(x, 100-w)
		if n := len(r.Bars); n > start && x-(r.Bars[n-1].X+r.Bars[n-1].W) < minApart {
			r.Bars[n-1].W = max(r.Bars[n-1].W, x+w-r.Bars[n-1].X)
			continue
		}
		r.Bars = append(r.Bars, bar{class, x, w, title})
	}
}

func place(t time.Time, frame audit.Interval) percent {
	return percent(100 * float64(t.Sub(frame.From)) / float64(frame.Length()))
}

// describe says in words what the timeline of the stream shows.
func (s *Stream) describe(frame audit.Interval, now time.Time) string {
	covered := s.Covered.Clip(frame)
	text := shown(s.Name, maxName) + ": nothing covered"
	if len(covered) > 0 {
		text = fmt.Sprintf("%s: %.4g %% covered, up to %s", shown(s.Name, maxName),
			100*float64(covered.Length())/float64(frame.Length()), stamp(covered.Last(), now))
	}
	if left := s.Wanted.Clip(frame); len(left) > 0 {
		text += ", " + human(left.Length()) + " left to read"
	}
	n := 0
	for _, g := range s.Gaps {
		if !g.Intersect(frame).Empty() {
			n++
		}
	}
	if n > 0 {
		text += ", " + count(n, "gap")
	}
	return text
}

// tickSteps are the distances between ticks to choose from, and how each is labelled.
var tickSteps = []struct {
	step   time.Duration
	layout string
}{
	{10 * time.Minute, "15:04"}, {30 * time.Minute, "15:04"}, {time.Hour, "15:04"}, {3 * time.Hour, "15:04"},
	{6 * time.Hour, "2 Jan 15:04"}, {12 * time.Hour, "2 Jan 15:04"}, {24 * time.Hour, "2 Jan"}, {2 * 24 * time.Hour, "2 Jan"},
	{7 * 24 * time.Hour, "2 Jan"}, {14 * 24 * time.Hour, "2 Jan"}, {30 * 24 * time.Hour, "2 Jan 2006"},
	{90 * 24 * time.Hour, "2 Jan 2006"}, {365 * 24 * time.Hour, "2006"},
}

func ticks(frame audit.Interval) []tick {
	choice := tickSteps[len(tickSteps)-1]
	for _, c := range tickSteps {
		if int(frame.Length()/c.step) <= maxTicks {
			choice = c
			break
		}
	}
	var list []tick
	for at := frame.From.UTC().Truncate(choice.step).Add(choice.step); at.Before(frame.To); at = at.Add(choice.step) {
		x := place(at, frame)
		if x < 4 || x > 91 { // its label would leave the picture, or lie on "now"
			continue
		}
		list = append(list, tick{x, at.Format(choice.layout), len(list)%2 == 1 || x > 80})
	}
	return list
}
