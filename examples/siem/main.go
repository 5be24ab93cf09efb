// Command siem delivers Genesys Cloud's configuration changes to a SIEM: to Splunk's
// HTTP Event Collector, to Microsoft Sentinel, over syslog, or to standard out; as OCSF,
// ECS, CEF or LEEF. See README.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"

	"genesys-audit-connector/examples/consumer"
)

// config is the environment. An output is used when its address is set.
type config struct {
	Kafka        consumer.Config
	HEC          hecConfig
	Syslog       syslogConfig
	Sentinel     sentinelConfig
	Stdout       bool   `env:"OUTPUT_STDOUT, default=false"`
	StdoutFormat string `env:"STDOUT_FORMAT, default=ocsf"`
	// What is not delivered; see filter.go. Nothing is left out unless it says so.
	Exclude string `env:"EXCLUDE"`
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
	filter, err := newFilter(c.Exclude, c.Kafka.Log)
	if err != nil {
		return err
	}
	defer filter.close()
	for name, deliver := range outputs {
		outputs[name] = filter.before(deliver)
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
	if c.Sentinel.Endpoint != "" {
		s, err := newSentinel(c.Sentinel)
		if err != nil {
			return nil, err
		}
		outputs["sentinel"] = s.deliver
	}
	if c.Stdout {
		format, err := formatOf("STDOUT_FORMAT", c.StdoutFormat)
		if err != nil {
			return nil, err
		}
		outputs["stdout"] = printer(stdout, format)
	}
	if len(outputs) == 0 {
		return nil, errors.New("no output: set SPLUNK_HEC_URL, SENTINEL_ENDPOINT, SYSLOG_ADDR or OUTPUT_STDOUT=true")
	}
	return outputs, nil
}

// format appends a change to b, in one line without its end.
type format func(b []byte, m *consumer.Message) ([]byte, error)

// formats by the names that settings have for them.
var formats = map[string]format{
	"cef":  func(b []byte, m *consumer.Message) ([]byte, error) { return appendCEF(b, m), nil },
	"leef": func(b []byte, m *consumer.Message) ([]byte, error) { return appendLEEF(b, m), nil },
	"ocsf": func(b []byte, m *consumer.Message) ([]byte, error) { return appendJSON(b, newOCSF(m)) },
	"ecs":  func(b []byte, m *consumer.Message) ([]byte, error) { return appendJSON(b, newECS(m).nested()) },
}

func formatOf(variable, name string) (format, error) {
	if f := formats[name]; f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("%s: %s is expected", variable, strings.Join(slices.Sorted(maps.Keys(formats)), ", "))
}

func appendJSON(b []byte, value any) ([]byte, error) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return append(b, bytes.TrimSuffix(line.Bytes(), []byte("\n"))...), err
}

// printer writes one event a line.
func printer(w io.Writer, format format) consumer.Handler {
	var mu sync.Mutex
	return func(_ context.Context, messages []consumer.Message) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		var line []byte
		for i := range messages {
			var err error
			if line, err = format(line[:0], &messages[i]); err != nil {
				return i, err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return i, err
			}
		}
		return len(messages), nil
	}
}
