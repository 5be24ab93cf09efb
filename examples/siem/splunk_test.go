package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readConf reads a .conf file of Splunk's: stanzas of names and values.
// https://docs.splunk.com/Documentation/Splunk/latest/Admin/Configurationfilestructure
func readConf(t *testing.T, name string) map[string]map[string]string {
	t.Helper()
	f, err := os.Open("splunk/default/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	stanzas := map[string]map[string]string{}
	stanza := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[' && line[len(line)-1] == ']':
			stanza = line[1 : len(line)-1]
			if stanzas[stanza] != nil {
				t.Errorf("%s: [%s] twice", name, stanza)
			}
			stanzas[stanza] = map[string]string{}
		case !ok || stanza == "" || stanzas[stanza][key] != "":
			t.Errorf("%s: %q", name, line)
		default:
			stanzas[stanza][key] = strings.TrimSpace(value)
		}
	}
	return stanzas
}

// ocsfPaths are the fields that Splunk finds in the samples' events, arrays with {}.
func ocsfPaths(t *testing.T) map[string]bool {
	t.Helper()
	paths := map[string]bool{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for name, v := range value {
				walk(strings.TrimPrefix(path+"."+name, "."), v)
			}
		case []any:
			for _, v := range value {
				walk(path+"{}", v)
			}
		default:
			paths[path] = true
		}
	}
	for _, s := range samples {
		b, err := formats["ocsf"](nil, &s.message)
		var event any
		if err := errors.Join(err, json.Unmarshal(b, &event)); err != nil {
			t.Fatal(err)
		}
		walk("", event)
	}
	return paths
}

// TestSplunkReadsWhatIsSent: every field that props.conf names is in the events, the
// source is the collector's default, and the data models' fields are there.
func TestSplunkReadsWhatIsSent(t *testing.T) {
	paths := ocsfPaths(t)
	props := readConf(t, "props.conf")["source::genesys.audit"]
	if len(props) == 0 || props["KV_MODE"] != "json" {
		t.Fatal(props)
	}
	fields := regexp.MustCompile(`'([^']+)'|\b([a-z_]+_id|class_uid)=`)
	given := map[string]bool{}
	for key, value := range props {
		kind, name, _ := strings.Cut(key, "-")
		switch kind {
		case "EVAL":
			given[name] = true
			if strings.Count(value, "(") != strings.Count(value, ")") || strings.Count(value, `"`)%2 != 0 || strings.Count(value, "'")%2 != 0 {
				t.Errorf("%s = %s", key, value)
			}
			for _, m := range fields.FindAllStringSubmatch(value, -1) {
				if path := m[1] + m[2]; !paths[path] {
					t.Errorf("%s: no event has %s", key, path)
				}
			}
		case "LOOKUP":
			m := regexp.MustCompile(`^(\w+) event_code AS (\S+) OUTPUT (\w+)$`).FindStringSubmatch(value)
			if m == nil || props["EVAL-"+m[2]] != "'metadata.event_code'" || readConf(t, "transforms.conf")[m[1]] == nil {
				t.Fatalf("%s = %s", key, value)
			}
			given[m[3]] = true
		case "KV_MODE":
		default:
			t.Errorf("what is %s?", key)
		}
	}
	// https://docs.splunk.com/Documentation/CIM/latest/User/Change and …/Authentication: the recommended ones.
	for _, name := range []string{"action", "app", "authentication_method", "change_type", "command", "dest", "dvc", "object", "object_attrs", "object_category",
		"object_id", "result", "src", "src_user", "status", "user", "vendor_product"} {
		if !given[name] {
			t.Errorf("no %s", name)
		}
	}
}

// TestSplunkLookupIsTheTable: all actions in the words that the CIM prescribes.
func TestSplunkLookupIsTheTable(t *testing.T) {
	readSDK(t)
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"event_code", "action"})
	// https://docs.splunk.com/Documentation/CIM/latest/User/Change, All_Changes.action; …/Authentication, action
	words := map[bool][]string{
		false: {"created", "deleted", "acl_modified", "cleared", "modified", "read", "stopped", "started", "restarted"},
		true:  {"success", "failure"},
	}
	for _, action := range sdk.Actions {
		g := classes().byAction[strings.ToLower(action)]
		if !slices.Contains(words[g.verdict.class == &authentication], g.CIM) {
			t.Errorf("%s is %s", action, g.CIM)
		}
		_ = w.Write([]string{action, g.CIM})
	}
	w.Flush()
	lookup := readConf(t, "transforms.conf")["genesys_audit_actions"]
	golden(t, "../splunk/lookups/"+lookup["filename"], []byte(b.String()))
}

// TestSplunkTags: every class has an event type with the tags of a data model, and no
// tag is for an event type that there is not.
func TestSplunkTags(t *testing.T) {
	eventTypes, tags := readConf(t, "eventtypes.conf"), readConf(t, "tags.conf")
	models := map[int]string{}
	for name, e := range eventTypes {
		given := tags["eventtype="+name]
		if !strings.HasPrefix(e["search"], `source="genesys.audit" `) || len(given) == 0 {
			t.Errorf("[%s] %v, tags %v", name, e, given)
		}
		for _, number := range regexp.MustCompile(`\b3\d{3}\b`).FindAllString(e["search"], -1) {
			uid, _ := strconv.Atoi(number)
			for tag, state := range given {
				if models[uid] += tag + " "; state != "enabled" {
					t.Errorf("[%s] %s = %s", name, tag, state)
				}
			}
		}
	}
	if len(tags) != len(eventTypes) {
		t.Errorf("%d event types, %d with tags", len(eventTypes), len(tags))
	}
	for _, c := range allClasses {
		want := map[bool]string{true: "authentication", false: "change"}[c == &authentication]
		if !strings.Contains(models[c.uid], want) || strings.Contains(models[c.uid], "account") != (c != &entityChange && c != &authentication) {
			t.Errorf("%s: tags %s", c.name, models[c.uid])
		}
	}
}
