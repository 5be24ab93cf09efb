package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/web"
)

func newStatus() *cobra.Command {
	var url, org string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Ask a running replica how it is doing",
		Long: `status asks the replica at HTTP_ADDR, or at --url, and prints what it answers: its
role, how far behind each stream is, what is left to read, and the last error.`,
		Example: "  connector status\n  connector status --url http://connector-0:8080\n  connector status --json | jq '.streams[] | {name, lagSeconds}'",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if url == "" {
				addr, err := LoadHTTPAddr(envconfig.OsLookuper())
				if err != nil {
					return usageError{err}
				}
				url = replicaURL(addr)
				if org, err = statusOrg(envconfig.OsLookuper(), org); err != nil {
					return err
				}
			}
			return status(c.Context(), url, org, asJSON, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&url, "url", "", "the replica's address: `URL`, such as http://connector-0:8080 (default that of HTTP_ADDR on this machine)")
	addOrgFlag(c, &org)
	c.Flags().BoolVar(&asJSON, "json", false, "print the answer of /api/status as it is")
	return c
}

// replicaURL is where a replica that listens on addr is reached from this machine.
func replicaURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// statusOrg is the organisation to ask this deployment's replica about, "" for what it shows
// by itself: the only one, or all.
func statusOrg(env envconfig.Lookuper, org string) (string, error) {
	if org == "" {
		return "", nil
	}
	s, err := loadScope(env)
	if err != nil {
		return "", wrongConfiguration(err)
	}
	name, err := s.choose(org)
	if s.file == "" {
		name = ""
	}
	return name, err
}

func status(ctx context.Context, url, org string, asJSON bool, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	path := "/api/status"
	if org != "" {
		path += "?org=" + neturl.QueryEscape(org)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+path, nil)
	if err != nil {
		return usageError{fmt.Errorf("connector status: --url: %w", err)}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		var failed *neturl.Error // its text would say the address again
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("no replica answers at %s: %w\nIs it running, and is HTTP_ADDR (or --url) its address?", url, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s; is it a connector?", req.URL, res.Status)
	}
	if asJSON {
		_, err := out.Write(body)
		return err
	}
	var s web.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Errorf("%s answers with something else than a status: %w", req.URL, err)
	}
	return printStatus(out, s)
}

// when is words and a time; "" where that is not known.
func when(words string, at *web.Instant) string {
	if at == nil {
		return ""
	}
	return words + " " + at.Format(time.RFC3339)
}

func printStatus(out io.Writer, s web.Status) error {
	fmt.Fprintf(out, "%s is %s (connector %s, dialect %s)\n", s.Org, s.Role, s.Version, orElse(s.API, "not known yet"))
	fmt.Fprintf(out, "since start: %d events published, %d change records, %d seen again, %d with an error header\n",
		s.Events.Published, s.Events.Changes, s.Events.Duplicates, s.Events.Errors)
	if s.Rate.Limit > 0 {
		fmt.Fprintf(out, "rate: %d of %d requests used in %s, waited %.0f s in all\n", s.Rate.Used, s.Rate.Limit, s.Rate.Window, s.Rate.ThrottledSeconds)
	}
	if s.Role == web.Active {
		fmt.Fprintf(out, "newest event: %s\n", orElse(when("of", s.NewestEvent), "none was ever seen"))
		if v := s.LastVerified; v != nil {
			fmt.Fprintf(out, "verified: at %s, %d events missing, %d repaired\n", v.At.Format(time.RFC3339), v.Missing, v.Repaired)
		}
	}
	if len(s.Streams) > 0 {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "\nSTREAM\tLAG\tCOVERED\tLEFT TO READ\tGAPS\tLATE")
		for _, st := range s.Streams {
			late := uint64(0)
			for _, l := range st.Late {
				late += l.Events
			}
			fmt.Fprintf(w, "%s\t%.1f s\t%s\t%s\t%d\t%d\n", st.Name, st.LagSeconds,
				st.Covered.Length().Round(time.Second), st.Wanted.Length().Round(time.Second), len(st.Gaps), late)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		for _, st := range s.Streams {
			if b := st.Backfill; b != nil && (b.Resumes != nil || b.Done != nil) {
				fmt.Fprintf(out, "backfill of %s:%s%s\n", st.Name, when(" goes on at", b.Resumes), when(" will be done at about", b.Done))
			}
			for _, g := range st.Gaps {
				fmt.Fprintf(out, "gap in %s from %s to %s: %s\n", st.Name, g.From.Format(time.RFC3339), g.To.Format(time.RFC3339), g.Reason)
			}
		}
	}
	if s.LastError != nil {
		fmt.Fprintf(out, "\nlast error: %s\n", *s.LastError)
	}
	return nil
}
