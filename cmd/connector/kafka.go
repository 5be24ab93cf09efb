package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/fleet"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/sink"
	"genesys-audit-connector/internal/txn"
)

func dialKafka(k Kafka, report func(health.Subject, error), log *zap.Logger) (*txn.Cluster, error) {
	config := txn.Config{
		Brokers: k.Brokers, SASL: k.SASL.Mechanism(log), ClientID: "genesys-audit-connector", Logger: log, Report: report,
	}
	files := k.TLS.Files(func(err error) { log.Warn("TLS file cannot be used", zap.Error(err)) })
	if files != nil {
		if _, err := files.Config(); err != nil { // what it holds now is what a rotation falls back on
			return nil, usageError{err}
		}
		config.TLS = files.Config
	}
	return txn.Dial(config), nil
}

// topics are the topics that there must be, as they should be: raw, changes, offsets.
func (c Config) topics() []txn.TopicSpec {
	k := c.Kafka
	events := k.forever()
	if k.Erasable {
		maps.Copy(events, compacted)
	}
	return []txn.TopicSpec{
		{Name: k.TopicRaw, Partitions: k.Partitions, ReplicationFactor: k.ReplicationFactor, Configs: events},
		{Name: k.TopicChanges, Partitions: k.Partitions, ReplicationFactor: k.ReplicationFactor, Configs: events},
		{
			Name: k.TopicOffsets, Partitions: c.offsetsPartitions(), ReplicationFactor: k.ReplicationFactor,
			Configs:          map[string]string{"cleanup.policy": "compact", "max.message.bytes": strconv.Itoa(k.MaxMessageBytes)},
			RequireCompacted: true, RequirePartitions: true,
		},
	}
}

// offsetsPartitions is how many partitions the offsets topic has.
func (c Config) offsetsPartitions() int32 {
	if c.OrgsFile == "" {
		return 1
	}
	return c.Kafka.OffsetsPartitions
}

// offsetsPartition is the one that holds what is remembered of the organisation.
func (c Config) offsetsPartition() int32 { return fleet.PartitionOf(c.Org, c.offsetsPartitions()) }

// election is how the replicas find out who runs what.
func (c Config) election(name string) txn.ElectionConfig {
	return txn.ElectionConfig{
		GroupID: c.GroupID(), Name: name, Topic: c.Kafka.TopicOffsets, Partitions: c.offsetsPartitions(), SessionTimeout: c.Kafka.SessionTimeout,
	}
}

// forever is the configuration of a topic that keeps everything.
func (k Kafka) forever() map[string]string {
	return map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": strconv.Itoa(k.MaxMessageBytes)}
}

// compacted is the configuration of a topic out of which records can be erased. Compaction
// comes to a tombstone within a week, whatever else is written; the tombstone itself stays
// for longer than the API shows any event (so that what was erased is known as such even
// where the offsets topic is lost), and than a consumer is away.
var compacted = map[string]string{
	"cleanup.policy": "compact", "max.compaction.lag.ms": "604800000", "delete.retention.ms": "34560000000",
}

// compact is the command that makes a topic so.
func (k Kafka) compact(topic string) string {
	configs := make([]string, 0, len(compacted))
	for _, name := range slices.Sorted(maps.Keys(compacted)) {
		configs = append(configs, name+"="+compacted[name])
	}
	return fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --topic %s --add-config %s", k.Brokers[0], topic, strings.Join(configs, ","))
}

