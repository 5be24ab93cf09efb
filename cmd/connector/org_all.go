package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"genesys-audit-connector/internal/doctor"
	"genesys-audit-connector/internal/redact"
)

var errOrgAndAll = usageError{errors.New("connector: --org and --all are both given; expected one of them")}

// orgResult is what a command came to for one organisation.
type orgResult struct {
	Org    string          `json:"org"`
	OK     bool            `json:"ok"`
	Error  string          `json:"error,omitempty"`
	Checks []doctor.Check  `json:"checks,omitempty"`
	Report json.RawMessage `json:"report,omitempty"`

	output bytes.Buffer // what the command says
	failed string       // in short
}

// forAll does a command for each organisation, some at a time. What each says comes in one
// piece, when it is done; then comes a table, or all as one JSON document.
func forAll(ctx context.Context, orgs []Config, atOnce int, asJSON bool, out io.Writer, do func(context.Context, Config, *orgResult)) error {
	results := make([]*orgResult, len(orgs))
	var g errgroup.Group
	g.SetLimit(atOnce)
	var printing sync.Mutex
	for i, cfg := range orgs {
		g.Go(func() error {
			r := &orgResult{Org: cfg.Org}
			results[i] = r
			if ctx.Err() == nil {
				do(ctx, cfg, r)
			}
			if ctx.Err() != nil {
				r.OK, r.Error, r.failed = false, "interrupted", "interrupted"
			}
			if asJSON {
				return nil
			}
			printing.Lock()
			defer printing.Unlock()
			if r.output.Len() > 0 {
				fmt.Fprintf(out, "organisation %s:\n%s\n", r.Org, r.output.Bytes())
				r.output = bytes.Buffer{}
			}
			return nil
		})
	}
	_ = g.Wait() // each has its error in its result
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	if err := writeResults(out, results, asJSON); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d organisations: something is wrong, see above", failed, len(orgs))
	}
	return nil
}

func writeResults(out io.Writer, results []*orgResult, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ORGANISATION\tRESULT\tWHAT IS WRONG")
	for _, r := range results {
		result := "ok"
		if !r.OK {
			result = "failed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Org, result, redact.Printable(r.failed))
	}
	return w.Flush()
}

// checksAtOnce and verificationsAtOnce are how many organisations are looked at at a time. A
// verification remembers every event of its organisation.
const checksAtOnce, verificationsAtOnce = 8, 2

// checkAll is check for each organisation. It shows what is not as it should be.
func checkAll(ctx context.Context, orgs []Config, environ []string, asJSON bool, out io.Writer) error {
	return forAll(ctx, orgs, checksAtOnce, asJSON, out, func(ctx context.Context, cfg Config, r *orgResult) {
		lines := newCheckPrinter(&r.output)
		var failed []string
		err := examine(ctx, cfg, environ, func(c doctor.Check) {
			r.Checks = append(r.Checks, c)
			if c.Status == doctor.Failed {
				failed = append(failed, c.Name)
			}
			if c.Status == doctor.Failed || c.Status == doctor.Warning {
				lines.print(c)
			}
		})
		r.OK, r.failed = err == nil && len(failed) == 0, strings.Join(failed, ", ")
		r.fail(err)
	})
}

// verifyAll is verify for each organisation.
func verifyAll(ctx context.Context, orgs []Config, o verifyOptions, out io.Writer) error {
	return forAll(ctx, orgs, verificationsAtOnce, o.asJSON, out, func(ctx context.Context, cfg Config, r *orgResult) {
		a, err := newCommandApp(cfg)
		if err != nil {
			r.fail(err)
			return
		}
		defer a.close()
		err = verifyCommand(ctx, a, o, &r.output)
		if o.asJSON && json.Valid(r.output.Bytes()) {
			r.Report = json.RawMessage(r.output.Bytes())
		}
		r.OK = err == nil
		r.fail(err)
	})
}

// fail notes an error, whose first line is what is wrong in short.
func (r *orgResult) fail(err error) {
	if err == nil {
		return
	}
	r.OK, r.Error = false, err.Error()
	if r.failed == "" {
		r.failed, _, _ = strings.Cut(r.Error, "\n")
	}
}
