package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/examples/consumer"
)

// syslogConfig is a syslog server that is reached over TCP.
type syslogConfig struct {
	Address  string        `env:"SYSLOG_ADDR"`                            // host:port
	Framing  string        `env:"SYSLOG_FRAMING, default=octet-counting"` // or newline
	TLS      bool          `env:"SYSLOG_TLS, default=false"`              // RFC 5425
	CAFile   string        `env:"SYSLOG_TLS_CA_FILE"`
	Facility int           `env:"SYSLOG_FACILITY, default=13"` // log audit
	Hostname string        `env:"SYSLOG_HOSTNAME"`             // this host's, where unset
	AppName  string        `env:"SYSLOG_APP_NAME, default=genesys-audit"`
	Format   string        `env:"SYSLOG_FORMAT, default=cef"` // leef, ecs, ocsf
	Timeout  time.Duration `env:"SYSLOG_TIMEOUT, default=30s"`
}

// syslog delivers changes as RFC 5424 messages with CEF in them, or another format.
//
// Syslog acknowledges nothing: what is written to a connection may be lost with
// it, unseen. So each batch has a connection of its own, whose sending side is
// closed at its end, and counts as delivered when the server has closed too: it
// does that once it has read to the end. A server that is killed closes too, and
// takes with it what it had read ahead; so a second connection, on which nothing
// is sent, must outlive the first. In every other case the batch is sent again.
//
// What the server loses by itself after that (a queue in memory), or a load
// balancer in between, nobody can know here.
type syslog struct {
	config   syslogConfig
	hostname string
	tls      *tls.Config // nil without
	format   format
}

func newSyslog(c syslogConfig) (*syslog, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, fmt.Errorf("SYSLOG_ADDR: host:port is expected: %w", err)
	}
	if c.Framing != "octet-counting" && c.Framing != "newline" {
		return nil, errors.New("SYSLOG_FRAMING: octet-counting or newline is expected")
	}
	if c.Facility < 0 || c.Facility > 23 {
		return nil, errors.New("SYSLOG_FACILITY: a number from 0 to 23 is expected")
	}
	s := &syslog{config: c, hostname: c.Hostname}
	var err error
	if s.format, err = formatOf("SYSLOG_FORMAT", c.Format); err != nil {
		return nil, err
	}
	if s.hostname == "" {
		s.hostname, _ = os.Hostname()
	}
	s.hostname = syslogName(s.hostname, 255)
	if c.TLS {
		if s.tls, err = clientTLS("SYSLOG_TLS_CA_FILE", c.CAFile); err != nil {
			return nil, err
		}
		s.tls.ServerName, _, _ = net.SplitHostPort(c.Address)
	}
	return s, nil
}

// deliver is a consumer.Handler.
func (s *syslog) deliver(ctx context.Context, messages []consumer.Message) (int, error) {
	var frames, message []byte
	for i := range messages {
		var err error
		if message, err = s.appendMessage(message[:0], &messages[i]); err != nil {
			return 0, fmt.Errorf("encode %s: %w", messages[i].ID, err)
		}
		if s.config.Framing == "octet-counting" { // RFC 6587, 3.4.1
			frames = strconv.AppendInt(frames, int64(len(message)), 10)
			frames = append(append(frames, ' '), message...)
		} else {
			frames = append(append(frames, message...), '\n')
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if err := s.send(ctx, frames); err != nil {
		return 0, fmt.Errorf("send to %s: %w", s.config.Address, err)
	}
	return len(messages), nil
}

// closeWriter is what a TCP and a TLS connection have in common.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

func (s *syslog) send(ctx context.Context, frames []byte) error {
	witness, err := dial(ctx, s.config.Address)
	if err != nil {
		return err
	}
	defer witness.close()
	raw, err := dial(ctx, s.config.Address)
	if err != nil {
		return err
	}
	defer raw.close()
	var conn closeWriter = raw.TCPConn
	if s.tls != nil {
		conn = tls.Client(raw, s.tls)
	}
	if _, err := conn.Write(frames); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	// A server has nothing to say; what it says all the same is not for us.
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return fmt.Errorf("wait until it has read everything: %w", cmp.Or(context.Cause(ctx), err))
	}
	// The connections of a process that dies end together, but not in the same instant.
	if err := witness.SetReadDeadline(time.Now().Add(witnessWait)); err != nil {
		return err
	}
	if _, err := witness.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server has ended; what it had read may be lost: %w", err)
	}
	return nil
}

const witnessWait = 100 * time.Millisecond

// connection ends with its context.
type connection struct {
	*net.TCPConn
	stop func() bool
}

func dial(ctx context.Context, address string) (connection, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return connection{}, err
	}
	return connection{conn.(*net.TCPConn), context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

func (c connection) close() {
	c.stop()
	_ = c.Close()
}

// appendMessage appends a change as RFC 5424 wants it. Without the BOM that it
// asks for in front of UTF-8, which keeps parsers from finding the "CEF:" or "LEEF:".
func (s *syslog) appendMessage(b []byte, m *consumer.Message) ([]byte, error) {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(8*s.config.Facility+syslogSeverity(m)), 10)
	b = append(b, ">1 "...)
	b = m.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(append(b, ' '), s.hostname...)
	b = append(append(b, ' '), syslogName(s.config.AppName, 48)...)
	b = append(b, " - audit - "...) // no process, what kind of message, no structured data
	return s.format(b, m)
}

// syslogSeverity is warning for what is high, notice for what is medium, else informational.
func syslogSeverity(m *consumer.Message) int {
	switch severity := classes().judge(m).severity; {
	case severity >= 4:
		return 4
	case severity == 3:
		return 5
	}
	return 6
}

// syslogName is a text as a field of the header may be: printable ASCII without spaces.
func syslogName(text string, limit int) string {
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, text)
	return cmp.Or(name[:min(len(name), limit)], "-")
}
