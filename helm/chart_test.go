// Package helm_test compares the chart with what it deploys: the connector's Config, the alert rules, the dashboard.
// scripts/helm-check renders the chart and validates what comes out; nothing here needs a helm binary.
package helm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "copy the alert rules and the dashboard into the chart")

// identifiers are variables that Config treats as secrets, and that a chart's values may hold all the same.
var identifiers = []string{"GENESYS_CLIENT_ID", "KAFKA_SASL_USERNAME", "SCHEMA_REGISTRY_USERNAME", "KAFKA_SASL_OAUTHBEARER_CLIENT_ID", "SCHEMA_REGISTRY_OAUTH_CLIENT_ID"}

// variable is a field of Config.
type variable struct {
	kind  string // its Go type
	oneof []string
}

func (v variable) secret() bool { return v.kind == "Secret" }

// variables reads the fields of Config, which cannot be imported, from its source.
func variables(t *testing.T) map[string]variable {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "cmd", "connector", "config.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]variable{}
	ast.Inspect(file, func(n ast.Node) bool {
		field, ok := n.(*ast.Field)
		if !ok || field.Tag == nil {
			return true
		}
		text, err := strconv.Unquote(field.Tag.Value)
		if err != nil {
			t.Fatal(err)
		}
		tag := reflect.StructTag(text)
		name, _, _ := strings.Cut(tag.Get("env"), ",")
		if name == "" {
			return true
		}
		v := variable{}
		if kind, ok := field.Type.(*ast.Ident); ok {
			v.kind = kind.Name
		}
		if words := tag.Get("oneof"); words != "" {
			v.oneof = strings.Split(words, ",")
		}
		found[name] = v
		return true
	})
	if len(found) < 40 {
		t.Fatalf("only %d variables found: this test no longer understands config.go", len(found))
	}
	return found
}

func TestEveryVariableCanBeSet(t *testing.T) {
	var config, secrets []string
	for name, v := range variables(t) {
		if !v.secret() || slices.Contains(identifiers, name) {
			config = append(config, name)
		}
		if v.secret() {
			config = append(config, name+"_FILE")
			secrets = append(secrets, name)
		}
	}
	slices.Sort(config)
	slices.Sort(secrets)

	values, schema := readValues(t), readSchema(t)
	for what, pair := range map[string]struct{ got, want []string }{
		"config in values.yaml":                  {keys(values["config"]), config},
		"config in values.schema.json":           {keys(at(t, schema, "config", "properties")), config},
		"secrets.keys in values.schema.json":     {keys(at(t, schema, "secrets", "properties", "keys", "properties")), secrets},
		"secrets.values in values.schema.json":   {keys(at(t, schema, "secrets", "properties", "values", "properties")), secrets},
		"names that values.yaml says of secrets": {slices.Sorted(maps.Keys(namesInSecrets(t))), secrets},
	} {
		for _, name := range pair.want {
			if !slices.Contains(pair.got, name) {
				t.Errorf("%s: %s is missing", what, name)
			}
		}
		for _, name := range pair.got {
			if !slices.Contains(pair.want, name) {
				t.Errorf("%s: %s is no variable of the connector", what, name)
			}
		}
	}
}

