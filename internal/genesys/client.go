package genesys

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/poller"
)

// Dialect is a way in which the API serves audit events.
type Dialect string

// The dialects.
const (
	Auto      Dialect = "auto"
	Auditlogs Dialect = "auditlogs"
	Query     Dialect = "query"
	Realtime  Dialect = "realtime"
)

// Secret gives a secret whenever one is needed, so that one which is replaced
// while we run is taken up.
type Secret func() (string, error)

// Text is a secret that does not change.
func Text(s string) Secret { return func() (string, error) { return s, nil } }

// File is a secret that is read from a file whenever it is needed, without the white space around it.
func File(path string) Secret {
	return func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read a secret: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
}

// TokenStore keeps the sealed refresh token that replaced the configured one.
type TokenStore interface {
	// Load returns what was saved last; nil for nothing.
	Load(ctx context.Context) ([]byte, error)
	// Save returns once what it was given is durable.
	Save(ctx context.Context, sealed []byte) error
}

// Config is what the client can be told. Zero values have the defaults that are named.
type Config struct {
	APIURL, LoginURL       string
	ClientID, ClientSecret Secret
	RefreshToken           Secret // nil, or one that gives "": client credentials
	Scope                  string
	Tokens                 TokenStore // must be there where RefreshToken is
	Dialect                Dialect    // Auto
	Filter                 string     // of Auditlogs; "type=configuration"
	Services               []string   // of the others; all
	Priority               []string   // services that realtime is asked for first
	Retention              time.Duration
	RateLimit              RateLimit
	RateShare              float64 // 0.7
	RateReserve            int
	BackfillShare          float64       // the most of the limit that a backfill takes; 0 for what is left
	RequestTimeout         time.Duration // 30 s
	MaxBody                int64         // bytes of an answer, decompressed; 32 MiB
	Baseline               time.Duration // how far back Open may look at events; 1 day
	// Report, where set, is told of what fails for a while and is still tried, and
	// then, with nil, that this is over.
	Report  func(health.Subject, error)
	Version string // of the product, for the API's operators; "dev"
	// KnownStreams, where set, lists the streams that were read before, by any
	// process, the one that was read last first: what served them is not given up
	// for one odd answer.
	KnownStreams func() []string
	Logger       *zap.Logger
}

const (
	defaultFilter  = "type=configuration"
	defaultShare   = 0.7
	defaultTimeout = 30 * time.Second
	defaultMaxBody = 32 << 20
	day            = 24 * time.Hour
)

// traits are what a dialect can, where Config does not say otherwise.
var traits = map[Dialect]struct {
	retention time.Duration
	window    time.Duration // the longest interval of one query; 0 is any
	limit     RateLimit
}{
	Auditlogs: {180 * day, 0, RateLimit{100, 10 * time.Second}},
	Query:     {365 * day, 30 * day, RateLimit{300, time.Minute}},
	Realtime:  {14 * day, 0, RateLimit{300, time.Minute}},
}

// Client reads the audit events of one organisation. It may be used from many
// goroutines; all of them share the pacer and the token.
type Client struct {
	cfg        Config
	log        *zap.Logger
	api, login *url.URL
	filter     filter
	http       *http.Client
	clock      *apiClock
	watch      clockWatch
	pacer      *pacer
	tokens     *tokens
	secrets    redactor
	counts     requestCounts
	cuts       cuts
	queries    pendingQueries
	looks      looks
	patience   retries

	mu      sync.Mutex
	streams map[string]*stream // by name, since the last Open
	spoken  string             // the dialects of the streams
	believed
	// taxonomy is every service, entity type and action seen in the mappings.
	taxonomy map[string]bool
}

// stream is what is read as one, and how.
type stream struct {
	audit.Stream
	dialect string // as Dialects tells it
	subject string // what it asks for: the filter or the service
	read    func(ctx context.Context, r *reading) error
	served  atomic.Int64 // when a page came last, in Unix nanoseconds
}

// New makes a client; it contacts nobody. Its errors name every setting that is wrong.
func New(cfg Config) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	setDefault(&cfg.Dialect, Auto)
	setDefault(&cfg.Filter, defaultFilter)
	setDefault(&cfg.RateShare, defaultShare)
	setDefault(&cfg.RequestTimeout, defaultTimeout)
	setDefault(&cfg.MaxBody, defaultMaxBody)
	setDefault(&cfg.Baseline, day)
	setDefault(&cfg.Version, "dev")
	if cfg.Report == nil {
		cfg.Report = func(health.Subject, error) {}
	}

	c := &Client{cfg: cfg, log: cfg.Logger, clock: newAPIClock(), patience: defaultRetries}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	c.api, err = baseURL("GENESYS_API_URL", cfg.APIURL)
	check(err)
	c.login, err = baseURL("GENESYS_LOGIN_URL", cfg.LoginURL)
	check(err)
	c.filter, err = parseFilter(cfg.Filter)
	check(err)
	check(cfg.check())
	if c.api != nil {
		if _, err := http.ProxyFromEnvironment(&http.Request{URL: c.api}); err != nil {
			check(errors.New("HTTPS_PROXY or HTTP_PROXY is no URL")) // its text may hold a password
		}
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	c.http = &http.Client{Transport: newTransport(), CheckRedirect: doNotFollow}
	c.pacer = newPacer(c.limit(cfg.Dialect), cfg.RateShare, cfg.RateReserve, cfg.BackfillShare)
	c.tokens = newTokens(c)
	return c, nil
}

func setDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func (cfg *Config) check() error {
	var errs []error
	if _, ok := traits[cfg.Dialect]; !ok && cfg.Dialect != Auto {
		errs = append(errs, &ValueError{Variable: "GENESYS_AUDIT_API", Value: string(cfg.Dialect), Reason: "it is auto, auditlogs, query or realtime"})
	}
	if cfg.ClientID == nil || cfg.ClientSecret == nil {
		errs = append(errs, errors.New("GENESYS_CLIENT_ID and GENESYS_CLIENT_SECRET are needed"))
	}
	if cfg.RefreshToken != nil && cfg.Tokens == nil {
		// A refresh token that is replaced and not kept would be lost with the process.
		errs = append(errs, errors.New("a refresh token needs a TokenStore"))
	}
	if cfg.BackfillShare < 0 || cfg.BackfillShare > 1 {
		errs = append(errs, errors.New("BACKFILL_SHARE lies between 0 and 1"))
	}
	if cfg.RateShare < 0 || cfg.RateShare > 1 || cfg.RateReserve < 0 {
		errs = append(errs, errors.New("GENESYS_RATE_SHARE lies between 0 and 1, GENESYS_RATE_RESERVE is not negative"))
	}
	if r := cfg.RateLimit; r.Requests < 0 || r.Requests > 0 && r.Per <= 0 {
		errs = append(errs, errors.New("GENESYS_RATE_LIMIT is a number of requests in a time"))
	}
	return errors.Join(errs...)
}

// limit is the rate limit for a dialect. Auto begins with that of auditlogs, which it tries first.
func (c *Client) limit(d Dialect) RateLimit {
	if c.cfg.RateLimit.Requests > 0 {
		return c.cfg.RateLimit
	}
	if d == Auto {
		d = Auditlogs
	}
	return traits[d].limit
}

func (c *Client) retention(d Dialect) time.Duration {
	if c.cfg.Retention > 0 {
		return c.cfg.Retention
	}
	return traits[d].retention
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}, // a dead connection is noticed
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        60 * time.Second,
		DisableCompression:     true, // send.go unpacks, and counts what comes out
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// doNotFollow keeps the token, and the secret, from going where an answer points to.
func doNotFollow(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// report tells of what fails, or works again.
func (c *Client) report(s health.Subject, err error) { c.cfg.Report(s, err) }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Login gets a token, if there is none that is good for a while.
func (c *Client) Login(ctx context.Context) error {
	_, err := c.tokens.get(ctx)
	return err
}

// Now is the API's clock: a little slow, never fast. It is our own before the first Open.
func (c *Client) Now() time.Time { return c.clock.now() }

// ClockOffset is how far the API's clock is ahead of ours, and whether that is known.
func (c *Client) ClockOffset() (time.Duration, bool) { return c.clock.offset() }

// Rate is how the limit stands.
func (c *Client) Rate() Rate { return c.pacer.rate() }

// BackfillRate is how many requests a second a backfill may take at most.
func (c *Client) BackfillRate() float64 {
	share := c.cfg.RateShare
	if c.cfg.BackfillShare > 0 {
		share = min(share, c.cfg.BackfillShare)
	}
	r := c.pacer.rate()
	return share * float64(r.Limit) / r.Window.Seconds()
}

// Requests counts the requests that were sent, by purpose and status.
func (c *Client) Requests() []RequestCount { return c.counts.list() }

// API names the dialects that are spoken, such as "auditlogs" or "query+realtime"; "" before the first Open.
func (c *Client) API() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spoken
}

// Dialects tells for each stream in which dialects it is read.
func (c *Client) Dialects() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[string]string, len(c.streams))
	for name, s := range c.streams {
		m[name] = s.dialect
	}
	return m
}

// retentionSlack is by how much an interval may begin before the API's
// retention when its first request goes out: it has waited for its turn.
const retentionSlack = 10 * time.Second

