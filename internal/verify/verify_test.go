package verify_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/verify"
)

var from = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

func digest(value string) []byte {
	sum := sha256.Sum256([]byte(value))
	return hex.AppendEncode(nil, sum[:])
}

// published takes an event in as Kafka holds it where all is right.
func published(c *verify.Comparison, id string, at time.Time) {
	c.Raw([]byte(id), at, digest("{}"), []byte("{}"))
	c.Change([]byte(id), at, 0, 1)
}

// TestEventsThatClaimAnotherTime has the API show events, in the interval that
// was asked for, whose own time lies elsewhere or nowhere. Those that are missing
// come with the reading that showed them, for that is where they can be read.
func TestEventsThatClaimAnotherTime(t *testing.T) {
	reading := audit.Interval{From: from.Add(5 * time.Hour), To: from.Add(6 * time.Hour)}
	within := reading.From.Add(time.Minute)
	for name, c := range map[string]struct {
		at    time.Time
		shown audit.Interval
	}{
		"in the reading":          {within, audit.Interval{From: within, To: within.Add(time.Millisecond)}},
		"within, another reading": {from.Add(time.Hour), reading},
		"before":                  {from.Add(-time.Hour), reading},
		"year 1":                  {time.Date(1, 1, 1, 0, 0, 0, 1e6, time.UTC), reading},
		"year 9999":               {time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC), reading},
		"before 1970":             {time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC), reading},
		"none":                    {time.Time{}, reading},
	} {
		t.Run(name, func(t *testing.T) {
			v := verify.New(audit.Interval{From: from, To: from.Add(24 * time.Hour)})
			v.API("shown", c.at, reading)
			v.API("lost", c.at, reading)
			published(v, "shown", c.at)
			v.Raw([]byte("of another day"), from.Add(-time.Hour), digest("{}"), []byte("{}")) // no business of this comparison
			r := v.Report()
			found := slices.Collect(r.Findings())
			want := verify.Finding{Kind: verify.Missing, ID: "lost", Time: c.at, Shown: c.shown, Elsewhere: !reading.Contains(c.at)}
			if len(found) != 1 || found[0] != want {
				t.Errorf("found %+v, want %+v", found, want)
			}
			if len(r.Days) != 1 || r.Days[0].API != 2 || r.Days[0].Kafka != 1 {
				t.Errorf("days %+v", r.Days)
			}
		})
	}
}

// TestShownInTwoReadings: one that holds the event's own time is enough to read it there.
func TestShownInTwoReadings(t *testing.T) {
	early := audit.Interval{From: from, To: from.Add(time.Hour)}
	late := audit.Interval{From: early.To, To: early.To.Add(time.Hour)}
	for _, order := range [][]audit.Interval{{early, late}, {late, early}} {
		v := verify.New(audit.Interval{From: from, To: from.Add(24 * time.Hour)})
		for _, reading := range order {
			v.API("a", from, reading)
		}
		r := v.Report()
		for f := range r.Findings() {
			if f.Elsewhere || f.Shown.From != from {
				t.Errorf("shown by %v: %+v", order, f)
			}
		}
		if r.Count(verify.Missing) != 1 {
			t.Errorf("%+v", r)
		}
	}
}

