package poller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/retry"
)

// gaps tries again, now and then, what a topic refused or could not be read, so
// that a gap ends by itself once its cause has.
type gaps struct {
	p    *Poller
	s    *streamLanes
	lane *lane
	next map[gapKey]*gapTry
}

// gapKey tells gaps apart.
type gapKey struct {
	id string // of the event that is refused; "" for any other gap
	audit.Interval
}

// gapTry is when a gap is tried next.
type gapTry struct {
	due     time.Time
	backoff retry.Backoff
}

const (
	firstGapTry = time.Minute // after a gap was found, at most
	lastGapTry  = time.Hour   // between tries of an old one, at most; a minute where there are few gaps
	// mostGaps is how many gaps of one kind a ledger may have before neighbours are
	// merged, so that half as many are left. A gap takes some 300 bytes of the
	// ledger, which must fit in one record.
	mostGaps = 1000
)

func newGaps(p *Poller, s *streamLanes) *gaps {
	g := &gaps{p: p, s: s, next: make(map[gapKey]*gapTry)}
	l, _ := p.ledger(s.Name)
	for _, gap := range l.Gaps {
		g.try(gap).due = time.Time{} // whoever restarts the connector may have ended the cause
	}
	g.lane = &lane{class: bulk, single: true, next: g.nextTry}
	return g
}

func keyOf(g offsets.Gap) gapKey { return gapKey{g.ID, g.Interval} }

// try returns when the gap is tried next; one that is new was tried just now.
func (g *gaps) try(gap offsets.Gap) *gapTry {
	t := g.next[keyOf(gap)]
	if t == nil {
		t = &gapTry{backoff: retry.Backoff{First: firstGapTry, Most: lastGapTry}}
		t.due = time.Now().Add(t.backoff.Next())
		g.next[keyOf(gap)] = t
	}
	return t
}

// nextTry is the gap whose next try has been due for longest.
func (g *gaps) nextTry(now time.Time) (*job, time.Time) {
	l, _ := g.p.ledger(g.s.Name)
	edge := retentionEdge(g.p.latestNow(), g.s.Retention)
	live := make(map[gapKey]bool, len(l.Gaps))
	var gap offsets.Gap
	var best *gapTry
	var unreadable []offsets.Gap
	due := now.Add(idleLook)
	for _, candidate := range l.Gaps {
		if candidate.Kind == offsets.Expired || candidate.From.Before(edge) {
			continue
		}
		live[keyOf(candidate)] = true
		if candidate.Kind == offsets.Unreadable {
			unreadable = append(unreadable, candidate)
		}
		t := g.try(candidate)
		due = earliest(due, t.due)
		if !t.due.After(now) && (best == nil || t.due.Before(best.due)) {
			gap, best = candidate, t
		}
	}
	g.tell(unreadable)
	for key := range g.next {
		if !live[key] {
			delete(g.next, key)
		}
	}
	if best == nil {
		return nil, due
	}
	r := g.p.claim(g.s.Name, false, func(view) audit.Interval { return gap.Interval })
	return &job{
		reading: r,
		run:     func(ctx context.Context) error { return g.read(ctx, gap) },
		ended: func(err error, now time.Time) {
			best.due = now.Add(min(best.backoff.Next(), time.Minute*time.Duration(1+len(live)/10)))
			if err != nil {
				g.p.log.Debug("gap is still there", zap.String("stream", g.s.Name), zap.Stringer("interval", gap.Interval), zap.Error(err))
				return
			}
			g.s.succeeded = now
		},
	}, time.Time{}
}

// tell reports what cannot be read, as a warning: everything around it is
// published, and it is tried again.
func (g *gaps) tell(unreadable []offsets.Gap) {
	what := health.Subject{Kind: health.API, Op: "read a gap", Of: g.s.Name, Warning: true}
	if len(unreadable) == 0 {
		g.p.cfg.Health.Report(what, nil)
		return
	}
	first := unreadable[0]
	g.p.cfg.Health.Report(what, fmt.Errorf("%d gaps, the first of them %s: %s", len(unreadable), first.Interval, first.Reason))
}

// read reads a gap. An event of its own heals in the step that publishes it, and its
// time is covered when all of it was read; any other gap is filled when all of it was
// read and nothing of it was refused.
func (g *gaps) read(ctx context.Context, gap offsets.Gap) error {
	refused := 0
	like := delivery{
		read:  audit.Read{Stream: g.s.Name, Purpose: audit.Backfill, Attempts: fewAttempts},
		again: true, refused: &refused,
	}
	if gap.ID != "" {
		like.note = func(l offsets.Ledger, part audit.Interval) offsets.Ledger { return l.Cover(part) }
	}
	left, err := g.p.coverInParts(ctx, like, gap.Interval)
	if err != nil || len(left) > 0 || gap.ID != "" {
		return err
	}
	return g.p.do(ctx, func(b *stepBuilder) {
		if refused > 0 { // it belongs to the committer
			return
		}
		b.change(g.s.Name, func(l offsets.Ledger) offsets.Ledger { return l.Fill(gap.Interval) })
	})
}

// merge bounds the ledger: where there are very many gaps of one kind, those
// that are nearest to each other become one with what lies between them, whose
// ids are read back first.
func (g *gaps) merge(ctx context.Context) error {
	l, _ := g.p.ledger(g.s.Name)
	for _, kind := range []offsets.GapKind{offsets.Refused, offsets.Unreadable} {
		merged := mergeGaps(l.Gaps, kind, g.p.mostGaps)
		if len(merged) == 0 {
			continue
		}
		g.p.log.Warn("very many gaps; neighbours are merged", zap.String("stream", g.s.Name), zap.String("kind", string(kind)), zap.Int("into", len(merged)))
		err := g.p.recall(ctx, func(*stepBuilder) audit.IntervalSet {
			var all audit.IntervalSet
			for _, m := range merged {
				all = all.Add(m.Interval)
			}
			return all
		}, func(b *stepBuilder) {
			b.change(g.s.Name, func(l offsets.Ledger) offsets.Ledger {
				for _, m := range merged {
					l = l.Merge(m)
				}
				return l
			})
			b.dropRefused(g.s.Name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeGaps returns the gaps that are to take the place of others, so that half of
// most are left of a kind of which there are more than most.
func mergeGaps(all []offsets.Gap, kind offsets.GapKind, most int) []offsets.Gap {
	var gaps []offsets.Gap
	for _, g := range all {
		if g.Kind == kind {
			gaps = append(gaps, g)
		}
	}
	if len(gaps) <= most {
		return nil
	}
	// The widest spaces between neighbours stay.
	spaces := make([]int, 0, len(gaps)-1)
	for i := 1; i < len(gaps); i++ {
		spaces = append(spaces, i)
	}
	slices.SortFunc(spaces, func(a, b int) int {
		return cmp.Compare(gaps[b].From.Sub(gaps[b-1].To), gaps[a].From.Sub(gaps[a-1].To))
	})
	borders := append(spaces[:most/2-1], 0, len(gaps))
	slices.Sort(borders)
	var merged []offsets.Gap
	for i := 1; i < len(borders); i++ {
		group := gaps[borders[i-1]:borders[i]]
		if len(group) == 1 {
			continue
		}
		m := offsets.Gap{Interval: group[0].Interval, Kind: kind, Reason: mergedReason(len(group), group[0].Reason)}
		for _, g := range group {
			m.To = latest(m.To, g.To)
		}
		merged = append(merged, m)
	}
	return merged
}

func mergedReason(n int, example string) string {
	return fmt.Sprintf("%d gaps that are too many to list, between which all is published; for example: %.300s", n, example)
}
