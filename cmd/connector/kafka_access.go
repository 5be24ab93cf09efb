package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
