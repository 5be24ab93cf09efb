package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

// received is what a SIEM has got, by event id.
type received struct {
	mu  sync.Mutex
	ids map[string]int
}

func (r *received) add(ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]int{}
	}
	for _, id := range ids {
		r.ids[id]++
	}
}

func (r *received) has(ids []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.ids[id] == 0 {
			return false
		}
	}
	return true
}

// judge fails for what was lost or never committed, and returns how many repeats there were.
func (r *received) judge(t *testing.T, ids []string) (repeats int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
		if r.ids[id] == 0 {
			t.Errorf("%s is lost", id)
		}
		repeats += r.ids[id] - 1
	}
	for id := range r.ids {
		if !wanted[id] {
			t.Errorf("%s was never committed", id)
		}
	}
	return repeats
}

// startSIEM runs the program until stop is called.
func startSIEM(t *testing.T, topic *consumertest.Topic, env map[string]string) (stop func()) {
	t.Helper()
	env["KAFKA_BROKERS"], env["KAFKA_TOPIC_CHANGES"] = strings.Join(topic.Brokers, ","), topic.Name
	env["KAFKA_SESSION_TIMEOUT"] = "2s"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, envconfig.MapLookuper(env), io.Discard) }() // ends with ctx
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// collector is an HTTP Event Collector that does something wrong with the first requests it gets.
type collector struct {
	received
	faults []collectorFault
	acks   int64
	polled int
}

type collectorFault func(c *collector, w http.ResponseWriter, take func())

func answer(status int, text string) collectorFault {
	return func(_ *collector, w http.ResponseWriter, _ func()) { w.WriteHeader(status); fmt.Fprint(w, text) }
}

var (
	busy  = answer(503, `{"text":"Server is busy","code":9}`)
	token = answer(403, `{"text":"Invalid token","code":4}`)
	index = answer(400, `{"text":"Incorrect index","code":7,"invalid-event-number":1}`)
	html  = answer(502, `<html>Bad Gateway</html>`)
	empty = answer(200, ``)
)

func hangUp(_ *collector, w http.ResponseWriter, _ func()) {
	conn, _, _ := w.(http.Hijacker).Hijack()
	_ = conn.Close()
}

// takeAndHangUp applies the request; the sender cannot know.
func takeAndHangUp(c *collector, w http.ResponseWriter, take func()) {
	take()
	hangUp(c, w, take)
}

