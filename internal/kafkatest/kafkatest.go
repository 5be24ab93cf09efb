// Package kafkatest starts real Apache Kafka for tests: one node or three, each a JVM of its own on loopback,
// that a test can kill, stop, pause and start again. Proxy cuts connections at chosen requests, in front of
// these nodes or of an embedded broker.
//
// It promises a cluster that has answered before Start returns and that is gone when the test ends. It refuses
// to know what is tested: nothing here depends on another package of this module.
//
// StartRegistry starts a schema registry beside it. What is started is fetched by scripts/kafka-install and
// scripts/registry-install; tests that use it carry the build tag "kafka".
package kafkatest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// startTimeout is how long a node may take until it answers. It needs 8 s on two idle cores.
const startTimeout = 90 * time.Second

// Options describe a cluster.
type Options struct {
	Version    string            // of Apache Kafka, one of Versions; "" is the newest
	Nodes      int               // 1 (default) or 3, which older versions do not take
	Properties map[string]string // set on every node, over the defaults
	Proxy      bool              // clients are told to connect through Cluster.Proxy
	Users      map[string]string // passwords by name, for SecureBrokers
	IPv6       bool              // there is IPv6Brokers, for Users
	Java       []string          // source files whose classes the nodes are to find, such as a policy
	Issuer     *Issuer           // of tokens, for SecureBrokers instead of Users
}

// Cluster is a running Apache Kafka. Its methods may be called from several goroutines, but not two for the same node.
type Cluster struct {
	Proxy *Proxy // nil unless asked for

	tb     testing.TB
	nodes  []*node
	keeper *zooKeeper // nil where the nodes do without
	ca     string     // a file of who signed the certificates for IPv6Brokers
}

// Start starts a cluster and waits until every node answers. It is stopped when the test ends.
func Start(tb testing.TB, options Options) *Cluster {
	tb.Helper()
	lib := jars(tb, options.Version)
	classes := compile(tb, lib, options.Java)
	if options.Nodes == 0 {
		options.Nodes = 1
	}
	c := &Cluster{tb: tb}
	if options.Proxy {
		c.Proxy = NewProxy(tb)
	}
	c.configure(options, lib)
	for _, n := range c.nodes {
		n.classes = classes
	}
	tb.Cleanup(func() {
		for _, n := range c.nodes {
			n.signal(os.Kill)
			n.wait()
		}
		c.keeper.kill()
	})
	if c.keeper != nil {
		if err := c.keeper.start(); err != nil {
			tb.Fatalf("kafkatest: zookeeper: %v", err)
		}
	} else {
		c.each(func(n *node) error { return n.format() })
	}
	c.each(func(n *node) error { return n.start() })
	c.each(c.waitReady)
	return c
}

// Brokers returns the addresses for clients, through the proxy where there is one.
func (c *Cluster) Brokers() []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.advertised)
	}
	return addrs
}

// SecureBrokers returns the addresses at which clients must log in: by SASL PLAIN as one of Options.Users, or by
// OAUTHBEARER with a token of Options.Issuer.
func (c *Cluster) SecureBrokers() []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.secure)
	}
	return addrs
}

// IPv6Brokers returns the addresses, at ::1, where the users of SecureBrokers log in by TLS, and a PEM file with the
// authority of the certificates there.
func (c *Cluster) IPv6Brokers() (addrs []string, ca string) {
	for _, n := range c.nodes {
		addrs = append(addrs, n.ipv6)
	}
	return addrs, c.ca
}

// DataDirs returns the directories in which the nodes keep their logs.
func (c *Cluster) DataDirs() []string {
	var dirs []string
	for _, n := range c.nodes {
		dirs = append(dirs, filepath.Join(n.dir, "data"))
	}
	return dirs
}

// Kill ends node i at once, as a crash does.
func (c *Cluster) Kill(i int) {
	c.nodes[i].signal(os.Kill)
	c.nodes[i].wait()
}

// Stop lets node i shut down in an orderly manner, handing its leaderships over.
func (c *Cluster) Stop(i int) {
	c.nodes[i].signal(terminate)
	c.nodes[i].wait()
}

// Restart starts node i again on its old data, after Kill or Stop, and waits until it answers.
func (c *Cluster) Restart(i int) {
	c.tb.Helper()
	if err := c.nodes[i].start(); err != nil {
		c.tb.Errorf("kafkatest: restart: %v", err)
		return
	}
	if err := c.waitReady(c.nodes[i]); err != nil {
		c.tb.Errorf("kafkatest: restart: %v", err)
	}
}

// Pause freezes node i: its connections stay open and nothing answers.
func (c *Cluster) Pause(i int) { c.nodes[i].signal(pause) }

// Resume lets node i go on after Pause.
func (c *Cluster) Resume(i int) { c.nodes[i].signal(resume) }

