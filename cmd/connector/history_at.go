package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/document"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/txn"
)

// printPast rebuilds the document of an object as it was. It reads raw events, whose
// snapshots the changes topic has only in part, and which nothing masks.
func printPast(ctx context.Context, cfg Config, cluster *txn.Cluster, id string, at time.Time, asJSON bool, out io.Writer) error {
	p, err := newPast(id, cfg.Org)
	if err != nil {
		return err
	}
	if err := readPartition(ctx, cluster, cfg.Kafka.TopicRaw, p.needle, p.take); err != nil {
		return err
	}
	past := p.at(at)
	p.erased.tell(p.erasedEvents())
	if p.unread > 0 {
		fmt.Fprintf(os.Stderr, "connector history: %s with this id cannot be read as JSON and are left out\n", plural(p.unread, "raw record"))
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		return e.Encode(past)
	}
	return p.print(past, out)
}

// readPartition reads the partition that has the records of an object.
func readPartition(ctx context.Context, cluster *txn.Cluster, topic string, id []byte, take func(*txn.Record) error) error {
	count, err := cluster.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	reader := cluster.NewReader(topic, txn.Partition(id, count), txn.First)
	defer reader.Close()
	return reader.ReadToEnd(ctx, take)
}

// past is what raw events tell of one object.
type past struct {
	id, org string
	needle  []byte
	doc     jsonscan.Doc
	encoder *codec.Encoder
	decoder *codec.Decoder
	types   map[string]bool // of the object: one, as far as is known
	events  []document.Event
	undated []string // events whose place in time is not known
	unread  int      // records with the id in them that are no JSON
	seen    map[string]bool
	erased  erasures
}

func newPast(id, org string) (*past, error) {
	encoder, err := codec.NewEncoder(codec.Options{})
	if err != nil {
		return nil, err
	}
	decoder, err := codec.NewDecoder(nil)
	return &past{id: id, org: org, needle: []byte(id), encoder: encoder, decoder: decoder, types: map[string]bool{}, seen: map[string]bool{}}, err
}

// take keeps what an event tells of the object. Parsing costs much more than looking for
// the id, which most events do not have.
func (p *past) take(r *txn.Record) error {
	if p.erased.take(r, p.org) || !bytes.Contains(r.Value, p.needle) || !isOf(r, p.org) {
		return nil
	}
	if err := p.doc.Parse(r.Value); err != nil {
		p.unread++ // nobody knows whose it is
		return nil
	}
	ev := audit.NewEvent(p.doc.Root())
	meta := p.encoder.Normalise(&ev, ev.Time)
	if string(meta.EntityID) != p.id || p.seen[ev.ID] {
		return nil
	}
	p.seen[ev.ID] = true
	p.types[string(meta.EntityType)] = true
	if ev.Time.IsZero() {
		p.undated = append(p.undated, ev.ID)
		return nil
	}
	e, err := p.told(&ev, &meta)
	if err != nil {
		e = document.Event{ID: ev.ID, Time: ev.Time} // it is among those that tell nothing
	}
	p.events = append(p.events, e)
	return nil
}

var errUntold = errors.New("the event's changes cannot be read")

// told is what an event tells of the document.
func (p *past) told(ev *audit.Event, meta *codec.Meta) (document.Event, error) {
	e := document.Event{
		ID: ev.ID, Time: ev.Time,
		Create: strings.EqualFold(string(meta.Action), "create"), Delete: strings.EqualFold(string(meta.Action), "delete"),
	}
	if meta.Problem != "" {
		return e, errUntold
	}
	if before, after, ok := p.encoder.Snapshots(); ok {
		var err error
		if e.Before, err = decodeValue(before); err == nil { // it refuses raw control characters
			e.After, err = decodeValue(after)
		}
		e.Whole = true
		return e, err
	}
	for i := range meta.Changes {
		c, err := p.decoder.Decode(p.encoder.Record(i))
		if err != nil {
			return e, err
		}
		if c.Key == nil || isMembership(c) {
			continue // who came and went is no part of the document
		}
		before, err := toldValue(c.PreviousType, c.Previous)
		if err != nil {
			return e, err
		}
		after, err := toldValue(c.NewType, c.New)
		if err != nil {
			return e, err
		}
		e.Properties = append(e.Properties, document.Property{Key: *c.Key, Before: before, After: after})
	}
	return e, nil
}

