// Package elasticsearch holds no code but tests of the files in this folder: what is shipped for Kafka Connect,
// Elasticsearch and OpenSearch. Those with build tag "connect" run them (make test-connect).
package elasticsearch

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"genesys-audit-connector/schemas"
)

// readJSON reads a shipped file.
func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// shared are the settings that the sink which is run in tests has in common with those that are not.
var shared = []string{
	"tasks.max", "topics", "consumer.override.isolation.level", "key.converter", "value.converter", "value.converter.schema.registry.url",
	"transforms.month.type", "transforms.month.topic.format", "transforms.month.timestamp.format",
}

func TestSinksShareWhatWasRun(t *testing.T) {
	type sink struct {
		Name   string
		Config map[string]string
	}
	paths, err := filepath.Glob("connect/*.json")
	if err != nil || len(paths) != 3 {
		t.Fatal(paths, err)
	}
	var run sink
	readJSON(t, "connect/camel-http-sink.json", &run)
	for _, path := range paths {
		var s sink
		readJSON(t, path, &s)
		for _, k := range shared {
			if s.Config[k] == "" || s.Config[k] != run.Config[k] {
				t.Errorf("%s: %s is %q, and %q in the sink that is run", path, k, s.Config[k], run.Config[k])
			}
		}
		if s.Name == "" || !strings.HasPrefix(s.Config["transforms"], "month") {
			t.Errorf("%s: name %q, transforms %q", path, s.Name, s.Config["transforms"])
		}
		if s.Config["consumer.override.isolation.level"] != "read_committed" {
			t.Errorf("%s shows aborted records", path)
		}
	}
}

// TestSinksKnowWhatWasErased: none stops at a null value, and those for production delete the document.
func TestSinksKnowWhatWasErased(t *testing.T) {
	var s struct{ Config map[string]string }
	for _, product := range []string{"elasticsearch", "opensearch"} {
		if readJSON(t, "connect/"+product+"-sink.json", &s); s.Config["behavior.on.null.values"] != "delete" || s.Config["key.ignore"] != "false" {
			t.Errorf("%s: a null value deletes nothing", product)
		}
	}
	readJSON(t, "connect/camel-http-sink.json", &s)
	leftOut := s.Config["transforms.erased.type"] == "org.apache.kafka.connect.transforms.Filter" && s.Config["transforms.erased.predicate"] == "tombstone" &&
		s.Config["predicates.tombstone.type"] == "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone"
	if !leftOut || !strings.HasPrefix(s.Config["transforms"], "month,erased,") {
		t.Errorf("a null value goes to the index: %v", s.Config)
	}
}

func TestWorkerReadsCommitted(t *testing.T) {
	content, err := os.ReadFile("connect/worker.properties")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte("\nconsumer.isolation.level=read_committed\n")) {
		t.Error("the worker's sinks see aborted records")
	}
}

// mapped are the fields of an index, by their dotted paths.
func mapped(t *testing.T, product string) map[string]string {
	t.Helper()
	type mappings struct {
		Template struct {
			Mappings struct{ Properties map[string]any }
		}
	}
	fields := map[string]string{}
	var walk func(prefix string, properties map[string]any)
	walk = func(prefix string, properties map[string]any) {
		for name, p := range properties {
			field := p.(map[string]any)
			if inner, ok := field["properties"].(map[string]any); ok {
				walk(prefix+name+".", inner)
			} else {
				fields[prefix+name] = field["type"].(string)
			}
		}
	}
	for _, path := range []string{"search/mappings.json", "search/" + product + "/index-template.json"} {
		var m mappings
		readJSON(t, path, &m)
		walk("", m.Template.Mappings.Properties)
	}
	return fields
}

func TestEveryFieldIsMapped(t *testing.T) {
	var schema struct{ Fields []struct{ Name string } }
	if err := json.Unmarshal([]byte(schemas.ConfigurationChange), &schema); err != nil || len(schema.Fields) == 0 {
		t.Fatal(err)
	}
	for _, product := range []string{"elasticsearch", "opensearch"} {
		fields := mapped(t, product)
		for _, f := range schema.Fields {
			if fields[f.Name] == "" {
				t.Errorf("%s: field %s of the schema is not mapped", product, f.Name)
			}
		}
	}
}

