package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"
)

// TestStartNamesWhatMayLoseRecords: a topic that was there before, with one replica of
// several that are possible and an unclean election, is named with the cures; so is a quota.
func TestStartNamesWhatMayLoseRecords(t *testing.T) {
	s := newScene(t, nil, unlimited())
	admin := s.admin()
	value := func(s string) *string { return &s }
	configs := map[string]*string{"retention.ms": value("-1"), "unclean.leader.election.enable": value("true")}
	if r, err := admin.CreateTopic(t.Context(), 1, 1, configs, s.env["KAFKA_TOPIC_RAW"]); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	brokers, err := admin.ListBrokers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := "genesys-audit-connector"
	if altered, err := admin.AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &client}}, Ops: []kadm.AlterClientQuotaOp{{Key: "consumer_byte_rate", Value: 5e6}},
	}}); err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	c := s.spawn("run")
	s.world.Org.Emit(10)
	s.published(60 * time.Second)
	if err := c.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	out := c.out.String()
	want := []string{"unclean.leader.election.enable=false", "consumer_byte_rate"}
	if len(brokers) > 1 {
		want = append(want, "kafka-reassign-partitions")
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("the log does not say %s:\n%s", text, tailOf(out))
		}
	}
	if strings.Contains(out, s.env["KAFKA_TOPIC_CHANGES"]) {
		t.Errorf("a topic that the connector has made is named too:\n%s", tailOf(out))
	}
}

// TestAuthorityRotatesUnderTheConnector: the brokers' new authority counts for the next
// connection, without a restart.
func TestAuthorityRotatesUnderTheConnector(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "broker")
	other, _ := writeCertificate(t, t.TempDir(), "other")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "there"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	copyFile := func(from string) {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, file, string(content))
	}
	copyFile(other)
	addr := strings.Replace(fake.ListenAddrs()[0], "127.0.0.1", "localhost", 1)
	cluster, err := dialKafka(load(t, "KAFKA_BROKERS="+addr, "KAFKA_TLS=true", "KAFKA_TLS_CA_FILE="+file).Kafka, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if _, err := cluster.Partitions(t.Context(), "there"); !isUnknownAuthority(err) {
		t.Errorf("an authority that did not sign: %v", err)
	}
	copyFile(cert)
	if n, err := cluster.Partitions(t.Context(), "there"); n != 2 || err != nil {
		t.Errorf("the new authority: %d, %v", n, err)
	}
}

func isUnknownAuthority(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}