func isMembership(c audit.Change) bool {
	return c.MemberID != nil || *c.Key == "group-membership" || *c.Key == "individuals"
}

// toldValue is a value of a property change.
func toldValue(kind string, text *string) (any, error) {
	switch {
	case text == nil:
		return nil, nil
	case kind == "ARRAY":
		return decodeText([]byte(*text))
	}
	return *text, nil
}

func decodeValue(v jsonscan.Value) (any, error) {
	if v.Kind() == jsonscan.Absent {
		return nil, nil
	}
	return decodeText(v.Raw())
}

func decodeText(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// at is the document at an instant.
func (p *past) at(at time.Time) document.Past {
	mappings, err := codec.BuiltinMappings()
	var expected []string
	if err == nil { // or the encoder could not have been made
		for entityType := range p.types {
			expected = append(expected, mappings.Paths(entityType)...)
		}
	}
	expected = slices.DeleteFunc(expected, func(key string) bool { return key == "group-membership" || key == "individuals" })
	events := slices.DeleteFunc(slices.Clone(p.events), func(e document.Event) bool { return p.erased.keys[e.ID] })
	past := document.At(events, at, expected)
	past.EntityID = p.id
	past.Untold = append(past.Untold, p.undated...)
	return past
}

// erasedEvents is how many of the events were erased since.
func (p *past) erasedEvents() (n int) {
	for _, e := range p.events {
		if p.erased.keys[e.ID] {
			n++
		}
	}
	return n
}

// print tells the document to people.
func (p *past) print(d document.Past, out io.Writer) error {
	types := strings.Join(slices.Sorted(maps.Keys(p.types)), ", ")
	switch {
	case len(p.types) == 0:
		_, err := fmt.Fprintf(out, "no event tells of %s in topic raw\n", quoted(p.id))
		return err
	case d.Exists == nil:
		fmt.Fprintf(out, "%s %s at %s: whether it existed is not known\n", types, shown(p.id, 80), d.At)
	case !*d.Exists:
		fmt.Fprintf(out, "%s %s at %s: it did not exist\n", types, shown(p.id, 80), d.At)
	default:
		fmt.Fprintf(out, "%s %s at %s:\n", types, shown(p.id, 80), d.At)
	}
	if len(d.Known) > 0 {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(d.Known); err != nil {
			return err
		}
		for line := range strings.Lines(text.String()) {
			fmt.Fprintln(out, shown(strings.TrimSuffix(line, "\n"), 1<<20))
		}
	}
	for _, list := range []struct {
		title string
		items []string
	}{
		{"not known: ", d.Unknown}, {"known by their spelling alone: ", d.Spelled},
		{"told by events: ", d.Basis}, {"do not tell what they changed: ", d.Untold},
	} {
		if len(list.items) > 0 {
			fmt.Fprintln(out, list.title+shown(strings.Join(list.items, ", "), 1<<20))
		}
	}
	return nil
}

// erasures are the records of a topic that "connector erase" has removed, or will have when
// the topic is compacted next: a null value under their key.
type erasures struct{ keys map[string]bool }

// take reports whether a record is an erasure. Another organisation's says nothing here.
func (e *erasures) take(r *txn.Record, org string) bool {
	if r.Value != nil {
		return false
	}
	for _, h := range r.Headers {
		if h.Key == "org" && string(h.Value) != org {
			return true
		}
	}
	if e.keys == nil {
		e.keys = map[string]bool{}
	}
	e.keys[string(r.Key)] = true
	return true
}

// tell says how many of the records were of the object; of the others nobody knows any more.
func (e *erasures) tell(ours int) {
	if len(e.keys) > 0 {
		fmt.Fprintf(os.Stderr, "connector history: %s erased in what was read, %d of them known to be of this id; left out\n", plural(len(e.keys), "record"), ours)
	}
}

var errAtAlone = errors.New("connector history: --at tells what an object was at one instant; it goes with neither --from and --to nor --member")
