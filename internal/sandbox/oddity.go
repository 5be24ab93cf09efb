package sandbox

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// oddity is a way in which an event differs from the documented one. It works
// on a draft in any form and does nothing to a form that lacks the field.
type oddity struct {
	name   string
	heavy  bool // too costly to be mixed into ordinary traffic
	copies int  // how many events of the very same bytes there are; 0 is 1
	apply  func(*draft)
}

// Sizes and depths of the heavy oddities.
const (
	megabyte    = 1 << 20
	hugeSize    = 11 << 20 // more than the 10 MiB that a topic takes
	longestID   = 512      // bytes of the longest usable id
	deep        = 1_100
	abyss       = 20_000
	decoyAudit  = `"decoy"`
	oddUnicode  = "naïve Ελλάδα 日本語 🦊👩‍👩‍👧 \u202eright to left\u202c العربية Z̷̧a̴͖l\u200bgo"
	escapedText = `"\u00e9\/\ud83d\ude00 \u0000\b\f\n\r\t\\ \"quoted\" \u2028 \u00AD"`
)

var oddities = slices.Concat(idOddities, timeOddities, snapshotOddities, textOddities, fieldOddities(), heavyOddities)

// idOddities: events without a usable id, and ids that are no UUIDs.
var idOddities = []oddity{
	{name: "id missing", apply: func(d *draft) { d.drop(d.idField()); d.id = "" }},
	{name: "id null", apply: func(d *draft) { d.unusableID("null") }},
	{name: "id number", apply: func(d *draft) { d.unusableID("1234567890123") }},
	{name: "id boolean", apply: func(d *draft) { d.unusableID("true") }},
	{name: "id object", apply: func(d *draft) { d.unusableID(`{"id":"inner"}`) }},
	{name: "id array", apply: func(d *draft) { d.unusableID(`["a","b"]`) }},
	{name: "id empty", apply: func(d *draft) { d.unusableID(`""`) }},
	{name: "id blank", apply: func(d *draft) { d.unusableID(`" \t "`) }},
	{name: "id of 513 bytes", apply: func(d *draft) { d.unusableID(string(quoted(d.longID(longestID + 1)))) }},
	{name: "id of 512 bytes", apply: func(d *draft) { d.usableID(d.longID(longestID)) }},
	{name: "id not a UUID", apply: func(d *draft) { d.usableID("AUD/2026 #" + d.id[:8] + ` "é" <&> 🦊`) }},
	{name: "id escaped", apply: func(d *draft) {
		d.set(d.idField(), []byte(`"\u0065\u00e9\/\ud83d\ude00`+d.id+`"`))
		d.id = "eé/😀" + d.id
	}},
	{name: "id twice in one event", apply: func(d *draft) {
		real := d.get(d.idField())
		d.set(d.idField(), []byte(decoyAudit))
		d.add(d.idField(), real)
	}},
	{name: "id under a key of other case", apply: func(d *draft) { d.add(strings.ToUpper(d.idField()), []byte(decoyAudit)) }},
	{name: "id of another event", apply: func(d *draft) {
		d.usableID("reused-" + d.id[:2])
	}},
	{name: "twins without id", copies: 2, apply: func(d *draft) { d.drop(d.idField()); d.id = "" }},
}

// timeOddities: times that cannot be read, and times that can but look odd.
var timeOddities = []oddity{
	{name: "time with offset", apply: func(d *draft) { d.set(d.timeField(), []byte(`"2026-03-29T02:30:00.5+02:00"`)) }},
	{name: "time with microseconds", apply: func(d *draft) { d.set(d.timeField(), []byte(`"2026-02-28T23:59:59.999999Z"`)) }},
	{name: "time without zone", apply: func(d *draft) { d.set(d.timeField(), []byte(`"2026-02-28T23:59:59.999"`)) }},
	{name: "time as number", apply: func(d *draft) { d.set(d.timeField(), []byte(`1771234567890`)) }},
	{name: "time in words", apply: func(d *draft) { d.set(d.timeField(), []byte(`"yesterday"`)) }},
	{name: "time long ago", apply: func(d *draft) { d.set(d.timeField(), []byte(`"0001-01-01T00:00:00Z"`)) }},
}

