package offsets

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// origin is minute 0 of the tests.
var origin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return origin.Add(time.Duration(n) * time.Minute) }

func minutes(from, to int) audit.Interval { return audit.Interval{From: minute(from), To: minute(to)} }

func set(pairs ...int) (s audit.IntervalSet) {
	for p := range slices.Chunk(pairs, 2) {
		s = s.Add(minutes(p[0], p[1]))
	}
	return s
}

func gap(from, to int, reason string) Gap {
	return Gap{Interval: minutes(from, to), Kind: Expired, Reason: reason}
}

func text(l Ledger) string {
	b, err := l.MarshalJSON()
	if err != nil {
		panic(err)
	}
	return string(b)
}

func refused(from, to int, id string) Gap {
	return Gap{Interval: minutes(from, to), Kind: Refused, Reason: "too large", ID: id, Size: 9}
}

func TestLedgerOperations(t *testing.T) {
	for _, c := range []struct {
		name string
		from Ledger
		do   func(Ledger) Ledger
		want Ledger
	}{
		{"cover what is wanted and what is a gap",
			Ledger{Wanted: set(0, 4), Gaps: []Gap{gap(4, 8, "old")}},
			func(l Ledger) Ledger { return l.Cover(minutes(2, 6)) },
			Ledger{Covered: set(2, 6), Wanted: set(0, 2), Gaps: []Gap{gap(6, 8, "old")}}},
		{"cover all but the events that a topic did not take",
			Ledger{Wanted: set(0, 9), Gaps: []Gap{refused(20, 21, "a")}},
			func(l Ledger) Ledger { return l.Cover(minutes(10, 30)) },
			Ledger{Covered: set(10, 20, 21, 30), Wanted: set(0, 9), Gaps: []Gap{refused(20, 21, "a")}}},
		{"want what is not covered, a gap too",
			Ledger{Covered: set(2, 4), Gaps: []Gap{gap(4, 9, "old")}},
			func(l Ledger) Ledger { return l.Want(minutes(0, 6)) },
			Ledger{Covered: set(2, 4), Wanted: set(0, 2, 4, 6), Gaps: []Gap{gap(6, 9, "old")}}},
		{"want leaves out an event that a topic did not take",
			Ledger{Gaps: []Gap{refused(3, 4, "a")}},
			func(l Ledger) Ledger { return l.Want(minutes(0, 6)) },
			Ledger{Wanted: set(0, 3, 4, 6), Gaps: []Gap{refused(3, 4, "a")}}},
		{"a gap takes what is wanted, never what is covered",
			Ledger{Covered: set(2, 4), Wanted: set(0, 2, 4, 6)},
			func(l Ledger) Ledger { return l.AddGap(gap(0, 5, "old")) },
			Ledger{Covered: set(2, 4), Wanted: set(5, 6), Gaps: []Gap{gap(0, 2, "old"), gap(4, 5, "old")}}},
		{"gaps that touch are one if the reason is one",
			Ledger{Gaps: []Gap{gap(0, 2, "old"), gap(4, 6, "other")}},
			func(l Ledger) Ledger { return l.AddGap(gap(2, 4, "old")) },
			Ledger{Gaps: []Gap{gap(0, 4, "old"), gap(4, 6, "other")}}},
		{"the newer reason counts",
			Ledger{Gaps: []Gap{gap(0, 6, "old")}},
			func(l Ledger) Ledger { return l.AddGap(gap(2, 4, "new")) },
			Ledger{Gaps: []Gap{gap(0, 2, "old"), gap(2, 4, "new"), gap(4, 6, "old")}}},
		{"an event that a topic did not take is not covered",
			Ledger{Covered: set(0, 6)},
			func(l Ledger) Ledger { return l.AddGap(refused(2, 3, "a")).AddGap(refused(2, 3, "b")) },
			Ledger{Covered: set(0, 2, 3, 6), Gaps: []Gap{refused(2, 3, "a"), refused(2, 3, "b")}}},
		{"one event is one gap",
			Ledger{Covered: set(0, 6)},
			func(l Ledger) Ledger { return l.AddGap(refused(2, 3, "a")).AddGap(refused(2, 3, "a")) },
			Ledger{Covered: set(0, 2, 3, 6), Begun: set(2, 3), Gaps: []Gap{refused(2, 3, "a")}}},
		{"the time of a healed event stays a gap as long as its neighbour is one",
			Ledger{Covered: set(0, 2), Gaps: []Gap{refused(2, 3, "a"), refused(2, 3, "b")}},
			func(l Ledger) Ledger { return l.Heal("a") },
			Ledger{Covered: set(0, 2), Begun: set(2, 3), Gaps: []Gap{refused(2, 3, "b")}}},
		{"the time of the last that is healed is read to its end", Ledger{Covered: set(0, 2), Gaps: []Gap{gap(1, 2, "x"), refused(2, 3, "b")}},
			func(l Ledger) Ledger { return l.Heal("b") },
			Ledger{Covered: set(0, 2), Wanted: set(2, 3), Begun: set(2, 3), Gaps: []Gap{gap(1, 2, "x")}}},
		{"what is doubted is wanted again, and was begun",
			Ledger{Covered: set(0, 9), Gaps: []Gap{gap(9, 12, "old")}},
			func(l Ledger) Ledger { return l.Doubt(minutes(6, 14)) },
			Ledger{Covered: set(0, 6), Wanted: set(6, 9, 12, 14), Begun: set(6, 9), Gaps: []Gap{gap(9, 12, "old")}}},
		{"what is begun is not covered, and is over once it is",
			Ledger{Covered: set(0, 4), Wanted: set(4, 20)},
			func(l Ledger) Ledger { return l.Begin(minutes(2, 12)).Cover(minutes(4, 8)) },
			Ledger{Covered: set(0, 8), Wanted: set(8, 20), Begun: set(8, 12)}},
		{"merged gaps take what lies between them, but for what is wanted",
			Ledger{Covered: set(0, 2, 3, 6, 9, 12), Wanted: set(7, 9), Gaps: []Gap{refused(2, 3, "a"), refused(6, 7, "b"), refused(12, 13, "c")}},
			func(l Ledger) Ledger { return l.Merge(Gap{Interval: minutes(2, 13), Kind: Refused, Reason: "many"}) },
			Ledger{Covered: set(0, 2), Wanted: set(7, 9), Begun: set(2, 7, 9, 13), Gaps: []Gap{
				{minutes(2, 7), Refused, "many", "", 0}, {minutes(9, 13), Refused, "many", "", 0}}}},
		{"a merged gap tells of the refused events in it",
			Ledger{Covered: set(0, 2), Gaps: []Gap{{minutes(2, 7), Refused, "many", "", 0}}},
			func(l Ledger) Ledger { return l.AddGap(refused(3, 4, "a")).Cover(minutes(1, 9)) },
			Ledger{Covered: set(0, 2, 7, 9), Gaps: []Gap{{minutes(2, 7), Refused, "many", "", 0}}}},
		{"a gap that was read is filled",
			Ledger{Covered: set(0, 2), Gaps: []Gap{{minutes(2, 7), Refused, "many", "", 0}}},
			func(l Ledger) Ledger { return l.Fill(minutes(2, 7)) },
			Ledger{Covered: set(0, 7)}},
		{"no id heals nothing", Ledger{Gaps: []Gap{gap(1, 2, "x")}},
			func(l Ledger) Ledger { return l.Heal("") },
			Ledger{Gaps: []Gap{gap(1, 2, "x")}}},
		{"nothing", Ledger{Covered: set(0, 1)},
			func(l Ledger) Ledger {
				return l.Cover(minutes(3, 3)).Want(minutes(4, 2)).AddGap(gap(5, 5, "x")).AddGap(refused(5, 5, "x")).Heal("y")
			},
			Ledger{Covered: set(0, 1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := text(c.from)
			got := text(c.do(c.from))
			if want := text(c.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if after := text(c.from); after != before {
				t.Errorf("the ledger itself changed: %s", after)
			}
		})
	}
}

// grid is the model: what is known about each minute.
type grid struct {
	covered, wanted [gridSize]bool
	reason          [gridSize]string
	refused         map[string]int // the minute of each event that a topic did not take
}

const gridSize = 24

func (g *grid) hole(m int) bool {
	for _, at := range g.refused {
		if at == m {
			return true
		}
	}
	return false
}

// step does one random thing to ledger and model. It returns what, for the log.
func (g *grid) step(r *rand.Rand, l Ledger) (Ledger, string) {
	from := r.IntN(gridSize)
	to := from + r.IntN(gridSize-from+1)
	id := string(rune('a' + r.IntN(4)))
	switch r.IntN(8) {
	case 0, 1:
		for m := from; m < to; m++ {
			if !g.hole(m) {
				g.covered[m], g.wanted[m], g.reason[m] = true, false, ""
			}
		}
		return l.Cover(minutes(from, to)), fmt.Sprint("cover ", from, to)
	case 2, 3:
		for m := from; m < to; m++ {
			if !g.hole(m) && !g.covered[m] {
				g.wanted[m], g.reason[m] = true, ""
			}
		}
		return l.Want(minutes(from, to)), fmt.Sprint("want ", from, to)
	case 4, 5:
		reason := []string{"old", "broken"}[r.IntN(2)]
		for m := from; m < to; m++ {
			if !g.hole(m) && !g.covered[m] {
				g.wanted[m], g.reason[m] = false, reason
			}
		}
		return l.AddGap(gap(from, to, reason)), fmt.Sprint("gap ", from, to, reason)
	case 6:
		if from == gridSize {
			return l, "nothing"
		}
		g.heal(id)
		g.refused[id] = from
		g.covered[from], g.wanted[from], g.reason[from] = false, false, ""
		return l.AddGap(refused(from, from+1, id)), fmt.Sprint("refused ", from, id)
	default:
		g.heal(id)
		return l.Heal(id), "heal " + id
	}
}

func (g *grid) heal(id string) {
	m, ok := g.refused[id]
	if !ok {
		return
	}
	delete(g.refused, id)
	if !g.hole(m) {
		g.covered[m], g.wanted[m], g.reason[m] = false, true, ""
	}
}

// check compares what the ledger says about each minute with the model, and
// holds it against what is promised: disjoint, sorted, joined.
func (g *grid) check(t *testing.T, l Ledger) {
	t.Helper()
	for m := range gridSize {
		var reason string
		var ids []string
		for _, gap := range l.Gaps {
			switch in := gap.Contains(minute(m)); {
			case in && gap.ID != "":
				ids = append(ids, gap.ID)
			case in && reason != "":
				t.Fatalf("minute %d is in two gaps", m)
			case in:
				reason = gap.Reason
			}
		}
		if l.Covered.Contains(minute(m)) != g.covered[m] || l.Wanted.Contains(minute(m)) != g.wanted[m] || reason != g.reason[m] {
			t.Fatalf("minute %d: covered %v, wanted %v, reason %q; the model says %v, %v, %q", m,
				l.Covered.Contains(minute(m)), l.Wanted.Contains(minute(m)), reason, g.covered[m], g.wanted[m], g.reason[m])
		}
		slices.Sort(ids)
		var model []string
		for id, at := range g.refused {
			if at == m {
				model = append(model, id)
			}
		}
		slices.Sort(model)
		if !slices.Equal(ids, model) {
			t.Fatalf("minute %d: events %v not taken, the model says %v", m, ids, model)
		}
	}
	for i, gap := range l.Gaps[:max(0, len(l.Gaps)-1)] {
		next := l.Gaps[i+1]
		if next.From.Before(gap.From) {
			t.Fatalf("gaps are not sorted: %v, %v", gap, next)
		}
		if gap.ID == "" && next.ID == "" && gap.Reason == next.Reason && gap.To.Equal(next.From) {
			t.Fatalf("gaps %v and %v are one", gap, next)
		}
	}
	if err := l.consistent(); err != nil {
		t.Fatal(err)
	}
}

// known is every minute that the ledger has something to say about.
func (g *grid) known() (k [gridSize]bool) {
	for m := range k {
		k[m] = g.covered[m] || g.wanted[m] || g.reason[m] != "" || g.hole(m)
	}
	return k
}

func TestLedgerAgainstModel(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 4))
		g, l := &grid{refused: make(map[string]int)}, Ledger{}.Clone()
		var log []string
		for range 60 {
			known, before, old := g.known(), text(l), l
			next, what := g.step(r, l)
			log = append(log, what)
			if after := text(old); after != before {
				t.Fatalf("seed %d, %s changed the ledger that it was called on", seed, what)
			}
			l = next
			func() {
				defer func() {
					if t.Failed() {
						t.Logf("seed %d: %s", seed, strings.Join(log, "; "))
					}
				}()
				g.check(t, l)
				for m, was := range known {
					if now := g.known(); was && !now[m] {
						t.Fatalf("minute %d was lost", m)
					}
				}
				checkRoundTrip(t, l)
			}()
		}
	}
}

