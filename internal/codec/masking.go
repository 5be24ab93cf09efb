package codec

import (
	"bytes"
	"encoding/binary"
	"slices"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/mask"
)

// masking hides values of the records of one event after another. What the records of an
// event share is rewritten once; of each record the rest, when it was written. So those
// who mask nothing pay nothing.
type masking struct {
	matcher *mask.Matcher
	actions [mask.Fields]mask.Action
	changes []mask.Decision   // of the event at hand
	shared  [mask.Fields]bool // what is hidden in all of its records
	hidden  [mask.Fields]bool // what is hidden in the record at hand
	pairs   []pair
	path    [][]byte // of a configurationKey
	// What is written: parts that records share, a record, a text.
	parts     [4][]byte
	out, text []byte
	again     []byte // a configurationKey that is written again
	plain     int    // how many of its names stand as they are
}

// shape is how a field of the record is encoded.
type shape uint8

const (
	number   shape = iota // or an enum
	textual               // a string
	optional              // null or a string
	textList
	textMap
)

// column is a field of the record. Those that are not maskable have a mask.Field that
// means nothing.
type column struct {
	shape    shape
	maskable bool
	field    mask.Field
}

// The columns of schemas/configuration_change.avsc, as they stand in a record. See
// writeCommon: parts 1 to 3 are what the records of an event share.
var (
	sharedColumns = [4][]column{
		1: {
			{shape: number}, // timestamp
			{optional, true, mask.UserID},
			{optional, true, mask.UserName},
			{shape: textual}, {shape: textual}, // action, entityType
			{shape: optional}, // entityId: the partition is chosen by it
			{optional, true, mask.EntityName},
		},
		2: {
			{shape: optional}, {shape: optional}, // orgId, serviceName
			{optional, true, mask.ClientID},
			{shape: optional}, {shape: optional}, // status, level
			{optional, true, mask.Application},
			{textList, true, mask.RemoteIP},
			{textMap, true, mask.Context},
			{optional, true, mask.Message},
			{shape: optional}, // transactionId
		},
		3: {
			{shape: optional}, // divisionId
			{optional, true, mask.DivisionName},
		},
	}
	changeColumns = []column{
		{optional, true, mask.ConfigurationKey},
		{shape: number}, // changeType
		{optional, true, mask.PreviousValue},
		{optional, true, mask.NewValue},
		{shape: number}, {shape: number}, // previousType, newType: those of the values that are hidden
	}
	memberColumns = []column{
		{optional, true, mask.MemberID},
		{shape: optional}, // memberType
		{optional, true, mask.MemberName},
	}
)

func newMasking(rules *mask.Rules) *masking { return &masking{matcher: rules.Matcher()} }

// begin decides what is hidden of the event that was normalised.
func (k *masking) begin(e *Encoder, meta *Meta) {
	m := k.matcher
	m.Begin(meta.EntityType)
	k.changes = kept(k.changes, keptItems)
	for i := range e.changes {
		c := &e.changes[i]
		d := m.Change(e.at(c.key), c.before.value(e), c.after.value(e))
		k.changes = append(k.changes, d)
		k.conceal(e, c, d)
	}
	for f := range mask.Fields {
		k.actions[f] = m.Common(f)
	}
	if meta.Problem != "" && k.actions[mask.Message] == mask.Unnamed {
		k.actions[mask.Message] = mask.Mask // it may tell of changes that could not be read
	}
	for i, columns := range sharedColumns {
		if k.hides(columns) {
			k.concealShared(e.common[i], columns)
		}
	}
	k.hidden = [mask.Fields]bool{}
	for i, columns := range sharedColumns {
		if columns == nil || m.Idle() && !k.hides(columns) {
			continue
		}
		part := avroReader(e.common[i])
		k.parts[i] = k.rewrite(kept(k.parts[i], keptBytes), &part, columns)
		e.common[i] = append(e.common[i][:0], k.parts[i]...)
	}
	k.shared = k.hidden
}

// hides reports whether something is hidden of columns that records share; it may be
// the context.
func (k *masking) hides(columns []column) bool {
	return slices.ContainsFunc(columns, func(c column) bool {
		return c.maskable && (c.field == mask.Context || k.actions[c.field].Hides())
	})
}

