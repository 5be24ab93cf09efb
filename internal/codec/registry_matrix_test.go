//go:build matrix

package codec

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"testing"

	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/schemas"
)

// TestApicurio: registered, looked up, and found in another spelling, in a registry that
// compares by text alone and in one that does not, by TLS and without.
func TestApicurio(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *kafkatest.Registry{
		"by text": kafkatest.StartTextRegistry, "by meaning": kafkatest.StartRegistry,
	} {
		t.Run(name, func(t *testing.T) {
			real := start(t)
			t.Run("http", func(t *testing.T) { testRealRegistry(t, RegistryOptions{URL: real.URL}, "http") })
			t.Run("https", func(t *testing.T) {
				testRealRegistry(t, RegistryOptions{URL: real.Secure, Transport: trusting(t, real.CA)}, "https")
			})
			_, err := registry(t, RegistryOptions{URL: real.Secure}).SchemaID(t.Context(), "nobody-vouches")
			if !errors.Is(err, ErrRegistryUnreachable) {
				t.Errorf("an authority that nobody knows: %v", err)
			}
		})
	}
}

func trusting(t *testing.T, ca string) http.RoundTripper {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func testRealRegistry(t *testing.T, o RegistryOptions, topic string) {
	ctx := context.Background()
	lookup := registry(t, o)
	o.AutoRegister = true
	register := registry(t, o)
	if _, err := lookup.SchemaID(ctx, topic); !errors.Is(err, ErrSchemaUnknown) {
		t.Errorf("before it is registered: %v", err)
	}
	if err := register.Compatible(ctx, topic); err != nil {
		t.Errorf("compatible with nothing: %v", err)
	}
	id, err := register.SchemaID(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Registry{"looked up": lookup, "registered again": register} {
		if again, err := r.SchemaID(ctx, topic); again != id || err != nil {
			t.Errorf("%s: id %d, %v; it is %d", name, again, err, id)
		}
	}

	client := register.client
	other, err := client.RegisterSchema(ctx, Subject(topic+"-respelled"), avro(respelled(t)), -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Registry{"looked up": lookup, "registered": register} {
		found, err := r.SchemaID(ctx, topic+"-respelled")
		if err != nil {
			t.Errorf("%s in another spelling than it is there: %v", name, err)
		}
		had, err := client.SchemaByID(ctx, found)
		if err != nil || !sameSchema(had.Schema, schemas.ConfigurationChange) || found != other && found != id {
			t.Errorf("%s: id %d is %s, %v", name, found, had.Schema, err)
		}
	}
	if versions, err := client.SubjectVersions(ctx, Subject(topic+"-respelled")); len(versions) != 1 || err != nil {
		t.Errorf("versions %v, %v", versions, err)
	}

	if _, err := client.RegisterSchema(ctx, Subject(topic+"-taken"), avro(`{"type":"record","name":"Other","fields":[{"name":"a","type":"int"}]}`), -1, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := register.SchemaID(ctx, topic+"-taken"); !errors.Is(err, ErrSchemaIncompatible) {
		t.Errorf("a subject with another schema: %v", err)
	}
}