// namesInSecrets are the variables in the secrets part of values.yaml, those in its comments too.
func namesInSecrets(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "\nsecrets:\n")
	part, _, ok := strings.Cut(part, "\n# --")
	if !ok {
		t.Fatal("values.yaml has no part secrets")
	}
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b[A-Z]+_[A-Z_]+\b`).FindAllString(part, -1) {
		names[name] = true
	}
	return names
}

// TestNoDefaults keeps the connector's defaults in one place: the connector.
func TestNoDefaults(t *testing.T) {
	for name, value := range readValues(t)["config"].(map[string]any) {
		if value != "" {
			t.Errorf("values.yaml sets %s to %v", name, value)
		}
	}
}

// TestSchemaKnowsKinds compares what the schema allows a variable to be with the type of its field.
func TestSchemaKnowsKinds(t *testing.T) {
	config := at(t, readSchema(t), "config", "properties")
	for name, v := range variables(t) {
		rule, ok := config[name].(map[string]any)
		if !ok {
			continue // TestEveryVariableCanBeSet's
		}
		var want any
		switch {
		case v.oneof != nil:
			words := []any{"", nil}
			for _, word := range v.oneof {
				words = append(words, word)
			}
			want = words
		case v.kind == "bool":
			want = []any{"", nil, true, false, "true", "false"}
		case strings.HasPrefix(v.kind, "int"):
			if rule["$ref"] != "#/$defs/whole" {
				t.Errorf("%s is a whole number, the schema says %v", name, rule)
			}
			continue
		default:
			if rule["enum"] != nil {
				t.Errorf("%s may be more than what the schema says: %v", name, rule["enum"])
			}
			continue
		}
		if !reflect.DeepEqual(rule["enum"], want) {
			t.Errorf("%s: the schema allows %v, the connector %v", name, rule["enum"], want)
		}
	}
}

// TestSchemaKnowsValues: what values.yaml has the schema describes, and the other way round.
func TestSchemaKnowsValues(t *testing.T) {
	compare(t, "", readValues(t), readSchema(t))
}

func compare(t *testing.T, path string, values, properties map[string]any) {
	t.Helper()
	for name, rule := range properties {
		value, ok := values[name]
		if !ok {
			// What has no default to show: Helm's own, and the secrets.
			if name != "global" && path != ".secrets.keys" && path != ".secrets.values" {
				t.Errorf("values.yaml does not show %s.%s", path, name)
			}
			continue
		}
		inner, _ := rule.(map[string]any)["properties"].(map[string]any)
		if object, ok := value.(map[string]any); ok && inner != nil && !strings.HasPrefix(name, "resources") {
			compare(t, path+"."+name, object, inner)
		}
	}
	for name := range values {
		if _, ok := properties[name]; !ok {
			t.Errorf("values.schema.json does not know %s.%s", path, name)
		}
	}
}

// TestTemplatesUseValues: every value has a use, and every use a value.
func TestTemplatesUseValues(t *testing.T) {
	values := readValues(t)
	used := map[string]bool{}
	for _, file := range files(t, "templates") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`\.Values\.([A-Za-z.]+[A-Za-z])`).FindAllStringSubmatch(string(text), -1) {
			path := strings.Split(match[1], ".")
			used[path[0]] = true
			if len(path) > 1 {
				used[path[0]+"."+path[1]] = true
			}
			if path[0] == "config" {
				continue // by name in conditions, all of them in a loop
			}
			var value any = values
			for _, key := range path {
				object, _ := value.(map[string]any)
				inner, ok := object[key]
				if !ok {
					t.Errorf("%s uses .Values.%s, which values.yaml does not have", file, match[1])
					break
				}
				value = inner
			}
		}
	}
	for name, value := range values {
		if !used[name] {
			t.Errorf("nothing uses %s", name)
		}
		object, ok := value.(map[string]any)
		if !ok || name == "config" {
			continue
		}
		whole := !slices.ContainsFunc(keys(object), func(key string) bool { return used[name+"."+key] })
		for key := range object {
			if !whole && !used[name+"."+key] {
				t.Errorf("nothing uses %s.%s", name, key)
			}
		}
	}
}

// TestCopies: a chart can hold no file from outside its folder, so it has copies.
func TestCopies(t *testing.T) {
	for chart, source := range map[string]string{
		"files/rules.yaml":               "../deploy/prometheus/rules.yaml",
		"files/genesys-audit.json":       "../deploy/grafana/genesys-audit.json",
		"files/genesys-audit-fleet.json": "../deploy/grafana/genesys-audit-fleet.json",
	} {
		want, err := os.ReadFile(source)
		if err != nil {
			t.Error(err)
			continue
		}
		if *update {
			if err := os.MkdirAll(filepath.Dir(chart), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(chart, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(chart); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not a copy of %s (%v): go test ./helm -run TestCopies -update", chart, source, err)
		}
	}
}

func readValues(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// readSchema returns the properties of the whole.
func readSchema(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema.Properties
}

func at(t *testing.T, object map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, key := range path {
		inner, ok := object[key].(map[string]any)
		if !ok {
			t.Fatalf("there is no %s on the way %v", key, path)
		}
		object = inner
	}
	return object
}

func keys(object any) []string {
	m, _ := object.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
