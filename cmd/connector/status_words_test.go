package main

import (
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/web"
)

// TestStatusSaysWhenABackfillGoesOn: and when it will be done.
func TestStatusSaysWhenABackfillGoesOn(t *testing.T) {
	at := func(hour int) *web.Instant {
		return &web.Instant{Time: time.Date(2026, 3, 10, hour, 0, 0, 0, time.UTC)}
	}
	for want, b := range map[string]*web.BackfillStatus{
		"backfill of query:*: goes on at 2026-03-10T20:00:00Z will be done at about 2026-03-10T23:00:00Z\n": {Resumes: at(20), Done: at(23)},
		"backfill of query:*: will be done at about 2026-03-10T23:00:00Z\n":                                 {Done: at(23)},
		"": nil,
	} {
		var out strings.Builder
		if err := printStatus(&out, web.Status{Streams: []web.StreamStatus{{Name: "query:*", Backfill: b}}}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) || want == "" && strings.Contains(out.String(), "backfill") {
			t.Errorf("got\n%s\nwant %q", out.String(), want)
		}
	}
}
