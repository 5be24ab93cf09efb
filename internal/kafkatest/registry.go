package kafkatest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Registry is a running Apicurio Registry, which speaks the API of Confluent's schema registry.
type Registry struct {
	URL    string // of that API
	Secure string // the same by TLS
	CA     string // a PEM file with the authority for Secure
}

// StartRegistry starts a schema registry, which scripts/registry-install fetches, and waits until it answers. It holds
// new schemas to compatibility BACKWARD, as Confluent's does by default. It is stopped when the test ends.
func StartRegistry(tb testing.TB) *Registry {
	tb.Helper()
	// Without it, a schema is found only by the very text that was registered.
	return startRegistry(tb, "APICURIO_CCOMPAT_USE_CANONICAL_HASH=true")
}

// StartTextRegistry starts one that compares schemas by their text, as Apicurio does unless it is told otherwise.
func StartTextRegistry(tb testing.TB) *Registry { tb.Helper(); return startRegistry(tb) }

func startRegistry(tb testing.TB, settings ...string) *Registry {
	tb.Helper()
	lib := cached(tb, "registry", "complete", "scripts/registry-install")
	ports := freePorts(tb, 3)
	const api = "/apis/ccompat/v7"
	cmd := exec.Command("java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-jar", filepath.Join(lib, "registry.jar"))
	cmd.Dir = tb.TempDir()
	r := &Registry{
		URL: fmt.Sprintf("http://127.0.0.1:%d%s", ports[0], api), Secure: fmt.Sprintf("https://127.0.0.1:%d%s", ports[2], api),
		CA: filepath.Join(cmd.Dir, "registry.pem"),
	}
	key := filepath.Join(cmd.Dir, "registry.key")
	writeKeyPair(tb, net.IPv4(127, 0, 0, 1), r.CA, key)
	cmd.Env = append(os.Environ(),
		"QUARKUS_HTTP_HOST=127.0.0.1", fmt.Sprintf("QUARKUS_HTTP_PORT=%d", ports[0]),
		"QUARKUS_MANAGEMENT_HOST=127.0.0.1", fmt.Sprintf("QUARKUS_MANAGEMENT_PORT=%d", ports[1]), // it would listen on every address
		fmt.Sprintf("QUARKUS_HTTP_SSL_PORT=%d", ports[2]), "QUARKUS_HTTP_INSECURE_REQUESTS=enabled",
		"QUARKUS_HTTP_SSL_CERTIFICATE_FILES="+r.CA, "QUARKUS_HTTP_SSL_CERTIFICATE_KEY_FILES="+key,
		"APICURIO_STORAGE_KIND=sql", "APICURIO_STORAGE_SQL_KIND=h2",
	)
	cmd.Env = append(cmd.Env, settings...)
	log := filepath.Join(cmd.Dir, "registry.log")
	done, err := launch(cmd, log)
	if err != nil {
		tb.Fatalf("kafkatest: registry: %v", err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(200 * time.Millisecond) {
		err := r.requireBackward()
		if err == nil {
			return r
		}
		select {
		case <-done:
			tb.Fatalf("kafkatest: the registry ended while it started\n%s", lastLines(log, 60))
		default:
		}
		if time.Now().After(deadline) {
			tb.Fatalf("kafkatest: the registry is not ready after %v: %v\n%s", startTimeout, err, lastLines(log, 60))
		}
	}
}

// requireBackward sets the compatibility for all subjects.
func (r *Registry) requireBackward() error {
	req, err := http.NewRequest(http.MethodPut, r.URL+"/config", bytes.NewReader([]byte(`{"compatibility":"BACKWARD"}`)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("PUT /config: %s: %s", resp.Status, said)
	}
	return nil
}
