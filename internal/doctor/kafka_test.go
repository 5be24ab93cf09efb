package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	kplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"genesys-audit-connector/internal/txn"
)

// TestKafka breaks one thing of the cluster at a time.
func TestKafka(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(*ward) // before it is admitted
		then   func(*ward) // after that
		want   map[string]symptom
	}{
		"no topics yet": {
			breaks: func(w *ward) { w.exist = nil },
			want:   map[string]symptom{"topic raw": {OK, "will be created, partitions: 3", ""}, "topic offsets": {OK, "will be created, partitions: 1", ""}},
		},
		"no broker": {
			breaks: func(w *ward) { w.dial.Brokers = []string{nowhere(w.T)} },
			want:   map[string]symptom{"brokers": {Failed, "refused", "KAFKA_BROKERS"}},
		},
		"a broker that is silent": {
			breaks: func(w *ward) {
				l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, nobody else does
				if err != nil {
					w.Fatal(err)
				}
				w.Cleanup(func() { _ = l.Close() })
				w.dial.Brokers, w.dial.DialTimeout = []string{l.Addr().String()}, 200*time.Millisecond
			},
			want: map[string]symptom{"brokers": {Failed, "no answer in time", "firewall"}},
		},
		"one of two addresses": {
			breaks: func(w *ward) { w.deadToo = true },
			want:   map[string]symptom{"brokers": {Warning, "refused", "KAFKA_BROKERS"}},
		},
		"a broker that is elsewhere": {
			then: func(w *ward) { advertise(w.fake, nowhere(w.T)) },
			want: map[string]symptom{"brokers": {Failed, "the cluster says that a broker is there", "advertised.listeners"}},
		},
		"an authority that is not known": {
			breaks: func(w *ward) {
				served, _ := certificate(w.T)
				_, others := certificate(w.T)
				w.broker = append(w.broker, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{served}}))
				w.dial.TLS, w.exist = func() (*tls.Config, error) { return &tls.Config{RootCAs: others}, nil }, nil
			},
			want: map[string]symptom{"brokers": {Failed, "x509", "KAFKA_TLS_CA_FILE"}},
		},
		"a listener with TLS, asked without": {
			breaks: func(w *ward) {
				served, _ := certificate(w.T)
				w.broker = append(w.broker, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{served}}))
				w.exist = nil
			},
			want: map[string]symptom{"brokers": {Failed, "", "KAFKA_TLS"}},
		},
		"wrong password": {
			breaks: func(w *ward) { w.dial.SASL = plain.Mechanism{Username: "u", Password: "wrong-" + canary} },
			want:   map[string]symptom{"SASL": {Failed, "PLAIN", "KAFKA_SASL_PASSWORD"}},
		},
		"offsets not compacted": {
			breaks: func(w *ward) { w.exist[offsets] = topicLike{1, map[string]string{"cleanup.policy": "delete"}, 0} },
			want:   map[string]symptom{"topic offsets": {Failed, "must be compacted", "--add-config cleanup.policy=compact"}},
		},
		"offsets of two partitions": {
			breaks: func(w *ward) { w.exist[offsets] = topicLike{2, map[string]string{"cleanup.policy": "compact"}, 0} },
			want:   map[string]symptom{"topic offsets": {Failed, "has 2 partitions", "use another topic"}},
		},
		"missing, and not to be created": {
			breaks: func(w *ward) { delete(w.exist, changes); w.kafka.Create = false },
			want:   map[string]symptom{"topic changes": {Failed, "does not exist", "kafka-topics --create --topic " + changes}},
		},
		"a topic that cannot be erased from": {
			breaks: func(w *ward) {
				w.kafka.Raw.Configs, w.kafka.Changes.Configs = compact, compact
				w.exist[raw] = topicLike{3, compact, 0}
			},
			want: map[string]symptom{"topic changes": {Warning, "KAFKA_ERASABLE", "cleanup.policy=compact"}},
		},
		"a topic that forgets": {
			breaks: func(w *ward) { w.exist[raw] = topicLike{3, map[string]string{"retention.ms": "604800000"}, 0} },
			want:   map[string]symptom{"topic raw": {Warning, "after 7d", "retention.ms=-1"}},
		},
		"a topic that deletes what is backfilled": {
			breaks: func(w *ward) {
				w.exist[raw] = topicLike{3, map[string]string{"retention.ms": "604800000"}, 0}
				w.kafka.EventTime, w.kafka.Reach = true, 30*day
			},
			want: map[string]symptom{"topic raw": {Failed, "older than 7d", "KAFKA_RECORD_TIME=publish"}},
		},
		"a topic that refuses what is backfilled": {
			breaks: func(w *ward) {
				w.exist[raw] = topicLike{3, map[string]string{"retention.ms": "-1", "message.timestamp.before.max.ms": "604800000"}, 0}
				w.kafka.EventTime, w.kafka.Reach = true, 30*day
			},
			want: map[string]symptom{"topic raw": {Failed, "older than 7d (message.timestamp.before.max.ms)", "KAFKA_RECORD_TIME=publish"}},
		},
		"a topic of small records": {
			breaks: func(w *ward) {
				w.exist[changes] = topicLike{3, map[string]string{"retention.ms": "-1", "max.message.bytes": "100000"}, 0}
			},
			want: map[string]symptom{"topic changes": {Warning, "up to 100000 bytes", "max.message.bytes=10485760"}},
		},
		"one replica": {
			breaks: func(w *ward) { w.exist[raw] = topicLike{3, forever, 1} },
			want:   map[string]symptom{"topic raw": {Warning, "replication factor 1", "kafka-reassign-partitions --execute"}},
		},
		"one broker is enough": {
			breaks: func(w *ward) { w.exist[offsets] = like(compact, "min.insync.replicas", "1") },
			want:   map[string]symptom{"topic offsets": {Warning, "min.insync.replicas=1", "--topic " + offsets + " --add-config min.insync.replicas=2"}},
		},
		"unclean election": {
			breaks: func(w *ward) { w.exist[changes] = like(forever, "unclean.leader.election.enable", "true") },
			want:   map[string]symptom{"topic changes": {Warning, "unclean.leader.election.enable=true", "--add-config unclean.leader.election.enable=false"}},
		},
		"a topic that forgets by size": {
			breaks: func(w *ward) { w.exist[raw] = like(forever, "retention.bytes", "1000000") },
			want:   map[string]symptom{"topic raw": {Warning, "beyond 1000000 bytes", "--add-config retention.bytes=-1"}},
		},
		"clocks must agree": {
			breaks: func(w *ward) { w.exist[offsets] = like(compact, "message.timestamp.after.max.ms", "60000") },
			want:   map[string]symptom{"topic offsets": {Warning, "more than 1m0s from a broker's clock (message.timestamp.after.max.ms)", "--add-config message.timestamp.after.max.ms=3600000"}},
		},
		"records are stamped": {
			breaks: func(w *ward) {
				w.exist[raw] = like(forever, "message.timestamp.type", "LogAppendTime")
				w.kafka.EventTime = true
			},
			want: map[string]symptom{"topic raw": {Warning, "LogAppendTime", "KAFKA_RECORD_TIME=publish"}},
		},
		"offsets that would be deleted": {
			breaks: func(w *ward) {
				w.exist[offsets] = like(compact, "cleanup.policy", "compact,delete", "retention.ms", "604800000")
			},
			want: map[string]symptom{"topic offsets": {Failed, "never delete", "--add-config retention.ms=-1,retention.bytes=-1"}},
		},
		"offsets that would be deleted by size": {
			breaks: func(w *ward) {
				w.exist[offsets] = like(forever, "cleanup.policy", "compact,delete", "retention.bytes", "1000000")
			},
			want: map[string]symptom{"topic offsets": {Failed, "retention.bytes=1000000 and must be compacted, and never delete", "--add-config retention.ms=-1,retention.bytes=-1"}},
		},
		"offsets that are never deleted": {
			breaks: func(w *ward) {
				w.exist[offsets] = like(forever, "cleanup.policy", "compact,delete", "retention.bytes", "-1")
			},
			want: nil,
		},
		"the cluster allows less": {
			breaks: func(w *ward) { delete(w.exist, raw) },
			then: func(w *ward) {
				refuseTopics(w.fake, "Config property 'max.message.bytes' with value '10485760' exceeded max limit of 2097164", func(configs map[string]string) bool {
					n, _ := strconv.Atoi(configs["max.message.bytes"])
					return n > 2097164
				})
			},
			want: map[string]symptom{"topic raw": {Warning, "max.message.bytes=10485760 was asked for and is 2097164", "--config max.message.bytes=10485760"}},
		},
		"a quota": {
			breaks: func(w *ward) { w.dial.ClientID = "audit" },
			then:   func(w *ward) { setQuota(w, "client-id", "audit", "producer_byte_rate", 1024) },
			want:   map[string]symptom{"quotas": {Warning, "producer_byte_rate is 1024", "--entity-type clients --entity-name audit --delete-config producer_byte_rate"}},
		},
		"a quota of somebody else": {
			breaks: func(w *ward) { w.dial.ClientID = "audit" },
			then:   func(w *ward) { setQuota(w, "client-id", "other", "producer_byte_rate", 1024) },
			want:   map[string]symptom{"quotas": {OK, "none", ""}},
		},
		"quotas are not told": {
			breaks: func(w *ward) { w.acls = rights() },
			want:   map[string]symptom{"quotas": {Skipped, "DescribeConfigs on the cluster", ""}},
		},
		"requests that are not served": {
			then: func(w *ward) { serveAsEventHubs(w.fake) },
			want: map[string]symptom{"brokers": {Failed, "versions 4 to 6 of Fetch", "docs/kafka.md"}},
		},
		"no rights at all": {
			breaks: func(w *ward) { w.acls = nil },
			want: map[string]symptom{
				"topic raw":        {Failed, "lacks Write on topic raw-topic", "--operation Read --topic raw-topic"},
				"topic changes":    {Failed, "lacks DescribeConfigs on topic changes-topic", "--operation Write --topic changes-topic"},
				"topic offsets":    {Failed, "lacks Create on topic offsets-topic", "--operation Create --topic offsets-topic"},
				"group":            {Failed, "lacks Read on group audit-group", "--operation Read --group audit-group"},
				"transactional id": {Failed, "lacks Write on transactional id audit-group", "--operation Write --transactional-id audit-group"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			if c.breaks != nil {
				c.breaks(w)
			}
			d := w.admit()
			if c.then != nil {
				c.then(w)
			}
			examine(t, d).expect(t, c.want)
		})
	}
}

