package codec

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"genesys-audit-connector/internal/audit"
)

// The reference is the contract written down a second time, as slowly and
// plainly as can be, on encoding/json. It shares no code with the Encoder.

// refValue is a JSON value. It remembers how it was spelled.
type refValue struct {
	kind    string // "" for none, else the ValueType
	text    string // of a string: its characters; else its spelling without white space
	members []refMember
	list    []refValue
}

type refMember struct {
	key   string
	value refValue
}

func refParse(raw []byte) refValue {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		panic(err)
	}
	v := refValue{text: refValid(compact.String())}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		panic(err)
	}
	switch t := token.(type) {
	case nil:
		v.kind = "NULL"
	case bool:
		v.kind = "BOOLEAN"
	case json.Number:
		v.kind = "NUMBER"
	case string:
		v.kind, v.text = "STRING", t
	case json.Delim:
		for dec.More() {
			var m refMember
			if t == '{' {
				key, err := dec.Token()
				if err != nil {
					panic(err)
				}
				m.key = key.(string)
			}
			var rest json.RawMessage
			if err := dec.Decode(&rest); err != nil {
				panic(err)
			}
			m.value = refParse(rest)
			if t == '{' {
				v.members = append(v.members, m)
			} else {
				v.list = append(v.list, m.value)
			}
		}
		v.kind = map[json.Delim]string{'{': "OBJECT", '[': "ARRAY"}[t]
	}
	return v
}

// refValid puts U+FFFD for each byte that is not UTF-8, as encoding/json does in strings.
func refValid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// keys are the names of an object's members, each once, in order of first appearance.
func (v refValue) keys() []string {
	var keys []string
	for _, m := range v.members {
		if !slices.Contains(keys, m.key) {
			keys = append(keys, m.key)
		}
	}
	return keys
}

func (v refValue) get(key string) refValue {
	found := refValue{}
	for _, m := range v.members {
		if m.key == key {
			found = m.value
		}
	}
	return found
}

func (v refValue) isText() bool {
	return v.kind == "STRING" || v.kind == "NUMBER" || v.kind == "BOOLEAN"
}

// asText is the value where a string belongs: nil where there is none.
func (v refValue) asText() *string {
	if !v.isText() {
		return nil
	}
	return &v.text
}

// asName is the value where an id or a name belongs.
func (v refValue) asName() *string {
	if t := v.asText(); t != nil && *t != "" {
		return t
	}
	return nil
}

// asChange is previousValue or newValue and its type.
func (v refValue) asChange() (*string, string) {
	switch v.kind {
	case "":
		return nil, "ABSENT"
	case "NULL":
		return nil, "NULL"
	}
	return &v.text, v.kind
}

func refEqual(a, b refValue) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case "OBJECT":
		if len(a.keys()) != len(b.keys()) {
			return false
		}
		for _, k := range a.keys() {
			if !refEqual(a.get(k), b.get(k)) {
				return false
			}
		}
		return true
	case "ARRAY":
		return slices.EqualFunc(a.list, b.list, refEqual)
	}
	return a.text == b.text
}

