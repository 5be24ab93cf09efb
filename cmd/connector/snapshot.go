package main

import (
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/replica"
	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/web"
)

// Snapshot is what the status page, its API and the metrics show.
func (a *app) Snapshot() web.Snapshot {
	a.mu.Lock()
	encoder, decoder, out, member, term, facts := a.encoder, a.decoder, a.sink, a.leader, a.term, a.facts
	a.mu.Unlock()
	v, commit := build()
	counts := a.stats.Counts()
	s := web.Snapshot{
		Org: a.cfg.Org, Version: v, Commit: commit, Role: web.Starting, Now: time.Now(), Started: a.began,
		Replica: a.name, IDs: counts.IDs, Panics: uint64(a.health.Panics()),
		Events:       web.Events{Published: uint64(counts.Published)},
		Transactions: transactions(a.producer.Stats()),
		Failures:     failures(append(a.health.Past(), a.health.Failing()...)),
	}
	s.Leads = leads(counts)
	a.addSource(&s)
	loaded := false
	if member != nil {
		var role replica.Role
		role, loaded = member.Role()
		s.Role, s.Fenced = web.Role(role), uint64(member.Fenced())
	}
	if encoder != nil {
		s.Unmapped = encoder.Unmapped()
	}
	if out != nil {
		if c := out.Checkpoint(); c.Size > 0 && s.Role == web.Active {
			s.Log = web.Log{Size: c.Size, Root: c.Root[:], Signed: c.Signed(), Checkpoint: c.Text}
		}
		changes, problems, unknown := out.Totals()
		s.Events.Changes, s.Events.Errors, s.Transactions.Unknown = uint64(changes), uint64(problems), uint64(unknown)
		if s.Role == web.Active { // or some of it may have been erased by who is
			s.Recent = func() []audit.Change { return decodeAll(decoder, out.Recent()) }
		}
	}
	if term != nil && s.Role == web.Active {
		s.Streams = a.streams(term, counts)
		s.NewestEvent = facts.Newest()
		if v := facts.Verified(); v != nil {
			s.LastVerified = (*web.Verification)(v)
		}
	}
	for _, m := range a.group() {
		s.Replicas = append(s.Replicas, web.Replica{Name: m.Name, Active: slices.Contains(m.Partitions, a.cfg.offsetsPartition())})
	}
	slices.SortFunc(s.Replicas, func(a, b web.Replica) int { return strings.Compare(a.Name, b.Name) })
	s.NotReady = notReady(s.Role, loaded, a.health.Failing())
	return s
}

func decodeAll(decoder *codec.Decoder, values [][]byte) (changes []audit.Change) {
	for _, value := range values {
		if c, err := decoder.Decode(value); err == nil { // what was encoded here decodes: the codec's tests
			changes = append(changes, c)
		}
	}
	return changes
}

// notReady says why the replica is not ready; "" when it is.
func notReady(role web.Role, loaded bool, failing []health.Failure) string {
	for _, f := range failing {
		if !f.Warning && (f.Lasting(time.Now()) || f.Kind == health.Credentials) {
			return f.String() + ": " + f.Err.Error()
		}
	}
	if role == web.Starting || !loaded {
		return "the offsets topic is not loaded yet"
	}
	return ""
}

func (a *app) streams(term *poller.Poller, counts poller.Counts) []web.Stream {
	now, ledgers := a.source.Now(), term.Ledgers()
	var list []web.Stream
	for _, s := range term.Streams() {
		l, n := ledgers[s.Name], counts.Streams[s.Name]
		lag := now.Sub(l.Start)
		if len(l.Covered) > 0 {
			lag = now.Sub(l.Covered.Last())
		}
		w := web.Stream{
			Name: s.Name, Covered: l.Covered, Wanted: l.Wanted, Reading: term.Reading(s.Name), Lag: max(0, lag),
			Backfill: web.Backfill(term.Progress(s.Name)), LastPoll: n.LastPoll, Duplicates: uint64(n.Duplicates),
			Lateness: lateness(a.stats.LateBuckets(), n),
		}
		if s.Retention > 0 {
			w.Edge = now.Add(-s.Retention)
		}
		for _, g := range l.Gaps {
			w.Gaps = append(w.Gaps, web.Gap{Interval: g.Interval, Reason: g.Reason})
		}
		for _, age := range a.cfg.Poll.SweepAges {
			w.Sweeps = append(w.Sweeps, web.Sweep{Age: age, Until: l.Sweeps[age]})
		}
		list = append(list, w)
	}
	return list
}

func lateness(bounds []time.Duration, n poller.StreamCounts) web.Histogram {
	h := web.Histogram{Sum: n.LateSum.Seconds()}
	for _, b := range bounds {
		h.Bounds = append(h.Bounds, b.Seconds())
	}
	for _, c := range n.Late {
		h.Counts = append(h.Counts, uint64(c))
	}
	return h
}

// leads is nil as long as no dialect was ahead of the other.
func leads(c poller.Counts) web.Leads {
	of := func(l poller.Lead) web.Histogram {
		h := web.Histogram{Bounds: poller.LeadBounds[:], Sum: l.Sum.Seconds()}
		for _, n := range l.Buckets {
			h.Counts = append(h.Counts, uint64(n))
		}
		return h
	}
	realtime, query := of(c.PreviewFirst), of(c.OwnFirst)
	if realtime.Total()+query.Total() == 0 {
		return nil
	}
	return web.Leads{string(genesys.Realtime): realtime, string(genesys.Query): query}
}

func transactions(s txn.Stats) web.Transactions {
	return web.Transactions{
		Committed: s.Commits, Aborted: s.Aborts, Retries: s.Retries, Throttled: s.ThrottledSeconds,
		Duration: web.Histogram{Bounds: txn.CommitBounds[:], Counts: s.CommitBuckets[:], Sum: s.CommitSeconds},
	}
}

func failures(failing []health.Failure) []web.Failure {
	var list []web.Failure
	for _, f := range failing {
		list = append(list, web.Failure{
			Kind: f.Kind, What: f.String(), Warning: f.Warning, Err: f.Err.Error(), Since: f.Since, Last: f.Last, Times: f.Times, Ended: f.Ended,
		})
	}
	return list
}
