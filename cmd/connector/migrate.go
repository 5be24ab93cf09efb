package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/fleet"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/txn"
)

func newMigrate() *cobra.Command {
	var o migrateOptions
	c := &cobra.Command{
		Use:   "migrate --from TOPIC [--org NAME]",
		Short: "Take over what another offsets topic remembers",
		Long: `migrate copies what an offsets topic remembers of an organisation (ids, ledgers, the
state of the evidence log) to KAFKA_TOPIC_OFFSETS, for a move from a deployment of
one organisation to one of many (ORGS_FILE), back, or to more partitions. With
ORGS_FILE it does so for every organisation there, or for --org.

Stop the other deployment first, and start this one afterwards. What was copied is
marked in the old topic: no connector goes on with it there. Interrupted, it can be
run again. Raw, changes and evidence topics stay the same: leave their names alone.`,
		Example: "  connector migrate --from genesys.audit.offsets\n  connector migrate --from genesys.audit.offsets --org acme",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return migrateCommand(c.Context(), o, c.OutOrStdout())
		},
	}
	addOrgFlag(c, &o.org)
	f := c.Flags()
	f.StringVar(&o.topic, "from", "", "the offsets `topic` of the other deployment")
	f.StringVar(&o.group, "from-group", "", "its KAFKA_GROUP_ID (default genesys-audit-NAME, of many organisations genesys-audit)")
	f.BoolVar(&o.fleet, "from-fleet", false, "it is a deployment of many organisations (the default without ORGS_FILE)")
	return c
}

type migrateOptions struct {
	topic, group string
	org          string // "" for all
	fleet        bool
}

// transactionalID is under which the other deployment writes for an organisation.
func (o migrateOptions) transactionalID(org string) string {
	c := Config{Org: org, Kafka: Kafka{Group: o.group}}
	if o.fleet {
		c.OrgsFile = o.topic // any
	}
	return c.TransactionalID()
}

func migrateCommand(ctx context.Context, o migrateOptions, out io.Writer) error {
	configs, err := loadSome(envconfig.OsLookuper(), o.org)
	if err != nil {
		return configurationFault(err)
	}
	o.fleet = o.fleet || configs[0].OrgsFile == ""
	switch {
	case o.topic == "":
		return usageError{errors.New("connector migrate: --from is needed: the offsets topic of the other deployment, such as --from genesys.audit.offsets")}
	case o.topic == configs[0].Kafka.TopicOffsets:
		return usageError{fmt.Errorf("connector migrate: --from and KAFKA_TOPIC_OFFSETS are both %s; expected two topics", o.topic)}
	}
	for _, cfg := range configs {
		if err := migrateOne(ctx, cfg, o, out); err != nil {
			return fmt.Errorf("organisation %s: %w", cfg.Org, err)
		}
	}
	return nil
}

// loadSome reads the configuration of the organisation that --org names, or of all.
func loadSome(env envconfig.Lookuper, org string) ([]Config, error) {
	if org != "" {
		cfg, err := loadOne(env, org)
		return []Config{cfg}, err
	}
	_, configs, err := LoadFleet(env)
	return configs, err
}

// migrateOne moves one organisation. From the moment on at which the old ledgers are marked nobody
// goes on with them; before, the old deployment is fenced, and nothing has changed.
func migrateOne(ctx context.Context, cfg Config, o migrateOptions, out io.Writer) error {
	a, err := newApp(cfg, newLogger(cfg.Log, os.Stderr))
	if err != nil {
		return err
	}
	defer a.close()
	if _, err := a.ensureTopics(ctx); err != nil {
		return err
	}
	m := &migration{app: a, from: o.topic}
	if err := m.refuseWhereRunning(ctx, o); err != nil {
		return err
	}
	there, err := m.ledgers(ctx, cfg.Kafka.TopicOffsets, cfg.offsetsPartition())
	if err != nil {
		return err
	}
	if there > 0 {
		fmt.Fprintf(out, "%s: topic %s has %d ledgers of it already, nothing to do\n", cfg.Org, cfg.Kafka.TopicOffsets, there)
		return nil
	}
	if err := m.take(ctx, o.transactionalID(cfg.Org)); err != nil {
		return err
	}
	if len(m.kept) == 0 {
		fmt.Fprintf(out, "%s: topic %s remembers nothing of it\n", cfg.Org, o.topic)
		return nil
	}
	if err := m.give(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d ledgers and %d other records moved from %s to %s\n", cfg.Org, len(m.kept), m.copied, o.topic, cfg.Kafka.TopicOffsets)
	return nil
}

// migration moves what an offsets topic remembers of one organisation.
type migration struct {
	app       *app
	from      string // the topic
	partition int32  // of it
	kept      map[string][]byte
	copied    int
}

// refuseWhereRunning is an error where a replica of either deployment is there that may run
// the organisation.
func (m *migration) refuseWhereRunning(ctx context.Context, o migrateOptions) error {
	groups := []string{m.app.cfg.GroupID()}
	if !o.fleet { // of many, one that left its file is led by nobody
		groups = append(groups, o.transactionalID(m.app.cfg.Org))
	}
	if m.app.cfg.OrgsFile != "" {
		groups = groups[1:] // it may run others meanwhile
	}
	for _, group := range groups {
		members, err := m.app.cluster.GroupMembers(ctx, group)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return fmt.Errorf("%d replicas of group %s are running (%s); stop them first", len(members), group, members[0].Name)
		}
	}
	return nil
}

