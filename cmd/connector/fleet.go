package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/fleet"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/replica"
	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/web"
)

// fleetApp is the connector of many organisations: one process of it, which runs those
// that the group gives to it.
type fleetApp struct {
	*process
	env    envconfig.Lookuper
	health health.Monitor // of the replica; each organisation has one of its own
	web    *web.Server
	// lookForOrganisations is how often ORGS_FILE is looked at.
	lookForOrganisations time.Duration

	topics  []txn.Topic // raw, changes, offsets; set before the fleet is
	framing []byte

	mu      sync.Mutex // protects what follows
	fleet   *fleet.Fleet
	configs []Config // of all organisations, in the file's order
	led     map[string]*organisation
	hours   map[string]*hours // of those that were led here lately
	broken  map[string]error  // by organisation: why it is not led, although it should be
}

// organisation is one that is led here.
type organisation struct {
	*app
	fleet *fleetApp
}

// newFleet makes the connector of the organisations in configs. cfg is the process'.
func newFleet(cfg Config, configs []Config, env envconfig.Lookuper, log *zap.Logger) (*fleetApp, error) {
	f := &fleetApp{
		env: env, configs: configs, led: make(map[string]*organisation), hours: make(map[string]*hours), broken: make(map[string]error),
		lookForOrganisations: 10 * time.Second,
	}
	var err error
	if f.process, err = newProcess(cfg, &f.health, log); err != nil {
		return nil, err
	}
	f.web = web.NewFleet(f, log)
	return f, nil
}

func (f *fleetApp) close() { f.cluster.Close() }

// run runs the connector until ctx ends or an error says that only another
// configuration can help.
func (f *fleetApp) run(ctx context.Context) error {
	listener, err := f.listen()
	if err != nil {
		return err
	}
	return f.runOn(ctx, listener)
}

// runOn is run with the status page on the listener, which it closes.
func (f *fleetApp) runOn(ctx context.Context, listener net.Listener) error {
	page, closePage := context.WithCancel(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.web.Run(page, listener) })
	g.Go(func() error {
		defer closePage()
		if err := f.assemble(ctx); err != nil {
			return err
		}
		g.Go(func() error { f.watchGroup(ctx); return nil })
		g.Go(func() error {
			watchOrganisations(ctx, f.cfg, f.env, f.configs, f.lookForOrganisations, f.change, f.fileFailed)
			return nil
		})
		g.Go(func() error { f.countHours(ctx); return nil })
		return f.fleet.Run(ctx)
	})
	return outcome(g.Wait())
}

