package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/sandbox"
)

// scene is a simulated organisation, a Kafka, and the settings of a connector between them.
type scene struct {
	testing.TB
	child   *child        // the last one spawned
	log     *os.File      // of a connector in this process; nil: standard error
	addr    string        // of its status page
	over    chan struct{} // closed when it has ended
	older   bool          // some of what is published is of a version that kept no evidence log
	unseen  int           // visible events that no reading meets any more: verify finds those
	world   *sandbox.Server
	brokers []string
	env     map[string]string
}

// newScene brings up the organisation, and the embedded broker where brokers is nil.
func newScene(t testing.TB, brokers []string, o sandbox.Options) *scene {
	t.Helper()
	options := sandbox.ServerOptions{Options: o}
	if brokers == nil {
		options.Broker = &sandbox.BrokerOptions{}
	}
	world, err := sandbox.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	if brokers == nil {
		brokers = world.Broker.ListenAddrs()
	}
	topics := fmt.Sprintf("t%d.", rand.Uint32())
	s := &scene{TB: t, world: world, brokers: brokers, env: map[string]string{
		"GENESYS_API_URL": world.URL, "GENESYS_LOGIN_URL": world.URL, "GENESYS_AUDIT_API": "auditlogs",
		"GENESYS_CLIENT_ID": "sandbox", "GENESYS_CLIENT_SECRET": "sandbox-secret",
		"GENESYS_RATE_LIMIT": "100000/1s", "GENESYS_RATE_SHARE": "1", "GENESYS_REQUEST_TIMEOUT": "2s",
		"KAFKA_BROKERS":   strings.Join(brokers, ","),
		"KAFKA_TOPIC_RAW": topics + "raw", "KAFKA_TOPIC_CHANGES": topics + "changes", "KAFKA_TOPIC_OFFSETS": topics + "offsets", "KAFKA_TOPIC_EVIDENCE": topics + "evidence",
		"KAFKA_GROUP_ID": topics + "group", "KAFKA_SESSION_TIMEOUT": "1s",
		"POLL_INTERVAL": "200ms", "POLL_OVERLAP": "2s", "SWEEP_AGES": "5s,10s", "HTTP_ADDR": "127.0.0.1:0",
		"SHUTDOWN_TIMEOUT": "10s", "LOG_LEVEL": "warn",
	}}
	return s
}

// unlimited is an organisation that limits nobody.
func unlimited() sandbox.Options {
	return sandbox.Options{Seed: 7, AuditlogsLimit: sandbox.Limit{Requests: 1 << 30, Window: time.Second}, PlatformLimit: sandbox.Limit{Requests: 1 << 30, Window: time.Second}}
}

