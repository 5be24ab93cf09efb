package main

import (
	"context"
	"errors"
	"io"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/verify"
)

// verifyOptions are the flags of "connector verify".
type verifyOptions struct {
	from, to            string
	repair, asJSON, all bool
	org                 string
}

var errNotRight = errors.New("something is wrong with what is in Kafka, see above; --repair publishes what is missing")

// errStillMissing is what a repair ends with that could not do all of it.
var errStillMissing = errors.New("events are still missing, see above: the API did not show them again to the active replica (its log names the pieces that it could not read), or a topic refuses them (its status page names the gaps)")

func newVerify() *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that Kafka holds what the API shows, and repair it",
		Long: `verify reads the API again and compares it, event by event, with what a
read-committed consumer finds: every event in the raw topic once, its bytes as
their digest says, its change records complete. It prints a line for each event
with which something is wrong and a table with a line for each day, and ends with
1 when anything is.

Without --from it compares all that is covered and that the API still holds.
--repair has the active replica publish exactly what is missing (this process does
it where none is active), compares again, and ends with 0 when all is right then.

What it found last is kept in the offsets topic; status page and metrics show it.`,
		Example: "  connector verify\n  connector verify --from 7d --repair\n  connector verify --all",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.all {
				return verifyEvery(c.Context(), o, c.OutOrStdout())
			}
			a, err := commandApp(o.org)
			if err != nil {
				return err
			}
			defer a.close()
			err = verifyCommand(c.Context(), a, o, c.OutOrStdout())
			if err != nil && c.Context().Err() != nil {
				return errors.New("interrupted: not everything was compared")
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "where to begin: `T` as for backfill (default all that is covered)")
	f.StringVar(&o.to, "to", "", "where to end: `T` (default how far the tail has come)")
	f.BoolVar(&o.repair, "repair", false, "publish what is missing")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	f.BoolVar(&o.all, "all", false, "verify every organisation of ORGS_FILE, and print a table")
	addOrgFlag(c, &o.org)
	return c
}

// verifyEvery verifies every organisation that is configured.
func verifyEvery(ctx context.Context, o verifyOptions, out io.Writer) error {
	if o.org != "" {
		return errOrgAndAll
	}
	_, orgs, err := LoadFleet(envconfig.OsLookuper())
	if err != nil {
		return wrongConfiguration(err)
	}
	return verifyAll(ctx, orgs, o, out)
}

func verifyCommand(ctx context.Context, a *app, o verifyOptions, out io.Writer) error {
	if a.cfg.Genesys.RefreshToken.IsSet() {
		return usageError{errors.New("connector verify: GENESYS_REFRESH_TOKEN: a second process would use up the refresh token that the connector lives on; give this command an OAuth client with client credentials")}
	}
	if o.from == "" && o.to != "" {
		return usageError{errors.New("connector verify: --to needs --from")}
	}
	var asked audit.Interval
	if o.from != "" {
		var err error
		if asked, err = interval("verify", o.from, o.to); err != nil {
			return err
		}
	}
	h, err := newHandover(ctx, a)
	if err != nil {
		return err
	}
	defer h.close()
	v := &verification{app: a, h: h}
	if err := v.scope(ctx, asked); err != nil {
		return err
	}
	report, err := v.compare(ctx)
	if err != nil {
		return err
	}
	repaired, before := false, report.Count(verify.Missing)
	if o.repair && before > 0 {
		if err := v.repair(ctx, &report); err != nil {
			return err
		}
		report = verify.Report{} // its memory is needed
		if report, err = v.compare(ctx); err != nil {
			return err
		}
		repaired = true
	}
	missing := report.Count(verify.Missing)
	v.remember(ctx, missing, max(0, before-missing))
	if o.asJSON {
		err = report.WriteJSON(out)
	} else {
		err = report.Print(out)
	}
	if err != nil {
		return err
	}
	return errors.Join(append(v.leftOut, whatIsWrong(&report, repaired))...)
}

// whatIsWrong returns what a report comes to, and what can be done; nil where all
// is right. repaired says that what was missing has been handed over already.
func whatIsWrong(report *verify.Report, repaired bool) error {
	switch {
	case report.OK:
		return nil
	case repaired && report.Count(verify.Missing) > 0:
		return errStillMissing
	}
	return errNotRight
}
