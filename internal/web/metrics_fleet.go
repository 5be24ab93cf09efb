package web

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics that only a replica of many organisations has. Those without an
// organisation have no label org.
var (
	replicaReady    = ofReplica("replica_ready", "Whether /readyz answers 200.")
	orgsFileWrong   = ofReplica("orgs_file_error", "Whether ORGS_FILE cannot be used as it is; the last good one stays in force.")
	organisations   = ofReplica("organisations", "Organisations by what this replica does for them.", "role")
	ownedPartitions = ofReplica("replica_partitions", "Partitions of the offsets topic that this replica owns.")
	fleetFailing    = ofReplica("replica_failing", "How many things that concern no organisation in particular do not work at the moment.")
	eventsLastDay   = gauge("events_last_day", "Events published in the last 24 hours by this replica.")
)

func ofReplica(name, help string, labels ...string) family {
	return family{prometheus.NewDesc("genesys_audit_"+name, help, labels, nil), prometheus.GaugeValue}
}

var fleetFamilies = []family{replicaReady, orgsFileWrong, organisations, ownedPartitions, fleetFailing, eventsLastDay}

// fleetCollector makes metrics of all organisations at each scrape.
type fleetCollector struct{ source FleetSource }

// Describe implements prometheus.Collector.
func (c fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range slices.Concat(families, fleetFamilies) {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c fleetCollector) Collect(ch chan<- prometheus.Metric) {
	f := c.source.Fleet()
	roles := map[Role]int{Starting: 0, Standby: 0, Active: 0}
	for i := range f.Organisations {
		o := &f.Organisations[i]
		roles[cmp.Or(o.Role, Starting)]++
		e := emitter{ch, o.Org, fleetLabelValues}
		snap, ok := c.source.Organisation(o.Org)
		if !ok || o.Role != Active {
			e.put(activeNow, 0) // so that it is seen when no replica has it at 1
			continue
		}
		e.fleetMember(&snap)
		e.put(eventsLastDay, float64(sum(o.Hourly[:])))
	}
	put := func(f family, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
	}
	for role, n := range roles {
		put(organisations, float64(n), string(role))
	}
	put(replicaReady, indicator(f.NotReady == ""))
	put(orgsFileWrong, indicator(f.OrgsFileError != ""))
	failing := slices.DeleteFunc(f.troubles(), func(f Failure) bool { return f.Warning })
	put(fleetFailing, float64(len(failing)))
	for _, m := range f.Members {
		if m.Name == f.Replica {
			put(ownedPartitions, float64(m.Partitions))
		}
	}
}

// fleetMember sends what there is of one of many organisations: all of its streams as
// one, and the transactions' duration without its buckets.
func (e emitter) fleetMember(s *Snapshot) {
	e.process(s)
	if len(s.Streams) > 0 {
		all := together(s.Streams)
		e.stream(&all)
	}
	e.events(s)
	e.requests(s)
	t := s.Transactions
	t.Duration = Histogram{Counts: []uint64{t.Duration.Total()}, Sum: t.Duration.Sum}
	e.transactions(&t)
}

// allStreams stands for a stream's name where all of an organisation are taken together.
const allStreams = "all streams"

// streamFigures are the figures of a stream, or of several.
type streamFigures struct {
	name                          string
	lag, covered, wanted, gapTime time.Duration
	lastPoll, edge                time.Time
	gaps                          int
	duplicates                    uint64
	sweeps                        []Sweep
	lateness                      Histogram
}

func (s *Stream) figures() streamFigures {
	f := streamFigures{
		name: s.Name, lag: s.Lag, covered: s.Covered.Length(), wanted: s.Wanted.Length(), lastPoll: s.LastPoll, edge: s.Edge,
		gaps: len(s.Gaps), duplicates: s.Duplicates, sweeps: s.Sweeps, lateness: s.Lateness,
	}
	for _, g := range s.Gaps {
		f.gapTime += g.Length()
	}
	return f
}

// together are the figures of several streams: the worst lag, poll, sweeps and edge, and
// the sum of what can be added up.
func together(streams []Stream) streamFigures {
	all := streams[0].figures()
	all.name, all.sweeps = allStreams, slices.Clone(all.sweeps)
	all.lateness.Counts = slices.Clone(all.lateness.Counts)
	for i := range streams[1:] {
		f := streams[1+i].figures()
		all.lag = max(all.lag, f.lag)
		all.covered += f.covered
		all.wanted += f.wanted
		all.gaps += f.gaps
		all.gapTime += f.gapTime
		all.duplicates += f.duplicates
		if f.lastPoll.Before(all.lastPoll) {
			all.lastPoll = f.lastPoll
		}
		if f.edge.After(all.edge) {
			all.edge = f.edge
		}
		for _, w := range f.sweeps {
			at := slices.IndexFunc(all.sweeps, func(s Sweep) bool { return s.Age == w.Age })
			switch {
			case at < 0:
				all.sweeps = append(all.sweeps, w)
			case w.Until.Before(all.sweeps[at].Until):
				all.sweeps[at] = w
			}
		}
		all.lateness = all.lateness.plus(f.lateness)
	}
	return all
}

// plus adds a histogram with the same bounds, as all streams of an organisation have.
func (h Histogram) plus(other Histogram) Histogram {
	if h.Total() == 0 {
		other.Counts = slices.Clone(other.Counts)
		return other
	}
	for i := range min(len(h.Counts), len(other.Counts)) {
		h.Counts[i] += other.Counts[i]
	}
	h.Sum += other.Sum
	return h
}
