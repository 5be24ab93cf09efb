package main

import (
	"testing"
	"time"
)

// TestIdleCostsFewTransactions: polls that find nothing commit nothing by themselves. What
// they covered goes with the next event, and with the end of the process.
func TestIdleCostsFewTransactions(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil, unlimited())
	a, stop := s.start()
	s.published(20 * time.Second)
	s.world.Org.Emit(1)
	s.published(20 * time.Second)
	before, _ := s.transactions()
	polls := s.requests()
	time.Sleep(3 * time.Second)
	after, _ := s.transactions()
	polls = s.requests() - polls
	if polls < 8 || after-before > 1 { // one where it is half a minute after the start
		t.Errorf("%d requests that found nothing took %d transactions", polls, after-before)
	}
	for _, stream := range a.Snapshot().Streams {
		if stream.Lag > 2*time.Second {
			t.Errorf("%s is %s behind, it is said", stream.Name, stream.Lag)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if end, _ := s.transactions(); end != after+1 {
		t.Errorf("the end of the process took %d transactions", end-after)
	}
}

// requests is how many the organisation has answered.
func (s *scene) requests() (n int) {
	for _, byStatus := range s.world.Org.Stats().Requests {
		for _, count := range byStatus {
			n += count
		}
	}
	return n
}
