// Package codec turns an audit event into the changes that it tells of, and
// each of them into an Avro record genesys.audit.ConfigurationChange.
//
// It promises that every event gives at least one record, whatever JSON it is;
// that the records are the bytes that any Avro library would write for the same
// data; and that one event costs bounded time and memory. It refuses to know
// clocks, topics and how a record reaches Kafka.
//
// How an event reads:
//
//   - Its fields: fields.go. Both shapes (userId, or user.id) give the same record.
//   - Which part of it tells the changes: changes.go.
//   - Who came and who went: members.go, siblings.go.
//   - What ids are called that the event has no name for: names.go.
//   - The difference of two snapshots: diff.go, on what counts as equal: compare.go.
//   - The record: record.go, avro.go; what of it is hidden: masking.go.
package codec

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/linkedin/goavro/v2"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/mask"
	"genesys-audit-connector/schemas"
)

// maxLevels is how deep an event may be nested for its changes to be read.
const maxLevels = 1000

// maxRecordBytes bounds what the records of one event come to. Every record
// repeats the event's own fields, so that a few megabytes of hostile JSON could
// ask for terabytes.
const (
	maxRecordBytes   = 64 << 20
	leastRecordBytes = 64
)

// What of one event's memory an Encoder keeps for the next, of each slice.
const (
	keptBytes = 1 << 20
	keptItems = 1 << 15
)

// What normalisation adds to an event's problems.
const (
	problemTooDeep = "nested more than 1,000 levels deep: changes not read"
	problemTooMany = "changes would take more than 64 MiB: changes not written"
	problemPayload = "rawPayload holds too many values: changes not read"
)

// Options say how an Encoder writes.
type Options struct {
	// Framing stands in front of each value. Nil means Avro single-object
	// encoding: C3 01 and the CRC-64-AVRO fingerprint of the schema.
	Framing []byte
	// Mappings say what is known of each entity type. Nil means the built-in ones.
	Mappings *Mappings
	// Mask says which values are hidden. Nil means none.
	Mask *mask.Rules
	// Panicked, where it is set, is told of an event that made the normalisation panic.
	Panicked func(auditID string, value any, stack []byte)
}

// ConfluentFraming is the wire format of Confluent's serializers: a zero byte
// and the schema's id in the registry.
// https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
func ConfluentFraming(schemaID int) []byte {
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(schemaID))
}

// Fingerprint is the CRC-64-AVRO fingerprint of the schema that is written.
func Fingerprint() uint64 { return fingerprint() }

var fingerprint = sync.OnceValue(func() uint64 {
	_, rabin, err := compile(schemas.ConfigurationChange)
	if err != nil {
		panic("codec: the embedded schema is wrong: " + err.Error())
	}
	return rabin
})

// compile gives goavro's codec of a schema and the schema's CRC-64-AVRO fingerprint.
func compile(schema string) (*goavro.Codec, uint64, error) {
	c, err := goavro.NewCodec(schema)
	if err != nil {
		return nil, 0, err
	}
	// goavro 2.15 leaves the type of a logical type as {"type":"long"}, where the
	// specification's canonical form (and Java's, and fastavro's) has "long". Its
	// own NativeFromSingle therefore refuses records of this schema.
	// https://avro.apache.org/docs/1.12.0/specification/#transforming-into-parsing-canonical-form
	canonical := strings.ReplaceAll(c.CanonicalSchema(), `{"type":"long"}`, `"long"`)
	stripped, err := goavro.NewCodec(canonical)
	if err != nil {
		return nil, 0, fmt.Errorf("canonical form: %w", err)
	}
	return c, stripped.Rabin, nil
}

// singleObjectFraming is what stands in front of a record that is single-object encoded.
// https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
func singleObjectFraming(fingerprint uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0xC3, 0x01}, fingerprint)
}

// Meta is what stands beside the records of an event. Its slices are valid
// until the next Normalise and as long as the event's page; they are nil where the
// event does not say.
type Meta struct {
	EntityID, EntityType, Action []byte
	// Problem says what of the event could not be normalised; "" for nearly all.
	Problem string
	// Changes is how many change records the event has, at least 1.
	Changes int
}

