package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/sandbox"
)

// worldVariable makes the test binary serve simulated organisations in a process of its
// own, so that what they cost is not the connector's. Its value is a worldOptions.
const worldVariable = "CONNECTOR_TEST_WORLDS"

type worldOptions struct {
	Count   int
	History int           // events of the last hour, of each
	Every   time.Duration // there is an event in each
}

// serveWorlds prints the organisations' addresses, a line each, and serves them until standard input ends.
func serveWorlds(options string) int {
	var o worldOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for i := range o.Count {
		each := unlimited()
		each.Seed, each.OtherTypes = uint64(100+i), -1
		world, err := sandbox.Start(sandbox.ServerOptions{Options: each, History: o.History, HistorySpan: time.Hour})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(world.URL)
		go func() { // ends with the process
			time.Sleep(o.Every * time.Duration(i) / time.Duration(o.Count))
			for range time.Tick(o.Every) {
				world.Org.Emit(1)
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// spawnWorlds starts a process of simulated organisations and returns their addresses.
func spawnWorlds(t testing.TB, o worldOptions) []string {
	t.Helper()
	options, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), worldVariable+"="+string(options))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = c.Wait() })
	var urls []string
	for lines := bufio.NewScanner(out); len(urls) < o.Count && lines.Scan(); {
		urls = append(urls, strings.TrimSpace(lines.Text()))
	}
	if len(urls) < o.Count {
		t.Fatalf("%d of %d organisations came up", len(urls), o.Count)
	}
	return urls
}

// writeURLs is write for organisations of another process.
func (s *fleetScene) writeURLs(urls []string) {
	s.Helper()
	secret := filepath.Join(filepath.Dir(s.file), "secret")
	if err := os.WriteFile(secret, []byte("sandbox-secret\n"), 0o600); err != nil {
		s.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "defaults:\n  GENESYS_CLIENT_ID: sandbox\n  GENESYS_CLIENT_SECRET_FILE: %s\norganisations:\n", secret)
	for i, url := range urls {
		fmt.Fprintf(&text, "  - {name: org-%d, GENESYS_API_URL: '%s', GENESYS_LOGIN_URL: '%[2]s'}\n", i, url)
	}
	if err := os.WriteFile(s.file, []byte(text.String()), 0o600); err != nil {
		s.Fatal(err)
	}
}
