package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/evidence/export"
	"genesys-audit-connector/internal/redact"
	"genesys-audit-connector/internal/txn"
)

// exportOptions are the flags of "connector evidence export".
type exportOptions struct {
	from, to, file            string
	entity, actor, entityType string
	org                       string
}

func newEvidenceExport() *cobra.Command {
	var o exportOptions
	c := &cobra.Command{
		Use: "export --from T --out FILE", Short: "Make a ZIP for an auditor, which is verified offline", Args: noArguments,
		Long: `export reads the evidence log, the raw topic and the changes topic, verifies them as
"connector evidence verify" does, and writes a ZIP with the events of an interval:
as the API gave them, as a table of changes, with the proof of each, and with a
report to be read or printed. It needs Kafka alone and changes nothing there.

Whoever has the ZIP can check it without the connector and without Kafka; VERIFY.md
in it says how. Where EVIDENCE_KEY is set, the report and all other files are signed
too. An event is of the time that its change records say.`,
		Example: "  connector evidence export --from 2026-01-01 --to 2026-04-01 --out q1.zip\n  connector evidence export --from 90d --entity-type role --out roles.zip",
		RunE: func(c *cobra.Command, _ []string) error {
			return exportEvidence(c.Context(), envconfig.OsLookuper(), o, time.Now(), c.OutOrStdout())
		},
	}
	addOrgFlag(c, &o.org)
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "events from `T` on, as for backfill")
	f.StringVar(&o.to, "to", "", "events before `T` (default now)")
	f.StringVar(&o.file, "out", "", "the `FILE` to write; it must not exist")
	f.StringVar(&o.entity, "entity", "", "only events about the object with this `ID`")
	f.StringVar(&o.actor, "actor", "", "only events of the user or OAuth client with this `ID`")
	f.StringVar(&o.entityType, "entity-type", "", "only events about objects of this `TYPE`")
	return c
}

func exportEvidence(ctx context.Context, env envconfig.Lookuper, o exportOptions, now time.Time, out io.Writer) (err error) {
	request := export.Request{Entity: o.entity, Actor: o.actor, EntityType: o.entityType, Now: now}
	if request.Interval, err = interval("evidence export", o.from, o.to); err != nil {
		return err
	}
	if o.file == "" {
		return usageError{errors.New("connector evidence export: --out is needed, such as --out evidence.zip")}
	}
	if _, err := os.Lstat(o.file); !errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("connector evidence export: --out: %s is there already, or cannot be looked at; expected the name of a new file", quoted(o.file))}
	}
	cfg, cluster, err := kafkaAlone(env, o.org)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if cfg.OrgsFile != "" {
		if cfg.Evidence.Key, err = signingKey(cfg, env); err != nil {
			return wrongConfiguration(err)
		}
	}
	keys, err := evidence.ParseKeys(cfg.Evidence.Key.Value())
	if err != nil {
		return usageError{fmt.Errorf("EVIDENCE_KEY: %w", err)}
	}
	request.Org, request.Signer = cfg.Org, keys.Current
	request.Version, _ = build()
	x := &exporter{cluster: cluster, cfg: cfg}
	if x.decoder, err = changesDecoder(ctx, cfg); err != nil {
		return err
	}
	dir := filepath.Dir(o.file)
	if x.Export, err = export.New(dir, request); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer x.Close()
	outcome, err := x.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted: nothing was exported")
		}
		return err
	}
	summary, err := x.write(dir, o.file, outcome)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s with %s, proved against a log of %d entries\n",
		o.file, plural(summary.Events, "event"), plural(summary.Changes, "change"), outcome.Report.Size)
	if err == nil && !outcome.Report.OK {
		_ = printEvidence(out, outcome.Report)
		err = errTampered
	}
	return err
}

// exporter fills an export from Kafka.
type exporter struct {
	*export.Export
	cluster *txn.Cluster
	cfg     Config
	decoder *codec.Decoder
}

// read reads and verifies all that the export is of.
func (x *exporter) read(ctx context.Context) (o export.Outcome, err error) {
	in := evidence.Input{Org: x.cfg.Org, Each: x.each}
	how := reading{bodies: true, log: x.log, older: x.older, notes: func(notes []evidence.Note, err error) error { return takeNotes(&o, notes, err) }}
	if o.Report, err = readEvidence(ctx, x.cluster, x.cfg, in, how); err != nil || o.NoNotes != "" {
		return o, err
	}
	o.API, err = x.verified(ctx)
	return o, err
}

