package poller

import (
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// simulate polls for a simulated time, with so many at once that take so long
// each; news says whether a poll of the stream finds something. It counts the
// polls, and the longest time that each stream waited from one to the next.
func simulate(streams, atOnce int, interval, takes, length time.Duration, news func(stream int) bool) (polls []int, waited []time.Duration) {
	s := &schedule{places: [classes]int{newest: atOnce}, active: map[*job]struct{}{}}
	activity := make([]float64, streams)
	index := make(map[*lane]int)
	for i := range streams {
		l := &lane{class: newest, single: true}
		index[l] = i
		s.lanes = append(s.lanes, l)
	}
	polls, waited = make([]int, streams), make([]time.Duration, streams)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type flight struct {
		l    *lane
		ends time.Time
	}
	var flying []flight
	for now := start; now.Before(start.Add(length)); now = now.Add(100 * time.Millisecond) {
		for len(flying) > 0 && !flying[0].ends.After(now) {
			l := flying[0].l
			i := index[l]
			if activity[i] /= 2; news(i) {
				activity[i] += 0.5
			}
			l.weight = 1 + (busyWeight-1)*activity[i]
			l.running, l.due = 0, l.served.Add(interval)
			flying = flying[1:]
		}
		for {
			taken := [classes]int{newest: len(flying)}
			l := s.urgent(now, &taken)
			if l == nil {
				break
			}
			i := index[l]
			if polls[i] > 0 {
				waited[i] = max(waited[i], now.Sub(l.served))
			}
			polls[i]++
			l.served, l.running = now, 1
			flying = append(flying, flight{l, now.Add(takes)})
		}
	}
	return polls, waited
}

func TestTailsKeepTheIntervalWhereTheLimitSuffices(t *testing.T) {
	polls, waited := simulate(25, tailsAtOnce, 10*time.Second, time.Second, 1000*time.Second, func(i int) bool { return i < 3 })
	for i := range polls {
		if polls[i] != 100 || waited[i] != 10*time.Second {
			t.Errorf("stream %d: %d polls, at most %s apart; want 100, every 10s", i, polls[i], waited[i])
		}
	}
}

// A limit of one poll a second, for 25 streams that want one every 5 seconds.
func TestTailsGoRoundFairlyAndBusyOnesMoreOften(t *testing.T) {
	polls, waited := simulate(25, 1, 5*time.Second, time.Second, 3000*time.Second, func(i int) bool { return i < 3 })
	// 3 busy ones of weight 4 and 22 idle ones of weight 1 share 3000 polls.
	for i, n := range polls {
		share := 3000.0 / (3*busyWeight + 22)
		if i < 3 {
			share *= busyWeight
		}
		if f := float64(n) / share; f < 0.9 || f > 1.1 {
			t.Errorf("stream %d (busy: %t): %d polls, its share is %.0f", i, i < 3, n, share)
		}
		if waited[i] > 40*time.Second {
			t.Errorf("stream %d was left alone for %s", i, waited[i])
		}
	}
	polls, _ = simulate(25, 1, 5*time.Second, time.Second, 3000*time.Second, func(int) bool { return false })
	for i, n := range polls {
		if n < 119 || n > 121 {
			t.Errorf("all idle: stream %d got %d polls of 3000, want 120", i, n)
		}
	}
}

// Neither the tail nor a sweep ends in trouble where an interval holds more than one reading can take.
func TestTailWithTooMuchIsReadInParts(t *testing.T) {
	for _, most := range []time.Duration{0, 7 * time.Second} {
		inBubble(t, time.Hour, func(b *bench) {
			b.api.tooMuch = most
			for i := range 300 {
				at := b.start.Add(time.Duration(i) * time.Second)
				b.api.add(stream, fmt.Sprint("e", i), at, at.Add(time.Duration(i%7)*time.Second))
			}
			b.cfg.BackfillChunk = time.Minute // a sweep's piece is longer than tooMuch as well
			b.lead(30 * time.Minute)
			b.kafka.complete(b.api, b.start, b.start.Add(time.Hour), time.Hour)
			if lag := time.Since(b.ledger().Covered.Last()); lag > 15*time.Second {
				t.Errorf("at most %s in one reading: covered to %s before now", most, lag)
			}
			if mark := b.ledger().Sweeps[10*time.Minute]; time.Since(mark) > 12*time.Minute {
				t.Errorf("at most %s in one reading: swept to %s before now", most, time.Since(mark))
			}
		})
	}
}

// The API tells its clock in whole seconds: polls that fell on the same part of each
// would never know it better than that.
func TestPollsFallOnAllPartsOfASecond(t *testing.T) {
	inBubble(t, time.Hour, func(b *bench) {
		b.cfg.PollInterval = time.Second
		b.lead(5 * time.Minute)
		var tenths [10]int
		for _, r := range b.api.reads {
			if r.Purpose == audit.Tail {
				tenths[r.Interval.To.Nanosecond()/1e8]++
			}
		}
		for i, n := range tenths {
			if n == 0 {
				t.Errorf("no poll fell on tenth %d of a second: %d", i, tenths)
			}
		}
	})
}
