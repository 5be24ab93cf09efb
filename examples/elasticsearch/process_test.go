//go:build connect && linux

package elasticsearch

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

// process is another program. It is killed when the test ends, and by the kernel should the test itself be.
type process struct {
	name, log string
	done      chan struct{}
}

// start runs a program in a folder of its own. Its output goes to a log, of which a failing test shows the end.
func start(t *testing.T, name string, env []string, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{name: name, log: filepath.Join(dir, "log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
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
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("the end of what %s said:\n%s", name, p.tail())
		}
	})
	return p
}

// await returns when ready does not fail any more, and ends the test when the program has ended or took too long.
func (p *process) await(t *testing.T, ready func() error) {
	t.Helper()
	began := time.Now()
	eventually(t, 2*time.Minute, p.name+" is ready", func() error {
		select {
		case <-p.done:
			t.Fatalf("%s ended", p.name)
		default:
		}
		return ready()
	})
	t.Logf("%s is ready after %v more", p.name, time.Since(began).Round(time.Second))
}

func (p *process) tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(content), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// eventually tries until it works, and ends the test when that takes too long.
func eventually(t *testing.T, within time.Duration, what string, try func() error) {
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

// freeAddr is an address on loopback that nothing listened on a moment ago. A JVM takes long to bind it, so it is none
// of those that the kernel gives to outgoing connections meanwhile (from 32768 on, unless it is told otherwise).
func freeAddr(t *testing.T) (addr string, port string) {
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
