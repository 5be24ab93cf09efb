package poller

import (
	"time"

	"genesys-audit-connector/internal/audit"
)

// reading is an interval that is being read for the first time.
type reading struct {
	stream   string
	interval audit.Interval
	began    time.Time // on the API's clock
}

func (p *Poller) claim(stream string, i audit.Interval) *reading {
	r := &reading{stream, i, p.now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy[r] = struct{}{}
	return r
}

func (p *Poller) unclaim(r *reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, r)
}

// Reading is what of a stream is being read for the first time.
func (p *Poller) Reading(stream string) audit.IntervalSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	var s audit.IntervalSet
	for r := range p.busy {
		if r.stream == stream {
			s = s.Add(r.interval)
		}
	}
	return s
}

// youngReadings are those that began before their interval had reached the age.
func (p *Poller) youngReadings(stream string, age time.Duration) audit.IntervalSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	var s audit.IntervalSet
	for r := range p.busy {
		if r.stream == stream && r.interval.To.After(r.began.Add(-age)) {
			s = s.Add(r.interval)
		}
	}
	return s
}
