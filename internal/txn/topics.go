package txn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// TopicSpec is a topic as it is wanted. What it says of partitions and configuration counts when it is created; an
// existing topic must only satisfy what is Required.
type TopicSpec struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16             // 0: the broker's default
	Configs           map[string]string // such as retention.ms
	RequireCompacted  bool              // cleanup.policy must be compact, and nothing else
	RequirePartitions bool              // exactly as many partitions as Partitions says
}

// Topic is a topic as it is. Values that may not be read are "" and 0.
type Topic struct {
	Name              string
	Partitions        int32
	ReplicationFactor int // of the partition that has the fewest
	Brokers           int // of the cluster
	CleanupPolicy     string
	RetentionMs       int64 // -1: for ever
	RetentionBytes    int64 // of a partition; -1: without a limit
	MaxMessageBytes   int
	MinInsync         int
	UncleanElection   bool
	AppendTime        bool        // the broker stamps records, whatever their own time
	OldestRecord      TimeLimit   // how far a record's own time may lie back
	NewestRecord      TimeLimit   // how far it may lie ahead
	Created           bool        // by this call
	Shortfalls        []Shortfall // where Created

	made TopicSpec // what the cluster took, where Created
}

// TimeLimit is by how much a record's time may differ from the broker's clock.
type TimeLimit struct {
	Most   time.Duration // 0: there is no limit
	Config string        // that says so
}

// oldestRecord reads a topic's configuration. message.timestamp.before.max.ms (KIP-937, Kafka
// 3.6) counts where it is set, else message.timestamp.difference.max.ms, which Kafka 4.0 has
// no more; neither where the broker stamps the records itself (LogValidator).
func oldestRecord(config map[string]string) TimeLimit {
	return timeLimit(config, configTimestampBefore, configTimestampDifference)
}

// newestRecord is the same for times ahead: message.timestamp.after.max.ms, which is an hour since Kafka 4.0.
func newestRecord(config map[string]string) TimeLimit {
	return timeLimit(config, configTimestampAfter, configTimestampDifference)
}

func timeLimit(config map[string]string, keys ...string) TimeLimit {
	if config[configTimestampType] == appendTime {
		return TimeLimit{}
	}
	for _, key := range keys {
		ms, err := strconv.ParseInt(config[key], 10, 64)
		if err == nil && ms < math.MaxInt64/int64(time.Millisecond) { // by default as large as can be
			return TimeLimit{max(1, time.Duration(ms)*time.Millisecond), key}
		}
	}
	return TimeLimit{}
}

const (
	configUnclean             = "unclean.leader.election.enable"
	configTimestampType       = "message.timestamp.type"
	configTimestampAfter      = "message.timestamp.after.max.ms"
	configTimestampBefore     = "message.timestamp.before.max.ms"
	configTimestampDifference = "message.timestamp.difference.max.ms"

	appendTime = "LogAppendTime"
)

// TopicError is a topic that cannot be used as it is, with what to do about it.
type TopicError struct {
	Topic, Fault, Cure string
	Err                error // the refusal by Kafka, if any
}

func (e *TopicError) Error() string { return fmt.Sprintf("topic %s %s: %s", e.Topic, e.Fault, e.Cure) }

func (e *TopicError) Unwrap() error { return e.Err }

