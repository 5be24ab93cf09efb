package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/txn"
)

// historyOptions are the flags of "connector history".
type historyOptions struct {
	org      string
	from, to string
	at       string
	member   bool
	asJSON   bool
}

func newHistory() *cobra.Command {
	var o historyOptions
	c := &cobra.Command{
		Use: "history ID", Short: "Tell who changed an object, or what access somebody got", Args: cobra.ExactArgs(1),
		Long: `history prints, from Kafka alone and oldest first, who changed what of the object
with this id, from what and to what. Only the partition that holds the object is
read. With --member it prints instead what came to the person, group or OAuth
client of this id and was taken away again, and by whom: roles, queues, groups.

With --at it prints what the object's document was at an instant, rebuilt from the
snapshots and changes in the raw topic, and names what of it no event tells.`,
		Example: "  connector history 3fa85f64-5717-4562-b3fc-2c963f66afa6 --from 90d\n  connector history 3fa85f64-5717-4562-b3fc-2c963f66afa6 --at 2026-03-01\n  connector history --member 9bd5b0f2-0f4f-4c2e-a5a3-9f4e1f4d5c11 --json",
		RunE: func(c *cobra.Command, args []string) error {
			return printHistory(c.Context(), envconfig.OsLookuper(), args[0], o, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "where to begin: `T` as for backfill (default the oldest that there is)")
	f.StringVar(&o.to, "to", "", "where to end: `T` (default now)")
	f.StringVar(&o.at, "at", "", "print the document as it was at `T` instead")
	f.BoolVar(&o.member, "member", false, "the id is that of somebody who came or went: all partitions are read")
	f.BoolVar(&o.asJSON, "json", false, "print a line of JSON for each change")
	addOrgFlag(c, &o.org)
	return c
}

func printHistory(ctx context.Context, env envconfig.Lookuper, id string, o historyOptions, out io.Writer) error {
	if strings.TrimSpace(id) == "" {
		return usageError{errors.New("connector history: the id is empty; expected that of an object, as in the field entityId of its changes")}
	}
	var asked audit.Interval
	var at time.Time
	var err error
	switch {
	case o.at != "" && (o.from != "" || o.to != "" || o.member):
		return usageError{errAtAlone}
	case o.at != "":
		if at, err = ParseInstant(o.at, time.Now().UTC()); err != nil {
			return usageError{fmt.Errorf("connector history: --at: %w", err)}
		}
	case o.from == "" && o.to != "":
		return usageError{errors.New("connector history: --to needs --from")}
	case o.from != "":
		if asked, err = interval("history", o.from, o.to); err != nil {
			return err
		}
	}
	cfg, cluster, err := kafkaAlone(env, o.org)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if !at.IsZero() {
		return printPast(ctx, cfg, cluster, id, at, o.asJSON, out)
	}
	h := &history{id: id, needle: []byte(id), org: cfg.Org, member: o.member, asked: asked}
	if h.decoder, err = changesDecoder(ctx, cfg); err != nil {
		return err
	}
	if err := h.read(ctx, cluster, cfg.Kafka.TopicChanges); err != nil {
		return err
	}
	if h.undecoded > 0 {
		fmt.Fprintf(os.Stderr, "connector history: %d records could not be read: %v\n", h.undecoded, h.why)
	}
	h.forgetErased()
	slices.SortStableFunc(h.changes, func(a, b audit.Change) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.AuditID, b.AuditID), cmp.Compare(a.Index, b.Index))
	})
	if o.asJSON {
		return h.writeJSON(out)
	}
	return h.print(out)
}

// changesDecoder reads the changes topic back, of every version of the schema.
func changesDecoder(ctx context.Context, cfg Config) (*codec.Decoder, error) {
	if len(cfg.Registry.URLs) == 0 {
		return codec.NewDecoder(nil)
	}
	options, err := cfg.Registry.options(newLogger(cfg.Log, os.Stderr))
	if err != nil {
		return nil, err
	}
	registry, err := codec.NewRegistry(options)
	if err != nil {
		return nil, usageError{err}
	}
	framing, older, err := registry.Framings(ctx, cfg.Kafka.TopicChanges)
	if err != nil {
		return nil, err
	}
	return codec.NewDecoder(framing, older...)
}

