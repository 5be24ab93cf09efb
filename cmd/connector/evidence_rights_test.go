package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestEvidenceTopicThatMayNotBeWritten, as after an upgrade under rights that were given by
// topic: where no log has begun, that holds no event up.
func TestEvidenceTopicThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	for _, may := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe} {
		t.Run(may.String(), func(t *testing.T) {
			o := unlimited()
			o.OtherTypes = -1
			acls := []kfake.ACL{}
			acl := func(resource kmsg.ACLResourceType, name string, pattern kmsg.ACLResourcePatternType, o kmsg.ACLOperation) {
				acls = append(acls, kfake.ACL{Resource: resource, Name: name, Operation: o, Pattern: pattern, Allow: true})
			}
			s := newScene(t, []string{"127.0.0.1:1"}, o)
			for _, variable := range []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES", "KAFKA_TOPIC_OFFSETS"} {
				acl(kmsg.ACLResourceTypeTopic, s.env[variable], kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLOperationAll)
			}
			acl(kmsg.ACLResourceTypeGroup, "*", kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLOperationAll)
			acl(kmsg.ACLResourceTypeTransactionalId, "*", kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLOperationAll)
			acl(kmsg.ACLResourceTypeCluster, "kafka-cluster", kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLOperationCreate)
			acl(kmsg.ACLResourceTypeTopic, s.env["KAFKA_TOPIC_EVIDENCE"], kmsg.ACLResourcePatternTypeLiteral, may)
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"),
				kfake.User("PLAIN", "u", "p", acls...), kfake.GroupMinSessionTimeout(200*time.Millisecond), kfake.SeedTopics(1, s.env["KAFKA_TOPIC_EVIDENCE"]))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(fake.Close)
			s.env["KAFKA_BROKERS"] = strings.Join(fake.ListenAddrs(), ",")
			s.env["KAFKA_SASL_MECHANISM"], s.env["KAFKA_SASL_USERNAME"], s.env["KAFKA_SASL_PASSWORD"] = "PLAIN", "u", "p"
			s.env["KAFKA_TLS"] = "false"
			s.world.Org.Backfill(20, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
			a, stop := s.start()
			for deadline := time.Now().Add(30 * time.Second); a.Snapshot().Events.Published < 20; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d of 20 events are published: %s", a.Snapshot().Events.Published, lastError(a))
				}
			}
			if e := lastError(a); !strings.Contains(e, "no evidence log is kept") {
				t.Errorf("it says %q", e)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func lastError(a *app) string {
	snapshot := a.Snapshot()
	if e := snapshot.Status().LastError; e != nil {
		return *e
	}
	return ""
}
