//go:build kafka

package codec

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFastavroResolvesBothWays: another library reads records of version 1 with
// today's schema, and today's with version 1. The tag is that of the tests for
// which scripts/clients/install makes the environment.
func TestFastavroResolvesBothWays(t *testing.T) {
	root := filepath.Join("..", "..")
	python := filepath.Join(root, ".cache", "clients", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no Python environment; run scripts/clients/install: %v", err)
	}
	today := filepath.Join(root, "schemas", "configuration_change.avsc")
	before := filepath.Join(root, "schemas", "released", "configuration_change.v1.avsc")
	resolve := func(writer, reader string, value []byte) map[string]any {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), python, "testdata/resolve.py", writer, reader, hex.EncodeToString(value)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var fields map[string]any
		if err := json.Unmarshal(out, &fields); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return fields
	}
	now, old := written(t, spokenEvent)
	if fields := resolve(today, today, now); fields["message"] != "said" || fields["transactionId"] != "t" || fields["auditId"] != "x" {
		t.Errorf("today's with today's: %v", fields)
	}
	fields := resolve(today, before, now)
	if fields["auditId"] != "x" || fields["newValue"] != "b" || fields["context"].(map[string]any)["a"] != "b" {
		t.Errorf("today's with version 1: %v", fields)
	}
	for _, name := range since1 {
		if _, has := fields[name]; has {
			t.Errorf("version 1 has %s", name)
		}
	}
	fields = resolve(before, today, old)
	if fields["auditId"] != "x" || fields["newValue"] != "b" {
		t.Errorf("version 1 with today's: %v", fields)
	}
	for _, name := range since1 {
		value, has := fields[name]
		if list, ok := value.([]any); !has || value != nil && (!ok || len(list) > 0) {
			t.Errorf("%s of a record of version 1 is %v", name, value)
		}
	}
}
