package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryMax is where a container finds its limit.
// https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
const memoryMax = "/sys/fs/cgroup/memory.max"

// limitMemory has the garbage collector keep the process below nine tenths of its
// container's limit, unless GOMEMLIMIT says otherwise. It returns the limit in
// bytes; 0 where there is none.
func limitMemory(path string) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0 // no container, or cgroup v1
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 {
		return 0 // "max"
	}
	limit = limit / 10 * 9
	debug.SetMemoryLimit(limit)
	return limit
}