// checkRoundTrip reads back what the ledger writes.
func checkRoundTrip(t *testing.T, l Ledger) {
	t.Helper()
	wrote := text(l)
	back, err := ParseLedger([]byte(wrote))
	if err != nil {
		t.Fatalf("%v: %s", err, wrote)
	}
	if again := text(back); again != wrote {
		t.Fatalf("wrote %s\nread  %s", wrote, again)
	}
}

func TestLedgerClone(t *testing.T) {
	l := Ledger{Gaps: []Gap{gap(0, 1, "x")}, Sweeps: map[time.Duration]time.Time{time.Hour: origin}}
	c := l.Clone()
	c.Gaps[0].Reason = "y"
	c.Sweeps[time.Hour] = minute(1)
	if l.Gaps[0].Reason != "x" || !l.Sweeps[time.Hour].Equal(origin) {
		t.Error("the clone shares memory with the ledger")
	}
	if (Ledger{}).Clone().Sweeps == nil {
		t.Error("the Sweeps of a clone cannot be written to")
	}
}

func exampleLedger() Ledger {
	return Ledger{
		Start:   origin.AddDate(0, 0, -180),
		Covered: set(0, 60, 70, 90), Wanted: set(60, 65), Begun: set(60, 61),
		Gaps: []Gap{
			gap(65, 68, "older than the API's retention (180d)"),
			{minutes(68, 69), Refused, "topic \"genesys.audit.raw\" does not take the event: raise\nmax.message.bytes", "Ünïcode/ıd", 12 << 20},
		},
		Sweeps: map[time.Duration]time.Time{
			6 * time.Hour: minute(-360), 10 * time.Minute: minute(-10).Add(1234 * time.Microsecond),
			24 * time.Hour: minute(-1440), 90 * time.Second: minute(-2), 72 * time.Hour: minute(-4320),
		},
		Forgotten: minute(-1500), Kept: minute(-1400),
	}
}

