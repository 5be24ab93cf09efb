// Package poller decides what to read next and does it: it tails the API,
// sweeps for events that were shown late, and fills what was never read. All
// three are one operation, "cover this interval".
//
// It promises the invariants of exactly once that lie between the API and
// Kafka: what it takes from the Source goes to the Sink in steps; its memory
// (the ids and the ledger) advances only when a step is known to be durable; an
// interval becomes covered in, or after, the step that holds its last event;
// and any doubt about a step ends the term, after which the memory must be
// loaded anew. It refuses to know HTTP, Kafka and Avro.
package poller

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/offsets"
)

// Source is the API.
type Source interface {
	// Open makes the Source ready (credentials, clock, dialect, taxonomy) and
	// tells which streams to read. An error that wraps ErrConfiguration cannot
	// mend itself; after any other Open is tried again.
	Open(ctx context.Context) ([]audit.Stream, error)
	// Now is the API's clock. It may be a little slow, never fast.
	Now() time.Time
	// Read calls take with each page of r.Interval, in order. take owns the
	// page. last tells that nothing comes after it; Read returns nil only when
	// take has accepted the last page. An interval may be read from its start
	// again within one call. An error that wraps ErrTooMuch says that a shorter
	// interval could be read.
	Read(ctx context.Context, r audit.Read, take func(page audit.Page, last bool) error) error
}

// Sink makes a step durable.
type Sink interface {
	// Commit tries once to write the step whole, in one transaction. nil means that
	// it is known to be committed. *RefusedError means that nothing was written and
	// that one event is why; ErrNotWritten, that nothing was and that this or another
	// step may be tried later. After any other error the step's fate is unknown or
	// the right to write is lost: the term is over.
	Commit(ctx context.Context, s *Step) error
	// Capacity is how much a step should hold at the moment: less than usual where
	// the broker throttles.
	Capacity() (events, bytes int)
}

// Namer looks up what the ids in a step are called.
type Namer interface {
	// Resolve returns the names of the ids in the events. It waits for a second at
	// most; what is not known by then stays without a name.
	Resolve(ctx context.Context, events iter.Seq[*audit.Event]) audit.Names
}

var (
	// ErrTooMuch is wrapped by a Source's error that a shorter interval would avoid.
	ErrTooMuch = errors.New("more than can be read in one piece")
	// ErrUnreadable is wrapped by a Source's error that something in the interval
	// may cause, so that the rest of it could be read without: an answer of 5xx or a
	// body that is none which stays, a refusal behind the first page, a query that
	// fails or does not end. The interval is tried again, and then its halves.
	ErrUnreadable = errors.New("something in the interval cannot be read")
	// ErrNotWritten is wrapped by a Sink's error after which it is certain that
	// nothing of the step was written, nor ever will be, and that the same step, or
	// another one, may be tried later.
	ErrNotWritten = errors.New("nothing was written")
	// ErrThrottled is wrapped beside ErrNotWritten where nothing is wrong but that the
	// step is more than a quota of the broker allows at the moment.
	ErrThrottled = errors.New("throttled by the broker")
	// ErrNoPreview is wrapped by a Source's error that says that a preview is not
	// served, or no more.
	ErrNoPreview = errors.New("there is no such preview")
	// ErrConfiguration is wrapped by errors that only another configuration mends.
	ErrConfiguration = errors.New("configuration")
)

// RefusedError says that a topic does not take an event.
type RefusedError struct {
	ID          string // of the event
	Topic       string
	Size, Limit int // in bytes; Limit is 0 where the topic does not tell
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("event %.80q: topic %s takes records of %d bytes, this one has %d", e.ID, e.Topic, e.Limit, e.Size)
}

