package consumer

import (
	"context"
	"slices"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer/consumertest"
)

// TestRecall shows a handler what it had delivered lately, all of it before anything new.
func TestRecall(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	config.Recall = 5 * time.Minute
	now := time.Now()
	old := topic.CommitAt(now.Add(-time.Hour), topic.Events(30)...)
	topic.Abort(topic.Events(10)...)
	lately := topic.CommitAt(now.Add(-2*time.Minute), topic.Events(30)...)
	e := newEndpoint()
	stop := start(t, config, e.handle)
	delivered(t, e, append(old, lately...))
	committed(t, topic)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(e.recalled) > 0 {
		t.Errorf("a new group recalled %d messages", len(e.recalled))
	}
	ids := topic.CommitAt(now, topic.Events(20)...)
	again := newEndpoint()
	recalledFirst := true
	start(t, config, func(ctx context.Context, messages []Message) (int, error) {
		again.mu.Lock()
		recalledFirst = recalledFirst && (!messages[0].Recalled || len(again.got) == 0)
		again.mu.Unlock()
		return again.handle(ctx, messages)
	})
	delivered(t, again, ids)
	again.judge(t, ids, 1)
	again.mu.Lock()
	defer again.mu.Unlock()
	if !recalledFirst {
		t.Error("something was recalled after something new was delivered")
	}
	slices.Sort(lately)
	if got := slices.Sorted(slices.Values(again.recalled)); !slices.Equal(got, lately) {
		t.Errorf("recalled %d messages, not %d", len(got), len(lately))
	}
}

// TestRecallOfWhatIsGone finds nothing to recall: retention has deleted it, and
// more. What is left is delivered all the same.
func TestRecallOfWhatIsGone(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	config.Recall = 5 * time.Minute
	e := newEndpoint()
	stop := start(t, config, e.handle)
	delivered(t, e, topic.Commit(topic.Events(30)...))
	committed(t, topic)
	if err := stop(); err != nil {
		t.Error(err)
	}
	topic.Commit(topic.Events(30)...)
	topic.DeleteAll()
	ids := topic.Commit(topic.Events(30)...)
	again := newEndpoint()
	start(t, config, again.handle)
	delivered(t, again, ids)
	committed(t, topic)
	again.judge(t, ids, 1)
}

// TestRecallLeavesOutWhatWasLeftOut has a record among those recalled that was
// skipped, by a consumer that skips no more.
func TestRecallLeavesOutWhatWasLeftOut(t *testing.T) {
	topic := consumertest.New(t)
	config := configOf(t, topic)
	config.Recall, config.OnRefused = 5*time.Minute, RefusedSkip
	lately := topic.Commit(topic.Events(10)...)
	topic.Foreign(1)
	e := newEndpoint()
	stop := start(t, config, e.handle)
	delivered(t, e, lately)
	committed(t, topic)
	if err := stop(); err != nil {
		t.Error(err)
	}
	ids := topic.Commit(topic.Events(10)...)
	config.OnRefused = RefusedRetry
	again := newEndpoint()
	start(t, config, again.handle)
	delivered(t, again, ids)
	again.judge(t, ids, 1)
	again.mu.Lock()
	defer again.mu.Unlock()
	if len(again.recalled) != len(lately) {
		t.Errorf("recalled %d messages, not %d", len(again.recalled), len(lately))
	}
}
