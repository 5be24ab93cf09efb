package tlsfile

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// issue returns a certificate for a host that ends at a time.
func (a authority) issue(t *testing.T, host string, end time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pemOf returns a certificate and its key as PEM.
func pemOf(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve answers handshakes until the test ends and returns the server's port on localhost.
func serve(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port)
}

func dial(t *testing.T, f *Files, addr string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := f.DialTLS(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err
}

func TestServersAreVerifiedAsByCryptoTLS(t *testing.T) {
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	f := &Files{Prefix: "X_", CA: write(t, filepath.Join(t.TempDir(), "ca.pem"), ca.pem())}
	future := time.Now().Add(time.Hour)
	tests := map[string]struct {
		server  tls.Certificate
		refused func(error) bool
	}{
		"its own name":      {ca.issue(t, "localhost", future), func(err error) bool { return err == nil }},
		"another name":      {ca.issue(t, "elsewhere", future), is[x509.HostnameError]},
		"another authority": {stranger.issue(t, "localhost", future), is[x509.UnknownAuthorityError]},
		"expired": {ca.issue(t, "localhost", time.Now().Add(-time.Minute)), func(err error) bool {
			invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
			return ok && invalid.Reason == x509.Expired
		}},
	}
	for name, tt := range tests {
		if err := dial(t, f, serve(t, &tls.Config{Certificates: []tls.Certificate{tt.server}})); !tt.refused(err) {
			t.Errorf("a server with %s: %v", name, err)
		}
	}
	system := &Files{Prefix: "X_"}
	if err := dial(t, system, serve(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "localhost", future)}})); !is[x509.UnknownAuthorityError](err) {
		t.Errorf("a server that the system's authorities do not know: %v", err)
	}
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func TestRotatedAuthorityCountsFromTheNextConnection(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	path := write(t, filepath.Join(t.TempDir(), "ca.pem"), before.pem())
	f := &Files{Prefix: "X_", CA: path, Warn: func(err error) { t.Errorf("warned of %v", err) }}
	future := time.Now().Add(time.Hour)
	earlier := serve(t, &tls.Config{Certificates: []tls.Certificate{before.issue(t, "localhost", future)}})
	later := serve(t, &tls.Config{Certificates: []tls.Certificate{after.issue(t, "localhost", future)}})
	check := func(step string, first, second bool) {
		t.Helper()
		if err := dial(t, f, earlier); (err == nil) != first || err != nil && !is[x509.UnknownAuthorityError](err) {
			t.Errorf("%s: the server of the old authority: %v", step, err)
		}
		if err := dial(t, f, later); (err == nil) != second || err != nil && !is[x509.UnknownAuthorityError](err) {
			t.Errorf("%s: the server of the new authority: %v", step, err)
		}
	}
	check("before", true, false)
	write(t, path, before.pem()+after.pem()) // as Strimzi does while it rotates
	check("between", true, true)
	write(t, path, after.pem())
	check("after", false, true)
}

// TestHalfWrittenRotationKeepsTheLastGoodFiles cuts the new files off at every length.
func TestHalfWrittenRotationKeepsTheLastGoodFiles(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t, "ca")
	future := time.Now().Add(time.Hour)
	cert, key := pemOf(t, ca.issue(t, "first", future))
	newCert, newKey := pemOf(t, ca.issue(t, "second", future))
	other := newAuthority(t, "other").pem()
	var warnings []string
	f := &Files{
		Prefix: "X_", CA: write(t, filepath.Join(dir, "ca.pem"), ca.pem()+other), Cert: write(t, filepath.Join(dir, "tls.crt"), cert),
		Key: write(t, filepath.Join(dir, "tls.key"), key), Warn: func(err error) { warnings = append(warnings, err.Error()) },
	}
	shown := func() string {
		t.Helper()
		config, err := f.Config()
		if err != nil {
			t.Fatal(err)
		}
		own, err := config.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(own.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM([]byte(ca.pem()+other)) || !config.RootCAs.Equal(pool) {
			t.Fatal("the authorities changed")
		}
		return leaf.Subject.CommonName
	}
	if got := shown(); got != "first" {
		t.Fatalf("at first %s", got)
	}
	for n := range len(other) - 1 { // without its last line's end it is whole
		if n < len("-----BEGIN") {
			continue // the first alone is whole, and what follows may be a comment
		}
		write(t, f.CA, ca.pem()+other[:n])
		shown()
	}
	write(t, f.CA, ca.pem()+other)
	for n := range newCert {
		write(t, f.Cert, newCert[:n])
		if got := shown(); got != "first" {
			t.Fatalf("%d bytes of the new certificate: %s", n, got)
		}
	}
	write(t, f.Cert, newCert) // the key is still the old one
	if got := shown(); got != "first" {
		t.Errorf("the new certificate with the old key: %s", got)
	}
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != "first" {
		t.Errorf("without the key: %s", got)
	}
	said := len(warnings)
	shown()
	if len(warnings) != said {
		t.Errorf("the same fault is told twice: %q", warnings)
	}
	last := warnings[len(warnings)-1]
	for _, want := range []string{"X_KEY_FILE", f.Key, "no such file", "stays in use"} {
		if !strings.Contains(last, want) {
			t.Errorf("%q does not say %q", last, want)
		}
	}
	write(t, f.Key, newKey)
	if got := shown(); got != "second" {
		t.Errorf("after the rotation: %s", got)
	}
}

