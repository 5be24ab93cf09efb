package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// human says a duration in at most two units: "1 ms", "4.2 s", "2 min 10 s", "12 d 4 h".
func human(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "−", -d
	}
	switch {
	case d > 0 && d < 100*time.Millisecond:
		return fmt.Sprintf("%s%d ms", sign, max(1, d.Milliseconds()))
	case d < 10*time.Second:
		return sign + strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d < time.Minute:
		return fmt.Sprintf("%s%d s", sign, d/time.Second)
	case d < time.Hour:
		return sign + units(d, time.Minute, "min", time.Second, "s")
	case d < 48*time.Hour:
		return sign + units(d, time.Hour, "h", time.Minute, "min")
	}
	return sign + units(d, 24*time.Hour, "d", time.Hour, "h")
}

func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d %s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		s += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return s
}

// ago says how long before now t was.
func ago(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "never"
	case now.Sub(t) < time.Second:
		return "just now"
	}
	return human(now.Sub(t).Truncate(time.Second)) + " ago"
}

// stamp is t as a table shows it: the date only where it is not today.
func stamp(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	switch {
	case t.IsZero():
		return "never"
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04:05")
	case t.Year() == now.Year():
		return t.Format("2 Jan 15:04:05")
	}
	return t.Format("2 Jan 2006 15:04")
}

// span is an interval as a table shows it.
func span(from, to, now time.Time) string { return stamp(from, now) + " – " + stamp(to, now) }

// number writes n in groups of three digits.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count is n and the noun, in the plural where there is not one of it.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(uint64(n)) + " " + noun + "s"
}

// sentence is a phrase with a capital and a full stop.
func sentence(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:] + "."
}

// shown is s, at most that many characters of it, with everything that could
// hide or reorder what stands beside it made visible.
func shown(s string, most int) string {
	if len(s) <= most && plain(s) {
		return s
	}
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n == most {
			fmt.Fprintf(&b, "… (%s more)", number(uint64(utf8.RuneCountInString(s[i:]))))
			break
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			r = ' '
		case !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r):
			r = '·'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// plain reports whether s is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
