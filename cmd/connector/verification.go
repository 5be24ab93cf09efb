package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/verify"
)

// verification is one verify under way.
type verification struct {
	app     *app
	h       *handover
	streams []audit.Stream
	parts   map[string]audit.IntervalSet // by stream: what to compare
	whole   audit.Interval

	mu      sync.Mutex // protects leftOut
	leftOut []error    // instants that the API could not serve, and why
}

// scope opens the API and decides what to compare: what was asked for, or, where
// that is empty, what each stream has covered; never what the tail has not come to.
func (v *verification) scope(ctx context.Context, asked audit.Interval) (err error) {
	if v.streams, err = v.app.source.Open(ctx); err != nil {
		return err
	}
	v.parts = make(map[string]audit.IntervalSet)
	var all audit.IntervalSet
	for _, s := range v.streams {
		part := v.h.state.Ledgers[s.Name].Covered
		until := v.now().Add(-v.app.cfg.Poll.Overlap)
		if len(part) > 0 {
			until = part.Last()
		}
		if !asked.Empty() {
			part = audit.NewIntervalSet(asked)
		}
		v.parts[s.Name] = part.Clip(audit.Interval{From: v.edge(s), To: until})
		all = all.Union(v.parts[s.Name])
	}
	if len(all) == 0 {
		return errors.New("there is nothing to compare: nothing is covered yet (in this interval), or all of it is older than the API's retention")
	}
	v.whole = audit.Interval{From: all.First(), To: all.Last()}
	return nil
}

// now is the API's clock.
func (v *verification) now() time.Time { return v.app.source.Now().Truncate(time.Millisecond) }

// settle waits, where something recent is compared, until the active replica has
// read all that the API has shown here: what was shown late is on its way.
func (v *verification) settle(ctx context.Context) error {
	shown := v.now()
	if v.whole.To.Before(shown.Add(-v.app.cfg.Poll.Overlap)) {
		return nil
	}
	members, err := v.app.cluster.GroupMembers(ctx, v.app.cfg.GroupID())
	if err != nil || len(members) == 0 {
		return err
	}
	behind := func(s audit.Stream) bool { return v.h.state.Ledgers[s.Name].Covered.Last().Before(shown) }
	limit := time.Now().Add(min(3*v.app.cfg.Poll.Interval+40*time.Second, 2*time.Minute))
	for next := time.Now(); slices.ContainsFunc(v.streams, behind); {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(max(v.app.cfg.Poll.Interval, time.Second))
			if err := v.askForLedgers(ctx); err != nil { // without the right to write they come by themselves, later
				v.app.log.Debug("the active replica cannot be asked to write its ledgers", zap.Error(err))
				next = limit
			}
		}
		if time.Now().After(limit) {
			v.app.log.Warn("the active replica does not poll: events of the last moments may be on their way and named missing")
			return nil
		}
		if err := v.h.read.Poll(ctx, 500*time.Millisecond, v.h.apply); err != nil && !errors.Is(err, txn.ErrRetry) {
			return err
		}
	}
	return nil
}

// askForLedgers has the active replica write its ledgers, which it holds back while nothing
// happens: it is asked to read a moment that is covered, which is done as soon as it is written.
func (v *verification) askForLedgers(ctx context.Context) error {
	_, _, err := v.h.submit(ctx, offsets.Request{Kind: offsets.KindBackfill, From: v.whole.From, To: v.whole.From.Add(time.Millisecond)})
	return err
}

// edge is the oldest that can be read of a stream now, and for a moment longer.
func (v *verification) edge(s audit.Stream) time.Time {
	if s.Retention <= 0 {
		return time.Time{}
	}
	return v.now().Add(5*time.Second - s.Retention)
}

// compare reads the API, then Kafka to its end: what was published while the
// API was read counts.
func (v *verification) compare(ctx context.Context) (verify.Report, error) {
	c := verify.New(v.whole)
	v.leftOut = nil
	if err := v.readAPI(ctx, c); err != nil {
		return verify.Report{}, err
	}
	if err := v.settle(ctx); err != nil {
		return verify.Report{}, err
	}
	k := v.app.cfg.Kafka
	err := v.app.cluster.ReadTopic(ctx, k.TopicRaw, func(r *txn.Record) error {
		if at, digest, ours := v.headers(r); ours {
			c.Raw(r.Key, at, digest, r.Value)
		}
		return nil
	})
	if err != nil {
		return verify.Report{}, err
	}
	err = v.app.cluster.ReadTopic(ctx, k.TopicChanges, func(r *txn.Record) error {
		at, _, ours := v.headers(r)
		if !ours || r.Value == nil {
			return nil
		}
		id, index, count, err := codec.Position(r.Value)
		if err != nil {
			v.app.log.Warn("a record in the changes topic cannot be read", zap.Int64("offset", r.Offset), zap.Error(err))
			return nil
		}
		c.Change([]byte(id), at, index, count)
		return nil
	})
	if err == nil { // what was erased meanwhile counts
		err = v.h.read.ReadToEnd(ctx, v.h.apply)
	}
	for id := range v.h.state.Erased.All() {
		c.Erased(id)
	}
	return c.Report(), err
}