// snapshotOddities: before and after elsewhere, or of another type.
var snapshotOddities = []oddity{
	{name: "snapshots in rawPayload", apply: func(d *draft) {
		d.payload(fmt.Appendf(nil, `{"before":%s,"after":%s,"source":"legacy"}`, d.get("before"), d.get("after")))
	}},
	{name: "snapshots in a rawPayload string", apply: func(d *draft) {
		d.payload(quoted(fmt.Sprintf(`{"before":%s,"after":%s}`, d.get("before"), d.get("after"))))
	}},
	{name: "rawPayload that is no JSON", apply: func(d *draft) { d.payload([]byte(`"{\"before\":"`)) }},
	{name: "scalar snapshots", apply: func(d *draft) { d.snapshots(`"enabled"`, `false`) }},
	{name: "array snapshots", apply: func(d *draft) { d.snapshots(`[1,2,3]`, `[3,2,1]`) }},
	{name: "snapshots of two types", apply: func(d *draft) { d.snapshots(`{"a":1}`, `["a",1]`) }},
	{name: "no snapshots", apply: func(d *draft) { d.snapshots(`null`, `null`) }},
	{name: "equal snapshots", apply: func(d *draft) { d.snapshots(`{"a":{"b":[1,{"c":null}]}}`, `{"a":{"b":[1,{"c":null}]}}`) }},
	{name: "empty keys and odd keys", apply: func(d *draft) {
		d.snapshots(`{"":1,"a.b":{"c":[]},"x[0]":"y","q\"":0,"ключ":null}`, `{"":2,"a.b":{"c":{}},"x[0]":"z","q\"":-0,"ключ":""}`)
	}},
	{name: "propertyChanges beside snapshots", apply: func(d *draft) {
		changes := []byte(`[{"property":"acw.timeout","oldValues":["10","20"],"newValues":["30"]},{"property":"name","oldValues":[],"newValues":["x"]},{"newValues":null}]`)
		d.add("propertyChanges", changes)
	}},
	{name: "entityChanges beside snapshots", apply: func(d *draft) {
		d.add("entityChanges", []byte(`[{"entityId":"7","entityName":"Row 7","entityType":"DataTableRow","oldValues":["a"],"newValues":["a"]}]`))
	}},
	{name: "changes of other types", apply: func(d *draft) {
		d.set("propertyChanges", []byte(`[{"property":7,"oldValues":"one","newValues":{"a":1}},null,"x",[]]`))
		d.set("entityChanges", []byte(`{"entityId":"x"}`))
	}},
}

