package doctor

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/genesys"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/txn"
)

const (
	raw, changes, offsets = "raw-topic", "changes-topic", "offsets-topic"
	group                 = "audit-group"
	canary                = "canary-c0ffee" // every secret
)

// ward is everything that the connector needs, sound until a test breaks it
// before admit, which wires the doctor.
type ward struct {
	*testing.T
	world    sandbox.ServerOptions
	genesys  genesys.Config
	api      API
	kafka    Kafka
	dial     txn.Config
	acls     []kfake.ACL // of the user
	broker   []kfake.Opt
	exist    map[string]topicLike
	registry codec.RegistryOptions
	deadToo  bool // the first address that is configured is one on which nothing listens

	server *sandbox.Server
	fake   *kfake.Cluster
	schema *srfake.Registry
}

type topicLike struct {
	partitions int32
	configs    map[string]string
	replicas   int16 // 0: the brokers' default
}

func newWard(t *testing.T) *ward {
	w := &ward{
		T: t,
		world: sandbox.ServerOptions{
			Options: sandbox.Options{Seed: 3, ClientSecret: canary, AuditlogsLimit: sandbox.Limit{Requests: 1000, Window: time.Second}, PlatformLimit: sandbox.Limit{Requests: 1000, Window: time.Second}},
			History: 400, HistorySpan: 180 * day,
		},
		genesys: genesys.Config{Dialect: genesys.Auditlogs, RateShare: 1, RateLimit: genesys.RateLimit{Requests: 1000, Per: time.Second}, RequestTimeout: 3 * time.Second},
		api:     API{Start: func(now time.Time, _ time.Duration) time.Time { return now.Add(-day) }, Reserve: 10},
		kafka: Kafka{
			Raw:     txn.TopicSpec{Name: raw, Partitions: 3, Configs: forever},
			Changes: txn.TopicSpec{Name: changes, Partitions: 3, Configs: forever},
			Offsets: txn.TopicSpec{Name: offsets, Partitions: 1, Configs: compact, RequireCompacted: true, RequirePartitions: true},
			Create:  true, Group: group, Mechanism: "PLAIN", Reach: day,
		},
		dial:  txn.Config{SASL: plain.Mechanism{Username: "u", Password: canary}, DialTimeout: time.Second, RequestTimeout: 3 * time.Second},
		exist: map[string]topicLike{raw: {3, forever, 0}, changes: {3, forever, 0}, offsets: {1, compact, 0}},
		acls:  append(rights(), mayReadQuotas),
	}
	w.schema = srfake.New()
	t.Cleanup(w.schema.Close)
	w.registry = codec.RegistryOptions{URL: w.schema.URL(), AutoRegister: true, Password: canary, Username: "u"}
	return w
}

// rights are all that the connector is to have.
func rights() []kfake.ACL {
	acl := func(resource kmsg.ACLResourceType, name string, o kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Operation: o, Pattern: kmsg.ACLResourcePatternTypeLiteral, Allow: true}
	}
	all := []kfake.ACL{
		acl(kmsg.ACLResourceTypeTransactionalId, group, kmsg.ACLOperationWrite), acl(kmsg.ACLResourceTypeGroup, group, kmsg.ACLOperationRead),
	}
	for _, t := range []string{raw, changes, offsets} {
		for _, o := range []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationRead, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationCreate} {
			all = append(all, acl(kmsg.ACLResourceTypeTopic, t, o))
		}
	}
	return all
}

// mayReadQuotas is a right that may be missing.
var mayReadQuotas = kfake.ACL{
	Resource: kmsg.ACLResourceTypeCluster, Name: "kafka-cluster", Operation: kmsg.ACLOperationDescribeConfigs,
	Pattern: kmsg.ACLResourcePatternTypeLiteral, Allow: true,
}

