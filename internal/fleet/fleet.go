// Package fleet runs many organisations in one process: those whose partition of the
// offsets topic Kafka's group protocol has given to this replica.
//
// It promises that an organisation is led only while its partition is this replica's, that
// one is never led twice at once by one process, and that nothing which happens to one (an
// error, a panic, a stop that takes long) is waited for by another. It refuses to know what
// an organisation does.
package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/replica"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/txn"
)

// Organisation is what leads one organisation. It is used once.
type Organisation interface {
	// Lead leads on the shard until ctx ends, or until something fails that it does not
	// try again by itself.
	Lead(ctx context.Context, shard *replica.Shard) error
	// Close gives back what it holds, when Lead has returned.
	Close()
}

// Spec is an organisation that there is to be.
type Spec struct {
	Name string
	// Start makes it. An error is tried again.
	Start func() (Organisation, error)
}

// Config says what a fleet is made of. All of it is owned by the caller.
type Config struct {
	Cluster    *txn.Cluster
	Offsets    string // the topic
	Partitions int32  // of it
	Election   txn.ElectionConfig
	Health     *health.Monitor // of the replica
	Logger     *zap.Logger
	// Failed is told how leading an organisation went: nil when it begins.
	Failed func(org string, err error)
}

// Fleet is one replica's part of it. Set may be called at any time.
type Fleet struct {
	cfg      Config
	election *txn.Election

	mu     sync.Mutex // protects what follows
	specs  map[string]Spec
	shards map[int32]*shard // by partition; those that are this replica's
}

// shard is a partition that this replica owns, and who is led there. runs is protected by
// the fleet's mutex.
type shard struct {
	*replica.Shard
	ctx  context.Context // ends when the partition is lost
	runs map[string]*run
}

// run leads one organisation.
type run struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// New makes a fleet of no organisations. It does nothing until Run.
func New(cfg Config) *Fleet {
	cfg.Election.Topic, cfg.Election.Partitions = cfg.Offsets, cfg.Partitions
	return &Fleet{cfg: cfg, election: cfg.Cluster.NewElection(cfg.Election), specs: make(map[string]Spec), shards: make(map[int32]*shard)}
}

// PartitionOf is the partition of the offsets topic that an organisation belongs to.
func PartitionOf(org string, partitions int32) int32 {
	return txn.Partition([]byte(org), partitions)
}

// Run takes part in the group until ctx ends, and then stops all that is led here.
func (f *Fleet) Run(ctx context.Context) error {
	return f.election.Run(ctx, f.own)
}

// own leads the organisations of a partition until ctx ends.
func (f *Fleet) own(ctx context.Context, partition int32) error {
	s := &shard{
		Shard: replica.NewShard(f.cfg.Cluster, f.cfg.Offsets, partition, f.cfg.Logger),
		ctx:   ctx, runs: make(map[string]*run),
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // those who are led end first
	var serves sync.WaitGroup
	serves.Go(func() { s.Run(serving) })
	defer serves.Wait()
	defer stop()

	f.mu.Lock()
	f.shards[partition] = s
	for name, spec := range f.specs {
		if f.partitionOf(name) == partition {
			f.start(s, spec)
		}
	}
	count := len(s.runs)
	f.mu.Unlock()
	f.cfg.Logger.Info("partition taken", zap.Int32("partition", partition), zap.Int("organisations", count))

	<-ctx.Done()
	f.mu.Lock()
	delete(f.shards, partition)
	runs := slices.Collect(maps.Values(s.runs))
	f.mu.Unlock()
	for _, r := range runs {
		<-r.done
	}
	f.cfg.Logger.Info("partition given up", zap.Int32("partition", partition), zap.NamedError("cause", context.Cause(ctx)))
	return nil
}

func (f *Fleet) partitionOf(org string) int32 { return PartitionOf(org, f.cfg.Partitions) }

// Set says which organisations there are from now on; those in changed start anew although
// they were there before. Only what differs is touched, and Set waits for nobody.
func (f *Fleet) Set(specs []Spec, changed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.specs
	f.specs = make(map[string]Spec, len(specs))
	for _, spec := range specs {
		f.specs[spec.Name] = spec
	}
	anew := make(map[string]bool, len(changed))
	for _, name := range changed {
		anew[name] = true
	}
	for name := range old {
		if _, stays := f.specs[name]; !stays {
			f.stop(name)
		}
	}
	for _, spec := range specs {
		_, known := old[spec.Name]
		if known && !anew[spec.Name] {
			continue
		}
		if s := f.shards[f.partitionOf(spec.Name)]; s != nil {
			f.start(s, spec)
		}
	}
}

// stop ends an organisation's run; the run stays known, for the next one waits for its end.
func (f *Fleet) stop(name string) {
	if s := f.shards[f.partitionOf(name)]; s != nil {
		if r := s.runs[name]; r != nil {
			r.cancel()
		}
	}
}

// start runs an organisation once the run before, if any, has ended.
func (f *Fleet) start(s *shard, spec Spec) {
	before := s.runs[spec.Name]
	if before != nil {
		before.cancel()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	r := &run{cancel, make(chan struct{})}
	s.runs[spec.Name] = r
	go func() {
		defer close(r.done)
		defer cancel()
		if before != nil {
			<-before.done
		}
		f.lead(ctx, s, spec)
	}()
}

// lead runs an organisation until ctx ends, again and again where it fails.
func (f *Fleet) lead(ctx context.Context, s *shard, spec Spec) {
	for backoff := (retry.Backoff{First: time.Second, Most: time.Minute}); ctx.Err() == nil; {
		began := time.Now()
		err := f.cfg.Health.Guard(func() error { return f.leadOnce(ctx, s, spec) })
		if panicked, ok := errors.AsType[*health.PanicError](err); ok {
			f.cfg.Logger.Error("panic", zap.String("org", spec.Name), zap.Error(panicked), zap.ByteString("stack", panicked.Stack))
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		if time.Since(began) > time.Minute {
			backoff.Reset()
		}
		pause := backoff.Next()
		f.cfg.Failed(spec.Name, err)
		f.cfg.Logger.Error("organisation failed, it is started again", zap.String("org", spec.Name), zap.Error(err), zap.Duration("in", pause))
		_ = retry.Sleep(ctx, pause) // the loop sees that ctx has ended
	}
}

func (f *Fleet) leadOnce(ctx context.Context, s *shard, spec Spec) error {
	org, err := spec.Start()
	if err != nil {
		return err
	}
	defer org.Close()
	f.cfg.Failed(spec.Name, nil)
	return org.Lead(ctx, s.Shard)
}
