package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/segmentio/kafka-go/sasl"
	saslplain "github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

var errNoCertificate = errors.New("there is no certificate in it")

// reason is why a file cannot be used, without the path that the message has already.
func reason(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// Client is the configuration of TLS connections to the brokers, nil where
// there is no TLS. The connector's own certificate is read again for every
// connection, so that a renewed one is taken; a changed CA file needs a restart.
func (t KafkaTLS) Client() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	authorities, err := t.authorities()
	if err != nil {
		return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	if t.CertFile != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.certificate() }
	}
	return cfg, nil
}

// authorities is nil for those of the system.
func (t KafkaTLS) authorities() (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errNoCertificate
	}
	return pool, nil
}

func (t KafkaTLS) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

// Mechanism logs in to the brokers; nil where there is no SASL. User and
// password are read again for every connection.
func (s KafkaSASL) Mechanism() sasl.Mechanism {
	if s.MechanismName == "" {
		return nil
	}
	return login{s}
}

// login is a sasl.Mechanism whose credentials may change.
type login struct{ sasl KafkaSASL }

func (l login) Name() string { return l.sasl.MechanismName }

func (l login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	user, password := l.sasl.Username.Value(), l.sasl.Password.Value()
	algorithm := scram.SHA256
	switch l.sasl.MechanismName {
	case "PLAIN":
		return saslplain.Mechanism{Username: user, Password: password}.Start(ctx)
	case "SCRAM-SHA-512":
		algorithm = scram.SHA512
	}
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		return nil, nil, fmt.Errorf("SASL %s: %w", l.sasl.MechanismName, err)
	}
	return m.Start(ctx)
}
