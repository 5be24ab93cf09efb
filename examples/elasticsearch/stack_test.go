//go:build connect && linux

package elasticsearch

import (
	"path/filepath"
	"testing"

	"genesys-audit-connector/internal/connecttest"
)

func startSearch(t *testing.T) (*connecttest.Process, connecttest.Service) {
	t.Helper()
	addr, port := connecttest.FreeAddr(t)
	_, transport := connecttest.FreeAddr(t)
	program, err := filepath.Abs("../../scripts/connect/OpenSearchNode.java")
	if err != nil {
		t.Fatal(err)
	}
	p := connecttest.Start(t, "OpenSearch", nil, connecttest.Java("512m", connecttest.Fetched(t, "opensearch")+"/*", program, filepath.Join(t.TempDir(), "data"), port, transport)...)
	return p, connecttest.Service{URL: "http://" + addr}
}

// newSink creates the shipped sink that can be run, with the addresses of this test in it and other settings changed.
func newSink(t *testing.T, worker connecttest.Worker, registry, search connecttest.Service, changed map[string]string) connecttest.Sink {
	t.Helper()
	addresses := []string{"http://schema-registry:8081", registry.URL, "http://opensearch:9200", search.URL}
	return connecttest.NewSink(t, worker, "connect/camel-http-sink.json", addresses, changed)
}
