package main

import (
	"cmp"
	"strconv"
	"strings"

	"genesys-audit-connector/examples/consumer"
)

// cefBytes is how long a CEF message may be: rsyslog takes 8 KiB with the header
// around it, by default.
const cefBytes = 7900

// cefLimits are the most bytes of a text that are kept: of values, of other
// texts, of the message. What is cut off ends in "…"; the whole of it is in
// Kafka. The second ones are short enough if every character has to be escaped.
var cefLimits = [...]struct{ value, text, message int }{{1500, 500, 1023}, {400, 150, 400}}

// cefID bounds the externalId, of which nothing may be cut off: ids have up to 512 bytes and an index.
const cefID = 600

// cefSeverity by OCSF severity: Unknown, Informational, Low, Medium, High, Critical.
var cefSeverity = [...]int{0, 2, 4, 6, 8, 10}

// appendCEF appends a change in ArcSight's Common Event Format, version 0, by
// "ArcSight Common Event Format (CEF) Implementation Standard", version 26.
// externalId is the stable id.
func appendCEF(b []byte, m *consumer.Message) []byte {
	start := len(b)
	for _, limits := range cefLimits {
		w := cefWriter{b: b[:start], text: limits.text}
		w.header(m)
		w.put("externalId", m.ID, cefID)
		w.people(m)
		w.labelled("cs1", "entityType", m.EntityType, limits.text)
		w.labelled("cs2", "entityId", consumer.Text(m.EntityID), limits.text)
		w.labelled("cs3", "entityName", entityName(m), limits.text)
		w.labelled("cs4", "configurationKey", consumer.Text(m.Key), limits.text)
		w.labelled("cs5", "previousValue", consumer.Text(m.Previous), limits.value)
		w.labelled("cs6", "newValue", consumer.Text(m.New), limits.value)
		w.labelled("flexString1", "division", division(m), limits.text)
		w.labelled("flexString2", "attack", strings.Join(classes().judge(m).techniques, " "), limits.text)
		w.number("cn1", "changeIndex", m.Index)
		w.number("cn2", "changeCount", m.Count)
		w.put("msg", sentence(m), limits.message)
		if b = w.b; len(b)-start <= cefBytes {
			break
		}
	}
	return b
}

// cefWriter writes one message. Extensions without a value are left out.
type cefWriter struct {
	b    []byte
	text int // limit of ordinary texts
}

func (w *cefWriter) header(m *consumer.Message) {
	severityID := classes().judge(m).severity
	field := func(text string) {
		w.b = append(append(w.b, cefHeaderEscapes.Replace(oneLine(cut(text, w.text)))...), '|')
	}
	w.b = append(w.b, "CEF:0|Genesys|Genesys Cloud|1|"...)
	field(cmp.Or(m.EntityType, "-") + ":" + cmp.Or(m.Action, "-"))
	field(cmp.Or(m.Action, "Change") + " of " + cmp.Or(m.EntityType, "an object"))
	w.b = strconv.AppendInt(w.b, int64(cefSeverity[severityID]), 10)
	w.b = append(w.b, "|rt="...)
	w.b = strconv.AppendInt(w.b, m.Time.UnixMilli(), 10)
}

// people writes who did it, from where, to whom, and what came of it.
func (w *cefWriter) people(m *consumer.Message) {
	w.put("act", m.Action, w.text)
	w.put("outcome", consumer.Text(m.Status), w.text)
	w.put("suid", actorID(m), w.text)
	w.put("suser", consumer.Text(m.UserName), w.text)
	w.put("duid", memberID(m), w.text) // who came or went, or got a role
	w.put("duser", memberName(m), w.text)
	if list := addresses(m); len(list) > 0 {
		if first := list[0]; first.Is4() {
			w.put("src", first.String(), w.text)
		} else {
			w.put("c6a2Label", "Source IPv6 Address", w.text)
			w.put("c6a2", first.String(), w.text)
		}
	}
	w.put("deviceExternalId", m.Org, w.text)
}

func (w *cefWriter) put(key, text string, limit int) {
	if text != "" {
		w.b = append(append(append(w.b, ' '), key...), '=')
		w.b = append(w.b, oneLine(cefValueEscapes.Replace(cut(text, limit)))...)
	}
}

func (w *cefWriter) labelled(key, label, text string, limit int) {
	if text != "" {
		w.put(key+"Label", label, limit)
		w.put(key, text, limit)
	}
}

func (w *cefWriter) number(key, label string, n int) {
	w.put(key+"Label", label, w.text)
	w.put(key, strconv.Itoa(n), w.text)
}

// What would end a field, a value or the line. Other control characters become spaces.
var (
	cefHeaderEscapes = strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	cefValueEscapes  = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)
)
