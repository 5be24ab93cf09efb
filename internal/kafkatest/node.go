package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

const (
	terminate = syscall.SIGTERM
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
)

// node is one JVM. Its data and log outlive the process, so that it can be started again.
type node struct {
	id                 int
	clusterID          string
	lib, dir           string
	classes            string // further classes; "" for none
	heap               int    // MB
	listen, advertised string
	secure             string // where clients log in
	ipv6               string // where they do so by TLS
	env                []string

	mu   sync.Mutex
	proc *os.Process
	done chan struct{} // closed when the process has ended
}

func (n *node) properties() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) log() string        { return filepath.Join(n.dir, "server.log") }
func (n *node) tail(lines int) string {
	return fmt.Sprintf("--- node %d, %s\n%s", n.id, n.log(), lastLines(n.log(), lines))
}

func (n *node) classPath() string { return strings.TrimSuffix(n.lib+"/*:"+n.classes, ":") }

// format prepares the data folder, once in a node's life.
func (n *node) format() error {
	out, err := exec.Command("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", n.classPath(), "kafka.tools.StorageTool",
		"format", "-t", n.clusterID, "-c", n.properties()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format: %w\n%s", err, out)
	}
	return nil
}

// start runs the node in the background. Its end is seen through done.
func (n *node) start() error {
	cmd := exec.Command("java", fmt.Sprintf("-Xmx%dm", n.heap), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.level=WARN", "-cp", n.classPath(), "kafka.Kafka", n.properties())
	cmd.Env = append(os.Environ(), n.env...)
	done, err := launch(cmd, n.log())
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc, n.done = cmd.Process, done
	return nil
}

// launch starts a JVM that writes to a log. done is closed when it has ended, which it does with this process at the
// latest (on Linux).
func launch(cmd *exec.Cmd, log string) (done chan struct{}, err error) {
	logFile, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	done = make(chan struct{})
	go func() {
		// The kernel ends the child when the thread that started it ends, so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = logFile.Close() }()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("java: %w", err)
	}
	return done, nil
}

func (n *node) signal(s os.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return
	}
	if err := n.proc.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(fmt.Sprintf("kafkatest: node %d: %v", n.id, err))
	}
}

// wait returns when the process has ended.
func (n *node) wait() {
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	if done != nil {
		<-done
	}
}

func (n *node) exited() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}
