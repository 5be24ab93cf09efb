package genesys

import (
	"bytes"
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"genesys-audit-connector/internal/audit"
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
		err := c.Read(ctx, audit.Read{Stream: s.Name, Interval: i, Purpose: audit.Backfill}, func(p audit.Page, _ bool) error {
			for _, e := range p.Events {
				got[e.ID] = bytes.Clone(e.Raw)
			}
			p.Release()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
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
