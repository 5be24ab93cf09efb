package txn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kfake"
)

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

func TestTLSAndSASL(t *testing.T) {
	served, trusted := certificate(t)
	mechanism := func(m sasl.Mechanism, err error) sasl.Mechanism {
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, c := range map[string]struct {
		mechanism, wrong sasl.Mechanism
	}{
		"PLAIN": {plain.Mechanism{Username: "u", Password: "right"}, plain.Mechanism{Username: "u", Password: "wrong"}},
		"SCRAM-SHA-256": {
			mechanism(scram.Mechanism(scram.SHA256, "u", "right")), mechanism(scram.Mechanism(scram.SHA256, "u", "wrong")),
		},
		"SCRAM-SHA-512": {
			mechanism(scram.Mechanism(scram.SHA512, "u", "right")), mechanism(scram.Mechanism(scram.SHA512, "u", "wrong")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := kfake.NewCluster(
				kfake.NumBrokers(2), kfake.SeedTopics(1, topicLog), kfake.SeedTopics(partitions, topicWide), kfake.EnableSASL(),
				kfake.Superuser(name, "u", "right"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{served}}))
			if err != nil {
				t.Fatal(err)
			}
			defer fake.Close()
			dial := func(m sasl.Mechanism, roots *x509.CertPool) *Cluster {
				c := Dial(Config{Brokers: fake.ListenAddrs(), TLS: func() (*tls.Config, error) { return &tls.Config{RootCAs: roots}, nil }, SASL: m})
				t.Cleanup(c.Close)
				return c
			}
			cluster := dial(c.mechanism, trusted)
			p := newProducer(t, cluster, ProducerConfig{})
			ready(t, p)
			write(t, p, "one")
			commit(t, p)
			r := cluster.NewReader(topicLog, 0, First)
			defer r.Close()
			count := 0
			if err := r.ReadToEnd(within(t, 5*time.Second), func(*Record) error { count++; return nil }); err != nil || count != 1 {
				t.Errorf("%d records, %v", count, err)
			}

			ctx := within(t, 5*time.Second)
			if err := newProducer(t, dial(c.wrong, trusted), ProducerConfig{}).Init(ctx); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("wrong password: %v", err)
			}
			if ctx.Err() != nil {
				t.Error("a wrong password is tried until the time is up")
			}
			_, err = dial(c.mechanism, nil).Partitions(within(t, 5*time.Second), topicLog)
			var unknown x509.UnknownAuthorityError
			if !errors.As(err, &unknown) {
				t.Errorf("a certificate of an unknown authority: %v", err)
			}
		})
	}
}
