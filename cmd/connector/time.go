package main

import (
	"fmt"
	"strings"
	"time"

	"genesys-audit-connector/internal/poller"
)

// Start is where a new deployment begins to read: an instant, an age, all that
// the API still has, or nothing but what is to come.
type Start struct {
	at   time.Time
	ago  time.Duration
	all  bool
	text string
}

// String is the start as it was written.
func (s Start) String() string { return s.text }

// Start is that instant, for a clock that says now and an API that holds events
// for retention. It is never later than now.
func (s Start) Start(now time.Time, retention time.Duration) time.Time {
	switch {
	case s.all:
		return now.Add(-retention)
	case s.at.IsZero():
		return now.Add(-s.ago)
	case s.at.After(now):
		return now
	}
	return s.at
}

// EnvDecode reads a duration, an instant, "retention" or "now".
func (s *Start) EnvDecode(text string) error {
	start := Start{text: text}
	switch text {
	case "now":
	case "retention":
		start.all = true
	default:
		var fault string
		if start.at, start.ago, fault = parseTime(text); fault != "" {
			if meant := nearest(text, []string{"retention", "now"}, 2); meant != "" {
				fault += ", did you mean " + meant + "?"
			}
			return invalid("a duration, a date, RFC 3339, retention or now", "%s %s", quoted(text), fault)
		}
	}
	*s = start
	return nil
}

// ParseInstant reads what --from and --to take: RFC 3339, a date (midnight
// UTC), or a duration back from now.
func ParseInstant(text string, now time.Time) (time.Time, error) {
	at, ago, fault := parseTime(text)
	switch {
	case fault != "":
		return time.Time{}, fmt.Errorf("%s %s; expected RFC 3339, a date (UTC) or a duration back from now, for example 2026-01-15T14:00:00Z, 2026-01-15 or 36h", quoted(text), fault)
	case at.IsZero():
		return now.Add(-ago).UTC(), nil
	}
	return at, nil
}

// parseTime reads an instant or an age. A fault says what is wrong with it and
// "" is none.
func parseTime(text string) (at time.Time, ago time.Duration, fault string) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			if t = t.UTC(); t.Year() < 2000 || t.Year() > 2200 { // differences of times overflow after 292 years
				return at, 0, "is not between the years 2000 and 2200"
			}
			return t, 0, ""
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04"} {
		if _, err := time.Parse(layout, text); err == nil {
			return at, 0, "has no time zone, or not in the form of RFC 3339"
		}
	}
	d, fault := parseDuration(text)
	if fault == "is not a duration" {
		fault = "is neither a time nor a duration"
	}
	return at, d, fault
}

// Hours are parts of each day.
type Hours struct{ poller.Hours }

// EnvDecode reads "20:00-06:00 Europe/Berlin,12:00-13:00".
func (h *Hours) EnvDecode(text string) error {
	const expected = "HH:MM-HH:MM and a time zone"
	var hours poller.Hours
	for _, part := range strings.Split(text, ",") {
		span, zone, _ := strings.Cut(strings.TrimSpace(part), " ")
		from, to, ok := strings.Cut(span, "-")
		a, err := time.Parse("15:04", from)
		b, err2 := time.Parse("15:04", to)
		if to == "24:00" {
			b, err2 = time.Time{}, nil
		}
		if !ok || err != nil || err2 != nil {
			return invalid(expected, "%s is no part of a day", quoted(strings.TrimSpace(part)))
		}
		place, err := time.LoadLocation(strings.TrimSpace(zone))
		if err != nil || place == time.Local {
			return invalid(expected, "%s is no time zone", quoted(strings.TrimSpace(zone)))
		}
		clock := func(t time.Time) time.Duration {
			return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
		}
		hours = append(hours, poller.Window{From: clock(a), To: clock(b), Place: place})
	}
	h.Hours = hours
	return nil
}
