package main

import (
	"errors"
	"io/fs"

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
