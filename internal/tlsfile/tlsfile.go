// Package tlsfile makes TLS configurations from files that may change under a running
// process. Every file is read again for every connection, so a renewed certificate and a
// rotated authority are taken without a restart. A file that is missing or half written
// while it is replaced does not end anything: the last good content stays in use, and Warn
// is told. How a server's certificate is verified is left to crypto/tls, unchanged.
package tlsfile

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync"
)

// Files are the files of one kind of connection. Its fields do not change once Config was
// called; it must not be copied after that.
type Files struct {
	Prefix string // of the variables that errors name: PrefixCA_FILE, PrefixKEY_PASSWORD …
	CA     string // PEM, "" for the system's authorities
	// Cert is the own certificate, "" for none: PEM with its chain, or PKCS#12 with the key.
	Cert string
	Key  string // PEM; "" where Cert holds the key as well
	// Password returns what Key or Cert is encrypted with; nil where nothing may be.
	Password func() string
	// Warn is told of a file that cannot be used while an earlier content of it is, once
	// for each cause. It may be nil.
	Warn func(error)

	mu          sync.Mutex
	authorities part[*x509.CertPool]
	own         part[*tls.Certificate]
}

// Error is a file that cannot be used.
type Error struct {
	Variable string // that names the file
	Text     string // what is wrong, and what was expected
}

func (e *Error) Error() string { return e.Variable + ": " + e.Text }

// part is what files held when they could last be used.
type part[T any] struct {
	good  T
	known bool
	said  string // the fault that Warn was told
}

// take returns what read returns, or else the last good content.
func (p *part[T]) take(read func() (T, error), warn func(error)) (T, error) {
	now, err := read()
	switch {
	case err == nil:
		p.good, p.known, p.said = now, true, ""
	case !p.known:
		return now, err
	case warn != nil && p.said != err.Error():
		p.said = err.Error()
		warn(fmt.Errorf("%w; what it held before stays in use", err))
	}
	return p.good, nil
}

// Config reads the files and returns a configuration for one connection; a later one needs
// another call. Its errors are joined Errors, one for each file, and only come where nothing
// was read before. The caller, or its dialer, sets ServerName.
func (f *Files) Config() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	authorities, caErr := f.authorities.take(f.readAuthorities, f.Warn)
	own, ownErr := f.own.take(f.readOwn, f.Warn)
	if caErr != nil || ownErr != nil {
		return nil, errors.Join(caErr, ownErr)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	if own != nil {
		// Not Certificates: of those none is shown where the server lists other authorities,
		// and what it then refuses is harder to understand.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return config, nil
}

// Faults returns what is wrong with the files as they are now.
func (f *Files) Faults() []*Error {
	var faults []*Error
	_, caErr := f.readAuthorities()
	_, ownErr := f.readOwn()
	for _, err := range []error{caErr, ownErr} {
		if fault, ok := errors.AsType[*Error](err); ok {
			faults = append(faults, fault)
		}
	}
	return faults
}

// DialTLS connects as http.Transport.DialTLSContext does, with the files as they are now.
func (f *Files) DialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	config, err := f.Config()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, network, addr) // it sets ServerName
}

// readAuthorities returns nil for those of the system.
func (f *Files) readAuthorities() (*x509.CertPool, error) {
	if f.CA == "" {
		return nil, nil
	}
	content, err := read(f.CA)
	if err != nil {
		return nil, f.unusable("CA_FILE", f.CA, err, "a PEM file of certificates")
	}
	if err := f.rejectAuthorities(content); err != nil {
		return nil, err
	}
	blocks, err := split(content)
	if err != nil {
		return nil, f.unusable("CA_FILE", f.CA, err, "a PEM file of certificates")
	}
	pool, found := x509.NewCertPool(), false
	for _, block := range blocks {
		// One that Go does not understand does not spoil the others, as in AppendCertsFromPEM.
		if cert, err := x509.ParseCertificate(block.Bytes); block.Type == "CERTIFICATE" && err == nil {
			pool.AddCert(cert)
			found = true
		}
	}
	if !found {
		return nil, f.unusable("CA_FILE", f.CA, errNoCertificate, "a PEM file of certificates")
	}
	return pool, nil
}

