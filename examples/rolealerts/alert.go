package main

import (
	"cmp"
	"strings"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// Alert is what a rule has found.
type Alert struct {
	// Key is the same however often the alert is sent: who receives it twice drops
	// the second one.
	Key          string    `json:"key"`
	Rule         string    `json:"rule"`
	Severity     string    `json:"severity"`
	Summary      string    `json:"summary"`
	Time         time.Time `json:"time"` // of the event
	Organisation string    `json:"organisation"`
	AuditID      string    `json:"auditId"`
	Events       []string  `json:"events,omitempty"` // audit ids, of a burst
	ActorID      string    `json:"actorId,omitempty"`
	ActorName    string    `json:"actorName,omitempty"`
	Action       string    `json:"action"`
	EntityType   string    `json:"entityType"`
	EntityID     string    `json:"entityId,omitempty"`
	EntityName   string    `json:"entityName,omitempty"`
	RoleID       string    `json:"roleId,omitempty"`
	RoleName     string    `json:"roleName,omitempty"`
	MemberID     string    `json:"memberId,omitempty"`
	MemberName   string    `json:"memberName,omitempty"`
	ChangedKey   string    `json:"configurationKey,omitempty"`
	Previous     string    `json:"previousValue,omitempty"`
	New          string    `json:"newValue,omitempty"`
	Status       string    `json:"status,omitempty"`

	markSent func() // remembers that it was sent
}

// longest bounds a value in an alert, in bytes: PagerDuty takes 512 KiB, Slack 40,000 characters.
const longest = 1000

func newAlert(key string, rule *Rule, s *subject) *Alert {
	return &Alert{
		Key: key, Rule: rule.Name, Severity: rule.Severity, Summary: rule.Name + ": " + s.sentence(),
		Time: s.Time, Organisation: s.Org, AuditID: s.AuditID,
		ActorID: s.actorID, ActorName: s.actorName, Action: s.Action,
		EntityType: s.EntityType, EntityID: consumer.Text(s.EntityID), EntityName: cut(consumer.Text(s.EntityName), longest),
		RoleID: s.roleID, RoleName: s.roleName, MemberID: s.memberID, MemberName: s.memberName,
		ChangedKey: cut(consumer.Text(s.Key), longest), Previous: cut(consumer.Text(s.Previous), longest), New: cut(consumer.Text(s.New), longest),
		Status: consumer.Text(s.Status),
	}
}

// sentence tells the event to a person.
func (s *subject) sentence() string {
	var b strings.Builder
	b.WriteString(cut(cmp.Or(s.actorName, s.actorID, "somebody"), 100))
	b.WriteString(": " + s.Action + " of " + cmp.Or(s.EntityType, "an object"))
	if name := cmp.Or(s.roleName, s.roleID, consumer.Text(s.EntityName), consumer.Text(s.EntityID)); name != "" {
		b.WriteString(" \"" + cut(name, 100) + "\"")
	}
	if member := cmp.Or(s.memberName, s.memberID); member != "" {
		b.WriteString(", member " + cut(member, 100))
	} else if s.Key != nil {
		b.WriteString(", " + cut(*s.Key, 100) + ": \"" + cut(consumer.Text(s.Previous), 100) + "\" → \"" + cut(consumer.Text(s.New), 100) + "\"")
	}
	if status := consumer.Text(s.Status); status != "" && status != "SUCCESS" {
		b.WriteString(" (" + status + ")")
	}
	return b.String()
}

// cut shortens a text to at most n bytes, without breaking a character.
func cut(text string, n int) string {
	const mark = "…"
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len(mark)], "") + mark
}