var (
	forever = map[string]string{"retention.ms": "-1", "max.message.bytes": "10485760"}
	compact = map[string]string{"cleanup.policy": "compact", "max.message.bytes": "10485760"}
)

// like is a topic with other configurations: key, value, key, value.
func like(configs map[string]string, others ...string) topicLike {
	configs = maps.Clone(configs)
	for i := 0; i < len(others); i += 2 {
		configs[others[i]] = others[i+1]
	}
	return topicLike{1, configs, 0}
}

// refuseTopics makes the cluster refuse topics by a policy.
func refuseTopics(fake *kfake.Cluster, message string, refuse func(configs map[string]string) bool) {
	fake.ControlKey(kmsg.CreateTopics.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.CreateTopicsRequest)
		configs := map[string]string{}
		for _, c := range req.Topics[0].Configs {
			configs[c.Name] = *c.Value
		}
		if !refuse(configs) {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		topic := kmsg.NewCreateTopicsResponseTopic()
		topic.Topic, topic.ErrorCode, topic.ErrorMessage = req.Topics[0].Topic, kerr.PolicyViolation.Code, &message
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
}

func setQuota(w *ward, kind, name, key string, value float64) {
	w.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.fake.ListenAddrs()...), kgo.SASL(kplain.Auth{User: "admin", Pass: "admin"}.AsMechanism()))
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	altered, err := kadm.NewClient(client).AlterClientQuotas(w.Context(), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: kind, Name: &name}}, Ops: []kadm.AlterClientQuotaOp{{Key: key, Value: value}},
	}})
	if err != nil || altered[0].Err != nil {
		w.Fatal(err, altered)
	}
}

