package codec

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// writer makes random JSON that is likely to be interesting: few different
// keys and values, so that snapshots resemble each other, in many spellings.
type writer struct {
	*rand.Rand
	strings.Builder
}

func (w *writer) pick(of ...string) string { return of[w.IntN(len(of))] }

func (w *writer) space() {
	if w.IntN(12) == 0 {
		w.WriteString(w.pick(" ", "\n", "\t", "\r\n  "))
	}
}

var oddStrings = []string{
	``, `a`, `b`, `\u0061`, `a.b`, `x[0]`, `q\"`, `]`, `\\`, `é`, `\u00e9`, `\ud83d\ude00`, `😀`, `\ud83d`, `\udc00x`, "\xff", "\xe2\x82", `\ufffd`,
	`\n\t\b\f\r`, `\u0000`, `\u001f\".`, `<&>`, `\u2028`, "\u2028", `\\u2028.`, `\/`, `7`, `true`, `null`, `userId`, `0123456789abcdef0123456789abcdef`,
	`ключ`, `\uFEFF`, `before`, `one--two--three`, `one--two`, `u--a--*`, `QueueMember/q:u`, `queueMember:u`, `[a, b]`, `[a,b ,7]`, `[a`, `[]`, `a--b--c--d`, `--x--`,
}

func (w *writer) str() string { return `"` + w.pick(oddStrings...) + `"` }

func (w *writer) scalar() string {
	switch w.IntN(6) {
	case 0:
		return w.pick("null", "true", "false")
	case 1:
		return w.pick("0", "-0", "1", "1.0", "1e3", "1E3", "-1.5e-7", "12345678901234567890", "0.10", "0.1")
	default:
		return w.str()
	}
}

func (w *writer) value(levels int) {
	w.space()
	defer w.space()
	kind := w.IntN(6)
	if levels == 0 || kind > 2 {
		w.WriteString(w.scalar())
		return
	}
	n := w.IntN(5)
	if w.IntN(40) == 0 {
		n = 40
	}
	if kind == 2 {
		w.WriteByte('[')
		for i := range n {
			if i > 0 {
				w.WriteByte(',')
			}
			w.value(levels - 1)
		}
		w.space()
		w.WriteByte(']')
		return
	}
	w.object(n, func(int) { w.value(levels - 1) })
}

func (w *writer) object(n int, value func(i int)) {
	w.WriteByte('{')
	for i := range n {
		if i > 0 {
			w.WriteByte(',')
		}
		w.space()
		w.WriteString(w.str())
		w.space()
		w.WriteByte(':')
		value(i)
	}
	w.space()
	w.WriteByte('}')
}

// render gives the JSON that write writes.
func (w *writer) render(write func()) string {
	sub := writer{Rand: w.Rand}
	*w, sub = sub, *w
	write()
	text := w.String()
	w.Builder.Reset()
	*w = sub
	return text
}

// shuffled is a JSON array of some values and the same in another order.
func (w *writer) shuffled() (a, b string) {
	n := w.IntN(6)
	values := make([]string, n)
	for i := range values {
		values[i] = w.render(func() { w.value(2) })
	}
	a = "[" + strings.Join(values, ",") + "]"
	w.Shuffle(n, func(i, j int) { values[i], values[j] = values[j], values[i] })
	return a, "[" + strings.Join(values, " , ") + "]"
}

// pair is two values that are apt to be alike.
func (w *writer) pair() (a, b string) {
	one := func() string { return w.render(func() { w.value(3) }) }
	switch w.IntN(4) {
	case 0:
		a = one()
		return a, a
	case 1:
		return w.shuffled()
	case 2:
		k, l := w.str(), w.str()
		a1, b1 := w.pair()
		a2, b2 := w.pair()
		return fmt.Sprintf("{%s:%s,%s:%s}", k, a1, l, a2), fmt.Sprintf("{%s:%s, %s:%s}", l, b2, k, b1)
	default:
		return one(), one()
	}
}

