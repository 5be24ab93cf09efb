package genesys

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/sandbox"
)

// sandboxClient is a client of a simulated organisation over real HTTP.
func sandboxClient(t *testing.T, options sandbox.Options, change func(*Config)) (*sandbox.Org, *Client) {
	t.Helper()
	org := sandbox.New(options)
	server := httptest.NewServer(org)
	t.Cleanup(server.Close)
	cfg := Config{APIURL: server.URL, LoginURL: server.URL, ClientID: Text("sandbox"), ClientSecret: Text("sandbox-secret"),
		Dialect: Auditlogs, RequestTimeout: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return org, c
}

func fast(cfg *Config) { cfg.RateLimit, cfg.RateShare = RateLimit{100_000, 10 * time.Second}, 1 }

// everything reads an interval of all streams and returns the events' bytes by id.
func everything(ctx context.Context, t *testing.T, c *Client, i audit.Interval) map[string][]byte {
	t.Helper()
	streams, err := c.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]byte)
	for _, s := range streams {
		gaps, err := inHalves(ctx, c, s.Name, i, func(p audit.Page) {
			for _, e := range p.Events {
				got[e.ID] = bytes.Clone(e.Raw)
			}
		})
		if err != nil || len(gaps) > 0 {
			t.Fatal(gaps, err)
		}
	}
	return got
}

// inHalves reads an interval as the poller does: what cannot be read in one piece,
// or has something in it that cannot be read, in halves, down to a millisecond,
// which is a gap then.
func inHalves(ctx context.Context, c *Client, stream string, i audit.Interval, take func(audit.Page)) (gaps []audit.Interval, err error) {
	attempts := 0
	var read func(i audit.Interval) error
	read = func(i audit.Interval) error {
		finished := false
		err := c.Read(ctx, audit.Read{Stream: stream, Interval: i, Purpose: audit.Backfill, Attempts: attempts}, func(p audit.Page, last bool) error {
			take(p)
			p.Release()
			finished = last
			return nil
		})
		switch {
		case err == nil && !finished:
			return errors.New("Read returned nil without a last page")
		case !errors.Is(err, poller.ErrTooMuch) && !errors.Is(err, poller.ErrUnreadable):
			return err
		case i.Length() <= time.Millisecond:
			gaps = append(gaps, i)
			return nil
		}
		attempts = 2
		half := i.From.Add(max(i.Length()/2, time.Millisecond).Truncate(time.Millisecond))
		if err := read(audit.Interval{From: i.From, To: half}); err != nil {
			return err
		}
		return read(audit.Interval{From: half, To: i.To})
	}
	err = read(i)
	return gaps, err
}

func TestSandboxReadsEverythingThatWasShown(t *testing.T) {
	unlimited := sandbox.Limit{Requests: 100_000, Window: 10 * time.Second, Headers: sandbox.HeadersX}
	for name, faults := range map[string][]sandbox.Fault{"well": nil, "faults": sandbox.RandomFaults(0.01)} {
		t.Run(name, func(t *testing.T) {
			org, c := sandboxClient(t, sandbox.Options{Seed: 7, AuditlogsLimit: unlimited}, fast)
			c.patience.backoff.First = 10 * time.Millisecond
			now := time.Now().UTC().Truncate(time.Millisecond)
			span := audit.Interval{From: now.Add(-2 * time.Hour), To: now}
			org.Backfill(5_000, span.From, span.To)
			for _, name := range sandbox.Oddities() {
				if _, err := org.EmitOdd(now.Add(-time.Hour), name); err != nil {
					t.Fatal(err)
				}
			}
			if err := org.Inject(faults...); err != nil {
				t.Fatal(err)
			}
			got := everything(t.Context(), t, c, span)
			compareWithTruth(t, org, got, 4_900)
		})
	}
}
