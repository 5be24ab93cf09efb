package main

import (
	"testing"
	"time"
)

// TestEvidenceVerifyBesideAConnectorAtWork: what is published while it reads is neither
// missing nor inserted, and of what was there before nothing is left unlooked at.
func TestEvidenceVerifyBesideAConnectorAtWork(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, nil, o)
	s.world.Org.Backfill(300, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute))
	_, stop := s.start()
	s.published(60 * time.Second)
	quit := s.emitting()
	defer quit()
	before := uint64(0)
	for began, runs := time.Now(), 0; runs < 15 || runs < 200 && time.Since(began) < 8*time.Second; runs++ {
		r := s.evidenceReport(evidenceOptions{})
		if !r.OK || r.Verified < before {
			t.Fatalf("run %d, %d entries before: %+v", runs, before, r)
		}
		before = r.Size
		if runs%8 == 7 { // the next term fences this one
			older := stop
			_, stop = s.start()
			if err := older(); err != nil {
				t.Error(err)
			}
		}
	}
	quit()
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK || r.Verified != r.Size {
		t.Errorf("%+v", r)
	}
}