// TestFormsOfKeys has every form of one certificate shown to a server.
func TestFormsOfKeys(t *testing.T) {
	ca := newAuthority(t, "ca")
	want, _ := pem.Decode([]byte(mustRead(t, "testdata/cert.pem")))
	both := filepath.Join(t.TempDir(), "both.pem")
	write(t, both, mustRead(t, "testdata/key-pkcs8.pem")+mustRead(t, "testdata/cert.pem"))
	misnamed := write(t, filepath.Join(t.TempDir(), "keystore.jks"), mustRead(t, "testdata/keytool.p12"))
	for _, files := range [][2]string{
		{"testdata/cert.pem", "testdata/key.pem"},
		{"testdata/cert.pem", "testdata/key-pkcs8.pem"},
		{"testdata/cert.pem", "testdata/key-scrypt.pem"},
		{"testdata/cert.pem", "testdata/key-legacy.pem"},
		{both, ""}, {both, both},
		{"testdata/openssl.p12", ""},
		{"testdata/openssl.p12", "testdata/openssl.p12"},
		{"testdata/openssl-legacy.p12", ""},
		{"testdata/keytool.p12", ""},
		{misnamed, ""},
	} {
		seen := make(chan []byte, 1)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen <- r.TLS.PeerCertificates[0].Raw }))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "localhost", time.Now().Add(time.Hour))}, ClientAuth: tls.RequireAnyClientCert}
		server.StartTLS()
		f := &Files{Prefix: "X_", Cert: files[0], Key: files[1], Password: func() string { return "changeit" }}
		f.CA = write(t, filepath.Join(t.TempDir(), "ca.pem"), ca.pem())
		client := &http.Client{Transport: &http.Transport{DialTLSContext: f.DialTLS}, Timeout: time.Minute}
		res, err := client.Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
		if err != nil {
			t.Errorf("%q: %v", files, err)
		} else if res.Body.Close(); !bytes.Equal(<-seen, want.Bytes) {
			t.Errorf("%q: another certificate", files)
		}
		client.CloseIdleConnections()
		server.Close()
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestFilesThatCannotBeUsed has the whole message of each: variable, file, fault, cure.
func TestFilesThatCannotBeUsed(t *testing.T) {
	scratch := t.TempDir()
	empty := write(t, filepath.Join(scratch, "empty.pem"), "")
	cut := write(t, filepath.Join(scratch, "cut.p12"), mustRead(t, "testdata/openssl.p12")[:500])
	block, _ := pem.Decode([]byte(mustRead(t, "testdata/cert.pem")))
	der := write(t, filepath.Join(scratch, "cert.der"), string(block.Bytes))
	const cert, key = "testdata/cert.pem", "testdata/key-pkcs8.pem"
	tests := []struct{ ca, cert, key, password, want string }{
		{ca: "testdata/none.pem", want: `X_CA_FILE: cannot use "testdata/none.pem": no such file or directory; expected a PEM file of certificates`},
		{ca: empty, want: `X_CA_FILE: cannot use "` + empty + `": there is no certificate in it; expected a PEM file of certificates`},
		{ca: "testdata/truststore.jks", want: `X_CA_FILE: cannot use "testdata/truststore.jks": it is a Java keystore (JKS); expected a PEM file of certificates: keytool -list -rfc -keystore testdata/truststore.jks > ca.pem`},
		{ca: "testdata/openssl.p12", want: `X_CA_FILE: cannot use "testdata/openssl.p12": it is PKCS#12; expected a PEM file of certificates: openssl pkcs12 -nokeys -in testdata/openssl.p12 -out ca.pem`},
		{ca: der, want: `X_CA_FILE: cannot use "` + der + `": it is DER; expected a PEM file of certificates: openssl x509 -inform der -in ` + der + ` -out ca.pem`},
		{cert: "testdata/keytool.jks", want: `X_CERT_FILE: cannot use "testdata/keytool.jks": it is a Java keystore (JKS); expected PEM or PKCS#12: keytool -importkeystore -srckeystore testdata/keytool.jks -destkeystore client.p12 -deststoretype PKCS12`},
		{cert: cut, want: `X_CERT_FILE: cannot use "` + cut + `": `},
		{cert: "testdata/openssl.p12", want: `X_CERT_FILE: cannot use "testdata/openssl.p12": it is encrypted, and X_KEY_PASSWORD is not set; expected a PKCS#12 file of a certificate and its key`},
		{cert: "testdata/openssl.p12", password: "wrong", want: `X_CERT_FILE: cannot use "testdata/openssl.p12": it cannot be decrypted: is X_KEY_PASSWORD its password?; expected a PKCS#12 file of a certificate and its key`},
		{cert: "testdata/openssl.p12", key: key, password: "changeit", want: `X_KEY_FILE: is set, and the PKCS#12 file of X_CERT_FILE holds the key; expected one of them`},
		{cert: cert, want: `X_KEY_FILE: is not set; expected the key of the certificate in X_CERT_FILE`},
		{cert: cert, key: key, want: `X_KEY_FILE: cannot use "testdata/key-pkcs8.pem": the key is encrypted, and X_KEY_PASSWORD is not set; expected a PEM file of a key`},
		{cert: cert, key: key, password: "wrong", want: `X_KEY_FILE: cannot use "testdata/key-pkcs8.pem": the key cannot be decrypted (`},
		{cert: cert, key: "testdata/key-legacy.pem", password: "wrong", want: `X_KEY_FILE: cannot use "testdata/key-legacy.pem": the key cannot be decrypted (x509: decryption password incorrect): is X_KEY_PASSWORD its password?; expected`},
		{cert: cert, key: "testdata/keytool.p12", want: `X_KEY_FILE: cannot use "testdata/keytool.p12": it is a keystore; expected a PEM file of the key, or PKCS#12 in X_CERT_FILE and no X_KEY_FILE`},
		{cert: cert, key: cert, want: `X_KEY_FILE: cannot use "testdata/cert.pem": there is no private key in it; expected a PEM file of a key`},
		{cert: "testdata/key.pem", key: "testdata/key.pem", want: `X_CERT_FILE: cannot use "testdata/key.pem" with "testdata/key.pem": tls: `},
	}
	for _, tt := range tests {
		f := &Files{Prefix: "X_", CA: tt.ca, Cert: tt.cert, Key: tt.key, Password: func() string { return tt.password }}
		faults := f.Faults()
		if len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), tt.want) {
			t.Errorf("got %v, want %s", faults, tt.want)
			continue
		}
		if _, err := f.Config(); err == nil || err.Error() != faults[0].Error() {
			t.Errorf("Config says %v, and Faults %v", err, faults)
		}
		if tt.password != "" && strings.Contains(faults[0].Error(), tt.password) {
			t.Errorf("the password is shown: %v", faults[0])
		}
	}
	f := &Files{Prefix: "X_", Cert: cert, Key: "testdata/key-legacy.pem", Password: func() string { return unnoticed(t) }}
	if faults := f.Faults(); len(faults) != 1 || faults[0].Variable != "X_KEY_FILE" || !strings.Contains(faults[0].Text, "is X_KEY_PASSWORD its password?") {
		t.Errorf("a wrong password that decrypts to something: %v", faults)
	}
	f = &Files{Prefix: "X_", CA: empty, Cert: "testdata/none.pem"}
	if len(f.Faults()) != 2 {
		t.Errorf("not every file is named: %v", f.Faults())
	}
}

