package main

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

func testSyslog(t *testing.T, c syslogConfig) *syslog {
	t.Helper()
	c.Facility, c.Timeout = 13, 2*time.Second
	if c.Hostname == "" {
		c.Hostname = "siem"
	}
	if c.Format == "" {
		c.Format = "cef"
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

// syslogServer is a syslog server that does something wrong with the first
// connections on which something is sent.
type syslogServer struct {
	received
	t         *testing.T
	listener  net.Listener
	framing   string
	secured   *tls.Config // nil for plain TCP
	faults    []syslogFault
	malformed []error
	conns     []net.Conn // in the order of their coming
	ended     chan struct{}
}

type syslogFault int

const (
	none syslogFault = iota
	resetAtOnce
	resetInTheMiddle
	killed // having read everything, of which it has written the beginning
	silent // neither reads nor closes
)

// middle is how many messages of a connection are taken before its fault.
const middle = 5

func startSyslogServer(t *testing.T, framing string, faults []syslogFault, secured *tls.Config) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &syslogServer{t: t, listener: l, framing: framing, secured: secured, faults: faults, ended: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close(); close(s.ended) })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			go s.serve(conn.(*net.TCPConn))
		}
	}()
	return s
}

// die drops every connection, as a process does that is killed; the oldest one
// first, so that the sender's idle one has ended when that of its batch does.
func (s *syslogServer) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
}

func (s *syslogServer) fault() syslogFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return none
	}
	first := s.faults[0]
	s.faults = s.faults[1:]
	return first
}

// serve takes the messages of a connection until it ends, whoever ends it.
func (s *syslogServer) serve(raw *net.TCPConn) {
	defer func() { _ = raw.Close() }()
	var conn net.Conn = raw
	if s.secured != nil {
		conn = tls.Server(raw, s.secured)
	}
	read := bufio.NewReader(conn)
	if _, err := read.Peek(1); err != nil {
		return // nothing was sent
	}
	fault := s.fault()
	for n := 0; ; n++ {
		switch {
		case fault == silent:
			<-s.ended
			return
		case fault == resetAtOnce, fault == resetInTheMiddle && n == middle:
			_ = raw.SetLinger(0)
			return
		case fault == killed && n == middle:
			_, _ = io.Copy(io.Discard, read)
			s.die()
			return
		}
		message, err := s.next(read)
		if errors.Is(err, errMalformed) {
			s.mu.Lock()
			s.malformed = append(s.malformed, err)
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
		_, extensions := parseCEF(s.t, message[strings.Index(message, "CEF:"):])
		s.add(extensions["externalId"])
	}
}

var errMalformed = errors.New("no syslog message")

// next reads a message as RFC 6587 frames it. An error other than errMalformed is the connection's end.
func (s *syslogServer) next(r *bufio.Reader) (message string, err error) {
	if s.framing == "newline" {
		if message, err = r.ReadString('\n'); err != nil {
			return "", err
		}
		message = strings.TrimSuffix(message, "\n")
	} else {
		size, err := r.ReadString(' ')
		if err != nil {
			return "", err
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil {
			return "", fmt.Errorf("%w: %w", errMalformed, err)
		}
		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return "", err
		}
		message = string(frame)
	}
	if !strings.HasPrefix(message, "<") || !strings.Contains(message, "CEF:") {
		return "", fmt.Errorf("%w: %q", errMalformed, message)
	}
	return message, nil
}

func TestSyslogServerFails(t *testing.T) {
	for _, framing := range []string{"octet-counting", "newline"} {
		t.Run(framing, func(t *testing.T) {
			topic := consumertest.New(t)
			s := startSyslogServer(t, framing, []syslogFault{resetAtOnce, resetInTheMiddle, killed, silent, resetInTheMiddle}, nil)
			topic.Abort(topic.Events(10)...)
			ids := topic.Commit(topic.Events(100)...)
			startSIEM(t, topic, map[string]string{"SYSLOG_ADDR": s.listener.Addr().String(), "SYSLOG_FRAMING": framing, "SYSLOG_TIMEOUT": "2s"})
			consumertest.Await(t, "everything arrives", patience, func() bool { return topic.Lag("genesys-siem-syslog") == 0 })
			if s.fault() != none {
				t.Error("not every fault was met")
			}
			if repeats := s.judge(t, ids); repeats < middle {
				t.Errorf("%d repeats: a batch that was reset in its middle was not sent again", repeats)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.malformed) > 0 {
				t.Errorf("not understood: %q", s.malformed)
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
	server := startSyslogServer(t, "octet-counting", []syslogFault{resetInTheMiddle}, &tls.Config{Certificates: certified.TLS.Certificates})
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
