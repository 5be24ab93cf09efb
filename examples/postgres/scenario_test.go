//go:build postgres && linux

package postgres

import (
	"fmt"
	"strings"
	"time"
)

// event is one as the API's query shows it: id, time, and what is particular.
func event(id string, at time.Time, rest ...string) string {
	return fmt.Sprintf(`{"id":%q,"userHomeOrgId":"org","eventDate":%q,"application":"","initiatingAction":{},"entityChanges":[],%s}`,
		id, at.UTC().Format("2006-01-02T15:04:05.000Z"), strings.Join(rest, ","))
}

// by is the actor: a user, or the system where there is none.
func by(user string) string {
	if user == "" {
		return `"user":{},"client":{"id":""},"level":"SYSTEM","remoteIp":[]`
	}
	return fmt.Sprintf(`"user":{"id":%q,"name":%q},"client":{"id":""},"level":"USER","remoteIp":["203.0.113.7","2001:db8::7"]`, user, strings.ToUpper(user))
}

// grant is a role event as live organisations show it: three ids, and no name of anybody.
func grant(action, subject, role, division, status string) string {
	return fmt.Sprintf(`"serviceName":"PeoplePermissions","action":%q,"entityType":"Role","entity":{"id":%q,"name":"%s--%s--%s"},"status":%q,"context":{},"propertyChanges":[]`,
		action, role, subject, role, division, status)
}

// of is an event of an entity without changes.
func of(service, entityType, id, name, action, status string) string {
	return fmt.Sprintf(`"serviceName":%q,"entityType":%q,"entity":{"id":%q,"name":%q},"action":%q,"status":%q,"context":{}`, service, entityType, id, name, action, status)
}

// property is the one change of an event.
func property(key, from, to string) string {
	return fmt.Sprintf(`"propertyChanges":[{"property":%q,"oldValues":[%s],"newValues":[%s]}]`, key, from, to)
}

// reportEvents are what the reports are asked about.
func reportEvents(now time.Time) []string {
	events := grantEvents(now)
	events = append(events, workingHoursEvents()...)
	return append(events, queueEvents(now)...)
}

// grantEvents: the names say what becomes of each grant. Ages are in days.
func grantEvents(now time.Time) []string {
	var events []string
	add := func(age int, rest ...string) {
		events = append(events, event(fmt.Sprintf("grant-%d", len(events)), now.Add(-time.Duration(age)*24*time.Hour), rest...))
	}
	role := func(age int, action, subject, role, division, status string) {
		add(age, by(""), grant(action, subject, role, division, status))
	}
	add(300, by("boss"), of("PeoplePermissions", "Role", "r-admin", "Master Admin", "Update", "SUCCESS"))
	add(200, by("boss"), grant("MemberAdd", "dormant", "r-admin", "d1", "SUCCESS"))
	role(200, "MemberAdd", "active", "r-admin", "*", "SUCCESS")
	role(150, "MemberAdd", "removed", "r-admin", "d1", "SUCCESS")
	role(100, "MemberRemove", "removed", "r-admin", "d1", "SUCCESS")
	role(150, "MemberAdd", "never-seen", "r-admin", "d1", "SUCCESS")
	role(90, "MemberRemove", "never-seen", "r-admin", "d2", "SUCCESS") // another division
	role(80, "MemberRemove", "never-seen", "r-admin", "d1", "FAILURE")
	role(50, "MemberAdd", "new", "r-admin", "d1", "SUCCESS")
	role(150, "MemberAdd", "no-admin", "r-agent", "d1", "SUCCESS")
	role(150, "MemberAdd", "role-deleted", "r-old", "d1", "SUCCESS")
	add(140, by("boss"), of("PeoplePermissions", "Role", "r-old", "Old", "Delete", "SUCCESS"))
	role(150, "MemberAdd", "user-deleted", "r-agent", "d1", "SUCCESS")
	add(130, by("boss"), of("Directory", "User", "user-deleted", "", "Delete", "SUCCESS"))
	role(150, "MemberAdd", "refused", "r-agent", "d1", "FAILURE")
	role(120, "MemberAdd", "same-moment", "r-agent", "d1", "SUCCESS")
	role(120, "MemberRemove", "same-moment", "r-agent", "d1", "SUCCESS")
	role(150, "MemberAdd", "again", "r-agent", "d1", "SUCCESS")
	role(140, "MemberRemove", "again", "r-agent", "d1", "SUCCESS")
	role(130, "MemberAdd", "again", "r-agent", "d1", "SUCCESS")
	role(160, "MemberAdd", "logs-in", "r-admin", "d1", "SUCCESS")
	role(160, "MemberAdd", "by-id", "r-unnamed", "d1", "SUCCESS")
	role(160, "MemberAdd", "a-group", "r-admin", "d1", "SUCCESS")
	// The flat dialect, with its spelling.
	add(150, `"userId":"boss","userName":"BOSS","action":"MemberAdd","entityType":"role","entityId":"r-agent","entityName":"flat--r-agent--d1"`)

	add(120, by("dormant"), of("PeoplePermissions", "AuthUser", "dormant", "", "Authenticate", "SUCCESS"))
	add(2, by("dormant"), of("PeoplePermissions", "AuthUser", "dormant", "", "AuthenticationFailed", "FAILURE"))
	add(5, by("active"), of("Directory", "User", "somebody", "", "Update", "SUCCESS"), property("title", `"a"`, `"b"`))
	add(10, by(""), of("PeoplePermissions", "AuthUser", "logs-in", "", "Authenticate", "SUCCESS"))
	return events
}

