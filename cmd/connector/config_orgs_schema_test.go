package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

func orgsSchema(t testing.TB) object {
	t.Helper()
	var out bytes.Buffer
	if err := writeOrgsSchema(&out); err != nil {
		t.Fatal(err)
	}
	var schema object
	if err := json.Unmarshal(out.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// conforms reports whether a value is as a schema says, by the keywords that ours uses.
func conforms(t testing.TB, root, schema object, value any) bool {
	t.Helper()
	ok := true
	for keyword, rule := range schema {
		switch keyword {
		case "$ref":
			name := strings.TrimPrefix(rule.(string), "#/definitions/")
			ok = ok && conforms(t, root, root["definitions"].(object)[name].(object), value)
		case "type":
			types, several := rule.([]any)
			if !several {
				types = []any{rule}
			}
			ok = ok && slices.ContainsFunc(types, func(name any) bool { return isOfType(value, name.(string)) })
		case "enum":
			ok = ok && slices.ContainsFunc(rule.([]any), func(v any) bool { return reflect.DeepEqual(v, value) })
		case "pattern":
			text, isText := value.(string)
			ok = ok && (!isText || regexp.MustCompile(rule.(string)).MatchString(text))
		case "minimum", "maximum":
			n, isNumber := value.(float64)
			ok = ok && (!isNumber || keyword == "minimum" && n >= rule.(float64) || keyword == "maximum" && n <= rule.(float64))
		case "anyOf":
			ok = ok && slices.ContainsFunc(rule.([]any), func(s any) bool { return conforms(t, root, s.(object), value) })
		case "required":
			o, isObject := value.(object)
			for _, name := range rule.([]any) {
				_, there := o[name.(string)]
				ok = ok && (!isObject || there)
			}
		case "properties":
			o, _ := value.(object)
			for name, v := range o {
				s, known := rule.(object)[name].(object)
				ok = ok && known && conforms(t, root, s, v) // additionalProperties is false everywhere
			}
		case "items":
			list, _ := value.([]any)
			for _, v := range list {
				ok = ok && conforms(t, root, rule.(object), v)
			}
		case "minItems", "maxItems":
			list, isList := value.([]any)
			n := float64(len(list))
			ok = ok && (!isList || keyword == "minItems" && n >= rule.(float64) || keyword == "maxItems" && n <= rule.(float64))
		case "uniqueItems", "additionalProperties", "$schema", "title", "definitions", "description", "examples":
		default:
			t.Fatalf("this test does not know the keyword %s", keyword)
		}
	}
	return ok
}

func isOfType(value any, name string) bool {
	switch v := value.(type) {
	case nil:
		return name == "null"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	}
	return name == "object"
}

// documentOf is a YAML file as a validator sees it.
func documentOf(t testing.TB, content string) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(asJSON, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// TestOrgsSchemaAgreesWithTheLoader tries each value in a file of one organisation that is
// right but for it.
func TestOrgsSchemaAgreesWithTheLoader(t *testing.T) {
	schema := orgsSchema(t)
	const head = "defaults:\n  GENESYS_REGION: mypurecloud.ie\n  GENESYS_CLIENT_ID: i\n  GENESYS_CLIENT_SECRET_FILE: acme\norganisations:\n  - name: a\n"
	path := writeOrgs(t, "")
	try := func(content string, right bool) {
		t.Helper()
		writeFile(t, path, content)
		_, _, err := LoadFleet(processEnv(path))
		if (err == nil) != right {
			t.Errorf("the loader says %v\n%s", err, content)
		}
		if conforms(t, schema, schema, documentOf(t, content)) != right {
			t.Errorf("the schema says the opposite of %t\n%s", right, content)
		}
	}
	for _, right := range []string{
		"", "GENESYS_REGION: MyPureCloud.de", "GENESYS_REGION: null", `GENESYS_REGION: ""`, "GENESYS_API_URL: https://gateway:8443/", "GENESYS_CLIENT_ID: 42",
		"GENESYS_CLIENT_ID_FILE: other", "GENESYS_CLIENT_SECRET_FILE: other", "GENESYS_REFRESH_TOKEN_FILE: other", "GENESYS_OAUTH_SCOPE: audits:readonly",
		"GENESYS_AUDIT_API: query", "GENESYS_FILTER: type=configuration,entityName=The A team", "GENESYS_SERVICES: all", "GENESYS_SERVICES: [Routing, Quality]",
		"GENESYS_PRIORITY_SERVICES: Routing,Quality", "GENESYS_NAMES: false", `GENESYS_NAMES: "true"`, "GENESYS_RETENTION: 1d12h", "GENESYS_RATE_LIMIT: 100/10s",
		"GENESYS_RATE_SHARE: 1", "GENESYS_RATE_SHARE: 0.25", `GENESYS_RATE_SHARE: "0.25"`, "GENESYS_RATE_RESERVE: 0", "GENESYS_REQUEST_TIMEOUT: 1m30s",
		"POLL_INTERVAL: 500ms", "POLL_OVERLAP: 1.5h", "SWEEP_AGES: none", "SWEEP_AGES: [10m, 1d]", "SWEEP_AGES: 10m,1d", "BACKFILL_FROM: retention", "BACKFILL_FROM: 30d",
		"BACKFILL_FROM: 2026-01-15", "BACKFILL_CHUNK: 2h", "BACKFILL_SHARE: 0.2", "BACKFILL_HOURS: 20:00-06:00 Europe/Berlin", "BACKFILL_HOURS: [20:00-06:00, 12:00-13:00]",
	} {
		try(head+"    "+right+"\n", true)
	}
	for _, wrong := range []string{
		"GENESYS_REGION: https://api.mypurecloud.de", "GENESYS_REGION: [a.de]", "GENESYS_API_URL: gateway", "GENESYS_API_URL: https://gateway/path", "GENESYS_CLIENT_ID: [i]",
		"GENESYS_CLIENT_SECRET: hunter2", "GENESYS_CLIENT_SECRET_FILE: [a]", "GENESYS_AUDIT_API: audit", "GENESYS_FILTER: configuration", "GENESYS_SERVICES: []",
		"GENESYS_SERVICES: {a: b}", "GENESYS_NAMES: maybe", "GENESYS_NAMES: [true]", "GENESYS_RETENTION: 7", "GENESYS_RETENTION: a week", "GENESYS_RATE_LIMIT: 100", "GENESYS_RATE_SHARE: 7",
		"GENESYS_RATE_SHARE: half", "GENESYS_RATE_RESERVE: 1.5", "GENESYS_RATE_RESERVE: -1", "POLL_INTERVAL: 5", "POLL_INTERVAL: [5s]", "SWEEP_AGES: [[1h]]", "BACKFILL_SHARE: 2",
		"KAFKA_BROKERS: kafka:9092", "HTTP_ADDR: :8080", "ORG_NAME: a", "GENESYS_REGOIN: mypurecloud.de", "EVIDENCE: true", "EVIDENCE_KEY: hunter2",
	} {
		try(head+"    "+wrong+"\n", false)
	}
	for _, wrong := range []string{"organisations:\n  - GENESYS_REGION: mypurecloud.ie\n", "organisations:\n  - name: A b\n", "organisations:\n", "defaults: {}\n", "organizations: []\n", "organisations: {}\n",
		"defaults: []\norganisations: []\n", "defaults:\n  name: a\norganisations: []\n", "organisations: [a]\n"} {
		try(wrong, false)
	}
	try("organisations: []\n", true)
	try("defaults:\norganisations: []\n", true)
}

// TestExampleOrgsFile: the example is right, and nobody's secret is in it.
func TestExampleOrgsFile(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "examples", "organisations", "orgs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	schema := orgsSchema(t)
	if !conforms(t, schema, schema, documentOf(t, string(content))) {
		t.Error("the schema refuses the example")
	}
	path := writeOrgs(t, string(content))
	for _, match := range regexp.MustCompile(`_FILE: (.*)\n`).FindAllStringSubmatch(string(content), -1) {
		secret := filepath.Join(filepath.Dir(path), match[1])
		if err := os.MkdirAll(filepath.Dir(secret), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, secret, "a-secret")
	}
	_, orgs, err := LoadFleet(processEnv(path))
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(orgs); !slices.Equal(got, []string{"acme", "acme-test", "globex"}) {
		t.Errorf("got %q", got)
	}
	for line := range strings.Lines(string(content)) {
		if utf8.RuneCountInString(line) > 101 {
			t.Errorf("a line is too long: %s", line)
		}
	}
}