// Encoder writes the records of one event after another. It keeps its memory
// from one to the next and serves one goroutine, but for Unmapped.
type Encoder struct {
	framing  []byte
	mappings *Mappings
	unmapped tally
	siblings siblings
	masking  *masking // nil where nothing is hidden
	panicked func(auditID string, value any, stack []byte)
	names    audit.Names // of the step at hand; may be nil

	// Of the event at hand.
	fields          fields
	entity          *Mapping // nil where its type has none
	changes         []change
	keys            []byte // the configurationKeys of changes, one after another
	path            []byte // the configurationKey where diff stands
	tooMany         bool
	cmp             comparer
	text            []byte // characters that do not stand in the event as they are
	context         []pair
	grant           grant
	members, sorted []span // of a group
	// Names that the context of a grant has; nil where it has none.
	roleName, memberName []byte
	found                found // names that the event does not have
	bare                 bool  // nothing of the event is in its record: there is nothing to hide
	common               [4][]byte
	record               []byte

	doc *jsonscan.Doc // what changes speak of: the event's, or payload

	payload     jsonscan.Doc // rawPayload, where that is a string
	payloadText []byte
}

// NewEncoder makes an Encoder. It fails on a mapping that is wrong.
func NewEncoder(o Options) (*Encoder, error) {
	e := &Encoder{framing: o.Framing, mappings: o.Mappings, cmp: newComparer(), panicked: o.Panicked}
	if e.framing == nil {
		e.framing = singleObjectFraming(Fingerprint())
	}
	if e.mappings == nil {
		var err error
		if e.mappings, err = BuiltinMappings(); err != nil {
			return nil, err
		}
	}
	if o.Mask != nil {
		e.masking = newMasking(o.Mask)
	}
	return e, nil
}

// Normalise works out the changes of the event, at least one. They are written
// by Record and stand until the next Normalise. at is their timestamp where the
// event has none.
func (e *Encoder) Normalise(ev *audit.Event, at time.Time) (meta Meta) {
	defer func() {
		if r := recover(); r != nil {
			meta = e.unforeseen(ev, at, r)
		}
	}()
	e.reset()
	e.fields.read(ev.Fields, &e.text)
	meta = Meta{
		EntityID:   e.view(e.fields.entityID),
		EntityType: e.view(e.fields.entityType),
		Action:     e.view(e.fields.action),
	}
	e.entity = e.mappings.of(meta.EntityType)
	if e.entity == nil && len(meta.EntityType) > 0 {
		e.unmapped.add(meta.EntityType)
	}
	if !ev.Time.IsZero() {
		at = ev.Time
	}
	e.readGrant(&meta)
	e.readContext(meta.Action)
	e.lookUp(&meta)
	meta.Problem = e.collect(ev.Fields, meta.Action)
	e.writeCommon(ev.ID, at, &meta)
	if e.size() > maxRecordBytes {
		meta.Problem = problemTooMany
		e.none()
	}
	meta.Changes = len(e.changes)
	if e.masking != nil {
		e.masking.begin(e, &meta)
	}
	return meta
}

// Record is the value of change record i of the event that was normalised last,
// from 0 to Meta.Changes-1. It is valid until the next call of the Encoder.
func (e *Encoder) Record(i int) []byte {
	record := e.writeRecord(i, &e.changes[i])
	if e.masking != nil && !e.bare {
		record = e.masking.record(e, i, record)
	}
	return record
}

// Unmapped tells how many events there were of each entity type that has no
// mapping. Any goroutine may ask.
func (e *Encoder) Unmapped() map[string]uint64 { return e.unmapped.snapshot() }

// reset forgets the event before, and what memory it needed beyond the usual.
func (e *Encoder) reset() {
	e.changes, e.context = kept(e.changes, keptItems), kept(e.context, keptItems)
	e.members, e.sorted = kept(e.members, keptItems), kept(e.sorted, keptItems)
	for _, text := range [...]*[]byte{&e.keys, &e.path, &e.text, &e.common[0], &e.common[1], &e.common[2], &e.common[3], &e.record} {
		*text = kept(*text, keptBytes)
	}
	e.tooMany, e.bare = false, false
	e.cmp.reset()
	if cap(e.payloadText) > keptBytes {
		e.payload, e.payloadText = jsonscan.Doc{}, nil
	}
}

// kept is the empty slice with its memory, unless that is unusually much.
func kept[T any](s []T, limit int) []T {
	if cap(s) > limit {
		return nil
	}
	return s[:0]
}

// view is the text of v: nil where an id or a name belongs and there is none. See fields.
func (e *Encoder) view(v jsonscan.Value) []byte { return viewName(v, &e.text) }

func viewName(v jsonscan.Value, buf *[]byte) []byte {
	if !isText(v) {
		return nil
	}
	text := v.View(buf)
	if len(text) == 0 {
		return nil
	}
	return text
}
