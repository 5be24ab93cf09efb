package web

import (
	"cmp"
	"fmt"
	"time"

	"genesys-audit-connector/internal/health"
)

// level is how much something needs a person. The page says it in colour, in
// shape and in words.
type level string

const (
	good level = "good"
	busy level = "busy" // as it should be, and not done yet
	idle level = "idle" // nothing to judge
	warn level = "warn"
	bad  level = "bad"
)

// What is behind by this much is not the API's pace any more.
const (
	lagWarns = 5 * time.Minute
	lagBad   = time.Hour
)

// patience is how long a failure may last before it is more than a hiccup.
const patience = time.Minute

// verdict is the whole page in a sentence.
type verdict struct {
	Level  level
	Title  string
	Detail string
}

// answer is one of the three questions that an operator has.
type answer struct {
	Level    level
	Question string
	Answer   string
	Note     string
}

// sums are the streams taken together.
type sums struct {
	gaps             int
	gapTime, wanted  time.Duration
	unfinished       int // streams with something left to read
	lag              time.Duration
	lagging          string // the stream that is furthest behind
	oldest, lastPoll time.Time
}

func (s *Snapshot) sums() sums {
	var t sums
	for i := range s.Streams {
		st := &s.Streams[i]
		t.gaps += len(st.Gaps)
		for _, g := range st.Gaps {
			t.gapTime += g.Length()
		}
		if len(st.Wanted) > 0 {
			t.wanted += st.Wanted.Length()
			t.unfinished++
		}
		if st.Lag >= t.lag {
			t.lag, t.lagging = st.Lag, st.Name
		}
		if first := st.Covered.First(); len(st.Covered) > 0 && (t.oldest.IsZero() || first.Before(t.oldest)) {
			t.oldest = first
		}
		if st.LastPoll.After(t.lastPoll) {
			t.lastPoll = st.LastPoll
		}
	}
	return t
}

// judge says the most important thing first: what does not work, then what is
// missing, then what is late, then what is under way.
func judge(s *Snapshot, t sums) verdict {
	failures := s.lasting() // warnings come last
	if f := failures; len(f) > 0 && !f[0].Warning {
		v := verdict{warn, "Trouble, trying again", f[0].reassure(s.Now)}
		if s.NotReady != "" || s.Now.Sub(f[0].Since) > patience {
			v.Level, v.Title = bad, cmp.Or(troubleTitles[f[0].Kind], "Something does not work")
		}
		return v
	}
	switch s.Role {
	case Standby:
		return judgeStandby(s)
	case Active:
	default:
		return verdict{idle, "Starting", sentence(cmp.Or(s.NotReady, "the offsets topic is being loaded"))}
	}
	switch {
	case s.NotReady != "":
		return verdict{warn, "Not ready", sentence(s.NotReady)}
	case len(s.Streams) == 0:
		return verdict{busy, "Active", "The first reading is under way."}
	case t.gaps > 0:
		v := verdict{warn, "New events arrive, but some older time is missing",
			fmt.Sprintf("%s, %s in all. The reasons are below; what the API still holds is tried again by itself.", count(t.gaps, "gap"), human(t.gapTime))}
		if t.lag >= lagWarns {
			v.Title = "Some time is missing, and new events are late"
			v.Detail += " " + t.behind()
		}
		if t.lag >= lagBad {
			v.Level = bad
		}
		return v
	case s.missing() > 0:
		return verdict{warn, "Events are missing", fmt.Sprintf("connector verify found %s missing, %s. connector verify --repair has them published.",
			count(s.missing(), "event"), ago(s.LastVerified.At, s.Now))}
	case t.lag >= lagBad:
		return verdict{bad, "Far behind", t.behind()}
	case t.lag >= lagWarns:
		return verdict{warn, "Falling behind", t.behind()}
	case len(failures) > 0:
		return verdict{warn, "Running, with a warning", sentence(failures[0].What + ": " + failures[0].Err)}
	case s.unseen():
		return verdict{warn, "No event yet", sentence("everything was read and nothing was in it, so nothing can be said of what may be missing: " + noEventReasons)}
	case t.wanted > 0:
		return verdict{busy, "Up to date, filling in history",
			fmt.Sprintf("%s are left to read. New events do not wait behind them.", human(t.wanted))}
	}
	return verdict{good, "Everything is there",
		fmt.Sprintf("Read without a gap since %s, as far as %s ago.", longStamp(t.oldest), human(t.lag))}
}

// noEventReasons are what may be wrong where an organisation never shows an event.
const noEventReasons = "the OAuth client's role may have no division, GENESYS_FILTER or GENESYS_SERVICES may match nothing, or the organisation is new and nobody has changed anything"

// behind says which stream is furthest behind.
func (t *sums) behind() string {
	return fmt.Sprintf("%s was read up to %s ago.", shown(t.lagging, maxName), human(t.lag))
}