// refReordered reports whether b's members are a's in any order.
func refReordered(a, b refValue) bool {
	rest := slices.Clone(b.list)
	for _, x := range a.list {
		i := slices.IndexFunc(rest, func(y refValue) bool { return refEqual(x, y) })
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return len(rest) == 0
}

type refEvent struct {
	sets    []string
	changes []audit.Change
	action  string
	subject string // of a role grant
}

func (e *refEvent) add(key *string, before, after refValue, keepEqual bool) {
	c := audit.Change{Key: key}
	c.Previous, c.PreviousType = before.asChange()
	c.New, c.NewType = after.asChange()
	isSet := key != nil && slices.Contains(e.sets, *key)
	switch {
	case refEqual(before, after):
		c.Type = "NONE"
	case before.kind == "":
		c.Type = "ADDED"
	case after.kind == "":
		c.Type = "REMOVED"
	case before.kind == "ARRAY" && after.kind == "ARRAY" && refReordered(before, after):
		c.Type = "REORDERED"
		if isSet {
			c.Type = "NONE"
		}
	default:
		c.Type = "MODIFIED"
	}
	if c.Type != "NONE" || keepEqual {
		e.changes = append(e.changes, c)
	}
}

func (e *refEvent) diff(path string, before, after refValue) {
	if before.kind != "OBJECT" || after.kind != "OBJECT" {
		var key *string
		if path != "" {
			key = &path
		}
		e.add(key, before, after, false)
		return
	}
	keys := before.keys()
	for _, k := range after.keys() {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		e.diff(refPath(path, k), before.get(k), after.get(k))
	}
}

func refPath(path, key string) string {
	if key == "" || strings.ContainsAny(key, `.[]"`) {
		var quoted bytes.Buffer
		enc := json.NewEncoder(&quoted)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(key); err != nil {
			panic(err)
		}
		// encoding/json escapes two characters more than JSON asks for.
		text := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSpace(quoted.String()))
		return path + "[" + text + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// refSide is the value of oldValues or newValues.
func refSide(v refValue) refValue {
	one := func(v refValue) refValue { return refValue{kind: "STRING", text: v.text} }
	switch {
	case v.isText():
		return one(v)
	case len(v.list) == 1 && v.list[0].isText():
		return one(v.list[0])
	case len(v.list) == 1:
		return refValue{kind: "NULL"}
	case len(v.list) > 1:
		return v
	}
	return refValue{}
}

func (e *refEvent) snapshots(before, after refValue) {
	empty := refValue{kind: "OBJECT"}
	if before.kind == "NULL" {
		before = refValue{}
	}
	if after.kind == "NULL" {
		after = refValue{}
	}
	switch {
	case before.kind == "" && after.kind == "OBJECT":
		before = empty
	case after.kind == "" && before.kind == "OBJECT":
		after = empty
	}
	e.diff("", before, after)
}

func hasSnapshot(v refValue) bool {
	is := func(v refValue) bool { return v.kind != "" && v.kind != "NULL" }
	return is(v.get("before")) || is(v.get("after"))
}

func (e *refEvent) collect(v refValue) {
	properties, entities := v.get("propertyChanges").list, v.get("entityChanges").list
	if len(properties)+len(entities) > 0 {
		for _, p := range properties {
			if e.group(p) {
				continue
			}
			mark := len(e.changes)
			e.add(p.get("property").asText(), refSide(p.get("oldValues")), refSide(p.get("newValues")), true)
			refQueueMember(&e.changes[mark])
			if c := &e.changes[mark]; c.Type == "ADDED" && refOr(c.Key) == "group-membership" && e.action != "MemberAdd" {
				c.Type = "MODIFIED"
			}
		}
		for _, p := range entities {
			var key *string
			if p.get("entityType").isText() || p.get("entityId").isText() {
				k := refOr(p.get("entityType").asText()) + "/" + refOr(p.get("entityId").asText())
				key = &k
			}
			e.add(key, refSide(p.get("oldValues")), refSide(p.get("newValues")), true)
		}
		return
	}
	if !hasSnapshot(v) {
		v = v.get("rawPayload")
		if v.kind == "STRING" {
			if !json.Valid([]byte(v.text)) {
				return
			}
			v = refParse([]byte(v.text))
		}
	}
	if hasSnapshot(v) {
		e.snapshots(v.get("before"), v.get("after"))
	}
}

func refOr(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// refNormalise gives the changes of an event whose id and time are known.
func refNormalise(raw []byte, id string, at time.Time, mappings *Mappings) []audit.Change {
	v := refParse(raw)
	field := func(flat, object, name string) *string {
		if t := v.get(flat).asName(); t != nil {
			return t
		}
		return v.get(object).get(name).asName()
	}
	or := func(names ...*string) *string {
		for _, n := range names {
			if n != nil {
				return n
			}
		}
		return nil
	}
	common := audit.Change{
		AuditID: id, Time: at,
		UserID:   or(field("userId", "user", "id"), v.get("username").get("id").asName()),
		UserName: or(field("userName", "user", "name"), field("username", "username", "name"), v.get("userDisplay").asName()),
		Action:   refOr(v.get("action").asText()), EntityType: refOr(v.get("entityType").asText()),
		EntityID: field("entityId", "entity", "id"), EntityName: field("entityName", "entity", "name"),
		OrgID: v.get("userHomeOrgId").asName(), ServiceName: v.get("serviceName").asName(),
		ClientID: or(field("clientId", "client", "id"), v.get("clientId").get("id").asName()),
		Status:   v.get("status").asName(), Level: v.get("level").asName(), Application: v.get("application").asName(),
		Context: map[string]string{},
		Message: field("message", "message", "message"), TransactionID: v.get("initiatingAction").get("transactionId").asName(),
	}
	addresses := v.get("remoteIp").list
	if v.get("remoteIp").isText() {
		addresses = []refValue{v.get("remoteIp")}
	}
	for _, a := range addresses {
		if a.isText() {
			common.RemoteIP = append(common.RemoteIP, a.text)
		}
	}
	for _, k := range v.get("context").keys() {
		if t := v.get("context").get(k).asText(); t != nil {
			common.Context[k] = *t
		}
	}
	e := refEvent{}
	for _, m := range mappings.byType {
		names := append([]string{m.EntityType}, m.Aliases...)
		if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, common.EntityType) }) {
			e.sets = m.Sets
		}
	}
	e.action = common.Action
	if ids := strings.Split(refOr(common.EntityName), "--"); strings.EqualFold(common.EntityType, "Role") && len(ids) == 3 && !slices.Contains(ids, "") {
		member := slices.Contains([]string{"MemberAdd", "MemberRemove", "MemberUpdate"}, common.Action)
		if member || ids[1] == refOr(common.EntityID) {
			e.subject = ids[0]
			common.EntityName, common.MemberID, common.DivisionID = nil, &ids[0], &ids[2]
			if name := common.Context["roleName"]; name != "" {
				common.EntityName = &name
			}
			if name := common.Context["memberName"]; name != "" {
				common.MemberName = &name
			}
		}
		for i, name := range []string{"userId", "roleId", "orgId"} {
			if _, own := common.Context[name]; member && !own {
				common.Context[name] = ids[i]
			}
		}
	}
	e.collect(v)
	if len(e.changes) == 0 && e.subject != "" {
		e.granted()
	}
	if len(e.changes) == 0 {
		e.changes = []audit.Change{{Type: "NONE", PreviousType: "ABSENT", NewType: "ABSENT"}}
	}
	for i, c := range e.changes {
		whole := common
		whole.Index, whole.Count = i, len(e.changes)
		whole.Key, whole.Type = c.Key, c.Type
		if e.subject == "" {
			whole.MemberID, whole.MemberType = c.MemberID, c.MemberType
		} else {
			whole.MemberType = c.MemberType
		}
		whole.Previous, whole.New, whole.PreviousType, whole.NewType = c.Previous, c.New, c.PreviousType, c.NewType
		e.changes[i] = whole
	}
	return e.changes
}