func TestLedgerGolden(t *testing.T) {
	for name, l := range map[string]Ledger{"ledger": exampleLedger(), "empty": {}} {
		path, got := filepath.Join("testdata", name+".json"), []byte(text(l)+"\n")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s: got\n%swant\n%s", path, got, want)
		}
		checkRoundTrip(t, l)
	}
}

func TestParseLedgerFields(t *testing.T) {
	l := exampleLedger()
	got, err := ParseLedger([]byte(text(l)))
	if err != nil {
		t.Fatal(err)
	}
	l.Sweeps[10*time.Minute] = l.Sweeps[10*time.Minute].Truncate(time.Millisecond)
	if !reflect.DeepEqual(got, l) {
		t.Errorf("got  %+v\nwant %+v", got, l)
	}
	// What somebody mended by hand: other zones, any order, intervals that touch.
	got, err = ParseLedger([]byte(` {"wanted":[], "covered":[["2026-03-01T12:10:00Z","2026-03-01T12:20:00Z"],
		["2026-03-01T13:00:00+01:00","2026-03-01T12:10:00Z"]], "sweeps":{"3600s":"2026-03-01T12:00:00Z"}, "version": 1} `))
	want := Ledger{Covered: set(0, 20), Wanted: nil, Sweeps: map[time.Duration]time.Time{time.Hour: origin}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v (%v)\nwant %+v", got, err, want)
	}
}

