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
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
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
	// Remember are ids of events that were published before and forgotten.
	Remember []Remembered
	Forget   []string // ids to tombstone
	Done     []string // ids of requests that are done, or taken over into a ledger
	Token    []byte   // sealed refresh token; nil for none
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
	// Remember is the time under which the id is remembered: the event's own,
	// moved into the interval that it was read in.
	Remember time.Time

	stream string
	slot   time.Time // where the event stands in the ledger: a time within the interval that it was read in
}

// Config is what the poller can be told.
type Config struct {
	PollInterval  time.Duration
	PollOverlap   time.Duration
	SweepAges     []time.Duration
	Start         func(now time.Time, retention time.Duration) time.Time // where a new deployment starts
	BackfillChunk time.Duration
	Chunks        int           // backfill chunks in flight
	StopTimeout   time.Duration // how long a step may take to finish after the term was ended
	Logger        *zap.Logger
}

// Poller is one term of the active replica. It owns state from New on.
type Poller struct {
	cfg     Config
	src     Source
	sink    Sink
	archive Archive
	log     *zap.Logger
	stats   *Stats

	// urgent carries the tail, bulk everything else, to the one goroutine that
	// commits (commit.go), which alone touches ids, refused and requests.
	urgent, bulk chan *delivery
	tasks        chan task
	ids          *offsets.IDs
	refused      map[string]bool  // ids of events that a topic did not take
	damaged      map[string]error // streams whose ledger cannot be read
	recalling    atomic.Int32     // ids are being read back: nothing is forgotten while it is not 0

	mu      sync.Mutex // protects what follows
	ledgers map[string]offsets.Ledger
	busy    map[*reading]struct{} // first readings under way
	token   []byte
	streams []audit.Stream // set once the source is open
	opened  chan struct{}  // closed then
}

// New makes a term of state, which was loaded after the transactional producer
// was initialised and belongs to the poller from here on.
func New(cfg Config, src Source, sink Sink, archive Archive, state *offsets.State, stats *Stats) *Poller {
	p := &Poller{
		cfg: cfg, src: src, sink: sink, archive: archive, log: cfg.Logger, stats: stats,
		urgent: make(chan *delivery), bulk: make(chan *delivery, 1), tasks: make(chan task),
		ids: state.IDs, refused: make(map[string]bool),
		ledgers: state.Ledgers, damaged: state.Damaged, busy: make(map[*reading]struct{}), token: state.Token,
		opened: make(chan struct{}),
	}
	for _, l := range p.ledgers {
		for _, g := range l.Gaps {
			if g.ID != "" {
				p.refused[g.ID] = true
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
	var committer, wg sync.WaitGroup // all others end with ctx
	alone := make(chan struct{})     // closed when they have
	committer.Go(func() { cancel(p.commitLoop(ctx, alone)) })
	run := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	run(func(ctx context.Context) error {
		streams, err := p.open(ctx)
		if err != nil {
			return err
		}
		q := newTails(streams, p.cfg.PollInterval)
		for range min(len(streams), tailsAtOnce) {
			run(func(ctx context.Context) error { return p.tailLoop(ctx, q) })
		}
		run(func(ctx context.Context) error { return p.sweepLoop(ctx, streams) })
		run(p.forgetLoop)
		run(p.summaryLoop)
		newBackfill(p, streams).start(run)
		return nil
	})
	wg.Wait()
	close(alone)
	committer.Wait()
	if cause := context.Cause(ctx); cause != context.Cause(parent) {
		return cause
	}
	return nil
}

// open opens the source, again and again until it opens, and begins or resumes
// the ledger of each stream.
func (p *Poller) open(ctx context.Context) ([]audit.Stream, error) {
	var streams []audit.Stream
	err := p.persist(ctx, "open", func() (err error) {
		streams, err = p.src.Open(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	now := p.now()
	var lost audit.IntervalSet
	before := maps.Clone(p.ledgers) // nobody else changes them yet
	for _, s := range streams {
		if err := p.damaged[s.Name]; err != nil {
			// Starting anew would publish again whatever was forgotten.
			return nil, fmt.Errorf("%w: the ledger of %s in the offsets topic cannot be read: %w; write back its last good value, or tombstone it and all other keys of this organisation to have the ids read back from the raw topic", ErrConfiguration, s.Name, err)
		}
		l, known := p.ledger(s.Name)
		start := p.cfg.Start(now, s.Retention)
		if edge := retentionEdge(now, s.Retention); start.Before(edge) && edge.Sub(start) <= retentionMargin {
			start = edge.Add(firstReading(s.Retention)) // "all there is" is what can still be asked for, and no gap
		}
		if known {
			l = resume(l, start, now, p.cfg.SweepAges)
		} else {
			l = begin(start, now, p.cfg.PollOverlap, p.cfg.SweepAges)
		}
		p.setLedger(s.Name, l)
		wanted := l.Wanted.Add(audit.Interval{From: frontier(l), To: now})
		lost = lost.Union(unremembered(wanted, again(l, p.cfg.PollOverlap), s.Name, before))
		p.log.Info("stream", zap.String("stream", s.Name), zap.Bool("new", !known),
			zap.Time("start", l.Start), zap.Time("covered_to", l.Covered.Last()),
			zap.Duration("wanted", l.Wanted.Length()), zap.Int("gaps", len(l.Gaps)))
	}
	// The first step writes the ledgers, so that a start that was promised once is kept.
	err = p.persist(ctx, "raw topic", func() error {
		return p.recall(ctx, lost, func(b *stepBuilder) {
			for _, s := range streams {
				b.change(s.Name, func(l offsets.Ledger) offsets.Ledger { return l })
			}
		})
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.streams = streams
	p.mu.Unlock()
	close(p.opened)
	return streams, nil
}

// now is the API's clock in whole milliseconds, the precision of its intervals.
func (p *Poller) now() time.Time { return p.src.Now().UTC().Truncate(time.Millisecond) }

func (p *Poller) ledger(stream string) (offsets.Ledger, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.ledgers[stream]
	return l, ok
}

func (p *Poller) setLedger(stream string, l offsets.Ledger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledgers[stream] = l
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
	return p.do(ctx, func(s *stepBuilder) { s.step.Token = sealed })
}