// log takes a record of the log; one that is damaged is the verification's business.
func (x *exporter) log(item evidence.LogItem) error {
	if evidence.IsStamp(item.Key) {
		if s, err := evidence.ParseStamp(item.Key, item.Value); err == nil {
			x.Stamp(s)
		}
		return nil
	}
	r, err := evidence.ParseRecord(item.Key, item.Value)
	if err != nil {
		return nil
	}
	return x.Record(r)
}

func (x *exporter) older(r *txn.Record) {
	for _, h := range r.Headers {
		if h.Key != "event-time" {
			continue
		}
		if at, ok := audit.ParseTime(string(h.Value)); ok {
			x.Before(at)
		}
	}
}

// each takes an entry of the log. Its time, and what it is about, is what its change records
// say, which the log proves; a record's headers it does not.
func (x *exporter) each(entry evidence.Entry) error {
	var raw []byte
	if entry.Raw != nil {
		if raw, _ = entry.Raw.Body.([]byte); raw == nil {
			return nil // erased: its note tells of it
		}
	}
	var values [][]byte
	if entry.Changes != nil {
		values, _ = entry.Changes.Body.([][]byte)
	}
	var first audit.Change
	err := errors.New("no change records")
	if len(values) > 0 {
		first, err = x.decoder.Decode(values[0])
	}
	switch wanted := err == nil && x.Wants(&first); {
	case !entry.Proved && (err != nil || wanted):
		x.Partial()
		return nil
	case !entry.Proved:
		return nil
	case err != nil: // nobody can say that it is not asked for
	case !wanted:
		x.Seen(first.Time)
		return nil
	default:
		x.Seen(first.Time)
	}
	ev := export.Event{
		Index: entry.Index, ID: entry.Raw.ID, Raw: raw, RawSum: entry.Raw.Sum, Values: values, Unreadable: err != nil,
	}
	if entry.Changes != nil {
		ev.Changes = entry.Changes.Sum
	} else {
		var none evidence.Changes
		none.Reset()
		ev.Changes = none.Sum()
	}
	for i, v := range values {
		if ev.Unreadable {
			break
		}
		c := first
		if i > 0 {
			c, err = x.decoder.Decode(v)
		}
		ev.Decoded, ev.Unreadable = append(ev.Decoded, c), err != nil
	}
	return x.Event(ev)
}

// takeNotes takes the notes of erased events. Who exports may have no right on the offsets
// topic, or a copy of the others only: the export then says that they are not known.
func takeNotes(o *export.Outcome, notes []evidence.Note, err error) error {
	if errors.Is(err, txn.ErrUnauthorized) || errors.Is(err, kafka.UnknownTopicOrPartition) {
		o.NoNotes = redact.Printable(err.Error())
		return nil
	}
	for _, n := range notes {
		o.Erased = append(o.Erased, export.Erased{AuditID: n.ID, Note: asJSON(n.Text)})
	}
	return err
}

// verified is the newest result of "connector verify"; nil where there is none.
func (x *exporter) verified(ctx context.Context) (newest json.RawMessage, err error) {
	key := x.cfg.Org + "/verified"
	err = x.cluster.ReadTopic(ctx, x.cfg.Kafka.TopicOffsets, func(r *txn.Record) error {
		if string(r.Key) == key {
			if newest = nil; r.Value != nil {
				newest = asJSON(r.Value)
			}
		}
		return nil
	})
	return newest, err
}

// write writes the file whole or not at all.
func (x *exporter) write(dir, name string, o export.Outcome) (s export.Summary, err error) {
	file, err := os.CreateTemp(dir, ".evidence-*.zip")
	if err != nil {
		return s, fmt.Errorf("--out: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	s, err = x.Finish(file, o)
	if err = errors.Join(err, file.Close()); err != nil {
		return s, err
	}
	// Unlike Rename, Link never takes the place of a file that came to be meanwhile.
	if err = os.Link(file.Name(), name); err != nil {
		err = os.Rename(file.Name(), name)
	}
	return s, err
}

// asJSON is a text as JSON: as it is, or as a string where it is none.
func asJSON(text []byte) json.RawMessage {
	if json.Valid(text) {
		return slices.Clone(text)
	}
	quoted, _ := json.Marshal(string(text)) // of a string, cannot fail
	return quoted
}
