package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
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
				w.dial.TLS, w.exist = &tls.Config{RootCAs: others}, nil
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
			breaks: func(w *ward) { w.exist[offsets] = topicLike{1, map[string]string{"cleanup.policy": "delete"}} },
			want:   map[string]symptom{"topic offsets": {Failed, "must be compacted", "--add-config cleanup.policy=compact"}},
		},
		"offsets of two partitions": {
			breaks: func(w *ward) { w.exist[offsets] = topicLike{2, map[string]string{"cleanup.policy": "compact"}} },
			want:   map[string]symptom{"topic offsets": {Failed, "has 2 partitions", "use another topic"}},
		},
		"missing, and not to be created": {
			breaks: func(w *ward) { delete(w.exist, changes); w.kafka.Create = false },
			want:   map[string]symptom{"topic changes": {Failed, "does not exist", "kafka-topics --create --topic " + changes}},
		},
		"a topic that forgets": {
			breaks: func(w *ward) { w.exist[raw] = topicLike{3, map[string]string{"retention.ms": "604800000"}} },
			want:   map[string]symptom{"topic raw": {Warning, "after 7d", "retention.ms=-1"}},
		},
		"a topic that deletes what is backfilled": {
			breaks: func(w *ward) {
				w.exist[raw] = topicLike{3, map[string]string{"retention.ms": "604800000"}}
				w.kafka.EventTime, w.kafka.Reach = true, 30*day
			},
			want: map[string]symptom{"topic raw": {Failed, "older than 7d", "KAFKA_RECORD_TIME=publish"}},
		},
		"a topic that refuses what is backfilled": {
			breaks: func(w *ward) {
				w.exist[raw] = topicLike{3, map[string]string{"retention.ms": "-1", "message.timestamp.before.max.ms": "604800000"}}
				w.kafka.EventTime, w.kafka.Reach = true, 30*day
			},
			want: map[string]symptom{"topic raw": {Failed, "older than 7d (message.timestamp.before.max.ms)", "KAFKA_RECORD_TIME=publish"}},
		},
		"a topic of small records": {
			breaks: func(w *ward) {
				w.exist[changes] = topicLike{3, map[string]string{"retention.ms": "-1", "max.message.bytes": "100000"}}
			},
			want: map[string]symptom{"topic changes": {Warning, "up to 100000 bytes", "max.message.bytes=10485760"}},
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
