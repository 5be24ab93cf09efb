package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
)

// TestLeadAloneBesideADeploymentOfItsOwn: a command that would lead an organisation of a
// fleet that is down does not where a deployment of that organisation alone is running,
// which it could not fence.
func TestLeadAloneBesideADeploymentOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newFleetScene(t, nil, 1, 1)
	cfg, err := loadOne(envconfig.MapLookuper(s.env), "org-0")
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if _, err := a.ensureTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	group := Config{Org: "org-0"}.GroupID()
	other, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(cfg.Kafka.TopicOffsets))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for members, deadline := 0, time.Now().Add(10*time.Second); members == 0; time.Sleep(20 * time.Millisecond) {
		there, err := a.cluster.GroupMembers(t.Context(), group)
		if members = len(there); time.Now().After(deadline) {
			t.Fatalf("the other deployment is not there: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := a.leadAlone(ctx); err == nil || !strings.Contains(err.Error(), "would be published twice") {
		t.Errorf("it led beside the other one, and ended with %v", err)
	}
}
