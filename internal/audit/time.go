package audit

import "time"

// TimeFormat is how the product writes a time: RFC 3339 in milliseconds, UTC.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// AppendTime appends t as TimeFormat spells it. Package time has a fast path for RFC
// 3339 without a fraction, and none for TimeFormat.
func AppendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(dst, time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(dst[:len(dst)-1], '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10), 'Z')
}

// ParseTime reads an ISO 8601 time with a zone and cuts it to milliseconds, UTC.
// Besides RFC 3339 it takes the zones +0100 and +01, a comma before the fraction,
// a missing fraction or seconds, and the basic form 20060102T150405Z. The first
// instant of year 1 is how some systems write that they have no time; it is none.
func ParseTime(s string) (time.Time, bool) { return parseTime(s) }

func parseTime[T string | []byte](s T) (time.Time, bool) {
	c := clock[T]{rest: s, ok: true}
	year := c.digits(4)
	basic := !c.skip('-')
	month := c.digits(2)
	c.separator('-', basic)
	day := c.digits(2)
	c.expect('T')
	hour := c.digits(2)
	c.separator(':', basic)
	minute := c.digits(2)
	second, nanos := 0, 0
	if c.isDigit() || c.is(':') {
		c.separator(':', basic)
		second = c.digits(2)
		nanos = c.fraction()
	}
	zone := c.zone()
	if !c.ok || len(c.rest) > 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC).Add(-zone).Truncate(time.Millisecond)
	if t.Year() < 1 || t.Year() > 9999 || t.IsZero() {
		return time.Time{}, false
	}
	return t, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// clock takes a time's text apart, from the front. ok is false once something
// else stood there than what was asked for.
type clock[T string | []byte] struct {
	rest T
	ok   bool
}

func (c *clock[T]) is(b byte) bool { return len(c.rest) > 0 && c.rest[0] == b }

func (c *clock[T]) isDigit() bool { return len(c.rest) > 0 && '0' <= c.rest[0] && c.rest[0] <= '9' }

// skip takes b and reports whether it stood there.
func (c *clock[T]) skip(b byte) bool {
	if !c.is(b) {
		return false
	}
	c.rest = c.rest[1:]
	return true
}

func (c *clock[T]) expect(b byte) { c.ok = c.skip(b) && c.ok }

// separator takes b, which the basic form does without.
func (c *clock[T]) separator(b byte, basic bool) {
	if !basic {
		c.expect(b)
	}
}

// digits takes a number of exactly n digits.
func (c *clock[T]) digits(n int) int {
	number := 0
	for range n {
		if !c.isDigit() {
			c.ok = false
			return 0
		}
		number = 10*number + int(c.rest[0]-'0')
		c.rest = c.rest[1:]
	}
	return number
}

// fraction takes a decimal fraction of a second, if there is one, in nanoseconds.
func (c *clock[T]) fraction() int {
	if !c.skip('.') && !c.skip(',') {
		return 0
	}
	nanos, scale := 0, int(time.Second)
	for c.ok = c.ok && c.isDigit(); c.isDigit(); c.rest = c.rest[1:] {
		scale /= 10
		nanos += scale * int(c.rest[0]-'0')
	}
	return nanos
}

// zone takes Z or an offset from UTC.
func (c *clock[T]) zone() time.Duration {
	sign := time.Duration(1)
	switch {
	case c.skip('Z'):
		return 0
	case c.skip('-'):
		sign = -1
	default:
		c.expect('+')
	}
	hours, minutes := c.digits(2), 0
	if c.skip(':') || c.isDigit() {
		minutes = c.digits(2)
	}
	if hours > 23 || minutes > 59 {
		c.ok = false
	}
	return sign * (time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute)
}
