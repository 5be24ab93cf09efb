package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/names"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/replica"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/sink"
	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/web"
)

// app is the connector: every part, wired to the others.
type app struct {
	cfg      Config
	name     string // of this replica, for people
	started  time.Time
	log      *zap.Logger
	cluster  *txn.Cluster
	producer *txn.Producer
	source   *genesys.Client
	stats    *poller.Stats
	names    *names.Resolver // nil where names are not looked up
	health   health.Monitor
	web      *web.Server
	// lookForServices is how often it looks for new services, which takes a request for each dialect.
	lookForServices time.Duration

	mu      sync.Mutex // protects what follows, which is there once start-up has come so far
	encoder *codec.Encoder
	decoder *codec.Decoder
	sink    *sink.Sink
	replica *replica.Replica
	term    *poller.Poller
	members []txn.Member // of the group, when it was looked at last; nil when that failed
}

func newApp(cfg Config, log *zap.Logger) (*app, error) {
	a := &app{
		cfg: cfg, log: log, started: time.Now(), stats: poller.NewStats(cfg.Poll.Overlap, cfg.Poll.SweepAges),
		lookForServices: time.Minute,
	}
	a.name = replicaName()
	var err error
	if a.cluster, err = dialKafka(cfg.Kafka, a.health.Report, log); err != nil {
		return nil, err
	}
	a.producer, err = a.cluster.NewProducer(txn.ProducerConfig{TransactionalID: cfg.GroupID(), Compression: cfg.Kafka.Compression})
	if err != nil {
		return nil, err
	}
	if a.source, err = a.newSource(log); err != nil {
		return nil, usageError{err}
	}
	if cfg.Genesys.Names {
		asker, err := codec.NewAsker()
		if err != nil {
			return nil, err
		}
		a.names = names.New(a.source, asker, log)
	}
	a.web = web.New(a, log)
	return a, nil
}

// replicaName tells the replicas of a group apart, for people: the host, which is the pod's name in Kubernetes, and the
// process where it is not the only one there.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if pid := os.Getpid(); pid != 1 {
		return fmt.Sprintf("%s, process %d", host, pid)
	}
	return host
}

// run runs the connector until ctx ends or an error says that only another
// configuration can help. Everything else is retried for ever.
func (a *app) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", a.cfg.HTTPAddr)
	if err != nil {
		return usageError{fmt.Errorf("HTTP_ADDR: cannot listen on it: %w; set another address or port", err)}
	}
	return a.runOn(ctx, listener)
}

// close ends the app's connections.
func (a *app) close() {
	a.producer.Close()
	a.cluster.Close()
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
	err := g.Wait()
	var version *offsets.VersionError
	switch {
	case errors.Is(err, poller.ErrConfiguration), errors.As(err, &version):
		return usageError{err}
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// prepare looks at the topics and the registry until both answer, and makes the replica.
func (a *app) prepare(ctx context.Context) (*replica.Replica, error) {
	var topics []txn.Topic
	err := a.untilDone(ctx, health.Subject{Kind: health.Kafka, Op: "topics"}, func() (err error) {
		topics, err = a.ensureTopics(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.tellQuotas(ctx)
	framing, err := a.framing(ctx)
	if err != nil {
		return nil, err
	}
	encoder, err := codec.NewEncoder(codec.Options{Framing: framing})
	if err != nil {
		return nil, err
	}
	decoder, err := codec.NewDecoder(framing)
	if err != nil {
		return nil, err
	}
	s := sink.New(sink.Config{
		Org: a.cfg.Org, EventTime: a.cfg.Kafka.RecordTime == "event",
		Raw:     sink.Topic{Name: topics[0].Name, Partitions: topics[0].Partitions, Oldest: topics[0].OldestRecord.Most},
		Changes: sink.Topic{Name: topics[1].Name, Partitions: topics[1].Partitions, Oldest: topics[1].OldestRecord.Most},
		Offsets: sink.Topic{Name: topics[2].Name, Partitions: 1},
	}, a.producer, encoder)
	r := replica.New(replica.Config{
		Org: a.cfg.Org, Cluster: a.cluster, Producer: a.producer, Offsets: a.cfg.Kafka.TopicOffsets,
		Election: txn.ElectionConfig{GroupID: a.cfg.GroupID(), Name: a.name, Topic: a.cfg.Kafka.TopicOffsets, SessionTimeout: a.cfg.Kafka.SessionTimeout},
		NewTerm:  a.newTerm, Health: &a.health, Logger: a.log,
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.encoder, a.decoder, a.sink, a.replica = encoder, decoder, s, r
	return r, nil
}

// watchGroup keeps up with which replicas there are, until ctx ends.
func (a *app) watchGroup(ctx context.Context) {
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, lookForReplicas)
		members, err := a.cluster.GroupMembers(asked, a.cfg.GroupID())
		cancel()
		if err != nil {
			members = nil // others are not known; the election reports what is wrong with the group
		}
		a.mu.Lock()
		a.members = members
		a.mu.Unlock()
		select {
		case <-time.After(lookForReplicas):
		case <-ctx.Done():
		}
	}
}

// lookForReplicas is how often it looks, and how long a look may take.
const lookForReplicas = 5 * time.Second

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
	a.term = poller.New(poller.Config{
		PollInterval: a.cfg.Poll.Interval, PollOverlap: a.cfg.Poll.Overlap, SweepAges: a.cfg.Poll.SweepAges,
		Start: a.cfg.Poll.BackfillFrom.Start, BackfillChunk: a.cfg.Poll.BackfillChunk, Chunks: backfillChunks,
		Hours: a.cfg.Poll.BackfillHours.Hours, BackfillRate: a.source.BackfillRate,
		StopTimeout: a.cfg.ShutdownTimeout, Namer: namer, Health: &a.health, Logger: a.log,
	}, a.source, a.sink, a.archive(), state, a.stats)
	return servicesTerm{a.term, a, state.Log}
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
		changed, err := t.app.source.Changed(ctx)
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

// untilDone tries until it works, ctx ends, or the error is one of configuration.
func (a *app) untilDone(ctx context.Context, what health.Subject, try func() error) error {
	passes := func(err error) bool {
		var usage usageError
		return ctx.Err() == nil && !errors.As(err, &usage)
	}
	failed := func(err error, pause time.Duration) {
		a.health.Report(what, err)
		a.log.Error("not ready, retrying", zap.Stringer("operation", what), zap.Error(err), zap.Duration("in", pause))
	}
	err := retry.Do(ctx, retry.Backoff{First: time.Second, Most: time.Minute}, passes, failed, try)
	switch {
	case err == nil:
		a.health.Report(what, nil)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}
