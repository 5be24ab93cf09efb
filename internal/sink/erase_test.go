package sink

import (
	"testing"
	"time"
)

// TestTombstoneHasTheTimeOfItsRecord, unless the topic takes none so old.
func TestTombstoneHasTheTimeOfItsRecord(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	of := now.Add(-30 * time.Hour).UnixMilli()
	for oldest, want := range map[time.Duration]int64{
		0: of, 40 * time.Hour: of, 30*time.Hour + 30*time.Minute: now.UnixMilli(), 24 * time.Hour: now.UnixMilli(), time.Minute: now.UnixMilli(),
	} {
		if got := (Topic{Oldest: oldest}).tombstoneTime(of, now); got != want {
			t.Errorf("none older than %s: %d, want %d", oldest, got, want)
		}
	}
}
