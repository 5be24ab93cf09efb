package health

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

var (
	tail  = Subject{Kind: API, Op: "tail", Of: "Routing"}
	first = Subject{Kind: API, Op: "backfill", Of: "Routing 2026-01-01T00:00:00.000Z/2026-01-01T01:00:00.000Z"}
	next  = Subject{Kind: API, Op: "backfill", Of: "Routing 2026-01-01T01:00:00.000Z/2026-01-01T02:00:00.000Z"}
)

// A chunk that works must not hide that another one of the same stream fails.
func TestASuccessClearsItsOwnSubjectOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Monitor
		fault := errors.New("503")
		m.Report(first, fault)
		time.Sleep(time.Second)
		m.Report(next, fault)
		m.Report(tail, nil)
		m.Report(next, nil)
		failing := m.Failing()
		if len(failing) != 1 || failing[0].Subject != first || failing[0].Err != fault {
			t.Errorf("failing: %+v", failing)
		}
		if past := m.Past(); len(past) != 1 || past[0].Subject != next || past[0].Ended.IsZero() {
			t.Errorf("past: %+v", past)
		}
	})
}

func TestAFailureLastsAfterThreeTimesOrTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Monitor
		lasting := func() bool { return m.Failing()[0].Lasting(time.Now()) }
		m.Report(tail, errors.New("once"))
		if lasting() {
			t.Error("one failure is a hiccup")
		}
		time.Sleep(10 * time.Second)
		if !lasting() {
			t.Error("ten seconds are more than a hiccup")
		}
		m.Report(tail, nil)
		for range 3 {
			m.Report(tail, errors.New("thrice"))
		}
		if !lasting() {
			t.Error("three failures in a row are more than a hiccup")
		}
		if f := m.Failing()[0]; f.Times != 3 || f.Since != time.Now() {
			t.Errorf("a success must begin the count again: %+v", f)
		}
		if m.Past()[0].Lasting(time.Now().Add(time.Hour)) {
			t.Error("what ended does not last")
		}
	})
}

type refused struct{ error }

func (refused) HealthKind() Kind { return Credentials }

func TestAnErrorMayNameItsKind(t *testing.T) {
	var m Monitor
	m.Report(tail, fmt.Errorf("poll: %w", refused{errors.New("401")}))
	if f := m.Failing()[0]; f.Kind != Credentials || f.Subject.Op != "tail" {
		t.Errorf("%+v", f)
	}
	m.Report(tail, errors.New("503")) // the same subject: its kind follows the error
	if f := m.Failing(); len(f) != 1 || f[0].Kind != API || f[0].Times != 2 {
		t.Errorf("%+v", f)
	}
	m.Report(tail, nil)
	if len(m.Failing()) != 0 {
		t.Error("a success must end it whatever its kind was")
	}
}

func TestDropEndsWhatNobodyTriesAnyMore(t *testing.T) {
	var m Monitor
	for _, s := range []Subject{tail, first, next} {
		m.Report(s, errors.New("503"))
	}
	m.Drop(func(s Subject) bool { return s.Op == "backfill" })
	if f := m.Failing(); len(f) != 1 || f[0].Subject != tail {
		t.Errorf("%+v", f)
	}
}

func TestThePastIsBounded(t *testing.T) {
	var m Monitor
	for i := range 3 * keepPast {
		s := Subject{Kind: Other, Op: "try", Of: fmt.Sprint(i)}
		m.Report(s, errors.New("no"))
		m.Report(s, nil)
	}
	past := m.Past()
	if len(past) != keepPast || past[keepPast-1].Of != fmt.Sprint(3*keepPast-1) {
		t.Errorf("%d kept, the newest of them %q", len(past), past[len(past)-1].Of)
	}
}
