package audit

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]string{
		"2024-01-15T14:32:10.123Z":          "2024-01-15T14:32:10.123Z",
		"2024-01-15T14:32:10Z":              "2024-01-15T14:32:10.000Z",
		"2024-01-15T14:32Z":                 "2024-01-15T14:32:00.000Z",
		"2024-01-15T14:32:10,5Z":            "2024-01-15T14:32:10.500Z",
		"2024-01-15T14:32:10.999999999999Z": "2024-01-15T14:32:10.999Z",
		"2024-01-15T14:32:10.123456+00:00":  "2024-01-15T14:32:10.123Z",
		"2024-01-15T14:32:10-00:00":         "2024-01-15T14:32:10.000Z",
		"2024-01-15T14:32:10+01:30":         "2024-01-15T13:02:10.000Z",
		"2024-01-15T14:32:10-0130":          "2024-01-15T16:02:10.000Z",
		"2024-01-15T14:32:10+01":            "2024-01-15T13:32:10.000Z",
		"2024-12-31T23:59:59.9-01:00":       "2025-01-01T00:59:59.900Z",
		"20240115T143210Z":                  "2024-01-15T14:32:10.000Z",
		"20240115T143210.5+0100":            "2024-01-15T13:32:10.500Z",
		"2024-02-29T00:00:00Z":              "2024-02-29T00:00:00.000Z",
		"1969-12-31T23:59:59.9999Z":         "1969-12-31T23:59:59.999Z",
		"0001-01-01T00:00:00.001Z":          "0001-01-01T00:00:00.001Z",
		"9999-12-31T23:59:59.999Z":          "9999-12-31T23:59:59.999Z",

		"": "", "Z": "", "now": "", "1705329130123": "",
		"2024-01-15": "", "2024-01-15T14Z": "", "2024-01-15T14:32:10": "", "2024-01-15T14:32:10.123": "",
		"2024-01-15 14:32:10Z": "", "2024-01-15t14:32:10z": "", " 2024-01-15T14:32:10Z": "", "2024-01-15T14:32:10Z ": "",
		"2023-02-29T00:00:00Z": "", "2024-13-01T00:00:00Z": "", "2024-00-01T00:00:00Z": "", "2024-01-00T00:00:00Z": "", "2024-04-31T00:00:00Z": "",
		"2024-01-15T24:00:00Z": "", "2024-01-15T23:60:00Z": "", "2024-01-15T23:59:60Z": "", "2024-01-15T1:02:03Z": "", "24-01-15T14:32:10Z": "",
		"2024-1-15T14:32:10Z": "", "2024-01-15T14:32:10.Z": "", "2024-01-15T14:32:10+1:00": "", "2024-01-15T14:32:10+24:00": "",
		"2024-01-15T14:32:10+01:60": "", "2024-01-15T14:32:10+01:": "", "2024-01-15T14:32:10+": "", "2024-01-15T14:32:10Z+01:00": "",
		"2024-01-15T143210Z": "", "20240115T14:32:10Z": "", "202401-15T14:32:10Z": "", "+2024-01-15T14:32:10Z": "", "2024-01-15T14:32:10.5.5Z": "",
		"0001-01-01T00:00:00Z": "", "0000-01-01T00:00:00Z": "", "0001-01-01T00:00:00+01:00": "", "9999-12-31T23:59:59-01:00": "", "٢٠٢٤-01-15T14:32:10Z": "",
	} {
		got, ok := ParseTime(text)
		if ok != (want != "") {
			t.Errorf("%q: read %v as %v", text, ok, got)
			continue
		}
		if ok && (got.Format(TimeFormat) != want || got.Location() != time.UTC) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if !ok && !got.IsZero() {
			t.Errorf("%q: %v although it cannot be read", text, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"2024-01-15T14:32:10.123Z", "20240115T143210+0100", "2024-01-15T14:32:10,5-01", "0001-01-01T00:00:00Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := ParseTime(text)
		// Package time takes hours of one digit, which RFC 3339 does not.
		if want, err := time.Parse(time.RFC3339, text); err == nil && text[len("2006-01-02T15")] == ':' {
			want = want.UTC().Truncate(time.Millisecond)
			if year := want.Year(); year < 1 || year > 9999 || want.IsZero() {
				return
			}
			if !ok || !got.Equal(want) {
				t.Errorf("%q: %v %v, package time reads %v", text, got, ok, want)
			}
		}
		if !ok {
			return
		}
		if again, ok := ParseTime(got.Format(TimeFormat)); !ok || !again.Equal(got) {
			t.Errorf("%q: %v does not read back", text, got)
		}
	})
}

func TestAppendTimeSpellsTimeFormat(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	for _, at := range []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, int(time.Millisecond), time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2026, 1, 15, 14, 32, 10, 123_456_789, time.UTC), time.Date(2026, 1, 1, 0, 30, 0, int(70*time.Millisecond), berlin),
		time.Date(1969, 12, 31, 23, 59, 59, int(time.Millisecond), time.UTC), {},
	} {
		if got, want := string(AppendTime([]byte("at "), at)), "at "+at.UTC().Format(TimeFormat); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
