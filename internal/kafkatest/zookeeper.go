package kafkatest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Versions are the releases of Apache Kafka that there are tests on, oldest first; the last one is that of all other
// tests. They are one before KRaft was fit for production (3.3), the first of those, the end of 3, and the newest.
func Versions() []string { return []string{zooKeeperVersion, "3.3.2", "3.9.1", newest} }

// newest is the version in scripts/kafka/pom.xml; "scripts/kafka-install VERSION" fetches the others.
const newest = "4.4.0"

// zooKeeperVersion is the one that needs ZooKeeper: the KRaft of Kafka 2.8 has no transactions.
// https://github.com/apache/kafka/blob/2.8/config/kraft/README.md
const zooKeeperVersion = "2.8.2"

// zooKeeper is a JVM beside the nodes, with the ZooKeeper among Kafka's own jars.
type zooKeeper struct {
	lib, dir string
	port     int

	proc *os.Process
	done chan struct{}
}

func newZooKeeper(lib, dir string, port int) *zooKeeper {
	return &zooKeeper{lib: lib, dir: dir, port: port}
}

// keep makes a KRaft node's properties those of a node under ZooKeeper.
func (z *zooKeeper) keep(properties map[string]string) {
	properties["broker.id"] = properties["node.id"]
	properties["zookeeper.connect"] = fmt.Sprintf("127.0.0.1:%d", z.port)
	properties["zookeeper.connection.timeout.ms"] = fmt.Sprint(startTimeout.Milliseconds())
	listeners, _, _ := strings.Cut(properties["listeners"], ",CONTROLLER:")
	properties["listeners"] = listeners
	for _, k := range []string{"process.roles", "node.id", "controller.listener.names", "controller.quorum.voters"} {
		delete(properties, k)
	}
}

// start returns at once: the node waits for it.
func (z *zooKeeper) start() error {
	config := filepath.Join(z.dir, "zookeeper.properties")
	text := fmt.Sprintf("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=1000\n",
		filepath.Join(z.dir, "data"), z.port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", z.lib+"/*",
		"org.apache.zookeeper.server.ZooKeeperServerMain", config)
	done, err := launch(cmd, filepath.Join(z.dir, "zookeeper.log"))
	if err != nil {
		return err
	}
	z.proc, z.done = cmd.Process, done
	return nil
}

func (z *zooKeeper) kill() {
	if z != nil && z.proc != nil {
		_ = z.proc.Kill()
		<-z.done
	}
}