// rejectAuthorities names the command that makes a PEM file of what is not one.
func (f *Files) rejectAuthorities(content []byte) error {
	switch kindOf(f.CA, content) {
	case kindJKS:
		return f.unusable("CA_FILE", f.CA, errJKS, "a PEM file of certificates: keytool -list -rfc -keystore "+f.CA+" > ca.pem")
	case kindPKCS12:
		return f.unusable("CA_FILE", f.CA, errors.New("it is PKCS#12"), "a PEM file of certificates: openssl pkcs12 -nokeys -in "+f.CA+" -out ca.pem")
	case kindDER:
		return f.unusable("CA_FILE", f.CA, errors.New("it is DER"), "a PEM file of certificates: openssl x509 -inform der -in "+f.CA+" -out ca.pem")
	}
	return nil
}

// readOwn returns nil where there is no certificate to show.
func (f *Files) readOwn() (*tls.Certificate, error) {
	if f.Cert == "" {
		return nil, nil
	}
	content, err := read(f.Cert)
	if err != nil {
		return nil, f.unusable("CERT_FILE", f.Cert, err, "a PEM or PKCS#12 file of a certificate")
	}
	switch kindOf(f.Cert, content) {
	case kindJKS:
		return nil, f.unusable("CERT_FILE", f.Cert, errJKS,
			"PEM or PKCS#12: keytool -importkeystore -srckeystore "+f.Cert+" -destkeystore client.p12 -deststoretype PKCS12")
	case kindPKCS12:
		if f.Key != "" && f.Key != f.Cert {
			return nil, &Error{f.Prefix + "KEY_FILE", "is set, and the PKCS#12 file of " + f.Prefix + "CERT_FILE holds the key; expected one of them"}
		}
		pair, err := f.decodePKCS12(content)
		if errors.Is(err, errNoPassword) {
			return nil, f.unusable("CERT_FILE", f.Cert, fmt.Errorf("it %w", err), "PEM files: openssl pkcs12 -nodes -in "+f.Cert+" -out tls.pem")
		}
		if err != nil {
			return nil, f.unusable("CERT_FILE", f.Cert, err, "a PKCS#12 file of a certificate and its key")
		}
		return pair, nil
	case kindDER:
		return nil, f.unusable("CERT_FILE", f.Cert, errors.New("it is DER"), "PEM: openssl x509 -inform der -in "+f.Cert+" -out tls.crt")
	}
	return f.readPair(content)
}

func (f *Files) readPair(certificates []byte) (*tls.Certificate, error) {
	content, file := certificates, "CERT_FILE"
	if f.Key != "" {
		file = "KEY_FILE"
		var err error
		if content, err = read(f.Key); err != nil {
			return nil, f.unusable(file, f.Key, err, "a PEM file of the key of "+f.Prefix+"CERT_FILE")
		}
	}
	path := cmp.Or(f.Key, f.Cert)
	switch kindOf(path, content) {
	case kindJKS, kindPKCS12:
		return nil, f.unusable(file, path, errors.New("it is a keystore"), "a PEM file of the key, or PKCS#12 in "+f.Prefix+"CERT_FILE and no "+f.Prefix+"KEY_FILE")
	}
	key, err := f.decodeKey(content)
	switch {
	case errors.Is(err, errNoKey) && f.Key == "":
		return nil, &Error{f.Prefix + "KEY_FILE", "is not set; expected the key of the certificate in " + f.Prefix + "CERT_FILE"}
	case errors.Is(err, errNoPassword):
		return nil, f.unusable(file, path, fmt.Errorf("the key %w", err), "one that is not: openssl pkey -in "+path+" -out tls.key")
	case err != nil:
		return nil, f.unusable(file, path, err, "a PEM file of a key")
	}
	if _, err := split(certificates); err != nil {
		return nil, f.unusable("CERT_FILE", f.Cert, err, "a PEM file of a certificate")
	}
	pair, err := tls.X509KeyPair(certificates, key)
	if err != nil {
		return nil, &Error{f.Prefix + "CERT_FILE", fmt.Sprintf("cannot use %s with %s: %v; expected a certificate and its key", strconv.Quote(f.Cert), strconv.Quote(path), err)}
	}
	return &pair, nil
}

func (f *Files) unusable(variable, path string, err error, expected string) *Error {
	return &Error{f.Prefix + variable, fmt.Sprintf("cannot use %s: %v; expected %s", strconv.Quote(path), err, expected)}
}

// maxBytes is far more than a system's whole bundle of authorities has.
const maxBytes = 4 << 20

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var content []byte
		if content, err = io.ReadAll(io.LimitReader(f, maxBytes+1)); err == nil {
			if len(content) > maxBytes {
				return nil, errors.New("it is too long for a file of certificates")
			}
			return content, nil
		}
	}
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err // the message has the path already
	}
	return nil, err
}