// unnoticed returns a wrong password with which the old encryption of PEM gives no error.
func unnoticed(t *testing.T) string {
	t.Helper()
	block, _ := pem.Decode([]byte(mustRead(t, "testdata/key-legacy.pem")))
	for i := range 100_000 {
		password := "wrong-" + strconv.Itoa(i)
		//lint:ignore SA1019 it is what is tested
		if _, err := x509.DecryptPEMBlock(block, []byte(password)); err == nil {
			return password
		}
	}
	t.Fatal("every wrong password is noticed")
	return ""
}

// TestWhereNoPasswordCanBeSet: a cure must not name a variable that there is not.
func TestWhereNoPasswordCanBeSet(t *testing.T) {
	for _, c := range []struct{ cert, key, want string }{
		{"testdata/cert.pem", "testdata/key-pkcs8.pem", "the key is encrypted, which is not possible here; expected one that is not: openssl pkey -in testdata/key-pkcs8.pem"},
		{"testdata/cert.pem", "testdata/key-legacy.pem", "the key is encrypted, which is not possible here; expected one that is not: openssl pkey -in testdata/key-legacy.pem"},
		{"testdata/openssl.p12", "", "it is encrypted, which is not possible here; expected PEM files: openssl pkcs12 -nodes -in testdata/openssl.p12"},
	} {
		faults := (&Files{Prefix: "X_", Cert: c.cert, Key: c.key}).Faults()
		if len(faults) != 1 || !strings.Contains(faults[0].Text, c.want) || strings.Contains(faults[0].Text, "KEY_PASSWORD") {
			t.Errorf("%v, want %s", faults, c.want)
		}
	}
}
