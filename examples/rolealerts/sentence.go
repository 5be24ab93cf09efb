package main

import (
	"cmp"

	"genesys-audit-connector/examples/consumer"
)

// longestName bounds a name or a value in a sentence, in bytes.
const longestName = 100

// sentence tells the event to a person. Everything that the event says of it
// stands in quotation marks.
func (s *subject) sentence() string {
	text := ""
	switch {
	case s.isRole && s.memberID != "":
		text = s.grantSentence()
	case s.isLogin && s.Action == "AuthenticationFailed":
		text = "A login of " + quoted(cmp.Or(s.loginName(), "an unknown user"), longestName) + " failed"
	default:
		text = s.actor() + " " + s.deed() + s.changed()
	}
	if s.address != "" && !s.isRole {
		text += ", from " + quoted(s.address, longestName)
	}
	if status := consumer.Text(s.Status); status != "" && status != "SUCCESS" && !s.isLogin {
		text += " (status " + word(status) + ")"
	}
	return text
}

// actor names who did it. The system did what an event says nobody did.
func (s *subject) actor() string {
	name := cmp.Or(s.actorName, s.actorID)
	switch s.actorType {
	case actorSystem:
		return "The system"
	case actorClient:
		return "The OAuth client " + quoted(name, longestName)
	case actorUser:
		return quoted(name, longestName)
	}
	return "Somebody whom the event does not name"
}

// grantSentence says who gave which role to whom, and where it counts.
func (s *subject) grantSentence() string {
	role := "the role " + quoted(cmp.Or(s.roleName, s.roleID), longestName)
	member := quoted(cmp.Or(s.memberName, s.memberID), longestName)
	switch consumer.Text(s.MemberType) {
	case "group":
		member = "the group " + member
	case "client":
		member = "the OAuth client " + member
	}
	where := ""
	switch id, name := consumer.Text(s.DivisionID), consumer.Text(s.DivisionName); {
	case id == "*":
		where = " in all divisions"
	case id != "" || name != "":
		where = " in the division " + quoted(cmp.Or(name, id), longestName)
	}
	switch s.Action {
	case "MemberAdd":
		return s.actor() + " gave " + role + " to " + member + where
	case "MemberRemove":
		return s.actor() + " took " + role + " from " + member + where
	}
	return s.actor() + " did " + word(s.Action) + " on " + role + " of " + member + where
}

// deeds are the actions that have a verb.
var deeds = map[string]string{"Create": "created", "Update": "changed", "Delete": "deleted"}

func (s *subject) deed() string {
	what := "the " + word(cmp.Or(s.EntityType, "object"))
	if name := cmp.Or(s.roleName, consumer.Text(s.EntityName), consumer.Text(s.EntityID)); name != "" {
		what += " " + quoted(name, longestName)
	}
	if verb := deeds[s.Action]; verb != "" {
		return verb + " " + what
	}
	return "did " + word(s.Action) + " on " + what
}

// changed is what was changed of it, where the record says so.
func (s *subject) changed() string {
	if s.Key == nil {
		return ""
	}
	key, from, to := quoted(*s.Key, longestName), s.shown(s.Previous), s.shown(s.New)
	switch {
	case s.Previous == nil && s.New == nil:
		return ", " + key
	case s.Previous == nil:
		return ", " + key + ": " + quoted(to, longestName)
	}
	return ", " + key + ": " + quoted(from, longestName) + " → " + quoted(to, longestName)
}

// loginName is whose login it was: a failed one is nobody's yet, and has him as its entity.
func (s *subject) loginName() string {
	return cmp.Or(consumer.Text(s.EntityName), s.actorName, consumer.Text(s.EntityID), s.actorID)
}
