package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/txn"
)

// person looks for the events of somebody. It goes by the raw topic, for values may be
// masked in the other.
type person struct {
	org    string
	id     string
	needle []byte
	member bool

	encoder *codec.Encoder
	decoder *codec.Decoder
	doc     jsonscan.Doc
	found   map[string]audit.Change // by audit id: the change that names the person
	others  map[string]bool         // events that have the id elsewhere
}

// newPerson is for the events of a user, or, where that is "", of a member.
func newPerson(org, user, member string) (*person, error) {
	encoder, err := codec.NewEncoder(codec.Options{})
	if err != nil {
		return nil, err
	}
	decoder, err := codec.NewDecoder(nil)
	id := cmp.Or(user, member)
	return &person{org: org, id: id, needle: []byte(id), member: user == "", encoder: encoder, decoder: decoder, found: map[string]audit.Change{}, others: map[string]bool{}}, err
}

// take keeps an event that is the person's.
func (p *person) take(r *txn.Record) error {
	if !bytes.Contains(r.Value, p.needle) || !isOf(r, p.org) {
		return nil
	}
	if p.doc.Parse(r.Value) != nil { // nobody knows whose it is
		p.others[string(r.Key)] = true
		return nil
	}
	ev := audit.NewEvent(p.doc.Root())
	meta := p.encoder.Normalise(&ev, time.UnixMilli(r.Time))
	for i := range meta.Changes {
		c, err := p.decoder.Decode(p.encoder.Record(i))
		if err != nil {
			return fmt.Errorf("event %q: %w", r.Key, err)
		}
		if p.concerns(c) {
			p.found[string(r.Key)] = c
			return nil
		}
	}
	p.others[string(r.Key)] = true
	return nil
}

// forget leaves out an event that was erased before.
func (p *person) forget(id string) {
	delete(p.found, id)
	delete(p.others, id)
}

func (p *person) concerns(c audit.Change) bool {
	is := func(id *string) bool { return id != nil && *id == p.id }
	if p.member {
		return is(c.MemberID)
	}
	return is(c.UserID) || is(c.EntityID)
}

// print lists the events, oldest first.
func (p *person) print(out io.Writer) {
	changes := slices.SortedFunc(maps.Values(p.found), func(a, b audit.Change) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.AuditID, b.AuditID))
	})
	printer := newPrinter(out)
	for _, c := range changes {
		printer.line(c.Time.UTC().Format(time.DateTime), span{bold, actor(c)}, span{"", c.Action}, span{"", what(c)}, span{dim, quoted(c.AuditID)})
	}
	p.printOthers(out)
}

// printOthers says what is not meant and has the id in it all the same: a value, a name in a
// list, what the person was given. It may be the person's data too.
func (p *person) printOthers(out io.Writer) {
	if len(p.others) == 0 {
		return
	}
	const shown = 20
	ids := slices.Sorted(maps.Keys(p.others))
	flag := "--member"
	if p.member {
		flag = "--user"
	}
	fmt.Fprintf(out, "not among these: %s with the same id elsewhere (%s finds some of them, --id takes each)\n", plural(len(ids), "event"), flag)
	for _, id := range ids[:min(shown, len(ids))] {
		fmt.Fprintln(out, "  "+quoted(id))
	}
	if len(ids) > shown {
		fmt.Fprintln(out, "  …")
	}
}

// isOf reports whether a record is an organisation's.
func isOf(r *txn.Record, org string) bool {
	for _, h := range r.Headers {
		if h.Key == "org" {
			return string(h.Value) == org
		}
	}
	return false
}
