package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/sandbox"
)

func newRun() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the connector, configured by environment variables",
		Long: `run tails the audit log and publishes every event exactly once, until SIGINT or
SIGTERM. Replicas with the same KAFKA_GROUP_ID elect one that is active.

Refused credentials, an unreachable API, broker or registry never end it: it
says so and tries again. It ends with 2 when only another configuration helps.`,
		Example: "  GENESYS_REGION=mypurecloud.ie GENESYS_CLIENT_ID=… \\\n  GENESYS_CLIENT_SECRET_FILE=/run/secrets/genesys \\\n  KAFKA_BROKERS=kafka-1:9092,kafka-2:9092 connector run",
		Args:    noArguments,
		RunE:    runCommand,
	}
}

func runCommand(c *cobra.Command, _ []string) error {
	env := envconfig.OsLookuper()
	cfg, configs, err := LoadFleet(env)
	if err != nil {
		return wrongConfiguration(err)
	}
	log := newLogger(cfg.Log, os.Stderr)
	defer func() { _ = log.Sync() }() // standard error cannot always be synced
	for _, w := range append(cfg.Warnings, Unread(os.Environ())...) {
		log.Warn("configuration", zap.String("warning", w))
	}
	for _, c := range configs {
		for _, w := range c.Warnings {
			log.Warn("configuration", zap.String("org", c.Org), zap.String("warning", w))
		}
	}
	connector, err := newConnector(cfg, configs, env, log)
	if err != nil {
		return err
	}
	defer connector.close()
	v, commit := build()
	if limit := limitMemory(memoryMax); limit > 0 {
		log.Info("memory is limited", zap.Int64("bytes", limit))
	}
	of := zap.String("org", cfg.Org)
	if cfg.OrgsFile != "" {
		of = zap.Int("organisations", len(configs))
	}
	log.Info("starting", zap.String("version", v), zap.String("commit", commit), of,
		zap.String("group", cfg.GroupID()), zap.Strings("brokers", cfg.Kafka.Brokers))
	err = connector.run(c.Context())
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// connector is what this process runs: one organisation, or those of many that it gets.
type connector interface {
	run(ctx context.Context) error
	close()
}

func newConnector(cfg Config, configs []Config, env envconfig.Lookuper, log *zap.Logger) (connector, error) {
	if cfg.OrgsFile == "" {
		return newApp(cfg, log)
	}
	return newFleet(cfg, configs, env, log)
}

// wrongConfiguration is an error that another configuration mends, one line for each variable.
// What of the environment nothing reads may be what was meant.
func wrongConfiguration(err error) error {
	unread := ""
	for _, line := range Unread(os.Environ()) {
		unread += line + "\n"
	}
	return usageError{fmt.Errorf("connector: the configuration is wrong:\n%w\n%s\"connector run --help\" describes every variable.", err, unread)}
}

// newSandbox is for tests and for docker-compose: it is not part of the product's interface.
func newSandbox() *cobra.Command {
	var o sandbox.ServerOptions
	var broker int
	var realistic bool
	c := &cobra.Command{
		Use: "sandbox", Short: "Serve the simulated organisation alone", Hidden: true, Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if broker >= 0 {
				o.Broker = &sandbox.BrokerOptions{Port: broker}
			}
			if realistic {
				seed, latency := o.Seed, o.Latency
				o.Options = sandbox.Realistic(seed)
				o.Latency = latency
			}
			o.Ready = c.OutOrStdout()
			return sandbox.Serve(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Addr, "addr", "127.0.0.1:8081", "address of API and login")
	f.IntVar(&broker, "broker", -1, "port of an embedded Kafka broker, 0 for any, -1 for none")
	f.Uint64Var(&o.Seed, "seed", 1, "events are the same for the same seed")
	f.IntVar(&o.History, "history", 500, "events that happened before the start")
	f.DurationVar(&o.HistorySpan, "span", 24*time.Hour, "during which they happened")
	f.Float64Var(&o.Rate, "rate", 1, "audit events per second")
	f.BoolVar(&realistic, "realistic", false, "without dialect auditlogs, with slow queries, files and limits as live organisations have them")
	f.DurationVar(&o.Latency, "latency", 0, "of every answer")
	return c
}
