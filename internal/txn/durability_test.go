package txn

import (
	"strings"
	"testing"
)

// TestCureDoesNotStopWriting: min.insync.replicas as large as the replication factor stops all
// writing with one broker that is down, and a larger one with every broker there.
func TestCureDoesNotStopWriting(t *testing.T) {
	for _, c := range []struct {
		replicas, insync, brokers int
		fault, cure               string // "" for none
	}{
		{3, 1, 3, "min.insync.replicas=1", "--add-config min.insync.replicas=2"},
		{2, 1, 3, "min.insync.replicas=1", "kafka-reassign-partitions"},
		{2, 1, 2, "min.insync.replicas=1", "one broker that is down stops all writing"},
		{2, 2, 3, "", ""},
		{1, 2, 1, "min.insync.replicas=2", "--add-config min.insync.replicas=1"},
		{2, 3, 3, "min.insync.replicas=3", "--add-config min.insync.replicas=2"},
		{1, 1, 1, "", ""},
	} {
		topic := Topic{Name: "t", Partitions: 1, ReplicationFactor: c.replicas, MinInsync: c.insync, Brokers: c.brokers}
		all := topic.Weaknesses()
		if c.fault == "" && len(all) > 0 {
			t.Errorf("%+v: %v", c, all)
		}
		if c.fault != "" && (len(all) != 1 || !strings.Contains(all[0].Fault, c.fault) || !strings.Contains(all[0].Cure, c.cure)) {
			t.Errorf("%+v: %+v", c, all)
		}
		if c.brokers >= 3 && c.replicas == 2 && c.insync == 1 && strings.Index(all[0].Cure, "reassign") > strings.Index(all[0].Cure, "min.insync.replicas=2") {
			t.Errorf("%+v: the replica is to come first: %+v", c, all)
		}
	}
}
