package main

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"genesys-audit-connector/examples/consumer"
)

// Who acts. The empty type is somebody whom the event does not name, though it says
// that it was a user: whoever fails to log in.
const (
	actorUser   = "user"
	actorClient = "client"
	actorSystem = "system"
)

// subject is a change with who did it, from where, and to whom, where it is about a role.
type subject struct {
	*consumer.Message
	actorType, actorID, actorName string
	address                       string // "" where the event has none that is one
	roleID, roleName              string
	memberID, memberName          string
	isRole, isLogin               bool
}

func (r *Rules) subject(m *consumer.Message) *subject {
	s := &subject{Message: m}
	s.setActor(r)
	if len(m.RemoteIP) > 0 {
		if ip, err := netip.ParseAddr(m.RemoteIP[0]); err == nil {
			s.address = ip.Unmap().WithZone("").String()
		}
	}
	s.isRole = strings.EqualFold(m.EntityType, "Role")
	s.isLogin = strings.EqualFold(m.EntityType, "AuthUser") || strings.EqualFold(m.EntityType, "UserSamlAuthentication")
	if !s.isRole {
		return s
	}
	// Records of older schemas have the ids of a grant in their context alone.
	s.memberID = cmp.Or(consumer.Text(m.MemberID), m.Context["userId"])
	s.memberName = cmp.Or(consumer.Text(m.MemberName), m.Context["memberName"])
	s.roleID = cmp.Or(m.Context["roleId"], consumer.Text(m.EntityID))
	s.roleName = cmp.Or(m.Context["roleName"], r.Roles[s.roleID])
	if name := consumer.Text(m.EntityName); s.roleName == "" && !strings.Contains(name, "--"+s.roleID+"--") {
		s.roleName = name
	}
	return s
}

// setActor tells people, OAuth clients and the system apart. An OAuth client stands
// in client.id without a user, in both, or in user.id alone, where only the rule file
// knows that it is one.
func (s *subject) setActor(r *Rules) {
	user, client := consumer.Text(s.UserID), consumer.Text(s.ClientID)
	name, known := r.Clients[cmp.Or(user, client)]
	s.actorID, s.actorName = cmp.Or(user, client), cmp.Or(consumer.Text(s.UserName), name)
	switch level := consumer.Text(s.Level); {
	case s.actorID != "" && (known || user == "" || user == client):
		s.actorType = actorClient
	case user != "":
		s.actorType = actorUser
	case level == "" || !strings.EqualFold(level, "USER"):
		s.actorType = actorSystem
	}
}

// unnamed reports whether nothing tells which role it is, or who got or lost it: rules
// that go by names cannot see it.
func (s *subject) unnamed() bool {
	return s.roleID != "" && s.roleName == "" || s.memberID != "" && s.memberName == "" && s.MemberType == nil
}

// countedBy is what events are counted by.
func (s *subject) countedBy(by string) string {
	switch by {
	case "actor":
		return s.actorID
	case "member":
		return s.memberID
	case "role":
		return s.roleID
	case "address":
		return s.address
	case "user":
		if s.isLogin {
			return cmp.Or(consumer.Text(s.EntityID), s.actorID, consumer.Text(s.EntityName))
		}
		return s.actorID
	}
	return ""
}

// mustBeKnown are the ways to count in which events that do not say it are not
// counted together. What no actor is named for is the system's, and counts.
var mustBeKnown = map[string]bool{"member": true, "role": true, "address": true, "user": true}

// added returns what a change added to a value: the elements of a list that it did
// not have before, or the whole of another value.
func (s *subject) added() []string {
	had := elements(consumer.Text(s.Previous))
	return slices.DeleteFunc(elements(consumer.Text(s.New)), func(e string) bool { return slices.Contains(had, e) })
}

// elements are those of a JSON list; another text is one element.
func elements(text string) []string {
	var list []json.RawMessage
	if !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &list) != nil {
		return []string{text}
	}
	texts := make([]string, len(list))
	for i, e := range list {
		if json.Unmarshal(e, &texts[i]) != nil {
			texts[i] = string(e)
		}
	}
	return texts
}
