package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/names"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/replica"
	"genesys-audit-connector/internal/sink"
	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/web"
)

// app is the connector of one organisation: every part, wired to the others.
type app struct {
	*process        // which it may share with others
	cfg      Config // its own
	log      *zap.Logger
	began    time.Time // when it was made: its counts are since then
	producer *txn.Producer
	source   *genesys.Client
	stats    *poller.Stats
	names    *names.Resolver // nil where names are not looked up
	health   health.Monitor
	web      *web.Server // nil in a fleet, which has one for all
	// lookForServices is how often it looks for new services, which takes a request for each dialect.
	lookForServices time.Duration

	mu      sync.Mutex // protects what follows, which is there once start-up has come so far
	encoder *codec.Encoder
	decoder *codec.Decoder
	sink    *sink.Sink
	leader  *replica.Leader
	term    *poller.Poller
	facts   *offsets.Facts // of that term
}

// newApp makes the connector of one organisation in a process of its own.
func newApp(cfg Config, log *zap.Logger) (*app, error) {
	a := newOrganisation(cfg, log)
	var err error
	if a.process, err = newProcess(cfg, &a.health, log); err != nil {
		return nil, err
	}
	if err := a.assemble(); err != nil {
		return nil, err
	}
	a.web = web.New(a, log)
	return a, nil
}

// newOrganisation is an app that still needs its process, and then assemble.
func newOrganisation(cfg Config, log *zap.Logger) *app {
	return &app{
		cfg: cfg, log: log, began: time.Now(), stats: poller.NewStats(cfg.Poll.Overlap, cfg.Poll.SweepAges),
		lookForServices: time.Minute,
	}
}

// assemble makes the parts that ask nobody yet.
func (a *app) assemble() (err error) {
	a.producer, err = a.cluster.NewProducer(txn.ProducerConfig{TransactionalID: a.cfg.TransactionalID(), Compression: a.cfg.Kafka.Compression})
	if err != nil {
		return err
	}
	if a.source, err = a.newSource(a.log); err != nil {
		return usageError{err}
	}
	if a.cfg.Genesys.Names {
		asker, err := codec.NewAsker()
		if err != nil {
			return err
		}
		a.names = names.New(guardedNames{a, a.source}, asker, a.log)
	}
	return nil
}

// run runs the connector until ctx ends or an error says that only another
// configuration can help. Everything else is retried for ever.
func (a *app) run(ctx context.Context) error {
	listener, err := a.listen()
	if err != nil {
		return err
	}
	return a.runOn(ctx, listener)
}

// close ends the app's connections.
func (a *app) close() {
	a.Close()
	a.cluster.Close()
}

// Close ends those connections that are this organisation's alone.
func (a *app) Close() {
	a.producer.Close()
	a.source.Close()
}

// runOn is run with the status page on the listener, which it closes.
func (a *app) runOn(ctx context.Context, listener net.Listener) error {
	// The page outlives the rest a little, so that the end can be watched.
	page, closePage := context.WithCancel(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.web.Run(page, listener) })
	g.Go(func() error {
		defer closePage()
		r, err := a.prepare(ctx)
		if err != nil {
			return err
		}
		g.Go(func() error { a.watchGroup(ctx); return nil })
		return r.Run(ctx)
	})
	return outcome(g.Wait())
}

