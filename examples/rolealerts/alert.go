package main

import (
	"regexp"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// Alert is what a rule has found. Summary is one line of plain text; the other
// fields have what the event says.
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
	ActorType    string    `json:"actorType,omitempty"`
	ActorID      string    `json:"actorId,omitempty"`
	ActorName    string    `json:"actorName,omitempty"`
	Address      string    `json:"address,omitempty"`
	Action       string    `json:"action"`
	EntityType   string    `json:"entityType"`
	EntityID     string    `json:"entityId,omitempty"`
	EntityName   string    `json:"entityName,omitempty"`
	RoleID       string    `json:"roleId,omitempty"`
	RoleName     string    `json:"roleName,omitempty"`
	MemberID     string    `json:"memberId,omitempty"`
	MemberType   string    `json:"memberType,omitempty"`
	MemberName   string    `json:"memberName,omitempty"`
	DivisionID   string    `json:"divisionId,omitempty"`
	DivisionName string    `json:"divisionName,omitempty"`
	// ResolvedNames are the fields of the change record whose names were looked up:
	// the event has only ids.
	ResolvedNames []string `json:"resolvedNames,omitempty"`
	ChangedKey    string   `json:"configurationKey,omitempty"`
	Previous      string   `json:"previousValue,omitempty"`
	New           string   `json:"newValue,omitempty"`
	Status        string   `json:"status,omitempty"`

	markSent func() // remembers that it was sent
}

const (
	// longest bounds a value in an alert, in bytes: PagerDuty takes 512 KiB, Slack 40,000 characters.
	longest = 1000
	// longestSummary leaves room for the rest of a message in Discord's 2,000 characters,
	// and is less than PagerDuty's 1,024.
	longestSummary = 1000
)

func newAlert(key string, rule *Rule, s *subject) *Alert {
	a := &Alert{
		Key: key, Rule: rule.Name, Severity: rule.Severity,
		Time: s.Time, Organisation: s.Org, AuditID: s.AuditID,
		ActorType: s.actorType, ActorID: s.actorID, ActorName: cut(s.actorName, longest), Address: s.address, Action: s.Action,
		EntityType: s.EntityType, EntityID: consumer.Text(s.EntityID), EntityName: cut(consumer.Text(s.EntityName), longest),
		RoleID: s.roleID, RoleName: cut(s.roleName, longest),
		MemberID: s.memberID, MemberType: consumer.Text(s.MemberType), MemberName: cut(s.memberName, longest),
		DivisionID: consumer.Text(s.DivisionID), DivisionName: cut(consumer.Text(s.DivisionName), longest), ResolvedNames: s.ResolvedNames,
		ChangedKey: cut(consumer.Text(s.Key), longest), Previous: cut(s.shown(s.Previous), longest), New: cut(s.shown(s.New), longest),
		Status: consumer.Text(s.Status),
	}
	a.summarise(s.sentence())
	return a
}

func (a *Alert) summarise(text string) {
	a.Summary = cut(plain(a.Rule+": "+text), longestSummary)
}

// secretKeys are configuration keys whose values belong into no chat.
var secretKeys = regexp.MustCompile(`(?i)secret|password|passphrase|credential|token|private.?key`)

// notShown stands for a value that is no message's business.
const notShown = "(not shown)"

// shown is a value as an alert has it.
func (s *subject) shown(value *string) string {
	if value != nil && secretKeys.MatchString(consumer.Text(s.Key)) {
		return notShown
	}
	return consumer.Text(value)
}
