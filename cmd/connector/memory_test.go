package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestMemoryIsLimitedBelowTheContainersLimit(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "") // Setenv puts back what it was
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for text, want := range map[string]int64{"536870912\n": 536870912 / 10 * 9, "max\n": 0, "": 0, "-1\n": 0} {
		debug.SetMemoryLimit(math.MaxInt64)
		path := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := limitMemory(path)
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
		if in := debug.SetMemoryLimit(-1); want > 0 && in != want || want == 0 && in != math.MaxInt64 {
			t.Errorf("%q: the runtime's limit is %d", text, in)
		}
	}
	if got := limitMemory(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("no file: %d", got)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	if got := limitMemory("memory_test.go"); got != 0 {
		t.Errorf("GOMEMLIMIT is set: %d", got)
	}
}
