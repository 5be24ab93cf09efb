// Command connector streams the audit log of a Genesys Cloud organisation into
// Kafka, every event exactly once. This package wires the parts together and
// knows nothing of what they do; "connector --help" lists the commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes that scripts and orchestrators rely on.
const (
	exitDone   = 0 // done, or stopped by a signal
	exitFailed = 1 // failed, or a check found something wrong
	exitUsage  = 2 // wrong usage or configuration
)

// usageError is an error that another command line or configuration mends.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// collectAt is how much garbage, in percent of what is alive, starts a collection.
// Nearly all that is alive is bytes, which the collector need not look through:
// to collect five times as often as usual costs a backfill 2 µs of 17 an event
// and saves 16 MB of 78 (go run ./bench). The variable GOGC has the last word.
const collectAt = 20

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	os.Exit(run(os.Args[1:]))
}

// run does everything main does but exit, so that deferred calls run.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	default:
		fmt.Fprintln(os.Stderr, "connector:", err)
		return exitFailed
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "connector",
		Short: "Genesys Cloud audit log to Kafka, every event exactly once",
		Long: `connector tails the audit log of a Genesys Cloud organisation and writes every
event to Kafka exactly once: its raw bytes to one topic, its normalised changes
(Avro) to another. It is configured by environment variables; "connector run"
names every one that is wrong.

Without a command it does what "connector run" does. To see it work with no
configuration at all: connector demo`,
		Example:                    "  connector demo\n  connector check && connector run\n  connector verify --from 7d",
		Args:                       noArguments,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		RunE:                       runCommand,
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp) // nothing takes a file
	root.SetHelpFunc(help(root.HelpFunc()))
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("connector %s: %w\nSee \"%s --help\".", c.Name(), err, c.CommandPath())}
	})
	root.AddCommand(newRun(), newDemo(), newBackfill(), newVerify(), newErase(), newCheck(), newStatus(), newMigrate(), newSchema(), newEvidence(), newHistory(), newVersion(), newSandbox())
	return root
}

// noArguments refuses words behind a command that takes none, among them a
// command that does not exist.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := c.Root().SuggestionsFor(args[0]); c == c.Root() && len(near) > 0 {
		hint = fmt.Sprintf(" Did you mean %q?", near[0])
	}
	return usageError{fmt.Errorf("connector: there is no command or argument %q here.%s\nSee \"%s --help\".", args[0], hint, c.CommandPath())}
}
