package genesys

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
)

// An organisation may take a query without a service, and then never answer it. Such
// a query is given up where readings fail that nothing in their intervals is to blame
// for (servesElsewhere), all of them, for a while, and a query of one service does
// answer: an outage of the whole dialect is none of this. Later it is tried again, less
// and less often: each change of mind ends a term.
const (
	triedAgainFirst = 10 * time.Minute
	triedAgainMost  = 6 * time.Hour
	trialTime       = 2 * time.Minute // what a query of a minute may take, in all
)

// inVain is what speaks against queries of all services that are accepted. The
// client's mu protects it.
type inVain struct {
	failed lasting // readings in a row
	given  bool    // up: services are read one by one
	worked lasting // trials in a row since
	due    time.Time
	pause  time.Duration // before the next trial that comes after one that fails
}

var (
	allAtOnce = health.Subject{Kind: health.API, Op: "query all services at once", Warning: true}
	errInVain = errors.New("such queries are accepted, and none succeeds: services are asked for one by one, which takes more requests")
)

// noteWhole takes note of a reading of all services that failed, or did not.
func (c *Client) noteWhole(s *stream, err error) {
	if s.Name != wholeName {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.inVain.failed = lasting{}
		return
	}
	c.inVain.failed.again()
}

// wasGivenUp reports whether a process before this one had given queries of all
// services up: that stream was read, and then those of services were. It is reported
// once, and tried again soon, like whatever else may have changed.
func (c *Client) wasGivenUp() bool {
	if c.cfg.KnownStreams == nil {
		return false
	}
	known := c.cfg.KnownStreams()
	if !slices.Contains(known, wholeName) || known[0] == wholeName || !strings.HasPrefix(known[0], string(Query)+":") {
		return false
	}
	c.mu.Lock()
	v := &c.inVain
	first := v.pause == 0
	if first {
		v.given, v.pause, v.due = true, triedAgainFirst/2, time.Now()
	}
	c.mu.Unlock()
	if first {
		c.log.Info("services were read one by one before, and are until a query for all succeeds")
	}
	return first
}

// reconsiderWhole decides whether queries of all services are given up, or taken up
// again. It may take some minutes, and changes nothing else.
func (c *Client) reconsiderWhole(ctx context.Context) {
	c.mu.Lock()
	v, m := c.inVain, c.mappings
	c.mu.Unlock()
	switch {
	case len(m.query) == 0:
	case v.given && !time.Now().Before(v.due):
		c.takeUpWhole(c.answers(ctx, c.wholeStream(m)))
	case !v.given && v.failed.over(lastingTime):
		services := slices.Sorted(maps.Keys(m.query))
		service := services[v.failed.times%len(services)] // another one each time
		if c.answers(ctx, c.serviceStream(m, service)) == nil {
			c.giveUpWhole()
		}
	}
}

// giveUpWhole has services read one by one, unless a query of all has answered
// meanwhile.
func (c *Client) giveUpWhole() {
	c.mu.Lock()
	v := &c.inVain
	failed := v.failed.times
	if failed > 0 {
		v.pause = min(max(2*v.pause, triedAgainFirst), triedAgainMost)
		v.given, v.worked, v.due = true, lasting{}, time.Now().Add(v.pause)
	}
	pause := v.pause
	c.mu.Unlock()
	if failed == 0 {
		return
	}
	c.log.Warn("queries for all services are accepted, and none succeeds; services are asked for one by one",
		zap.Int("failed", failed), zap.Duration("tried_again_in", pause))
	c.report(allAtOnce, errInVain)
}

// takeUpWhole takes note of a trial.
func (c *Client) takeUpWhole(err error) {
	c.mu.Lock()
	v := &c.inVain
	if err == nil {
		v.worked.again()
	} else {
		v.pause = min(2*v.pause, triedAgainMost)
		v.worked, v.due = lasting{}, time.Now().Add(v.pause)
	}
	works, pause := v.worked.over(lastingTime), v.pause
	if works {
		v.given, v.failed = false, lasting{}
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		c.log.Info("queries for all services still fail", zap.Error(err), zap.Duration("tried_again_in", pause))
		c.report(allAtOnce, errInVain)
	case works:
		c.log.Info("queries for all services succeed again")
		c.report(allAtOnce, nil)
	}
}

// answers tries whether the results of a query for a minute of a stream can be had.
func (c *Client) answers(ctx context.Context, s *stream) error {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	at := c.Now().Add(-controlAge).Truncate(time.Millisecond)
	if s.Retention > 0 {
		at = c.Now().Add(-min(controlAge, s.Retention/2)).Truncate(time.Millisecond)
	}
	i := audit.Interval{From: at, To: at.Add(time.Minute)}
	trial := (&reading{Read: audit.Read{Stream: s.Name, Purpose: audit.Sweep}, stream: s}).counting(i)
	trial.Attempts = 1
	return c.readQuery(ctx, trial, i, true)
}