func (w *writer) listed(names ...string) string {
	var elements []string
	for range w.IntN(4) {
		if w.IntN(8) == 0 {
			elements = append(elements, w.render(func() { w.value(1) }))
			continue
		}
		var members []string
		for _, name := range names {
			if w.IntN(6) > 0 {
				members = append(members, strconv.Quote(name)+":"+w.pick(w.scalar(), `"memberIds"`, `"group-membership"`, `"group-membership"`, `"queueId:q:members"`))
			}
		}
		a, b := w.shuffled()
		if w.IntN(3) == 0 {
			a, b = w.pair()
		}
		members = append(members, `"oldValues":`+a, `"newValues":`+b)
		elements = append(elements, "{"+strings.Join(members, ",")+"}")
	}
	return "[" + strings.Join(elements, ",") + "]"
}

// event is a random audit event of either shape.
func (w *writer) event() string {
	var members []string
	put := func(name, value string) { members = append(members, strconv.Quote(name)+":"+value) }
	text := func() string {
		if w.IntN(10) == 0 {
			return w.render(func() { w.value(2) })
		}
		return w.scalar()
	}
	for _, name := range []string{
		"auditId", "userId", "userName", "entityId", "entityName", "clientId", "userHomeOrgId", "serviceName", "status", "level", "application",
		"user", "entity", "client", "remoteIp", "context", "message", "username", "userDisplay", "initiatingAction",
	} {
		if w.IntN(3) == 0 {
			put(name, text())
		}
	}
	if w.IntN(2) == 0 {
		put("entity", w.render(func() { w.object(2, func(int) { w.WriteString(w.scalar()) }) }))
		put("entity", `{"id":`+text()+`,"name":`+text()+`}`)
		put("user", `{"id":`+text()+`,"name":`+text()+`}`)
		put("client", `{"id":`+text()+`}`)
		put("clientId", `{"id":`+text()+`}`)
		put("username", `{"id":`+text()+`,"name":`+text()+`}`)
		put("message", `{"message":`+text()+`,"messageParams":{}}`)
		put("initiatingAction", `{"transactionId":`+text()+`}`)
	}
	if w.IntN(2) == 0 {
		put("context", w.render(func() { w.object(w.IntN(5), func(int) { w.WriteString(text()) }) }))
		put("remoteIp", w.render(func() { w.value(2) }))
	}
	put("entityType", w.pick(`"Group"`, `"group"`, `"queue"`, `"Role"`, `"role"`, `"Unheard of"`, text()))
	put("action", w.pick(`"MemberAdd"`, `"MemberRemove"`, `"MemberUpdate"`, `"Update"`, text()))
	put("timestamp", w.pick(`"2026-01-02T03:04:05.678901Z"`, `"2026-01-02T03:04:05+02:00"`, text()))
	if w.IntN(4) == 0 {
		put("propertyChanges", w.pick(w.listed("property"), text()))
	}
	if w.IntN(4) == 0 {
		put("entityChanges", w.pick(w.listed("entityType", "entityId"), text()))
	}
	before, after := w.pair()
	if w.IntN(5) == 0 {
		x, y := w.shuffled()
		before, after = `{"memberIds":`+x+`}`, `{"memberIds":`+y+`}`
	}
	if w.IntN(4) == 0 {
		payload := w.pick(`{"before":`+before+`,"after":`+after+`}`, `{"after":`+after+`}`, before)
		if w.IntN(2) == 0 {
			payload = w.quoted(payload)
		}
		put("rawPayload", payload)
		before, after = w.pick("null", before), w.pick("null", after)
	}
	if w.IntN(8) > 0 {
		put("before", before)
	}
	if w.IntN(8) > 0 {
		put("after", after)
	}
	w.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + "}"
}

// quoted is text as a JSON string, invalid bytes and all.
func (w *writer) quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\u0009`).Replace(text) + `"`
}
