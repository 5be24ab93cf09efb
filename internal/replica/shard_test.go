package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/txn"
)

// TestOffsetsTopicMadeAnewAndFull: other organisations share the partition, and have written
// more to the new topic than the old one held: its end tells nobody that it is another one.
func TestOffsetsTopicMadeAnewAndFull(t *testing.T) {
	b := newBroker(t)
	active := b.start()
	next(t, "term", active.terms)
	for _, id := range []string{"a", "b", "c"} {
		if err := remember(t.Context(), active.producer, id); err != nil {
			t.Fatal(err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	others := b.dial()
	for i := range 30 {
		key := fmt.Appendf(nil, "other/seen/%d", i)
		if err := others.Append(t.Context(), topic, 0, &txn.Record{Key: key, Value: []byte("0"), Time: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if again := next(t, "term with the new topic", active.terms); again.state.IDs.Len() != 0 {
		t.Errorf("the next term remembers %d ids of a topic that is gone", again.state.IDs.Len())
	}
}