// The products differ in the name of one field type and in how an index gets its lifecycle, and in nothing else.
func TestTemplatesAreAlike(t *testing.T) {
	elastic, open := mapped(t, "elasticsearch"), mapped(t, "opensearch")
	if elastic["context"] != "flattened" || open["context"] != "flat_object" {
		t.Errorf("context is %s and %s", elastic["context"], open["context"])
	}
	delete(elastic, "context")
	delete(open, "context")
	if !maps.Equal(elastic, open) {
		t.Errorf("%v\n%v", elastic, open)
	}
	var a, b map[string]any
	readJSON(t, "search/elasticsearch/index-template.json", &a)
	readJSON(t, "search/opensearch/index-template.json", &b)
	index := func(template map[string]any) map[string]any {
		return template["template"].(map[string]any)["settings"].(map[string]any)["index"].(map[string]any)
	}
	if index(a)["lifecycle"] == nil {
		t.Error("Elasticsearch's indices have no lifecycle")
	}
	delete(index(a), "lifecycle")
	if !maps.Equal(index(a), index(b)) {
		t.Errorf("%v\n%v", a, b)
	}
}

// savedObject is a line of the dashboard's file.
type savedObject struct {
	Type, ID   string
	Attributes map[string]any
	References []struct{ Name, Type, ID string }
}

func savedObjects(t *testing.T) []savedObject {
	t.Helper()
	content, err := os.ReadFile("dashboards/genesys-audit.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var objects []savedObject
	for line := range bytes.Lines(content) {
		var o savedObject
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		objects = append(objects, o)
	}
	return objects
}

// query is what the object searches for.
func (o savedObject) query(t *testing.T) string {
	t.Helper()
	var source struct {
		Query struct{ Query, Language string }
	}
	encoded := o.Attributes["kibanaSavedObjectMeta"].(map[string]any)["searchSourceJSON"].(string)
	if err := json.Unmarshal([]byte(encoded), &source); err != nil || source.Query.Language != "lucene" {
		t.Fatalf("%s: %v, language %s", o.ID, err, source.Query.Language)
	}
	if source.Query.Query == "" {
		return "*"
	}
	return source.Query.Query
}

// aggregated are the fields that a visualization counts by.
func (o savedObject) aggregated(t *testing.T) []string {
	t.Helper()
	encoded, ok := o.Attributes["visState"].(string)
	if !ok {
		return nil
	}
	var state struct {
		Aggs []struct{ Params struct{ Field string } }
	}
	if err := json.Unmarshal([]byte(encoded), &state); err != nil {
		t.Fatalf("%s: %v", o.ID, err)
	}
	var fields []string
	for _, a := range state.Aggs {
		if a.Params.Field != "" {
			fields = append(fields, a.Params.Field)
		}
	}
	return fields
}

func TestDashboardIsWhole(t *testing.T) {
	objects := savedObjects(t)
	known := map[string]bool{}
	for _, o := range objects {
		known[o.Type+" "+o.ID] = true
	}
	fields := mapped(t, "opensearch")
	var panels []string
	for _, o := range objects {
		var names []string
		for _, r := range o.References {
			names = append(names, r.Name)
			if !known[r.Type+" "+r.ID] {
				t.Errorf("%s refers to %s %s, which is not in the file", o.ID, r.Type, r.ID)
			}
		}
		for _, f := range o.aggregated(t) {
			if fields[f] == "" {
				t.Errorf("%s counts by %s, which is not mapped", o.ID, f)
			}
		}
		if columns, ok := o.Attributes["columns"].([]any); ok {
			for _, c := range columns {
				if name := c.(string); fields[name] == "" && !strings.HasPrefix(name, "context.") {
					t.Errorf("%s shows %s, which is not mapped", o.ID, name)
				}
			}
		}
		if encoded, ok := o.Attributes["panelsJSON"].(string); ok {
			var shown []struct{ PanelRefName string }
			if err := json.Unmarshal([]byte(encoded), &shown); err != nil {
				t.Fatal(err)
			}
			for _, p := range shown {
				panels = append(panels, p.PanelRefName)
			}
			if !slices.Equal(panels, names) {
				t.Errorf("the dashboard shows %v and refers to %v", panels, names)
			}
		}
	}
	if len(panels) == 0 {
		t.Error("there is no dashboard")
	}
}
