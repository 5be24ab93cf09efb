package web

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
)

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", time.Microsecond: "1 ms", 99 * time.Millisecond: "99 ms", 4200 * time.Millisecond: "4.2 s", 10 * time.Second: "10 s",
		2 * time.Minute: "2 min", 130 * time.Second: "2 min 10 s", hour: "1 h", 47*hour + 59*time.Minute: "47 h 59 min",
		12*day + 4*hour: "12 d 4 h", -3 * time.Second: "−3 s",
	} {
		if got := human(d); got != want {
			t.Errorf("human(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 10 * time.Minute: "10m", hour: "1h", 90 * time.Minute: "1h30m", day: "24h", 14 * day: "14d", 1500 * time.Millisecond: "1.5s",
	} {
		if got := spell(d); got != want {
			t.Errorf("spell(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q", n, got)
		}
	}
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb", "\u202Eevil", "\xff\xfe", strings.Repeat("é", 200), "日本"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = 1 + max(0, most)%1000
		got := shown(s, most)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\x1b\n\r\u202E\u2066") {
			t.Errorf("%q became %q", s, got)
		}
		if n := utf8.RuneCountInString(got); n > most+len("… (1,000,000 more)") {
			t.Errorf("%d characters of %d", n, most)
		}
		if utf8.RuneCountInString(s) <= most && utf8.RuneCountInString(got) != utf8.RuneCountInString(s) {
			t.Errorf("%q lost a character: %q", s, got)
		}
	})
}

// Whatever a ledger holds, the picture stays in its frame, and what is missing can be seen.
func TestTimelineIsDrawnWithinItsFrame(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	random := func() audit.Interval {
		from := time.Duration(dice.Int64N(int64(400 * day)))
		return between(from, from-1-time.Duration(dice.Int64N(int64(from/10+1)))*9)
	}
	for range 300 {
		s := healthy()
		st := &s.Streams[0]
		st.Covered, st.Wanted, st.Gaps = nil, nil, nil
		for range dice.IntN(40) {
			st.Covered = st.Covered.Add(random())
			st.Wanted = st.Wanted.Add(random())
			st.Gaps = append(st.Gaps, Gap{random(), "lost"})
		}
		for _, line := range timelines(&s) {
			gaps := 0
			for _, b := range line.Rows[0].Bars {
				if b.X < 0 || b.W <= 0 || b.X+b.W > 100.0001 {
					t.Fatalf("%s: a bar from %v, %v wide", b.Class, b.X, b.W)
				}
				if b.Class == "gap" {
					gaps++
					if b.W < minMissing {
						t.Fatalf("a gap %v wide", b.W)
					}
				}
			}
			if strings.HasPrefix(line.Title, "Everything") && gaps != len(st.Gaps) {
				t.Fatalf("%d of %d gaps", gaps, len(st.Gaps))
			}
			if len(line.Ticks) > maxTicks {
				t.Fatalf("%d ticks", len(line.Ticks))
			}
		}
	}
}

func TestFold(t *testing.T) {
	s := services()
	frame := audit.Interval{From: before(12 * day), To: noon}
	single, folded := fold(s.Streams, frame)
	if len(single) != 3 || folded == nil || folded.Name != "22 streams without a gap" {
		t.Fatalf("%d shown by themselves, the others as %+v", len(single), folded)
	}
	for i := range s.Streams {
		if st := &s.Streams[i]; st.quiet(frame) && !st.Covered.Covers(folded.Covered[0]) {
			t.Errorf("%s does not cover what it is shown to", st.Name)
		}
	}
	if single, folded := fold(s.Streams[:3], frame); len(single) != 3 || folded != nil {
		t.Errorf("three streams are folded into %d and %v", len(single), folded)
	}
}

