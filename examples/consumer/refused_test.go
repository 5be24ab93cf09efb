package consumer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"genesys-audit-connector/examples/consumer/consumertest"
)

func TestRefused(t *testing.T) {
	for _, policy := range []string{RefusedRetry, RefusedSkip} {
		t.Run(policy, func(t *testing.T) {
			topic := consumertest.New(t)
			config := configOf(t, topic)
			config.OnRefused = policy
			ids := topic.Commit(topic.Events(30)...)
			bad := ids[len(ids)/2]
			e := newEndpoint()
			e.fault = func(m *Message) error {
				if m.ID == bad {
					return fmt.Errorf("%w: too large", ErrRefused)
				}
				return nil
			}
			start(t, config, e.handle)
			if policy == RefusedSkip {
				committed(t, topic)
				rest := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == bad })
				e.judge(t, rest, 1)
				return
			}
			consumertest.Await(t, "some delivery", 10*time.Second, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.got) > 0 })
			if topic.Lag(testGroup) == 0 {
				t.Error("what was refused is committed")
			}
			e.setFault(nil)
			delivered(t, e, ids)
			committed(t, topic)
			e.judge(t, ids, 1)
		})
	}
}

// TestForeignRecord has a record in the topic that is no change. It holds up its
// partition, behind what came before it, and no other one, until it is left out.
func TestForeignRecord(t *testing.T) {
	const foreignPartition = 1
	topic := consumertest.New(t)
	config := configOf(t, topic)
	logs, seen := observer.New(zap.ErrorLevel)
	config.Log = zap.New(logs)
	ids := topic.Commit(topic.Events(20)...)
	topic.Foreign(foreignPartition)
	after := topic.Commit(topic.Events(20)...)
	e := newEndpoint()
	stop := start(t, config, e.handle)
	complaint := func() string {
		if all := seen.FilterMessage("cannot go on").All(); len(all) > 1 { // it is tried again
			return fmt.Sprint(all[0].ContextMap()["error"])
		}
		return ""
	}
	delivered(t, e, ids)
	consumertest.Await(t, "the other partitions' end", 20*time.Second, func() bool { return topic.Lag(testGroup, 0, 2) == 0 })
	consumertest.Await(t, "a complaint", 20*time.Second, func() bool { return complaint() != "" })
	if text := complaint(); !strings.Contains(text, fmt.Sprintf("%s-%d at ", topic.Name, foreignPartition)) || !strings.Contains(text, "ON_REFUSED=skip") {
		t.Errorf("a record that is no change: %s", text)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if e.has(after) || topic.Lag(testGroup) <= 0 {
		t.Error("what stands behind a record that is no change is delivered")
	}
	config.OnRefused = RefusedSkip
	start(t, config, e.handle)
	delivered(t, e, after)
	committed(t, topic)
	e.judge(t, slices.Concat(ids, after), 1)
}