// textOddities: the same JSON in other bytes, which must not be rewritten.
var textOddities = []oddity{
	{name: "unicode", apply: func(d *draft) { d.set("entityName", quoted(oddUnicode)); d.add("note", quoted(oddUnicode)) }},
	{name: "escapes", apply: func(d *draft) { d.set("entityName", []byte(escapedText)); d.add("note", []byte(escapedText)) }},
	{name: "lone surrogates", apply: func(d *draft) { d.add("note", []byte(`"\ud83d \udc00 \ud83d\ud83d"`)) }},
	{name: "white space", apply: func(d *draft) { d.style = styleSpaced }},
	{name: "indented", apply: func(d *draft) { d.style = styleIndented }},
	{name: "keys in another order", apply: func(d *draft) { d.shuffle() }},
	{name: "escaped keys", apply: func(d *draft) { d.style = styleEscapedKeys }},
	{name: "numbers", apply: func(d *draft) {
		d.snapshots(`{"a":1.0,"b":1e3,"c":12345678901234567890,"d":-0,"e":1E-7,"f":0.10}`, `{"a":1,"b":1000,"c":12345678901234567891,"d":0,"e":1e-7,"f":0.1}`)
		d.add("ratio", []byte("1.0E+2"))
	}},
	{name: "duplicate keys", apply: func(d *draft) {
		d.snapshots(`{"name":"first","name":"last"}`, `{"name":"last","name":"first"}`)
		d.add("action", []byte(`"Renamed"`))
	}},
	{name: "unknown fields", apply: func(d *draft) {
		d.add("entities", []byte(`[{"auditId":"decoy"}]`))
		d.add("nextPage", []byte(decoyAudit))
		d.add("x-internal", []byte(`{"nested":[[[]],{"":{}}],"flag":true}`))
	}},
	{name: "empty object", apply: func(d *draft) { d.whole, d.id = []byte("{}"), "" }},
	{name: "not an object: null", apply: func(d *draft) { d.whole, d.id = []byte("null"), "" }},
	{name: "not an object: string", apply: func(d *draft) { d.whole, d.id = []byte(`"},{\"auditId\":1}"`), "" }},
	{name: "not an object: number", apply: func(d *draft) { d.whole, d.id = []byte("42"), "" }},
	{name: "not an object: array", apply: func(d *draft) { d.whole, d.id = []byte("[{}]"), "" }},
}

// heavyOddities come only when they are asked for.
var heavyOddities = []oddity{
	{name: "1 MB", heavy: true, apply: func(d *draft) { d.grow(megabyte) }},
	{name: "11 MB", heavy: true, apply: func(d *draft) { d.grow(hugeSize) }},
	{name: "1,100 levels", heavy: true, apply: func(d *draft) { d.sink("after", deep) }},
	{name: "20,000 levels", heavy: true, apply: func(d *draft) { d.sink("after", abyss) }},
	{name: "20,000 levels in an unknown field", heavy: true, apply: func(d *draft) {
		d.add("trace", bytes.Join([][]byte{bytes.Repeat([]byte("["), abyss), bytes.Repeat([]byte("]"), abyss)}, nil))
	}},
}

// fieldOddities: every field missing, null, and of another type.
func fieldOddities() []oddity {
	var all []oddity
	for _, name := range fieldNames() {
		all = append(all,
			oddity{name: name + " missing", apply: func(d *draft) { d.drop(name) }},
			oddity{name: name + " null", apply: func(d *draft) { d.set(name, []byte("null")) }},
			oddity{name: name + " mistyped", apply: func(d *draft) { d.set(name, d.mistyped(d.get(name))) }},
		)
	}
	return all
}

// fieldNames are the fields of both shapes but for the ids, which have oddities
// of their own.
func fieldNames() []string {
	w := &world{}
	sample := &event{scene: &scene{}, actor: &actor{person: person{id: "x"}, clientID: "x"}, odd: &oddity{name: "message"}}
	var names []string
	for _, write := range []func(*draft){
		func(d *draft) { d.auditlogs(sample) },
		func(d *draft) { d.query(sample) },
	} {
		d := &draft{world: w}
		write(d)
		for _, f := range d.fields {
			if f.name != "id" && f.name != "auditId" && !slices.Contains(names, f.name) {
				names = append(names, f.name)
			}
		}
	}
	return names
}

// Oddities names every odd event that EmitOdd can make.
func Oddities() []string {
	names := make([]string, len(oddities))
	for i, o := range oddities {
		names[i] = o.name
	}
	return names
}

func oddityNamed(name string) (*oddity, error) {
	for i := range oddities {
		if oddities[i].name == name {
			return &oddities[i], nil
		}
	}
	return nil, fmt.Errorf("%w: oddity %q", ErrUnknown, name)
}

// lightOddities are those mixed into ordinary traffic.
var lightOddities = func() []*oddity {
	var light []*oddity
	for i := range oddities {
		if !oddities[i].heavy {
			light = append(light, &oddities[i])
		}
	}
	return light
}()