// ensureTopics makes the topics that are missing and judges those that are
// there. A topic that cannot be used is a usageError.
func (p *process) ensureTopics(ctx context.Context) ([]txn.Topic, error) {
	topics, err := p.cluster.EnsureTopics(ctx, p.cfg.topics(), p.cfg.Kafka.CreateTopics)
	var unfit *txn.TopicError
	if errors.As(err, &unfit) && !errors.Is(err, txn.ErrRetry) && !errors.Is(err, txn.ErrUnauthorized) {
		return nil, usageError{err} // a missing right is mended in Kafka, and waited for
	}
	if err != nil {
		return nil, err
	}
	for _, t := range topics {
		for _, w := range t.Weaknesses() {
			p.log.Warn("topic is less durable than the cluster allows", zap.String("topic", t.Name), zap.Stringer("fault", w), zap.String("hint", w.Cure))
		}
	}
	for _, t := range topics[:2] {
		if p.cfg.Kafka.Erasable && t.CleanupPolicy != "" && !t.Compacted() {
			p.log.Warn("KAFKA_ERASABLE is for topics that are created; this one is not compacted, and connector erase refuses",
				zap.String("topic", t.Name), zap.String("hint", p.cfg.Kafka.compact(t.Name)))
		}
		if err := p.cfg.fitsRecordTime(t, p.cfg.reach()); err != nil {
			return nil, usageError{err}
		}
		if t.AppendTime && p.cfg.Kafka.RecordTime == "event" {
			p.log.Warn("KAFKA_RECORD_TIME=event has no effect on a topic whose records the broker stamps",
				zap.String("topic", t.Name), zap.String("hint", "set message.timestamp.type=CreateTime, or KAFKA_RECORD_TIME=publish"))
		}
		if t.RetentionMs <= 0 || t.CleanupPolicy == "compact" {
			continue // it keeps everything, or does not say
		}
		kept := time.Duration(t.RetentionMs) * time.Millisecond
		if back := p.cfg.reach(); p.cfg.Kafka.RecordTime == "event" && kept < back {
			return nil, usageError{fmt.Errorf(
				"KAFKA_RECORD_TIME: with event, topic %s (retention.ms=%d) deletes records of events older than %s as soon as they are written, and %s are to be read; set it to publish, or the topic's retention.ms to -1",
				t.Name, t.RetentionMs, kept, back)}
		}
		if t.Created {
			continue // that it is not kept for ever was said when it was created
		}
		p.log.Warn("a topic forgets events after its retention; an audit trail is usually kept for ever",
			zap.String("topic", t.Name), zap.Duration("retention", kept), zap.String("hint", "set retention.ms=-1"))
	}
	return topics, nil
}

// tellQuotas logs what limits brokers set to this client, where they tell.
func (p *process) tellQuotas(ctx context.Context) {
	quotas, err := p.cluster.Quotas(ctx, p.cfg.Kafka.user())
	if err != nil {
		p.log.Debug("client quotas are not known", zap.Error(err))
	}
	for _, q := range quotas {
		p.log.Warn("a quota of the brokers limits the connector; beyond it they make it wait",
			zap.String("quota", q.Key), zap.Float64("value", q.Value), zap.String("hint", q.Cure()))
	}
}

// user is who brokers take this client for; "" where only they know.
func (k Kafka) user() string {
	switch {
	case k.SASL.Username.IsSet():
		return k.SASL.Username.Value()
	case k.SASL.MechanismName == "" && k.TLS.CertFile == "":
		return "ANONYMOUS" // KafkaPrincipal.ANONYMOUS
	}
	return ""
}

// fitsRecordTime returns an error where events are to be written under their own time and the
// topic refuses records that old: each step with such an event would be refused, for ever. What
// our clock is to the broker's cannot be known here.
func (c Config) fitsRecordTime(t txn.Topic, back time.Duration) error {
	limit := t.OldestRecord
	if c.Kafka.RecordTime != "event" || limit.Most == 0 || limit.Most > back {
		return nil
	}
	return fmt.Errorf(
		"KAFKA_RECORD_TIME: with event, topic %s (%s=%d) refuses records of events older than %s, and those of %s are to be read (BACKFILL_FROM, SWEEP_AGES); set it to publish, or raise %[2]s of the topic",
		t.Name, limit.Config, limit.Most.Milliseconds(), limit.Most, back.Round(time.Second))
}

// reach is how old events may be when they are read, by the settings alone: what is
// backfilled, and what a sweep finds.
func (c Config) reach() time.Duration {
	now := time.Now()
	retention := c.Genesys.RetentionOf(c.Genesys.API)
	if c.Genesys.API == "auto" {
		retention = c.Genesys.RetentionOf("query") // the longest that it can turn out to be
	}
	back := now.Sub(c.Poll.BackfillFrom.Start(now, retention))
	for _, age := range c.Poll.SweepAges {
		back = max(back, age)
	}
	return back
}

// archive is the raw topic, to be read back.
func (a *app) archive() *sink.Archive {
	return &sink.Archive{Org: a.cfg.Org, Topic: a.cfg.Kafka.TopicRaw, Changes: a.cfg.Kafka.TopicChanges, Cluster: a.cluster}
}
