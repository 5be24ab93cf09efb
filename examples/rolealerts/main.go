// Command rolealerts tells people of changes of roles, and of who has them, as
// they happen, and of what else opens an organisation to others: by webhook (chats),
// PagerDuty, or on standard out. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"

	"genesys-audit-connector/examples/consumer"
)

// config is the environment. An output is used when its address, or key, is set.
type config struct {
	Kafka consumer.Config
	Rules string `env:"RULES_FILE, default=rules.yaml"`
	// Events that were older than this when they were published are history, not news.
	// The connector's last sweep finds what the API shows late after a day, and more
	// where many streams share the limit.
	MaxAge time.Duration `env:"ALERT_MAX_AGE, default=48h"`

	WebhookURL    string `env:"WEBHOOK_URL"`
	WebhookFormat string `env:"WEBHOOK_FORMAT, default=slack"` // one of formats
	PagerDutyURL  string `env:"PAGERDUTY_URL, default=https://events.pagerduty.com/v2/enqueue"`
	PagerDutyKey  string `env:"PAGERDUTY_ROUTING_KEY"`
	Stdout        bool   `env:"OUTPUT_STDOUT, default=false"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, envconfig.OsLookuper(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rolealerts:", err)
		stop()
		os.Exit(1)
	}
}

// run reads the topic once for each output until ctx ends.
func run(ctx context.Context, env envconfig.Lookuper, stdout io.Writer) error {
	c := config{Kafka: consumer.Config{GroupID: "genesys-rolealerts", StartFrom: "latest"}}
	if err := consumer.Load(ctx, env, &c); err != nil {
		return err
	}
	rules, err := LoadRules(c.Rules)
	if err != nil {
		return err
	}
	outputs, err := c.outputs(stdout)
	if err != nil {
		return err
	}
	if c.Kafka.Log, err = zap.NewProduction(); err != nil {
		return err
	}
	// Bursts are counted over all partitions, and over restarts.
	c.Kafka.Exclusive, c.Kafka.Recall = true, rules.Memory()
	alerters := map[string]consumer.Handler{}
	for name, out := range outputs {
		a := &alerter{out: out, evaluator: newEvaluator(rules, c.MaxAge)}
		alerters[name] = a.handle
	}
	return consumer.RunEach(ctx, c.Kafka, alerters)
}

func (c *config) outputs(stdout io.Writer) (map[string]output, error) {
	outputs := map[string]output{}
	if c.WebhookURL != "" {
		if formats[c.WebhookFormat] == nil {
			return nil, fmt.Errorf("WEBHOOK_FORMAT: one of %v is expected", slices.Sorted(maps.Keys(formats)))
		}
		if err := checkURL("WEBHOOK_URL", c.WebhookURL); err != nil {
			return nil, err
		}
		outputs["webhook"] = &webhook{client: newClient(), url: c.WebhookURL, format: c.WebhookFormat}
	}
	if c.PagerDutyKey != "" {
		if err := checkURL("PAGERDUTY_URL", c.PagerDutyURL); err != nil {
			return nil, err
		}
		outputs["pagerduty"] = &pagerDuty{client: newClient(), url: c.PagerDutyURL, routingKey: c.PagerDutyKey}
	}
	if c.Stdout {
		outputs["stdout"] = printer{stdout}
	}
	if len(outputs) == 0 {
		return nil, errors.New("no output: set WEBHOOK_URL, PAGERDUTY_ROUTING_KEY or OUTPUT_STDOUT=true")
	}
	return outputs, nil
}

// checkURL does not quote the URL: Slack's are secrets.
func checkURL(variable, text string) error {
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s: a URL like https://host/path is expected", variable)
	}
	return nil
}

// alerter shows changes to the evaluator and sends what it finds.
type alerter struct {
	out output

	mu        sync.Mutex // partitions are handled at the same time
	evaluator *evaluator
}

// handle is a consumer.Handler. It returns after each change that was worth an
// alert, so that this is committed at once: what a crash repeats is then one
// change's alerts at most.
func (a *alerter) handle(ctx context.Context, messages []consumer.Message) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range messages {
		m := &messages[i]
		alerts := a.evaluator.alerts(m)
		for _, alert := range alerts {
			if !m.Recalled { // else it was sent in an earlier life
				if err := a.out.send(ctx, alert); err != nil {
					return i, fmt.Errorf("alert %s of %s: %w", alert.Key, m.AuditID, err)
				}
			}
			alert.markSent()
		}
		if len(alerts) > 0 && !m.Recalled {
			return i + 1, nil
		}
	}
	return len(messages), nil
}
