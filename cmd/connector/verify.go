package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/verify"
)

// verifyOptions are the flags of "connector verify".
type verifyOptions struct {
	from, to       string
	repair, asJSON bool
}

var errNotRight = errors.New("something is wrong with what is in Kafka, see above")

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
it where none is active), compares again, and ends with 0 when all is right then.`,
		Example: "  connector verify\n  connector verify --from 7d --repair",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := commandApp()
			if err != nil {
				return err
			}
			defer a.close()
			return verifyCommand(c.Context(), a, o, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "where to begin (default: all that is covered)")
	f.StringVar(&o.to, "to", "", "where to end (default: how far the tail has come)")
	f.BoolVar(&o.repair, "repair", false, "publish what is missing")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	return c
}

// commandApp is the connector for a command that does not stay.
func commandApp() (*app, error) {
	cfg, err := Load(envconfig.OsLookuper())
	if err != nil {
		return nil, usageError{fmt.Errorf("connector: the configuration is wrong:\n%w", err)}
	}
	if os.Getenv("LOG_LEVEL") == "" {
		cfg.Log.Level = zapcore.WarnLevel // the command's own output tells what happens
	}
	return newApp(cfg, newLogger(cfg.Log, os.Stderr))
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
	if v.parts, v.whole, err = v.scope(ctx, asked); err != nil {
		return err
	}
	report, err := v.compare(ctx)
	if err != nil {
		return err
	}
	if missing := report.IDs(verify.Missing); o.repair && len(missing) > 0 {
		if err := v.repair(ctx, report); err != nil {
			return err
		}
		if report, err = v.compare(ctx); err != nil {
			return err
		}
	}
	if o.asJSON {
		err = json.NewEncoder(out).Encode(report)
	} else {
		err = report.Print(out)
	}
	if err == nil && !report.OK {
		return errNotRight
	}
	return err
}

// verification is one verify under way.
type verification struct {
	app   *app
	h     *handover
	parts map[string]audit.IntervalSet // by stream: what to read
	whole audit.Interval
}

// scope opens the API and decides what to compare: what was asked for, or, where
// that is empty, what each stream has covered; never what the tail is still busy with.
func (v *verification) scope(ctx context.Context, asked audit.Interval) (map[string]audit.IntervalSet, audit.Interval, error) {
	streams, err := v.app.source.Open(ctx)
	if err != nil {
		return nil, audit.Interval{}, err
	}
	now := v.app.source.Now().Truncate(time.Millisecond)
	parts := make(map[string]audit.IntervalSet)
	var all audit.IntervalSet
	for _, s := range streams {
		part := v.h.state.Ledgers[s.Name].Covered
		if !asked.Empty() {
			part = audit.NewIntervalSet(asked)
		}
		limits := audit.Interval{To: now.Add(-v.app.cfg.Poll.Overlap)}
		if s.Retention > 0 {
			limits.From = now.Add(5*time.Second - s.Retention)
		}
		parts[s.Name] = part.Clip(limits)
		all = all.Union(parts[s.Name])
	}
	if len(all) == 0 {
		return nil, audit.Interval{}, errors.New("there is nothing to compare: nothing is covered yet (in this interval), or all of it is older than the API's retention")
	}
	return parts, audit.Interval{From: all.First(), To: all.Last()}, nil
}

// compare reads the API, then Kafka to its end: what was published while the
// API was read counts.
func (v *verification) compare(ctx context.Context) (verify.Report, error) {
	c := verify.New(v.whole)
	for _, stream := range slices.Sorted(maps.Keys(v.parts)) {
		if err := v.readAPI(ctx, c, stream); err != nil {
			return verify.Report{}, err
		}
	}
	k := v.app.cfg.Kafka
	err := v.app.cluster.ReadTopic(ctx, k.TopicRaw, func(r *txn.Record) error {
		if at, digest, ours := v.headers(r); ours {
			c.Raw(string(r.Key), at, digest, r.Value)
		}
		return nil
	})
	if err != nil {
		return verify.Report{}, err
	}
	err = v.app.cluster.ReadTopic(ctx, k.TopicChanges, func(r *txn.Record) error {
		at, _, ours := v.headers(r)
		if !ours {
			return nil
		}
		id, index, count, err := codec.Position(r.Value)
		if err != nil {
			v.app.log.Warn("a record in the changes topic cannot be read", zap.Int64("offset", r.Offset), zap.Error(err))
			return nil
		}
		c.Change(id, at, index, count)
		return nil
	})
	return c.Report(), err
}

func (v *verification) readAPI(ctx context.Context, c *verify.Comparison, stream string) error {
	for _, part := range v.parts[stream] {
		for from := part.From; from.Before(part.To); from = from.Add(v.app.cfg.Poll.BackfillChunk) {
			piece := audit.Interval{From: from, To: from.Add(v.app.cfg.Poll.BackfillChunk)}.Intersect(part)
			r := audit.Read{Stream: stream, Interval: piece, Purpose: audit.Backfill}
			err := v.app.source.Read(ctx, r, func(page audit.Page, _ bool) error {
				for i := range page.Events {
					c.API(page.Events[i].ID, page.Events[i].Time)
				}
				page.Release()
				return nil
			})
			if err != nil {
				return fmt.Errorf("read the API: %w", err)
			}
		}
	}
	return nil
}

func (v *verification) headers(r *txn.Record) (at time.Time, digest []byte, ours bool) {
	for _, h := range r.Headers {
		switch h.Key {
		case "org":
			ours = string(h.Value) == v.app.cfg.Org
		case "event-time":
			at, _ = audit.ParseTime(string(h.Value))
		case "sha256":
			digest = h.Value
		}
	}
	return at, digest, ours
}

// maxRequestIDs bounds a request to what one record holds.
const maxRequestIDs = 10_000

// repair hands the missing ids over and waits until the work is done.
func (v *verification) repair(ctx context.Context, report verify.Report) error {
	var missing []verify.Finding
	for _, f := range report.Findings {
		if f.Kind == verify.Missing {
			missing = append(missing, f)
		}
	}
	for batch := range slices.Chunk(missing, maxRequestIDs) {
		r := offsets.Request{Kind: offsets.KindRepair, From: v.whole.From, To: v.whole.To}
		for i, f := range batch {
			r.IDs = append(r.IDs, f.ID)
			if f.Time.IsZero() { // it may be anywhere
				continue
			}
			if first := i == 0; first && !missing[0].Time.IsZero() {
				r.From = f.Time
			}
			r.To = f.Time.Add(time.Millisecond)
		}
		if slices.ContainsFunc(batch, func(f verify.Finding) bool { return f.Time.IsZero() }) {
			r.From, r.To = v.whole.From, v.whole.To
		}
		fmt.Fprintf(os.Stderr, "%d events are missing; having them published\n", len(batch))
		id, _, err := v.h.submit(ctx, r)
		if err != nil {
			return err
		}
		if err := v.h.follow(ctx, func() bool { return v.h.done(id) }); err != nil {
			return err
		}
	}
	return nil
}
