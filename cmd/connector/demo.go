package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/txn"
)

// demoOptions are the flags of "connector demo".
type demoOptions struct {
	length  time.Duration
	brokers []string
	rate    float64
	history int
	seed    uint64
	addr    string
}

func newDemo() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work on a simulated organisation and broker",
		Long: `demo starts a simulated Genesys Cloud organisation, an embedded Kafka broker (or
uses yours, with --brokers) and the connector, and prints who changes what. It
runs until Ctrl-C, or for --for, and ends with a count: what the API showed,
what a read-committed consumer finds in Kafka, what is missing, what is double.`,
		Example: "  connector demo\n  connector demo --for 30s\n  connector demo --brokers localhost:9092",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return demo(c.Context(), o, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.DurationVar(&o.length, "for", 0, "how long to run: `DURATION` such as 30s (default until Ctrl-C)")
	f.StringSliceVar(&o.brokers, "brokers", nil, "a real Kafka's brokers, `HOST:PORT`, instead of the embedded one")
	f.Float64Var(&o.rate, "rate", 2, "audit events per second: `N`")
	f.IntVar(&o.history, "history", 500, "events that happened before the start, during 24 hours: `N`")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "events are the same for the same seed: `N` (default another one each time)")
	f.Lookup("seed").DefValue = "0" // the time is no default to print
	f.StringVar(&o.addr, "http", "127.0.0.1:0", "address of the status page: `HOST:PORT`, port 0 for any")
	return c
}

// demo runs the sandbox and the connector, and shows what comes out of Kafka.
func demo(ctx context.Context, o demoOptions, out io.Writer) error {
	if o.length < 0 || o.rate < 0 || o.history < 0 {
		return usageError{errors.New("connector demo: --for, --rate and --history cannot be negative")}
	}
	world, err := startWorld(o)
	if err != nil {
		return err
	}
	defer world.Close()
	a, cfg, err := demoApp(o, world)
	if err != nil {
		return err
	}
	defer a.close()
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return usageError{fmt.Errorf("connector demo: --http: %w", err)}
	}
	d := &demoRun{out: out, cfg: cfg, app: a, world: world, printer: newPrinter(out)}
	d.welcome(o, listener.Addr())

	running, stop := context.WithCancel(ctx)
	defer stop()
	live, quiet := context.WithCancel(ctx)
	defer quiet()
	if o.rate > 0 {
		go world.Org.Run(live, o.rate) // ends with live
	}
	ended := make(chan error, 1)
	go func() { ended <- a.runOn(running, listener) }() // ends with running
	watched := make(chan error, 1)
	go func() { watched <- d.watch(running) }() // ends with running
	var timer <-chan time.Time
	if o.length > 0 {
		timer = time.After(o.length)
	}
	select {
	case <-ctx.Done():
	case <-timer:
	case err := <-ended:
		return fmt.Errorf("the connector ended by itself: %w", err)
	case err := <-watched:
		return fmt.Errorf("reading the changes topic: %w", err)
	}
	// No new events from here on; what was shown before gets time to arrive.
	quiet()
	d.settle(ctx)
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return d.summary(context.WithoutCancel(ctx))
}

func startWorld(o demoOptions) (*sandbox.Server, error) {
	options := sandbox.ServerOptions{Options: sandbox.Realistic(o.seed), History: o.history}
	if len(o.brokers) == 0 {
		options.Broker = &sandbox.BrokerOptions{}
	}
	world, err := sandbox.Start(options)
	if err != nil {
		return nil, fmt.Errorf("start the simulated organisation: %w", err)
	}
	return world, nil
}

// demoApp is the connector as "connector run" makes it, with every variable set here.
func demoApp(o demoOptions, world *sandbox.Server) (*app, Config, error) {
	brokers := o.brokers
	topics := "genesys.audit."
	if len(brokers) == 0 {
		brokers = world.Broker.ListenAddrs()
	} else {
		topics = fmt.Sprintf("genesys.audit.demo.%d.", o.seed) // a real Kafka may hold real topics
	}
	cfg, err := Load(envconfig.MapLookuper(map[string]string{
		"GENESYS_API_URL": world.URL, "GENESYS_LOGIN_URL": world.URL,
		"GENESYS_CLIENT_ID": "sandbox", "GENESYS_CLIENT_SECRET": "sandbox-secret",
		"ORG_NAME": "demo", "BACKFILL_CHUNK": "12h",
		"KAFKA_BROKERS": strings.Join(brokers, ","), "POLL_INTERVAL": "1s", "POLL_OVERLAP": "30s", "SWEEP_AGES": "1m,10m,1h",
		"KAFKA_TOPIC_RAW": topics + "raw", "KAFKA_TOPIC_CHANGES": topics + "changes", "KAFKA_TOPIC_OFFSETS": topics + "offsets",
		"KAFKA_TOPIC_EVIDENCE": topics + "evidence",
		"KAFKA_GROUP_ID":       strings.TrimSuffix(topics, ".") + ".group", "KAFKA_SESSION_TIMEOUT": "6s",
	}))
	if err != nil {
		return nil, Config{}, usageError{err}
	}
	cfg.Log.Level, cfg.Log.Format = zapcore.WarnLevel, "console"
	a, err := newApp(cfg, newLogger(cfg.Log, os.Stderr))
	return a, cfg, err
}

