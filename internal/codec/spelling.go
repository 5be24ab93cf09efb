package codec

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// sameSchema reports whether two Avro schemas differ in their spelling alone: white space,
// the order of attributes, how names are qualified, attributes that say what holds without
// them. Documentation, defaults and logical types are no spelling.
// https://avro.apache.org/docs/1.12.0/specification/#schema-declaration
func sameSchema(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(oneSpelling(x, ""), oneSpelling(y, ""))
}

var primitives = []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}

// oneSpelling returns a decoded schema as it is always spelled, names in full. namespace is
// that of the schema around it.
func oneSpelling(schema any, namespace string) any {
	switch s := schema.(type) {
	case string:
		if slices.Contains(primitives, s) {
			return s
		}
		return fullName(s, namespace)
	case []any:
		union := make([]any, len(s))
		for i, branch := range s {
			union[i] = oneSpelling(branch, namespace)
		}
		return union
	case map[string]any:
		return oneSpellingOf(s, namespace)
	}
	return schema
}

func oneSpellingOf(s map[string]any, namespace string) any {
	_, simple := s["type"].(string)
	if !simple || len(s) == 1 {
		return oneSpelling(s["type"], namespace) // {"type": X} is X
	}
	one := make(map[string]any, len(s))
	for k, v := range s {
		one[k] = v
	}
	if name, ok := s["name"].(string); ok {
		if own, ok := s["namespace"].(string); ok {
			namespace = own
		}
		name = fullName(name, namespace)
		one["name"] = name
		delete(one, "namespace")
		namespace = name[:max(0, strings.LastIndexByte(name, '.'))]
	}
	for _, k := range []string{"items", "values"} {
		if s[k] != nil {
			one[k] = oneSpelling(s[k], namespace)
		}
	}
	if fields, ok := s["fields"].([]any); ok {
		spelled := make([]any, len(fields))
		for i, field := range fields {
			spelled[i] = oneSpellingOfField(field, namespace)
		}
		one["fields"] = spelled
	}
	return withoutDefaults(one)
}

func oneSpellingOfField(field any, namespace string) any {
	f, ok := field.(map[string]any)
	if !ok {
		return field
	}
	one := make(map[string]any, len(f))
	for k, v := range f {
		one[k] = v
	}
	one["type"] = oneSpelling(f["type"], namespace)
	if one["order"] == "ascending" {
		delete(one, "order")
	}
	return withoutDefaults(one)
}

// withoutDefaults drops attributes that say what holds without them.
func withoutDefaults(one map[string]any) map[string]any {
	if aliases, ok := one["aliases"].([]any); ok && len(aliases) == 0 {
		delete(one, "aliases")
	}
	if one["doc"] == "" {
		delete(one, "doc")
	}
	return one
}

func fullName(name, namespace string) string {
	if namespace == "" || strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}