// ledgers counts those of the organisation that were not moved away.
func (m *migration) ledgers(ctx context.Context, topic string, partition int32) (n int, err error) {
	found := make(map[string]bool)
	r := m.app.cluster.NewReader(topic, partition, txn.First)
	defer r.Close()
	err = r.ReadToEnd(ctx, func(rec *txn.Record) error {
		if _, ledger := offsets.Kept(m.app.cfg.Org, rec.Key); ledger {
			_, _, moved := offsets.ParseMoved(rec.Value)
			found[string(rec.Key)] = rec.Value != nil && !moved
		}
		return nil
	})
	for _, there := range found {
		if there {
			n++
		}
	}
	return n, err
}

// take fences the old deployment, and marks its ledgers, which kept then has.
func (m *migration) take(ctx context.Context, transactionalID string) error {
	topics, err := m.app.cluster.EnsureTopics(ctx, []txn.TopicSpec{{Name: m.from, Partitions: 1}}, false)
	if err != nil {
		return err
	}
	m.partition = fleet.PartitionOf(m.app.cfg.Org, topics[0].Partitions)
	old, err := m.app.cluster.NewProducer(txn.ProducerConfig{TransactionalID: transactionalID, Compression: m.app.cfg.Kafka.Compression})
	if err != nil {
		return err
	}
	defer old.Close()
	if err := old.Init(ctx); err != nil {
		return err
	}
	m.kept = make(map[string][]byte)
	marks := make(map[string][]byte)
	err = m.each(ctx, func(rec *txn.Record, ledger bool) error {
		key := string(rec.Key)
		if !ledger {
			return nil
		}
		delete(marks, key)
		was, to, moved := offsets.ParseMoved(rec.Value)
		switch {
		case moved && to != m.app.cfg.Kafka.TopicOffsets:
			return fmt.Errorf("topic %s: it was moved to topic %s before; migrate from there", m.from, to)
		case rec.Value == nil:
			delete(m.kept, key)
		case moved: // by a migration that did not come to its end
			m.kept[key] = bytes.Clone(was)
		default:
			m.kept[key] = bytes.Clone(rec.Value)
			marks[key] = offsets.Moved(rec.Value, m.app.cfg.Kafka.TopicOffsets)
		}
		return nil
	})
	if err != nil || len(marks) == 0 {
		return err
	}
	return m.commit(ctx, old, m.from, m.partition, marks)
}

// give copies everything, the ledgers last: without one nothing counts as begun.
func (m *migration) give(ctx context.Context) error {
	p, to := m.app.producer, m.app.cfg.Kafka.TopicOffsets
	if err := p.Init(ctx); err != nil {
		return err
	}
	const together = 5000 // records in a transaction: a few hundred kilobytes
	open := 0
	err := m.each(ctx, func(rec *txn.Record, ledger bool) (err error) {
		if ledger {
			return nil
		}
		if open == 0 {
			err = p.Begin()
		}
		if err == nil {
			err = p.Produce(to, m.app.cfg.offsetsPartition(), &txn.Record{Key: rec.Key, Value: rec.Value, Time: time.Now().UnixMilli()})
		}
		m.copied++
		if open++; err == nil && open == together {
			open = 0
			err = p.Commit(ctx)
		}
		return err
	})
	if err == nil && open > 0 {
		err = p.Commit(ctx)
	}
	if err != nil {
		return err
	}
	return m.commit(ctx, p, to, m.app.cfg.offsetsPartition(), m.kept)
}

// each calls f for the organisation's records in the old topic, in their order.
func (m *migration) each(ctx context.Context, f func(rec *txn.Record, ledger bool) error) error {
	r := m.app.cluster.NewReader(m.from, m.partition, txn.First)
	defer r.Close()
	return r.ReadToEnd(ctx, func(rec *txn.Record) error {
		if ours, ledger := offsets.Kept(m.app.cfg.Org, rec.Key); ours {
			return f(rec, ledger)
		}
		return nil
	})
}

// commit writes the records in a transaction of their own.
func (m *migration) commit(ctx context.Context, p *txn.Producer, topic string, partition int32, records map[string][]byte) error {
	if err := p.Begin(); err != nil {
		return err
	}
	for key, value := range records {
		if err := p.Produce(topic, partition, &txn.Record{Key: []byte(key), Value: value, Time: time.Now().UnixMilli()}); err != nil {
			return err
		}
	}
	return p.Commit(ctx)
}
