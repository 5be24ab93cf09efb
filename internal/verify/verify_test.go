package verify_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/verify"
)

// TestEventsThatClaimAnotherTime has the API show events, in the interval that
// was asked for, whose own time lies elsewhere or nowhere.
func TestEventsThatClaimAnotherTime(t *testing.T) {
	from := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	value := []byte(`{}`)
	sum := sha256.Sum256(value)
	digest := hex.AppendEncode(nil, sum[:])
	for name, at := range map[string]time.Time{
		"within": from.Add(time.Hour), "before": from.Add(-time.Hour), "year 1": time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), "none": {},
	} {
		t.Run(name, func(t *testing.T) {
			c := verify.New(audit.Interval{From: from, To: from.Add(24 * time.Hour)})
			c.API("shown", at)
			c.API("lost", at)
			c.Raw("shown", at, digest, value)
			c.Change("shown", at, 0, 1)
			c.Raw("of another day", from.Add(-time.Hour), digest, value) // no business of this comparison
			r := c.Report()
			if missing := r.IDs(verify.Missing); len(r.Findings) != 1 || len(missing) != 1 || missing[0] != "lost" {
				t.Errorf("found %+v", r.Findings)
			}
		})
	}
}