// prepare looks at the topics and the registry until both answer, and makes the replica.
func (a *app) prepare(ctx context.Context) (*replica.Replica, error) {
	topics, framing, err := a.process.prepare(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.furnish(topics, framing); err != nil {
		return nil, err
	}
	r := replica.New(replica.Config{
		Org: a.cfg.Org, Cluster: a.cluster, Producer: a.producer, Offsets: a.cfg.Kafka.TopicOffsets,
		Election: a.cfg.election(a.name),
		NewTerm:  a.newTerm, Health: &a.health, Logger: a.log,
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leader = r.Leader
	return r, nil
}

// furnish makes the parts that need to know the topics, and the schema's id where there is a registry.
func (a *app) furnish(topics []txn.Topic, framing []byte) error {
	encoder, err := codec.NewEncoder(codec.Options{Framing: framing, Mask: a.masks, Panicked: a.encoderPanicked})
	if err != nil {
		return err
	}
	decoder, err := codec.NewDecoder(framing)
	if err != nil {
		return err
	}
	s := sink.New(sink.Config{
		Org: a.cfg.Org, EventTime: a.cfg.Kafka.RecordTime == "event",
		Raw:     sink.Topic{Name: topics[0].Name, Partitions: topics[0].Partitions, Oldest: topics[0].OldestRecord.Most},
		Changes: sink.Topic{Name: topics[1].Name, Partitions: topics[1].Partitions, Oldest: topics[1].OldestRecord.Most},
		Offsets: topics[2].Name, OffsetsPartition: a.cfg.offsetsPartition(),
	}, a.producer, encoder)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.encoder, a.decoder, a.sink = encoder, decoder, s
	return nil
}

// current is the term that this replica leads or led last; nil before the first.
func (a *app) current() *poller.Poller {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.term
}

// newTerm makes the poller of one term.
func (a *app) newTerm(state *offsets.State) replica.Term {
	a.mu.Lock()
	defer a.mu.Unlock()
	var namer poller.Namer
	if a.names != nil {
		namer = a.names
	}
	a.facts = state.Facts
	// A version that kept no facts may have led last: what it published is remembered by its time.
	a.facts.Saw(state.IDs.Newest(time.Now().Add(time.Hour)))
	a.sink.Facts(a.facts)
	a.sink.Forget(state.Erased.Has)
	a.term = poller.New(poller.Config{
		PollInterval: a.cfg.Poll.Interval, PollOverlap: a.cfg.Poll.Overlap, SweepAges: a.cfg.Poll.SweepAges,
		Start: a.cfg.Poll.BackfillFrom.Start, BackfillChunk: a.cfg.Poll.BackfillChunk, Chunks: backfillChunks,
		Hours: a.cfg.Poll.BackfillHours.Hours, BackfillRate: a.source.BackfillRate,
		StopTimeout: a.cfg.ShutdownTimeout, Namer: namer, Health: &a.health, Logger: a.log,
	}, a.source, a.sink, a.archive(), state, a.stats)
	return servicesTerm{a.term, a, state.Log}
}

// guarded runs what works beside the poller: a panic in it is an error, and is logged.
func (a *app) guarded(f func() error) error {
	err := a.health.Guard(f)
	if panicked, ok := errors.AsType[*health.PanicError](err); ok {
		a.log.Error("panic; the work that met it is given up", zap.Error(panicked), zap.ByteString("stack", panicked.Stack))
	}
	return err
}

// encoderPanicked is told of an event that cannot be normalised by a fault of ours.
func (a *app) encoderPanicked(auditID string, value any, stack []byte) {
	a.health.Panicked()
	a.log.Error("panic; the event is published without its changes", zap.String("audit_id", auditID), zap.Any("panic", value), zap.ByteString("stack", stack))
}

// guardedNames looks names up. A panic in that (it reads what others wrote, beside the
// poller) is an error.
type guardedNames struct {
	app *app
	names.Source
}

func (g guardedNames) ListNames(ctx context.Context, kind audit.Kind, add func(id, name string)) error {
	return g.app.guarded(func() error { return g.Source.ListNames(ctx, kind, add) })
}

func (g guardedNames) UserNames(ctx context.Context, ids []string, add func(id, name string), none func(id string)) error {
	return g.app.guarded(func() error { return g.Source.UserNames(ctx, ids, add, none) })
}

// servicesTerm is a term that ends when the API serves other services than it
// did: the next one reads those too.
type servicesTerm struct {
	*poller.Poller
	app *app
	log []byte // the evidence log's state
}

func (t servicesTerm) Run(ctx context.Context) error {
	if err := t.app.openLog(ctx, t.log); err != nil {
		return err
	}
	looking, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if t.app.names != nil {
		beside.Go(func() { t.app.names.Run(looking) })
	}
	beside.Go(func() { t.app.announceCheckpoints(looking) })
	beside.Go(func() { t.app.stampCheckpoints(looking) })
	// The poller ends after the look: that may need a login, whose refresh token the poller saves.
	polling, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() { stop(t.look(looking)) }()
	err := t.Poller.Run(polling)
	if cause := context.Cause(polling); err == nil && errors.Is(cause, replica.ErrAgain) {
		err = cause
	}
	cancel()
	<-polling.Done()
	return err
}

// look returns when the API serves other services, or ctx ends; and which of them it was.
func (t servicesTerm) look(ctx context.Context) error {
	again := time.NewTicker(t.app.lookForServices)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var changed bool
		err := t.app.guarded(func() (err error) { changed, err = t.app.source.Changed(ctx); return err })
		if err != nil && ctx.Err() == nil {
			t.app.log.Warn("cannot see whether there are new services", zap.Error(err))
		}
		if changed {
			return fmt.Errorf("%w: the services that the API serves have changed", replica.ErrAgain)
		}
	}
}

// backfillChunks is how many chunks are read at a time, each with a page of some
// 3 MB in memory: enough to use seven requests a second of an API that takes
// half a second a page.
const backfillChunks = 4
