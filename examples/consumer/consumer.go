// Package consumer delivers the changes topic to a handler, as a member of a
// consumer group on kafka-go. The examples share it; start from it.
//
// It promises at least once: a partition's offset is committed after the handler
// has said that everything before it is delivered, so that nothing is lost
// however the program, the broker or the endpoint behind the handler ends. What
// is delivered again has the same Message.ID. It shows neither aborted nor
// undecided records, which kafka-go's own Reader and ConsumerGroup users get to
// see (its issue 1332): kafka-go's ConsumerGroup assigns partitions and keeps
// offsets, while internal/txn.Reader does the reading.
//
// It refuses to know what becomes of a change.
package consumer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/txn"
)

// Change is one changed key of a configuration object: a record of the topic.
type Change = audit.Change

// Message is a change on its way to the handler.
type Message struct {
	Change
	// ID is <auditId>:<changeIndex>, the record's key: the same whenever and
	// however often the message is delivered.
	ID        string
	Org       string // the organisation's name in the connector's configuration
	Partition int32
	Offset    int64
	Published time.Time // the record's own time
	// Recalled says that it was delivered before; see Config.Recall.
	Recalled bool
}

// Text is the text of a nullable field, "" for null.
func Text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Handler delivers the messages of one partition, which are in its order. It
// returns how many of them, from the front, are delivered for good; these are
// not delivered again. It need not take them all. After an error the rest is
// delivered again, after a pause that grows up to a minute, for as long as it
// takes: reading waits meanwhile. Partitions are handled at the same time.
type Handler func(ctx context.Context, messages []Message) (delivered int, err error)

// ErrRefused is in a Handler's error when the endpoint will never take the first
// message that is not delivered. Config.OnRefused says what follows.
var ErrRefused = errors.New("refused for good")

const (
	pollWait    = 500 * time.Millisecond // how long a broker waits for records to come
	topicPause  = 2 * time.Second        // between two looks for a topic that is missing
	joinPause   = time.Second
	handleGrace = 5 * time.Second // for the handler, once its partition is to be given back
	// rebalanceWait is how long a group waits for a member that is still handling.
	rebalanceWait = 2 * handleGrace
)

// consumer is what the partitions of one Run share. None of it changes.
type consumer struct {
	Config
	dialer  *kafka.Dialer
	cluster *txn.Cluster
	decoder *codec.Decoder
	handle  Handler
	log     *zap.Logger
}

