package web

import (
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
)

// Role is what a replica does at the moment, as /api/status spells it.
type Role string

// The roles.
const (
	Starting Role = "starting"
	Standby  Role = "standby"
	Active   Role = "active"
)

// Snapshot is everything that this package shows, at one moment. The zero value
// is that of a replica which has just started. Whoever makes it gives it away:
// nothing in it may change afterwards. Counts are since the process started.
type Snapshot struct {
	Org     string
	API     string // the dialect; "" while it is not known
	Version string
	Commit  string
	Role    Role
	// NotReady says why /readyz refuses; "" means ready.
	NotReady string

	Now     time.Time // our clock when the snapshot was taken
	Started time.Time // of the process
	// ClockOffset is the API's clock less ours; ClockKnown once an answer told.
	ClockOffset time.Duration
	ClockKnown  bool

	Replica  string    // this replica's name
	Replicas []Replica // all that are known, this one too; nil where nothing is known of others
	Fenced   uint64    // times that another replica took over from this one unasked
	Panics   uint64    // faults of ours that were met and set aside

	Streams      []Stream
	Leads        Leads
	Rate         Rate
	Events       Events
	Transactions Transactions
	Log          Log
	// NewestEvent is the newest event's own time, over all processes; zero where no event
	// is known of.
	NewestEvent  time.Time
	LastVerified *Verification // nil for never
	Requests     []Requests
	IDs          int               // remembered now
	Unmapped     map[string]uint64 // events by entity type, for types without a mapping
	Failures     []Failure         // what does not work now, and what did not lately; any order
	// Recent returns the newest changes published, newest first. It has to decode them,
	// which only the page needs. It is nil where there are none.
	Recent func() []audit.Change
}

// unseen reports whether the replica reads and has never seen an event, in any process.
func (s *Snapshot) unseen() bool {
	return s.Role == Active && s.NewestEvent.IsZero() && s.Log.Size == 0 && s.Events.Published == 0
}

// missing is how many events the last verification left missing.
func (s *Snapshot) missing() int {
	if s.LastVerified == nil {
		return 0
	}
	return s.LastVerified.Missing
}

// Replica is one process of the consumer group.
type Replica struct {
	Name   string
	Active bool
}

// Stream is one stream's ledger and what became of its polls.
type Stream struct {
	Name    string
	Covered audit.IntervalSet
	Wanted  audit.IntervalSet // left to read
	Reading audit.IntervalSet // being read at the moment, for whatever purpose
	Gaps    []Gap
	// Edge is the oldest instant that the API still holds; zero means that it forgets nothing.
	Edge time.Time
	// Lag is how far the newest covered instant is behind the API's clock; where
	// nothing is covered, how far the start of what is wanted is.
	Lag        time.Duration
	LastPoll   time.Time // the last successful tail poll; zero if none
	Duplicates uint64
	// Lateness counts the events that a re-read found, by how old they were then.
	// Its bounds are the overlap and the sweep ages; the last bucket holds what
	// no sweep would have found.
	Lateness Histogram
	Sweeps   []Sweep
	Backfill Backfill
}

// Backfill is when what is wanted is read: it may wait for its hours.
type Backfill struct {
	Resumes time.Time // zero while it may run
	Done    time.Time // as far as its pace so far tells; zero for not known
}

// Gap is time that could not be read or published. What has left the API stays
// one; any other is tried again now and then, and ends once its cause has.
type Gap struct {
	audit.Interval
	Reason string
}

// Sweep is how far one sweep age has come.
type Sweep struct {
	Age   time.Duration
	Until time.Time
}

// Rate is the budget of requests in the current window.
type Rate struct {
	Limit     int // of the organisation or client; 0 while not known
	Window    time.Duration
	Ours      int // requests that we made in the window
	Others    int // requests that others are seen to have made in it
	Remaining int // as the server says, else Limit less what was used
	Reserve   int // requests that are always left
	Share     float64
	Throttled time.Duration // waited for the budget, in all
	Families  []FamilyRate  // of routes, each with its own limit
}

// FamilyRate is the budget of a family of routes: auditlogs, query, realtime, names.
type FamilyRate struct {
	Name                           string
	Limit, Used, Others, Remaining int
}

// Leads is by how much a dialect showed events before the other did, in seconds; by
// the name of the one that was first.
type Leads map[string]Histogram

// Events are totals.
type Events struct {
	Published uint64
	Changes   uint64
	Errors    uint64 // published with the header error
}

// Log is the newest checkpoint of the evidence log; zero where there is none.
type Log struct {
	Size       uint64
	Root       []byte
	Signed     bool
	Checkpoint string // as it was published
}

// Verification is what the last "connector verify" found.
type Verification struct {
	At       time.Time // when it ended
	From, To time.Time // what was compared
	Missing  int       // events that it left missing
	Repaired int       // events that it had published
}

// Transactions are totals, and how long the committed ones took.
type Transactions struct {
	Committed uint64
	Aborted   uint64
	Unknown   uint64  // ended with an answer that does not tell
	Retries   uint64  // requests of the protocol that were sent again
	Throttled float64 // seconds for which a quota of the brokers wanted nothing to be sent
	Duration  Histogram
}

// Requests counts requests to the API.
type Requests struct {
	Purpose string // tail, sweep, backfill, token, …
	Status  string // an HTTP status, or a word such as "timeout"
	Count   uint64
}

// Histogram counts by upper bound, in seconds, ascending.
type Histogram struct {
	Bounds []float64
	Counts []uint64 // not cumulative; one more than Bounds, or nil for none
	Sum    float64
}

// Total is how many were counted.
func (h Histogram) Total() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// at is bucket i; an empty histogram need not have buckets.
func (h Histogram) at(i int) uint64 {
	if i < len(h.Counts) {
		return h.Counts[i]
	}
	return 0
}

// Failure is something that does not work, or did not lately.
type Failure struct {
	Kind health.Kind
	What string // what was tried
	// Warning: the work goes on all the same, and the replica stays ready.
	Warning bool
	Err     string
	Since   time.Time // of the first failure in a row
	Last    time.Time
	Times   int
	// Ended is when it worked again; zero while it lasts.
	Ended time.Time
}
