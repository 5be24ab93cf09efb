package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/retry"
	"genesys-audit-connector/internal/sink"
	"genesys-audit-connector/internal/txn"
)

// evidenceTopic is the topic of the evidence log as it should be. A log has one
// partition, whichever the topic has, for its records must stay in order.
func (c Config) evidenceTopic() txn.TopicSpec {
	return txn.TopicSpec{
		Name: c.Evidence.Topic, Partitions: 1, ReplicationFactor: c.Kafka.ReplicationFactor, Configs: c.Kafka.forever(),
	}
}

// noEvidence is what fails while the log is wanted and cannot be begun.
var noEvidence = health.Subject{Kind: health.Kafka, Op: "evidence log", Warning: true}

// openLog gives the sink the evidence log at the beginning of a term. saved is its state
// in the offsets topic. A log that has begun is continued or the term ends: it never
// stops in silence. One that has not, and whose topic cannot be used, is left out.
func (a *app) openLog(ctx context.Context, saved []byte) error {
	if !a.cfg.Evidence.Enabled {
		a.sink.Log(nil, sink.Topic{})
		return nil
	}
	topics, err := a.ensureLogTopic(ctx, saved != nil)
	if err == nil && saved == nil {
		err = a.mayKeepLog(ctx, topics[0].Name)
	}
	refused, unusable := errors.Is(err, txn.ErrUnauthorized), unfit(err)
	switch {
	case err == nil:
	case saved == nil && (refused || unusable):
		err = fmt.Errorf("no evidence log is kept (KAFKA_TOPIC_EVIDENCE): %w; then restart, or set EVIDENCE=false", err)
		a.health.Report(noEvidence, err)
		a.log.Warn("evidence", zap.Error(err))
		a.sink.Log(nil, sink.Topic{})
		return nil
	case unusable && !refused:
		return fmt.Errorf("%w: KAFKA_TOPIC_EVIDENCE: the evidence log has begun there: %w; or end it with EVIDENCE=false", poller.ErrConfiguration, err)
	default:
		return err
	}
	a.health.Report(noEvidence, nil)
	topic := sink.Topic{Name: topics[0].Name, Partitions: topics[0].Partitions}
	keys, err := evidence.ParseKeys(a.cfg.Evidence.Key.Value())
	if err != nil { // it was right at the start: its file may be being replaced at this moment
		return fmt.Errorf("EVIDENCE_KEY: %w", err)
	}
	var log *evidence.Log
	if saved != nil {
		if log, err = a.continueLog(ctx, saved, topic, keys); err != nil {
			return err
		}
	} else if log, err = a.replayLog(ctx, topic, keys); err != nil {
		return err
	}
	a.sink.Log(log, topic)
	a.log.Info("evidence log", zap.Uint64("size", log.Size()), zap.Bool("signed", keys.Current != nil))
	return nil
}

// unfit reports whether a topic cannot be used, and that nothing but a change of it helps.
func unfit(err error) bool {
	var e *txn.TopicError
	return errors.As(err, &e) && !errors.Is(err, txn.ErrRetry)
}

// ensureLogTopic makes the log's topic where it may. The topic of a log that has begun is
// never made: an empty one in its place would hide that it is lost. A broker that has
// just started may not know it yet, so it is asked for more than once.
func (a *app) ensureLogTopic(ctx context.Context, begun bool) (topics []txn.Topic, err error) {
	for range 4 {
		topics, err = a.cluster.EnsureTopics(ctx, []txn.TopicSpec{a.cfg.evidenceTopic()}, a.cfg.Kafka.CreateTopics && !begun)
		if !begun || !unfit(err) || retry.Sleep(ctx, time.Second) != nil {
			break
		}
	}
	return topics, err
}

// mayKeepLog is an error where rights on the log's topic are missing. Every transaction
// would fail for it: rights given by topic may be older than the log.
func (a *app) mayKeepLog(ctx context.Context, topic string) error {
	_, rights, err := a.cluster.TopicRights(ctx, topic)
	if err == nil && rights.Told() && !(rights.Allow(txn.OpWrite) && rights.Allow(txn.OpRead)) {
		err = &txn.TopicError{Topic: topic, Fault: "may not be read and written", Cure: "grant Read and Write on it", Err: txn.ErrUnauthorized}
	}
	return err
}

