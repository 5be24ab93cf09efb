// Package postgres holds no code but tests of the files in this folder: what is shipped for Kafka Connect and PostgreSQL.
// Those with build tag "postgres" run them (make test-postgres).
package postgres

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"genesys-audit-connector/schemas"
)

// sinkConfig reads the shipped sink's settings.
func sinkConfig(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("connect/postgres-sink.json")
	if err != nil {
		t.Fatal(err)
	}
	var sink struct{ Config map[string]string }
	if err := json.Unmarshal(content, &sink); err != nil {
		t.Fatal(err)
	}
	return sink.Config
}

var capital = regexp.MustCompile(`[A-Z]`)

// column returns the name of a field's column.
func column(field string) string {
	return strings.ToLower(capital.ReplaceAllString(field, "_$0"))
}

// TestEveryFieldHasItsColumn holds the sink's list of fields, and the table's columns, against the schema.
func TestEveryFieldHasItsColumn(t *testing.T) {
	var schema struct{ Fields []struct{ Name string } }
	if err := json.Unmarshal([]byte(schemas.ConfigurationChange), &schema); err != nil {
		t.Fatal(err)
	}
	var fields, renames, columns []string
	for _, f := range schema.Fields {
		fields, columns = append(fields, f.Name), append(columns, column(f.Name))
		if column(f.Name) != f.Name {
			renames = append(renames, f.Name+":"+column(f.Name))
		}
	}
	config := sinkConfig(t)
	if got := config["transforms.columns.include"]; got != strings.Join(fields, ",") {
		t.Errorf("the sink passes on %s, the schema has %q", got, fields)
	}
	if got := config["transforms.columns.renames"]; got != strings.Join(renames, ",") {
		t.Errorf("the sink renames %s, want %q", got, renames)
	}
	tables, err := os.ReadFile("sql/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(tables), "genesys_audit.changes (\n")
	body, _, _ = strings.Cut(body, "\n  PRIMARY KEY")
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^  "?([a-z_]+)"? +[a-z]`).FindAllStringSubmatch(body, -1) {
		found = append(found, m[1])
	}
	if want := append(columns, "record_id"); !slices.Equal(found, want) {
		t.Errorf("the table has %q\nwant %q", found, want)
	}
}
