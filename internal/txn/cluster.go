// Package txn writes to Kafka in transactions and reads what was committed, on the wire types of kafka-go. It also
// makes and judges topics, and elects the one replica that writes.
//
// It promises: what one Commit was given is visible to read-committed consumers exactly once, all of it or nothing;
// after an error that leaves the outcome open, the Producer refuses everything until Init has fenced its own past;
// a Reader never shows aborted, undecided or control records. It refuses to know what the records mean.
//
// # Why not kafka.Transport
//
// Three things in kafka-go 0.4.51's transport.go are at odds with transactions. They are shown by transport_test.go.
// It never resends a request by itself, but a request whose context was cancelled stays in flight: await returns while
// the connection lives on, and conn.run does not look at the context, so that even a request is written whose context
// had ended before. Connections cannot be closed under a request (CloseIdleConnections spares them). And every
// coordinator request is preceded by a FindCoordinator whose error code is ignored, while metadata is a cache that is
// refreshed by time, not when a leader moves.
// So this package uses protocol.Conn, one layer below: when a call has returned, its request is answered or its
// connection is closed (see conn.go).
package txn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/sasl"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/health"
)

const (
	defaultDialTimeout    = 5 * time.Second
	defaultRequestTimeout = 10 * time.Second
)

// Config says how to reach Kafka.
type Config struct {
	Brokers []string // host:port, any of the cluster's
	// TLS is asked for the configuration of each connection; nil where there is no TLS.
	TLS            func() (*tls.Config, error)
	SASL           sasl.Mechanism
	ClientID       string
	DialTimeout    time.Duration // to a connection that is ready for requests; 5 s
	RequestTimeout time.Duration // for one request that changes nothing; 10 s
	Logger         *zap.Logger
	// Report, where set, is told of what hinders, and, with nil, that it no longer does.
	Report func(health.Subject, error)
}

// Cluster is a Kafka cluster: its addresses and what was last learnt of its layout. It is safe for concurrent use.
type Cluster struct {
	config  Config
	log     *zap.Logger
	control *conns // for requests that any broker answers, and for those to coordinators of transactions
	// produce is for Produce, of all producers. A broker mutes a connection for as long as a quota is exceeded (KIP-219):
	// EndTxn would wait there until the transaction had timed out.
	produce *conns

	mu      sync.Mutex
	brokers map[int32]string           // address by node id
	leaders map[string]map[int32]int32 // node id by topic and partition; only what was asked for
	limits  map[string]int             // max.message.bytes by topic
}

// Dial returns the cluster behind config. It contacts nothing yet.
func Dial(config Config) *Cluster {
	if config.DialTimeout == 0 {
		config.DialTimeout = defaultDialTimeout
	}
	if config.RequestTimeout == 0 {
		config.RequestTimeout = defaultRequestTimeout
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	c := &Cluster{
		config:  config,
		log:     config.Logger,
		brokers: map[int32]string{},
		leaders: map[string]map[int32]int32{},
		limits:  map[string]int{},
	}
	c.control, c.produce = newConns(c, sharedConns), newConns(c, sharedConns)
	return c
}

func (c *Cluster) report(s health.Subject, err error) {
	if c.config.Report != nil {
		c.config.Report(s, err)
	}
}

// Close closes the connections that the cluster and its producers share. Readers close theirs.
func (c *Cluster) Close() {
	c.control.close()
	c.produce.close()
}

// ask sends a request that changes nothing, or may be applied twice, to whichever broker answers first.
func (c *Cluster) ask(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	var errs []error
	for _, addr := range c.addresses() {
		res, err := c.askAt(ctx, addr, req)
		if err == nil {
			return res, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, unanswered(fmt.Errorf("no broker answers: %w", errors.Join(errs...)))
}

func (c *Cluster) askAt(ctx context.Context, addr string, req protocol.Message) (protocol.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	return c.control.roundTrip(ctx, addr, req)
}

// addresses returns the brokers to ask: connected ones, then the rest by chance, so that one dead broker costs
// its dial time-out once and not at every request.
func (c *Cluster) addresses() []string {
	addrs := slices.Clone(c.config.Brokers)
	c.mu.Lock()
	for _, a := range c.brokers {
		addrs = append(addrs, a)
	}
	c.mu.Unlock()
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	slices.SortStableFunc(addrs, func(a, b string) int {
		return btoi(c.control.connected(b)) - btoi(c.control.connected(a))
	})
	return addrs
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// refresh asks for the layout of the brokers and of topics and returns it. Error codes of topics and partitions are the caller's.
func (c *Cluster) refresh(ctx context.Context, topics ...string) (*metadata.Response, error) {
	if topics == nil {
		topics = []string{} // nil would ask for all there are
	}
	res, err := c.ask(ctx, &metadata.Request{TopicNames: topics})
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	layout := res.(*metadata.Response)
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.brokers)
	for _, b := range layout.Brokers {
		c.brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	for _, t := range layout.Topics {
		leaders := map[int32]int32{}
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.LeaderID >= 0 {
				leaders[p.PartitionIndex] = p.LeaderID
			}
		}
		c.leaders[t.Name] = leaders
	}
	return layout, nil
}

// leader returns the address of a partition's leader, asking only for what is not known.
func (c *Cluster) leader(ctx context.Context, topic string, partition int32) (string, error) {
	if addr, ok := c.knownLeader(topic, partition); ok {
		return addr, nil
	}
	layout, err := c.refresh(ctx, topic)
	if err != nil {
		return "", err
	}
	if addr, ok := c.knownLeader(topic, partition); ok {
		return addr, nil
	}
	code := kafka.LeaderNotAvailable
	for _, t := range layout.Topics {
		if t.ErrorCode != 0 {
			code = kafka.Error(t.ErrorCode)
		}
	}
	return "", fmt.Errorf("leader of %s: %w", where(topic, partition), codeError(code, "Describe", "topic "+topic))
}

func (c *Cluster) knownLeader(topic string, partition int32) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.leaders[topic][partition]
	if !ok {
		return "", false
	}
	addr, ok := c.brokers[id]
	return addr, ok
}

// forget makes the next use of a topic ask for its layout again: one of its leaders has moved or died.
func (c *Cluster) forget(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leaders, topic)
}

// coordinator returns the address of the broker that coordinates a group or a transactional id.
func (c *Cluster) coordinator(ctx context.Context, kind kafka.CoordinatorKeyType, key string) (string, error) {
	res, err := c.ask(ctx, &findcoordinator.Request{Key: key, KeyType: int8(kind)})
	if err != nil {
		return "", fmt.Errorf("find coordinator of %q: %w", key, err)
	}
	found := res.(*findcoordinator.Response)
	if found.ErrorCode != 0 {
		resource := "group " + key
		if kind == kafka.CoordinatorKeyTypeTransaction {
			resource = "transactional id " + key
		}
		return "", fmt.Errorf("find coordinator: %w", codeError(kafka.Error(found.ErrorCode), "Describe", resource))
	}
	return net.JoinHostPort(found.Host, strconv.Itoa(int(found.Port))), nil
}

// where names a partition as Kafka's own tools do.
func where(topic string, partition int32) string { return topic + "-" + strconv.Itoa(int(partition)) }