// Step is what one transaction holds.
type Step struct {
	Events  []Publication
	Ledgers map[string]offsets.Ledger // by stream; those that this step changes
	// Known are the ledgers as the step finds them, by stream. Not to be written to.
	Known map[string]offsets.Ledger
	// Remember are ids of events that were published before and forgotten.
	Remember []Remembered
	Forget   []string // ids to tombstone
	Erase    []Erasure
	Done     []string // ids of requests that are done, or taken over into a ledger
	Token    []byte   // sealed refresh token; nil for none
	// Names are what the ids in Events are called, as far as that is known; they do
	// not change from one attempt at the step to the next. May be nil.
	Names audit.Names
}

// Remembered is an id and the time under which it is remembered.
type Remembered struct {
	ID string
	At time.Time
}

// Publication is an event that was not published before.
type Publication struct {
	Event *audit.Event
	// At stands for the event's time where it has none that can be read.
	At time.Time
	// Remember is the time under which the id is remembered: the event's own, or
	// forever where it has none, or one outside of the interval that it was read in.
	Remember time.Time

	from *delivery // what it came with
	slot time.Time // where it stands in the ledger: a time within the interval that it was read in
}

// Config is what the poller can be told.
type Config struct {
	PollInterval  time.Duration
	PollOverlap   time.Duration
	SweepAges     []time.Duration
	Start         func(now time.Time, retention time.Duration) time.Time // where a new deployment starts
	BackfillChunk time.Duration
	Chunks        int   // backfill chunks in flight
	Hours         Hours // when history is read; what was missed for a while is read at once
	// BackfillRate, where set, returns how many requests a second a backfill may take
	// at most.
	BackfillRate func() float64
	StopTimeout  time.Duration // how long a step may take to finish after the term was ended
	Namer        Namer         // looks up what ids are called; nil for nobody
	Health       *health.Monitor
	Logger       *zap.Logger
}

// Poller is one term of the active replica. It owns state from New on.
type Poller struct {
	cfg      Config
	src      Source
	sink     Sink
	archive  Archive
	log      *zap.Logger
	stats    *Stats
	schedule *schedule
	crowded  bool // many streams with previews share the limit; set before the schedule runs

	// urgent carries the tail, bulk everything else that was read, tasks what comes
	// with no page, and tokens refresh tokens, which wait for nothing, to the one
	// goroutine that commits (commit.go). It alone touches ids, erased, refused, repairs, waiting,
	// sooner and recalling.
	urgent, bulk  chan *delivery
	tasks, tokens chan task
	ids           *offsets.IDs
	erased        *offsets.IDs        // never published again, whatever ids says
	refused       map[string][]string // by the id of an event that a topic refused: streams whose ledger has the gap
	repairs       map[string]*repair  // by request: those under way
	waiting       []task              // tokens that were rejected and are to be written first
	sooner        sooner              // which dialect shows events first
	recalling     int                 // recalls under way: nothing is forgotten while it is not 0
	rememberFree  int                 // ids that are kept though no reading should meet them; see forget
	mostGaps      int                 // gaps of one kind in a ledger; see gaps.merge
	damaged       map[string]error    // streams whose ledger cannot be read
	hold          time.Duration       // see hold.go

	mu         sync.Mutex                // protects what follows
	ledgers    map[string]offsets.Ledger // as they are durable
	held       map[string]offsets.Ledger // by stream: as the step leaves them that is held back; see hold.go
	readings   map[*reading]struct{}     // under way
	forgetting map[string]time.Time      // by stream: before this, ids are being forgotten
	token      []byte
	requests   []handedIn          // that the schedule has not seen yet
	streams    []audit.Stream      // set once the source is open
	progress   map[string]Progress // of backfills, by stream
}

// New makes a term of state, which was loaded after the transactional producer
// was initialised and belongs to the poller from here on.
func New(cfg Config, src Source, sink Sink, archive Archive, state *offsets.State, stats *Stats) *Poller {
	p := &Poller{
		cfg: cfg, src: src, sink: sink, archive: archive, log: cfg.Logger, stats: stats,
		urgent: make(chan *delivery), bulk: make(chan *delivery, 1), tasks: make(chan task), tokens: make(chan task),
		ids: state.IDs, erased: state.Erased, refused: make(map[string][]string), repairs: make(map[string]*repair),
		rememberFree: rememberFreely, mostGaps: mostGaps, damaged: state.Damaged, hold: holdFor, held: make(map[string]offsets.Ledger),
		ledgers: state.Ledgers, readings: make(map[*reading]struct{}), forgetting: make(map[string]time.Time), progress: make(map[string]Progress),
		token: state.Token,
	}
	p.schedule = newSchedule(p)
	for stream, l := range p.ledgers {
		for _, g := range l.Gaps {
			if g.ID != "" {
				p.refused[g.ID] = append(p.refused[g.ID], stream)
			}
		}
	}
	return p
}