// conceal takes note of the texts that are hidden of one change.
func (k *masking) conceal(e *Encoder, c *change, d mask.Decision) {
	for _, s := range [...]struct {
		side   side
		action mask.Action
	}{{c.before, d.Previous}, {c.after, d.New}} {
		if !s.action.Hides() || s.side.typ == absentValue || s.side.typ == nullValue || s.side.typ == booleanValue {
			continue
		}
		if s.side.ref == memberID {
			k.matcher.Conceal(e.at(c.member), s.action)
			continue
		}
		k.text = e.doc.At(s.side.ref).AppendText(k.text[:0])
		k.matcher.Conceal(k.text, s.action)
	}
	if d.Key.Hides() {
		k.path = audit.KeyNames(k.path[:0], e.at(c.key))
		for i, name := range k.path {
			if i >= d.Plain && !mask.IsPlain(name) {
				k.matcher.Conceal(name, d.Key)
			}
		}
	}
	if d.MemberID.Hides() || d.MemberName.Hides() {
		member := e.memberOf(c)
		if d.MemberID.Hides() {
			k.matcher.Conceal(member.id, d.MemberID)
		}
		if d.MemberName.Hides() {
			k.matcher.Conceal(member.name, d.MemberName)
			k.matcher.Conceal([]byte(member.found), d.MemberName)
		}
	}
}

// value is what can be looked into.
func (s side) value(e *Encoder) jsonscan.Value {
	if s.ref == memberID {
		return jsonscan.Value{}
	}
	return e.doc.At(s.ref)
}

// concealShared takes note of the texts that are hidden of what all records share.
func (k *masking) concealShared(part []byte, columns []column) {
	r := avroReader(part)
	for _, c := range columns {
		a := k.actions[c.field]
		switch {
		case !c.maskable:
			r.skip(c.shape)
		case c.shape == optional:
			if text, ok := r.optional(); ok && a.Hides() {
				k.matcher.Conceal(text, a)
			}
		case c.shape == textList:
			for n := r.number(); n > 0; n = r.blockEnd(n) {
				if text := r.text(); a.Hides() {
					k.matcher.Conceal(text, a)
				}
			}
		case c.shape == textMap:
			for n := r.number(); n > 0; n = r.blockEnd(n) {
				key, text := r.text(), r.text()
				if a := k.matcher.ContextOf(key); a.Hides() {
					k.matcher.Conceal(text, a)
				}
			}
		}
	}
}

// record is change record i of the event without what is hidden. It is valid until the next.
func (k *masking) record(e *Encoder, i int, record []byte) []byte {
	d := &k.changes[i]
	k.hidden = k.shared
	k.actions[mask.ConfigurationKey], k.actions[mask.PreviousValue], k.actions[mask.NewValue] = d.Key, d.Previous, d.New
	k.actions[mask.MemberID], k.actions[mask.MemberName] = d.MemberID, d.MemberName
	k.plain = d.Plain
	if k.matcher.Idle() && !(d.Previous.Hides() || d.New.Hides() || d.MemberID.Hides() || d.MemberName.Hides()) {
		return k.names(record[:len(record)-1])
	}
	out := kept(k.out, keptBytes)
	r := avroReader(record)
	as := func(n int) {
		out = append(out, r[:n]...)
		r = r[n:]
	}
	as(len(e.common[0]))
	rest := r
	rest.skip(number) // changeIndex
	rest.skip(number) // changeCount
	as(len(r) - len(rest) + len(e.common[1]))
	out = k.rewrite(out, &r, changeColumns)
	as(len(e.common[2]))
	out = k.rewrite(out, &r, memberColumns)
	as(len(r) - 1) // divisionId to resolvedNames; an empty maskedFields is one byte
	k.out = k.names(out)
	return k.out
}

// rewrite writes what r has of the columns without what is hidden.
func (k *masking) rewrite(out []byte, r *avroReader, columns []column) []byte {
	as := *r // what stands as it is goes from here
	for _, c := range columns {
		before := *r
		if !c.maskable {
			r.skip(c.shape)
			continue
		}
		if c.shape != optional {
			out = append(out, as[:len(as)-len(before)]...)
			out = k.several(out, r, c)
			as = *r
			continue
		}
		text, ok := r.optional()
		if !ok {
			continue
		}
		shown, changed := k.field(text, c.field)
		if !changed {
			continue
		}
		out = append(out, as[:len(as)-len(before)]...)
		as = *r
		if k.hidden[c.field] = true; shown == nil {
			out = append(out, isNull)
		} else {
			out = appendBytes(append(out, isString), shown)
		}
	}
	return append(out, as[:len(as)-len(*r)]...)
}

// field is the text of a field as it may be seen, and whether that is something else.
func (k *masking) field(text []byte, f mask.Field) (shown []byte, changed bool) {
	if f != mask.ConfigurationKey {
		return k.shown(text, k.actions[f])
	}
	key, other := k.withoutData(text)
	shown, changed = k.shown(key, mask.Unnamed)
	return shown, changed || other
}

// several writes a list or a map.
func (k *masking) several(out []byte, r *avroReader, c column) []byte {
	if c.shape == textList {
		return k.list(out, r, c.field)
	}
	return k.context(out, r)
}

