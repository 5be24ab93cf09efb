package main

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestREADMEShowsWhatIsSent: its samples are those of the golden files, the shortened
// one is part of what is sent, and every setting is there.
func TestREADMEShowsWhatIsSent(t *testing.T) {
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, name := range []string{"syslog", "leef", "ecs", "sentinel"} {
		lines, err := os.ReadFile("testdata/" + name + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(lines), "# role granted, as live organisations show it\n")
		sample, _, _ := strings.Cut(rest, "\n")
		if !ok || !strings.Contains(text, "```\n"+sample+"\n```") && !strings.Contains(text, "```json\n"+sample+"\n```") {
			t.Errorf("README.md does not show as %s:\n%s", name, sample)
		}
	}
	m := grant("MemberAdd", nil)
	whole, err := formats["ocsf"](nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	short := regexp.MustCompile("(?s)```json\n(\\{\"class_uid\".*?)\n```").FindStringSubmatch(text)
	var sent, shown map[string]any
	if short == nil || json.Unmarshal([]byte(short[1]), &shown) != nil || json.Unmarshal(whole, &sent) != nil {
		t.Fatalf("no shortened OCSF event: %q", short)
	}
	partOf(t, "", shown, sent)
	for _, c := range []any{config{}, hecConfig{}, syslogConfig{}, sentinelConfig{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(c)) {
			if name, _, _ := strings.Cut(field.Tag.Get("env"), ","); !strings.Contains(text, "`"+name+"`") && name != "" {
				t.Errorf("README.md has no %s", name)
			}
		}
	}
}

// partOf fails where a document has what the other has not.
func partOf(t *testing.T, path string, part, whole any) {
	t.Helper()
	if members, ok := part.(map[string]any); ok {
		whole, _ := whole.(map[string]any)
		for name, value := range members {
			partOf(t, path+"."+name, value, whole[name])
		}
	} else if !reflect.DeepEqual(part, whole) {
		t.Errorf("%s is %v, sent is %v", path, part, whole)
	}
}
