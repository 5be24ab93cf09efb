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

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/mask"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/txn"
)

// process is what a connector's process has once, however many organisations it runs.
type process struct {
	cfg     Config
	name    string // of this replica, for people
	started time.Time
	log     *zap.Logger
	cluster *txn.Cluster
	monitor *health.Monitor // of what concerns the whole process
	masks   *mask.Rules     // nil where nothing is masked

	membersMu sync.Mutex
	members   []txn.Member // of the group, when it was looked at last; nil when that failed
}

func newProcess(cfg Config, monitor *health.Monitor, log *zap.Logger) (*process, error) {
	masks, err := cfg.masks()
	if err != nil {
		return nil, usageError{err}
	}
	cluster, err := dialKafka(cfg.Kafka, monitor.Report, log)
	if err != nil {
		return nil, err
	}
	return &process{
		cfg: cfg, name: replicaName(), started: time.Now(), log: log, cluster: cluster, monitor: monitor, masks: masks,
	}, nil
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

// listen opens the address of the status page.
func (p *process) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", p.cfg.HTTPAddr)
	if err != nil {
		return nil, usageError{fmt.Errorf("HTTP_ADDR: cannot listen on it: %w; set another address or port", err)}
	}
	return listener, nil
}

// outcome is what a run that ended so means for the process.
func outcome(err error) error {
	var version *offsets.VersionError
	switch {
	case errors.Is(err, poller.ErrConfiguration), errors.As(err, &version):
		return usageError{err}
	case errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// prepare looks at the topics and the registry until both answer. It returns the raw, the
// changes and the offsets topic, and what stands in front of each change record.
func (p *process) prepare(ctx context.Context) (topics []txn.Topic, framing []byte, err error) {
	err = p.untilDone(ctx, health.Subject{Kind: health.Kafka, Op: "topics"}, func() (err error) {
		topics, err = p.ensureTopics(ctx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	p.tellQuotas(ctx)
	framing, err = p.framing(ctx)
	return topics, framing, err
}

// framing is what stands in front of each change record: the schema's id where
// there is a registry, nil for single-object encoding where there is none.
func (p *process) framing(ctx context.Context) ([]byte, error) {
	c := p.cfg.Registry
	if len(c.URLs) == 0 {
		return nil, nil
	}
	options, err := c.options(p.log)
	if err != nil {
		return nil, err
	}
	var id int
	err = p.untilDone(ctx, health.Subject{Kind: health.Registry, Op: "schema registry"}, func() error {
		options.Username, options.Password = c.Username.Value(), c.Password.Value() // as they are by now
		registry, err := codec.NewRegistry(options)
		if err != nil {
			return usageError{err}
		}
		id, err = registry.SchemaID(ctx, p.cfg.Kafka.TopicChanges)
		return err
	})
	if err != nil {
		return nil, err
	}
	return codec.ConfluentFraming(id), nil
}

// watchGroup keeps up with which replicas there are, until ctx ends.
func (p *process) watchGroup(ctx context.Context) {
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, lookForReplicas)
		members, err := p.cluster.GroupMembers(asked, p.cfg.GroupID())
		cancel()
		if err != nil {
			members = nil // others are not known; the election reports what is wrong with the group
		}
		p.membersMu.Lock()
		p.members = members
		p.membersMu.Unlock()
		select {
		case <-time.After(lookForReplicas):
		case <-ctx.Done():
		}
	}
}

// lookForReplicas is how often it looks, and how long a look may take.
const lookForReplicas = 5 * time.Second

// group is the members of the group as they were seen last; nil where they are not known.
func (p *process) group() []txn.Member {
	p.membersMu.Lock()
	defer p.membersMu.Unlock()
	return p.members
}

// untilDone tries until it works, ctx ends, or the error is one of configuration.
func (p *process) untilDone(ctx context.Context, what health.Subject, try func() error) error {
	passes := func(err error) bool {
		var usage usageError
		return ctx.Err() == nil && !errors.As(err, &usage)
	}
	failed := func(err error, pause time.Duration) {
		p.monitor.Report(what, err)
		p.log.Error("not ready, retrying", zap.Stringer("operation", what), zap.Error(err), zap.Duration("in", pause))
	}
	err := retry.Do(ctx, retry.Backoff{First: time.Second, Most: time.Minute}, passes, failed, try)
	switch {
	case err == nil:
		p.monitor.Report(what, nil)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}
