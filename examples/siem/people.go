package main

import (
	"cmp"
	"net/netip"
	"strings"

	"genesys-audit-connector/examples/consumer"
)

// actorID is the user or the OAuth client that acted, "" for the system.
func actorID(m *consumer.Message) string {
	return cmp.Or(consumer.Text(m.UserID), consumer.Text(m.ClientID))
}

// Kinds of actors.
const (
	actorUser   = "user"
	actorClient = "client"
	actorSystem = "system"
)

// actorType tells people from OAuth clients and the system. A client's id may stand
// in userId too.
func actorType(m *consumer.Message) string {
	user, client := consumer.Text(m.UserID), consumer.Text(m.ClientID)
	switch {
	case user == "" && consumer.Text(m.UserName) != "", user != "" && user != client:
		return actorUser
	case client != "":
		return actorClient
	}
	return actorSystem
}

// memberID is who came or went. Records of before the field have it in the context,
// where a role's memberships put userId.
func memberID(m *consumer.Message) string {
	if isRole(m) {
		return cmp.Or(consumer.Text(m.MemberID), m.Context["userId"])
	}
	return consumer.Text(m.MemberID)
}

func memberName(m *consumer.Message) string {
	return cmp.Or(consumer.Text(m.MemberName), m.Context["memberName"])
}

// member is a name of who came or went to read; "" for nobody.
func member(m *consumer.Message) string { return cmp.Or(memberName(m), memberID(m)) }

func isRole(m *consumer.Message) bool { return strings.EqualFold(m.EntityType, "role") }

// entityName is the name of what was changed; never a grant's three ids, which older
// records have there.
func entityName(m *consumer.Message) string {
	name := consumer.Text(m.EntityName)
	if isRole(m) && memberID(m) != "" && strings.HasPrefix(name, memberID(m)+"--") {
		name = ""
	}
	if isRole(m) {
		name = cmp.Or(name, m.Context["roleName"])
	}
	return name
}

// toSelf reports whether somebody gave something to themselves.
func toSelf(m *consumer.Message) bool {
	id := memberID(m)
	return id != "" && (id == consumer.Text(m.UserID) || id == consumer.Text(m.ClientID))
}

// account is whose account an event is about: the entity where that is a user's,
// else who acted. A login that failed has nobody who acted.
func account(m *consumer.Message) (id, name string) {
	switch strings.ToLower(m.EntityType) {
	case "user", "authuser", "usersamlauthentication":
		id, name = consumer.Text(m.EntityID), consumer.Text(m.EntityName)
	}
	if id == "" && name == "" || id == consumer.Text(m.UserID) && name == "" {
		id, name = consumer.Text(m.UserID), consumer.Text(m.UserName)
	}
	return id, name
}

// relation says whether who came or went is who acted. A text, for Kusto compares no
// others in any case.
func relation(m *consumer.Message) string {
	if toSelf(m) {
		return "self"
	}
	return "other"
}

// division is where a role was given, in words; "" where that is not known.
func division(m *consumer.Message) string {
	if id := consumer.Text(m.DivisionID); id == "*" {
		return "all divisions"
	}
	return cmp.Or(consumer.Text(m.DivisionName), consumer.Text(m.DivisionID))
}

// addresses are those of remoteIp that are addresses.
func addresses(m *consumer.Message) []netip.Addr {
	var list []netip.Addr
	for _, text := range m.RemoteIP {
		if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, a.WithZone("").Unmap())
		}
	}
	return list
}

// sentenceValue is how much of a value a sentence quotes, in bytes.
const sentenceValue = 200

// sentence tells the change to a person, in one line.
func sentence(m *consumer.Message) string {
	var s strings.Builder
	s.WriteString(cmp.Or(consumer.Text(m.UserName), consumer.Text(m.UserID), consumer.Text(m.ClientID), "The system"))
	s.WriteString(": " + cmp.Or(m.Action, "change") + " of " + cmp.Or(m.EntityType, "an object"))
	name := entityName(m)
	if name == "" && isRole(m) {
		name = m.Context["roleId"]
	}
	if name = cmp.Or(name, consumer.Text(m.EntityID)); name != "" {
		s.WriteString(" " + quote(name))
	}
	if who := member(m); who != "" {
		s.WriteString(", member " + quote(who))
	}
	if where := division(m); where != "" {
		s.WriteString(" in " + quote(where))
	}
	if m.Key != nil && (memberID(m) == "" || *m.Key != "members") {
		s.WriteString(", " + cut(*m.Key, sentenceValue))
		writeValues(&s, m)
	}
	return oneLine(s.String())
}

func writeValues(s *strings.Builder, m *consumer.Message) {
	switch m.Type {
	case "ADDED":
		s.WriteString(" = " + quote(consumer.Text(m.New)))
	case "REMOVED":
		s.WriteString(" (was " + quote(consumer.Text(m.Previous)) + ") removed")
	case "MODIFIED", "REORDERED":
		s.WriteString(" from " + quote(consumer.Text(m.Previous)) + " to " + quote(consumer.Text(m.New)))
	}
}

func quote(text string) string { return "\"" + cut(text, sentenceValue) + "\"" }

// cut shortens a text to at most n bytes, without breaking a character.
func cut(text string, n int) string {
	const mark = "…"
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len(mark)], "") + mark
}

// oneLine makes a space of whatever ends a line somewhere, moves a terminal's cursor
// or turns the direction of reading: text must not look like another line or field.
func oneLine(text string) string { return strings.Map(visible, text) }

func visible(r rune) rune {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f, // C0, delete, C1
		r == 0x2028, r == 0x2029, // separators of lines and paragraphs
		r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, // without width, direction
		r == 0xfeff:
		return ' '
	}
	return r
}
