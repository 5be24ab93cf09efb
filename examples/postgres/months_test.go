//go:build postgres && linux

package postgres

import (
	"strings"
	"testing"
	"time"
)

// checkMonths: every row is in the partition of its month of UTC, and one without a month in the default one, from where
// it moves once its month is made.
func checkMonths(t *testing.T, db database, now time.Time) {
	const misplaced = `SELECT count(*) FROM genesys_audit.changes WHERE tableoid::regclass::text <> 'genesys_audit.changes_default'
		AND tableoid::regclass::text <> to_char("timestamp" AT TIME ZONE 'UTC', '"genesys_audit.changes_"YYYY"_"MM')`
	expect := func(what, query string, want int) {
		t.Helper()
		if got, err := db.count(query); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", what, got, err, want)
		}
	}
	const inDefault = "SELECT count(*) FROM genesys_audit.changes_default"
	expect("misplaced", misplaced, 0)
	before, err := db.count(inDefault)
	if err != nil || before < 6 { // three events of two changes, and what is older than the months of 366 days
		t.Fatalf("%d rows in the default partition, %v", before, err)
	}
	all, err := db.count("SELECT count(*) FROM genesys_audit.changes")
	if err != nil {
		t.Fatal(err)
	}
	// A year back and a year ahead are there already.
	year := "genesys_audit.create_partitions('" + now.AddDate(0, 0, -366).Format("2006-01-02") + "', '" + now.AddDate(1, 0, 0).Format("2006-01-02") + "')"
	expect("months that were made again", "SELECT "+year, 0)
	expect("months", "SELECT count(*) - 1 FROM pg_inherits WHERE inhparent = 'genesys_audit.changes'::regclass", months(now.AddDate(0, 0, -366), now.AddDate(1, 0, 0)))
	// An older one is made: what the default partition had of it moves, the rest stays.
	old := now.AddDate(-3, 0, 0)
	expect("months made", "SELECT genesys_audit.create_partitions('"+old.Format("2006-01-02")+"', '"+old.Format("2006-01-02")+"')", 1)
	expect("left in the default partition", inDefault, before-countOf(t, db, old))
	expect("rows of the old month", "SELECT count(*) FROM genesys_audit.changes_"+old.Format("2006_01"), 2)
	expect("misplaced afterwards", misplaced, 0)
	expect("rows", "SELECT count(*) FROM genesys_audit.changes", all)
	expect("times without a month", inDefault+` WHERE "timestamp" IN ('1970-01-01Z', '`+now.AddDate(3, 0, 0).Format("2006-01-02T15:04:05.000Z")+`')`, 4)
	// A question about a month reads that month and the indexes are those that reports need.
	plan, err := db.psql(`EXPLAIN SELECT * FROM genesys_audit.changes WHERE "timestamp" >= date_trunc('month', now()) AND "timestamp" < date_trunc('month', now()) + interval '1 month' AND user_id = 'u'`)
	if err != nil || strings.Count(plan, "Scan on changes_") > 3 {
		t.Errorf("%v\n%s", err, plan)
	}
	for query, index := range map[string]string{
		"lower(entity_type) = 'role'": "lower", "entity_id = 'e'": "entity_id", "user_id = 'u'": "user_id", "member_id = 'm'": "member_id", "record_id = 'r:0'": "record_id",
	} {
		plan, err := db.psql("SET enable_seqscan = off; EXPLAIN SELECT * FROM genesys_audit.changes_" + now.Format("2006_01") + " WHERE " + query)
		if err != nil || !strings.Contains(plan, "Index Scan") || !strings.Contains(plan, index) {
			t.Errorf("%s: %v\n%s", query, err, plan)
		}
	}
}

func countOf(t *testing.T, db database, month time.Time) int {
	t.Helper()
	n, err := db.count("SELECT count(*) FROM genesys_audit.changes_" + month.Format("2006_01"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// months counts the calendar months from one time's to another's.
func months(from, to time.Time) int {
	return (to.Year()-from.Year())*12 + int(to.Month()) - int(from.Month()) + 1
}
