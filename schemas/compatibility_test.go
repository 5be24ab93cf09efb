package schemas_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"genesys-audit-connector/schemas"
)

// field is one of the record's; its type is as JSON decodes it.
type field struct {
	Name    string
	Type    any
	Default json.RawMessage // "null" where that is the default, empty where there is none
}

func fields(schema string) ([]field, error) {
	var record struct{ Fields []field }
	if err := json.Unmarshal([]byte(schema), &record); err != nil {
		return nil, err
	}
	for i := range record.Fields {
		record.Fields[i].Type = withoutDoc(record.Fields[i].Type)
	}
	return record.Fields, nil
}

func withoutDoc(t any) any {
	if m, ok := t.(map[string]any); ok {
		delete(m, "doc")
	}
	return t
}

// compatible tells whether the newer schema keeps to what docs/schema.md promises, which is more than BACKWARD: what
// was there stays as it was, new fields come last and have an empty default, and enums grow at their end.
func compatible(older, newer string) error {
	was, err := fields(older)
	if err != nil {
		return err
	}
	is, err := fields(newer)
	if err != nil {
		return err
	}
	if len(is) < len(was) {
		return fmt.Errorf("%d fields became %d", len(was), len(is))
	}
	for i, f := range was {
		n := is[i]
		if n.Name != f.Name {
			return fmt.Errorf("field %d was %s and is %s", i, f.Name, n.Name)
		}
		if !sameType(f.Type, n.Type) || string(f.Default) != string(n.Default) {
			return fmt.Errorf("field %s was %v, default %q, and is %v, default %q", f.Name, f.Type, f.Default, n.Type, n.Default)
		}
	}
	for _, f := range is[len(was):] {
		if !optional(f) {
			return fmt.Errorf("new field %s is neither a union of null and something with default null, nor an array or map with an empty one", f.Name)
		}
	}
	return nil
}

// sameType lets an enum have more symbols than it had.
func sameType(was, is any) bool {
	w, wok := was.(map[string]any)
	n, nok := is.(map[string]any)
	if !wok || !nok || w["type"] != "enum" || n["type"] != "enum" {
		return reflect.DeepEqual(was, is)
	}
	had, has := w["symbols"].([]any), n["symbols"].([]any)
	return w["name"] == n["name"] && len(has) >= len(had) && reflect.DeepEqual(had, has[:len(had)])
}

func optional(f field) bool {
	switch t := f.Type.(type) {
	case []any:
		return len(t) == 2 && t[0] == "null" && string(f.Default) == "null"
	case map[string]any:
		return t["type"] == "array" && string(f.Default) == "[]" || t["type"] == "map" && string(f.Default) == "{}"
	}
	return false
}

func TestSchemaIsCompatibleWithEveryReleasedOne(t *testing.T) {
	paths, err := filepath.Glob("released/*.avsc")
	if err != nil || len(paths) == 0 {
		t.Fatal("no released schema", err)
	}
	for _, path := range paths {
		released, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := compatible(string(released), schemas.ConfigurationChange); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestIncompatibleSchemasAreNoticed(t *testing.T) {
	const last = `"doc": "Names of the fields of this record whose values were masked."}`
	for name, c := range map[string]struct {
		old, new string
		ok       bool
	}{
		"a field is added":                  {last, last + `, {"name": "more", "type": ["null", "string"], "default": null}`, true},
		"a list is added":                   {last, last + `, {"name": "more", "type": {"type": "array", "items": "string"}, "default": []}`, true},
		"an enum grows at its end":          {`"REORDERED", "NONE"]`, `"REORDERED", "NONE", "MOVED"]`, true},
		"words change":                      {`"doc": "Who did it;`, `"doc": "By whom;`, true},
		"a field is added without default":  {last, last + `, {"name": "more", "type": ["null", "string"]}`, false},
		"a field is added that must be set": {last, last + `, {"name": "more", "type": "string", "default": ""}`, false},
		"a field is added in between":       {`{"name": "orgId"`, `{"name": "more", "type": ["null", "string"], "default": null}, {"name": "orgId"`, false},
		"a field is renamed":                {`"name": "orgId"`, `"name": "organisationId"`, false},
		"a field is removed":                {`{"name": "application", "type": ["null", "string"], "default": null},`, ``, false},
		"a type changes":                    {`{"name": "changeIndex", "type": "int"`, `{"name": "changeIndex", "type": "long"`, false},
		"a default changes":                 {`{"name": "clientId", "type": ["null", "string"], "default": null`, `{"name": "clientId", "type": ["null", "string"]`, false},
		"an enum loses a symbol":            {`"REORDERED", "NONE"]`, `"NONE"]`, false},
		"an enum grows in between":          {`"REORDERED", "NONE"]`, `"REORDERED", "MOVED", "NONE"]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(schemas.ConfigurationChange, c.old, c.new, 1)
			if changed == schemas.ConfigurationChange {
				t.Fatal("the schema does not have", c.old)
			}
			if err := compatible(schemas.ConfigurationChange, changed); (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}
}
