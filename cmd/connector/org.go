package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"

	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/txn"
)

// addOrgFlag gives a command that concerns one organisation its --org.
func addOrgFlag(c *cobra.Command, org *string) {
	c.Flags().StringVar(org, "org", "", "the organisation, by its `NAME` in ORGS_FILE")
	// An error would say that there is no such flag.
	_ = c.RegisterFlagCompletionFunc("org", func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return completeOrg(envconfig.OsLookuper(), begun), cobra.ShellCompDirectiveNoFileComp
	})
}

// completeOrg returns the names that begin so.
func completeOrg(env envconfig.Lookuper, begun string) []cobra.Completion {
	s, err := loadScope(env)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(s.names, func(name string) bool { return !strings.HasPrefix(name, begun) })
}

// scope is which organisations a deployment has, by name alone.
type scope struct {
	file  string // "" where there is one, of ORG_NAME
	names []string
}

// loadScope reads the names, whatever else is wrong.
func loadScope(env envconfig.Lookuper) (scope, error) {
	var cfg struct {
		Org      string `env:"ORG_NAME,default=default" is:"org"`
		OrgsFile string `env:"ORGS_FILE"`
	}
	r := &reader{env: env}
	r.read(&cfg)
	switch {
	case r.bug != nil:
		return scope{}, r.bug
	case len(r.problems) > 0:
		return scope{}, r.errors()
	case cfg.OrgsFile == "":
		return scope{names: []string{cfg.Org}}, nil
	}
	content, err := readOrgs(cfg.OrgsFile)
	if err != nil {
		return scope{}, err
	}
	s := scope{file: cfg.OrgsFile}
	for _, o := range parseOrgs(content).orgs {
		if o.name != "" {
			s.names = append(s.names, o.name)
		}
	}
	return s, nil
}

// choose returns the organisation that --org names, or the only one there is.
func (s scope) choose(org string) (string, error) {
	switch {
	case slices.Contains(s.names, org), len(s.names) == 1 && org == "":
		return orElse(org, s.names[0]), nil
	case s.file == "":
		return "", usageError{fmt.Errorf("connector: --org: the organisation here is %s (ORG_NAME), not %s; expected that or no --org, or ORGS_FILE for many", quoted(s.names[0]), quoted(org))}
	case len(s.names) == 0:
		return "", usageError{fmt.Errorf("connector: --org: there is no organisation in %s; expected one, by its name", s.file)}
	case org == "":
		return "", usageError{fmt.Errorf("connector: --org is not given, and %s has %d organisations; expected one of them: %s", s.file, len(s.names), s.some())}
	}
	return "", usageError{fmt.Errorf("connector: --org: %s is not in %s%s; expected one of %s", quoted(org), s.file, suggest(org, s.names), s.some())}
}

// some lists names, as far as people read on.
func (s scope) some() string {
	const shown = 10
	if len(s.names) <= shown {
		return strings.Join(s.names, ", ")
	}
	return strings.Join(s.names[:shown], ", ") + ", …"
}

// loadOne reads the configuration of the organisation that --org names.
func loadOne(env envconfig.Lookuper, org string) (Config, error) {
	cfg, orgs, err := LoadFleet(env)
	if err != nil {
		return Config{}, err
	}
	s := scope{file: cfg.OrgsFile}
	for _, o := range orgs {
		s.names = append(s.names, o.Org)
	}
	name, err := s.choose(org)
	if err != nil {
		return Config{}, err
	}
	return orgs[slices.Index(s.names, name)], nil
}

// loadOneKafka is LoadKafka with the name of the organisation that --org names.
func loadOneKafka(env envconfig.Lookuper, org string) (Config, error) {
	cfg, err := LoadKafka(env)
	if err != nil {
		return Config{}, err
	}
	s, err := loadScope(env)
	if err != nil {
		return Config{}, err
	}
	cfg.Org, err = s.choose(org)
	return cfg, err
}

// configurationFault is an error of loadOne as a command ends with it.
func configurationFault(err error) error {
	if usage, ok := errors.AsType[usageError](err); ok {
		return usage // of --org
	}
	return wrongConfiguration(err)
}

// commandApp is the connector of an organisation for a command that does not stay.
func commandApp(org string) (*app, error) {
	cfg, err := loadOne(envconfig.OsLookuper(), org)
	if err != nil {
		return nil, configurationFault(err)
	}
	return newCommandApp(cfg)
}

// newCommandApp is newApp with less in the log: the command's own output tells what happens.
func newCommandApp(cfg Config) (*app, error) {
	if os.Getenv("LOG_LEVEL") == "" {
		cfg.Log.Level = zapcore.WarnLevel
	}
	return newApp(cfg, newLogger(cfg.Log, os.Stderr))
}

// kafkaAlone is for commands that look at Kafka and at nothing else.
func kafkaAlone(env envconfig.Lookuper, org string) (Config, *txn.Cluster, error) {
	cfg, err := loadOneKafka(env, org)
	if err != nil {
		return Config{}, nil, configurationFault(err)
	}
	if os.Getenv("LOG_LEVEL") == "" {
		cfg.Log.Level = zapcore.WarnLevel // as for newCommandApp
	}
	cluster, err := dialKafka(cfg.Kafka, func(health.Subject, error) {}, newLogger(cfg.Log, os.Stderr))
	return cfg, cluster, err
}
