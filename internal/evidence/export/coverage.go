package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// coverage is what was known of the interval's time at the checkpoint.
type coverage struct {
	// Unknown says why nothing can be said, "" where it can.
	Unknown string
	Streams []stream // those with holes first
	More    int      // streams that have no line
	Holes   []hole   // the first ones
	HolesOf int      // how many there are
	Whole   bool     // every stream has read all of the interval
}

// stream is a line of the picture.
type stream struct {
	Name    string
	Bars    []bar
	Percent string // of the interval that was read
	share   float64
}

// bar is a part of a line, in thousandths of its width.
type bar struct {
	X, Width float64
	Class    string // covered, wanted, gap, unread
}

// hole is time of the interval that was not read.
type hole struct {
	Stream   string
	From, To time.Time
	Class    string
	Reason   string
}

const (
	maxStreams = 16
	maxHoles   = 300
	maxBars    = 2000 // of a line
)

// coverageOf reads the coverage that a record of the log holds.
func coverageOf(text json.RawMessage, asked audit.Interval) coverage {
	var known map[string]struct {
		Covered, Wanted audit.IntervalSet
		Gaps            []struct {
			From, To time.Time
			Reason   string
		}
		SHA256 string
	}
	if err := json.Unmarshal(text, &known); err != nil {
		return coverage{Unknown: "the log's newest record does not say it in a form that is known here"}
	}
	if o, ok := known["omitted"]; ok && o.SHA256 != "" {
		return coverage{Unknown: "it has so many parts that the log's record has only its hash"}
	}
	c := coverage{Whole: len(known) > 0}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		k := known[name]
		s := stream{Name: name}
		rest := audit.NewIntervalSet(asked)
		take := func(set audit.IntervalSet, class, reason string) {
			set = set.Subtract(set.Subtract(rest))
			rest = rest.Subtract(set)
			s.draw(set, asked, class)
			if class != "covered" {
				c.note(name, set, class, reason)
			}
		}
		take(k.Covered, "covered", "")
		for _, g := range k.Gaps {
			take(audit.NewIntervalSet(audit.Interval{From: g.From, To: g.To}), "gap", g.Reason)
		}
		take(k.Wanted, "wanted", "not read yet")
		take(rest, "unread", "not asked for: before the connector's start, or after its newest reading")
		s.share = 100 * float64(k.Covered.Clip(asked).Length()) / float64(max(asked.Length(), 1))
		s.Percent = percent(s.share)
		c.Whole = c.Whole && s.share == 100
		c.Streams = append(c.Streams, s)
	}
	slices.SortStableFunc(c.Streams, func(a, b stream) int { return cmp.Compare(a.share, b.share) })
	c.More = max(0, len(c.Streams)-maxStreams)
	c.Streams = c.Streams[:len(c.Streams)-c.More]
	slices.SortStableFunc(c.Holes, func(a, b hole) int {
		return cmp.Or(strings.Compare(a.Class, b.Class), a.From.Compare(b.From), strings.Compare(a.Stream, b.Stream))
	})
	return c
}

func (c *coverage) note(name string, set audit.IntervalSet, class, reason string) {
	for _, i := range set {
		if c.HolesOf++; len(c.Holes) < maxHoles {
			c.Holes = append(c.Holes, hole{name, i.From, i.To, class, reason})
		}
	}
}

// draw adds bars for what is of a class.
func (s *stream) draw(set audit.IntervalSet, asked audit.Interval, class string) {
	whole := float64(max(asked.Length(), 1))
	for _, i := range set {
		if len(s.Bars) == maxBars {
			return
		}
		x := 1000 * float64(i.From.Sub(asked.From)) / whole
		s.Bars = append(s.Bars, bar{x, max(1000*float64(i.Length())/whole, 1.5), class})
	}
}

// percent never says 100 or 0 of what is only nearly so.
func percent(share float64) string {
	switch {
	case share == 0 || share == 100:
		return fmt.Sprintf("%.0f %%", share)
	case share < 0.1:
		return "under 0.1 %"
	case share > 99.9:
		return "over 99.9 %"
	}
	return fmt.Sprintf("%.1f %%", share)
}
