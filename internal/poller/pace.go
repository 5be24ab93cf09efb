package poller

import (
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
)

// pace is how fast a backfill gets on while it may run.
type pace struct {
	since time.Time     // when it began to be measured; zero while the backfill rests
	done  time.Duration // of the stream's time, since then
	speed float64       // the stream's time in a unit of ours; 0 while not known
}

// measured is how long a pace is measured before it is believed.
const measured = 20 * time.Second

// Progress is when a backfill goes on, and when it will be done.
type Progress struct {
	Resumes time.Time // zero while it may run
	Done    time.Time // zero while not known
}

// progress takes note of how the backfill gets on.
func (b *backfill) progress(now time.Time) {
	p := b.p
	l, _ := p.ledger(b.s.Name)
	var to Progress
	opens := p.cfg.Hours.Opens(now)
	switch rests := opens.After(now); {
	case len(l.Wanted) == 0:
		b.pace.since = time.Time{}
		if b.healing != nil {
			b.healing = nil
		}
		p.cfg.Health.Report(b.overtaken(), nil)
	case rests:
		b.pace.since, to.Resumes = time.Time{}, opens
	case b.pace.since.IsZero():
		b.pace.since, b.pace.done = now, 0
	case now.Sub(b.pace.since) >= measured:
		b.pace.speed = float64(b.pace.done) / float64(now.Sub(b.pace.since))
	}
	if b.pace.speed > 0 && len(l.Wanted) > 0 {
		to.Done = p.cfg.Hours.after(now, time.Duration(float64(l.Wanted.Length())/b.pace.speed))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress[b.s.Name] = to
}

// Progress returns how the backfill of a stream gets on; the zero value where there
// is nothing to do.
func (p *Poller) Progress(stream string) Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.progress[stream]
}

func (b *backfill) overtaken() health.Subject {
	return health.Subject{Kind: health.Other, Op: "backfill in time", Of: b.s.Name, Warning: true}
}

// warn says before a backfill begins that it cannot end in time: that the API will
// have forgotten some of it, whatever happens.
func (b *backfill) warn(now time.Time, wanted audit.IntervalSet) {
	p := b.p
	if len(wanted) == 0 || b.s.Retention <= 0 || p.cfg.BackfillRate == nil {
		return
	}
	requests := 1.0
	if b.s.MaxWindow > 0 { // a query: submit, look, read
		requests = 3
	}
	speed := p.cfg.BackfillRate() * p.longest(b.s.Stream).Seconds() / requests
	lost := overtakes(wanted, retentionEdge(now, b.s.Retention), now, speed, p.cfg.Hours)
	if lost <= 0 {
		return
	}
	err := &OvertakenError{Lost: lost.Round(time.Minute)}
	p.cfg.Health.Report(b.overtaken(), err)
	p.log.Warn("the backfill cannot end in time", zap.String("stream", b.s.Name), zap.Error(err))
}

// OvertakenError says that a backfill is too slow.
type OvertakenError struct{ Lost time.Duration }

func (e *OvertakenError) Error() string {
	return "at best, the API will have forgotten the oldest " + Age(e.Lost) +
		" before the backfill comes to them: raise BACKFILL_SHARE, widen BACKFILL_HOURS, or set a later BACKFILL_FROM"
}

// overtakes returns how much of the wanted time the API forgets before it is read,
// oldest first, at a speed (its time in a unit of ours) while the hours allow.
func overtakes(wanted audit.IntervalSet, edge, now time.Time, speed float64, hours Hours) (lost time.Duration) {
	at, t := wanted[0].From, now
	left := wanted.Length()
	forgotten := func() { // by t
		if gone := edge.Add(t.Sub(now)).Sub(at); gone > 0 {
			gone = min(gone, left)
			lost, left, at = lost+gone, left-gone, at.Add(gone)
		}
	}
	const most = 10_000 // some years of nights
	for range most {
		t = hours.Opens(t)
		forgotten()
		needs := time.Duration(float64(left) / speed)
		end := hours.Closes(t)
		if end.IsZero() || end.Sub(t) >= needs {
			if speed < 1 { // the edge is faster
				t = t.Add(needs)
				at = at.Add(left)
				if gone := edge.Add(t.Sub(now)).Sub(at); gone > 0 {
					lost += min(gone, left)
				}
			}
			return lost
		}
		read := time.Duration(float64(end.Sub(t)) * speed)
		at, left, t = at.Add(read), left-read, end
	}
	return lost + left
}
