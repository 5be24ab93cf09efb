package codec

import (
	"regexp"
	"slices"
	"strings"

	"genesys-audit-connector/internal/audit"
)

// refIDs are the members that group-membership speaks of; false where a value is no
// list of ids.
func refIDs(values refValue) ([]string, bool) {
	list := values.list
	if values.isText() {
		list = []refValue{values}
	}
	var ids []string
	for _, v := range list {
		text := v.text
		inner, ok := strings.CutPrefix(text, "[")
		if ok {
			if text, ok = strings.CutSuffix(inner, "]"); !ok {
				return nil, false
			}
		}
		if !v.isText() {
			return nil, false
		}
		if text == "" {
			continue
		}
		for id := range strings.SplitSeq(text, ",") {
			if id = strings.Trim(id, " "); !regexp.MustCompile(`^[-_0-9A-Za-z]+$`).MatchString(id) {
				return nil, false
			}
			ids = append(ids, id)
		}
	}
	return ids, true
}

// group adds the changes of a property group-membership whose siblings are not known.
func (e *refEvent) group(p refValue) bool {
	if p.get("property").text != "group-membership" || !p.get("property").isText() {
		return false
	}
	before, ok := refIDs(p.get("oldValues"))
	after, ok2 := refIDs(p.get("newValues"))
	if !ok || !ok2 {
		return false
	}
	came := "ADDED"
	if len(before) == 0 {
		came = "MODIFIED"
		switch e.action {
		case "MemberAdd":
			came = "ADDED"
		case "MemberRemove":
			came = "REMOVED"
		}
	}
	key, mark := "group-membership", len(e.changes)
	member := func(id, kind string) {
		c := audit.Change{Key: &key, Type: kind, MemberID: &id, PreviousType: "ABSENT", NewType: "ABSENT"}
		if kind == "REMOVED" {
			c.Previous, c.PreviousType = &id, "STRING"
		} else {
			c.New, c.NewType = &id, "STRING"
		}
		e.changes = append(e.changes, c)
	}
	for _, id := range before {
		if !slices.Contains(after, id) {
			member(id, "REMOVED")
		}
	}
	for _, id := range after {
		if !slices.Contains(before, id) {
			member(id, came)
		}
	}
	return len(e.changes) > mark
}

// refQueueMember sets who it is that a property of a queue speaks of.
func refQueueMember(c *audit.Change) {
	key, user := refOr(c.Key), "user"
	if m := regexp.MustCompile(`(?s)^QueueMember/[^:]*:([^:]+)`).FindStringSubmatch(key); m != nil {
		c.MemberID, c.MemberType = &m[1], &user
	}
	if !strings.HasPrefix(key, "queueId:") || !strings.HasSuffix(key, ":members") {
		return
	}
	value, typ := c.New, c.NewType
	if c.NewType == "ABSENT" {
		value, typ = c.Previous, c.PreviousType
	} else if c.PreviousType != "ABSENT" && c.Type != "NONE" {
		return
	}
	if typ != "STRING" {
		return
	}
	if id, ok := strings.CutPrefix(*value, "queueMember:"); ok && id != "" {
		c.MemberID, c.MemberType = &id, &user
	}
}

// granted is the change that a role grant is.
func (e *refEvent) granted() {
	absent, id := refValue{}, refValue{kind: "STRING", text: e.subject}
	key := "members"
	switch e.action {
	case "MemberAdd":
		e.add(&key, absent, id, true)
	case "MemberRemove":
		e.add(&key, id, absent, true)
	case "MemberUpdate":
		e.add(&key, id, id, true)
		e.changes[0].Type = "MODIFIED"
	}
}
