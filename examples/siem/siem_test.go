//go:build siem

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

// rsyslogConf writes a message as soon as it is read (a Direct queue), with the
// parts of the header as rsyslog has understood them.
const rsyslogConf = `
global(workDirectory="%[1]s")
main_queue(queue.type="Direct")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="%[2]s")
template(name="parts" type="string" string="%%pri%% %%timereported:::date-rfc3339%% %%hostname%% %%app-name%% %%msgid%% %%msg%%\n")
action(type="omfile" file="%[1]s/messages" template="parts")
`

type rsyslog struct {
	*exec.Cmd
	dir, port string
}

func (r *rsyslog) start(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		path = "/usr/sbin/rsyslogd"
	}
	r.Cmd = exec.Command(path, "-n", "-f", filepath.Join(r.dir, "conf"), "-i", filepath.Join(r.dir, "pid"))
	r.Stdout, r.Stderr = os.Stderr, os.Stderr
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	consumertest.Await(t, "rsyslogd listens", patience, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (r *rsyslog) end(signal os.Signal) {
	_ = r.Process.Signal(signal)
	kill := time.AfterFunc(20*time.Second, func() { _ = r.Process.Kill() })
	defer kill.Stop()
	_ = r.Wait()
	_ = os.Remove(filepath.Join(r.dir, "pid"))
}

func (r *rsyslog) written() int64 {
	info, err := os.Stat(filepath.Join(r.dir, "messages"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// install fetches what these tests need, once.
func install(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("./install").CombinedOutput(); err != nil {
		t.Fatalf("./install: %v\n%s", err, out)
	}
}

// TestRsyslog kills a real rsyslogd again and again, and finds everything in its file.
func TestRsyslog(t *testing.T) {
	install(t)
	for _, framing := range []string{"octet-counting", "newline"} {
		t.Run(framing, func(t *testing.T) { testRsyslog(t, framing) })
	}
}

func testRsyslog(t *testing.T, framing string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	r := &rsyslog{dir: t.TempDir(), port: port}
	if err := os.WriteFile(filepath.Join(r.dir, "conf"), fmt.Appendf(nil, rsyslogConf, r.dir, port), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	defer func() { r.end(os.Kill) }()
	topic := consumertest.New(t)
	startSIEM(t, topic, map[string]string{"SYSLOG_ADDR": "127.0.0.1:" + port, "SYSLOG_FRAMING": framing, "SYSLOG_HOSTNAME": "siem.example", "SYSLOG_TIMEOUT": "2s"})
	var ids []string
	for range 5 {
		topic.Abort(topic.Events(5)...)
		before := r.written()
		ids = append(ids, topic.Commit(topic.Events(600)...)...)
		consumertest.Await(t, "rsyslogd writes", patience, func() bool { return r.written() > before })
		r.end(os.Kill) // most likely in the middle of a batch
		ids = append(ids, topic.Commit(topic.Events(20)...)...)
		r.start(t)
	}
	consumertest.Await(t, "everything is delivered", patience, func() bool { return topic.Lag("genesys-siem-syslog") == 0 })
	r.end(syscall.SIGTERM)
	content, err := os.ReadFile(filepath.Join(r.dir, "messages"))
	if err != nil {
		t.Fatal(err)
	}
	understood := regexp.MustCompile(`^(108|109|110) \S+T\S+ siem\.example genesys-audit audit +(CEF:.* msg=.*)\n$`)
	var got received
	broken := 0
	for line := range bytes.Lines(content) {
		parts := understood.FindSubmatch(line)
		if parts == nil {
			broken++ // the last message of a server that was killed while it wrote
			t.Logf("%.300s", line)
			continue
		}
		_, extensions := parseCEF(t, string(parts[2]))
		got.add(extensions["externalId"])
	}
	if broken > 5 {
		t.Errorf("%d messages were not understood", broken)
	}
	t.Logf("%d changes arrived, in 5 lives of rsyslogd; %d repeats", len(ids), got.judge(t, ids))
}

// TestOCSFIsValid has other people's code judge the events of a whole organisation, oddities included.
func TestOCSFIsValid(t *testing.T) {
	install(t)
	validate := func(lines []byte) (string, error) {
		command := exec.Command("../../.cache/siem-venv/bin/python", "validate.py")
		command.Stdin = bytes.NewReader(lines)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	topic := consumertest.New(t)
	topic.Commit(append(topic.Events(3000), topic.Grants(50)...)...)
	var b bytes.Buffer
	print := printer(&b, formats["ocsf"])
	for _, s := range samples {
		s.message.ID = s.name
		if _, err := print(t.Context(), []consumer.Message{s.message}); err != nil {
			t.Fatal(err)
		}
	}
	live := liveRecords(t, 3000)
	if n, err := print(t.Context(), live); n != len(live) || err != nil {
		t.Fatal(n, err)
	}
	startPrinter(t, topic, print)
	consumertest.Await(t, "all is printed", patience, func() bool { return topic.Lag("print") == 0 })
	out, err := validate(b.Bytes())
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	t.Logf("\n%s", out)
	for _, class := range []string{"Entity Management: Update", "User Access Management: Assign Privileges", "Account Change: Disable", "Authentication: Logon",
		"Group Management: Add User", "Group Management: Assign Privileges"} {
		if !strings.Contains(out, class) {
			t.Errorf("no event was %s", class)
		}
	}
	// The judges can say no.
	first, _, _ := bytes.Cut(b.Bytes(), []byte("\n"))
	if out, err := validate(append(first, '\n')); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, path := range []string{"time", "class_uid:7", "activity_id:77", "metadata.version:9", "metadata.product", "entity", "invented:1", "attacks:1", "src_endpoint.ip:x"} {
		if out, err := validate(spoil(t, first, path)); err == nil {
			t.Errorf("%s: found valid:\n%s", path, out)
		}
	}
}

// spoil takes a field out of an event, or sets it to the value behind a colon.
func spoil(t *testing.T, event []byte, path string) []byte {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatal(err)
	}
	path, value, set := strings.Cut(path, ":")
	at, names := e, strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		at = at[name].(map[string]any)
	}
	name := names[len(names)-1]
	delete(at, name)
	if set {
		var number json.Number
		if json.Unmarshal([]byte(value), &number) == nil {
			at[name] = number
		} else {
			at[name] = value
		}
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func startPrinter(t *testing.T, topic *consumertest.Topic, print consumer.Handler) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { // ends with the test
		ended <- consumer.Run(t.Context(), consumer.Config{
			Brokers: topic.Brokers, Topic: topic.Name, GroupID: "print", OnRefused: consumer.RefusedRetry, SessionTimeout: 5 * time.Second,
		}, print)
	}()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
