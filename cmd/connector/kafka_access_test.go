package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate writes a certificate that signs itself and its key.
func writeCertificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return cert, key
}

// TestTLS shakes hands with a server that asks for a certificate: the server is
// known by KAFKA_TLS_CA_FILE, and a renewed certificate is the one it sees next.
func TestTLS(t *testing.T) {
	serverCert, serverKey := writeCertificate(t, t.TempDir(), "server")
	own := t.TempDir()
	cert, key := writeCertificate(t, own, "first")
	files := load(t, "KAFKA_TLS=true", "KAFKA_TLS_CA_FILE="+serverCert, "KAFKA_TLS_CERT_FILE="+cert, "KAFKA_TLS_KEY_FILE="+key).Kafka.TLS.Files(nil)
	client := func() *tls.Config {
		config, err := files.Config()
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	if got := handshake(t, client(), server); got != "first" {
		t.Errorf("the server saw %q", got)
	}
	writeCertificate(t, own, "second")
	if got := handshake(t, client(), server); got != "second" {
		t.Errorf("the server saw %q after the certificate was renewed", got)
	}
	if got := client().MinVersion; got != tls.VersionTLS12 {
		t.Errorf("TLS from version %x", got)
	}

	system, err := load(t, "KAFKA_TLS=true").Kafka.TLS.Files(nil).Config()
	if err != nil {
		t.Fatal(err)
	}
	if got := handshake(t, system, server); !strings.Contains(got, "certificate") {
		t.Errorf("a server that nobody vouches for: %q", got)
	}
	if none := load(t).Kafka.TLS.Files(nil); none != nil {
		t.Errorf("without TLS: %v", none)
	}
}

// handshake is the name on the certificate that the server saw, or the client's error.
func handshake(t *testing.T, clientConfig, serverConfig *tls.Config) string {
	t.Helper()
	clientConfig = clientConfig.Clone()
	clientConfig.ServerName = "localhost"
	listener, err := tls.Listen("tcp", "127.0.0.1:0", serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			served <- err.Error()
			return
		}
		defer conn.Close()
		server := conn.(*tls.Conn)
		if err := server.Handshake(); err != nil {
			served <- err.Error()
			return
		}
		served <- server.ConnectionState().PeerCertificates[0].Subject.CommonName
	}()
	client, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", listener.Addr().String(), clientConfig)
	if err != nil {
		<-served
		return err.Error()
	}
	defer client.Close()
	return <-served
}