// continueLog opens the log as its state has it and finds its newest record in the topic.
// Where records of it follow there, the state is an older one, by an unclean election or
// from a backup: what they hold is not entered again.
func (a *app) continueLog(ctx context.Context, saved []byte, topic sink.Topic, keys evidence.Keys) (*evidence.Log, error) {
	log, err := evidence.Open(a.cfg.Org, saved, keys)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; tombstone its key in the offsets topic to have it made again from topic %s", poller.ErrConfiguration, err, topic.Name)
	}
	some, found := false, false
	follow := log.Replay()
	partition := topic.Partition(a.cfg.Org)
	first, err := readBackwards(ctx, a.cluster, topic.Name, partition, func(r *txn.Record) error {
		record, err := logRecord(r, a.cfg.Org)
		if record == nil || err != nil {
			return nil // a stranger's record ends nothing: evidence verify names it
		}
		some = true
		if found {
			_ = follow.Add(record) // or it is not of this log, which is named there, too
		}
		found = found || record.Checkpoint == log.Newest().Text
		return nil
	}, func() bool { return found })
	switch {
	case errors.Is(err, txn.ErrUnauthorized): // only Write matters for going on
		a.log.Warn("the evidence log goes on without a look at its newest record", zap.Error(err))
	case err != nil:
		return nil, err
	case found && follow.Size() > log.Size():
		a.log.Warn("the state of the evidence log is older than the log; it goes on behind the log's newest record",
			zap.Uint64("state", log.Size()), zap.Uint64("log", follow.Size()))
		return follow.Log(keys), nil
	case found:
	case !some && first == 0:
		return nil, fmt.Errorf("%w: KAFKA_TOPIC_EVIDENCE: the evidence log has begun, with %d entries, and in topic %s there are no records of it: name its topic, or restore it; or end the log with EVIDENCE=false",
			poller.ErrConfiguration, log.Size(), topic.Name)
	default:
		err := fmt.Errorf("the newest record of the evidence log, of %d entries, is gone from topic %s; it goes on behind it, and \"connector evidence verify\" names what is missing", log.Size(), topic.Name)
		a.health.Report(noEvidence, err)
		a.log.Warn("evidence", zap.Error(err))
	}
	return log, nil
}

// logRecord is what a record of the evidence topic adds to an organisation's log; nil for
// one that adds nothing.
func logRecord(r *txn.Record, org string) (*evidence.Record, error) {
	if !strings.HasPrefix(string(r.Key), org+"/") || evidence.IsStamp(r.Key) || r.Value == nil {
		return nil, nil
	}
	return evidence.ParseRecord(r.Key, r.Value)
}

// replayLog makes the log anew from its topic, where the offsets topic has no state of
// it: it begins there, or the offsets topic was lost.
func (a *app) replayLog(ctx context.Context, topic sink.Topic, keys evidence.Keys) (*evidence.Log, error) {
	replay := evidence.NewReplay(a.cfg.Org)
	reader := a.cluster.NewReader(topic.Name, topic.Partition(a.cfg.Org), txn.First)
	defer reader.Close()
	var damage error
	err := reader.ReadToEnd(ctx, func(r *txn.Record) error {
		record, err := logRecord(r, a.cfg.Org)
		if damage != nil || record == nil && err == nil {
			return nil
		}
		if err == nil {
			err = replay.Add(record)
		}
		if err != nil {
			damage = fmt.Errorf("%w: KAFKA_TOPIC_EVIDENCE: the offsets topic has no state of the evidence log, and from topic %s it cannot be made again: offset %d: %w; name another topic, in which a new log begins",
				poller.ErrConfiguration, topic.Name, r.Offset, err)
		}
		return nil
	})
	if err = errors.Join(damage, err); err != nil {
		return nil, err
	}
	return replay.Log(keys), nil
}

// announceEvery is how often the newest checkpoint goes to the log, which leaves the house.
const announceEvery = time.Hour