// Run reads the topic as a member of the group until ctx ends, which is no
// error. What passes (an endpoint, a broker or a registry that is down) is
// logged and waited for; what does not is returned.
func Run(ctx context.Context, config Config, handle Handler) error {
	c, err := newConsumer(config, handle)
	if err != nil {
		return err
	}
	defer c.cluster.Close()
	if err := c.prepare(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	group, err := kafka.NewConsumerGroup(c.group())
	if err != nil {
		return fmt.Errorf("consumer group %s: %w", c.GroupID, err)
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer func() { _ = group.Close() }() // ends the partitions, waits for them, and leaves the group
	for {
		generation, err := group.Next(running)
		switch {
		case ctx.Err() != nil:
			return nil
		case running.Err() != nil:
			return context.Cause(running)
		case err != nil:
			c.log.Warn("no partitions yet", zap.Error(err))
		default:
			c.start(generation, fail)
		}
	}
}

// RunEach does so once for each handler, as members of groups of their own,
// GroupID-NAME: one that cannot deliver holds up nobody else.
func RunEach(ctx context.Context, config Config, handlers map[string]Handler) error {
	all, ctx := errgroup.WithContext(ctx)
	for name, handle := range handlers {
		own := config
		own.GroupID += "-" + name
		all.Go(func() error { return Run(ctx, own, handle) })
	}
	return all.Wait()
}

func newConsumer(config Config, handle Handler) (*consumer, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	dialer, err := config.dialer()
	if err != nil {
		return nil, err
	}
	var secured func() (*tls.Config, error)
	if dialer.TLS != nil {
		secured = func() (*tls.Config, error) { return dialer.TLS, nil }
	}
	return &consumer{
		Config: config, dialer: dialer, handle: handle,
		log: config.Log.With(zap.String("group", config.GroupID)),
		cluster: txn.Dial(txn.Config{
			Brokers: config.Brokers, TLS: secured, SASL: dialer.SASLMechanism, ClientID: config.GroupID, Logger: config.Log,
		}),
	}, nil
}

// prepare waits for the topic (a group without partitions would be formed again
// and again) and finds out how its values are framed.
func (c *consumer) prepare(ctx context.Context) error {
	for ctx.Err() == nil {
		_, err := c.cluster.Partitions(ctx, c.Topic)
		if err == nil {
			c.decoder, err = c.newDecoder(ctx)
		}
		if err == nil || !passing(err) {
			return err
		}
		c.log.Warn("waiting", zap.Error(err))
		sleep(ctx, topicPause)
	}
	return nil
}

// newDecoder asks the registry for the schema's id, and those of its older versions,
// where there is one. A value with another id was written with another schema, and is
// not guessed at.
func (c *consumer) newDecoder(ctx context.Context) (*codec.Decoder, error) {
	if c.Registry.URL == "" {
		return codec.NewDecoder(nil)
	}
	registry, err := codec.NewRegistry(codec.RegistryOptions{
		URL: c.Registry.URL, Username: c.Registry.Username, Password: c.Registry.Password,
	})
	if err != nil {
		return nil, err
	}
	framing, older, err := registry.Framings(ctx, c.Topic)
	if err != nil {
		return nil, err
	}
	return codec.NewDecoder(framing, older...)
}

// passing tells whether an error at the start may mend itself: the topic, or the
// schema, is made when the connector starts.
func passing(err error) bool {
	return errors.Is(err, txn.ErrRetry) || errors.Is(err, txn.ErrUnauthorized) ||
		errors.Is(err, codec.ErrRegistryUnreachable) || errors.Is(err, codec.ErrRegistryDenied) || errors.Is(err, codec.ErrSchemaUnknown)
}

func (c *consumer) group() kafka.ConsumerGroupConfig {
	config := kafka.ConsumerGroupConfig{
		ID: c.GroupID, Brokers: c.Brokers, Dialer: c.dialer, Topics: []string{c.Topic},
		StartOffset:    c.startOffset(),
		SessionTimeout: c.SessionTimeout, HeartbeatInterval: c.SessionTimeout / 10,
		RebalanceTimeout: rebalanceWait, JoinGroupBackoff: joinPause,
		WatchPartitionChanges: true,
	}
	if c.Exclusive {
		config.GroupBalancers = []kafka.GroupBalancer{oneOwner{}}
	}
	return config
}

// start begins to read the partitions that this member has until the group next
// rebalances. When one ends, the generation does, and all are assigned anew.
func (c *consumer) start(generation *kafka.Generation, fail context.CancelCauseFunc) {
	assigned := generation.Assignments[c.Topic]
	ids := make([]int, len(assigned))
	for i, a := range assigned {
		ids[i] = a.ID
	}
	slices.Sort(ids)
	c.log.Info("partitions", zap.String("topic", c.Topic), zap.Ints("assigned", ids))
	recalled := newBarrier(len(assigned))
	for _, a := range assigned {
		p := &partition{consumer: c, id: int32(a.ID), generation: generation, committed: a.Offset}
		generation.Start(func(ctx context.Context) {
			if err := p.run(ctx, recalled); err != nil {
				fail(err)
			}
		})
	}
}

// oneOwner gives every partition to one member, for handlers that must see all
// of the topic; the others of the group stand by.
type oneOwner struct{}

func (oneOwner) ProtocolName() string      { return "one-owner" }
func (oneOwner) UserData() ([]byte, error) { return nil, nil }

func (oneOwner) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	owner := slices.MinFunc(members, func(a, b kafka.GroupMember) int { return strings.Compare(a.ID, b.ID) })
	assigned := kafka.GroupMemberAssignments{}
	for _, m := range members {
		assigned[m.ID] = map[string][]int{}
	}
	for _, p := range partitions {
		assigned[owner.ID][p.Topic] = append(assigned[owner.ID][p.Topic], p.ID)
	}
	return assigned
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
