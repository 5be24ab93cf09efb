package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/doctor"
	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/redact"
)

func newCheck() *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Look at everything the connector needs, and say what to do",
		Long: `check looks at everything that "connector run" needs: configuration, hosts, token,
permission, every service, taxonomy, retention, names, clock, brokers, SASL, topics, every
right in Kafka, the schema registry, and what is left of the rate limit. It says of
each whether it is as it should be, how long it took to see, and what to do.

It changes nothing, and may run beside a connector with the same settings: nothing
is fenced, joined, created or registered. It ends with 1 when something failed.`,
		Example: "  connector check\n  connector check --all\n  connector check --json | jq '.checks[] | select(.status != \"ok\")'",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return check(c.Context(), envconfig.OsLookuper(), os.Environ(), o, c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON document at the end")
	c.Flags().BoolVar(&o.all, "all", false, "check every organisation of ORGS_FILE, and print a table")
	addOrgFlag(c, &o.org)
	return c
}

// checkOptions are the flags of "connector check".
type checkOptions struct {
	org         string
	asJSON, all bool
}

var errCheckFailed = errors.New("the check found something that keeps the connector from working, see above")

// checkReport is what --json prints.
type checkReport struct {
	OK     bool           `json:"ok"`
	Checks []doctor.Check `json:"checks"`
}

func check(ctx context.Context, env envconfig.Lookuper, environ []string, o checkOptions, out io.Writer) error {
	if o.all {
		return checkEvery(ctx, env, environ, o, out)
	}
	report := checkReport{OK: true, Checks: []doctor.Check{}}
	lines := newCheckPrinter(out)
	tell := func(c doctor.Check) {
		report.Checks = append(report.Checks, c)
		report.OK = report.OK && c.Status != doctor.Failed
		if !o.asJSON {
			lines.print(c)
		}
	}
	cfg, err := loadOne(env, o.org)
	if usage, ok := errors.AsType[usageError](err); ok {
		return usage // of --org
	}
	if err == nil {
		err = examine(ctx, cfg, environ, tell)
	} else {
		err = usageError{err}
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		report.OK = false
		report.Checks = append(report.Checks, doctor.Check{
			Name: nameConfiguration, Status: doctor.Failed, Detail: strings.ReplaceAll(usage.Error(), "\n", "; "), Hint: whereDescribed,
		})
		err = wrongConfiguration(usage.error)
	}
	switch {
	case o.asJSON:
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err = cmp.Or(encoder.Encode(report), err)
	case err == nil:
		lines.sum(report.Checks)
	}
	if err == nil && !report.OK {
		return errCheckFailed
	}
	return err
}

const nameConfiguration, whereDescribed = "configuration", "\"connector run --help\" describes every variable"

// checkEvery checks every organisation that is configured.
func checkEvery(ctx context.Context, env envconfig.Lookuper, environ []string, o checkOptions, out io.Writer) error {
	if o.org != "" {
		return errOrgAndAll
	}
	_, orgs, err := LoadFleet(env)
	if err != nil {
		return wrongConfiguration(err)
	}
	return checkAll(ctx, orgs, environ, o.asJSON, out)
}

// examine tells of everything that the connector needs with this configuration.
func examine(ctx context.Context, cfg Config, environ []string, tell func(doctor.Check)) error {
	var notes doctor.Notes
	a, err := newApp(cfg, notes.Logger())
	if err != nil {
		return err
	}
	defer a.close()
	d, err := a.doctor(&notes)
	if err != nil {
		return err
	}
	found := doctor.Check{Name: nameConfiguration, Status: doctor.OK, Detail: fmt.Sprintf("organisation %s, group %s", cfg.Org, cfg.GroupID())}
	if warnings := append(cfg.Warnings, Unread(environ)...); len(warnings) > 0 {
		found.Status, found.Detail, found.Hint = doctor.Warning, strings.Join(warnings, "; "), whereDescribed
	}
	tell(found)
	if a.masks != nil {
		tell(doctor.Check{Name: "masking", Status: doctor.OK, Detail: a.masks.Describe()})
	}
	d.Run(ctx, tell)
	if ctx.Err() != nil {
		return errors.New("interrupted: not everything was looked at")
	}
	return nil
}