// TestReportText fixes what scripts read: the lines, the table and the JSON.
func TestReportText(t *testing.T) {
	reading := audit.Interval{From: from, To: from.Add(24 * time.Hour)}
	v := verify.New(reading)
	const uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
	v.API(uuid, from.Add(time.Hour), reading)
	v.API("timeless", time.Time{}, reading)
	v.API("right", from.Add(2*time.Hour), reading)
	published(v, "right", from.Add(2*time.Hour))
	v.Raw([]byte("twice"), from.Add(3*time.Hour), digest("{}"), []byte("{}"))
	v.Raw([]byte("twice"), from.Add(3*time.Hour), digest("{}"), []byte("{ }"))
	r := v.Report()
	for range 2 { // it can be written again
		var lines, object bytes.Buffer
		if err := r.Print(&lines); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteJSON(&object); err != nil {
			t.Fatal(err)
		}
		want := `missing timeless
missing ` + uuid + ` 2026-07-01T01:00:00.000Z
altered twice
duplicate twice
incomplete twice
         day  in API  in Kafka  missing  duplicate  altered  incomplete
     no time       1         0        1          0        0           0
  2026-07-01       2         3        1          1        1           1
         all       3         3        2          1        1           1
`
		if lines.String() != want {
			t.Errorf("printed:\n%s\nwant:\n%s", lines.String(), want)
		}
		want = `{"ok":false,"interval":["2026-07-01T00:00:00.000Z","2026-07-02T00:00:00.000Z"],"days":[` +
			`{"date":"","api":1,"kafka":0,"missing":1,"duplicate":0,"altered":0,"incomplete":0},` +
			`{"date":"2026-07-01","api":2,"kafka":3,"missing":1,"duplicate":1,"altered":1,"incomplete":1}],"findings":[` +
			`{"kind":"missing","id":"timeless"},` +
			`{"kind":"missing","id":"` + uuid + `","time":"2026-07-01T01:00:00Z"},` +
			`{"kind":"altered","id":"twice","time":"2026-07-01T03:00:00Z"},` +
			`{"kind":"duplicate","id":"twice","time":"2026-07-01T03:00:00Z"},` +
			`{"kind":"incomplete","id":"twice","time":"2026-07-01T03:00:00Z"}]}` + "\n"
		if object.String() != want {
			t.Errorf("JSON:\n%s\nwant:\n%s", object.String(), want)
		}
	}
	empty := verify.New(reading)
	r = empty.Report()
	var object bytes.Buffer
	if err := r.WriteJSON(&object); err != nil || !r.OK || !json.Valid(object.Bytes()) || !strings.Contains(object.String(), `"days":[],"findings":[]}`) {
		t.Errorf("of nothing: %v, %s", err, object.String())
	}
}

// TestChangeRecords: complete is 0 to count-1, once each, in whatever order.
func TestChangeRecords(t *testing.T) {
	type change struct{ index, count int }
	upTo := func(n int) (all []change) {
		for i := range n {
			all = append(all, change{i, n})
		}
		return all
	}
	reversed := func(c []change) []change { slices.Reverse(c); return c }
	for name, c := range map[string]struct {
		changes  []change
		complete bool
	}{
		"none":                      {nil, false},
		"one":                       {upTo(1), true},
		"one, twice":                {append(upTo(1), upTo(1)...), false},
		"three":                     {upTo(3), true},
		"three, reversed":           {reversed(upTo(3)), true},
		"three, twice":              {append(upTo(3), upTo(3)...), false},
		"one of three, twice":       {append(upTo(3), change{1, 3}), false},
		"the same again, at once":   {[]change{{0, 3}, {0, 3}, {1, 3}, {2, 3}}, false},
		"the last is lost":          {upTo(3)[:2], false},
		"the first is lost":         {upTo(3)[1:], false},
		"one between is lost":       {[]change{{0, 3}, {2, 3}}, false},
		"a hole that is filled":     {[]change{{0, 4}, {2, 4}, {3, 4}, {1, 4}}, true},
		"another count":             {[]change{{0, 3}, {1, 2}, {2, 3}}, false},
		"another count, reversed":   {[]change{{2, 3}, {1, 2}, {0, 3}}, false},
		"behind the count":          {append(upTo(3), change{3, 3}), false},
		"negative":                  {append(upTo(3), change{-1, 3}), false},
		"no count":                  {[]change{{0, 0}}, false},
		"beyond all bounds":         {[]change{{1 << 40, 1 << 41}}, false},
		"as many as 16 bits":        {upTo(1<<16 - 1), true},
		"more than 16 bits":         {upTo(1<<16 + 5), true},
		"more than 16 bits but one": {upTo(1<<16 + 5)[1:], false},
		"more than 16 bits, again":  {append(upTo(1<<16+5), change{0, 1<<16 + 5}), false},
	} {
		t.Run(name, func(t *testing.T) {
			v := verify.New(audit.Interval{From: from, To: from.Add(time.Hour)})
			v.Raw([]byte("a"), from, digest("{}"), []byte("{}"))
			for _, ch := range c.changes {
				v.Change([]byte("a"), from, ch.index, ch.count)
			}
			r := v.Report()
			if r.OK != c.complete || (r.Count(verify.Incomplete) == 0) != c.complete {
				t.Errorf("complete is %v: %+v", r.OK, r)
			}
		})
	}
}

