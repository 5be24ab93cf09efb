//go:build kafka

package kafkatest_test

import (
	"context"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"genesys-audit-connector/internal/kafkatest"
)

func TestNodeSurvivesKill(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{})
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers()...), Timeout: 10 * time.Second, Transport: &kafka.Transport{}}
	created, err := client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 2, ReplicationFactor: 1}},
	})
	if err != nil || created.Errors["t"] != nil {
		t.Fatal(err, created)
	}
	c.Kill(0)
	if _, err := kafka.Dial("tcp", c.Brokers()[0]); err == nil {
		t.Fatal("a killed node takes connections")
	}
	c.Restart(0)
	again := &kafka.Client{Addr: kafka.TCP(c.Brokers()...), Timeout: 10 * time.Second, Transport: &kafka.Transport{}}
	meta, err := again.Metadata(context.Background(), &kafka.MetadataRequest{Topics: []string{"t"}})
	if err != nil || len(meta.Topics) != 1 || len(meta.Topics[0].Partitions) != 2 {
		t.Fatalf("topic after a kill: %+v, %v", meta, err)
	}
}
