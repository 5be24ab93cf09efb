package main

import (
	"cmp"
	"slices"
	"strings"

	"genesys-audit-connector/examples/consumer"
)

// ecsVersion is the Elastic Common Schema's, as in the example for Elasticsearch.
const ecsVersion = "8.11.0"

// ecs is a change in the fields of the Elastic Common Schema, by dotted names; what
// has no place there is under genesys.audit. The Sigma rules use these names.
//
// The actions, entity types and role names that rules compare are in lower case, for
// the API's dialects spell them differently and Lucene compares bytes.
type ecs map[string]any

func newECS(m *consumer.Message) ecs {
	v := classes().judge(m)
	e := ecs{
		"@timestamp": m.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"), "ecs.version": ecsVersion, "message": sentence(m),
		"event.kind": "event", "event.module": "genesys_cloud", "event.dataset": "genesys_cloud.audit",
		"event.id": m.AuditID, "event.sequence": m.Index, "event.category": ecsCategory(&v), "event.type": ecsType(&v),
		"event.outcome": ecsOutcome(m, &v), "event.severity": v.severity,
		"genesys.audit.change.id": m.ID, "genesys.audit.change.index": m.Index, "genesys.audit.change.count": m.Count,
		"genesys.audit.change.type": strings.ToLower(m.Type), "genesys.audit.actor.type": actorType(m),
		"genesys.audit.severity": strings.ToLower(severities[v.severity]),
	}
	e.text("event.action", strings.ToLower(m.Action))
	e.text("event.provider", consumer.Text(m.ServiceName))
	e.text("organization.id", consumer.Text(m.OrgID))
	e.text("organization.name", m.Org)
	e.people(m, &v)
	e.subject(m)
	e.threat(v.techniques)
	for name, text := range map[string]*string{"change.key": m.Key, "change.previous": m.Previous, "change.new": m.New} {
		if text != nil {
			e["genesys.audit."+name] = *text // a value may be the empty text
		}
	}
	for name, list := range map[string][]string{"resolved_names": m.ResolvedNames, "masked_fields": m.MaskedFields} {
		if len(list) > 0 {
			e["genesys.audit."+name] = list
		}
	}
	if len(m.Context) > 0 {
		e["genesys.audit.context"] = m.Context
	}
	return e
}

// text sets a field, where there is a text.
func (e ecs) text(name, text string) {
	if text != "" {
		e[name] = text
	}
}

// people sets who did it and from where. A login is the account's, also where it
// failed and nobody acted.
func (e ecs) people(m *consumer.Message, v *verdict) {
	id, name := consumer.Text(m.UserID), consumer.Text(m.UserName)
	if v.class == &authentication {
		id, name = account(m)
	} else if v.class == &accountChange {
		e.targeted(account(m))
	}
	e.text("user.id", id)
	e.text("user.name", name)
	e.text("genesys.audit.actor.id", actorID(m))
	e.text("genesys.audit.client.id", consumer.Text(m.ClientID))
	if memberID(m) != "" && consumer.Text(m.MemberType) != "group" {
		e.targeted(memberID(m), memberName(m))
	}
	var related []string
	for _, name := range []string{"user.id", "user.name", "user.target.id", "user.target.name"} {
		if text, ok := e[name].(string); ok && !slices.Contains(related, text) {
			related = append(related, text)
		}
	}
	if len(related) > 0 {
		e["related.user"] = related
	}
	var from []string
	for _, a := range addresses(m) {
		from = append(from, a.String())
	}
	if len(from) > 0 {
		e["source.ip"], e["related.ip"] = from[0], from
	}
}

func (e ecs) targeted(id, name string) {
	e.text("user.target.id", id)
	e.text("user.target.name", name)
}

// subject sets what was changed, and who came, went, got or lost it.
func (e ecs) subject(m *consumer.Message) {
	own := func(name, text string) { e.text("genesys.audit."+name, text) }
	own("entity.type", strings.ToLower(m.EntityType))
	own("entity.id", consumer.Text(m.EntityID))
	own("entity.name", entityName(m))
	own("action", m.Action)
	own("level", consumer.Text(m.Level))
	own("application", consumer.Text(m.Application))
	own("message", consumer.Text(m.Message))
	own("transaction.id", consumer.Text(m.TransactionID))
	own("member.id", memberID(m))
	own("member.name", memberName(m))
	own("member.type", consumer.Text(m.MemberType))
	own("division.id", consumer.Text(m.DivisionID))
	own("division.name", consumer.Text(m.DivisionName))
	if memberID(m) != "" {
		e["genesys.audit.member.relation"] = relation(m)
	}
	switch {
	case isRole(m):
		own("role.id", cmp.Or(consumer.Text(m.EntityID), m.Context["roleId"]))
		own("role.name", strings.ToLower(entityName(m)))
		if consumer.Text(m.MemberType) == "group" {
			e.text("group.id", memberID(m))
			e.text("group.name", memberName(m))
		}
	case patterns{"DirectoryGroup", "Group", "SkillGroup", "Team"}.match(m.EntityType):
		e.text("group.id", consumer.Text(m.EntityID))
		e.text("group.name", entityName(m))
	}
}

func (e ecs) threat(techniques []string) {
	if len(techniques) == 0 {
		return
	}
	names := classes().Techniques
	fields := map[string][]string{}
	for _, id := range techniques {
		parent, _, sub := strings.Cut(id, ".")
		fields["id"], fields["name"] = append(fields["id"], parent), append(fields["name"], names[parent])
		if sub {
			fields["subtechnique.id"], fields["subtechnique.name"] = append(fields["subtechnique.id"], id), append(fields["subtechnique.name"], names[id])
		}
	}
	e["threat.framework"] = "MITRE ATT&CK"
	for name, list := range fields {
		e["threat.technique."+name] = list
	}
}

// ecsCategory is ECS' event.category. What is not about accounts, rights and groups is
// configuration.
func ecsCategory(v *verdict) []string {
	switch {
	case v.class == &authentication && v.activity == 2:
		return []string{"authentication", "session"}
	case v.class == &authentication:
		return []string{"authentication"}
	case v.class == &entityChange:
		return []string{"configuration"}
	}
	return []string{"iam"}
}

func ecsType(v *verdict) []string {
	switch v.class {
	case &userAccess:
		return []string{"user", "change"}
	case &accountChange:
		return []string{"user", v.eventType}
	case &groupChange:
		return []string{"group", v.eventType}
	}
	return []string{v.eventType}
}

func ecsOutcome(m *consumer.Message, v *verdict) string {
	switch id, _ := status(m, v); id {
	case 1:
		return "success"
	case 2:
		return "failure"
	}
	return "unknown"
}

// nested is the fields as objects within objects, as Elasticsearch shows them.
func (e ecs) nested() map[string]any {
	nested := map[string]any{}
	for name, value := range e {
		parts := strings.Split(name, ".")
		at := nested
		for _, part := range parts[:len(parts)-1] {
			next, ok := at[part].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[part] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = value
	}
	return nested
}
