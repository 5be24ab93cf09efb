package sandbox

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// BrokerOptions is what the embedded Kafka broker is like.
type BrokerOptions struct {
	Port    int          // 0: any free one
	Nodes   int          // 0: 1, which is the only number a fixed Port goes with
	DataDir string       // keeps everything across restarts, and across kill -9 of the process; "": memory
	Logger  kfake.Logger // nil: silent
}

// Broker is a Kafka broker in this process, on loopback. It creates no topics by
// itself and lets consumer groups have short session timeouts. The Cluster's
// ControlKey intercepts requests.
type Broker struct {
	*kfake.Cluster
}

// StartBroker starts a broker; Close ends it.
func StartBroker(options BrokerOptions) (*Broker, error) {
	setDefault(&options.Nodes, 1)
	settings := []kfake.Opt{
		kfake.NumBrokers(options.Nodes),
		kfake.ClusterID("sandbox"),
		kfake.DefaultNumPartitions(3),
		kfake.GroupMinSessionTimeout(200 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(10 << 20)}),
	}
	if options.Port != 0 {
		settings = append(settings, kfake.Ports(options.Port))
	}
	if options.DataDir != "" {
		settings = append(settings, kfake.DataDir(options.DataDir))
	}
	if options.Logger != nil {
		settings = append(settings, kfake.WithLogger(options.Logger))
	}
	settings = append(settings, kfake.ListenFn(listenLoopback))
	cluster, err := kfake.NewCluster(settings...)
	if err != nil {
		return nil, fmt.Errorf("start broker on port %d: %w", options.Port, err)
	}
	return &Broker{cluster}, nil
}

// listenLoopback keeps the broker off every other interface.
func listenLoopback(network, address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return net.Listen(network, net.JoinHostPort("127.0.0.1", port))
}