// doctor is one that looks at what the app would use.
func (a *app) doctor(notes *doctor.Notes) (*doctor.Doctor, error) {
	api, login := a.cfg.Genesys.Hosts()
	var client *genesys.Client
	if !a.cfg.Genesys.RefreshToken.IsSet() {
		client = a.source
	}
	k := a.cfg.Kafka
	topics := a.cfg.topics()
	d := &doctor.Doctor{
		API: doctor.API{
			URL: api, LoginURL: login, Client: client, Notes: notes,
			Start: a.cfg.Poll.BackfillFrom.Start, Reserve: a.cfg.Genesys.RateReserve,
			Names: a.cfg.Genesys.Names,
		},
		Kafka: doctor.Kafka{
			Cluster: a.cluster, TLS: k.TLS.Enabled, Mechanism: k.SASL.MechanismName, User: k.user(),
			Raw: topics[0], Changes: topics[1], Offsets: topics[2], Create: k.CreateTopics, Group: a.cfg.GroupID(),
			EventTime: k.RecordTime == "event", Reach: a.cfg.reach(),
		},
		Registry: doctor.Registry{Topic: k.TopicChanges},
		Replica:  doctor.Replica{URL: replicaURL(a.cfg.HTTPAddr)},
	}
	if r := a.cfg.Registry; len(r.URLs) > 0 {
		options, err := r.options(a.log)
		if err != nil {
			return nil, err
		}
		client, err := codec.NewRegistry(options)
		if err != nil {
			return nil, usageError{err}
		}
		d.Registry.Client = client
	}
	if a.cfg.Evidence.Enabled {
		d.Kafka.Evidence = a.cfg.evidenceTopic()
	}
	return d, nil
}

// checkPrinter prints checks for people, each as soon as it is known.
type checkPrinter struct {
	out    io.Writer
	colour bool
	// On a terminal what failed comes last, where it is still to be seen.
	terminal bool
	failed   []doctor.Check
}

func newCheckPrinter(out io.Writer) *checkPrinter {
	f, ok := out.(*os.File)
	terminal := ok && term.IsTerminal(int(f.Fd()))
	return &checkPrinter{out: out, terminal: terminal, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

// checkColours are those of ANSI terminals: green, yellow, red, faint.
var checkColours = map[doctor.Status]int{doctor.OK: 32, doctor.Warning: 33, doctor.Failed: 31, doctor.Skipped: 2}

// checkColumn is where a check's name stands, and below it what to do.
const checkColumn = 9

func (p *checkPrinter) print(c doctor.Check) {
	if p.terminal && c.Status == doctor.Failed {
		p.failed = append(p.failed, c)
		return
	}
	p.line(c)
}

func (p *checkPrinter) line(c doctor.Check) {
	status := fmt.Sprintf("%-7s", c.Status)
	if p.colour {
		status = fmt.Sprintf("\x1b[%dm%s\x1b[0m", checkColours[c.Status], status)
	}
	fmt.Fprintf(p.out, "%s  %-28s %6.2f s  %s\n", status, c.Name, c.Seconds, redact.Printable(c.Detail))
	for hint := range strings.Lines(c.Hint) {
		fmt.Fprintf(p.out, "%*s→ %s\n", checkColumn, "", redact.Printable(strings.TrimSuffix(hint, "\n")))
	}
}

// sum prints the last line.
func (p *checkPrinter) sum(checks []doctor.Check) {
	for _, c := range p.failed {
		p.line(c)
	}
	count := map[doctor.Status]int{}
	for _, c := range checks {
		count[c.Status]++
	}
	skipped := ""
	if n := count[doctor.Skipped]; n > 0 {
		skipped = fmt.Sprintf(", %d skipped", n)
	}
	fmt.Fprintf(p.out, "\n%d ok, %d with a warning%s, %d failed\n", count[doctor.OK], count[doctor.Warning], skipped, count[doctor.Failed])
}
