package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/codec"
)

// guardedRegistry has a certificate of its own and answers who shows a certificate and these
// headers; others get 401.
func guardedRegistry(t *testing.T, certFile, keyFile string, want *atomic.Pointer[http.Header]) *httptest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range *want.Load() {
			if got := r.Header.Get(name); got != want.Load().Get(name) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": 7, "version": 1})
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// What the variables say is what the registry sees: certificate, user, token, a token of an
// endpoint with Confluent Cloud's headers. A certificate that is renewed is taken.
func TestRegistryAccess(t *testing.T) {
	cert, key := writeCertificate(t, t.TempDir(), "connector")
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Form.Get("scope") != "registry" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"issued","token_type":"Bearer","expires_in":300}`))
	}))
	defer idp.Close()
	dir := t.TempDir()
	writeFile(t, dir+"/token", "from-a-file\n")
	var want atomic.Pointer[http.Header]
	serverCert, serverKey := writeCertificate(t, t.TempDir(), "registry")
	server := guardedRegistry(t, serverCert, serverKey, &want)
	common := []string{
		"SCHEMA_REGISTRY_URL=https://127.0.0.1:1," + server.URL, "SCHEMA_REGISTRY_CA_FILE=" + serverCert,
		"SCHEMA_REGISTRY_CERT_FILE=" + cert, "SCHEMA_REGISTRY_KEY_FILE=" + key,
	}
	for name, c := range map[string]struct {
		settings []string
		want     http.Header
	}{
		"certificate alone": {nil, http.Header{"Authorization": {""}}},
		"user":              {[]string{"SCHEMA_REGISTRY_USERNAME=u", "SCHEMA_REGISTRY_PASSWORD=p"}, http.Header{"Authorization": {"Basic dTpw"}}},
		"token":             {[]string{"SCHEMA_REGISTRY_TOKEN=given"}, http.Header{"Authorization": {"Bearer given"}}},
		"token in a file":   {[]string{"SCHEMA_REGISTRY_TOKEN_FILE=" + dir + "/token"}, http.Header{"Authorization": {"Bearer from-a-file"}}},
		"OIDC": {
			[]string{
				"SCHEMA_REGISTRY_OAUTH_TOKEN_ENDPOINT_URL=" + idp.URL, "SCHEMA_REGISTRY_OAUTH_CLIENT_ID=i", "SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET=s",
				"SCHEMA_REGISTRY_OAUTH_SCOPE=registry", "SCHEMA_REGISTRY_OAUTH_EXTENSIONS=logicalCluster=lsrc-1,identityPoolId=pool-1",
			},
			http.Header{"Authorization": {"Bearer issued"}, "Target-Sr-Cluster": {"lsrc-1"}, "Confluent-Identity-Pool-Id": {"pool-1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want.Store(&c.want)
			options, err := load(t, append(c.settings, common...)...).Registry.options(zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			r, err := codec.NewRegistry(options)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := r.SchemaID(t.Context(), "changes"); id != 7 || err != nil {
				t.Errorf("id %d, %v", id, err)
			}
		})
	}
}

// The registry's authority may be replaced under the running process, and one that nobody
// vouches for is refused.
func TestRegistryAuthorityRotates(t *testing.T) {
	dir := t.TempDir()
	ca := dir + "/ca.pem"
	var want atomic.Pointer[http.Header]
	want.Store(&http.Header{})
	own, ownKey := writeCertificate(t, t.TempDir(), "connector")
	servers := []*httptest.Server{}
	authorities := [][]byte{}
	for range 2 {
		cert, key := writeCertificate(t, t.TempDir(), "registry")
		servers = append(servers, guardedRegistry(t, cert, key, &want))
		pem, err := os.ReadFile(cert)
		if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
			t.Fatal(err)
		}
		authorities = append(authorities, pem)
	}
	writeFile(t, ca, string(authorities[0]))
	options, err := load(t, "SCHEMA_REGISTRY_URL="+servers[1].URL, "SCHEMA_REGISTRY_CA_FILE="+ca,
		"SCHEMA_REGISTRY_CERT_FILE="+own, "SCHEMA_REGISTRY_KEY_FILE="+ownKey).Registry.options(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	r, err := codec.NewRegistry(options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SchemaID(t.Context(), "changes"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("nobody vouches for it: %v", err)
	}
	writeFile(t, ca, string(authorities[0])+string(authorities[1]))
	if id, err := r.SchemaID(t.Context(), "changes"); id != 7 || err != nil {
		t.Errorf("with the new authority: id %d, %v", id, err)
	}
}
