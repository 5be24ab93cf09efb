package sandbox

import "time"

// ClockError is how far the organisation's clock is from the truth.
type ClockError struct {
	Shift  time.Duration // positive: ahead
	Events bool          // the times of new events and the edge of retention go with it; else only the Date header
}

// SetClock makes the clock wrong from now on; the zero ClockError makes it
// right. Limits, tokens, queries and lateness go by the true time always.
func (o *Org) SetClock(e ClockError) { o.clockError.Store(&e) }

// date is the time that the Date header tells.
func (o *Org) date(now time.Time) time.Time {
	if e := o.clockError.Load(); e != nil {
		return now.Add(e.Shift)
	}
	return now
}

// eventTime is the time that an event of now gets.
func (o *Org) eventTime() time.Time {
	now := o.now()
	if e := o.clockError.Load(); e != nil && e.Events {
		return now.Add(e.Shift)
	}
	return now
}
