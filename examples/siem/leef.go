package main

import (
	"cmp"
	"strconv"
	"strings"

	"genesys-audit-connector/examples/consumer"
)

// appendLEEF appends a change in QRadar's Log Event Extended Format 2.0:
// https://www.ibm.com/docs/en/dsm?topic=overview-leef-event-components and
// https://www.ibm.com/docs/en/dsm?topic=overview-predefined-leef-event-attributes
//
// The format has no escapes. Attributes are parted by a tab, which is no part of any
// value, for oneLine makes it a space; nor is "|" of the header. externalId is the
// stable id.
func appendLEEF(b []byte, m *consumer.Message) []byte {
	start := len(b)
	for _, limits := range cefLimits {
		w := leefWriter{b: b[:start], text: limits.text}
		w.header(m)
		w.attributes(m, limits.value, limits.message)
		if b = w.b; len(b)-start <= cefBytes {
			break
		}
	}
	return b
}

// leefWriter writes one message. Attributes without a value are left out.
type leefWriter struct {
	b    []byte
	text int // limit of ordinary texts
	more bool
}

func (w *leefWriter) header(m *consumer.Message) {
	id := cmp.Or(m.EntityType, "-") + ":" + cmp.Or(m.Action, "-")
	w.b = append(w.b, "LEEF:2.0|Genesys|Genesys Cloud|1|"...)
	w.b = append(w.b, strings.ReplaceAll(oneLine(cut(id, w.text)), "|", "/")...)
	w.b = append(w.b, "|x09|"...)
}

func (w *leefWriter) attributes(m *consumer.Message, value, message int) {
	v := classes().judge(m)
	_, outcome := status(m, &v)
	w.put("devTime", strconv.FormatInt(m.Time.UnixMilli(), 10), w.text)
	w.put("externalId", m.ID, cefID)
	w.put("cat", v.class.name+": "+v.activityName(m), w.text)
	w.put("sev", strconv.Itoa(max(1, cefSeverity[v.severity])), w.text) // 1 to 10
	w.put("outcome", outcome, w.text)
	id, name := consumer.Text(m.UserID), consumer.Text(m.UserName)
	if v.class == &authentication {
		id, name = account(m)
		w.put(map[int]string{1: "isLoginEvent", 2: "isLogoutEvent"}[v.activity], "true", w.text)
	}
	w.put("usrName", cmp.Or(name, id, consumer.Text(m.ClientID)), w.text)
	w.put("actorId", actorID(m), w.text)
	w.put("actorType", actorType(m), w.text)
	if list := addresses(m); len(list) > 0 {
		w.put("src", list[0].String(), w.text)
	}
	if isRole(m) {
		w.put("role", cmp.Or(entityName(m), consumer.Text(m.EntityID)), w.text)
	}
	w.put("memberId", memberID(m), w.text)
	w.put("memberName", memberName(m), w.text)
	w.put("memberType", consumer.Text(m.MemberType), w.text)
	w.put("division", division(m), w.text)
	w.put("resource", cmp.Or(entityName(m), consumer.Text(m.EntityID)), w.text)
	w.put("entityType", m.EntityType, w.text)
	w.put("entityId", consumer.Text(m.EntityID), w.text)
	w.put("configurationKey", consumer.Text(m.Key), w.text)
	w.put("previousValue", consumer.Text(m.Previous), value)
	w.put("newValue", consumer.Text(m.New), value)
	w.put("attack", strings.Join(v.techniques, " "), w.text)
	w.put("organisation", m.Org, w.text)
	w.put("msg", sentence(m), message)
}

func (w *leefWriter) put(key, text string, limit int) {
	if key == "" || text == "" {
		return
	}
	if w.more {
		w.b = append(w.b, '\t')
	}
	w.more = true
	w.b = append(append(append(w.b, key...), '='), oneLine(cut(text, limit))...)
}
