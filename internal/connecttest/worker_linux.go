package connecttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Fetched returns a folder of .cache/connect that scripts/connect-install fills.
func Fetched(t *testing.T, folder string) string {
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

// Java returns how every JVM is started here: small, and quick to start.
func Java(heap, classpath string, args ...string) []string {
	return append([]string{"java", "-Xmx" + heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath}, args...)
}

// Worker is a standalone Connect worker.
type Worker struct {
	*Process
	Service
}

// StartWorker starts a Connect worker on shipped properties, with plugins of which each has a folder; what differs here
// is appended, where it counts.
func StartWorker(t *testing.T, properties string, brokers []string, registry Service, plugins ...string) Worker {
	t.Helper()
	shipped, err := os.ReadFile(properties)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := FreeAddr(t)
	dir := t.TempDir()
	pluginPath := filepath.Join(dir, "plugins") // only these, for a worker reads through all that it finds
	if err := os.Mkdir(pluginPath, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, plugin := range plugins {
		if err := os.Symlink(plugin, filepath.Join(pluginPath, filepath.Base(plugin))); err != nil {
			t.Fatal(err)
		}
	}
	here := strings.Join([]string{
		"", "bootstrap.servers=" + strings.Join(brokers, ","), "plugin.path=" + pluginPath,
		"offset.storage.file.filename=" + filepath.Join(dir, "offsets"), "listeners=http://" + addr,
		"value.converter.schema.registry.url=" + registry.URL, "offset.flush.interval.ms=1000", "",
	}, "\n")
	path := filepath.Join(dir, "worker.properties")
	if err := os.WriteFile(path, append(shipped, here...), 0o600); err != nil {
		t.Fatal(err)
	}
	args := Java("640m", Fetched(t, "worker")+"/*", "-Dlog4j2.level=WARN", "org.apache.kafka.connect.cli.ConnectStandalone", path)
	return Worker{Start(t, "Connect worker", nil, args...), Service{"http://" + addr}}
}

// AwaitReady returns when the worker answers.
func (w Worker) AwaitReady(t *testing.T) {
	t.Helper()
	w.Await(t, func() error { return w.Do("GET", "/connectors", nil, nil) })
}

// Sink is a connector of a worker.
type Sink struct {
	worker Service
	Name   string
}

// NewSink creates the sink of a shipped file, with the addresses of this test in it (pairs of old and new, as for
// strings.NewReplacer) and other settings changed.
func NewSink(t *testing.T, worker Worker, file string, addresses []string, changed map[string]string) Sink {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer(addresses...).Replace(string(content))
	var shipped struct {
		Name   string
		Config map[string]string
	}
	if err := json.Unmarshal([]byte(here), &shipped); err != nil {
		t.Fatal(err)
	}
	s := Sink{worker.Service, shipped.Name}
	for k, v := range changed {
		shipped.Config[k] = v
	}
	if name := changed["name"]; name != "" {
		s.Name = name
	}
	if err := s.worker.Do("PUT", "/connectors/"+s.Name+"/config", shipped.Config, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// ErrFailed is a task that has given up: waiting does not help.
var ErrFailed = errors.New("the sink failed")

// State returns that of the connector; a failed task is ErrFailed.
func (s Sink) State() (string, error) {
	var status struct {
		Connector struct{ State string }
		Tasks     []struct{ State, Trace string }
	}
	if err := s.worker.Do("GET", "/connectors/"+s.Name+"/status", nil, &status); err != nil {
		return "", err
	}
	for _, task := range status.Tasks {
		if task.State == "FAILED" {
			return "", fmt.Errorf("%w: %.3000s", ErrFailed, task.Trace)
		}
	}
	return status.Connector.State, nil
}

// Replay lets the sink read everything again, the way that the README tells operators.
func (s Sink) Replay(t *testing.T) {
	t.Helper()
	path := "/connectors/" + s.Name
	if err := s.worker.Do("PUT", path+"/stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	// Refused as long as the tasks' consumers are in their group.
	Eventually(t, time.Minute, "the sink's offsets are deleted", func() error {
		if state, err := s.State(); err != nil || state != "STOPPED" {
			return fmt.Errorf("%s, %w", state, err)
		}
		return s.worker.Do("DELETE", path+"/offsets", nil, nil)
	})
	if err := s.worker.Do("PUT", path+"/resume", nil, nil); err != nil {
		t.Fatal(err)
	}
}
