package poller

import (
	"testing"
	"time"
)

func TestHours(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	night := Hours{{20 * time.Hour, 6 * time.Hour, berlin}}
	two := Hours{{1 * time.Hour, 3 * time.Hour, time.UTC}, {3 * time.Hour, 5 * time.Hour, time.UTC}}
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct {
		name               string
		hours              Hours
		now, opens, closes string
	}{
		{"always", nil, "2026-03-10T12:00:00Z", "2026-03-10T12:00:00Z", ""},
		{"by day it waits for the evening", night, "2026-03-10T12:00:00Z", "2026-03-10T19:00:00Z", "2026-03-11T05:00:00Z"},
		{"at its begin", night, "2026-03-10T19:00:00Z", "2026-03-10T19:00:00Z", "2026-03-11T05:00:00Z"},
		{"after midnight", night, "2026-03-11T01:00:00Z", "2026-03-11T01:00:00Z", "2026-03-11T05:00:00Z"},
		{"at its end", night, "2026-03-11T05:00:00Z", "2026-03-11T19:00:00Z", "2026-03-12T05:00:00Z"},
		{"the night in which clocks go forward is an hour shorter", night, "2026-03-28T20:00:00Z", "2026-03-28T20:00:00Z", "2026-03-29T04:00:00Z"},
		{"the night in which they go back is an hour longer", night, "2026-10-24T19:00:00Z", "2026-10-24T19:00:00Z", "2026-10-25T05:00:00Z"},
		{"windows that touch are one", two, "2026-03-10T02:00:00Z", "2026-03-10T02:00:00Z", "2026-03-10T05:00:00Z"},
		{"all day", Hours{{0, 0, time.UTC}}, "2026-03-10T02:00:00Z", "2026-03-10T02:00:00Z", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opens := tc.hours.Opens(at(tc.now))
			if !opens.Equal(at(tc.opens)) {
				t.Errorf("opens %s", opens)
			}
			closes := tc.hours.Closes(opens)
			if tc.closes == "" && !closes.IsZero() || tc.closes != "" && !closes.Equal(at(tc.closes)) {
				t.Errorf("closes %s", closes)
			}
		})
	}
	if done := night.after(at("2026-03-10T12:00:00Z"), 15*time.Hour); !done.Equal(at("2026-03-12T00:00:00Z")) {
		t.Errorf("15 hours of work are done %s", done)
	}
}