// assemble makes the fleet once topics and registry answer.
func (f *fleetApp) assemble(ctx context.Context) (err error) {
	if f.topics, f.framing, err = f.prepare(ctx); err != nil {
		return err
	}
	election := f.cfg.election(f.name)
	election.Report = f.health.Report
	all := fleet.New(fleet.Config{
		Cluster: f.cluster, Offsets: f.cfg.Kafka.TopicOffsets, Partitions: f.cfg.offsetsPartitions(),
		Election: election, Health: &f.health, Logger: f.log, Failed: f.organisationFailed,
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fleet = all
	all.Set(f.specs(f.configs), nil)
	return nil
}

func (f *fleetApp) specs(configs []Config) []fleet.Spec {
	specs := make([]fleet.Spec, len(configs))
	for i, cfg := range configs {
		specs[i] = fleet.Spec{Name: cfg.Org, Start: func() (fleet.Organisation, error) { return f.start(cfg) }}
	}
	return specs
}

// change takes over what ORGS_FILE says by now.
func (f *fleetApp) change(configs []Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes := diffOrganisations(f.configs, configs)
	changed := listNames(changes.changed)
	f.log.Info("ORGS_FILE has changed", zap.Int("organisations", len(configs)), zap.Strings("added", listNames(changes.added)),
		zap.Strings("changed", changed), zap.Strings("removed", changes.removed))
	f.configs = configs
	for _, name := range slices.Concat(changed, changes.removed) {
		delete(f.broken, name)
	}
	f.fleet.Set(f.specs(configs), changed)
}

func listNames(configs []Config) []string {
	names := make([]string, len(configs))
	for i := range configs {
		names[i] = configs[i].Org
	}
	return names
}

// orgsFileSubject is what fails while ORGS_FILE is wrong and an older one is in force.
var orgsFileSubject = health.Subject{Kind: health.Other, Op: "ORGS_FILE", Warning: true}

func (f *fleetApp) fileFailed(err error) {
	f.health.Report(orgsFileSubject, err)
	if err != nil {
		f.log.Error("ORGS_FILE is wrong; what it said before stays in force", zap.Error(err))
	}
}

func (f *fleetApp) organisationFailed(org string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.broken[org] = err
	} else {
		delete(f.broken, org)
	}
}

// start makes what leads one organisation.
func (f *fleetApp) start(cfg Config) (fleet.Organisation, error) {
	a := newOrganisation(cfg, f.log.With(zap.String("org", cfg.Org)))
	a.process = f.process
	if err := a.assemble(); err != nil {
		return nil, err
	}
	for _, topic := range f.topics[:2] {
		if err := cfg.fitsRecordTime(topic, cfg.reach()); err != nil {
			a.Close()
			return nil, err
		}
	}
	if err := a.furnish(f.topics, f.framing); err != nil {
		a.Close()
		return nil, err
	}
	a.leader = replica.NewLeader(replica.LeaderConfig{
		Org: cfg.Org, Producer: a.producer, NewTerm: a.newTerm, Health: &a.health, Logger: a.log,
		Fenced: cfg.Kafka.SessionTimeout,
	})
	o := &organisation{a, f}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.led[cfg.Org] = o
	return o, nil
}

// Lead leads the organisation until ctx ends.
func (o *organisation) Lead(ctx context.Context, shard *replica.Shard) error {
	if err := o.notApart(ctx); err != nil {
		return err
	}
	return o.leader.Lead(ctx, shard)
}

// notApart is an error where a deployment of this organisation alone is running: it has
// another transactional id, so that neither would fence the other.
func (a *app) notApart(ctx context.Context) error {
	group := Config{Org: a.cfg.Org}.GroupID()
	members, err := a.cluster.GroupMembers(ctx, group)
	if err != nil {
		a.log.Debug("whether a deployment of its own runs is not known", zap.String("group", group), zap.Error(err))
		return nil // rights on that group are nothing that a fleet needs
	}
	if len(members) > 0 {
		return fmt.Errorf("a deployment of organisation %s alone is running, as group %s: everything would be published twice; stop it, then connector migrate takes over what it remembers", a.cfg.Org, group)
	}
	return nil
}

// Close gives back what the organisation holds.
func (o *organisation) Close() {
	o.app.Close()
	o.fleet.mu.Lock()
	defer o.fleet.mu.Unlock()
	if o.fleet.led[o.cfg.Org] == o {
		delete(o.fleet.led, o.cfg.Org)
	}
}

// leadAlone leads an organisation of a fleet whose replicas are all down, until ctx ends or
// one of them takes over. It takes no part in the group: its share would be of all organisations.
func (a *app) leadAlone(ctx context.Context) error {
	if err := a.notApart(ctx); err != nil {
		return err
	}
	topics, framing, err := a.process.prepare(ctx)
	if err != nil {
		return err
	}
	if err := a.furnish(topics, framing); err != nil {
		return err
	}
	leader := replica.NewLeader(replica.LeaderConfig{Org: a.cfg.Org, Producer: a.producer, NewTerm: a.newTerm, Health: &a.health, Logger: a.log})
	shard := replica.NewShard(a.cluster, a.cfg.Kafka.TopicOffsets, a.cfg.offsetsPartition(), a.log)
	serving, cancel := context.WithCancel(ctx)
	var serves sync.WaitGroup
	serves.Go(func() { shard.Run(serving) })
	defer serves.Wait()
	defer cancel()
	return leader.Lead(ctx, shard)
}
