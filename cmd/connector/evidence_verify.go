package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/segmentio/kafka-go"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/sink"
	"genesys-audit-connector/internal/txn"
)

type evidenceOptions struct {
	org               string
	checkpoints, keys []string
	authorities       string
	from, to          string
	asJSON            bool
}

var errTampered = errors.New("what is in Kafka is not what was published, see above")

func newEvidenceVerify() *cobra.Command {
	var o evidenceOptions
	c := &cobra.Command{
		Use: "verify", Short: "Prove that nothing in Kafka was altered since it was published", Args: noArguments,
		Long: `verify reads the evidence log, the raw topic and the changes topic and holds each
record against the log, and the log against itself. It needs Kafka alone, neither
the API nor the connector, and changes nothing.

Who writes to Kafka can also write another log. --checkpoint holds the log against
checkpoints that were kept elsewhere (the connector's log has one each hour, and
/evidence/checkpoint the newest): what they are of cannot have been altered.
--key names the keys that may have signed checkpoints.`,
		Example: "  connector evidence verify\n  connector evidence verify --checkpoint /safe/checkpoints --key \"$VERIFIER\"",
		RunE: func(c *cobra.Command, _ []string) error {
			return verifyEvidence(c.Context(), envconfig.OsLookuper(), o, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "name what is wrong with events from `T` on (default all; the log itself is always verified whole)")
	f.StringVar(&o.to, "to", "", "name what is wrong with events before `T`")
	f.StringArrayVar(&o.checkpoints, "checkpoint", nil, "`FILE` with a checkpoint, or a directory of them (repeatable)")
	f.StringArrayVar(&o.keys, "key", nil, "`VERIFIER` line of a key that signs (repeatable)")
	f.StringVar(&o.authorities, "tsa-ca", "", "PEM `FILE` of the authorities whose time stamps are believed")
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	addOrgFlag(c, &o.org)
	return c
}

func verifyEvidence(ctx context.Context, env envconfig.Lookuper, o evidenceOptions, out io.Writer) error {
	cfg, cluster, err := kafkaAlone(env, o.org)
	if err != nil {
		return err
	}
	defer cluster.Close()
	in := evidence.Input{Org: cfg.Org}
	asked := audit.Interval{}
	if o.from == "" && o.to != "" {
		return usageError{errors.New("connector evidence verify: --to needs --from")}
	}
	if o.from != "" {
		if asked, err = interval("evidence verify", o.from, o.to); err != nil {
			return err
		}
	}
	if in.Checkpoints, err = readCheckpoints(o.checkpoints); err != nil {
		return usageError{err}
	}
	if in.Known, err = verifiers(o.keys); err != nil {
		return usageError{err}
	}
	if in.Authorities, err = authorities(o.authorities); err != nil {
		return usageError{err}
	}
	report, err := readEvidence(ctx, cluster, cfg, in, reading{asked: asked})
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted: not everything was compared")
		}
		return err
	}
	if o.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = printEvidence(out, report)
	}
	if err == nil && !report.OK {
		err = errTampered
	}
	return err
}

// readCheckpoints reads the files, and those in directories.
func readCheckpoints(paths []string) (all []evidence.Checkpoint, err error) {
	for _, path := range paths {
		files := []string{path}
		if entries, err := os.ReadDir(path); err == nil {
			files = nil
			for _, e := range entries {
				if e.Type().IsRegular() {
					files = append(files, filepath.Join(path, e.Name()))
				}
			}
			if len(files) == 0 {
				return nil, fmt.Errorf("--checkpoint: there is no file in %s; expected checkpoints that were kept, for without one nothing is held against the log", quoted(path))
			}
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("--checkpoint: cannot read %s: %s", quoted(file), reason(err))
			}
			c, err := evidence.ParseCheckpoint(text)
			if err != nil {
				return nil, fmt.Errorf("--checkpoint: %s: %w; expected the text of /evidence/checkpoint", quoted(file), err)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

func verifiers(lines []string) (note.Verifiers, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	list := make([]note.Verifier, len(lines))
	for i, line := range lines {
		v, err := note.NewVerifier(strings.TrimSpace(line))
		if err != nil {
			// The first line is a secret, and easily taken for the second: it is not shown.
			return nil, errors.New("--key: that is no verifier's line; expected the second line that \"connector evidence key\" prints")
		}
		list[i] = v
	}
	return note.VerifierList(list...), nil
}

func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--tsa-ca: cannot read %s: %s", quoted(path), reason(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tsa-ca: %s: there is no certificate in it; expected PEM", quoted(path))
	}
	return pool, nil
}

// reading is what readEvidence does besides.
type reading struct {
	asked audit.Interval // empty: what is wrong with any event is named
	// bodies keeps the values of the records for evidence.Input.Each: of raw items []byte,
	// of change items [][]byte.
	bodies bool
	log    func(evidence.LogItem) error // is given each record of the log, before it is verified
	older  func(*txn.Record)            // is given each raw record that claims no entry; from many goroutines
	// notes is given what the offsets topic says of erased events, or why that is not known; nil to verify without.
	notes func([]evidence.Note, error) error
}

