//go:build postgres && linux

package postgres

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// reports is the database with the rows of reportEvents, as an auditor sees it.
type reports struct {
	*testing.T
	admin, auditor database
}

// startReports inserts the rows without Kafka: that the sink makes the same of a record is what TestEveryChangeIsOneRow
// shows, of the same events too.
func startReports(t *testing.T, now time.Time) reports {
	t.Helper()
	t.Setenv("TZ", "America/New_York") // of the database: no report may depend on it
	db := startServer(t)
	install(t, db)
	e := newEncoding(t, nil)
	e.events(reportEvents(now)...)
	var rows []row
	for _, c := range e.written {
		if c.MemberID != nil && *c.MemberID == "a-group" { // as the connector writes it once it has looked it up
			group := "group"
			c.MemberType = &group
		}
		rows = append(rows, row(c))
	}
	insert(t, db, rows)
	db.do(t, `UPDATE genesys_audit.settings SET time_zone = 'Europe/Vienna', admin_ids = '{r-unnamed}';
		INSERT INTO genesys_audit.holidays VALUES ('2026-07-15', 'a holiday')`)
	return reports{t, db, db.as("auditor")}
}

func insert(t *testing.T, db database, rows []row) {
	t.Helper()
	content, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for i := range reflect.TypeFor[row]().NumField() {
		columns = append(columns, `"`+reflect.TypeFor[row]().Field(i).Tag.Get("json")+`"`)
	}
	list := strings.Join(columns, ", ")
	db.do(t, fmt.Sprintf("INSERT INTO genesys_audit.changes (%s) SELECT %s FROM jsonb_populate_recordset(NULL::genesys_audit.changes, $json$%s$json$)", list, list, content))
}