// admit brings everything up.
func (w *ward) admit() *Doctor {
	w.Helper()
	var err error
	if w.server, err = sandbox.Start(w.world); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(w.server.Close)
	if w.fake, err = kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(2), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"), kfake.User("PLAIN", "u", canary, w.acls...),
		kfake.GroupMinSessionTimeout(200 * time.Millisecond),
	}, w.broker...)...); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(w.fake.Close)
	w.makeTopics()

	set := func(v *string, otherwise string) {
		if *v == "" {
			*v = otherwise
		}
	}
	set(&w.genesys.APIURL, w.server.URL)
	set(&w.genesys.LoginURL, w.server.URL)
	w.api.URL, w.api.LoginURL, w.api.Notes = w.genesys.APIURL, w.genesys.LoginURL, new(Notes)
	w.genesys.Logger = w.api.Notes.Logger()
	w.genesys.ClientID = genesys.Text("sandbox")
	if w.genesys.ClientSecret == nil {
		w.genesys.ClientSecret = genesys.Text(canary)
	}
	if w.api.Client, err = genesys.New(w.genesys); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(w.api.Client.Close)
	if w.dial.Brokers == nil {
		w.dial.Brokers = w.fake.ListenAddrs()
	}
	if w.deadToo {
		w.dial.Brokers = append([]string{nowhere(w.T)}, w.dial.Brokers...)
	}
	w.kafka.Cluster = txn.Dial(w.dial)
	w.Cleanup(w.kafka.Cluster.Close)
	w.kafka.TLS = w.dial.TLS != nil
	d := &Doctor{API: w.api, Kafka: w.kafka, Registry: Registry{Topic: changes}}
	if w.registry.URL != "" {
		if d.Registry.Client, err = codec.NewRegistry(w.registry); err != nil {
			w.Fatal(err)
		}
	}
	return d
}

func (w *ward) makeTopics() {
	w.Helper()
	config := w.dial
	config.Brokers, config.SASL = w.fake.ListenAddrs(), plain.Mechanism{Username: "admin", Password: "admin"}
	admin := txn.Dial(config)
	defer admin.Close()
	for name, like := range w.exist {
		configs := map[string]string{"min.insync.replicas": "2"} // there are two brokers
		maps.Copy(configs, like.configs)
		spec := txn.TopicSpec{Name: name, Partitions: like.partitions, ReplicationFactor: like.replicas, Configs: configs}
		if _, err := admin.EnsureTopics(w.Context(), []txn.TopicSpec{spec}, true); err != nil {
			w.Fatal(err)
		}
	}
}

// report is what the doctor says, by name.
type report map[string]Check

func examine(t *testing.T, d *Doctor) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	said := report{}
	d.Run(ctx, func(c Check) {
		if _, twice := said[c.Name]; twice {
			t.Errorf("%s is told twice", c.Name)
		}
		if strings.Contains(fmt.Sprint(c), canary) {
			t.Errorf("a secret is told: %v", c)
		}
		said[c.Name] = c
	})
	return said
}

// symptom is how one thing is expected to be found.
type symptom struct {
	status       Status
	detail, hint string // parts of them
}

// expect checks that these things are found like this, and all others good, or
// not looked at where something failed that they need.
func (r report) expect(t *testing.T, want map[string]symptom) {
	t.Helper()
	for name, c := range r {
		w, ok := want[name]
		switch {
		case !ok && (c.Status == OK || c.Status == Skipped && len(want) > 0):
		case !ok:
			t.Errorf("%s: %s: %s", name, c.Status, c.Detail)
		case c.Status != w.status || !strings.Contains(c.Detail, w.detail) || !strings.Contains(c.Hint, w.hint) || w.status == Failed && c.Hint == "":
			t.Errorf("%s: %s: %s\n → %s\nwant %s: %s\n → %s", name, c.Status, c.Detail, c.Hint, w.status, w.detail, w.hint)
		}
	}
	for name := range want {
		if _, ok := r[name]; !ok {
			t.Errorf("nothing is said of %s", name)
		}
	}
}

// nowhere is an address on which nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