// Read hands every event of the stream in the interval to take, page by page in
// order. take owns the page; last tells that nothing comes after it. The same
// event may come twice, and after an expired page token the interval begins
// again. nil means that take has accepted the last page.
func (c *Client) Read(ctx context.Context, r audit.Read, take func(page audit.Page, last bool) error) error {
	c.mu.Lock()
	s := c.streams[r.Stream]
	c.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%q: %w", r.Stream, ErrNotOpen)
	}
	if r.Interval.Empty() {
		return take(audit.Page{}, true)
	}
	rd := &reading{Read: r, stream: s, take: take}
	if r.Preview != "" {
		if err := c.readPreview(ctx, s, rd); err != nil {
			return fmt.Errorf("read %s %s by realtime: %w", r.Preview, r.Interval, err)
		}
		return nil
	}
	if err := c.inRetention(rd); err != nil {
		return err
	}
	started := time.Now()
	err := s.read(ctx, rd)
	c.log.Debug("read", zap.String("stream", s.Name), zap.String("subject", s.subject), zap.Stringer("purpose", r.Purpose),
		zap.Stringer("interval", r.Interval), zap.Int("pages", rd.pages), zap.Int("events", rd.events),
		zap.Duration("took", time.Since(started)), zap.Bool("whole", err == nil))
	if err == nil {
		c.noteWhole(s, nil)
		return nil
	}
	if rd.toBlame(err) {
		if c.servesElsewhere(ctx, rd) {
			c.noteWhole(s, nil)
			return fmt.Errorf("read %s %s: %w: %w", s.Name, r.Interval, poller.ErrUnreadable, err)
		}
		if ctx.Err() == nil {
			c.noteWhole(s, err)
		}
	}
	return fmt.Errorf("read %s %s: %w", s.Name, r.Interval, err)
}

// servedLately is how long a stream that was read is taken to be readable: then
// an interval of it that is refused has something in it that the API cannot serve.
const servedLately = 5 * time.Minute

// toBlame reports whether something in the interval may be why it cannot be read,
// so that a part of it could be. Connections, logins, permissions and limits are
// the same for all intervals.
func (r *reading) toBlame(err error) bool {
	var fault *FaultError
	var status *StatusError
	switch {
	case errors.Is(err, poller.ErrTooMuch):
		return false
	case errors.As(err, &fault):
		_, refused := asked(err)
		return fault.Reached && !refused
	case errors.As(err, &status):
		switch {
		case r.pages > 0: // a page before was served
			return true
		case notServed(err):
			return false
		}
		return r.Attempts > 0 || time.Since(time.Unix(0, r.stream.served.Load())) < servedLately
	}
	return false
}

// controlAge is how far back the instant lies that is read to see whether a
// dialect can be read at all.
const controlAge = time.Hour

// servesElsewhere reports whether the dialect that failed can read another instant.
// Where it cannot, the dialect fails, and not the interval: its parts would fail as
// well, down to the last millisecond. That the stream can be read in another
// dialect (recent events by realtime) says nothing of this one.
//
// It looks each time, and once: where an API fails at random, with whatever chance
// f, f²(1-f) readings of two attempts are blamed for 1-f² that succeed, less than
// one of two. So halves of halves die out, before they come to a millisecond.
func (c *Client) servesElsewhere(ctx context.Context, r *reading) bool {
	// A query that is waited for may take a while.
	ctx, cancel := context.WithTimeout(ctx, queryDeadline/2)
	defer cancel()
	at := c.Now().Add(-controlAge).Truncate(time.Millisecond)
	if s := r.stream; s.Retention > 0 {
		at = c.Now().Add(-min(controlAge, s.Retention/2)).Truncate(time.Millisecond)
	}
	i := audit.Interval{From: at, To: at.Add(time.Millisecond)}
	if !i.Intersect(r.Interval).Empty() { // a millisecond that is out of it
		i.To = r.Interval.From
		i.From = i.To.Add(-time.Millisecond)
	}
	control := r.counting(i)
	control.Attempts = 1
	err := r.by(ctx, control, i)
	if err != nil {
		c.log.Debug("the dialect fails elsewhere too", zap.String("stream", r.Stream), zap.Stringer("interval", i), zap.Error(err))
	}
	return err == nil
}

// inRetention refuses what the API does not hold any more; it would answer with
// nothing, and nobody could tell that from an hour without events.
func (c *Client) inRetention(rd *reading) error {
	if s := rd.stream; s.Retention > 0 && rd.Interval.From.Before(c.Now().Add(-s.Retention-retentionSlack)) {
		return &RetentionError{Stream: s.Name, Interval: rd.Interval, Retention: s.Retention}
	}
	return nil
}

// reading is one Read under way.
type reading struct {
	audit.Read
	stream *stream
	take   func(audit.Page, bool) error

	// by reads an interval in the dialect that was asked last.
	by func(context.Context, *reading, audit.Interval) error

	pages, events int
	withoutFiles  bool // results are read as pages: a file of them was too large
	counts        bool // it only counts: nothing is handed on, nothing proved
	counted       int  // events of the chain that was read to its end last
}

// restarts returns how often the reading may begin again.
func (r *reading) restarts() int {
	if r.Attempts > 0 {
		return min(r.Attempts, maxRestarts)
	}
	return maxRestarts
}

// hand gives a page to whoever reads.
func (r *reading) hand(page audit.Page, last bool) error {
	r.pages++
	r.events += len(page.Events)
	r.stream.served.Store(time.Now().UnixNano())
	return r.take(page, last)
}
