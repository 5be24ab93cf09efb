package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/internal/txn"
)

// valueError is a value that a variable cannot have.
type valueError struct {
	what     string // is wrong
	expected string // instead
}

func (e *valueError) Error() string { return e.what + "; expected " + e.expected }

// describe is the error with an example of the variable's own, unless it lists all that can be.
func (e *valueError) describe(v Variable) string {
	example := cmp.Or(v.Example, v.Default)
	if listed := len(v.OneOf) > 0 || v.kind.Kind() == reflect.Bool; listed || example == "" {
		return e.Error()
	}
	return e.Error() + ", for example " + example
}

func invalid(expected, format string, args ...any) error {
	return &valueError{what: fmt.Sprintf(format, args...), expected: expected}
}

// quoted is a value as messages show it.
func quoted(value string) string {
	if runes := []rune(value); len(runes) > 80 {
		value = string(runes[:80]) + "…"
	}
	return strconv.Quote(value)
}

// mutate checks a value against the type and the tags of its field, and gives
// it the spelling that envconfig decodes. Fields whose type decodes itself
// (Secret, Rate, Start) do not come by here.
func mutate(_ context.Context, name, _, _, value string) (string, bool, error) {
	decoded, err := variablesByName()[name].decode(value)
	return decoded, false, err
}

func (v Variable) decode(value string) (string, error) {
	if v.kind.Kind() == reflect.Slice {
		return v.decodeList(value)
	}
	return v.decodeOne(v.kind, value)
}

// decodeList checks every element of a comma-separated list. What stands for
// the empty list becomes "".
func (v Variable) decodeList(value string) (string, error) {
	durations := v.kind == reflect.TypeFor[[]time.Duration]()
	if durations && value == "none" || v.format == "services" && value == "all" {
		return "", nil
	}
	parts := strings.Split(value, ",")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if part == "" {
			return "", invalid("values separated by single commas", "%s has an empty element", quoted(value))
		}
		decoded, err := v.decodeOne(v.kind.Elem(), part)
		if err != nil {
			return "", err
		}
		if slices.Contains(parts[:i], decoded) {
			return "", invalid("each value once", "%s has %s twice", quoted(value), part)
		}
		parts[i] = decoded
	}
	if durations {
		slices.SortFunc(parts, func(a, b string) int {
			x, _ := time.ParseDuration(a) // decodeOne wrote it
			y, _ := time.ParseDuration(b)
			return int(x/time.Millisecond - y/time.Millisecond)
		})
	}
	return strings.Join(parts, ","), nil
}

func (v Variable) decodeOne(kind reflect.Type, value string) (string, error) {
	switch {
	case len(v.OneOf) > 0:
		return v.decodeChoice(value)
	case kind == reflect.TypeFor[time.Duration]():
		return v.decodeDuration(value)
	case v.format != "":
		return formats[v.format](value)
	}
	switch kind.Kind() {
	case reflect.Bool:
		if _, err := strconv.ParseBool(value); err != nil {
			return "", invalid("true or false", "%s is not a truth value", quoted(value))
		}
	case reflect.Int, reflect.Int16, reflect.Int32:
		n, err := strconv.Atoi(value)
		if err != nil {
			return "", invalid("a whole number "+v.bounds(), "%s is not a whole number", quoted(value))
		}
		if low, high := v.numbers(); float64(n) < low || float64(n) > high {
			return "", invalid("a whole number "+v.bounds(), "%s is out of bounds", value)
		}
		return strconv.Itoa(n), nil // envconfig would take a leading 0 for octal
	case reflect.Float64:
		x, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(x) {
			return "", invalid("a number "+v.bounds(), "%s is not a number", quoted(value))
		}
		if low, high := v.numbers(); x < low || x > high {
			return "", invalid("a number "+v.bounds(), "%s is out of bounds", value)
		}
	}
	return value, nil
}

func (v Variable) decodeChoice(value string) (string, error) {
	i := slices.Index(v.OneOf, value)
	if i < 0 {
		last := len(v.OneOf) - 1
		expected := strings.Join(v.OneOf[:last], ", ") + " or " + v.OneOf[last]
		if meant := nearest(value, v.OneOf, 2); meant != "" {
			return "", invalid(expected, "%s is unknown, did you mean %s?", quoted(value), meant)
		}
		return "", invalid(expected, "%s is unknown", quoted(value))
	}
	if v.kind == reflect.TypeFor[txn.Compression]() {
		codec, err := txn.ParseCompression(value)
		return strconv.Itoa(int(codec)), err
	}
	return value, nil
}

func (v Variable) decodeDuration(value string) (string, error) {
	d, fault := parseDuration(value)
	if fault != "" {
		return "", invalid("a duration "+v.bounds(), "%s %s", quoted(value), fault)
	}
	low, _ := parseDuration(v.min) // the tags are checked by a test
	high, _ := parseDuration(v.max)
	if d < low || d > high {
		return "", invalid("a duration "+v.bounds(), "%s is out of bounds", value)
	}
	return d.String(), nil
}

func (v Variable) bounds() string { return "from " + v.min + " to " + v.max }

func (v Variable) numbers() (low, high float64) {
	low, _ = strconv.ParseFloat(v.min, 64) // the tags are checked by a test
	high, _ = strconv.ParseFloat(v.max, 64)
	return low, high
}

const day = 24 * time.Hour

var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// parseDuration reads a Go duration that may begin with days: "180d", "1d12h",
// "1h30m". A fault says what is wrong with it and "" is none.
func parseDuration(text string) (d time.Duration, fault string) {
	rest := text
	if match := days.FindStringSubmatch(text); match != nil {
		n, _ := strconv.Atoi(match[1]) // at most five digits
		d, rest = time.Duration(n)*day, match[2]
		if rest == "" {
			return d, ""
		}
	}
	more, err := time.ParseDuration(rest)
	switch {
	case err == nil && more >= 0 && d+more >= d && rest[0] != '+' && rest[0] != '-':
		return d + more, ""
	case err == nil && more < 0:
		return 0, "is negative"
	case text != "" && strings.Trim(text, "0123456789.") == "":
		return 0, "has no unit (ms, s, m, h or d)"
	}
	return 0, "is not a duration"
}

// Rate is a limit on requests: so many in each window of time.
type Rate struct {
	Requests int
	Window   time.Duration
}

// EnvDecode reads "100/10s".
func (r *Rate) EnvDecode(text string) error {
	const expected = "requests/time, up to 1000000 requests in 100ms to 1d"
	requests, window, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(strings.TrimSpace(requests))
	if !ok || err != nil {
		return invalid(expected, "%s is not a rate", quoted(text))
	}
	d, fault := parseDuration(strings.TrimSpace(window))
	if fault != "" {
		return invalid(expected, "%s is not a rate: %s %s", quoted(text), quoted(window), fault)
	}
	if n < 1 || n > 1000000 || d < 100*time.Millisecond || d > day {
		return invalid(expected, "%s is out of bounds", text)
	}
	*r = Rate{n, d}
	return nil
}