// shown is the text as it may be seen, nil where it is dropped, and whether that is
// something else.
func (k *masking) shown(text []byte, a mask.Action) (shown []byte, changed bool) {
	switch {
	case a == mask.Drop:
		return nil, true
	case a.Hides():
		k.text = k.matcher.AppendHidden(k.text[:0], text, a)
		return k.text, true
	}
	if k.text, changed = k.matcher.AppendClean(k.text[:0], text); changed {
		return k.text, true
	}
	return text, false
}

// withoutData is a configurationKey without those names of it that are hidden: data below
// what a rule names, and what a name in brackets has in other characters.
func (k *masking) withoutData(key []byte) (again []byte, changed bool) {
	action := k.actions[mask.ConfigurationKey]
	if !action.Hides() && bytes.IndexByte(key, '\\') < 0 {
		return key, false // nearly all
	}
	k.path, k.again = audit.KeyNames(k.path[:0], key), k.again[:0]
	for i, name := range k.path {
		shown, other := name, false
		if action.Hides() && i >= k.plain && !mask.IsPlain(name) {
			k.text, other = k.matcher.AppendHidden(k.text[:0], name, action), true
			shown = k.text
		} else {
			shown, other = k.shown(name, mask.Unnamed)
		}
		changed = changed || other
		k.again = audit.AppendKeyName(k.again, shown)
	}
	if !changed {
		return key, false
	}
	return k.again, true
}

func (k *masking) list(out []byte, r *avroReader, f mask.Field) []byte {
	n := r.number()
	if n == 0 {
		return append(out, endOfBlocks)
	}
	if k.actions[f] == mask.Drop {
		for ; n > 0; n = r.blockEnd(n) {
			r.text()
		}
		k.hidden[f] = true
		return append(out, endOfBlocks)
	}
	out = binary.AppendVarint(out, n)
	for ; n > 0; n = r.blockEnd(n) {
		shown, changed := k.shown(r.text(), k.actions[f])
		k.hidden[f] = k.hidden[f] || changed
		out = appendBytes(out, shown)
	}
	return append(out, endOfBlocks)
}

// context writes the context. An entry is left out where its value is dropped, or its key
// has something in it that is hidden.
func (k *masking) context(out []byte, r *avroReader) []byte {
	k.pairs = kept(k.pairs, keptItems)
	for n := r.number(); n > 0; n = r.blockEnd(n) {
		p := pair{r.text(), r.text()}
		if k.matcher.ContextOf(p.key) == mask.Drop || k.matcher.Occurs(p.key).Hides() {
			k.hidden[mask.Context] = true
			continue
		}
		k.pairs = append(k.pairs, p)
	}
	if len(k.pairs) == 0 {
		return append(out, endOfBlocks)
	}
	out = binary.AppendVarint(out, int64(len(k.pairs)))
	for _, p := range k.pairs {
		shown, changed := k.shown(p.value, k.matcher.ContextOf(p.key))
		k.hidden[mask.Context] = k.hidden[mask.Context] || changed
		out = appendBytes(appendBytes(out, p.key), shown)
	}
	return append(out, endOfBlocks)
}

// names writes maskedFields.
func (k *masking) names(out []byte) []byte {
	n := int64(0)
	for _, hidden := range k.hidden {
		if hidden {
			n++
		}
	}
	if n == 0 {
		return append(out, endOfBlocks)
	}
	out = binary.AppendVarint(out, n)
	for f, hidden := range k.hidden {
		if hidden {
			name := mask.Field(f).String()
			out = append(binary.AppendVarint(out, int64(len(name))), name...)
		}
	}
	return append(out, endOfBlocks)
}

// avroReader reads what the Encoder wrote, which is never wrong.
type avroReader []byte

func (r *avroReader) number() int64 {
	n, size := binary.Varint(*r)
	*r = (*r)[size:]
	return n
}

func (r *avroReader) text() []byte {
	n := r.number()
	text := (*r)[:n:n]
	*r = (*r)[n:]
	return text
}

func (r *avroReader) optional() ([]byte, bool) {
	if r.number() == 0 {
		return nil, false
	}
	return r.text(), true
}

// blockEnd is how many items of a list are left; behind the last one it reads its end.
func (r *avroReader) blockEnd(n int64) int64 {
	if n == 1 {
		r.number()
	}
	return n - 1
}

func (r *avroReader) skip(s shape) {
	switch s {
	case number:
		r.number()
	case textual:
		r.text()
	case optional:
		r.optional()
	case textList, textMap:
		for n := r.number(); n > 0; n = r.blockEnd(n) {
			r.text()
			if s == textMap {
				r.text()
			}
		}
	}
}