// Run reads and publishes until parent ends (then it returns nil, the step under
// way finished) or the term is over for another reason, which it returns.
func (p *Poller) Run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	// The committer begins first and ends last: opening the source, and a login that
	// is under way when the term ends, may have a refresh token to save.
	var committer sync.WaitGroup
	alone := make(chan struct{}) // closed when everybody else has ended
	step := newStepBuilder(p)
	committer.Go(func() { cancel(p.guarded(func() error { return p.commitLoop(ctx, step, alone) })) })
	err := p.guarded(func() error {
		if err := p.open(ctx); err != nil {
			return err
		}
		return p.schedule.run(ctx)
	})
	if err != nil && ctx.Err() == nil {
		cancel(err)
	}
	close(alone)
	committer.Wait()
	step.abandon()
	p.cfg.Health.Drop(func(s health.Subject) bool { return s.Kind == health.API || s.Kind == health.Other }) // nobody tries it any more
	if cause := context.Cause(ctx); cause != context.Cause(parent) {
		return cause
	}
	return nil
}

// guarded is health.Monitor.Guard; what panicked is unreadable, so that the interval which
// it was met in is halved until it stands alone.
func (p *Poller) guarded(f func() error) error {
	err := p.cfg.Health.Guard(f)
	if panicked, ok := errors.AsType[*health.PanicError](err); ok {
		p.log.Error("panic; the work that met it is given up", zap.Error(panicked), zap.ByteString("stack", panicked.Stack))
		return fmt.Errorf("%w: %w", ErrUnreadable, panicked)
	}
	return err
}

// clocks are the API's clock and ours, the lower one first, in whole milliseconds,
// the precision of intervals. They are one where they agree to within half of the
// overlap, which the next poll reads again: then it is the API's that counts.
func (p *Poller) clocks() (low, high time.Time) {
	api, ours := p.src.Now().UTC().Truncate(time.Millisecond), time.Now().UTC().Truncate(time.Millisecond)
	if api.Sub(ours).Abs() <= p.cfg.PollOverlap/2 {
		return api, api
	}
	return earliest(api, ours), latest(api, ours)
}

// now is what is past by both clocks. All planning goes by it: a clock that is far
// ahead is not followed into the future.
func (p *Poller) now() time.Time { low, _ := p.clocks(); return low }

// latestNow is what is past by either clock. What is too old to be asked for goes by it.
func (p *Poller) latestNow() time.Time { _, high := p.clocks(); return high }

// ledger returns a stream's ledger with all that was read, durable or held back.
func (p *Poller) ledger(stream string) (offsets.Ledger, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newestLedger(stream)
}

func (p *Poller) openStreams() []audit.Stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams
}

// Token is the sealed refresh token that the topic holds; nil where it holds none.
func (p *Poller) Token() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token
}

// SaveToken makes a rotated, sealed refresh token durable before it returns.
func (p *Poller) SaveToken(ctx context.Context, sealed []byte) error {
	return p.hand(ctx, p.tokens, task{change: func(s *stepBuilder) { s.step.Token = sealed }})
}

// Ledgers is a copy of the ledgers of all streams, those that are not read any more
// among them, with all that was read, durable or held back.
func (p *Poller) Ledgers() map[string]offsets.Ledger {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := maps.Clone(p.ledgers)
	maps.Copy(all, p.held)
	return all
}

// Streams are those that are read.
func (p *Poller) Streams() []audit.Stream { return p.openStreams() }
