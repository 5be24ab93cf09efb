// Package connecttest runs Kafka Connect with a sink, and other programs beside it, for tests of the examples: a worker
// on shipped properties, a connector by its shipped file, and what a topic holds by a client that nobody here wrote. It
// is for Linux, whose kernel ends the programs of a test that was killed.
package connecttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is another program. It is killed when the test ends, and by the kernel should the test itself be.
type Process struct {
	name, log string
	cmd       *exec.Cmd
	done      chan struct{}
}

// Start runs a program in a folder of its own. Its output goes to a log, of which a failing test shows the end.
func Start(t *testing.T, name string, env []string, args ...string) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{name: name, log: filepath.Join(dir, "log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	p.cmd = cmd
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() { // ends with the program
		// The kernel ends the child when the thread that started it ends, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = log.Close() }()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		p.End(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the end of what %s said:\n%s", name, p.tail())
		}
	})
	return p
}

// End sends a signal that ends the program, and returns when it has ended.
func (p *Process) End(signal os.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended before
	<-p.done
}

// Await returns when ready does not fail any more, and ends the test when the program has ended or took too long.
func (p *Process) Await(t *testing.T, ready func() error) {
	t.Helper()
	began := time.Now()
	Eventually(t, 2*time.Minute, p.name+" is ready", func() error {
		select {
		case <-p.done:
			t.Fatalf("%s ended", p.name)
		default:
		}
		return ready()
	})
	t.Logf("%s is ready after %v more", p.name, time.Since(began).Round(time.Second))
}

func (p *Process) tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(content), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// Eventually tries until it works, and ends the test when that takes too long.
func Eventually(t *testing.T, within time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// FreeAddr is an address on loopback that nothing listened on a moment ago. A JVM takes long to bind it, so it is none
// of those that the kernel gives to outgoing connections meanwhile (from 32768 on, unless it is told otherwise).
func FreeAddr(t *testing.T) (addr string, port string) {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(15000 + rand.IntN(17000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		_ = l.Close()
		return l.Addr().String(), port
	}
	t.Fatal("no free port")
	return "", ""
}
