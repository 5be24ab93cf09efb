package codec

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden: testdata/events/NAME.json holds a step of events, of one entity type
// or as live organisations show them; NAME.golden what they are normalised to,
// every field of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no events", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			var events []json.RawMessage
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &events); err != nil {
				t.Fatal(err)
			}
			step := make([]string, len(events))
			for i, event := range events {
				step[i] = string(event)
			}
			var got bytes.Buffer
			for _, records := range stepChanges(t, newTestEncoder(t), step...) {
				describe(&got, records)
			}
			compareGolden(t, name+".golden", got.Bytes())
		})
	}
}

// stepChanges are the changes of each event of a step.
func stepChanges(t testing.TB, e *Encoder, step ...string) [][]audit.Change {
	t.Helper()
	decoder, err := NewDecoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	events := make([]*audit.Event, len(step))
	for i, text := range step {
		ev := scan(t, text)
		events[i] = &ev
	}
	e.Observe(slices.Values(events), nil)
	all := make([][]audit.Change, len(events))
	for i, ev := range events {
		values, _ := records(e, ev)
		for _, value := range values {
			c, err := decoder.Decode(value)
			if err != nil {
				t.Fatalf("%s: %v", step[i], err)
			}
			all[i] = append(all[i], c)
		}
	}
	return all
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (write it anew with -update)\n got:\n%s\nwant:\n%s", file, got, want)
	}
}

// describe writes the records of one event: what they share, then each change.
func describe(w *bytes.Buffer, records []audit.Change) {
	first := records[0]
	fmt.Fprintf(w, "%s %s %q\n", first.EntityType, first.Action, refOr(first.EntityName))
	field := func(name string, text *string) {
		if text != nil {
			fmt.Fprintf(w, "  %s %q\n", name, *text)
		}
	}
	fmt.Fprintf(w, "  auditId %q\n  timestamp %s\n", first.AuditID, first.Time.Format(time.RFC3339Nano))
	field("userId", first.UserID)
	field("userName", first.UserName)
	field("entityId", first.EntityID)
	field("orgId", first.OrgID)
	field("serviceName", first.ServiceName)
	field("clientId", first.ClientID)
	field("status", first.Status)
	field("level", first.Level)
	field("application", first.Application)
	field("message", first.Message)
	field("transactionId", first.TransactionID)
	field("divisionId", first.DivisionID)
	fmt.Fprintf(w, "  remoteIp %q\n", first.RemoteIP)
	for _, key := range slices.Sorted(maps.Keys(first.Context)) {
		fmt.Fprintf(w, "  context %q %q\n", key, first.Context[key])
	}
	for _, c := range records {
		fmt.Fprintf(w, "  %d/%d %s\n", c.Index, c.Count, strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(line(c)))
		if c.MemberID != nil {
			fmt.Fprintf(w, "      member %q %q %q\n", *c.MemberID, refOr(c.MemberType), refOr(c.MemberName))
		}
	}
}

// TestGoldenEventsHaveExpectedPaths: the documents of golden events have only
// paths that their mapping expects.
func TestGoldenEventsHaveExpectedPaths(t *testing.T) {
	mappings := builtin(t)
	seen := make(map[string]bool)
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range refParse(text).list {
			m := mappings.of([]byte(event.get("entityType").text))
			if m == nil {
				continue
			}
			seen[m.EntityType] = true
			if m.Name != nil && m.Name.isOf([]byte(event.get("action").text)) {
				continue // documents of a membership, not of the entity
			}
			for _, side := range []string{"before", "after"} {
				for _, key := range event.get(side).keys() {
					if !slices.Contains(m.Paths, key) {
						t.Errorf("%s: a %s has %s, which its mapping does not expect", file, m.EntityType, key)
					}
				}
			}
		}
	}
	if len(seen) < 14 {
		t.Errorf("golden events of %d mapped types only", len(seen))
	}
}
