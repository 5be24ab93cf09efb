package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/offsets"
)

func newBackfill() *cobra.Command {
	var from, to, org string
	var wait bool
	c := &cobra.Command{
		Use:   "backfill --from T [--to T]",
		Short: "Have an interval read that is not covered yet",
		Long: `backfill hands an interval to the active replica, through the offsets topic; where
none is active this process does the work itself. What is covered already is not
read again: connector verify --repair is for that.

T is RFC 3339, a date (midnight UTC), or a duration back from now such as 36h or
30d. On a terminal, or with --wait, it shows the progress and ends when all of the
interval is covered or stands in the ledger as a gap.`,
		Example: "  connector backfill --from 30d\n  connector backfill --from 2026-01-01 --to 2026-01-08 --wait",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			iv, err := interval("backfill", from, to)
			if err != nil {
				return err
			}
			a, err := commandApp(org)
			if err != nil {
				return err
			}
			defer a.close()
			return backfill(c.Context(), a, iv, wait || isTerminal(c.OutOrStdout()), c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&from, "from", "", "where the interval begins: `T`")
	c.Flags().StringVar(&to, "to", "", "where it ends: `T` (default now)")
	addOrgFlag(c, &org)
	c.Flags().BoolVar(&wait, "wait", false, "show the progress and end when the work is done")
	return c
}

// interval reads --from and --to.
func interval(command, from, to string) (audit.Interval, error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	if from == "" {
		return audit.Interval{}, usageError{fmt.Errorf("connector %s: --from is needed, such as --from 36h or --from 2026-01-15", command)}
	}
	var iv audit.Interval
	var err error
	if iv.From, err = ParseInstant(from, now); err != nil {
		return iv, usageError{fmt.Errorf("connector %s: --from: %w", command, err)}
	}
	iv.To = now
	if to != "" {
		if iv.To, err = ParseInstant(to, now); err != nil {
			return iv, usageError{fmt.Errorf("connector %s: --to: %w", command, err)}
		}
	}
	iv = audit.Interval{From: iv.From.Truncate(time.Millisecond), To: iv.To.Truncate(time.Millisecond)}
	if iv.To.After(now) {
		iv.To = now
	}
	if iv.Empty() {
		return iv, usageError{fmt.Errorf("connector %s: the interval from %s to %s is empty; --from must be before --to, and not in the future",
			command, iv.From.Format(time.RFC3339), iv.To.Format(time.RFC3339))}
	}
	return iv, nil
}

func backfill(ctx context.Context, a *app, iv audit.Interval, wait bool, out io.Writer) error {
	h, err := newHandover(ctx, a)
	if err != nil {
		return err
	}
	defer h.close()
	id, active, err := h.submit(ctx, offsets.Request{Kind: offsets.KindBackfill, From: iv.From, To: iv.To})
	if err != nil {
		return err
	}
	if active && !wait {
		_, err := fmt.Fprintf(out, "handed over to the active replica: %s\nconnector status tells how far it is\n", iv)
		return err
	}
	p := newProgress(h, iv, out)
	err = h.follow(ctx, func() bool { return h.done(id) && p.done() })
	if errors.Is(err, context.Canceled) {
		_, err := fmt.Fprintln(out, "\nno longer watching; the request stays, and the active replica goes on with it")
		return err
	}
	if err != nil {
		return err
	}
	return p.summary()
}

// progress shows how much of an interval is read.
type progress struct {
	h      *handover
	iv     audit.Interval
	out    io.Writer
	began  time.Time
	bar    *progressbar.ProgressBar // nil until the work was taken over
	total  time.Duration
	events int
	told   time.Time
}

func newProgress(h *handover, iv audit.Interval, out io.Writer) *progress {
	p := &progress{h: h, iv: iv, out: out, began: time.Now()}
	h.seen = func() { p.events++ }
	return p
}

// left is how much of the interval is still to be read, over all streams.
func (p *progress) left() (left time.Duration, gaps int) {
	for _, l := range p.h.state.Ledgers {
		left += l.Wanted.Clip(p.iv).Length()
		for _, g := range l.Gaps {
			if !g.Intersect(p.iv).Empty() {
				gaps++
			}
		}
	}
	return left, gaps
}

// done redraws, and tells whether nothing is left.
func (p *progress) done() bool {
	left, gaps := p.left()
	if p.bar == nil {
		p.total, p.events, p.began = left, 0, time.Now()
		terminal := isTerminal(p.out)
		p.bar = progressbar.NewOptions64(max(1, int64(left/time.Second)), progressbar.OptionSetWriter(os.Stderr),
			progressbar.OptionSetVisibility(terminal), progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true),
			progressbar.OptionFullWidth(), progressbar.OptionThrottle(200*time.Millisecond))
	}
	rate := float64(p.events) / max(time.Since(p.began).Seconds(), 0.001)
	p.bar.Describe(fmt.Sprintf("%d events, %.0f/s, %d gaps", p.events, rate, gaps))
	_ = p.bar.Set64(int64((p.total - left) / time.Second)) // a terminal that is gone is no reason to stop
	if !isTerminal(p.out) && time.Since(p.told) > 5*time.Second {
		p.told = time.Now()
		fmt.Fprintf(p.out, "%s left to read, %d events, %.0f/s, %d gaps\n", left.Round(time.Second), p.events, rate, gaps)
	}
	return left == 0
}

func (p *progress) summary() error {
	_ = p.bar.Finish()
	_, err := fmt.Fprintf(p.out, "\n%s is read: %d events published in %s\n", p.iv, p.events, time.Since(p.began).Round(time.Second))
	for name, l := range p.h.state.Ledgers {
		for _, g := range l.Gaps {
			if part := g.Intersect(p.iv); !part.Empty() {
				_, err = fmt.Fprintf(p.out, "gap in %s: %s: %s\n", name, part, g.Reason)
			}
		}
	}
	return err
}
