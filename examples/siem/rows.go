package main

import (
	"encoding/json"
	"strings"

	"genesys-audit-connector/examples/consumer"
)

// column is one of the table's in the workspace, and the ECS field that it shows.
// sentinel/table.json and sentinel/dcr.json declare the same ones.
type column struct{ name, kind, field string }

var columns = []column{
	{"TimeGenerated", "datetime", "@timestamp"},
	// Azure puts the time of receipt into TimeGenerated where that is older than two days,
	// or more than a day ahead: what is backfilled has its own time here alone.
	// https://learn.microsoft.com/en-us/azure/azure-monitor/logs/log-standard-columns#timegenerated
	{"EventTime", "datetime", "@timestamp"},
	{"Message", "string", "message"},
	{"ChangeId", "string", "genesys.audit.change.id"},
	{"AuditId", "string", "event.id"},
	{"ChangeIndex", "int", "genesys.audit.change.index"},
	{"ChangeCount", "int", "genesys.audit.change.count"},
	{"Category", "string", "event.category"},
	{"EventType", "string", "event.type"},
	{"Action", "string", "event.action"},
	{"Result", "string", "event.outcome"},
	{"Severity", "string", "genesys.audit.severity"},
	{"Service", "string", "event.provider"},
	{"Level", "string", "genesys.audit.level"},
	{"ActorId", "string", "genesys.audit.actor.id"},
	{"ActorType", "string", "genesys.audit.actor.type"},
	{"UserId", "string", "user.id"},
	{"UserName", "string", "user.name"},
	{"ClientId", "string", "genesys.audit.client.id"},
	{"SourceIp", "string", "source.ip"},
	{"EntityType", "string", "genesys.audit.entity.type"},
	{"EntityId", "string", "genesys.audit.entity.id"},
	{"EntityName", "string", "genesys.audit.entity.name"},
	{"RoleName", "string", "genesys.audit.role.name"},
	{"MemberId", "string", "genesys.audit.member.id"},
	{"MemberType", "string", "genesys.audit.member.type"},
	{"MemberName", "string", "genesys.audit.member.name"},
	{"MemberRelation", "string", "genesys.audit.member.relation"},
	{"DivisionId", "string", "genesys.audit.division.id"},
	{"DivisionName", "string", "genesys.audit.division.name"},
	{"ChangeType", "string", "genesys.audit.change.type"},
	{"ConfigurationKey", "string", "genesys.audit.change.key"},
	{"PreviousValue", "string", "genesys.audit.change.previous"},
	{"NewValue", "string", "genesys.audit.change.new"},
	{"Techniques", "string", "threat.technique.id"},
	{"TransactionId", "string", "genesys.audit.transaction.id"},
	{"Organization", "string", "organization.name"},
	{"OrganizationId", "string", "organization.id"},
	{"Application", "string", "genesys.audit.application"},
	{"EventMessage", "string", "genesys.audit.message"},
	{"Context", "dynamic", "genesys.audit.context"},
	{"ResolvedNames", "dynamic", "genesys.audit.resolved_names"},
	{"MaskedFields", "dynamic", "genesys.audit.masked_fields"},
}

// rowLimits are the most bytes of a text that are kept: of values, of other texts. Azure
// cuts fields at 64 KB without a mark. The second ones make any row fit into a call.
var rowLimits = [...]struct{ value, text int }{{60_000, 8_000}, {15_000, 800}}

// encodeRow is a change as a row of the table, with all columns that have a value.
func encodeRow(m *consumer.Message) (row []byte, err error) {
	e := newECS(m)
	if sub, ok := e["threat.technique.subtechnique.id"]; ok {
		e["threat.technique.id"] = sub // the finer one
	}
	for i, limits := range rowLimits {
		values := map[string]any{}
		for _, c := range columns {
			limit := limits.text
			if c.name == "PreviousValue" || c.name == "NewValue" {
				limit = limits.value
			}
			switch value := e[c.field].(type) {
			case nil:
			case string:
				values[c.name] = cut(value, limit)
			case []string:
				if c.kind == "string" {
					values[c.name] = strings.Join(value, " ")
				} else {
					values[c.name] = value
				}
			case map[string]string:
				values[c.name] = cutContext(value, limit)
			default:
				values[c.name] = value
			}
		}
		if row, err = json.Marshal(values); err != nil || len(row)+2 <= sentinelBody || i == len(rowLimits)-1 {
			break
		}
	}
	return row, err
}

// cutContext keeps of a context what is not too long in all.
func cutContext(context map[string]string, limit int) any {
	short := map[string]string{}
	size := 0
	for key, value := range context {
		if size += len(key) + len(value); size > limit {
			return "too long: see the record in Kafka" // which keys come first is chance
		}
		short[key] = value
	}
	return short
}
