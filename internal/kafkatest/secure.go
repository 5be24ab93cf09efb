package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// login adds a listener that lets only these users in.
func (n *node) login(properties, users map[string]string) {
	n.addListener(properties, "SECURE", "SASL_PLAINTEXT", n.secure)
	properties["listener.name.secure.sasl.enabled.mechanisms"] = "PLAIN"
	properties["listener.name.secure.plain.sasl.jaas.config"] = plainUsers(users)
}

// encrypt adds the listener of login once more, at ::1 and with TLS, and returns the authority's file.
func (n *node) encrypt(tb testing.TB, properties map[string]string) (ca string) {
	tb.Helper()
	// KIP-651: a file with key and chain, without a password, is a key store of type PEM.
	store, ca := filepath.Join(n.dir, "broker.pem"), filepath.Join(n.dir, "ca.pem")
	writeKeyPair(tb, net.IPv6loopback, ca, store)
	n.addListener(properties, "IPV6", "SASL_SSL", n.ipv6)
	properties["listener.name.ipv6.ssl.keystore.type"] = "PEM"
	properties["listener.name.ipv6.ssl.keystore.location"] = store
	for _, k := range []string{"sasl.enabled.mechanisms", "plain.sasl.jaas.config"} {
		properties["listener.name.ipv6."+k] = properties["listener.name.secure."+k]
	}
	return ca
}

func (n *node) addListener(properties map[string]string, name, protocol, addr string) {
	properties["listeners"] += "," + name + "://" + addr
	properties["advertised.listeners"] += "," + name + "://" + addr
	properties["listener.security.protocol.map"] += "," + name + ":" + protocol
}

func plainUsers(users map[string]string) string {
	module := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for name, password := range users {
		module += fmt.Sprintf(" user_%s=%q", name, password)
	}
	return module + ";"
}

// writeKeyPair writes a new certificate of a server at an address, and its key with the certificate behind it, as PEM.
func writeKeyPair(tb testing.TB, ip net.IP, certificateFile, keyFile string) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafkatest"}, // Java wants a name
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{ip}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	for path, text := range map[string][]byte{certificateFile: certificate, keyFile: append(key, certificate...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}