// workingHoursEvents are around the hours of Vienna, which has UTC+1 in winter and UTC+2 in summer.
func workingHoursEvents() []string {
	var events []string
	add := func(name, at, actor, what string) {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			panic(err)
		}
		events = append(events, event(name, t, actor, what, property("acw.timeoutMs", "1", "2")))
	}
	change := of("Routing", "WrapupCode", "w", "Code", "Update", "SUCCESS")
	add("winter-early", "2026-01-12T06:30:00Z", by("ann"), change)
	add("summer-in-time", "2026-07-13T06:30:00Z", by("ann"), change)
	add("last-early-moment", "2026-07-13T05:59:59.999Z", by("ann"), change)
	add("first-moment", "2026-07-13T06:00:00Z", by("ann"), change)
	add("last-moment", "2026-07-13T15:59:59.999Z", by("ann"), change)
	add("first-late-moment", "2026-07-13T16:00:00Z", by("ann"), change)
	add("saturday", "2026-07-18T10:00:00Z", by("ann"), change)
	add("holiday", "2026-07-15T10:00:00Z", by("ann"), change)
	add("thursday", "2026-07-16T10:00:00Z", by("ann"), change)
	add("night-login", "2026-07-13T01:00:00Z", by("ann"), of("PeoplePermissions", "AuthUser", "ann", "", "Authenticate", "SUCCESS"))
	add("night-system", "2026-07-13T01:00:00Z", by(""), change)
	add("night-client", "2026-07-13T01:00:00Z", `"client":{"id":"pipeline"},"level":"USER"`, change)
	add("night-client-as-user", "2026-07-13T01:00:00Z", `"user":{"id":"pipeline"},"client":{"id":"pipeline"},"level":"USER"`, change)
	two := `"propertyChanges":[{"property":"b","newValues":["1"]},{"property":"a","newValues":["1"]}],` + of("Routing", "WrapupCode", "w", "Code", "Update", "SUCCESS")
	night := time.Date(2026, 7, 13, 21, 0, 0, 0, time.UTC)
	return append(events, event("night-two-changes", night, by("ann"), two))
}

// queueEvents are the life of one queue, and another's.
func queueEvents(now time.Time) []string {
	at := func(minute int) time.Time { return now.Add(-time.Hour).Add(time.Duration(minute) * time.Minute) }
	queue := func(id, name, action string) string { return of("ContactCenter", "Queue", id, name, action, "SUCCESS") }
	members := `"propertyChanges":[{"property":"QueueMember/q1:u1","oldValues":[],"newValues":["<queue member added>"]},
		{"property":"QueueMember/q1:u2","oldValues":[],"newValues":["<queue member added>"]}]`
	return []string{
		event("queue-1", at(1), by("ann"), queue("q1", "Sales", "Create"), property("name", "", `"Sales"`)),
		event("queue-2", at(2), by("ann"), queue("q1", "Sales", "MemberAdd"), members),
		event("queue-3", at(3), by(""), queue("q1", "Sales", "MemberUpdate"), property("QueueMember/q1:u2:joined", `"true"`, `"false"`)),
		event("queue-4", at(4), by("ann"), queue("q2", "Other", "Update"), property("name", `"x"`, `"Other"`)),
		event("queue-5", at(5), by("bob"), queue("q1", "Sales EMEA", "Update"), property("name", `"Sales"`, `"Sales EMEA"`)),
		event("queue-6", at(6), by(""), queue("q1", "Sales EMEA", "MemberRemove"), property("QueueMember/q1:u1", `"<queue member deleted>"`, "")),
		event("queue-7", at(7), by("bob"), queue("q1", "Sales EMEA", "Delete")),
	}
}
