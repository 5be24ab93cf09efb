package poller

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
)

// slowTurns is an API whose backfill waits for its turn, and which refuses then what it does
// not hold any more, as the client does.
type slowTurns struct {
	*api
	wait time.Duration
}

var errPast = errors.New("older than the API's retention")

func (s slowTurns) Read(ctx context.Context, r audit.Read, take func(audit.Page, bool) error) error {
	if r.Purpose == audit.Backfill {
		time.Sleep(s.wait)
		if r.Interval.From.Before(time.Now().Add(-s.retention - 10*time.Second)) {
			return errPast
		}
	}
	return s.api.Read(ctx, r, take)
}

// TestSlowBackfillLosesNoMoreThanItsWait: a reading whose turn comes late begins where
// the API's retention will be by then; else the oldest chunk would fail until all of it
// is gone.
func TestSlowBackfillLosesNoMoreThanItsWait(t *testing.T) {
	inBubble(t, 10*time.Hour, func(b *bench) {
		b.api.retention = 10 * time.Hour
		for i := range 600 {
			at := b.start.Add(-10*time.Hour + time.Duration(i)*time.Minute)
			b.api.add(stream, fmt.Sprint("event-", i), at, at)
		}
		b.during(slowTurns{b.api, 3 * time.Minute}, 3*time.Hour, func() {})
		if gone := b.ledger().Gaps; len(gone) != 1 || gone[0].Length() > 15*time.Minute {
			b.Errorf("lost: %+v", gone)
		}
		if l := b.ledger(); len(l.Wanted) > 0 {
			b.Errorf("wanted: %v", l.Wanted)
		}
	})
}
