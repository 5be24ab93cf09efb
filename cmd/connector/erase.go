package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/txn"
)

// eraseOptions are the flags of "connector erase".
type eraseOptions struct {
	ids          []string
	user, member string
	reason, by   string
	org          string
	yes          bool
	// confirm asks whether to go on; nil where there is nobody to ask.
	confirm func(question string) bool
}

var errNotConfirmed = errors.New("not confirmed: nothing was erased")

func newErase() *cobra.Command {
	var o eraseOptions
	c := &cobra.Command{
		Use:   "erase {--id ID | --user ID | --member ID} --reason TEXT",
		Short: "Remove events for good, as the law may demand",
		Long: `erase has the active replica remove events from Kafka (this process does it where
none is active): each event's raw record and all of its changes get tombstones, and
who erased it, when and why is noted in the offsets topic and entered in the
evidence log, all in one transaction. An event that was erased is never published
again, though the API may show it for as long as it likes.

A tombstone removes a record where its topic is compacted, when the broker's cleaner
comes to it. Topics are created so with KAFKA_ERASABLE=true; of others erase names
the command that makes them so, and does nothing.

--user means the events that the user did and those about the user, --member those
that gave something to a person, group or OAuth client, or took it away. What would
go is listed, and it asks; without a terminal it needs --yes.`,
		Example: "  connector erase --id 3fa85f64-5717-4562-b3fc-2c963f66afa6 --reason \"case 4711\"\n  connector erase --user \"$WHO\" --reason \"case 4712, Art. 17 GDPR\" --yes",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			o.by = cmp.Or(o.by, operator())
			if err := o.check(); err != nil {
				return usageError{err}
			}
			if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
				o.confirm = func(question string) bool { return ask(c.InOrStdin(), c.OutOrStdout(), question) }
			}
			a, err := commandApp(o.org)
			if err != nil {
				return err
			}
			defer a.close()
			err = erase(c.Context(), a, o, c.OutOrStdout())
			if err != nil && c.Context().Err() != nil {
				return errors.New("interrupted: what was handed over already is still erased by the active replica")
			}
			return err
		},
	}
	addOrgFlag(c, &o.org)
	f := c.Flags()
	f.StringArrayVar(&o.ids, "id", nil, "audit `ID` of an event (repeatable)")
	f.StringVar(&o.user, "user", "", "`ID` of a user: what the user did, and what was done to the user")
	f.StringVar(&o.member, "member", "", "`ID` of somebody who came or went: roles, queues, groups")
	f.StringVar(&o.reason, "reason", "", "`TEXT` that says why; it is kept")
	f.StringVar(&o.by, "by", "", "`NAME` of who erases; it is kept (default user@host)")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	return c
}

// operator is who runs this command, as the operating system has it.
func operator() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// maxReason bounds what is kept of who and why, in bytes.
const maxReason = 1000

func (o *eraseOptions) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("connector erase: "+format, args...)
	}
	of := 0
	for _, given := range []bool{len(o.ids) > 0, o.user != "", o.member != ""} {
		if given {
			of++
		}
	}
	unusable := func(id string) bool { return strings.TrimSpace(id) == "" || len(id) > 512 }
	switch {
	case of != 1:
		return wrong("expected one of --id, --user and --member")
	case slices.ContainsFunc(append(slices.Clone(o.ids), cmp.Or(o.user, o.member, "-")), unusable):
		return wrong("an id is blank or longer than 512 bytes")
	case strings.TrimSpace(o.reason) == "" || len(o.reason) > maxReason:
		return wrong("--reason: expected a text of 1 to %d bytes that says why; it is kept", maxReason)
	case strings.TrimSpace(o.by) == "" || len(o.by) > maxReason:
		return wrong("--by: expected a name of 1 to %d bytes", maxReason)
	}
	return nil
}

