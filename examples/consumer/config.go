package consumer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"
)

// Config says where the topic is and how it is read. The variables have the
// names of the connector's.
type Config struct {
	// Brokers to ask for the cluster's layout, as host:port, separated by commas.
	Brokers []string `env:"KAFKA_BROKERS, required"`
	// The topic of normalised changes.
	Topic string `env:"KAFKA_TOPIC_CHANGES, default=genesys.audit.changes"`
	// The time after which a dead member's partitions go to the others.
	SessionTimeout time.Duration `env:"KAFKA_SESSION_TIMEOUT, default=10s"`
	// What follows when an endpoint will never take a change, or a record is none:
	// "retry" waits, for somebody to mend it; "skip" logs it and goes on.
	OnRefused string `env:"ON_REFUSED, default=retry"`
	TLS       TLS
	SASL      SASL
	Registry  Registry

	// The consumer group, whose offsets say what is delivered. The program sets
	// the name that it has where the variable is unset.
	GroupID string `env:"KAFKA_CONSUMER_GROUP, overwrite"`
	// Where a new group begins: "earliest", also where the program says nothing,
	// or "latest".
	StartFrom string `env:"START_FROM, overwrite"`

	// What follows is the program's to set.

	// BatchSize is how many messages a Handler gets at most; 500.
	BatchSize int
	// Exclusive gives all partitions to one member of the group, for handlers
	// that must see all of the topic; the others stand by.
	Exclusive bool
	// Recall shows the handler, before anything new, what was published up to
	// this long before that, as Message.Recalled: the memory of a handler that
	// keeps none of its own. Zero shows nothing.
	Recall time.Duration
	Log    *zap.Logger
}

// What OnRefused may be.
const (
	RefusedRetry = "retry"
	RefusedSkip  = "skip"
)

// TLS is how brokers are recognised, and how this client shows who it is.
type TLS struct {
	Enabled  bool   `env:"KAFKA_TLS, default=false"`
	CAFile   string `env:"KAFKA_TLS_CA_FILE"` // PEM; the system's authorities where unset
	CertFile string `env:"KAFKA_TLS_CERT_FILE"`
	KeyFile  string `env:"KAFKA_TLS_KEY_FILE"`
}

// SASL is how this client logs in to the brokers.
type SASL struct {
	Mechanism string `env:"KAFKA_SASL_MECHANISM"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; none where unset
	Username  string `env:"KAFKA_SASL_USERNAME"`
	Password  string `env:"KAFKA_SASL_PASSWORD"`
}

// Registry is where the topic's schema is registered. Unset: values are
// single-object encoded.
type Registry struct {
	URL      string `env:"SCHEMA_REGISTRY_URL"`
	Username string `env:"SCHEMA_REGISTRY_USERNAME"`
	Password string `env:"SCHEMA_REGISTRY_PASSWORD"`
}

// Load fills the env tags of a struct from the environment. An empty variable is
// an unset one, and NAME_FILE names a file with the value of NAME.
func Load(ctx context.Context, env envconfig.Lookuper, target any) error {
	e := &environment{env: env}
	err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: target, Lookuper: e})
	return errors.Join(e.unreadable, err)
}

type environment struct {
	env        envconfig.Lookuper
	unreadable error
}

func (e *environment) Lookup(name string) (string, bool) {
	value, _ := e.env.Lookup(name)
	if path, _ := e.env.Lookup(name + "_FILE"); value == "" && path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			e.unreadable = errors.Join(e.unreadable, fmt.Errorf("%s_FILE: %w", name, err))
		}
		value = strings.TrimRight(string(content), "\r\n")
	}
	return value, value != ""
}

// check also sets what has defaults.
func (c *Config) check() error {
	if c.BatchSize == 0 {
		c.BatchSize = 500
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.StartFrom == "" {
		c.StartFrom = "earliest"
	}
	var errs []error
	wrong := func(variable, expected string) {
		errs = append(errs, fmt.Errorf("%s: %s is expected", variable, expected))
	}
	if c.OnRefused != RefusedRetry && c.OnRefused != RefusedSkip {
		wrong("ON_REFUSED", "retry or skip")
	}
	if c.StartFrom != "earliest" && c.StartFrom != "latest" {
		wrong("START_FROM", "earliest or latest")
	}
	if c.GroupID == "" {
		wrong("KAFKA_CONSUMER_GROUP", "a name")
	}
	if c.SessionTimeout < 100*time.Millisecond {
		wrong("KAFKA_SESSION_TIMEOUT", "a duration like 10s")
	}
	if len(c.Brokers) == 0 {
		wrong("KAFKA_BROKERS", "host:port, separated by commas")
	}
	return errors.Join(errs...)
}

func (c *Config) startOffset() int64 {
	if c.StartFrom == "latest" {
		return kafka.LastOffset
	}
	return kafka.FirstOffset
}

func (c *Config) dialer() (*kafka.Dialer, error) {
	d := &kafka.Dialer{ClientID: c.GroupID, Timeout: 10 * time.Second, DualStack: true}
	var err error
	if d.TLS, err = c.TLS.client(); err != nil {
		return nil, err
	}
	d.SASLMechanism, err = c.SASL.mechanism()
	return d, err
}

func (t TLS) client() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Mechanism{Username: s.Username, Password: s.Password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.Username, s.Password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.Username, s.Password)
	}
	return nil, errors.New("KAFKA_SASL_MECHANISM: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 is expected")
}