// readAPI reads what is to be compared, several pieces at a time: an answer of
// the API may take long, and its pacer sees to it that it is not asked too often.
func (v *verification) readAPI(ctx context.Context, c *verify.Comparison) error {
	var mu sync.Mutex // protects c
	take := func(page audit.Page, reading audit.Interval) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range page.Events {
			c.API(e.ID, e.Time, reading)
		}
		page.Release()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(backfillChunks)
	for _, s := range v.streams {
		for _, part := range v.parts[s.Name] {
			for from := part.From; from.Before(part.To); from = from.Add(v.app.cfg.Poll.BackfillChunk) {
				piece := audit.Interval{From: from, To: from.Add(v.app.cfg.Poll.BackfillChunk)}.Intersect(part)
				g.Go(func() error { return v.readPiece(ctx, s, piece, 0, take) })
			}
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("read the API: %w", err)
	}
	return nil
}

// readPiece reads an interval, or its halves where it is more than can be read in
// one piece or something in it cannot be read. What has left the API's retention meanwhile cannot be compared any
// more: reading all takes hours.
func (v *verification) readPiece(ctx context.Context, s audit.Stream, i audit.Interval, attempts int, take func(audit.Page, audit.Interval)) error {
	i = i.Intersect(audit.Interval{From: v.edge(s), To: i.To})
	if i.Empty() {
		return nil
	}
	err := v.app.source.Read(ctx, audit.Read{Stream: s.Name, Interval: i, Purpose: audit.Backfill, Attempts: attempts}, func(page audit.Page, _ bool) error {
		take(page, i)
		return nil
	})
	var past *genesys.RetentionError
	switch {
	case errors.As(err, &past): // it has waited for its turn
		return v.readPiece(ctx, s, i, attempts, take)
	case !errors.Is(err, poller.ErrTooMuch) && !errors.Is(err, poller.ErrUnreadable):
		return err
	case i.Length() <= time.Millisecond:
		return v.leaveOut(i, err)
	}
	half := i.From.Add(max(i.Length()/2, time.Millisecond).Truncate(time.Millisecond))
	if err := v.readPiece(ctx, s, audit.Interval{From: i.From, To: half}, fewAttempts, take); err != nil {
		return err
	}
	return v.readPiece(ctx, s, audit.Interval{From: half, To: i.To}, fewAttempts, take)
}

// fewAttempts bounds the attempts of a request for a part of what failed before.
const fewAttempts = 2

// maxLeftOut bounds what a comparison goes on without: where more cannot be read,
// it is the API that fails and no event in it.
const maxLeftOut = 100

// leaveOut notes an instant that cannot be read, because of err.
func (v *verification) leaveOut(i audit.Interval, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.leftOut) == maxLeftOut {
		return err
	}
	v.leftOut = append(v.leftOut, fmt.Errorf("not compared: %w", err))
	return nil
}

func (v *verification) headers(r *txn.Record) (at time.Time, digest []byte, ours bool) {
	for _, h := range r.Headers {
		switch h.Key {
		case "org":
			ours = string(h.Value) == v.app.cfg.Org
		case "event-time":
			at, _ = audit.ParseTime(string(h.Value))
		case "sha256":
			digest = h.Value
		}
	}
	return at, digest, ours
}

// remember keeps the result where the active replica finds it, to be shown. The result
// stands whether or not that works.
func (v *verification) remember(ctx context.Context, missing, repaired int) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	value, err := json.Marshal(offsets.Verification{
		At: time.Now().UTC().Truncate(time.Millisecond), From: v.whole.From, To: v.whole.To, Missing: missing, Repaired: repaired,
	})
	if err == nil {
		err = v.h.write(ctx, offsets.AppendVerifiedKey(nil, v.app.cfg.Org), value)
	}
	if err != nil {
		v.app.log.Warn("the result is not kept in the offsets topic, so the status page and lastVerified do not know of it", zap.Error(err))
	}
}

// maxRequestIDs bounds a request to what one record holds.
const maxRequestIDs = 10_000

// repair hands the missing ids over and waits until the work is done.
func (v *verification) repair(ctx context.Context, report *verify.Report) error {
	r := offsets.Request{Kind: offsets.KindRepair}
	hand := func() error {
		if len(r.IDs) == 0 {
			return nil
		}
		fmt.Fprintf(os.Stderr, "%d events are missing; having them published\n", len(r.IDs))
		id, _, err := v.h.submit(ctx, r)
		r.IDs = r.IDs[:0]
		if err != nil {
			return err
		}
		return v.h.follow(ctx, func() bool { return v.h.done(id) })
	}
	for f := range repairOrder(report) {
		if len(r.IDs) == maxRequestIDs {
			if err := hand(); err != nil {
				return err
			}
		}
		if len(r.IDs) == 0 {
			r.From, r.To = f.Shown.From, f.Shown.To
		}
		r.IDs = append(r.IDs, f.ID)
		if f.Shown.From.Before(r.From) {
			r.From = f.Shown.From
		}
		if f.Shown.To.After(r.To) {
			r.To = f.Shown.To
		}
	}
	return hand()
}

// repairOrder is what is missing, in the order of the time at which the API shows
// it, so that a request is for as little time as can be: first what it shows at
// its own time, then what it shows elsewhere, which is little.
func repairOrder(report *verify.Report) iter.Seq[verify.Finding] {
	return func(yield func(verify.Finding) bool) {
		var others []verify.Finding
		for f := range report.Findings() {
			switch {
			case f.Kind != verify.Missing:
			case f.Elsewhere:
				others = append(others, f)
			case !yield(f):
				return
			}
		}
		slices.SortFunc(others, func(a, b verify.Finding) int { return a.Shown.From.Compare(b.Shown.From) })
		for _, f := range others {
			if !yield(f) {
				return
			}
		}
	}
}