// TestAgreesWithPlainMaps compares thousands of random comparisons' worth of
// events, ids of every kind, with what plain maps say.
func TestAgreesWithPlainMaps(t *testing.T) {
	type state struct {
		at           time.Time
		api, altered bool
		raw, changes int
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		reading := audit.Interval{From: from, To: from.Add(time.Hour)}
		v, model := verify.New(reading), map[string]*state{}
		ids := make([]string, 1+r.IntN(20_000>>(round%8)))
		for i := range ids {
			ids[i] = randomID(r)
			model[ids[i]] = &state{at: from.Add(time.Duration(r.IntN(3600_000)) * time.Millisecond)}
		}
		for _, id := range ids {
			s := model[id]
			if r.IntN(10) > 0 {
				v.API(id, s.at, reading)
				s.api = true
			}
		}
		for range len(ids) + len(ids)/5 {
			id := ids[r.IntN(len(ids))]
			s, value := model[id], "{}"
			if r.IntN(20) == 0 {
				value = "{ }"
				s.altered = true
			}
			v.Raw([]byte(id), s.at, digest("{}"), []byte(value))
			s.raw++
			if s.changes == 0 || r.IntN(20) == 0 {
				v.Change([]byte(id), s.at, 0, 1)
				s.changes++
			}
		}
		for range 300 { // more copies of one than a few bits count
			v.Raw([]byte(ids[0]), model[ids[0]].at, digest("{}"), []byte("{}"))
			model[ids[0]].raw++
		}
		var want []string
		kafka := 0
		for id, s := range model {
			kafka += s.raw
			if s.raw == 0 {
				if s.api {
					want = append(want, "missing "+id)
				}
				continue
			}
			if s.raw > 1 {
				want = append(want, "duplicate "+id)
			}
			if s.altered {
				want = append(want, "altered "+id)
			}
			if s.changes != 1 {
				want = append(want, "incomplete "+id)
			}
		}
		report := v.Report()
		var got []string
		last := time.Time{}
		for f := range report.Findings() {
			got = append(got, string(f.Kind)+" "+f.ID)
			if f.Time.Before(last) || !f.Time.Equal(model[f.ID].at) {
				t.Fatalf("%+v after %v", f, last)
			}
			last = f.Time
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: %d findings, %d expected", round, len(got), len(want))
		}
		if report.Days[0].Kafka != kafka {
			t.Fatalf("%d records in Kafka, %d expected", report.Days[0].Kafka, kafka)
		}
	}
}

// randomID is a UUID mostly, or one that is easily taken for another.
func randomID(r *rand.Rand) string {
	var u [16]byte
	for i := range u {
		u[i] = byte(r.Uint32())
	}
	switch r.IntN(6) {
	case 0:
		return strings.ToUpper(audit.FormatUUID(u))
	case 1:
		return "sha256:" + hex.EncodeToString(u[:]) + hex.EncodeToString(u[:])
	case 2:
		return string(u[:]) // the bytes of a UUID
	case 3:
		return fmt.Sprint(r.IntN(1000))
	default:
		return audit.FormatUUID(u)
	}
}

func TestHugeAndEmptyIDs(t *testing.T) {
	reading := audit.Interval{From: from, To: from.Add(time.Hour)}
	v := verify.New(reading)
	ids := []string{"", "00000000-0000-0000-0000-000000000000", strings.Repeat("x", 3<<20), strings.Repeat("x", 3<<20-1), "x"}
	for _, id := range ids {
		v.API(id, from, reading)
	}
	r := v.Report()
	var got []string
	for f := range r.Findings() {
		got = append(got, f.ID)
	}
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("%d of %d ids came back", len(got), len(ids))
	}
}
