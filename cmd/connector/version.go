package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/schemas"
)

// Set by the linker where the build knows better than the module does.
var (
	version = ""
	commit  = ""
)

// build is the version and commit of this binary.
func build() (v, c string) {
	v, c = version, commit
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return orElse(v, "unknown"), orElse(c, "unknown")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && c == "" {
			c = s.Value
		}
	}
	return orElse(v, info.Main.Version), orElse(c, "unknown")
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and schema fingerprint",
		Long: `version prints the version and the commit that this binary was built from, the
fingerprint (CRC-64-AVRO) that its records carry in single-object encoding, and
the Go release that built it.`,
		Example: "  connector version",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			v, commit := build()
			_, err := fmt.Fprintf(c.OutOrStdout(), "connector %s\ncommit    %s\nschema    %016x (CRC-64-AVRO)\ngo        %s %s/%s\n",
				v, commit, codec.Fingerprint(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func newSchema() *cobra.Command {
	c := &cobra.Command{
		Use:   "schema",
		Short: "Print the Avro schema of the changes topic",
		Long: `schema prints the Avro schema genesys.audit.ConfigurationChange as JSON, for a
consumer that decodes by itself, or to register it by hand before an upgrade.`,
		Example: "  connector schema > configuration_change.avsc\n  connector schema orgs > orgs.schema.json",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), schemas.ConfigurationChange)
			return err
		},
	}
	c.AddCommand(&cobra.Command{
		Use:   "orgs",
		Short: "Print the JSON schema of ORGS_FILE, for editors",
		Long: `orgs prints a JSON schema (draft 07) of the file of organisations, with which editors
complete and check it while it is written: VS Code's YAML extension by a first line
"# yaml-language-server: $schema=orgs.schema.json".`,
		Example: "  connector schema orgs > orgs.schema.json",
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return writeOrgsSchema(c.OutOrStdout()) },
	})
	return c
}
