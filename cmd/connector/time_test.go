package main

import (
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func TestParseInstant(t *testing.T) {
	tests := map[string]string{
		"2026-01-15T14:00:00Z":        "2026-01-15T14:00:00Z",
		"2026-01-15T14:00:00.5+02:00": "2026-01-15T12:00:00.5Z",
		"2026-01-15":                  "2026-01-15T00:00:00Z",
		"36h":                         "2026-03-09T00:00:00Z",
		"30d":                         "2026-02-08T12:00:00Z",
		"1d1h30m":                     "2026-03-09T10:30:00Z",
		"0s":                          "2026-03-10T12:00:00Z",
	}
	for text, want := range tests {
		got, err := ParseInstant(text, now)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: got %v, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                          `"" is neither a time nor a duration`,
		"yesterday":                 `"yesterday" is neither a time nor a duration`,
		"2026-01-15T14:00:00":       `has no time zone`,
		"2026-13-01":                `is neither a time nor a duration`,
		"-5h":                       `is negative`,
		"30":                        `has no unit`,
		"9999-12-31T23:59:59-01:00": `is not between the years`,
		"106751d":                   `is neither a time nor a duration`,
		"99999d2562047h":            `is neither a time nor a duration`,
		"1d-5h":                     `is negative`,
		"1d+5h":                     `is neither`,
	} {
		got, err := ParseInstant(text, now)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "for example") {
			t.Errorf("%q: got %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestStart(t *testing.T) {
	const retention = 30 * day
	for text, want := range map[string]string{
		"24h":                  "2026-03-09T12:00:00Z",
		"2026-01-15":           "2026-01-15T00:00:00Z",
		"2026-01-15T14:00:00Z": "2026-01-15T14:00:00Z",
		"retention":            "2026-02-08T12:00:00Z",
		"now":                  "2026-03-10T12:00:00Z",
		"2030-01-01":           "2026-03-10T12:00:00Z",
	} {
		start := load(t, "BACKFILL_FROM="+text).Poll.BackfillFrom
		if got := start.Start(now, retention).Format(time.RFC3339); got != want || start.String() != text {
			t.Errorf("%q (%s): got %s, want %s", text, start, got, want)
		}
	}
}

// FuzzParseTime: what is read is an instant or an age, never both, and an
// instant is the same when it is written and read again.
func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"36h", "180d", "1d12h", "99999d", "2026-01-15", "2026-01-15T14:00:00Z", "2026-01-15T14:00:00.123456789-07:00", "d", "1d1d", "", "9999999h", "-1d", "1h+2m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ago, fault := parseTime(text)
		if fault != "" {
			return
		}
		if ago < 0 || ago != 0 && !at.IsZero() {
			t.Fatalf("%q: %v and %v", text, at, ago)
		}
		if again, _, fault := parseTime(at.Format(time.RFC3339Nano)); !at.IsZero() && (fault != "" || !again.Equal(at)) {
			t.Fatalf("%q: %v, then %v %s", text, at, again, fault)
		}
	})
}
