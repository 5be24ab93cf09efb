package genesys

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// dated is an answer of a server whose clock is ahead by so much, with the
// latency of both ways.
func dated(ahead, there, back time.Duration) *answer {
	sent := time.Now()
	time.Sleep(there)
	date := time.Now().Add(ahead).UTC().Format(http.TimeFormat)
	time.Sleep(back)
	return &answer{status: 200, header: http.Header{"Date": {date}}, sent: sent, received: time.Now()}
}

// The API's clock is found from dates in whole seconds, and is never fast.
func TestClockIsNeverFast(t *testing.T) {
	for _, ahead := range []time.Duration{0, 90 * time.Second, -3 * time.Hour, 333 * time.Millisecond} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				c := newAPIClock()
				for i := range 200 {
					c.observe(dated(ahead, time.Duration(random.IntN(100))*time.Millisecond, time.Duration(random.IntN(100))*time.Millisecond), true)
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
					slow := time.Now().Add(ahead).Sub(c.now())
					if slow < 0 || slow > 1200*time.Millisecond {
						t.Fatalf("after %d answers the clock is %s slow", i+1, slow)
					}
					if i == 199 && slow > 200*time.Millisecond {
						t.Errorf("after %d answers the clock is still %s slow", i+1, slow)
					}
				}
				if offset, known := c.offset(); !known || (offset-ahead).Abs() > 300*time.Millisecond {
					t.Errorf("offset %s, expected %s", offset, ahead)
				}
			})
		})
	}
}

func TestClockFollowsAStepButNotAMistake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newAPIClock()
		slow := func(ahead time.Duration) time.Duration { return time.Now().Add(ahead).Sub(c.now()) }
		for range 5 {
			c.observe(dated(0, 10*time.Millisecond, 10*time.Millisecond), true)
		}
		c.observe(dated(time.Hour, 0, 0), true)
		if s := slow(0); s < 0 || s > 2*time.Second {
			t.Fatalf("one wrong date made the clock %s slow", s)
		}
		for _, bad := range []*answer{
			{status: 503, header: http.Header{"Date": {"Sat, 01 Jan 2022 00:00:00 GMT"}}},
			{status: 200, header: http.Header{"Date": {"a quarter past two"}}},
			{status: 200, header: http.Header{}},
		} {
			c.observe(bad, true)
			c.observe(bad, true)
		}
		if s := slow(0); s < 0 || s > 2*time.Second {
			t.Fatalf("answers without a date made the clock %s slow", s)
		}
		for range 2 {
			c.observe(dated(-time.Minute, 0, 0), true)
		}
		if s := slow(-time.Minute); s < 0 || s > 2*time.Second {
			t.Fatalf("after a step of the API's clock ours is %s slow", s)
		}
	})
}

// The login host's clock counts until the API's is known.
func TestClockOfTheLoginHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newAPIClock()
		c.observe(dated(time.Minute, 0, 0), false)
		if off, _ := c.offset(); off < 58*time.Second {
			t.Fatalf("offset %s before the API answered", off)
		}
		c.observe(dated(0, 0, 0), true)
		c.observe(dated(time.Minute, 0, 0), false)
		c.observe(dated(time.Minute, 0, 0), false)
		if off, _ := c.offset(); off > time.Second {
			t.Fatalf("offset %s after the API answered", off)
		}
	})
}