// EnsureTopics creates those that are missing, where create allows it, and returns all as they are. Faults are joined
// TopicErrors, for every topic in one go; other errors mean that Kafka could not be asked.
func (c *Cluster) EnsureTopics(ctx context.Context, specs []TopicSpec, create bool) ([]Topic, error) {
	names := make([]string, len(specs))
	for i := range specs {
		names[i] = specs[i].Name
	}
	layout, err := c.refresh(ctx, names...)
	if err != nil {
		return nil, err
	}
	found := topicsByName(layout)
	topics := make([]Topic, len(specs))
	asked := make([]TopicSpec, len(specs))
	var missing []int
	var faults []error
	for i, spec := range specs {
		asked[i] = spec.durable(len(layout.Brokers))
		switch code := kafka.Error(found[spec.Name].ErrorCode); {
		case code == kafka.UnknownTopicOrPartition && create:
			missing = append(missing, i)
		case code == kafka.UnknownTopicOrPartition:
			faults = append(faults, &TopicError{spec.Name, "does not exist", "create it (" + spec.suggested(len(layout.Brokers)).Command() + "), or allow it to be created", nil})
		case code != 0 && fateOf(code) == ErrRetry:
			return nil, fmt.Errorf("topic %s: %w", spec.Name, codeError(code, "Describe", "topic "+spec.Name))
		case code != 0:
			faults = append(faults, &TopicError{spec.Name, "cannot be described", code.Error(), codeError(code, "Describe", "topic "+spec.Name)})
		}
	}
	if len(faults) == 0 {
		faults = c.createMissing(ctx, specs, asked, missing, topics, len(layout.Brokers))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return topics, c.describe(ctx, asked, topics)
}

// createMissing makes those topics of which missing has the places.
func (c *Cluster) createMissing(ctx context.Context, specs, asked []TopicSpec, missing []int, topics []Topic, brokers int) (faults []error) {
	for _, i := range missing {
		made, err := c.createDurable(ctx, specs[i], asked[i], brokers)
		refusal, refused := errors.AsType[*creationRefusal](err)
		switch {
		case err == nil:
			topics[i].Created, topics[i].made = true, made
			continue
		case refused && refusal.tooFewBrokers() && specs[i].ReplicationFactor == 0: // we have seen as many: they come back
			err = fmt.Errorf("%w: %w", ErrRetry, err)
		case refused:
			err = &TopicError{refusal.Topic, refusal.Fault, refusal.message + "; create it as the cluster allows, from: " + asked[i].suggested(brokers).Command(), refusal.Err}
		default:
			return []error{fmt.Errorf("create topics: %w", err)}
		}
		faults = append(faults, fmt.Errorf("create topics: %w", err))
	}
	return faults
}

// describe fills topics in and judges them.
func (c *Cluster) describe(ctx context.Context, specs []TopicSpec, topics []Topic) error {
	names := make([]string, len(specs))
	for i := range specs {
		names[i] = specs[i].Name
	}
	layout, err := c.refresh(ctx, names...)
	if err != nil {
		return err
	}
	found := topicsByName(layout)
	configs, err := c.topicConfigs(ctx, names...)
	if err != nil {
		return err
	}
	var faults []error
	for i, spec := range specs {
		t := &topics[i]
		t.fill(found[spec.Name], configs[spec.Name])
		t.Name, t.Brokers = spec.Name, len(layout.Brokers)
		if t.Created {
			t.Shortfalls = shortfalls(spec, t.values(configs[spec.Name]))
			c.tellShortfalls(t)
		}
		if fault := t.unfit(spec); fault != nil {
			faults = append(faults, fault)
		}
		if spec.RequirePartitions && t.Partitions != spec.Partitions {
			faults = append(faults, &TopicError{spec.Name, fmt.Sprintf("has %d partitions and must have exactly %d", t.Partitions, spec.Partitions),
				"partitions cannot be taken away: use another topic, or delete this one where its content is not needed", nil})
		}
	}
	return errors.Join(faults...)
}

// fill takes what the cluster says of a topic. The configuration is nil where it may not be read.
func (t *Topic) fill(layout *metadata.ResponseTopic, config map[string]string) {
	if layout != nil {
		t.Partitions = int32(len(layout.Partitions))
		for i, p := range layout.Partitions {
			if i == 0 || len(p.ReplicaNodes) < t.ReplicationFactor {
				t.ReplicationFactor = len(p.ReplicaNodes)
			}
		}
	}
	t.CleanupPolicy = config[configCleanup]
	t.RetentionMs, _ = strconv.ParseInt(config[configRetentionMs], 10, 64)
	t.RetentionBytes, _ = strconv.ParseInt(config[configRetentionBytes], 10, 64)
	t.MaxMessageBytes, _ = strconv.Atoi(config[configMaxMessage])
	t.MinInsync, _ = strconv.Atoi(config[configMinInsync])
	t.UncleanElection = config[configUnclean] == "true"
	t.AppendTime = config[configTimestampType] == appendTime
	t.OldestRecord, t.NewestRecord = oldestRecord(config), newestRecord(config)
}

// Compacted reports whether compaction removes records whose key has a newer one.
func (t *Topic) Compacted() bool { return strings.Contains(t.CleanupPolicy, "compact") }

// values are the topic's configurations, and its replication factor as one of them. What may
// not be read is what the cluster took.
func (t *Topic) values(config map[string]string) map[string]string {
	values := map[string]string{}
	if n := t.made.ReplicationFactor; n > 0 {
		values[replicationFactor] = strconv.Itoa(int(n))
	}
	maps.Copy(values, t.made.Configs)
	maps.Copy(values, config)
	if t.ReplicationFactor > 0 {
		values[replicationFactor] = strconv.Itoa(t.ReplicationFactor)
	}
	return values
}

// unfit returns why what is written to the topic would not stay, where it must. Where a cluster
// insists on deleting as well, that is harmless as long as it never happens.
func (t *Topic) unfit(spec TopicSpec) error {
	if !spec.RequireCompacted || t.CleanupPolicy == "compact" || t.CleanupPolicy == "" {
		return nil
	}
	alter := "kafka-configs --alter --topic " + spec.Name + " --add-config "
	if !strings.Contains(t.CleanupPolicy, "compact") {
		return &TopicError{spec.Name, "has cleanup.policy=" + t.CleanupPolicy + " and must be compacted", alter + "cleanup.policy=compact", nil}
	}
	if t.RetentionMs < 0 && t.RetentionBytes < 0 {
		return nil
	}
	return &TopicError{spec.Name,
		fmt.Sprintf("has cleanup.policy=%s with retention.ms=%d and retention.bytes=%d and must be compacted, and never delete", t.CleanupPolicy, t.RetentionMs, t.RetentionBytes),
		alter + "cleanup.policy=compact, or where the cluster does not allow that: " + alter + "retention.ms=-1,retention.bytes=-1", nil}
}

func topicsByName(layout *metadata.Response) map[string]*metadata.ResponseTopic {
	byName := map[string]*metadata.ResponseTopic{}
	for i := range layout.Topics {
		byName[layout.Topics[i].Name] = &layout.Topics[i]
	}
	return byName
}

// topicConfigs returns the configuration of topics. A topic whose configuration may not be read is left out.
func (c *Cluster) topicConfigs(ctx context.Context, topics ...string) (map[string]map[string]string, error) {
	req := &describeconfigs.Request{}
	for _, t := range topics {
		req.Resources = append(req.Resources, describeconfigs.RequestResource{
			ResourceType: int8(kafka.ResourceTypeTopic),
			ResourceName: t,
			ConfigNames: []string{
				configCleanup, configRetentionMs, configRetentionBytes, configMaxMessage, configMinInsync, configUnclean,
				configTimestampType, configTimestampBefore, configTimestampAfter, configTimestampDifference, configCompactionLag, configTombstones,
			},
		})
	}
	res, err := c.ask(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("describe configs: %w", err)
	}
	configs := map[string]map[string]string{}
	for _, r := range res.(*describeconfigs.Response).Resources {
		code := kafka.Error(r.ErrorCode)
		if code == kafka.TopicAuthorizationFailed || code == kafka.ClusterAuthorizationFailed {
			continue
		}
		if code != 0 {
			return nil, fmt.Errorf("describe configs of %s: %w", r.ResourceName, codeError(code, "DescribeConfigs", "topic "+r.ResourceName))
		}
		values := map[string]string{}
		for _, e := range r.ConfigEntries {
			values[e.ConfigName] = e.ConfigValue
		}
		configs[r.ResourceName] = values
	}
	return configs, nil
}

// knownLimit returns a topic's max.message.bytes as it was last read.
func (c *Cluster) knownLimit(topic string) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit, ok := c.limits[topic]
	return limit, ok
}

// readLimit reads a topic's max.message.bytes. Where that is not permitted, the error is ErrUnauthorized and the limit
// the broker's default.
func (c *Cluster) readLimit(ctx context.Context, topic string) (int, error) {
	configs, err := c.topicConfigs(ctx, topic)
	if err != nil {
		return 0, err
	}
	limit, err := strconv.Atoi(configs[topic]["max.message.bytes"])
	if err != nil {
		limit, err = defaultLimit, fmt.Errorf("%w: DescribeConfigs on topic %s", ErrUnauthorized, topic)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits[topic] = limit
	return limit, err
}

// Partitions returns how many partitions a topic has.
func (c *Cluster) Partitions(ctx context.Context, topic string) (int32, error) {
	layout, err := c.refresh(ctx, topic)
	if err != nil {
		return 0, err
	}
	t := topicsByName(layout)[topic]
	if t == nil {
		return 0, fmt.Errorf("topic %s: %w", topic, codeError(kafka.UnknownTopicOrPartition, "", ""))
	}
	if t.ErrorCode != 0 {
		return 0, fmt.Errorf("topic %s: %w", topic, codeError(kafka.Error(t.ErrorCode), "Describe", "topic "+topic))
	}
	return int32(len(t.Partitions)), nil
}
