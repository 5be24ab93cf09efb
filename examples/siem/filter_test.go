package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"genesys-audit-connector/examples/consumer"
)

// TestNoiseIsWhatSaysNothing, by events as live organisations show them.
func TestNoiseIsWhatSaysNothing(t *testing.T) {
	exclusions, err := parseExclude("noise")
	if err != nil || len(exclusions) != 2 {
		t.Fatal(exclusions, err)
	}
	f := &filter{exclusions: exclusions}
	const user = `{"id":"x","eventDate":"2026-09-16T08:15:01.120Z","serviceName":"Directory","entityType":"User","action":"Update","level":"SYSTEM","user":{},"client":{"id":""},` +
		`"entity":{"id":"u","name":""},"propertyChanges":[%s]}`
	const version = `{"property":"version","oldValues":["41"],"newValues":["42"]}`
	const group = `{"id":"x","eventDate":"2026-09-16T08:15:01.120Z","serviceName":"Groups","entityType":"DirectoryGroup","action":"Update","entity":{"id":"g","name":""},"propertyChanges":[%s]}`
	for name, c := range map[string]struct {
		event string
		out   []bool
	}{
		"only the version":         {fmt.Sprintf(user, version), []bool{true}},
		"the version and a title":  {fmt.Sprintf(user, version+`,{"property":"title","oldValues":["a"],"newValues":["b"]}`), []bool{false, false}},
		"somebody is gone":         {strings.Replace(fmt.Sprintf(user, version), `"Update"`, `"Delete"`, 1), []bool{false}},
		"a group is gone":          {strings.Replace(fmt.Sprintf(group, `{"property":"individuals","oldValues":[],"newValues":[]}`), `"Update"`, `"Delete"`, 1), []bool{false}},
		"a failure":                {strings.Replace(fmt.Sprintf(user, version), `"level"`, `"status":"FAILURE","level"`, 1), []bool{false}},
		"a title":                  {fmt.Sprintf(user, `{"property":"title","oldValues":["a"],"newValues":["b"]}`), []bool{false}},
		"a user's version in SCIM": {strings.Replace(fmt.Sprintf(user, version), "Directory", "SCIM", 1), []bool{false}},
		"individuals":              {fmt.Sprintf(group, `{"property":"individuals","oldValues":[],"newValues":[]}`), []bool{true}},
		"who joined":               {fmt.Sprintf(group, `{"property":"group-membership","oldValues":[],"newValues":["[u]"]}`), []bool{false}},
		"how many there are":       {fmt.Sprintf(group, `{"property":"memberCount","oldValues":["4"],"newValues":["5"]}`), []bool{false}},
	} {
		messages := records(t, c.event)
		var out []bool
		for i := range messages {
			out = append(out, f.excluded(&messages[i]) >= 0)
		}
		if !slices.Equal(out, c.out) {
			t.Errorf("%s: %v", name, out)
		}
	}
}

// TestWhatIsExcludedIsCountedOnce, and committed with what is before it, whatever the
// endpoint takes at a time.
func TestWhatIsExcludedIsCountedOnce(t *testing.T) {
	for _, takes := range []int{1, 2, 100} {
		core, logs := observer.New(zap.InfoLevel)
		f, err := newFilter("action=Noise; entityType=A|B* status=SUCCESS", zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		deliver := f.before(func(_ context.Context, messages []consumer.Message) (int, error) {
			if n := min(takes, len(messages)); takes == 2 && len(got) == 2 {
				got = append(got, "a fault")
				return 0, errors.New("down")
			} else {
				for _, m := range messages[:n] {
					got = append(got, m.ID)
				}
				return n, nil
			}
		})
		var messages []consumer.Message
		for i, kind := range "NKNNKKNBKN" {
			messages = append(messages, sample(func(m *consumer.Message) {
				m.ID = fmt.Sprint(i)
				m.Action = map[rune]string{'N': "noise", 'K': "Update", 'B': "Update"}[kind]
				if kind == 'B' {
					m.EntityType = "Bulk"
				}
			}))
		}
		for rest, tries := messages, 0; len(rest) > 0; tries++ {
			n, err := deliver(t.Context(), rest)
			if tries > 20 || err == nil && n == 0 {
				t.Fatalf("%d, %v", n, err)
			}
			rest = rest[n:]
		}
		if kept := strings.ReplaceAll(strings.Join(got, " "), "a fault ", ""); kept != "1 4 5 8" {
			t.Errorf("%d at a time: delivered %s", takes, kept)
		}
		if f.counts[0] != 5 || f.counts[1] != 1 {
			t.Errorf("%d at a time: counted %v", takes, f.counts)
		}
		f.close()
		if logs.FilterField(zap.Uint64("records", 5)).Len() == 0 || logs.FilterField(zap.Uint64("records", 1)).Len() == 0 {
			t.Errorf("logged %v", logs.All())
		}
	}
}

// TestNothingIsExcludedUnlessToldTo.
func TestNothingIsExcludedUnlessToldTo(t *testing.T) {
	f, err := newFilter(" ; ", zap.NewNop())
	if err != nil || len(f.exclusions) != 0 {
		t.Error(f.exclusions, err)
	}
	for _, wrong := range []string{"version", "entity=User", "entityType", "noise noise"} {
		if _, err := newFilter(wrong, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "EXCLUDE") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