// serveAsEventHubs makes the cluster say of Fetch what Azure Event Hubs says
// (github.com/oliveigah/klife/issues/13).
func serveAsEventHubs(fake *kfake.Cluster) {
	fake.ControlKey(kmsg.ApiVersions.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.ApiVersionsRequest)
		res := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key := range int16(kmsg.MaxKey) + 1 {
			if known := kmsg.RequestForKey(key); known != nil {
				served := kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: known.MaxVersion()}
				if key == kmsg.Fetch.Int16() {
					served.MinVersion, served.MaxVersion = 4, 6
				}
				res.ApiKeys = append(res.ApiKeys, served)
			}
		}
		return res, nil, true
	})
}

// TestEventHubsAreKnownByTheirName: whatever they answer, or whether they do.
func TestEventHubsAreKnownByTheirName(t *testing.T) {
	for _, b := range []txn.Broker{
		{Addr: "acme.servicebus.windows.net:9093", Configured: true, Err: errNoAnswer},
		{Addr: "ACME.servicebus.windows.net:9093", Lacks: []error{errNoAnswer}},
	} {
		var f finding
		Kafka{}.unserved(&f, b)
		if f.status != Failed || len(f.details) != 1 || !strings.Contains(f.details[0], "Azure Event Hubs does not work: it serves Fetch up to version 6") {
			t.Errorf("%+v: %+v", b, f)
		}
	}
	var f finding
	Kafka{}.unserved(&f, txn.Broker{Addr: "acme.servicebus.windows.net:9093"})
	Kafka{}.unserved(&f, txn.Broker{Addr: "elsewhere:9093", Err: errNoAnswer})
	if f.status != "" {
		t.Errorf("one that serves everything, one that is not reached: %+v", f)
	}
}