func TestVerdict(t *testing.T) {
	edit := func(change func(*Snapshot)) Snapshot { s := healthy(); change(&s); return s }
	for _, c := range []struct {
		name  string
		s     Snapshot
		level level
		title string
	}{
		{"nothing", Snapshot{}, idle, "Starting"},
		{"starting", starting(), idle, "Starting"},
		{"healthy", healthy(), good, "Everything is there"},
		{"filling", filling(), busy, "Up to date, filling in history"},
		{"first reading", edit(func(s *Snapshot) { s.Streams = nil }), busy, "Active"},
		{"gaps", edit(func(s *Snapshot) { s.Streams[0].Gaps = []Gap{{between(2*hour, hour), "x"}} }), warn, "New events arrive, but some older time is missing"},
		{"a little late", edit(func(s *Snapshot) { s.Streams[0].Lag = lagWarns }), warn, "Falling behind"},
		{"very late", edit(func(s *Snapshot) { s.Streams[0].Lag = lagBad }), bad, "Far behind"},
		{"not ready", edit(func(s *Snapshot) { s.NotReady = "why" }), warn, "Not ready"},
		{"a hiccup", edit(func(s *Snapshot) {
			s.Failures = []Failure{{Kind: health.API, What: "x", Err: "y", Since: before(3 * time.Second), Last: noon, Times: 1}}
		}), warn, "Trouble, trying again"},
		{"lasting", edit(func(s *Snapshot) {
			s.Failures = []Failure{{Kind: health.Kafka, What: "x", Err: "y", Since: before(3 * hour), Last: noon, Times: 99}}
		}), bad, "Kafka does not take what is written"},
		{"of no kind", edit(func(s *Snapshot) {
			s.Failures = []Failure{{What: "x", Err: "y", Since: before(3 * hour), Last: noon, Times: 99}}
		}), bad, "Something does not work"},
		{"troubled", troubled(), bad, "The API refuses the credentials"},
		{"standby", standby(), idle, "Standing by"},
		{"leaderless", func() Snapshot { s := standby(); s.Replicas = []Replica{{"audit-1", false}}; return s }(), warn, "No replica is active"},
		{"alone", func() Snapshot { s := standby(); s.Replicas = nil; return s }(), idle, "Standing by"},
	} {
		if v := judge(&c.s, c.s.sums()); v.Level != c.level || v.Title != c.title {
			t.Errorf("%s: %s %q", c.name, v.Level, v.Title)
		}
	}
}

// What the API still holds is tried again: nobody has to fill such a gap by hand.
func TestGapsAreNotSaidToStay(t *testing.T) {
	s := healthy()
	s.Streams[0].Gaps = []Gap{{between(2*hour, hour), "cannot be read, tried again now and then"}}
	if v := judge(&s, s.sums()); !strings.Contains(v.Detail, "tried again") || !strings.Contains(v.Detail, "reason") {
		t.Errorf("the verdict says %q", v.Detail)
	}
}

// A replica that stands by need not know the streams; its page says who does.
func TestStandbyWithoutStreams(t *testing.T) {
	s := standby()
	s.Streams = nil
	for _, a := range answers(&s, s.sums())[:2] {
		if a.Answer != "Not known here" || a.Level != idle {
			t.Errorf("%s %s", a.Question, a.Answer)
		}
	}
	if _, body := get(t, handler(t, s), "GET", "/"); !strings.Contains(body, "The active replica shows it.") {
		t.Error("the page does not say where to look")
	}
}

func TestLatenessBeyondTheSweeps(t *testing.T) {
	calm, late := newLateChart(healthy().Streams), newLateChart(troubled().Streams)
	if calm.Beyond || !late.Beyond {
		t.Errorf("calm %v, late %v", calm.Beyond, late.Beyond)
	}
	last := late.Rows[len(late.Rows)-1]
	if last.Count != "6" || !last.Beyond || last.W <= 0 {
		t.Errorf("last row %+v", last)
	}
	if chart := newLateChart(services().Streams); chart.Total != "300" {
		t.Errorf("25 streams together: %s", chart.Total)
	}
}

func TestSweepsThatAreLateAreNamed(t *testing.T) {
	got := sweeps([]Sweep{{10 * time.Minute, before(11 * time.Minute)}, {hour, before(3 * hour)}, {day, time.Time{}}}, noon)
	if got != "10m, 1h (2 h late), 24h" {
		t.Errorf("%q", got)
	}
}

func TestActor(t *testing.T) {
	for _, c := range []struct {
		change  audit.Change
		who, id string
	}{
		{audit.Change{UserName: p("Ana"), UserID: p("u1")}, "Ana", "u1"},
		{audit.Change{UserName: p(""), UserID: p("u1")}, "user u1", ""},
		{audit.Change{ClientID: p("c1")}, "OAuth client c1", ""},
		{audit.Change{Level: p("SYSTEM")}, "the system", ""},
		{audit.Change{Level: p("USER")}, "unknown", ""},
		{audit.Change{}, "unknown", ""},
	} {
		if who, id := actor(&c.change); who != c.who || id != c.id {
			t.Errorf("%q, %q", who, id)
		}
	}
}