// demoRun is one demo under way.
type demoRun struct {
	out     io.Writer
	printer printer
	cfg     Config
	app     *app
	world   *sandbox.Server
	seen    atomic.Int64 // change records read
	past    int          // role changes of the history
}

func (d *demoRun) welcome(o demoOptions, page net.Addr) {
	fmt.Fprintf(d.out, `A simulated Genesys Cloud organisation, and its audit log on the way to Kafka.

  status page   http://%s/
  API           %s/api/v2/audits/query
  Kafka         %s
  topics        %s (who changed what)
                %s (as the API sent it)
  try           kcat -C -b %s -t %s -e -f '%%T %%k %%s\n'

`, page, d.world.URL, strings.Join(d.cfg.Kafka.Brokers, ","), d.cfg.Kafka.TopicChanges, d.cfg.Kafka.TopicRaw,
		d.cfg.Kafka.Brokers[0], d.cfg.Kafka.TopicRaw)
	until := "until Ctrl-C"
	if o.length > 0 {
		until = "for " + o.length.String()
	}
	fmt.Fprintf(d.out, `%d events of the last 24 hours are read first, while new ones arrive; it runs
%s. Times are UTC.

`, o.history, until)
}

// watch prints the changes as a read-committed consumer gets them, until ctx ends.
func (d *demoRun) watch(ctx context.Context) error {
	decoder, err := codec.NewDecoder(nil)
	if err != nil {
		return err
	}
	readers, err := d.readers(ctx, d.cfg.Kafka.TopicChanges)
	if err != nil || ctx.Err() != nil {
		return err
	}
	started := time.Now()
	for ctx.Err() == nil {
		for _, r := range readers {
			err := r.Poll(ctx, 100*time.Millisecond, func(rec *txn.Record) error {
				c, err := decoder.Decode(rec.Value)
				if err != nil {
					return err
				}
				d.seen.Add(1)
				d.show(c, started)
				return nil
			})
			if err != nil && ctx.Err() == nil && !errors.Is(err, txn.ErrRetry) {
				return err
			}
		}
	}
	<-ctx.Done()
	for _, r := range readers {
		r.Close()
	}
	return nil
}

// pastGrants is how many role changes of the past are told.
const pastGrants = 10

// show prints what is new, and of the history only what an auditor would ask for
// first: role changes, and not more of them than leave room for what is new.
func (d *demoRun) show(c audit.Change, started time.Time) {
	if c.Time.After(started.Add(-5 * time.Second)) {
		d.printer.change(c)
		return
	}
	if _, grant := roleGrant(c); grant && c.Index == 0 {
		if d.past++; d.past <= pastGrants {
			d.printer.past(c)
		} else if d.past == pastGrants+1 {
			d.printer.note("more role changes of the last 24 hours are in Kafka")
		}
	}
}

// readers waits until the topic is there and reads each of its partitions.
func (d *demoRun) readers(ctx context.Context, topic string) ([]*txn.Reader, error) {
	for ctx.Err() == nil {
		n, err := d.app.cluster.Partitions(ctx, topic)
		if err == nil {
			readers := make([]*txn.Reader, n)
			for p := range readers {
				readers[p] = d.app.cluster.NewReader(topic, int32(p), txn.First)
			}
			return readers, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil, nil
}

// settle waits until all that was shown is published, at most a few polls.
func (d *demoRun) settle(ctx context.Context) {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		_, visible, _ := d.world.Org.Counts()
		if d.app.stats.Counts().Published >= visible {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// summary reads both topics back and compares them with what the API showed.
func (d *demoRun) summary(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	raw, err := d.count(ctx, d.cfg.Kafka.TopicRaw)
	if err != nil {
		return err
	}
	changes, err := d.count(ctx, d.cfg.Kafka.TopicChanges)
	if err != nil {
		return err
	}
	shown, missing, double := d.world.Org.Shown(), 0, 0
	for id := range shown {
		if raw[id] == 0 {
			missing++
		}
	}
	rawRecords := 0
	for _, n := range raw {
		rawRecords += n
		double += n - 1
	}
	records := 0
	for _, n := range changes {
		records += n
		double += n - 1
	}
	fmt.Fprintf(d.out, `
events shown by the API            %6d
records in %-22s  %6d
records in %-22s  %6d
missing                            %6d
duplicate                          %6d
`, len(shown), d.cfg.Kafka.TopicRaw, rawRecords, d.cfg.Kafka.TopicChanges, records, missing, double)
	if missing > 0 || double > 0 {
		return fmt.Errorf("%d events are missing and %d records are double", missing, double)
	}
	return nil
}

// count reads a topic to its end over a connection of its own: how often each key stands there.
func (d *demoRun) count(ctx context.Context, topic string) (map[string]int, error) {
	cluster, err := dialKafka(d.cfg.Kafka, nil, zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer cluster.Close()
	n, err := cluster.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for p := range n {
		r := cluster.NewReader(topic, p, txn.First)
		err := r.ReadToEnd(ctx, func(rec *txn.Record) error {
			if rec.Value != nil { // else it was erased
				found[string(rec.Key)]++
			}
			return nil
		})
		r.Close()
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// isTerminal tells whether colours and what moves are wanted.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}
