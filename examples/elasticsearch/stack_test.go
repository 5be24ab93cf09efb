//go:build connect && linux

package elasticsearch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// service is an HTTP API that answers with JSON.
type service struct{ url string }

var client = &http.Client{Timeout: 30 * time.Second}

// do sends a request, body as JSON unless it is nil, and reads the answer into out unless that is nil.
func (s service) do(method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.url+path, content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.2000s", method, path, res.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// fetched is a folder that scripts/connect-install fills.
func fetched(t *testing.T, folder string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", ".cache", "connect", folder))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "complete")); err != nil {
		t.Fatalf("no %s in .cache/connect; run scripts/connect-install", folder)
	}
	return path
}

// java is how every JVM is started here: small, and quick to start.
func java(heap, classpath string, args ...string) []string {
	return append([]string{"java", "-Xmx" + heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath}, args...)
}

func startSearch(t *testing.T) (*process, service) {
	t.Helper()
	addr, port := freeAddr(t)
	_, transport := freeAddr(t)
	program, err := filepath.Abs("../../scripts/connect/OpenSearchNode.java")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "OpenSearch", nil, java("512m", fetched(t, "opensearch")+"/*", program, filepath.Join(t.TempDir(), "data"), port, transport)...)
	return p, service{"http://" + addr}
}

// startWorker starts a Connect worker on the shipped properties; what differs here is appended, where it counts.
func startWorker(t *testing.T, brokers []string, registry service) (*process, service) {
	t.Helper()
	properties, err := os.ReadFile("connect/worker.properties")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := freeAddr(t)
	dir := t.TempDir()
	here := strings.Join([]string{
		"", "bootstrap.servers=" + strings.Join(brokers, ","), "plugin.path=" + filepath.Join(filepath.Dir(fetched(t, "plugins/avro"))),
		"offset.storage.file.filename=" + filepath.Join(dir, "offsets"), "listeners=http://" + addr,
		"value.converter.schema.registry.url=" + registry.url, "offset.flush.interval.ms=1000", "",
	}, "\n")
	path := filepath.Join(dir, "worker.properties")
	if err := os.WriteFile(path, append(properties, here...), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = fetched(t, "plugins/camel")
	args := java("640m", fetched(t, "worker")+"/*", "-Dlog4j2.level=WARN", "org.apache.kafka.connect.cli.ConnectStandalone", path)
	return start(t, "Connect worker", nil, args...), service{"http://" + addr}
}

// sink is a connector of the worker.
type sink struct {
	worker service
	name   string
}

// newSink creates a shipped sink, with the addresses of this test in it and other settings changed.
func newSink(t *testing.T, worker, registry, search service, changed map[string]string) sink {
	t.Helper()
	content, err := os.ReadFile("connect/camel-http-sink.json")
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("http://schema-registry:8081", registry.url, "http://opensearch:9200", search.url).Replace(string(content))
	var shipped struct {
		Name   string
		Config map[string]string
	}
	if err := json.Unmarshal([]byte(here), &shipped); err != nil {
		t.Fatal(err)
	}
	s := sink{worker, shipped.Name}
	for k, v := range changed {
		shipped.Config[k] = v
	}
	if name := changed["name"]; name != "" {
		s.name = name
	}
	if err := worker.do("PUT", "/connectors/"+s.name+"/config", shipped.Config, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// errFailed is a task that has given up: waiting does not help.
var errFailed = errors.New("the sink failed")

// state is that of the connector; a failed task is errFailed.
func (s sink) state() (string, error) {
	var status struct {
		Connector struct{ State string }
		Tasks     []struct{ State, Trace string }
	}
	if err := s.worker.do("GET", "/connectors/"+s.name+"/status", nil, &status); err != nil {
		return "", err
	}
	for _, task := range status.Tasks {
		if task.State == "FAILED" {
			return "", fmt.Errorf("%w: %.3000s", errFailed, task.Trace)
		}
	}
	return status.Connector.State, nil
}

// replay lets the sink begin anew, the way that the README tells operators.
func (s sink) replay(t *testing.T) {
	t.Helper()
	path := "/connectors/" + s.name
	if err := s.worker.do("PUT", path+"/stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	// Refused as long as the tasks' consumers are in their group.
	eventually(t, time.Minute, "the sink's offsets are deleted", func() error {
		if state, err := s.state(); err != nil || state != "STOPPED" {
			return fmt.Errorf("%s, %w", state, err)
		}
		return s.worker.do("DELETE", path+"/offsets", nil, nil)
	})
	if err := s.worker.do("PUT", path+"/resume", nil, nil); err != nil {
		t.Fatal(err)
	}
}
