package genesys

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
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

// doubtfulOffset is by how much the API's clock and ours may differ before that
// is told: one of them is wrong, and with it what counts as recent.
const doubtfulOffset = 5 * time.Minute

// clockError says that the API's clock and ours are far apart.
type clockError struct{ api, ours time.Time }

func (e *clockError) Error() string {
	const format = "2006-01-02 15:04:05Z"
	ahead, way := e.api.Sub(e.ours), "ahead of"
	if ahead < 0 {
		ahead, way = -ahead, "behind"
	}
	return fmt.Sprintf("the API's clock (%s) is %s %s this host's (%s): check this host's time (NTP), "+
		"and whether something in front of the API rewrites or caches its Date header",
		e.api.Format(format), ahead.Round(time.Second), way, e.ours.Format(format))
}

// clockWatch tells people that a clock is wrong, now and then.
type clockWatch struct {
	mu               sync.Mutex
	wrong            bool
	logged, reported time.Time
}

const (
	logClockEvery    = 10 * time.Minute
	reportClockEvery = 10 * time.Second
)

// observe takes the Date of an answer, and tells where it is far from our time.
func (c *Client) observe(a *answer, data bool) {
	c.clock.observe(a, data)
	offset, known := c.clock.offset()
	if !known {
		return
	}
	w, now := &c.watch, time.Now()
	subject := health.Subject{Kind: health.API, Op: "clock", Warning: true}
	w.mu.Lock()
	defer w.mu.Unlock()
	if offset.Abs() <= doubtfulOffset {
		if w.wrong {
			c.log.Info("the API's clock agrees with this host's again", zap.Duration("offset", offset))
			c.report(subject, nil)
		}
		w.wrong, w.logged, w.reported = false, time.Time{}, time.Time{}
		return
	}
	w.wrong = true
	err := &clockError{now.Add(offset).UTC(), now.UTC()}
	if now.Sub(w.reported) >= reportClockEvery {
		w.reported = now
		c.report(subject, err)
	}
	if now.Sub(w.logged) >= logClockEvery {
		w.logged = now
		c.log.Warn("clock is doubted", zap.Error(err), zap.Duration("offset", offset))
	}
}