// configure chooses ports and writes each node's properties.
func (c *Cluster) configure(options Options, lib string) {
	c.tb.Helper()
	var id [16]byte
	_, _ = rand.Read(id[:])
	id[0] &= 0x7f // or it may begin with a dash, which the storage tool takes for an option
	clusterID := base64.RawURLEncoding.EncodeToString(id[:])
	const each = 5
	ports := freePorts(c.tb, each*options.Nodes)
	var quorum []string
	for i := range options.Nodes {
		quorum = append(quorum, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[each*i+2]))
	}
	for i := range options.Nodes {
		n := &node{id: i + 1, clusterID: clusterID, lib: lib, dir: c.tb.TempDir(), heap: 256}
		if options.Nodes > 1 {
			n.heap = 192
		}
		n.listen = fmt.Sprintf("127.0.0.1:%d", ports[each*i])
		n.advertised = n.listen
		if c.Proxy != nil {
			n.advertised = c.Proxy.Forward(n.listen)
		}
		n.secure = fmt.Sprintf("127.0.0.1:%d", ports[each*i+3])
		properties := n.defaults(ports[each*i:], options.Nodes, strings.Join(quorum, ","))
		if options.Version == zooKeeperVersion {
			c.keeper = newZooKeeper(n.lib, c.tb.TempDir(), ports[each*i+2])
			c.keeper.keep(properties)
		}
		if options.Users != nil {
			n.login(properties, options.Users)
		}
		if options.IPv6 {
			n.ipv6 = fmt.Sprintf("[::1]:%d", ports[each*i+4])
			c.ca = n.encrypt(c.tb, properties)
		}
		if options.Issuer != nil {
			n.takeTokens(properties, options.Issuer)
		}
		maps.Copy(properties, options.Properties)
		var text bytes.Buffer
		for _, k := range slices.Sorted(maps.Keys(properties)) {
			fmt.Fprintf(&text, "%s=%s\n", k, properties[k])
		}
		if err := os.WriteFile(n.properties(), text.Bytes(), 0o600); err != nil {
			c.tb.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
	}
}

// defaults are a small node's properties: quick to start and to notice a death, replicated where there are replicas.
// ports are the client's, the other brokers', the controllers' and those of clients that log in.
func (n *node) defaults(ports []int, nodes int, quorum string) map[string]string {
	replicas, minISR := fmt.Sprint(nodes), fmt.Sprint(nodes/2+1)
	return map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        fmt.Sprint(n.id),
		"listeners":                      fmt.Sprintf("CLIENT://%s,BROKER://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", n.listen, ports[1], ports[2]),
		"advertised.listeners":           fmt.Sprintf("CLIENT://%s,BROKER://127.0.0.1:%d", n.advertised, ports[1]),
		"listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "BROKER",
		"controller.listener.names":      "CONTROLLER",
		"controller.quorum.voters":       quorum,
		"log.dirs":                       filepath.Join(n.dir, "data"),

		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              minISR,
		"offsets.topic.replication.factor":                 replicas,
		"offsets.topic.num.partitions":                     "1",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    minISR,
		"transaction.state.log.num.partitions":             replicas,
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            minISR,

		"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms":     "500",
		"auto.create.topics.enable":        "false",
		"log.cleaner.dedupe.buffer.size":   "2097152",
		"num.network.threads":              "2",
		"num.io.threads":                   "2",
		"background.threads":               "2",
		// A killed node is noticed after this session, not after the default of 9 s.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
	}
}

// each does something with all nodes at once and ends the test if one fails, with that node's log.
func (c *Cluster) each(do func(*node) error) {
	c.tb.Helper()
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() { errs[i] = do(n) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			c.tb.Fatalf("kafkatest: node %d: %v\n%s", i+1, err, c.nodes[i].tail(60))
		}
	}
}

// waitReady returns when the node answers and names all the cluster's nodes.
func (c *Cluster) waitReady(n *node) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := c.ask(n)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w\n%s", startTimeout, err, n.tail(60))
		}
		if n.exited() {
			return fmt.Errorf("ended while it started\n%s", n.tail(60))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *Cluster) ask(n *node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := (&kafka.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", n.listen)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	brokers, err := conn.Brokers()
	if err != nil {
		return err
	}
	for _, b := range brokers {
		if b.ID == n.id {
			return nil
		}
	}
	return fmt.Errorf("it knows %d nodes, not itself", len(brokers))
}

// compile returns the folder of the classes of Java source files, "" where there are none.
func compile(tb testing.TB, lib string, sources []string) string {
	tb.Helper()
	if len(sources) == 0 {
		return ""
	}
	dir := tb.TempDir()
	out, err := exec.Command("javac", append([]string{"-cp", lib + "/*", "-d", dir}, sources...)...).CombinedOutput()
	if err != nil {
		tb.Fatalf("kafkatest: javac: %v\n%s", err, out)
	}
	return dir
}

// jars returns the folder that scripts/kafka-install fills.
func jars(tb testing.TB, version string) string {
	tb.Helper()
	if version == "" || version == newest {
		return cached(tb, filepath.Join("kafka", "lib"), "pom.xml", "scripts/kafka-install")
	}
	return cached(tb, filepath.Join("kafka", version), "pom.xml", "scripts/kafka-install "+version)
}

// cached returns a folder of .cache that a script has filled; proof is what the script writes last.
func cached(tb testing.TB, folder, proof, script string) string {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	dir := filepath.Join(root, ".cache", folder)
	if _, err := os.Stat(filepath.Join(dir, proof)); err != nil {
		tb.Fatalf("kafkatest: nothing in %s; run %s", dir, script)
	}
	return dir
}

// freePorts returns ports that nothing listened on a moment ago. A JVM takes long to bind them, so they are none of those
// that the kernel gives to outgoing connections meanwhile (from 32768 on, unless it is told otherwise).
func freePorts(tb testing.TB, count int) []int {
	tb.Helper()
	const first, beyond = 15000, 32768
	var ports []int
	for range 100 * count {
		port := first + mathrand.IntN(beyond-first)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }() // not before all are chosen, so that none is chosen twice
		if ports = append(ports, port); len(ports) == count {
			return ports
		}
	}
	tb.Fatalf("kafkatest: hardly a port is free between %d and %d", first, beyond)
	return nil
}

// lastLines returns the end of a log file.
func lastLines(path string, count int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
		if len(lines) > count {
			lines = lines[1:]
		}
	}
	return strings.Join(lines, "\n")
}