// history is what is known of one id.
type history struct {
	id      string
	needle  []byte
	org     string
	member  bool
	asked   audit.Interval // empty: all
	decoder *codec.Decoder

	changes   []audit.Change
	erased    erasures
	undecoded int   // records with the id in them that are not readable
	why       error // the first of them
}

// read takes in the changes: of an object from its partition, of a member from all.
func (h *history) read(ctx context.Context, cluster *txn.Cluster, topic string) error {
	if h.member {
		return cluster.ReadTopic(ctx, topic, h.take)
	}
	return readPartition(ctx, cluster, topic, h.needle, h.take)
}

// forgetErased drops the changes whose records were erased since, and says so.
func (h *history) forgetErased() {
	before := len(h.changes)
	h.changes = slices.DeleteFunc(h.changes, func(c audit.Change) bool {
		return h.erased.keys[c.AuditID+":"+strconv.Itoa(c.Index)]
	})
	h.erased.tell(before - len(h.changes))
}

// take keeps a change that is of the id. Decoding costs much more than looking for its
// bytes, which most records do not have.
func (h *history) take(r *txn.Record) error {
	if h.erased.take(r, h.org) || !bytes.Contains(r.Value, h.needle) || !isOf(r, h.org) {
		return nil
	}
	c, err := h.decoder.Decode(r.Value)
	if err != nil {
		if h.undecoded++; h.why == nil {
			h.why = err
		}
		return nil
	}
	of := c.EntityID
	if h.member {
		of = c.MemberID
	}
	if of != nil && *of == h.id && (h.asked.Empty() || h.asked.Contains(c.Time)) {
		h.changes = append(h.changes, c)
	}
	return nil
}

// changeLine is a change as JSON, by the names of the schema.
type changeLine struct {
	AuditID       string  `json:"auditId"`
	ChangeIndex   int     `json:"changeIndex"`
	Timestamp     string  `json:"timestamp"`
	UserID        *string `json:"userId"`
	UserName      *string `json:"userName"`
	ClientID      *string `json:"clientId"`
	Level         *string `json:"level"`
	ServiceName   *string `json:"serviceName"`
	Action        string  `json:"action"`
	EntityType    string  `json:"entityType"`
	EntityID      *string `json:"entityId"`
	EntityName    *string `json:"entityName"`
	Key           *string `json:"configurationKey"`
	ChangeType    string  `json:"changeType"`
	PreviousValue *string `json:"previousValue"`
	NewValue      *string `json:"newValue"`
	MemberID      *string `json:"memberId"`
	MemberType    *string `json:"memberType"`
	MemberName    *string `json:"memberName"`
	DivisionID    *string `json:"divisionId"`
	DivisionName  *string `json:"divisionName"`
	Status        *string `json:"status"`
	// Masked are the fields that are not shown as they were.
	Masked []string `json:"maskedFields,omitempty"`
}

func (h *history) writeJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for _, c := range h.changes {
		err := e.Encode(changeLine{
			AuditID: c.AuditID, ChangeIndex: c.Index, Timestamp: c.Time.UTC().Format(audit.TimeFormat),
			UserID: c.UserID, UserName: c.UserName, ClientID: c.ClientID, Level: c.Level, ServiceName: c.ServiceName,
			Action: c.Action, EntityType: c.EntityType, EntityID: c.EntityID, EntityName: c.EntityName, Key: c.Key,
			ChangeType: c.Type, PreviousValue: c.Previous, NewValue: c.New,
			MemberID: c.MemberID, MemberType: c.MemberType, MemberName: c.MemberName,
			DivisionID: c.DivisionID, DivisionName: c.DivisionName, Status: c.Status, Masked: c.MaskedFields,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// print tells the changes as an administrator would.
func (h *history) print(out io.Writer) error {
	p := newPrinter(out)
	for _, c := range h.changes {
		at := c.Time.UTC().Format("2006-01-02 15:04:05")
		if grant, ok := roleGrant(c); ok {
			if c.Index == 0 || h.member { // the other changes of the event say the same in other words
				p.role(at, c, grant)
			}
			continue
		}
		style, difference := difference(c)
		if key := member(c); key != "" {
			c.Key = &key
			style, difference = memberDifference(c)
		}
		p.line(at, span{bold, actor(c)}, span{"", what(c)}, span{style, difference})
	}
	_, err := fmt.Fprintf(out, "%s of %s in topic changes\n", plural(len(h.changes), "change"), quoted(h.id))
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
