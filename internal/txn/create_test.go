package txn

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// policyRefusal is what a cluster's policy says of a topic that it does not take.
type policyRefusal struct {
	code    *kerr.Error
	message string
}

// underPolicy makes a cluster judge topics before it creates them, or says whether it would.
func underPolicy(fake *kfake.Cluster, policy func(configs map[string]string, replicas int16) *policyRefusal) {
	fake.ControlKey(kmsg.CreateTopics.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.CreateTopicsRequest)
		res := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, t := range req.Topics {
			configs := map[string]string{}
			for _, c := range t.Configs {
				configs[c.Name] = *c.Value
			}
			if r := policy(configs, t.ReplicationFactor); r != nil {
				topic := kmsg.NewCreateTopicsResponseTopic()
				topic.Topic, topic.ErrorCode, topic.ErrorMessage = t.Topic, r.code.Code, &r.message
				res.Topics = append(res.Topics, topic)
			}
		}
		return res, nil, len(res.Topics) > 0
	})
}

// observed dials with a log that is kept.
func observed(t *testing.T, fake *kfake.Cluster) (*Cluster, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	c := Dial(Config{Brokers: fake.ListenAddrs(), ClientID: "txn-test", RequestTimeout: 10 * time.Second, Logger: zap.New(core)})
	t.Cleanup(c.Close)
	return c, logs
}

func forever(size string) map[string]string {
	return map[string]string{configRetentionMs: "-1", configRetentionBytes: "-1", configMaxMessage: size}
}

