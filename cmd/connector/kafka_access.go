package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/segmentio/kafka-go/sasl"
	saslplain "github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"genesys-audit-connector/internal/tlsfile"
)

// reason is why a file cannot be used, without the path that the message has already.
func reason(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// Files are those of TLS connections to the brokers, nil where there is no TLS.
func (t KafkaTLS) Files(warn func(error)) *tlsfile.Files {
	if !t.Enabled {
		return nil
	}
	return &tlsfile.Files{
		Prefix: "KAFKA_TLS_", CA: t.CAFile, Cert: t.CertFile, Key: t.KeyFile, Password: t.KeyPassword.Value, Warn: warn,
	}
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
