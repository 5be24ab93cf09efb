//go:build connect && linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer/consumertest"
)

// search is a real OpenSearch.
type search struct {
	t   *testing.T
	url string
}

func startOpenSearch(t *testing.T) search {
	t.Helper()
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	path := func(name string) string {
		absolute, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		return absolute
	}
	port, dir := free(), t.TempDir()
	node := exec.Command("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path("../../.cache/connect/opensearch")+"/*",
		path("../../scripts/connect/OpenSearchNode.java"), filepath.Join(dir, "data"), port, free())
	node.Dir, node.SysProcAttr = dir, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	node.Stdout, node.Stderr = &log, &log
	started, ended := make(chan error, 1), make(chan struct{})
	go func() { // ends with the node; the kernel ends a child with the thread that started it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := node.Start()
		started <- err
		if err == nil {
			_ = node.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%.3000s", log.Bytes())
		}
	})
	s := search{t, "http://127.0.0.1:" + port}
	consumertest.Await(t, "OpenSearch answers", 2*patience, func() bool {
		r, err := http.Get(s.url)
		if err == nil {
			_ = r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
	return s
}

func (s search) do(method, path, body string, answer any) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = w.Body.Close() }()
	text, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %.2000s, %v", method, path, w.StatusCode, text, err)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			s.t.Fatal(err)
		}
	}
}

// lucene is a rule as it stands in sigma/converted. A burst is least or more of the
// same by within ten minutes.
type lucene struct {
	query, by string
	least     int
}

func luceneRules(t *testing.T) map[string]lucene {
	t.Helper()
	content, err := os.ReadFile("sigma/converted/elastic.lucene")
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]lucene{}
	for _, part := range strings.Split(strings.TrimSpace(string(content)), "\n\n") {
		m := regexp.MustCompile(`^// (\w+): [^\n]*\n(?:// threshold: (\d+) or more in 10m of the same (\S+), [^\n]*\n)?([^/\n].*)$`).FindStringSubmatch(part)
		if m == nil {
			t.Fatalf("%q", part)
		}
		r := lucene{query: m[4], by: m[3], least: 1}
		if r.by == "" {
			r.by = "event.dataset"
		} else if r.least, err = strconv.Atoi(m[2]); err != nil {
			t.Fatal(err)
		}
		rules[m[1]] = r
	}
	return rules
}

// TestLuceneRulesFire asks a real OpenSearch, of the events as ECS, what the rules in
// Lucene ask; it counts bursts as a monitor does.
func TestLuceneRulesFire(t *testing.T) {
	s := startOpenSearch(t)
	mappings, err := os.ReadFile("elastic/mappings.json")
	if err != nil {
		t.Fatal(err)
	}
	s.do("PUT", "/audit", `{"settings":{"number_of_replicas":0},"mappings":`+strings.Replace(string(mappings), `"flattened"`, `"flat_object"`, 1)+`}`, nil)
	cases := sigmaCases()
	var bulk bytes.Buffer
	for name, c := range cases {
		for i, m := range c.messages(t) {
			document := newECS(&m)
			document["case"] = name
			line, err := appendJSON(nil, document.nested())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&bulk, "{\"index\":{\"_id\":%q}}\n%s\n", fmt.Sprint(name, i), line)
		}
	}
	var indexed struct{ Errors bool }
	if s.do("POST", "/audit/_bulk?refresh=true", bulk.String(), &indexed); indexed.Errors {
		t.Fatal("not everything was indexed")
	}
	got := map[string][]string{}
	for rule, l := range luceneRules(t) {
		for _, name := range s.fired(l) {
			got[name] = append(got[name], rule)
		}
	}
	for name, c := range cases {
		slices.Sort(got[name])
		if !slices.Equal(got[name], c.rules) {
			t.Errorf("%s: %v, want %v", name, got[name], c.rules)
		}
	}
}

// fired returns the cases on which a rule fires.
func (s search) fired(l lucene) []string {
	s.t.Helper()
	query, _ := json.Marshal(l.query)
	var answer struct {
		Aggregations struct {
			Cases struct {
				Buckets []struct {
					Key string
					By  struct {
						Buckets []struct {
							First, Last struct{ Value float64 }
						}
					}
				}
			}
		}
	}
	s.do("POST", "/audit/_search?size=0", fmt.Sprintf(`{"query":{"query_string":{"query":%s}},"aggs":{"cases":{"terms":{"field":"case","size":1000},
		"aggs":{"by":{"terms":{"field":%q,"min_doc_count":%d},"aggs":{"first":{"min":{"field":"@timestamp"}},"last":{"max":{"field":"@timestamp"}}}}}}}}`,
		query, l.by, l.least), &answer)
	var names []string
	for _, c := range answer.Aggregations.Cases.Buckets {
		for _, by := range c.By.Buckets {
			if l.least == 1 || by.Last.Value-by.First.Value <= float64(10*time.Minute/time.Millisecond) {
				names = append(names, c.Key)
				break
			}
		}
	}
	return names
}