// TestTopicIsMadeAsTheClusterAllows has one refusal after the other, in the words of those
// who are known to refuse, and in none. What is got is the best that is allowed.
func TestTopicIsMadeAsTheClusterAllows(t *testing.T) {
	policy := func(message string, wrong func(configs map[string]string, replicas int16) bool) func(map[string]string, int16) *policyRefusal {
		return func(configs map[string]string, replicas int16) *policyRefusal {
			if wrong(configs, replicas) {
				return &policyRefusal{kerr.PolicyViolation, message}
			}
			return nil
		}
	}
	over := func(limit int64) func(map[string]string, int16) bool {
		return func(configs map[string]string, _ int16) bool { return parsed(configs[configMaxMessage]) > limit }
	}
	for name, c := range map[string]struct {
		replicas int16
		compact  bool
		policy   func(configs map[string]string, replicas int16) *policyRefusal
		want     map[string]string // of what was asked for, what is there
		lacks    []string          // configurations that the warning names
	}{
		// github.com/confluentinc/ccloud-tools/issues/5
		"a size that is named": {
			policy: policy("Config property 'max.message.bytes' with value '10485760' exceeded max limit of 8388608.", over(8388608)),
			want:   map[string]string{configMaxMessage: "8388608", configRetentionMs: "-1"}, lacks: []string{configMaxMessage},
		},
		"a limit between those of the ladder": {
			policy: policy("max.message.bytes may be 3000000 at most", over(3000000)),
			want:   map[string]string{configMaxMessage: "3000000", configRetentionMs: "-1"}, lacks: []string{configMaxMessage},
		},
		"a limit that is not named": {
			policy: policy("max.message.bytes is too large", over(3000000)),
			want:   map[string]string{configMaxMessage: "2097152", configRetentionMs: "-1"}, lacks: []string{configMaxMessage},
		},
		"nothing but the cluster's own size": {
			policy: policy("message size", func(configs map[string]string, _ int16) bool { return configs[configMaxMessage] != "" }),
			want:   map[string]string{configMaxMessage: "1048588", configRetentionMs: "-1"}, lacks: []string{configMaxMessage},
		},
		"not for ever": {
			policy: policy("retention.ms must not be unlimited", func(configs map[string]string, _ int16) bool { return configs[configRetentionMs] == "-1" }),
			want:   map[string]string{configMaxMessage: "10485760", configRetentionMs: decades}, lacks: []string{configRetentionMs},
		},
		"at most so long": {
			policy: policy("retention.ms must be between 3600000 and 1209600000", func(configs map[string]string, _ int16) bool {
				n := parsed(configs[configRetentionMs])
				return n < 3600000 || n > 1209600000
			}),
			want: map[string]string{configMaxMessage: "10485760", configRetentionMs: "1209600000"}, lacks: []string{configRetentionMs},
		},
		// What is named may be the least: then it is not the next best.
		"at least so long, for ever excluded": {
			policy: policy("retention.ms must be at least 604800000", func(configs map[string]string, _ int16) bool { return parsed(configs[configRetentionMs]) < 604800000 }),
			want:   map[string]string{configMaxMessage: "10485760", configRetentionMs: decades}, lacks: []string{configRetentionMs},
		},
		"at least so much, without end excluded": {
			policy: policy("retention.bytes must be at least 1073741824", func(configs map[string]string, _ int16) bool {
				return parsed(configs[configRetentionBytes]) < 1073741824
			}),
			want: map[string]string{configRetentionMs: "-1", configRetentionBytes: petabyte}, lacks: []string{configRetentionBytes},
		},
		// https://docs.aws.amazon.com/msk/latest/developerguide/serverless-config.html
		"a configuration that nobody may set": {
			replicas: 3,
			policy: func(configs map[string]string, _ int16) *policyRefusal {
				if configs[configMinInsync] != "" {
					return &policyRefusal{kerr.InvalidConfig, "min.insync.replicas is not configurable"}
				}
				return nil
			},
			want: map[string]string{replicationFactor: "3", configMaxMessage: "10485760"}, lacks: []string{configMinInsync},
		},
		// github.com/confluentinc/ksql/issues/3942
		"replicas that are forced": {
			replicas: 2,
			policy:   policy("Topic replication factor must be 3", func(_ map[string]string, replicas int16) bool { return replicas != 3 }),
			want:     map[string]string{replicationFactor: "3", configMaxMessage: "10485760"},
		},
		"replicas that only the cluster chooses": {
			replicas: 2,
			policy:   policy("replication is not yours", func(_ map[string]string, replicas int16) bool { return replicas != -1 }),
			want:     map[string]string{replicationFactor: "3", configMaxMessage: "10485760"},
		},
		"deletion that is enforced": {
			compact: true,
			policy: policy("cleanup.policy must include delete", func(configs map[string]string, _ int16) bool {
				return !strings.Contains(configs[configCleanup], "delete")
			}),
			want: map[string]string{configCleanup: "compact,delete", configRetentionMs: "-1", configRetentionBytes: "-1", configMaxMessage: "10485760"},
		},
		"two refusals in no words": {
			policy: policy("see the wiki", func(configs map[string]string, _ int16) bool {
				return configs[configRetentionMs] == "-1" || parsed(configs[configMaxMessage]) > 4194304
			}),
			want:  map[string]string{configMaxMessage: "4194304", configRetentionMs: decades, configRetentionBytes: "-1"},
			lacks: []string{configRetentionMs, configMaxMessage},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake, _ := fakeKafka(t, 3)
			underPolicy(fake, c.policy)
			cluster, logs := observed(t, fake)
			spec := TopicSpec{Name: "made", Partitions: 1, ReplicationFactor: c.replicas, Configs: forever("10485760")}
			if c.compact {
				spec.Configs = map[string]string{configCleanup: "compact", configMaxMessage: "10485760"}
				spec.RequireCompacted = true
			}
			told, err := cluster.MayCreate(within(t, 20*time.Second), spec)
			if err != nil {
				t.Fatal(err)
			}
			topics, err := cluster.EnsureTopics(within(t, 20*time.Second), []TopicSpec{spec}, true)
			if err != nil {
				t.Fatal(err)
			}
			configs, err := cluster.topicConfigs(within(t, 20*time.Second), "made")
			if err != nil {
				t.Fatal(err)
			}
			got := topics[0].values(configs["made"])
			for config, want := range c.want {
				if got[config] != want {
					t.Errorf("%s is %q, not %q", config, got[config], want)
				}
			}
			for said, shortfalls := range map[string][]Shortfall{"the check": told, "the topic": topics[0].Shortfalls} {
				var names []string
				for _, s := range shortfalls {
					names = append(names, s.Config)
				}
				if said == "the topic" && !slices.Equal(names, c.lacks) {
					t.Errorf("%s lacks %v, not %v", said, names, c.lacks)
				}
				if said == "the check" && len(names) < len(c.lacks) {
					t.Errorf("%s lacks %v, not %v", said, names, c.lacks)
				}
			}
			if n := logs.Len(); n != min(1, len(c.lacks)) {
				t.Errorf("%d warnings: %v", n, logs.All())
			}
			for _, config := range c.lacks {
				if text := logs.All()[0].ContextMap()["shortfalls"].(string); !strings.Contains(text, config+"="+asked(spec, config)+" was asked for and is "+got[config]) {
					t.Errorf("the warning does not tell of %s: %s", config, text)
				}
			}
		})
	}
}