// expect compares the lines of a query with those that are wanted, in this order.
func (r reports) expect(query string, want ...string) {
	r.Helper()
	out, err := r.auditor.psql(query)
	if err != nil {
		r.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); !slices.Equal(got, want) {
		r.Errorf("%s:\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestReports asks each report what an auditor would.
func TestReports(t *testing.T) {
	r := startReports(t, time.Now().UTC())
	for name, check := range map[string]func(reports){
		"who has changed what": reports.whoChangedWhat, "grants in force": reports.grantsInForce, "outside working hours": reports.outsideWorkingHours,
		"dormant admins": reports.dormantAdmins, "queue over time": reports.queueOverTime, "rights": reports.rights,
	} {
		t.Run(name, func(t *testing.T) { r := r; r.T = t; check(r) })
	}
}

func (r reports) whoChangedWhat() {
	r.expect(`SELECT audit_id, local_time, actor_type, actor, addresses, action, entity, configuration_key, previous_value, new_value
		FROM genesys_audit.who_changed_what WHERE audit_id IN ('winter-early', 'night-system', 'night-client', 'night-client-as-user') ORDER BY audit_id`,
		"night-client|2026-07-13 03:00:00|client|pipeline||Update|Code|acw.timeoutMs|1|2",
		"night-client-as-user|2026-07-13 03:00:00|client|pipeline||Update|Code|acw.timeoutMs|1|2",
		"night-system|2026-07-13 03:00:00|system|system||Update|Code|acw.timeoutMs|1|2",
		"winter-early|2026-01-12 07:30:00|user|ANN|203.0.113.7, 2001:db8::7|Update|Code|acw.timeoutMs|1|2")
	r.expect("SELECT actor, action, member, status FROM genesys_audit.who_changed_what WHERE entity_id = 'r-admin' AND member = 'never-seen' ORDER BY \"timestamp\"",
		"system|MemberAdd|never-seen|SUCCESS", "system|MemberRemove|never-seen|SUCCESS", "system|MemberRemove|never-seen|FAILURE")
	r.expect("SELECT count(*) - (SELECT count(*) FROM genesys_audit.changes) FROM genesys_audit.who_changed_what", "0")
}

func (r reports) grantsInForce() {
	r.expect(`SELECT member_id, member, role, division, granted_by, (extract(epoch FROM now() - granted_at) / 86400)::integer
		FROM genesys_audit.grants_in_force ORDER BY member_id`,
		"a-group|a-group|Master Admin|d1|system|160",
		"active|ACTIVE|Master Admin|all divisions|system|200",
		"again|again|r-agent|d1|system|130",
		"by-id|by-id|r-unnamed|d1|system|160",
		"dormant|DORMANT|Master Admin|d1|BOSS|200",
		"flat|flat|r-agent|d1|BOSS|150",
		"logs-in|logs-in|Master Admin|d1|system|160",
		"never-seen|never-seen|Master Admin|d1|system|150",
		"new|new|Master Admin|d1|system|50",
		"no-admin|no-admin|r-agent|d1|system|150",
		"same-moment|same-moment|r-agent|d1|system|120")
	// Names that the connector looked up are shown, the newest of each.
	r.lookedUp()
	r.expect("SELECT member, role, division FROM genesys_audit.grants_in_force WHERE member_id = 'no-admin' ORDER BY role_id",
		"Newest Name|Agent|d1", "Newest Name|Named|Home")
	r.admin.do(r.T, "DELETE FROM genesys_audit.changes WHERE audit_id LIKE 'named-%'")
	r.deletions()
	r.expect("SELECT member_id FROM genesys_audit.grants_in_force WHERE member_id LIKE 'gone-%' ORDER BY member_id", "gone-back", "gone-failed", "gone-queue", "gone-restored")
	r.admin.do(r.T, "DELETE FROM genesys_audit.changes WHERE audit_id LIKE 'gone-%'")
}

// deletions of who has a role, in the ways in which live organisations show them, and what undoes them.
func (r reports) deletions() {
	r.Helper()
	text := func(s string) *string { return &s }
	at := func(id string, days int, entityType, action string) audit.Change {
		return audit.Change{AuditID: "gone-" + id + action, Count: 1, Time: time.Now().Add(-time.Duration(days) * 24 * time.Hour), Action: action,
			EntityType: entityType, EntityID: text("gone-" + id), Type: "NONE", PreviousType: "ABSENT", NewType: "ABSENT"}
	}
	state := func(id string, days int, from, to string) audit.Change {
		c := at(id, days, "User", "Update")
		c.AuditID += to
		c.Key, c.Previous, c.New, c.Type = text("state"), text(from), text(to), "MODIFIED"
		return c
	}
	rows := []row{
		row(at("user", 9, "User", "Delete")), row(state("state", 9, "active", "deleted")), row(at("group", 9, "DirectoryGroup", "Delete")), row(at("client", 9, "OAuthClient", "Delete")),
		row(state("back", 9, "active", "deleted")), row(state("back", 8, "deleted", "inactive")),
		row(at("restored", 9, "User", "Delete")), row(at("restored", 8, "User", "Restore")),
		row(state("twice", 9, "active", "deleted")), row(state("twice", 8, "deleted", "active")), row(at("twice", 7, "User", "Delete")),
		row(at("failed", 9, "User", "Delete")), row(at("queue", 9, "Queue", "Delete")),
	}
	rows[len(rows)-2].Status = text("FAILURE")
	for _, id := range []string{"user", "state", "group", "client", "back", "restored", "twice", "failed", "queue"} {
		grant := at(id, 10, "Role", "MemberAdd")
		grant.EntityID, grant.MemberID, grant.DivisionID, grant.Type = text("r-agent"), grant.EntityID, text("d1"), "ADDED"
		rows = append(rows, row(grant))
	}
	insert(r.T, r.admin, rows)
}

// lookedUp adds grants with names, the later of which is inserted first.
func (r reports) lookedUp() {
	r.Helper()
	text := func(s string) *string { return &s }
	named := func(id string, age time.Duration, role, roleName, member string) row {
		return row(audit.Change{AuditID: id, Count: 1, Time: time.Now().Add(-age), Action: "MemberAdd", EntityType: "Role", EntityID: text(role), EntityName: text(roleName),
			MemberID: text("no-admin"), MemberName: text(member), MemberType: text("user"), DivisionID: text("d9"), DivisionName: text("Home"), Type: "ADDED",
			PreviousType: "ABSENT", NewType: "STRING", ResolvedNames: []string{"entityName", "memberName", "divisionName"}})
	}
	older := named("named-1", 2*time.Hour, "r-agent", "Agent", "Older Name")
	older.Action, older.DivisionID = "MemberRemove", text("d8") // a name, and no grant
	insert(r.T, r.admin, []row{named("named-2", time.Hour, "r-named", "Named", "Newest Name"), older})
}

func (r reports) outsideWorkingHours() {
	r.expect("SELECT audit_id, day, holiday, actor, changes, keys FROM genesys_audit.changes_outside_working_hours WHERE user_id = 'ann' AND entity_type = 'WrapupCode' ORDER BY local_time",
		"winter-early|Monday||ANN|1|{acw.timeoutMs}",
		"last-early-moment|Monday||ANN|1|{acw.timeoutMs}",
		"first-late-moment|Monday||ANN|1|{acw.timeoutMs}",
		"night-two-changes|Monday||ANN|2|{a,b}",
		"holiday|Wednesday|a holiday|ANN|1|{acw.timeoutMs}",
		"saturday|Saturday||ANN|1|{acw.timeoutMs}")
	r.expect("SELECT count(*) FROM genesys_audit.changes_outside_working_hours WHERE audit_id LIKE 'night-%' AND audit_id <> 'night-two-changes'", "0")
	// An OAuth client's id may stand in the user's place alone: then only the settings tell.
	stand, night := "stand", time.Date(2026, 7, 13, 1, 0, 0, 0, time.UTC)
	insert(r.T, r.admin, []row{row(audit.Change{AuditID: "stand-in", Count: 1, Time: night, UserID: &stand, Action: "Update", EntityType: "Code", Type: "NONE", PreviousType: "ABSENT", NewType: "ABSENT"})})
	const standIn = "SELECT actor_type, (SELECT count(*) FROM genesys_audit.changes_outside_working_hours WHERE user_id = 'stand') FROM genesys_audit.who_changed_what WHERE user_id = 'stand'"
	r.expect(standIn, "user|1")
	r.admin.do(r.T, "UPDATE genesys_audit.settings SET client_ids = '{other,stand}'")
	r.expect(standIn, "client|0")
	r.admin.do(r.T, "UPDATE genesys_audit.settings SET client_ids = DEFAULT; DELETE FROM genesys_audit.changes WHERE audit_id = 'stand-in'")
	// The settings are what decides.
	r.admin.do(r.T, "UPDATE genesys_audit.settings SET time_zone = 'UTC', work_starts = '06:00', work_ends = '24:00', work_days = '{1,2,3,4,5,6}'; DELETE FROM genesys_audit.holidays")
	r.expect("SELECT audit_id FROM genesys_audit.changes_outside_working_hours WHERE user_id = 'ann' AND entity_type = 'WrapupCode'", "last-early-moment")
	r.admin.do(r.T, `UPDATE genesys_audit.settings SET time_zone = 'Europe/Vienna', work_starts = DEFAULT, work_ends = DEFAULT, work_days = DEFAULT;
		INSERT INTO genesys_audit.holidays VALUES ('2026-07-15', 'a holiday')`)
	for _, wrong := range []string{"time_zone = 'Europe/Nowhere'", "work_ends = '07:00'", "work_days = '{8}'", "dormant_after = '0'"} {
		if _, err := r.admin.psql("UPDATE genesys_audit.settings SET " + wrong); err == nil {
			r.Errorf("%s was accepted", wrong)
		}
	}
}

func (r reports) dormantAdmins() {
	const query = "SELECT member, roles, (extract(epoch FROM dormant_for) / 86400)::integer FROM genesys_audit.dormant_admins ORDER BY member"
	r.expect(query, "DORMANT|{\"Master Admin\"}|120", "by-id|{r-unnamed}|", "never-seen|{\"Master Admin\"}|")
	r.admin.do(r.T, "UPDATE genesys_audit.settings SET dormant_after = '130 days', admin_ids = '{}'")
	r.expect(query, "never-seen|{\"Master Admin\"}|")
	r.admin.do(r.T, "UPDATE genesys_audit.settings SET dormant_after = DEFAULT, admin_ids = '{r-unnamed}'")
}

func (r reports) queueOverTime() {
	r.expect("SELECT queue, actor, action, change, member FROM genesys_audit.queue_changes WHERE queue_id = 'q1' ORDER BY \"timestamp\", audit_id, change_index",
		"Sales|ANN|Create|name: (none) → Sales|",
		"Sales|ANN|MemberAdd|member added|u1",
		"Sales|ANN|MemberAdd|member added|u2",
		"Sales|system|MemberUpdate|joined: true → false|u2",
		"Sales EMEA|BOB|Update|name: Sales → Sales EMEA|",
		"Sales EMEA|system|MemberRemove|member removed|u1",
		"Sales EMEA|BOB|Delete|Delete|")
}

// rights: the sink writes rows, auditors read, and neither does anything else.
func (r reports) rights() {
	for _, refused := range []struct {
		as        database
		statement string
	}{
		{r.auditor, "DELETE FROM genesys_audit.changes"}, {r.auditor, "UPDATE genesys_audit.settings SET work_starts = '00:00'"},
		{r.auditor, "SELECT genesys_audit.create_partitions('2020-01-01', '2020-01-01')"}, {r.admin.as("genesys_audit_sink"), "UPDATE genesys_audit.settings SET work_starts = '00:00'"},
		{r.admin.as("genesys_audit_sink"), "DROP TABLE genesys_audit.changes_default"}, {r.admin.as("genesys_audit_sink"), "CREATE TABLE genesys_audit.t ()"},
	} {
		if _, err := refused.as.psql(refused.statement); err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "must be owner") {
			r.Errorf("%s as %s: %v", refused.statement, refused.as.user, err)
		}
	}
	// Running the script again keeps the settings, and what auditors may read.
	runInstall(r.T, r.admin)
	r.expect("SELECT time_zone, (SELECT count(*) > 0 FROM genesys_audit.grants_in_force) FROM genesys_audit.settings", "Europe/Vienna|t")
}
