package sandbox

import (
	"testing"
	"time"
)

func TestTruth(t *testing.T) {
	clock := &clock{now: noon}
	c := serveOrg(t, Options{Seed: 1, Clock: clock.time, Odd: -1, OtherTypes: -1})
	early := c.org.EmitAt(noon.Add(-90*time.Minute), 0, 1)[0]
	recent := c.org.EmitAt(noon.Add(-time.Minute), 0, 1)[0]
	late := c.org.EmitAt(noon.Add(-time.Minute), time.Hour, 1)[0]
	twins, err := c.org.EmitOdd(noon.Add(-time.Minute), "twins without id")
	if err != nil {
		t.Fatal(err)
	}
	type flags struct{ visible, shown bool }
	check := func(when string, want map[string]flags) {
		t.Helper()
		settle(t, c.org)
		got := map[string]flags{}
		for truth := range c.org.Truth() {
			got[truth.ID] = flags{truth.Visible, truth.Shown}
			if truth.Shown != (len(truth.Bodies) == 1) {
				t.Errorf("%s: %s has %d bodies", when, truth.ID, len(truth.Bodies))
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d ids, want %d", when, len(got), len(want))
		}
		for id, w := range want {
			if got[id] != w {
				t.Errorf("%s: %s is %+v, want %+v", when, id, got[id], w)
			}
		}
	}
	check("before", map[string]flags{early: {true, false}, recent: {true, false}, late: {}, twins[0]: {true, false}})
	if n := len(c.readAll(hourWith())); n != 3 {
		t.Errorf("%d events were read, want 3: one and its fellow twins", n)
	}
	check("after a reading", map[string]flags{early: {true, false}, recent: {true, true}, late: {}, twins[0]: {true, true}})
	clock.forward(time.Hour)
	check("an hour later", map[string]flags{early: {true, false}, recent: {true, true}, late: {true, false}, twins[0]: {true, true}})
	c.readAll(hourWith())
	check("after another", map[string]flags{early: {true, false}, recent: {true, true}, late: {true, true}, twins[0]: {true, true}})
	if shown := c.org.Shown(); len(shown) != 3 || shown[recent].Time != noon.Add(-time.Minute).UnixMilli() {
		t.Errorf("shown: %v", shown)
	}
}

// One id for two events: one truth with two bodies.
func TestTruthOfAReusedID(t *testing.T) {
	c := serveOrg(t, Options{})
	for _, body := range []string{`{"auditId":"x","n":1}`, `{"auditId":"x","n":2}`, `{"n":1}`, `{"n":1}`} {
		if _, err := c.org.EmitRaw(Raw{At: noon.Add(-time.Minute), Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.org.EmitRaw(Raw{At: noon, Body: []byte(`{"auditId":`)}); err == nil {
		t.Error("half an event was taken")
	}
	if got := c.readAll(hourWith()); len(got) != 4 {
		t.Errorf("read %q", got)
	}
	settle(t, c.org)
	shown := c.org.Shown()
	if len(shown) != 2 || len(shown["x"].Bodies) != 2 || len(shown["sha256:"+digest([]byte(`{"n":1}`))].Bodies) != 1 {
		t.Errorf("shown: %v", shown)
	}
}

func TestLateness(t *testing.T) {
	clock := &clock{now: noon}
	o := New(Options{Seed: 1, Clock: clock.time, Odd: -1, Lateness: Lateness{Probability: 0.5, Min: time.Minute, Max: 2 * time.Minute}})
	o.Emit(1000)
	visible := func() int { _, n, _ := o.Counts(); return n }
	if n := visible(); n < 400 || n > 600 {
		t.Errorf("%d of 1000 are visible at once, want about half", n)
	}
	clock.forward(59 * time.Second)
	before := visible()
	clock.forward(30 * time.Second)
	if n := visible(); n <= before || n == 1000 {
		t.Errorf("%d are visible after a minute and a half, %d after 59 seconds", n, before)
	}
	clock.forward(31 * time.Second)
	if n := visible(); n != 1000 {
		t.Errorf("%d are visible in the end", n)
	}
	o.SetLateness(Lateness{})
	o.Emit(10)
	if n := visible(); n != 1010 {
		t.Errorf("%d are visible without lateness", n)
	}
}