func asked(spec TopicSpec, config string) string { return spec.durable(3).Configs[config] }

func parsed(text string) int64 {
	var n int64
	for _, r := range text {
		if r < '0' || r > '9' {
			return -1
		}
		n = 10*n + int64(r-'0')
	}
	return n
}

// TestWhatNoClusterMayRefuse: where nothing would do, or brokers are missing, the refusal is told as it came.
func TestWhatNoClusterMayRefuse(t *testing.T) {
	const few = "The target replication factor of 3 cannot be reached because only 2 broker(s) are registered."
	for name, c := range map[string]struct {
		replicas int16
		refused  policyRefusal
		retry    bool
	}{
		"every topic":                          {0, policyRefusal{kerr.PolicyViolation, "no topics on Fridays"}, false},
		"a name":                               {0, policyRefusal{kerr.InvalidTopicException, "not this name"}, false},
		"more replicas than there are brokers": {3, policyRefusal{kerr.InvalidReplicationFactor, few}, false},
		"replicas that nobody named, while a broker starts": {0, policyRefusal{kerr.InvalidReplicationFactor, few}, true},
	} {
		t.Run(name, func(t *testing.T) {
			fake, _ := fakeKafka(t, 3)
			underPolicy(fake, func(_ map[string]string, replicas int16) *policyRefusal {
				if c.refused.code == kerr.InvalidReplicationFactor && replicas < 3 {
					return nil // fewer would do, and would stay when the broker is there
				}
				return &c.refused
			})
			cluster, _ := observed(t, fake)
			spec := TopicSpec{Name: "made", Partitions: 1, ReplicationFactor: c.replicas, Configs: forever("10485760")}
			_, err := cluster.EnsureTopics(within(t, 20*time.Second), []TopicSpec{spec}, true)
			fault, ok := errors.AsType[*TopicError](err)
			if !ok || fault.Topic != "made" || !strings.Contains(err.Error(), c.refused.message) || !errors.Is(err, kafka.Error(c.refused.code.Code)) {
				t.Errorf("got %v", err)
			}
			if !c.retry && !strings.Contains(err.Error(), "; create it as the cluster allows, from: kafka-topics --create --topic made --partitions 1 --replication-factor 3 ") {
				t.Errorf("no cure: %v", err)
			}
			if errors.Is(err, ErrRetry) != c.retry {
				t.Errorf("tried again: %v", !c.retry)
			}
		})
	}
}

// TestTopicsAreDurableWhereThereAreBrokers: three replicas, two of them in sync; what is set counts.
func TestTopicsAreDurableWhereThereAreBrokers(t *testing.T) {
	for _, c := range []struct {
		brokers       int
		set, replicas int16
		insync        string
		command       string // the replication factor that an operator is told
	}{
		{5, 0, 3, "2", "--replication-factor 3 "}, {3, 0, 3, "2", "--replication-factor 3 "}, {3, 3, 3, "2", "--replication-factor 3 "},
		{5, 5, 5, "2", "--replication-factor 5 "}, {3, 1, 1, "", "--replication-factor 1 "}, {3, 2, 2, "", "--replication-factor 2 "},
		{2, 0, 0, "", "--replication-factor 2 "}, {1, 0, 0, "", "--replication-factor 1 "},
	} {
		spec := TopicSpec{Name: "t", Partitions: 2, ReplicationFactor: c.set, Configs: forever("8388608")}
		given := maps.Clone(spec.Configs)
		got := spec.durable(c.brokers)
		if got.ReplicationFactor != c.replicas || got.Configs[configMinInsync] != c.insync {
			t.Errorf("%d brokers, %d set: %+v", c.brokers, c.set, got)
		}
		if !maps.Equal(spec.Configs, given) {
			t.Error("the specification itself is changed")
		}
		command := spec.suggested(c.brokers).Command()
		if !strings.HasPrefix(command, "kafka-topics --create --topic t --partitions 2 "+c.command) ||
			strings.Contains(command, "min.insync.replicas=2") != (c.insync == "2") {
			t.Errorf("%d brokers, %d set: %s", c.brokers, c.set, command)
		}
	}
	fake, _ := fakeKafka(t, 3)
	topics, err := dialFake(t, fake).EnsureTopics(within(t, 20*time.Second), []TopicSpec{{Name: "made", Partitions: 2, Configs: forever("8388608")}}, true)
	if err != nil || topics[0].ReplicationFactor != 3 || topics[0].MinInsync != 2 || topics[0].Brokers != 3 || len(topics[0].Weaknesses()) > 0 {
		t.Errorf("%+v, %v", topics, err)
	}
}

