package txn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"go.uber.org/zap"
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
	Name            string
	Partitions      int32
	CleanupPolicy   string
	RetentionMs     int64 // -1: for ever
	MaxMessageBytes int
	OldestRecord    TimeLimit // how far a record's own time may lie back
	Created         bool      // by this call
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
	if config[configTimestampType] == "LogAppendTime" {
		return TimeLimit{}
	}
	for _, key := range []string{configTimestampBefore, configTimestampDifference} {
		ms, err := strconv.ParseInt(config[key], 10, 64)
		if err == nil && ms < math.MaxInt64/int64(time.Millisecond) { // by default as large as can be
			return TimeLimit{max(1, time.Duration(ms)*time.Millisecond), key}
		}
	}
	return TimeLimit{}
}

const (
	configTimestampType       = "message.timestamp.type"
	configTimestampBefore     = "message.timestamp.before.max.ms"
	configTimestampDifference = "message.timestamp.difference.max.ms"
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
	var missing []TopicSpec
	var faults []error
	for i, spec := range specs {
		switch code := kafka.Error(found[spec.Name].ErrorCode); {
		case code == kafka.UnknownTopicOrPartition && create:
			missing = append(missing, spec)
			topics[i].Created = true
		case code == kafka.UnknownTopicOrPartition:
			faults = append(faults, &TopicError{spec.Name, "does not exist", "create it (" + spec.Command() + "), or allow it to be created", nil})
		case code != 0 && fateOf(code) == ErrRetry:
			return nil, fmt.Errorf("topic %s: %w", spec.Name, codeError(code, "Describe", "topic "+spec.Name))
		case code != 0:
			faults = append(faults, &TopicError{spec.Name, "cannot be described", code.Error(), codeError(code, "Describe", "topic "+spec.Name)})
		}
	}
	if len(faults) == 0 && len(missing) > 0 {
		if err := c.create(ctx, missing); err != nil {
			return nil, err
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return topics, c.describe(ctx, specs, topics)
}

// Command is how an operator would create the topic.
func (s TopicSpec) Command() string {
	cmd := fmt.Sprintf("kafka-topics --create --topic %s --partitions %d", s.Name, s.Partitions)
	for _, k := range []string{"cleanup.policy", "retention.ms", "max.message.bytes"} {
		if v, ok := s.Configs[k]; ok {
			cmd += " --config " + k + "=" + v
		}
	}
	return cmd
}

// create makes topics and waits until every one is led. A replica of ours may make them at the same time.
func (c *Cluster) create(ctx context.Context, specs []TopicSpec) error {
	err := retryPassing(ctx, func() error { return c.createOnce(ctx, specs, false) })
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for _, s := range specs {
		for p := range s.Partitions {
			err := retryPassing(ctx, func() error { _, err := c.leader(ctx, s.Name, p); return err })
			if err != nil {
				return fmt.Errorf("created topic %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// createOnce makes topics or, with validateOnly, is told whether they could be made.
func (c *Cluster) createOnce(ctx context.Context, specs []TopicSpec, validateOnly bool) error {
	req := &createtopics.Request{TimeoutMs: int32(c.config.RequestTimeout.Milliseconds()), ValidateOnly: validateOnly}
	for _, s := range specs {
		t := createtopics.RequestTopic{Name: s.Name, NumPartitions: s.Partitions, ReplicationFactor: s.ReplicationFactor}
		if t.ReplicationFactor == 0 {
			t.ReplicationFactor = -1 // KIP-464: the broker's default
		}
		for k, v := range s.Configs {
			t.Configs = append(t.Configs, createtopics.RequestConfig{Name: k, Value: v})
		}
		req.Topics = append(req.Topics, t)
	}
	layout, err := c.refresh(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	controller, known := c.brokers[layout.ControllerID]
	c.mu.Unlock()
	var res protocol.Message
	if known {
		res, err = c.askAt(ctx, controller, req)
	} else { // none is elected, or a proxy hides it: any broker passes it on (KIP-590) or refuses with NOT_CONTROLLER
		res, err = c.ask(ctx, req)
	}
	if err != nil {
		return unanswered(err)
	}
	var again error
	var faults []error
	for _, t := range res.(*createtopics.Response).Topics {
		switch code := kafka.Error(t.ErrorCode); {
		case code == 0 && validateOnly:
		case code == 0:
			c.log.Info("topic created", zap.String("topic", t.Name))
		case code == kafka.TopicAlreadyExists:
		case fateOf(code) == ErrRetry:
			again = codeError(code, "Create", "topic "+t.Name)
		case code == kafka.RequestTimedOut: // it may be there by now; to ask again is safe
			again = fmt.Errorf("%w: topic %s: %w", ErrRetry, t.Name, code)
		default:
			faults = append(faults, &TopicError{t.Name, "cannot be created", t.ErrorMessage, codeError(code, "Create", "topic "+t.Name)})
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return again
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
		t, config := &topics[i], configs[spec.Name]
		t.Name, t.Partitions = spec.Name, int32(len(found[spec.Name].Partitions))
		t.CleanupPolicy = config["cleanup.policy"]
		t.RetentionMs, _ = strconv.ParseInt(config["retention.ms"], 10, 64)
		t.MaxMessageBytes, _ = strconv.Atoi(config["max.message.bytes"])
		t.OldestRecord = oldestRecord(config)
		if spec.RequireCompacted && t.CleanupPolicy != "compact" && t.CleanupPolicy != "" {
			faults = append(faults, &TopicError{spec.Name, "has cleanup.policy=" + t.CleanupPolicy + " and must be compacted",
				"kafka-configs --alter --topic " + spec.Name + " --add-config cleanup.policy=compact", nil})
		}
		if spec.RequirePartitions && t.Partitions != spec.Partitions {
			faults = append(faults, &TopicError{spec.Name, fmt.Sprintf("has %d partitions and must have exactly %d", t.Partitions, spec.Partitions),
				"partitions cannot be taken away: use another topic, or delete this one where its content is not needed", nil})
		}
	}
	return errors.Join(faults...)
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
				"cleanup.policy", "retention.ms", "max.message.bytes", configTimestampType, configTimestampBefore, configTimestampDifference,
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
