package sandbox

import (
	"cmp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// field is a key of an event and its JSON value.
type field struct {
	name  string
	value []byte
}

// draft is an event while it is written. Oddities change it before it becomes
// bytes.
type draft struct {
	dice   dice
	form   form
	fields []field
	id     string // the usable id, "" where there is none
	style  style
	whole  []byte // set: the event is no object but this
	world  *world
	values []byte // memory of the values made for this event
}

// style is how an event's JSON is laid out. The bytes must survive as they are.
type style uint8

const (
	styleCompact style = iota
	styleSpaced
	styleIndented
	styleEscapedKeys
)

var drafts = sync.Pool{New: func() any { return new(draft) }}

// appendEvent appends the event in a form and returns its usable id.
func (w *world) appendEvent(dst []byte, e *event, f form) ([]byte, string) {
	d := drafts.Get().(*draft)
	defer drafts.Put(d)
	*d = draft{dice: roll(w.seed, e.n), form: f, fields: d.fields[:0], values: d.values[:0], world: w}
	d.id = string(d.dice.uuid(nil))
	switch f {
	case formAuditlogs:
		d.auditlogs(e)
	case formNotification:
		d.notification(e)
	default:
		d.query(e)
	}
	if e.odd != nil {
		e.odd.apply(d)
	}
	return d.appendTo(dst), d.id
}

// auditlogs writes the fields as dialect auditlogs names them, among them some
// that no documentation mentions.
func (d *draft) auditlogs(e *event) {
	s, a := e.scene, e.actor
	d.text("auditId", d.id)
	d.textOrNull("userId", a.id)
	d.textOrNull("userName", a.name)
	d.add("timestamp", d.timestamp(e.at))
	d.text("action", s.action)
	d.text("entityType", s.flatType)
	d.text("entityId", s.entityID)
	d.text("entityName", s.entityName)
	d.add("before", s.before)
	d.add("after", s.after)
	d.text("userHomeOrgId", cmp.Or(a.homeOrg, d.world.orgID))
	d.text("serviceName", s.service)
	d.text("level", a.level())
	d.text("status", cmp.Or(s.status, "SUCCESS"))
	d.text("application", a.application)
	d.add("remoteIp", d.addresses(a))
	d.textOrNull("clientId", a.clientID)
	if s.flatContext != nil {
		d.add("context", s.flatContext)
	} else {
		d.add("context", s.context)
	}
	d.add("transaction", d.value(func(b []byte) []byte {
		return append(appendTransactionID(append(b, '"'), d.world, e.n), '"')
	}))
	d.add("schemaVersion", []byte("1.0"))
	d.add("sequence", d.value(func(b []byte) []byte { return strconv.AppendUint(b, e.n, 10) }))
}

// query writes the fields as live organisations show them: what is not there is
// empty, not absent.
func (d *draft) query(e *event) {
	s, a := e.scene, e.actor
	d.text("id", d.id)
	d.text("userHomeOrgId", cmp.Or(a.homeOrg, d.world.orgID))
	switch {
	case a.id != "":
		d.add("user", d.user(a))
	case a.clientID == "":
		d.add("user", []byte("{}")) // the system, or somebody whose login failed
	}
	d.add("client", d.value(func(b []byte) []byte {
		return append(appendString(append(b, `{"id":`...), a.clientID), '}')
	}))
	d.add("remoteIp", d.addresses(a))
	d.text("serviceName", s.service)
	d.text("level", a.level())
	d.add("eventDate", d.timestamp(e.at))
	if e.speaks(d.world) {
		d.add("message", d.message(s))
	}
	d.text("action", s.action)
	d.add("entity", d.value(func(b []byte) []byte {
		b = appendString(append(b, `{"id":`...), s.entityID)
		b = appendString(append(b, `,"name":`...), s.entityName)
		return append(appendString(append(b, `,"selfUri":`...), "/api/v2/"+strings.ToLower(s.service)+"/"+s.entityID), '}')
	}))
	d.text("entityType", s.entityType)
	d.text("status", cmp.Or(s.status, "SUCCESS"))
	if a.clientID == "" {
		d.text("application", "")
		d.add("initiatingAction", []byte("{}"))
	} else {
		d.text("application", a.application)
		d.add("initiatingAction", d.value(func(b []byte) []byte {
			b = appendTransactionID(append(b, `{"transactionId":"`...), d.world, e.n)
			return append(b, `","actionContext":"ADMIN_UI"}`...)
		}))
	}
	d.add("transactionInitiator", []byte("true"))
	d.add("propertyChanges", s.properties)
	d.add("entityChanges", s.entities)
	d.add("context", s.context)
}

// user writes who did it. The names of another organisation's users are not told.
func (d *draft) user(a *actor) []byte {
	return d.value(func(b []byte) []byte {
		b = appendString(append(b, `{"id":`...), a.id)
		if d.form == formExpanded && a.name != "" && a.homeOrg == "" {
			b = appendString(append(b, `,"name":`...), a.name)
		}
		return append(appendString(append(b, `,"selfUri":`...), "/api/v2/users/"+a.id), '}')
	})
}

func (d *draft) message(s *scene) []byte {
	return d.value(func(b []byte) []byte {
		b = appendString(append(b, `{"message":`...), s.message)
		return append(b, `,"messageParams":{}}`...)
	})
}

// notification writes the fields as the platform's events of audit topics have
// them, and some downloaded files (SDK: AuditTopicAuditLogMessage).
func (d *draft) notification(e *event) {
	s, a := e.scene, e.actor
	d.text("id", d.id)
	d.text("userId", a.id)
	d.text("userHomeOrgId", cmp.Or(a.homeOrg, d.world.orgID))
	d.add("username", d.value(func(b []byte) []byte {
		if a.id == "" {
			return append(b, "{}"...)
		}
		b = appendString(append(b, `{"id":`...), a.id)
		b = appendString(append(b, `,"name":`...), a.name)
		return append(appendString(append(b, `,"selfUri":`...), "/api/v2/users/"+a.id), '}')
	}))
	d.text("userDisplay", a.name)
	d.add("clientId", d.value(func(b []byte) []byte {
		return append(appendString(append(b, `{"id":`...), a.clientID), '}')
	}))
	d.add("remoteIp", d.addresses(a))
	d.text("serviceName", s.service)
	d.text("level", a.level())
	d.add("eventTime", d.timestamp(e.at))
	if e.speaks(d.world) {
		d.add("message", d.message(s))
	}
	d.text("action", s.action)
	d.text("entityType", s.entityType)
	d.add("entity", d.value(func(b []byte) []byte {
		b = appendString(append(b, `{"id":`...), s.entityID)
		return append(appendString(append(b, `,"name":`...), s.entityName), '}')
	}))
	d.text("status", cmp.Or(s.status, "SUCCESS")) // not in the SDK's model, but in what was seen
	d.add("propertyChanges", s.properties)
	d.add("context", s.context)
}

// level is whether a person or a client did it, or the system.
func (a *actor) level() string {
	if a.system {
		return "SYSTEM"
	}
	return "USER"
}

// speaks reports whether an event has a message: one in five of those that could.
func (e *event) speaks(w *world) bool {
	if e.odd != nil && strings.HasPrefix(e.odd.name, "message") {
		return true // it is about that field
	}
	d := roll(w.seed+2, e.n)
	return e.scene.message != "" && !e.actor.system && d.chance(0.2)
}

// appendTransactionID appends an id that eight neighbours share, like the events
// of one deployment.
func appendTransactionID(dst []byte, w *world, n uint64) []byte {
	t := roll(w.seed+1, n/8)
	return t.uuid(dst)
}

func (d *draft) addresses(a *actor) []byte {
	if a.ip == "" {
		return []byte("[]")
	}
	return d.value(func(b []byte) []byte {
		return append(appendString(append(b, '['), a.ip), ']')
	})
}

func (d *draft) timestamp(at int64) []byte {
	return d.value(func(b []byte) []byte {
		return time.UnixMilli(at).UTC().AppendFormat(b, `"2006-01-02T15:04:05.000Z"`)
	})
}

// value makes a value in the draft's own memory. Memory that an earlier value
// lies in stays as it is when it grows.
func (d *draft) value(write func([]byte) []byte) []byte {
	start := len(d.values)
	d.values = write(d.values)
	return d.values[start:len(d.values):len(d.values)]
}

func (d *draft) add(name string, value []byte) {
	d.fields = append(d.fields, field{name, value})
}

func (d *draft) text(name, text string) {
	d.add(name, d.value(func(b []byte) []byte { return appendString(b, text) }))
}

func (d *draft) textOrNull(name, text string) {
	if text == "" {
		d.add(name, []byte("null"))
		return
	}
	d.text(name, text)
}

// set replaces the value of a field that this form has.
func (d *draft) set(name string, value []byte) {
	for i := range d.fields {
		if d.fields[i].name == name {
			d.fields[i].value = value
		}
	}
}

func (d *draft) get(name string) []byte {
	for _, f := range d.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

func (d *draft) drop(name string) {
	kept := d.fields[:0]
	for _, f := range d.fields {
		if f.name != name {
			kept = append(kept, f)
		}
	}
	d.fields = kept
}

// shuffle puts the keys in another order.
func (d *draft) shuffle() {
	for i := len(d.fields) - 1; i > 0; i-- {
		j := d.dice.n(i + 1)
		d.fields[i], d.fields[j] = d.fields[j], d.fields[i]
	}
}

var separators = map[style]struct{ open, colon, comma, end string }{
	styleCompact:     {"{", ":", ",", "}"},
	styleEscapedKeys: {"{", ":", ",", "}"},
	styleSpaced:      {"{ ", " : ", " ,\t", "\r\n}"},
	styleIndented:    {"{\n  ", ": ", ",\n  ", "\n}"},
}

func (d *draft) appendTo(dst []byte) []byte {
	if d.whole != nil {
		return append(dst, d.whole...)
	}
	between := separators[d.style]
	dst = append(dst, between.open...)
	for i, f := range d.fields {
		if i > 0 {
			dst = append(dst, between.comma...)
		}
		if d.style == styleEscapedKeys {
			dst = append(dst, `"\u00`...)
			dst = strconv.AppendUint(dst, uint64(f.name[0]), 16)
			dst = append(append(dst, f.name[1:]...), '"')
		} else {
			dst = append(append(append(dst, '"'), f.name...), '"')
		}
		dst = append(dst, between.colon...)
		dst = append(dst, f.value...)
	}
	return append(dst, between.end...)
}