func hang(c *collector, w http.ResponseWriter, take func()) {
	time.Sleep(1500 * time.Millisecond) // longer than SPLUNK_HEC_TIMEOUT
	hangUp(c, w, take)
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Splunk secret" || r.Method != "POST" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/services/collector/ack" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.polled++
		fmt.Fprintf(w, `{"acks":{"%d":%t}}`, c.acks, c.polled > 1)
		return
	}
	take := func() {
		var ids []string
		for d := json.NewDecoder(bytes.NewReader(body)); ; {
			var e struct {
				Time   float64
				Event  struct{ Metadata struct{ UID string } }
				Fields struct {
					ID string `json:"event_id"`
				}
			}
			if err := d.Decode(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil || e.Fields.ID != e.Event.Metadata.UID || e.Time == 0 {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"text":"Invalid data format","code":6}`)
				return
			}
			ids = append(ids, e.Fields.ID)
		}
		c.add(ids...)
	}
	c.mu.Lock()
	var fault collectorFault
	if len(c.faults) > 0 {
		fault, c.faults = c.faults[0], c.faults[1:]
	}
	c.mu.Unlock()
	if fault != nil {
		fault(c, w, take)
		return
	}
	take()
	fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, c.acks)
}

func (c *collector) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.faults)
}

func hecEnv(url string) map[string]string {
	return map[string]string{"SPLUNK_HEC_URL": url, "SPLUNK_HEC_TOKEN": "secret", "SPLUNK_HEC_TIMEOUT": "1s"}
}

// TestCollectorFails has every fault, then the collector down while the program is restarted.
func TestCollectorFails(t *testing.T) {
	topic := consumertest.New(t)
	c := &collector{faults: []collectorFault{busy, hangUp, takeAndHangUp, html, token, empty, hang, index}}
	server := httptest.NewServer(c)
	defer server.Close()
	topic.Abort(topic.Events(10)...)
	ids := topic.Commit(topic.Events(100)...)
	stop := startSIEM(t, topic, hecEnv(server.URL))
	consumertest.Await(t, "everything arrives", 25*time.Second, func() bool { return c.left() == 0 && c.has(ids) })
	c.mu.Lock()
	for range 100 {
		c.faults = append(c.faults, busy)
	}
	c.mu.Unlock()
	ids = append(ids, topic.Commit(topic.Events(30)...)...)
	consumertest.Await(t, "an attempt", 10*time.Second, func() bool { return c.left() < 100 })
	stop()
	if topic.Lag("genesys-siem-hec") == 0 {
		t.Error("what was not delivered is committed")
	}
	c.mu.Lock()
	c.faults = nil
	c.mu.Unlock()
	startSIEM(t, topic, hecEnv(server.URL))
	consumertest.Await(t, "everything arrives", 15*time.Second, func() bool { return c.has(ids) && topic.Lag("genesys-siem-hec") == 0 })
	if repeats := c.judge(t, ids); repeats == 0 {
		t.Error("the request that was taken and not answered was not repeated")
	}
}

// TestIndexed waits for the indexers, where it is told to.
func TestIndexed(t *testing.T) {
	topic := consumertest.New(t)
	c := &collector{acks: 41}
	server := httptest.NewServer(c)
	defer server.Close()
	ids := topic.Commit(topic.Events(10)...)
	env := hecEnv(server.URL)
	env["SPLUNK_HEC_ACK"] = "true"
	startSIEM(t, topic, env)
	consumertest.Await(t, "everything arrives", 15*time.Second, func() bool { return topic.Lag("genesys-siem-hec") == 0 })
	c.judge(t, ids)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.polled < 2 {
		t.Error("committed before the indexers had acknowledged")
	}
}

// TestOneRefused finds the one event of a batch that the collector does not take.
func TestOneRefused(t *testing.T) {
	for _, refusal := range []collectorFault{answer(400, `{"text":"Invalid data format","code":6}`), answer(413, "too large")} {
		messages := make([]consumer.Message, 20)
		for i := range messages {
			messages[i] = sample(func(m *consumer.Message) { m.ID = strconv.Itoa(i) })
		}
		var got []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte(`"event_id":"13"`)) {
				refusal(nil, w, nil)
				return
			}
			for line := range bytes.Lines(body) {
				var e struct{ Fields map[string]string }
				if err := json.Unmarshal(line, &e); err != nil {
					t.Error(err)
				}
				got = append(got, e.Fields["event_id"])
			}
			fmt.Fprint(w, `{"text":"Success","code":0}`)
		}))
		h, err := newHEC(hecConfig{URL: server.URL, Token: "secret", Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		rest := messages
		for len(rest) > 0 {
			n, err := h.deliver(t.Context(), rest)
			if errors.Is(err, consumer.ErrRefused) {
				if n != 0 || rest[0].ID != "13" {
					t.Fatalf("%s was refused", rest[0].ID)
				}
				n, err = 1, nil // as ON_REFUSED=skip does
			}
			if err != nil || n == 0 {
				t.Fatalf("%d: %v", n, err)
			}
			rest = rest[n:]
		}
		server.Close()
		if len(got) != 19 || got[12] != "12" || got[13] != "14" {
			t.Errorf("got %q", got)
		}
	}
}

// TestLargeEvents splits what is too much for one request.
func TestLargeEvents(t *testing.T) {
	h := &hec{}
	messages := make([]consumer.Message, 4)
	for i := range messages {
		messages[i] = sample(func(m *consumer.Message) { m.New = text(strings.Repeat("x", 200<<10)) })
	}
	body, n, err := h.encode(messages)
	if err != nil || n != 2 || len(body) > hecBody || !bytes.HasSuffix(body, []byte("}\n")) {
		t.Errorf("%d events in %d bytes: %v", n, len(body), err)
	}
	messages[0].New = text(strings.Repeat("x", 2<<20))
	if _, n, err = h.encode(messages); err != nil || n != 1 {
		t.Errorf("a large one: %d events, %v", n, err)
	}
}

func testSyslog(t *testing.T, c syslogConfig) *syslog {
	t.Helper()
	c.Facility, c.Timeout = 13, 2*time.Second
	if c.Hostname == "" {
		c.Hostname = "siem"
	}
	if c.AppName == "" {
		c.AppName = "genesys-audit"
	}
	s, err := newSyslog(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// syslogServer is a syslog server that breaks some of its connections.
type syslogServer struct {
	received
	t        *testing.T
	listener net.Listener
	framing  string
	faults   []string // of the first connections
	malign   []string
	conns    map[net.Conn]bool
}

// die drops every connection, as a process does that is killed.
func (s *syslogServer) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	clear(s.conns)
}

func startSyslogServer(t *testing.T, framing string, faults []string, secured *tls.Config) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &syslogServer{t: t, conns: map[net.Conn]bool{}, listener: l, framing: framing, faults: faults}
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			go s.serve(conn.(*net.TCPConn), secured)
		}
	}()
	return s
}

func (s *syslogServer) serve(raw *net.TCPConn, secured *tls.Config) {
	defer func() { _ = raw.Close() }()
	var conn net.Conn = raw
	if secured != nil {
		conn = tls.Server(raw, secured)
	}
	read := bufio.NewReader(conn)
	if _, err := read.Peek(1); err != nil {
		return // nothing was sent
	}
	fault := ""
	s.mu.Lock()
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	for n := 0; ; n++ {
		switch {
		case fault == "reset at once", fault == "reset in the middle" && n == 5:
			_ = raw.SetLinger(0)
			return
		case fault == "killed when it had read everything" && n == 5:
			_, _ = io.Copy(io.Discard, read)
			s.die()
			return
		case fault == "silent":
			time.Sleep(3 * time.Second) // longer than the time-out
			return
		}
		message, err := s.next(read)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.mu.Lock()
			s.malign = append(s.malign, err.Error())
			s.mu.Unlock()
			return
		}
		_, extensions := parseCEF(s.t, strings.TrimSuffix(message[strings.Index(message, "CEF:"):], "\n"))
		s.add(extensions["externalId"])
	}
}

func (s *syslogServer) next(r *bufio.Reader) (string, error) {
	if s.framing == "newline" {
		line, err := r.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "<") {
			err = fmt.Errorf("a line that is no message: %q", line)
		}
		return line, err
	}
	size, err := r.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
	if err != nil {
		return "", err
	}
	message := make([]byte, n)
	_, err = io.ReadFull(r, message)
	return string(message), err
}

func TestSyslogServerFails(t *testing.T) {
	for _, framing := range []string{"octet-counting", "newline"} {
		t.Run(framing, func(t *testing.T) {
			topic := consumertest.New(t)
			s := startSyslogServer(t, framing, []string{"reset at once", "reset in the middle", "killed when it had read everything", "silent", "reset in the middle"}, nil)
			topic.Abort(topic.Events(10)...)
			ids := topic.Commit(topic.Events(100)...)
			startSIEM(t, topic, map[string]string{"SYSLOG_ADDR": s.listener.Addr().String(), "SYSLOG_FRAMING": framing, "SYSLOG_TIMEOUT": "1s"})
			consumertest.Await(t, "everything arrives", 20*time.Second, func() bool { return topic.Lag("genesys-siem-syslog") == 0 })
			if repeats := s.judge(t, ids); repeats == 0 {
				t.Error("a batch that was reset in its middle was not repeated")
			}
			if len(s.malign) > 0 {
				t.Errorf("not understood: %q", s.malign)
			}
		})
	}
}

// TestSyslogTLS closes its side, and waits for the server's, over TLS too.
func TestSyslogTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate of 127.0.0.1
	certified.Close()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	server := startSyslogServer(t, "octet-counting", []string{"reset in the middle"}, &tls.Config{Certificates: certified.TLS.Certificates})
	s := testSyslog(t, syslogConfig{Address: server.listener.Addr().String(), Framing: "octet-counting", TLS: true, CAFile: path})
	messages := make([]consumer.Message, 100)
	for i := range messages {
		messages[i] = sample(func(m *consumer.Message) { m.ID = strconv.Itoa(i) })
	}
	if n, err := s.deliver(t.Context(), messages); err == nil || n != 0 {
		t.Errorf("a connection that was reset: %d, %v", n, err)
	}
	if n, err := s.deliver(t.Context(), messages); err != nil || n != 100 {
		t.Errorf("%d, %v", n, err)
	}
	var ids []string
	for i := range messages {
		ids = append(ids, messages[i].ID)
	}
	server.judge(t, ids)
	s.tls.RootCAs = nil
	if _, err := s.deliver(t.Context(), messages); err == nil {
		t.Error("an unknown authority was trusted")
	}
}

// TestOutputsAreIndependent keeps one going while the other is dead.
func TestOutputsAreIndependent(t *testing.T) {
	topic := consumertest.New(t)
	c := &collector{}
	server := httptest.NewServer(c)
	defer server.Close()
	ids := topic.Commit(topic.Events(20)...)
	env := hecEnv(server.URL)
	env["SYSLOG_ADDR"] = "127.0.0.1:1" // nobody is there
	startSIEM(t, topic, env)
	consumertest.Await(t, "the collector has everything", 15*time.Second, func() bool { return c.has(ids) })
	if topic.Lag("genesys-siem-syslog") == 0 {
		t.Error("what nobody took is committed")
	}
}

func TestStdout(t *testing.T) {
	var b bytes.Buffer
	messages := []consumer.Message{sample(nil), role("MemberAdd")}
	if n, err := printer(&b)(t.Context(), messages); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for line := range bytes.Lines(b.Bytes()) {
		var e struct {
			ClassUID int `json:"class_uid"`
		}
		if err := json.Unmarshal(line, &e); err != nil || e.ClassUID < 3001 {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"KAFKA_BROKERS":    {"OUTPUT_STDOUT": "true"},
		"no output":        {"KAFKA_BROKERS": "a:1"},
		"SPLUNK_HEC_TOKEN": {"KAFKA_BROKERS": "a:1", "SPLUNK_HEC_URL": "https://splunk:8088"},
		"SPLUNK_HEC_URL":   {"KAFKA_BROKERS": "a:1", "SPLUNK_HEC_URL": "splunk:8088"},
		"SYSLOG_ADDR":      {"KAFKA_BROKERS": "a:1", "SYSLOG_ADDR": "syslog"},
		"SYSLOG_FRAMING":   {"KAFKA_BROKERS": "a:1", "SYSLOG_ADDR": "syslog:514", "SYSLOG_FRAMING": "none"},
		"START_FROM":       {"KAFKA_BROKERS": "a:1", "OUTPUT_STDOUT": "true", "START_FROM": "yesterday"},
	} {
		if err := run(t.Context(), envconfig.MapLookuper(env), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", env, err)
		}
	}
}