// readEvidence verifies what is in Kafka now, also while a connector is at work. The order
// is what makes that right: where the log is settled is asked first, then where raw and
// changes end, and the log's end last. So of each entry that is settled all records are
// read, and the log has each entry that a record claims.
func readEvidence(ctx context.Context, cluster *txn.Cluster, cfg Config, in evidence.Input, how reading) (*evidence.Report, error) {
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	count, err := cluster.Partitions(ctx, cfg.Evidence.Topic)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_TOPIC_EVIDENCE: %w", err)
	}
	reader := cluster.NewReader(cfg.Evidence.Topic, sink.Topic{Partitions: count}.Partition(cfg.Org), txn.First)
	defer reader.Close()
	settled, err := reader.Stable(ctx)
	if err != nil {
		return nil, err
	}
	if in.Raw, err = partitions(ctx, g, cluster, cfg.Kafka.TopicRaw, func() grouping { return &rawItems{cfg.Org, how} }); err != nil {
		return nil, err
	}
	if in.Changes, err = partitions(ctx, g, cluster, cfg.Kafka.TopicChanges, func() grouping { return &changeItems{org: cfg.Org, how: how} }); err != nil {
		return nil, err
	}
	in.Erasures, err = readNotes(ctx, cluster, cfg)
	switch {
	case how.notes != nil:
		err = how.notes(in.Erasures, err)
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		err = nil // there are none
	}
	if err != nil {
		return nil, err
	}
	in.Log = pull(ctx, g, func(ctx context.Context, give func(evidence.LogItem) error) error {
		return reader.ReadToEnd(ctx, func(r *txn.Record) error {
			if r.Value == nil || !strings.HasPrefix(string(r.Key), cfg.Org+"/") {
				return nil
			}
			return give(evidence.LogItem{Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Offset: r.Offset, Young: r.Offset >= settled})
		})
	})
	if next := in.Log; how.log != nil {
		in.Log = func() (evidence.LogItem, error) {
			item, err := next()
			if err == nil {
				err = how.log(item)
			}
			return item, err
		}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("entries"),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("NO_COLOR") == ""))
	report, err := evidence.Verify(ctx, in, func(n uint64) { _ = bar.Set64(int64(n)) })
	_ = bar.Finish()
	cancel()
	if failed := g.Wait(); failed != nil && !errors.Is(failed, context.Canceled) {
		err = failed // the first: what ends the others says nothing
	}
	return report, err
}

// ahead is how many items a partition's reading may be ahead of the comparison.
const ahead = 256

// pull turns a reading that gives items away into one that is asked for them.
func pull[T any](ctx context.Context, g *errgroup.Group, read func(context.Context, func(T) error) error) func() (T, error) {
	items := make(chan T, ahead)
	var failed error // before items is closed
	g.Go(func() error {
		defer close(items)
		failed = read(ctx, func(item T) error {
			select {
			case items <- item:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		return failed
	})
	return func() (T, error) {
		item, ok := <-items
		if ok {
			return item, nil
		}
		return item, cmp.Or(failed, io.EOF)
	}
}

// printEvidence prints the report for people.
func printEvidence(out io.Writer, r *evidence.Report) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-12s", f.Kind)
		if f.Index >= 0 {
			fmt.Fprintf(&b, " entry %d", f.Index)
		}
		if f.ID != "" {
			fmt.Fprintf(&b, " event %q", f.ID)
		}
		fmt.Fprintf(&b, ": %s\n", f.Detail)
	}
	for _, e := range r.Erased {
		fmt.Fprintf(&b, "%-12s", "erased")
		if e.Entry != nil {
			fmt.Fprintf(&b, " entry %d", *e.Entry)
		}
		fmt.Fprintf(&b, " event %q: by %q at %s: %q", e.ID, e.By, e.Time.UTC().Format(time.RFC3339), e.Reason)
		if e.Present {
			b.WriteString(" (compaction has not removed all of it yet)")
		}
		b.WriteByte('\n')
	}
	all := 0
	for _, n := range r.Counts {
		all += n
	}
	if more := all - len(r.Findings); more > 0 {
		fmt.Fprintf(&b, "… and %d more\n", more)
	}
	if all > 0 || len(r.Erased) > 0 {
		b.WriteByte('\n')
	}
	line := func(n uint64, format string, args ...any) {
		fmt.Fprintf(&b, "%10d  %s\n", n, fmt.Sprintf(format, args...))
	}
	line(r.Size, "entries in the log of %s", r.Org)
	line(r.Verified, "of them are in Kafka as they were published")
	if r.Removed > 0 {
		line(r.Removed, "are of events that were erased, see above")
	}
	if r.Expired > 0 {
		line(r.Expired, "are gone from the beginning of a partition, as retention removes records; their hashes still prove the rest")
	}
	if r.Young > 0 {
		line(r.Young, "were published meanwhile and were not looked at")
	}
	if r.Uncovered > 0 {
		line(r.Uncovered, "events were published before the log began, and are not covered by it")
	}
	line(uint64(r.Checkpoints), "checkpoints from elsewhere agree with the log")
	if r.Stamps > 0 {
		line(uint64(r.Stamps), "time stamps are of it, the newest of %s", r.Stamped.UTC().Format(time.RFC3339))
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
		line(uint64(r.Counts[kind]), "%s", kind)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