// start runs the connector in this process until stop is called, which returns its error.
func (s *scene) start(settings ...func(*app)) (a *app, stop func() error) {
	s.Helper()
	cfg, err := Load(envconfig.MapLookuper(s.env))
	if err != nil {
		s.Fatal(err)
	}
	a, err = newApp(cfg, newLogger(cfg.Log, cmp.Or(s.log, os.Stderr)))
	if err != nil {
		s.Fatal(err)
	}
	for _, set := range settings {
		set(a)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	s.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended, over := make(chan error, 1), make(chan struct{})
	s.over = over
	go func() { ended <- a.runOn(ctx, l); close(over) }() // ends with ctx
	stop = sync.OnceValue(func() error { cancel(); defer a.close(); return <-ended })
	s.Cleanup(func() { _ = stop() })
	return a, stop
}

// child is the connector in a process of its own.
type child struct {
	*exec.Cmd
	out *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tailOf is the end of what a process said.
func tailOf(text string) string { return text[max(0, len(text)-4000):] }

func (s *scene) spawn(args ...string) *child { s.Helper(); return s.spawnBinary(os.Args[0], args...) }

// spawnBinary starts a connector that was built somewhere else.
func (s *scene) spawnBinary(path string, args ...string) *child {
	s.Helper()
	c := &child{exec.Command(path, args...), new(lockedBuffer)}
	c.Env = append(os.Environ(), childVariable+"=1")
	for k, v := range s.env {
		c.Env = append(c.Env, k+"="+v)
	}
	c.Stdout, c.Stderr = c.out, c.out
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.child = c
	return c
}

// end sends the signal and waits; whoever ignores it for too long is killed.
func (c *child) end(sig syscall.Signal) error {
	_ = c.Process.Signal(sig)
	kill := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	return c.Wait()
}

// instance is a connector in a process of its own whose status page can be asked.
type instance struct {
	*child
	addr string
}

func (s *scene) instance() *instance { s.Helper(); return s.instanceOf(os.Args[0]) }

// instanceOf is an instance of a connector that was built somewhere else.
func (s *scene) instanceOf(path string) *instance {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	s.env["HTTP_ADDR"] = l.Addr().String()
	_ = l.Close()
	r := &instance{s.spawnBinary(path, "run"), s.env["HTTP_ADDR"]}
	s.Cleanup(func() {
		if r.ProcessState == nil {
			_ = r.Process.Signal(syscall.SIGCONT)
			_ = r.end(syscall.SIGKILL)
		}
	})
	return r
}

// status asks the replica; a nil lastError is "".
func (r *instance) status() (role, lastError string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/api/status", nil)
	if err != nil {
		return "", "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var doc struct {
		Role      string  `json:"role"`
		LastError *string `json:"lastError"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		return "", "", err
	}
	if doc.LastError != nil {
		lastError = *doc.LastError
	}
	return doc.Role, lastError, nil
}

func (r *instance) is(role string) func() bool {
	return func() bool {
		now, _, err := r.status()
		return err == nil && now == role
	}
}

// awaited waits until done says so and tells how long that took.
func (s *scene) awaited(within time.Duration, what string, done func() bool) time.Duration {
	s.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > within {
			s.Fatalf("%s: not within %s; the connector said:\n%s", what, within, tailOf(s.child.out.String()))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// emitting makes events all the time until stop is called.
func (s *scene) emitting() (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with quit
		defer close(ended)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-quit:
				tick.Stop()
				return
			case <-tick.C:
				s.world.Org.Emit(3)
			}
		}
	}()
	return sync.OnceFunc(func() { close(quit); <-ended })
}

// transactions counts how those ended that wrote to the offsets topic, which each
// does. One in whose midst the connector was killed was aborted for it.
func (s *scene) transactions() (committed, aborted int) {
	s.Helper()
	records, err := readLog(s.Context(), s.brokers, s.env["KAFKA_TOPIC_OFFSETS"])
	if err != nil {
		s.Fatal(err)
	}
	for _, r := range records {
		switch {
		case !r.Attrs.IsControl():
		case binary.BigEndian.Uint16(r.Key[2:]) == 1: // behind the version: 0 aborted, 1 committed
			committed++
		default:
			aborted++
		}
	}
	return committed, aborted
}

// published waits until every event that is visible stands in Kafka, and then judges.
func (s *scene) published(within time.Duration) {
	s.Helper()
	deadline := time.Now().Add(within)
	for {
		c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], s.env["KAFKA_TOPIC_EVIDENCE"])
		c.older = s.older
		made, visible, shown := s.world.Org.Counts()
		v := judge(c, s.world.Org.Shown())
		if err == nil && v.ok() && visible-shown <= s.unseen && made == visible {
			s.Logf("%d events shown, %d raw records, %d events with changes", shown, len(c.raw), len(c.changes))
			return
		}
		if time.Now().After(deadline) {
			if s.child != nil {
				s.Logf("the connector said:\n%s", s.child.out)
			}
			s.Fatalf("%d events made, %d visible, %d shown; %s; %v", made, visible, shown, v, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func TestEveryEventOnceWithEveryOddity(t *testing.T) { everyOddity(t, nil) }

func everyOddity(t *testing.T, brokers []string) {
	o := unlimited()
	o.Odd, o.OtherTypes = 0.2, -1
	s := newScene(t, brokers, o)
	now := time.Now()
	s.world.Org.Backfill(3000, now.Add(-20*time.Hour), now.Add(-time.Minute))
	for i, name := range sandbox.Oddities() {
		if _, err := s.world.Org.EmitOdd(now.Add(-time.Duration(i)*time.Minute), name); err != nil {
			t.Fatal(err)
		}
	}
	s.world.Org.EmitBulk(now.Add(-time.Second), 700)
	_, stop := s.start()
	s.published(60 * time.Second)
	s.world.Org.Emit(50)
	s.published(20 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.published(0)
}

// nullFile is where logs go that nobody looks at.
func nullFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
