// Command siem delivers Genesys Cloud's configuration changes to a SIEM: as OCSF
// events to Splunk's HTTP Event Collector, as CEF over syslog, or to standard
// out. See README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"

	"genesys-audit-connector/examples/consumer"
)

// config is the environment. An output is used when its address is set.
type config struct {
	Kafka  consumer.Config
	HEC    hecConfig
	Syslog syslogConfig
	Stdout bool `env:"OUTPUT_STDOUT, default=false"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, envconfig.OsLookuper(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "siem:", err)
		stop()
		os.Exit(1)
	}
}

// run reads the topic once for each output until ctx ends.
func run(ctx context.Context, env envconfig.Lookuper, stdout io.Writer) error {
	c := config{Kafka: consumer.Config{GroupID: "genesys-siem", StartFrom: "earliest"}}
	if err := consumer.Load(ctx, env, &c); err != nil {
		return err
	}
	outputs, err := c.outputs(stdout)
	if err != nil {
		return err
	}
	if c.Kafka.Log, err = zap.NewProduction(); err != nil {
		return err
	}
	return consumer.RunEach(ctx, c.Kafka, outputs)
}

func (c *config) outputs(stdout io.Writer) (map[string]consumer.Handler, error) {
	outputs := map[string]consumer.Handler{}
	if c.HEC.URL != "" {
		h, err := newHEC(c.HEC)
		if err != nil {
			return nil, err
		}
		outputs["hec"] = h.deliver
	}
	if c.Syslog.Address != "" {
		s, err := newSyslog(c.Syslog)
		if err != nil {
			return nil, err
		}
		outputs["syslog"] = s.deliver
	}
	if c.Stdout {
		outputs["stdout"] = printer(stdout)
	}
	if len(outputs) == 0 {
		return nil, errors.New("no output: set SPLUNK_HEC_URL, SYSLOG_ADDR or OUTPUT_STDOUT=true")
	}
	return outputs, nil
}

// printer writes one OCSF event a line.
func printer(w io.Writer) consumer.Handler {
	var mu sync.Mutex
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	return func(_ context.Context, messages []consumer.Message) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		for i := range messages {
			if err := lines.Encode(newOCSF(&messages[i])); err != nil {
				return i, err
			}
		}
		return len(messages), nil
	}
}
