package txn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	askedID    = "asked-id"
	askedGroup = "asked-group"
	topicNew   = "not-there-yet"
)

// ask asks every question of rights.go, and words the answers.
func ask(t *testing.T, c *Cluster) map[string]string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	word := func(err error) string {
		switch {
		case err == nil:
			return "yes"
		case errors.Is(err, ErrUnauthorized):
			return "no"
		}
		return err.Error()
	}
	_, mayCreate := c.MayCreate(ctx, TopicSpec{Name: topicNew, Partitions: 2, Configs: map[string]string{"retention.ms": "-1"}})
	said := map[string]string{
		"transact": word(c.MayTransact(ctx, askedID, topicLog)),
		"join":     word(c.MayJoin(ctx, askedGroup)),
		"create":   word(mayCreate),
	}
	for _, topic := range []string{topicLog, topicNew} {
		exists, rights, err := c.TopicRights(ctx, topic)
		if err != nil || !rights.Told() {
			t.Errorf("rights on %s: %v, told %v", topic, err, rights.Told())
		}
		said[topic] = fmt.Sprint(exists)
		for _, o := range []Operation{OpRead, OpWrite, OpDescribeConfigs} {
			if rights.Allow(o) {
				said[topic] += " " + string(o)
			}
		}
	}
	return said
}

func expectSaid(t *testing.T, got, want map[string]string) {
	t.Helper()
	for question, answer := range want {
		if got[question] != answer {
			t.Errorf("%s: %q, want %q", question, got[question], answer)
		}
	}
}

// withACLs starts a broker on which the user has exactly these rights.
func withACLs(t *testing.T, acls ...kfake.ACL) *Cluster {
	t.Helper()
	for i := range acls {
		acls[i].Pattern, acls[i].Allow = kmsg.ACLResourcePatternTypeLiteral, true
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, topicLog),
		kfake.User("PLAIN", "u", "p", acls...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := Dial(Config{Brokers: fake.ListenAddrs(), SASL: plain.Mechanism{Username: "u", Password: "p"}})
	t.Cleanup(c.Close)
	return c
}

func TestRightsAreTold(t *testing.T) {
	const topic, group, id = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup, kmsg.ACLResourceTypeTransactionalId
	nothing := map[string]string{"transact": "no", "join": "no", "create": "no", topicLog: "false", topicNew: "false"}
	for name, c := range map[string]struct {
		acls []kfake.ACL
		want map[string]string // what is other than with no rights
	}{
		"none":            {nil, nil},
		"write an id":     {[]kfake.ACL{{Resource: id, Name: askedID, Operation: kmsg.ACLOperationWrite}}, map[string]string{"transact": "yes"}},
		"describe an id":  {[]kfake.ACL{{Resource: id, Name: askedID, Operation: kmsg.ACLOperationDescribe}}, nil},
		"write another":   {[]kfake.ACL{{Resource: id, Name: askedID + "2", Operation: kmsg.ACLOperationWrite}}, nil},
		"read a group":    {[]kfake.ACL{{Resource: group, Name: askedGroup, Operation: kmsg.ACLOperationRead}}, map[string]string{"join": "yes"}},
		"read a topic":    {[]kfake.ACL{{Resource: topic, Name: topicLog, Operation: kmsg.ACLOperationRead}}, map[string]string{topicLog: "true Read"}},
		"write a new one": {[]kfake.ACL{{Resource: topic, Name: topicNew, Operation: kmsg.ACLOperationWrite}}, map[string]string{topicNew: "false Write"}},
		"its configuration": {[]kfake.ACL{{Resource: topic, Name: topicLog, Operation: kmsg.ACLOperationDescribeConfigs}, {Resource: topic, Name: topicLog, Operation: kmsg.ACLOperationDescribe}},
			map[string]string{topicLog: "true DescribeConfigs"}},
		"create": {[]kfake.ACL{{Resource: topic, Name: topicNew, Operation: kmsg.ACLOperationCreate}}, map[string]string{"create": "yes"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, withACLs(t, c.acls...))
			expectSaid(t, got, with(nothing, c.want))
		})
	}
}

func with(base, over map[string]string) map[string]string {
	all := maps.Clone(base)
	maps.Copy(all, over)
	return all
}

func TestQuestionsDisturbNobodyFake(t *testing.T) {
	fake, _ := fakeKafka(t, 3)
	testQuestionsDisturbNobody(t, fake.ListenAddrs())
}

// testQuestionsDisturbNobody asks in the middle of a transaction, and of a leadership, under the very names: the
// transaction commits in its epoch, the leadership lasts, and nothing was created.
func testQuestionsDisturbNobody(t *testing.T, brokers []string) {
	c := dialBrokers(t, brokers)
	p := newProducer(t, c, ProducerConfig{TransactionalID: askedID})
	ready(t, p)
	epoch := p.epoch
	ctx := within(t, 90*time.Second)
	write(t, p, "asked during")
	for _, step := range []func(context.Context) error{p.sealAll, p.addPartitions, p.sendAll} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}

	e := c.NewElection(ElectionConfig{GroupID: askedGroup, Topic: topicLog, SessionTimeout: 6 * time.Second})
	running, stop := context.WithCancel(ctx)
	terms, leading, ended := 0, make(chan struct{}, 9), make(chan error, 1)
	go func() { // ends with running
		ended <- e.Run(running, func(ctx context.Context, _ int32) error {
			terms++
			leading <- struct{}{}
			<-ctx.Done()
			return nil
		})
	}()
	select {
	case <-leading:
	case <-ctx.Done():
		t.Fatal("nobody leads")
	}

	for range 3 {
		expectSaid(t, ask(t, dialBrokers(t, brokers)), map[string]string{"transact": "yes", "join": "yes", "create": "yes",
			topicLog: "true Read Write DescribeConfigs", topicNew: "false Read Write DescribeConfigs"})
	}
	if err := p.end(ctx, true); err != nil {
		t.Errorf("the transaction that was open: %v", err)
	}
	p.discard()
	p.state = stateReady
	write(t, p, "asked after")
	commit(t, p)
	got := committed(t, brokers) // beside what other tests have written there
	got.expectOnce(t, "asked during")
	got.expectOnce(t, "asked after")
	if p.epoch != epoch {
		t.Errorf("epoch %d, was %d", p.epoch, epoch)
	}
	if role := e.Role(); role != RoleActive {
		t.Errorf("role %q", role)
	}
	stop()
	<-ended
	if terms != 1 {
		t.Errorf("%d terms", terms)
	}
}

func TestEveryBrokerIsTried(t *testing.T) {
	fake, _ := fakeKafka(t, 3)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.Addr().String()
	_ = closed.Close()
	addrs := fake.ListenAddrs()
	found := dialBrokers(t, []string{addrs[0], dead}).Brokers(within(t, 10*time.Second))
	var said []string
	for _, b := range found {
		said = append(said, fmt.Sprint(b.Addr, b.Configured, b.Err == nil))
	}
	want := []string{fmt.Sprint(addrs[0], true, true), fmt.Sprint(dead, true, false), fmt.Sprint(addrs[1], false, true), fmt.Sprint(addrs[2], false, true)}
	slices.Sort(want[2:])
	if !slices.Equal(said, want) {
		t.Errorf("found %v, want %v", said, want)
	}
	if none := dialBrokers(t, []string{dead}).Brokers(within(t, 10*time.Second)); len(none) != 1 || none[0].Err == nil {
		t.Errorf("without any broker: %+v", none)
	}
}
