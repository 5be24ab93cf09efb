package genesys

import (
	"net/http"
	"sync"
	"time"
)

// apiClock is the API's clock, learnt from the Date header of its answers.
//
// A Date of D in an answer to a request sent at s and received at r, on our
// monotonic clock, says that the API's clock stood in [D, D+1s) at some moment
// of [s, r]: its offset to ours lies in (D-r, D+1s-s]. The samples together
// narrow that down. Now is the lower end: a little slow, never fast, so that an
// interval that ends at Now never reaches into the API's future.
type apiClock struct {
	mu       sync.Mutex
	base     time.Time // ours, with its monotonic reading; offsets are relative to it
	known    bool
	fromData bool          // learnt from the API itself, not only from the login host
	low      time.Duration // the offset lies between
	high     time.Duration
	at       time.Time // of ours, when low and high were right
	// doubted is a sample that contradicted the others: one may be a mistake of
	// something between the API and us, two that agree are the truth.
	doubted   bool
	doubtLow  time.Duration
	doubtHigh time.Duration
}

// clockDrift is by how much two clocks may run apart: 200 ppm, the worst that
// ordinary quartz does.
const clockDrift = 5000 // one in

// newAPIClock begins with our own clock, until a sample comes.
func newAPIClock() *apiClock { return &apiClock{base: time.Now()} }

// now is the API's clock, UTC.
func (c *apiClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := time.Now()
	// base's wall reading plus monotonic time: a step of our own clock changes nothing.
	return c.base.Add(t.Sub(c.base)).Add(c.low - c.drift(t)).Round(0).UTC()
}

func (c *apiClock) drift(t time.Time) time.Duration {
	if !c.known {
		return 0
	}
	return max(0, t.Sub(c.at)) / clockDrift
}

// offset is how far the API's clock is ahead of ours, and whether that is known.
func (c *apiClock) offset() (time.Duration, bool) {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	return c.now().Sub(time.Now().Round(0)), known
}

// observe takes the Date of a good answer; another one may come from something
// in between. data says that the API gave it: the login host's clock counts
// only until the API's own is known.
func (c *apiClock) observe(a *answer, data bool) {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil || a.status >= 300 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fromData && !data {
		return
	}
	low := date.Sub(c.base.Add(a.received.Sub(c.base)).Round(0))
	high := date.Add(time.Second).Sub(c.base.Add(a.sent.Sub(c.base)).Round(0))
	if !c.known || data && !c.fromData {
		c.set(low, high, a.received)
		c.known, c.fromData = true, data
		return
	}
	drift := c.drift(a.received)
	knownLow, knownHigh := c.low-drift, c.high+drift
	switch {
	case low <= knownHigh && high >= knownLow:
		c.set(max(low, knownLow), min(high, knownHigh), a.received)
	case c.doubted && low <= c.doubtHigh && high >= c.doubtLow:
		c.set(low, high, a.received)
	default:
		c.doubted, c.doubtLow, c.doubtHigh = true, low, high
	}
}

func (c *apiClock) set(low, high time.Duration, at time.Time) {
	c.low, c.high, c.at, c.doubted = low, high, at, false
}