// advertise makes the cluster say that it has one more broker, at an address.
func advertise(fake *kfake.Cluster, addr string) {
	host, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	brokers := fake.ListenAddrs()
	fake.ControlKey(kmsg.Metadata.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		req := kreq.(*kmsg.MetadataRequest)
		if len(req.Topics) > 0 {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.MetadataResponse)
		for i, known := range brokers {
			h, p, _ := net.SplitHostPort(known)
			n, _ := strconv.Atoi(p)
			res.Brokers = append(res.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(i), Host: h, Port: int32(n)})
		}
		res.Brokers = append(res.Brokers, kmsg.MetadataResponseBroker{NodeID: 99, Host: host, Port: int32(number)})
		return res, nil, true
	})
}

// TestEveryMissingRight takes one right after the other away: the line of that
// resource names it, says what comes of it and how to give it, and no other line
// is worse than before.
func TestEveryMissingRight(t *testing.T) {
	names := map[kmsg.ACLResourceType]string{kmsg.ACLResourceTypeTopic: "topic", kmsg.ACLResourceTypeGroup: "group", kmsg.ACLResourceTypeTransactionalId: "transactional id"}
	operations := map[kmsg.ACLOperation]string{kmsg.ACLOperationRead: "Read", kmsg.ACLOperationWrite: "Write", kmsg.ACLOperationDescribeConfigs: "DescribeConfigs", kmsg.ACLOperationCreate: "Create"}
	for i, taken := range rights() {
		resource, operation := names[taken.Resource], operations[taken.Operation]
		t.Run(operation+" "+taken.Name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			w.acls = append(w.acls[:i:i], w.acls[i+1:]...)
			if operation == "Create" {
				delete(w.exist, taken.Name)
			}
			line, status := resource, Failed
			if resource == "topic" {
				line += " " + strings.TrimSuffix(taken.Name, "-topic")
				if operation == "DescribeConfigs" || operation == "Read" && taken.Name != offsets {
					status = Warning
				}
			}
			examine(t, w.admit()).expect(t, map[string]symptom{line: {
				status, "lacks " + operation + " on " + resource + " " + taken.Name,
				"kafka-acls --add --allow-principal User:NAME --operation " + operation + " --" + strings.ReplaceAll(resource, " ", "-") + " " + taken.Name,
			}})
		})
	}
}

// certificate returns a server's certificate for loopback and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
