package main

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"time"
)

// object is a JSON object, whose keys are written in order.
type object = map[string]any

// writeOrgsSchema writes the JSON schema of ORGS_FILE, draft 07, which editors know. It
// says what can be said of each value alone; the loader knows more.
func writeOrgsSchema(out io.Writer) error {
	definitions, shared := object{}, object{}
	for key, v := range perOrganisation() {
		definitions[key] = v.schema(key)
		shared[key] = object{"$ref": "#/definitions/" + key}
	}
	own := object{keyName: object{
		"description": "Names the organisation in record keys, ids and metrics. It cannot change: everything would be read and published again.",
		"type":        []string{"string", "integer"}, "pattern": patterns["org"],
	}}
	for key, ref := range shared {
		own[key] = ref
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(object{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "ORGS_FILE of genesys-audit-connector",
		"type": "object", "additionalProperties": false, "required": []string{keyOrganisations},
		"properties": object{
			keyDefaults: object{
				"description": "What holds for every organisation that does not say otherwise.",
				"type":        []string{"object", "null"}, "additionalProperties": false, "properties": shared,
			},
			keyOrganisations: object{
				"description": "The organisations; [] for none.",
				"type":        "array", "maxItems": maxOrgs,
				"items": object{"type": "object", "additionalProperties": false, "required": []string{keyName}, "properties": own},
			},
		},
		"definitions": definitions,
	})
}

// patterns are what values of some formats look like; formats says the rest.
var patterns = map[string]string{
	"org":    `^[a-z0-9-]{1,63}$`,
	"filter": `^(` + condition + `(,` + condition + `)*)?$`,
	"region": `^([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+$|^$`,
	"origin": `^https?://[^/?#@]+/?$|^$`,
}

const (
	durationPattern = `([0-9]{1,5}d)?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))*`
	numberPattern   = `^[0-9.]*$`
)

// schema describes the values of a key.
func (v Variable) schema(key string) object {
	description := strings.ReplaceAll(v.Doc, "`", "")
	switch {
	case v.Secret && key != v.Name:
		return object{"description": "The path of a file, which is read again whenever it is used; a relative one begins at the folder of this file. " + description, "type": []string{"string", "null"}}
	case v.Default != "":
		description += " Default: " + v.Default + "."
	case v.Unset != "":
		description += " Not set: " + v.Unset + "."
	}
	if v.min != "" {
		description += " From " + v.min + " to " + v.max + "."
	}
	s := v.value()
	s["description"] = description
	if v.Example != "" {
		s["examples"] = []string{v.Example}
	}
	return s
}

// value is the schema of a variable's values, null and "" among them, which set nothing.
func (v Variable) value() object {
	text := func(pattern string) object { return object{"type": []string{"string", "null"}, "pattern": pattern} }
	one := text("")
	switch {
	case len(v.OneOf) > 0:
		words := []any{nil, ""}
		for _, word := range v.OneOf {
			words = append(words, word)
		}
		return object{"enum": words}
	case patterns[v.format] != "":
		one = text(patterns[v.format])
	case v.kind == reflect.TypeFor[time.Duration]():
		one = text(`^` + durationPattern + `$`)
	case v.kind == reflect.TypeFor[Rate]():
		one = text(`^([0-9]+ */ *` + durationPattern + `)?$`)
	case v.kind.Kind() == reflect.Bool:
		return object{"enum": []any{nil, "", true, false, "true", "false"}}
	case v.kind.Kind() == reflect.Int, v.kind.Kind() == reflect.Float64:
		low, high := v.numbers()
		number := object{"type": "number", "minimum": low, "maximum": high}
		if v.kind.Kind() == reflect.Int {
			number["type"] = "integer"
		}
		return object{"anyOf": []object{number, text(numberPattern)}}
	case v.Secret: // an identifier, which may be digits
		return object{"type": []string{"string", "integer", "null"}}
	}
	if !v.list() {
		return one
	}
	return object{"anyOf": []object{one, {"type": "array", "minItems": 1, "uniqueItems": true, "items": object{"type": "string"}}}}
}