var troubleTitles = map[health.Kind]string{
	health.Credentials: "The API refuses the credentials",
	health.API:         "The API does not answer as it should",
	health.Kafka:       "Kafka does not take what is written",
	health.Registry:    "The schema registry does not answer",
}

func judgeStandby(s *Snapshot) verdict {
	for _, r := range s.Replicas {
		if r.Active {
			return verdict{idle, "Standing by", fmt.Sprintf("%s is active. This replica follows it and takes over when it is gone.", shown(r.Name, maxName))}
		}
	}
	if len(s.Replicas) > 0 {
		return verdict{warn, "No replica is active", "An election is under way. It should take no longer than the session timeout."}
	}
	return verdict{idle, "Standing by", "This replica follows the active one and takes over when it is gone."}
}

// reassure says what becomes of it. The error itself stands below the verdict.
func (f *Failure) reassure(now time.Time) string {
	return fmt.Sprintf("For %s, %s. It is tried again by itself, and what could not be read meanwhile is read afterwards.",
		human(now.Sub(f.Since).Truncate(time.Second)), count(f.Times, "attempt"))
}

func answers(s *Snapshot, t sums) []answer {
	return []answer{complete(s, t), behind(s, t), newest(s), doing(s, t)}
}

func newest(s *Snapshot) answer {
	a := answer{Question: "Newest event", Level: good, Answer: ago(s.NewestEvent, s.apiNow()), Note: longStamp(s.NewestEvent)}
	switch {
	case !s.NewestEvent.IsZero():
	case s.Role != Active:
		a.Level, a.Answer, a.Note = idle, "Not known here", "no event is known of"
	case s.unseen():
		a.Level, a.Answer, a.Note = warn, "None", "no event was ever seen"
	default:
		a.Level, a.Answer, a.Note = idle, "Not known", "none had a time that can be read"
	}
	return a
}

func complete(s *Snapshot, t sums) answer {
	a := answer{Question: "Is everything there?", Level: good, Answer: "Yes", Note: "no gap since " + longStamp(t.oldest)}
	switch {
	case s.Role == Standby && len(s.Streams) == 0:
		a.Level, a.Answer, a.Note = idle, "Not known here", "the active replica tells"
	case t.oldest.IsZero() && t.gaps == 0:
		a.Level, a.Answer, a.Note = idle, "Not known yet", "nothing has been read"
	case s.unseen() && t.gaps == 0:
		a.Level, a.Answer, a.Note = warn, "Nobody can tell", "no event was ever seen"
	case t.gaps > 0:
		a.Level, a.Answer, a.Note = warn, "No, "+count(t.gaps, "gap"), human(t.gapTime)+"; the reasons are below"
	case s.missing() > 0:
		a.Level, a.Answer, a.Note = warn, "No", "connector verify found "+count(s.missing(), "event")+" missing"
	case t.wanted > 0:
		a.Level, a.Answer, a.Note = busy, "Not yet", fmt.Sprintf("%s left in %s", human(t.wanted), count(t.unfinished, "stream"))
	}
	return a
}

func behind(s *Snapshot, t sums) answer {
	a := answer{Question: "How far behind?", Level: good, Answer: human(t.lag)}
	switch {
	case s.Role == Standby && len(s.Streams) == 0:
		return answer{idle, a.Question, "Not known here", "the active replica tells"}
	case len(s.Streams) == 0:
		return answer{idle, a.Question, "Not known yet", "no poll so far"}
	case t.lag >= lagBad:
		a.Level = bad
	case t.lag >= lagWarns:
		a.Level = warn
	}
	switch {
	case s.Role != Active:
		a.Note = "as the offsets topic tells"
	case len(s.Streams) > 1:
		a.Note = shown(t.lagging, maxName) + " of " + count(len(s.Streams), "stream")
	default:
		a.Note = "newest instant that was read"
	}
	return a
}

func doing(s *Snapshot, t sums) answer {
	a := answer{Question: "What is it doing?", Level: good, Answer: "Watching", Note: "no poll so far"}
	if !t.lastPoll.IsZero() {
		a.Note = "last poll " + ago(t.lastPoll, s.Now)
	}
	switch {
	case len(s.lasting()) > 0:
		a.Level, a.Answer, a.Note = warn, "Trying again", "by itself, at least once a minute"
	case s.Role == Standby:
		a.Level, a.Answer, a.Note = idle, "Standing by", "warm, ready to take over"
	case s.Role != Active:
		a.Level, a.Answer, a.Note = idle, "Starting", cmp.Or(s.NotReady, "loading the offsets topic")
	case t.wanted > 0:
		a.Level, a.Answer, a.Note = busy, "Filling in history", "and watching for new events"
	}
	return a
}

// apiNow is what time it is for the API.
func (s *Snapshot) apiNow() time.Time { return s.Now.Add(s.ClockOffset) }

func longStamp(t time.Time) string { return t.UTC().Format("2 January 2006 15:04") + " UTC" }