// TestQuotaThatCounts goes through the precedence of
// https://kafka.apache.org/documentation/#design_quotasconfig, from the least on.
func TestQuotaThatCounts(t *testing.T) {
	fake, _ := fakeKafka(t, 1)
	testQuotaThatCounts(t, fake.ListenAddrs())
}

func testQuotaThatCounts(t *testing.T, brokers []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin, cluster := kadm.NewClient(client), dialBrokers(t, brokers)
	name := func(s string) *string { return &s }
	entity := func(parts ...kadm.ClientQuotaEntityComponent) kadm.ClientQuotaEntity { return parts }
	user, anyUser := kadm.ClientQuotaEntityComponent{Type: "user", Name: name("me")}, kadm.ClientQuotaEntityComponent{Type: "user"}
	own, anyClient := kadm.ClientQuotaEntityComponent{Type: "client-id", Name: name("txn-test")}, kadm.ClientQuotaEntityComponent{Type: "client-id"}
	none, err := cluster.Quotas(within(t, 20*time.Second), "me")
	if err != nil || len(none) > 0 {
		t.Errorf("without any: %v, %v", none, err)
	}
	for i, c := range []struct {
		entity kadm.ClientQuotaEntity
		spelt  string
	}{
		{entity(kadm.ClientQuotaEntityComponent{Type: "user", Name: name("other")}), ""},
		{entity(kadm.ClientQuotaEntityComponent{Type: "client-id", Name: name("other")}, user), ""},
		{entity(anyClient), "--entity-type clients --entity-default"},
		{entity(own), "--entity-type clients --entity-name txn-test"},
		{entity(anyUser), "--entity-type users --entity-default"},
		{entity(anyUser, anyClient), "--entity-default"},
		{entity(anyUser, own), "--entity-name txn-test"},
		{entity(user), "--entity-type users --entity-name me"},
		{entity(user, anyClient), "--entity-name me"},
		{entity(user, own), "--entity-name me"},
	} {
		defer func() { // others use the brokers after this
			_, _ = admin.AlterClientQuotas(within(t, 20*time.Second), []kadm.AlterClientQuotaEntry{{
				Entity: c.entity, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Remove: true}},
			}})
		}()
		altered, err := admin.AlterClientQuotas(within(t, 20*time.Second), []kadm.AlterClientQuotaEntry{{
			Entity: c.entity, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: float64(1000 + i)}},
		}})
		if err != nil || altered[0].Err != nil {
			t.Fatal(err, altered)
		}
		var quotas []Quota
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // a broker learns of it a moment later
			if quotas, err = cluster.Quotas(within(t, 20*time.Second), "me"); err != nil {
				t.Fatal(err)
			}
			applied := len(quotas) == 1 && quotas[0].Value == float64(1000+i)
			if c.spelt == "" || applied || time.Now().After(deadline) {
				break
			}
		}
		switch {
		case c.spelt == "" && len(quotas) == 0:
		case len(quotas) != 1 || quotas[0].Value != float64(1000+i) || quotas[0].Key != "producer_byte_rate" || !strings.Contains(quotas[0].Cure(), c.spelt):
			t.Errorf("%v: %+v", c.entity, quotas)
		}
	}
	if quotas, err := cluster.Quotas(within(t, 20*time.Second), ""); err != nil || len(quotas) != 1 || !strings.Contains(quotas[0].Entity, "users --entity-default") {
		t.Errorf("of a user that is not known: %+v, %v", quotas, err)
	}
}
