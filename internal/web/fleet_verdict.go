package web

import (
	"fmt"
	"slices"
	"time"

	"genesys-audit-connector/internal/health"
)

// fleetTotals are the organisations taken together.
type fleetTotals struct {
	states   [len(states)]int
	all      int
	here     int      // that this replica runs
	worst    *Summary // the first in need of a look
	furthest *Summary
	events   uint64
}

func (f *Fleet) totals(list []ranked) fleetTotals {
	t := fleetTotals{all: len(list)}
	for _, o := range list {
		t.states[o.state]++
		t.events += sum(o.Hourly[:])
		if o.Role != Active {
			continue
		}
		t.here++
		if t.furthest == nil || o.Lag > t.furthest.Lag {
			t.furthest = o.Summary
		}
	}
	if len(list) > 0 {
		t.worst = list[0].Summary
	}
	return t
}

// troubles are what does not work and concerns no organisation in particular.
func (f *Fleet) troubles() []Failure {
	s := Snapshot{Failures: slices.Clone(f.Failures)}
	list := s.lasting()
	if f.OrgsFileError != "" {
		wrong := Failure{Kind: health.Other, What: "ORGS_FILE cannot be used; the last good one counts", Err: f.OrgsFileError}
		list = slices.Insert(list, 0, wrong)
	}
	return list
}

// judgeFleet says the most important thing first: what does not work, then what is
// missing, then what is late, then what is under way.
func judgeFleet(f *Fleet, t *fleetTotals) verdict {
	// n is how many are in a state, with the verb for one of them and for several.
	n := func(s state, one, several string) string { return some(t.states[s], t.all, one, several) }
	troubles := f.troubles()
	switch {
	case f.NotReady != "" && len(troubles) == 0:
		return verdict{idle, "Starting", sentence(f.NotReady)}
	case f.NotReady != "":
		return verdict{bad, "This replica is not ready", sentence(f.NotReady)}
	case t.states[stateFailing] > 0:
		return verdict{bad, n(stateFailing, "is failing", "are failing"), fmt.Sprintf("%s: %s", t.worst.Org, shown(t.worst.LastError, maxValue))}
	case t.states[stateGaps] > 0:
		return verdict{warn, n(stateGaps, "has gaps", "have gaps"), "Some older time is missing there. The page of each tells the reasons; what the API still holds is tried again by itself."}
	case t.states[stateMissing] > 0:
		return verdict{warn, n(stateMissing, "lacks events", "lack events"), "connector verify found them missing. connector verify --repair has them published."}
	case t.states[stateBehind] > 0:
		level := warn
		if t.furthest.Lag >= lagBad {
			level = bad
		}
		return verdict{level, n(stateBehind, "is behind", "are behind"), fmt.Sprintf("%s was read up to %s ago.", t.furthest.Org, human(t.furthest.Lag))}
	case len(troubles) > 0:
		return verdict{warn, "Running, with trouble that concerns no single organisation", sentence(troubles[0].What)}
	case t.states[stateWarning] > 0:
		return verdict{warn, n(stateWarning, "has a warning", "have a warning"), fmt.Sprintf("%s: %s", t.worst.Org, shown(t.worst.LastError, maxValue))}
	case t.states[stateSilent] > 0:
		return verdict{warn, n(stateSilent, "has shown no event", "have shown no event"), sentence("nothing can be said of them: " + noEventReasons)}
	case t.all == 0:
		return verdict{idle, "No organisation", "ORGS_FILE names none."}
	case t.states[stateStarting] > 0:
		return verdict{idle, n(stateStarting, "is starting", "are starting"), "They begin within seconds of the replicas having agreed on who runs what."}
	case t.here == 0:
		return verdict{idle, "Standing by", "The other replicas run all organisations. This one takes over when one of them is gone."}
	case t.states[stateFilling] > 0:
		return verdict{busy, "Up to date, filling in history", n(stateFilling, "is", "are") + " still reading older time. New events do not wait behind it."}
	case t.here < t.all:
		return verdict{good, "Everything is there, of what this replica runs", fmt.Sprintf("%s of %s. The other replicas tell of theirs.", number(uint64(t.here)), count(t.all, "organisation"))}
	}
	return verdict{good, "Everything is there", fmt.Sprintf("%s read without a gap.", count(t.all, "organisation"))}
}

// some is how many of the organisations, and the verb.
func some(n, all int, one, several string) string {
	if n == 1 {
		several = one
	}
	return number(uint64(n)) + " of " + count(all, "organisation") + " " + several
}

func (t *fleetTotals) answers(f *Fleet) []answer {
	look := answer{Question: "Does one need a look?", Level: good, Answer: "No", Note: "of " + count(t.all, "organisation")}
	if n := t.states[stateFailing] + t.states[stateGaps] + t.states[stateMissing] + t.states[stateBehind] + t.states[stateWarning] + t.states[stateSilent]; n > 0 {
		look.Level, look.Answer, look.Note = warn, "Yes, "+number(uint64(n)), "the first is "+t.worst.Org
		if t.states[stateFailing] > 0 {
			look.Level = bad
		}
	}
	lag := answer{Question: "Furthest behind", Level: idle, Answer: "Not known here", Note: "this replica runs none"}
	if o := t.furthest; o != nil {
		lag.Level, lag.Answer, lag.Note = good, human(o.Lag), o.Org
		switch {
		case o.Lag >= lagBad:
			lag.Level = bad
		case o.Lag >= lagWarns:
			lag.Level = warn
		}
	}
	since := 24 * time.Hour
	if !f.Started.IsZero() {
		since = min(since, f.Now.Sub(f.Started).Truncate(time.Second))
	}
	return []answer{look, lag,
		{good, "Events published", number(t.events), "by this replica, in " + human(since)},
		{good, "Runs here", count(t.here, "organisation"), "of " + number(uint64(t.all)) + "; " + count(max(1, len(f.Members)), "replica")},
	}
}
