package web

import (
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// FleetSource tells what there is to show of many organisations. Its methods may be
// called at any time, by several requests at once, and must not wait for the network.
type FleetSource interface {
	Fleet() Fleet
	// Organisation returns all that there is to show of an organisation that this
	// replica runs, or that it follows closely enough; ok is false for any other.
	Organisation(name string) (s Snapshot, ok bool)
}

// Fleet is what a replica knows of all organisations, at one moment. Whoever makes it
// gives it away: nothing in it may change afterwards.
type Fleet struct {
	Replica string // this replica's name
	Version string
	Commit  string
	Now     time.Time // our clock when this was taken
	Started time.Time // of the process
	// NotReady says why /readyz refuses; "" means ready. One organisation's trouble is none.
	NotReady string
	Members  []Member // of the group, this replica too; nil where nothing is known of others
	// OrgsFileError says why ORGS_FILE cannot be used as it is now; "" where it can.
	OrgsFileError string
	Failures      []Failure // what concerns no organisation in particular; any order
	Organisations []Summary // each once, any order
}

// Member is a replica of the group.
type Member struct {
	Name       string
	Partitions int // of the offsets topic that it owns
}

// Summary is an organisation in a line. Only its name, role and partition are known
// of one that another replica runs, and which one that is.
type Summary struct {
	Org       string
	Role      Role   // what this replica does for it: Active where it runs it
	Partition int32  // of the offsets topic
	Replica   string // which runs it; "" where that is not known

	Lag          time.Duration // of the stream that is furthest behind
	Gaps         int
	Wanted       time.Duration // left to read, in all streams
	NewestEvent  time.Time     // zero where no event is known of
	LastVerified *Verification // nil for never
	// LastError is what does not work at the moment; "" for nothing. Warning says that the
	// work goes on all the same.
	LastError string
	Warning   bool
	// Hourly is how many events were published in each of the last 24 hours, oldest first.
	Hourly [24]uint64
}

// Summary is the snapshot in a line. Partition, Replica and Hourly are the caller's to add.
func (s *Snapshot) Summary() Summary {
	t := s.sums()
	line := Summary{
		Org: s.Org, Role: s.Role, Lag: t.lag, Gaps: t.gaps, Wanted: t.wanted,
		NewestEvent: s.NewestEvent, LastVerified: s.LastVerified,
	}
	if f := s.lasting(); len(f) > 0 { // what does not work comes before warnings
		line.LastError, line.Warning = f[0].What+": "+f[0].Err, f[0].Warning
	}
	return line
}

// snapshot is the little that is known of an organisation which another replica runs.
func (f *Fleet) snapshot(o *Summary) Snapshot {
	s := Snapshot{
		Org: o.Org, Role: o.Role, Version: f.Version, Commit: f.Commit, Now: f.Now, Started: f.Started,
		Replica: f.Replica, NewestEvent: o.NewestEvent, LastVerified: o.LastVerified,
	}
	if o.Replica != "" {
		s.Replicas = []Replica{{Name: f.Replica}, {Name: o.Replica, Active: true}}
	}
	return s
}

// NewFleet makes a server for many organisations, which does not listen yet.
func NewFleet(source FleetSource, log *zap.Logger) *Server {
	s := &Server{log: log}
	fl := fleetServer{s, source}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", fl.overview)
	mux.HandleFunc("GET /org/{org}", fl.page)
	mux.HandleFunc("GET /api/status", fl.status)
	mux.HandleFunc("GET /evidence/checkpoint", fl.checkpoint)
	mux.Handle("GET /metrics", s.metrics(fleetCollector{source}))
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", fl.ready)
	s.routes = guard(mux)
	return s
}

// fleetServer answers requests about many organisations.
type fleetServer struct {
	*Server
	source FleetSource
}

func (s fleetServer) overview(w http.ResponseWriter, r *http.Request) {
	f := s.source.Fleet()
	s.draw(w, fleetTemplate, fleetPolicy, newFleetView(&f, parseFilter(r.URL.Query())))
}

func (s fleetServer) page(w http.ResponseWriter, r *http.Request) {
	snap, ok := s.organisation(r.PathValue("org"))
	if !ok {
		unknown(w, r.PathValue("org"))
		return
	}
	v := newView(&snap)
	v.Fleet = true
	s.Server.page(w, v)
}

func (s fleetServer) status(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("org") {
		f := s.source.Fleet()
		s.json(w, f.Status())
		return
	}
	snap, ok := s.organisation(r.URL.Query().Get("org"))
	if !ok {
		unknown(w, r.URL.Query().Get("org"))
		return
	}
	s.json(w, snap.Status())
}

func (s fleetServer) checkpoint(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("org") {
		text(w, http.StatusBadRequest, "each organisation has a log of its own: ask for /evidence/checkpoint?org=NAME\n")
		return
	}
	snap, ok := s.organisation(r.URL.Query().Get("org"))
	if !ok {
		unknown(w, r.URL.Query().Get("org"))
		return
	}
	checkpoint(w, &snap)
}

func (s fleetServer) ready(w http.ResponseWriter, _ *http.Request) {
	f := s.source.Fleet()
	if f.NotReady != "" {
		text(w, http.StatusServiceUnavailable, f.NotReady+"\n")
		return
	}
	active := 0
	for i := range f.Organisations {
		if f.Organisations[i].Role == Active {
			active++
		}
	}
	text(w, http.StatusOK, fmt.Sprintf("ready, runs %s\n", count(active, "organisation")))
}

// organisation returns what is known of an organisation; ok is false where there is none of that name.
func (s fleetServer) organisation(name string) (snap Snapshot, ok bool) {
	if snap, ok = s.source.Organisation(name); ok {
		return snap, true
	}
	f := s.source.Fleet()
	for i := range f.Organisations {
		if f.Organisations[i].Org == name {
			return f.snapshot(&f.Organisations[i]), true
		}
	}
	return Snapshot{}, false
}

func unknown(w http.ResponseWriter, name string) {
	text(w, http.StatusNotFound, fmt.Sprintf("there is no organisation %q in ORGS_FILE; / and /api/status list those that there are\n", shown(name, maxName)))
}