// Version 1 knew two kinds of gaps, and not which of what it wanted was begun.
func TestParseLedgerBefore(t *testing.T) {
	got, err := ParseLedger([]byte(`{"version":1,"start":"2026-03-01T12:00:00.000Z","covered":[],"wanted":[["2026-03-01T12:10:00.000Z","2026-03-01T12:20:00.000Z"]],
		"gaps":[{"from":"2026-03-01T12:00:00.000Z","to":"2026-03-01T12:05:00.000Z","reason":"old"},
		{"from":"2026-03-01T12:05:00.000Z","to":"2026-03-01T12:06:00.000Z","reason":"too large","id":"a","size":9}],"sweeps":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Ledger{Start: origin, Wanted: set(10, 20), Begun: set(10, 20), Gaps: []Gap{gap(0, 5, "old"), refused(5, 6, "a")}}
	if text(got) != text(want) {
		t.Errorf("got  %s\nwant %s", text(got), text(want))
	}
}

func TestParseLedgerYearOne(t *testing.T) {
	checkRoundTrip(t, Ledger{}.Want(audit.Interval{To: origin}))
}

func TestParseLedgerRefuses(t *testing.T) {
	const t0, t1 = `"2026-03-01T12:00:00.000Z"`, `"2026-03-01T13:00:00.000Z"`
	for _, body := range []string{
		``, `null`, `[]`, `{`, `{}`, `{"version":"1"}`, `{"version":1}x`,
		`{"version":1,"later":[]}`,
		`{"version":1,"covered":{}}`,
		`{"version":1,"covered":[[` + t1 + `,` + t0 + `]]}`,
		`{"version":1,"covered":[[` + t0 + `,` + t0 + `]]}`,
		`{"version":1,"covered":[[` + t0 + `]]}`,
		`{"version":1,"covered":[[` + t0 + `,` + t1 + `,` + t1 + `]]}`,
		`{"version":1,"covered":[["yesterday",` + t1 + `]]}`,
		`{"version":1,"covered":[["0000-03-01T12:00:00.000Z",` + t1 + `]]}`,
		`{"version":1,"covered":[[` + t0 + `,` + t1 + `]],"wanted":[[` + t0 + `,` + t1 + `]]}`,
		`{"version":1,"covered":[[` + t0 + `,` + t1 + `]],"gaps":[{"from":` + t0 + `,"to":` + t1 + `,"reason":"x"}]}`,
		`{"version":1,"covered":[[` + t0 + `,` + t1 + `]],"gaps":[{"from":` + t0 + `,"to":` + t1 + `,"reason":"x","id":"y"}]}`,
		`{"version":1,"gaps":[{"from":` + t0 + `,"to":` + t1 + `,"id":"y"},{"from":` + t0 + `,"to":` + t1 + `,"reason":"x"}]}`,
		`{"version":1,"gaps":[{"from":` + t0 + `}]}`,
		`{"version":1,"gaps":[{"from":` + t0 + `,"to":` + t1 + `,"size":"1"}]}`,
		`{"version":1,"gaps":[{"from":` + t0 + `,"to":` + t1 + `,"size":1}]}`,
		`{"version":1,"gaps":[{"from":` + t0 + `,"to":` + t1 + `,"cure":"x"}]}`,
		`{"version":1,"sweeps":{"soon":` + t0 + `}}`,
		`{"version":1,"sweeps":{"-1h":` + t0 + `}}`,
		`{"version":1,"sweeps":{"0s":` + t0 + `}}`,
		`{"version":1,"start":1772366400000}`,
	} {
		_, err := ParseLedger([]byte(body))
		var version *VersionError
		if err == nil || errors.As(err, &version) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"version":3}`, `{"version":0}`, `{"version":1.0}`, `{"covered":7,"version":20}`} {
		_, err := ParseLedger([]byte(body))
		var version *VersionError
		if !errors.As(err, &version) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzParseLedger(f *testing.F) {
	f.Add([]byte(text(exampleLedger())))
	f.Add([]byte(text(Ledger{})))
	f.Add([]byte(`{"version":1,"gaps":[{"from":"2026-03-01T12:00:00Z","to":"2026-03-01T12:00:01Z","reason":"\ud800\u0000","id":"x","size":-3}]}`))
	f.Add([]byte(`{"version":1,"version":2}`))
	f.Add([]byte(`{"version":1,"sweeps":{"106751d":"9999-12-31T23:59:59.999Z","1ns":"0001-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLedger(b)
		if err != nil {
			return
		}
		checkRoundTrip(t, l)
		checkRoundTrip(t, l.Want(minutes(0, 90)).Cover(minutes(10, 60)).AddGap(refused(20, 21, "x")))
	})
}

func TestAge(t *testing.T) {
	for text, d := range map[string]time.Duration{
		"10m": 10 * time.Minute, "1h": time.Hour, "6h": 6 * time.Hour, "24h": day, "2d": 2 * day, "180d": 180 * day,
		"1h30m": 90 * time.Minute, "1m30s": 90 * time.Second, "1h0m5s": time.Hour + 5*time.Second,
		"500ms": 500 * time.Millisecond, "49h": 49 * time.Hour, "10s": 10 * time.Second, "1ns": 1, "106751d": 106751 * day,
	} {
		if got := FormatAge(d); got != text {
			t.Errorf("FormatAge(%v) = %q, want %q", d, got, text)
		}
		if got, err := ParseAge(text); err != nil || got != d {
			t.Errorf("ParseAge(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "0d", "0s", "-5m", "1.5d", "106752d", "99999999999999999999d", "10", "1w", "1d12h"} {
		if d, err := ParseAge(text); err == nil {
			t.Errorf("ParseAge(%q) = %v", text, d)
		}
	}
}
