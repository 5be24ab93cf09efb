package sandbox

import (
	"bytes"
	"strings"
)

// What oddities do to a draft.

func (d *draft) idField() string {
	if d.form == formAuditlogs {
		return "auditId"
	}
	return "id"
}

func (d *draft) timeField() string {
	switch d.form {
	case formAuditlogs:
		return "timestamp"
	case formNotification:
		return "eventTime"
	}
	return "eventDate"
}

func (d *draft) unusableID(value string) {
	d.set(d.idField(), []byte(value))
	d.id = ""
}

func (d *draft) usableID(id string) {
	d.set(d.idField(), quoted(id))
	d.id = id
}

// longID is an id of exactly size bytes, which are fewer characters.
func (d *draft) longID(size int) string {
	id := d.id + strings.Repeat("é", (size-len(d.id))/2)
	return id + strings.Repeat("z", size-len(id))
}

// snapshots sets before and after; in the query dialects the same change
// stands in propertyChanges as it is.
func (d *draft) snapshots(before, after string) {
	d.set("before", []byte(before))
	d.set("after", []byte(after))
}

// payload moves the snapshots under rawPayload.
func (d *draft) payload(raw []byte) {
	if d.form != formAuditlogs {
		return
	}
	d.drop("before")
	d.drop("after")
	d.add("rawPayload", raw)
}

// grow makes the event at least size bytes long, in one changed value.
func (d *draft) grow(size int) {
	line := "Wenn Sie Fragen haben, drücken Sie die 1. \"Para español, 2\".\n"
	d.snapshots(`{"prompt":null}`, `{"prompt":`+string(quoted(strings.Repeat(line, size/len(line)+1)))+`}`)
	if d.form != formAuditlogs {
		d.add("prompt", quoted(strings.Repeat(line, size/len(line)+1)))
	}
}

// sink nests a field's value to a depth.
func (d *draft) sink(name string, levels int) {
	nested := append(bytes.Repeat([]byte(`{"a":`), levels), '1')
	nested = append(nested, bytes.Repeat([]byte("}"), levels)...)
	if d.get(name) == nil {
		d.add(name, nested)
		return
	}
	d.set(name, nested)
}

// mistyped is a value of another JSON type than the given one.
func (d *draft) mistyped(value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	others := []string{`42`, `true`, `"text"`, `{"unexpected":{"type":1}}`, `["unexpected",null]`}
	for {
		if other := pick(&d.dice, others); jsonType(other[0]) != jsonType(value[0]) {
			return []byte(other)
		}
	}
}

// jsonType tells the type of a value by its first byte.
func jsonType(first byte) byte {
	switch {
	case first == '-' || '0' <= first && first <= '9':
		return '0'
	case first == 'f':
		return 't'
	}
	return first
}