// announceCheckpoints writes the newest checkpoint to the log now and then, until ctx ends.
func (a *app) announceCheckpoints(ctx context.Context) {
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	for {
		if c := a.sink.Checkpoint(); c.Size > 0 {
			a.log.Info("evidence checkpoint", zap.Uint64("size", c.Size), zap.String("checkpoint", c.Text))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// noStamp is what fails while the authority gives no time stamps.
var noStamp = health.Subject{Kind: health.Other, Op: "time stamp", Warning: true}

// stampTime is how long the authority may take.
const stampTime = 30 * time.Second

// stampCheckpoints has the newest checkpoint time-stamped now and then, until ctx ends.
// Nothing waits for it.
func (a *app) stampCheckpoints(ctx context.Context) {
	if a.cfg.Evidence.TSAURL == "" {
		return
	}
	defer a.health.Report(noStamp, nil) // the next leader asks
	client := &http.Client{Timeout: stampTime}
	backoff := retry.Backoff{First: time.Second, Most: 10 * time.Minute}
	var done uint64 // the size that was stamped last
	for {
		pause := min(a.cfg.Evidence.TSAInterval, time.Minute) // until there is something to stamp
		if c := a.sink.Checkpoint(); c.Size > done {
			err := a.guarded(func() error { return a.stamp(ctx, client, c) })
			if ctx.Err() != nil {
				return
			}
			a.health.Report(noStamp, err)
			if err != nil {
				pause = backoff.Next()
				a.log.Warn("no time stamp; retrying", zap.Error(err), zap.Duration("in", pause))
			} else {
				backoff.Reset()
				done, pause = c.Size, a.cfg.Evidence.TSAInterval
				a.log.Info("evidence checkpoint is time-stamped", zap.Uint64("size", c.Size))
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// stamp has a checkpoint stamped and writes the stamp behind it. Written twice it does no harm.
func (a *app) stamp(ctx context.Context, client *http.Client, c evidence.Checkpoint) error {
	s, err := evidence.RequestStamp(ctx, client, a.cfg.Evidence.TSAURL, a.cfg.Org, c)
	if err != nil {
		return fmt.Errorf("EVIDENCE_TSA_URL: %w", err)
	}
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	count, err := a.cluster.Partitions(ctx, a.cfg.Evidence.Topic)
	if err != nil {
		return err
	}
	to := sink.Topic{Name: a.cfg.Evidence.Topic, Partitions: count}
	return a.cluster.Append(ctx, to.Name, to.Partition(a.cfg.Org), &txn.Record{Key: s.AppendKey(nil), Value: value, Time: time.Now().UnixMilli()})
}

func newEvidence() *cobra.Command {
	c := &cobra.Command{
		Use: "evidence", Short: "The log that shows tampering", Args: noArguments,
		Long: `Each published event is entered in a Merkle log (RFC 6962), in the same
transaction. Whoever keeps a checkpoint of it can prove later that nothing of
what it held was altered or removed.`,
		Example: "  connector evidence key --org acme",
	}
	c.AddCommand(newEvidenceKey(), newEvidenceVerify(), newEvidenceCheckpoint(), newEvidenceExport())
	return c
}

func newEvidenceCheckpoint() *cobra.Command {
	var org string
	c := &cobra.Command{
		Use: "checkpoint", Short: "Print the newest checkpoint, to be kept elsewhere", Args: noArguments,
		Long: `checkpoint prints the newest checkpoint as it stands in the evidence topic. It needs
Kafka alone. Kept where nobody who writes to Kafka can change it, it proves all
that came before it: see "connector evidence verify --checkpoint".`,
		Example: "  connector evidence checkpoint > /safe/checkpoints/$(date +%F).txt",
		RunE: func(c *cobra.Command, _ []string) error {
			return printCheckpoint(c.Context(), envconfig.OsLookuper(), org, c.OutOrStdout())
		},
	}
	addOrgFlag(c, &org)
	return c
}

var errNoCheckpoint = errors.New("there is no checkpoint: nothing was published yet, or there is no evidence log")

func printCheckpoint(ctx context.Context, env envconfig.Lookuper, org string, out io.Writer) error {
	cfg, cluster, err := kafkaAlone(env, org)
	if err != nil {
		return err
	}
	defer cluster.Close()
	count, err := cluster.Partitions(ctx, cfg.Evidence.Topic)
	if err != nil {
		return fmt.Errorf("KAFKA_TOPIC_EVIDENCE: %w", err)
	}
	partition := sink.Topic{Partitions: count}.Partition(cfg.Org)
	text := ""
	_, err = readBackwards(ctx, cluster, cfg.Evidence.Topic, partition, func(r *txn.Record) error {
		record, err := logRecord(r, cfg.Org)
		if record != nil {
			text = record.Checkpoint
		}
		return err
	}, func() bool { return text != "" })
	switch {
	case err != nil:
		return err
	case text == "":
		return errNoCheckpoint
	}
	_, err = io.WriteString(out, text)
	return err
}

// readBackwards reads the end of a partition, and more of it each time until that is
// enough or it has read all. fn gets records in their order, some of them again. first is
// the offset of the oldest record that there is.
func readBackwards(ctx context.Context, cluster *txn.Cluster, topic string, partition int32, fn func(*txn.Record) error, enough func() bool) (first int64, err error) {
	offset := func(of int64) (int64, error) {
		reader := cluster.NewReader(topic, partition, of)
		defer reader.Close()
		return reader.Start(ctx)
	}
	if first, err = offset(txn.First); err != nil {
		return 0, err
	}
	last, err := offset(txn.Last)
	for back := int64(100); err == nil; back *= 10 {
		from := max(first, last-back)
		reader := cluster.NewReader(topic, partition, from)
		err = reader.ReadToEnd(ctx, fn)
		reader.Close()
		if from == first || enough() {
			break
		}
	}
	return first, err
}

func newEvidenceKey() *cobra.Command {
	org := "default"
	c := &cobra.Command{
		Use: "key", Short: "Make a key pair that signs checkpoints", Args: noArguments,
		Long: `key makes an Ed25519 key pair in the format of C2SP signed notes. The first line
goes to EVIDENCE_KEY and is a secret. The second line, the verifier's, is for all
who check; it is no secret.

To replace a key, put the new one and the old one behind it, with a space in
between, into EVIDENCE_KEY: the new one's first checkpoint is signed by both.`,
		Example: "  connector evidence key --org acme",
		RunE: func(c *cobra.Command, _ []string) error {
			signer, verifier, err := evidence.GenerateKey(org, nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n%s\n", signer, verifier)
			return err
		},
	}
	c.Flags().StringVar(&org, "org", org, "the organisation's name, ORG_NAME")
	return c
}