// ask puts a question to whoever sits at the terminal.
func ask(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func erase(ctx context.Context, a *app, o eraseOptions, out io.Writer) error {
	if len(o.ids) == 0 && !o.yes && o.confirm == nil {
		return usageError{errors.New("connector erase: there is no terminal to ask on; --yes erases what --user or --member finds without asking")}
	}
	h, err := newHandover(ctx, a)
	if err != nil {
		return err
	}
	defer h.close()
	if err := a.erasable(ctx); err != nil {
		return err
	}
	ids := slices.Compact(slices.Sorted(slices.Values(o.ids)))
	if len(ids) > 0 {
		if ids, err = eraseByID(ctx, a, h, ids, out); err != nil || len(ids) == 0 {
			return err
		}
	} else {
		if ids, err = eraseByPerson(ctx, a, h, o, out); err != nil {
			return err
		}
		if len(ids) == 0 {
			_, err := fmt.Fprintf(out, "no event of %s is in topic %s: nothing to erase\n", quoted(cmp.Or(o.user, o.member)), a.cfg.Kafka.TopicRaw)
			return err
		}
		if !o.yes && !o.confirm(fmt.Sprintf("Erase %s for good?", plural(len(ids), "event"))) {
			return errNotConfirmed
		}
	}
	for part := range slices.Chunk(ids, maxRequestIDs) {
		id, _, err := h.submit(ctx, offsets.Request{Kind: offsets.KindErase, IDs: part, By: o.by, Reason: o.reason})
		if err != nil {
			return err
		}
		if err := h.follow(ctx, func() bool { return h.done(id) }); err != nil {
			return err
		}
	}
	left := slices.DeleteFunc(slices.Clone(ids), h.state.Erased.Has)
	if len(left) > 0 {
		return fmt.Errorf("%d of %d events were not erased, the first is %s: see the log of the active replica", len(left), len(ids), quoted(left[0]))
	}
	_, err = fmt.Fprintf(out, "erased %s; the records are gone once the broker's cleaner has come to them\n", plural(len(ids), "event"))
	return err
}

// erasable is an error where tombstones would not remove anything from a topic.
func (a *app) erasable(ctx context.Context) error {
	topics, err := a.cluster.EnsureTopics(ctx, a.cfg.topics()[:2], false)
	if err != nil {
		return err
	}
	var faults []error
	for i, t := range topics {
		switch variable := []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES"}[i]; {
		case t.CleanupPolicy == "":
			faults = append(faults, fmt.Errorf("%s: whether topic %s is compacted may not be read: grant DescribeConfigs on it", variable, t.Name))
		case !t.Compacted():
			faults = append(faults, fmt.Errorf("%s: topic %s has cleanup.policy=%s, and a tombstone removes nothing from it: %s", variable, t.Name, t.CleanupPolicy, a.cfg.Kafka.compact(t.Name)))
		}
	}
	if len(faults) > 0 {
		return usageError{errors.Join(faults...)}
	}
	return nil
}

// eraseByID returns which of the ids are still to be erased. One that is not known is
// an error, and one that was erased before is said to be.
func eraseByID(ctx context.Context, a *app, h *handover, ids []string, out io.Writer) (left []string, err error) {
	var before []string
	for _, id := range ids {
		if h.state.Erased.Has(id) {
			before = append(before, id)
		} else {
			left = append(left, id)
		}
	}
	if len(left) > 0 {
		archive := a.archive()
		bar := recordBar()
		archive.Looked = func() { _ = bar.Add(1) }
		found, err := archive.Find(ctx, left)
		_ = bar.Finish()
		if err != nil {
			return nil, err
		}
		var unknown []error
		for _, id := range left {
			if _, ok := found[id]; !ok {
				unknown = append(unknown, fmt.Errorf("event %s is in neither topic %s nor topic %s; expected the auditId of a published event", quoted(id), a.cfg.Kafka.TopicRaw, a.cfg.Kafka.TopicChanges))
			}
		}
		if len(unknown) > 0 {
			return nil, errors.Join(append(unknown, errors.New("nothing was erased"))...)
		}
	}
	return left, tellErased(ctx, a, before, out)
}

// tellErased says of events that they were erased before.
func tellErased(ctx context.Context, a *app, ids []string, out io.Writer) error {
	if len(ids) == 0 {
		return nil
	}
	notes, err := readNotes(ctx, a.cluster, a.cfg)
	if err != nil {
		return err
	}
	for _, n := range notes {
		if !slices.Contains(ids, n.ID) {
			continue
		}
		said := "as its note says, which is not readable"
		if e, err := evidence.ParseErasure(n); err == nil {
			said = fmt.Sprintf("by %q at %s: %q", e.By, e.Time.UTC().Format(time.RFC3339), e.Reason)
		}
		if _, err := fmt.Fprintf(out, "event %s was erased before, %s\n", quoted(n.ID), said); err != nil {
			return err
		}
	}
	return nil
}

// eraseByPerson lists the events of a person and returns their ids.
func eraseByPerson(ctx context.Context, a *app, h *handover, o eraseOptions, out io.Writer) (ids []string, err error) {
	p, err := newPerson(a.cfg.Org, o.user, o.member)
	if err != nil {
		return nil, err
	}
	bar := recordBar()
	err = a.cluster.ReadTopic(ctx, a.cfg.Kafka.TopicRaw, func(r *txn.Record) error {
		_ = bar.Add(1)
		return p.take(r)
	})
	_ = bar.Finish()
	if err != nil {
		return nil, err
	}
	for id := range h.state.Erased.All() {
		p.forget(id)
	}
	p.print(out)
	return slices.Sorted(maps.Keys(p.found)), nil
}

// recordBar counts records on a terminal.
func recordBar() *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("records"),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionSetVisibility(term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("NO_COLOR") == ""))
}

// readNotes reads the notes of erased events.
func readNotes(ctx context.Context, cluster *txn.Cluster, cfg Config) (notes []evidence.Note, err error) {
	count, err := cluster.Partitions(ctx, cfg.Kafka.TopicOffsets)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_TOPIC_OFFSETS: %w", err)
	}
	texts := map[string][]byte{}
	for p := range count {
		reader := cluster.NewReader(cfg.Kafka.TopicOffsets, p, txn.First)
		err := reader.ReadToEnd(ctx, func(r *txn.Record) error {
			id, ok := offsets.ErasedID(cfg.Org, r.Key)
			switch {
			case ok && r.Value != nil:
				texts[id] = slices.Clone(r.Value)
			case ok:
				delete(texts, id)
			}
			return nil
		})
		reader.Close()
		if err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(texts)) {
		notes = append(notes, evidence.Note{ID: id, Text: texts[id]})
	}
	return notes, nil
}
