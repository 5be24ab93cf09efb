package poller

import (
	"context"
	"errors"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/retry"
)

const (
	// previewsAtOnce is how many previews are read, or wait for their turn, at the same
	// time; as many again may be of priority.
	previewsAtOnce = 8
	// previewMargin is how far before the last reading one begins that is not to read
	// the whole overlap, for what the API shows out of order.
	previewMargin = 15 * time.Second
	// previewGone is how long a preview that is not served is left alone.
	previewGone = time.Minute
)

// preview reads what a faster dialect shows of a stream's newest events. They are
// published at once, and nothing is covered: the stream's own dialect shows all of
// them, and what the preview lacks, a little later. So a preview that fails, or has
// gaps, delays events and loses none.
type preview struct {
	p       *Poller
	s       *streamLanes
	of      audit.Previewed
	lane    *lane
	what    health.Subject
	backoff retry.Backoff

	activity float64   // as a tail's
	read     time.Time // when the last reading that succeeded began, by the clock of plans
	long     bool      // it had several pages: the next one reads less again
	span     time.Duration
}

func newPreview(p *Poller, s *streamLanes, of audit.Previewed) *preview {
	w := &preview{
		p: p, s: s, of: of, backoff: newBackoff(), span: p.cfg.PollOverlap,
		what: health.Subject{Kind: health.API, Op: "preview", Of: of.Service, Warning: true},
	}
	w.lane = &lane{class: previews, single: true, next: w.next}
	if of.Priority {
		w.lane.class = priority
	}
	return w
}

func (w *preview) next(now time.Time) (*job, time.Time) {
	p := w.p
	w.lane.weight = 1 + (busyWeight-1)*w.activity
	clock := p.now()
	r := p.claim(w.s.Name, true, func(v view) audit.Interval {
		return audit.Interval{From: latest(w.from(clock), v.Start, v.Forgotten), To: clock}
	})
	if r == nil {
		return nil, now.Add(p.cfg.PollInterval)
	}
	purpose := audit.Preview
	if w.of.Priority {
		purpose = audit.Tail
	}
	var events int
	pages := 0
	like := delivery{
		read:     audit.Read{Stream: w.s.Name, Interval: r.interval, Purpose: purpose, Preview: w.of.Service, Attempts: fewAttempts},
		lateness: p.cfg.PollOverlap, fresh: &events, pages: &pages, compare: true,
	}
	return &job{
		reading: r,
		run:     func(ctx context.Context) error { return p.cover(ctx, like, r.interval) },
		ended:   func(err error, ended time.Time) { w.ended(err, now, ended, clock, events, pages) },
	}, time.Time{}
}

// from is where a reading begins: it reaches back over the overlap, or where that
// takes several pages, to a little before the last one.
func (w *preview) from(clock time.Time) time.Time {
	from := clock.Add(-w.span)
	if w.long && !w.read.IsZero() {
		from = latest(from, w.read.Add(-previewMargin))
	}
	return from
}

func (w *preview) ended(err error, began, now, clock time.Time, events, pages int) {
	p := w.p
	switch {
	case errors.Is(err, ErrNoPreview): // the schedule is made anew when that lasts
		w.lane.due = now.Add(previewGone)
		return
	case errors.Is(err, ErrTooMuch):
		w.span = max(w.span/2, p.cfg.PollInterval)
		w.lane.due = now.Add(p.setback(w.what, err, &w.backoff))
		return
	case err != nil:
		w.lane.due = now.Add(p.setback(w.what, err, &w.backoff))
		return
	}
	w.backoff.Reset()
	p.cfg.Health.Report(w.what, nil)
	w.span = min(2*w.span, p.cfg.PollOverlap)
	w.read, w.long = clock, pages > 1
	w.lane.due = began.Add(dithered(p.cfg.PollInterval))
	w.activity /= 2
	if events > 0 {
		w.activity += 0.5
	}
}
