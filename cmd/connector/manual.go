package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manual is what a page of the manual says beyond the command's own
// description, flags and examples. Lines are at most manualWidth wide.
type manual struct {
	environment string
	exit        string
	files       string
	see         string
}

const manualWidth = 80

// manuals are the pages, by command. A test wants one of each.
var manuals = map[string]manual{
	"connector": {
		environment: "The variables of \"connector run\": connector run --help",
		exit:        "0  done, or stopped by SIGINT or SIGTERM\n1  failed, or check or verify found something wrong\n2  wrong usage or configuration",
	},
	"run": {
		exit: `0  stopped by SIGINT or SIGTERM, within SHUTDOWN_TIMEOUT
1  failed: HTTP_ADDR cannot be listened on, for example
2  only another configuration, or another topic, helps: each variable that is
   wrong is named on standard error`,
		files: `None is written. What was read stands in the topic KAFKA_TOPIC_OFFSETS.
Secrets may come from files (NAME_FILE), which are read again when the secret
is used.`,
		see: "connector check before the first start; connector status while it runs",
	},
	"demo": {
		environment: "NO_COLOR  no colours\nNone of the connector's own variables is read.",
		exit:        "0  nothing is missing or double, also after Ctrl-C\n1  failed, or something is missing or double\n2  wrong usage",
		files:       "None. With --brokers, topics and group are named genesys.audit.demo.SEED\nand stay.",
	},
	"check": {
		environment: "The variables of \"connector run\".\nNO_COLOR  no colours",
		exit:        "0  nothing failed; warnings do not count\n1  something failed, or not everything was looked at\n2  wrong usage or configuration",
		see:         "docs/troubleshooting.md, which goes by symptom",
	},
	"backfill": {
		environment: "The variables of \"connector run\", with its values.\nLOG_LEVEL is warn unless it is set.\nNO_COLOR  no progress bar",
		exit:        "0  handed over, or done, or no longer watched (Ctrl-C): the request stays\n1  failed\n2  wrong usage or configuration",
		see:         "connector status, for how far it is; connector verify",
	},
	"verify": {
		environment: "The variables of \"connector run\", with its values.\nLOG_LEVEL is warn unless it is set.\nGENESYS_REFRESH_TOKEN is refused: this process needs a client of its own.",
		exit:        "0  all is right, if need be after --repair\n1  something is missing, double, altered or incomplete; or it failed, or was\n   interrupted\n2  wrong usage or configuration",
		see:         "docs/guarantees.md",
	},
	"erase": {
		environment: "The variables of \"connector run\", with its values.\nLOG_LEVEL is warn unless it is set.\nNO_COLOR  no progress bar",
		exit:        "0  erased, now or before; or nothing was to be erased\n1  an id is not known, it was not confirmed, or it failed or was interrupted\n2  wrong usage or configuration; a topic is not compacted",
		see:         "connector evidence verify, which tells what was erased; docs/operating.md",
	},
	"migrate": {
		environment: "The variables of \"connector run\", as the deployment has them that goes on.\nLOG_LEVEL is warn unless it is set.",
		exit:        "0  moved, now or before; or there was nothing to move\n1  a replica is running, or it failed or was interrupted: run it again\n2  wrong usage or configuration",
		see:         "docs/organisations.md",
	},
	"status": {
		environment: "HTTP_ADDR  where the replica listens (default :8080)\nORG_NAME, ORGS_FILE  what --org may be",
		exit:        "0  it answered\n1  nothing answers, or something that is no connector\n2  wrong usage",
	},
	"history": {
		environment: "The variables of \"connector run\" that begin with KAFKA_ or\nSCHEMA_REGISTRY_, and ORG_NAME or ORGS_FILE.\nNO_COLOR  no colours",
		exit:        "0  printed, even if there is nothing\n1  failed, or was interrupted\n2  wrong usage or configuration",
	},
	"evidence": {
		exit: "0  done\n1  failed\n2  wrong usage or configuration",
	},
	"evidence verify": {
		environment: "The variables of \"connector run\" that begin with KAFKA_, and ORG_NAME\nor ORGS_FILE.\nNO_COLOR  no progress bar",
		exit:        "0  all is as it was published\n1  something is not; or it failed, or was interrupted\n2  wrong usage or configuration",
		see:         "connector verify, which holds Kafka against the API",
	},
	"evidence export": {
		environment: "The variables of \"connector run\" that begin with KAFKA_ or\nSCHEMA_REGISTRY_, ORG_NAME, and EVIDENCE_KEY, which signs the export.\nNO_COLOR  no progress bar",
		exit:        "0  exported, and all in Kafka is as it was published\n1  something is not, which the export names; or it failed, or was interrupted\n2  wrong usage or configuration",
		files:       "The ZIP, once it is whole. Until then temporary files of about its uncompressed\nsize stand beside it.",
		see:         "docs/evidence.md; examples/evidence/verify.py, which checks the ZIP",
	},
	"evidence checkpoint": {
		environment: "The variables of \"connector run\" that begin with KAFKA_, and ORG_NAME\nor ORGS_FILE.",
		exit:        "0  printed\n1  there is none, or it failed\n2  wrong usage or configuration",
	},
	"evidence key": {
		exit: "0  printed",
	},
	"schema": {
		exit: "0  printed",
		see:  "docs/schema.md",
	},
	"schema orgs": {
		exit: "0  printed",
		see:  "docs/organisations.md",
	},
	"version": {
		exit: "0  printed",
	},
}

// help prints a command's page of the manual, and cobra's own text where there is none.
func help(otherwise func(*cobra.Command, []string)) func(*cobra.Command, []string) {
	return func(c *cobra.Command, args []string) {
		m, ok := manuals[strings.TrimPrefix(c.CommandPath(), "connector ")]
		if !ok {
			otherwise(c, args)
			return
		}
		m.print(c.OutOrStdout(), c)
	}
}

func (m manual) print(out io.Writer, c *cobra.Command) {
	section(out, "NAME", c.CommandPath()+" - "+c.Short)
	section(out, "SYNOPSIS", wrap(strings.ReplaceAll(c.UseLine(), " [flags]", synopsis(c)), "  ", manualWidth))
	section(out, "DESCRIPTION", paragraphs(cmp.Or(c.Long, c.Short+".")))
	if c.HasAvailableSubCommands() {
		var names strings.Builder
		for _, s := range c.Commands() {
			if s.IsAvailableCommand() {
				fmt.Fprintf(&names, "%-11s %s\n", s.Name(), s.Short)
			}
		}
		section(out, "COMMANDS", names.String()+"\nconnector COMMAND --help says more.")
	}
	section(out, "OPTIONS", c.LocalFlags().FlagUsagesWrapped(manualWidth-2))
	if c.Name() == "run" {
		section(out, "ENVIRONMENT", allVariables())
	} else {
		section(out, "ENVIRONMENT", m.environment)
	}
	section(out, "FILES", m.files)
	section(out, "EXIT STATUS", m.exit)
	section(out, "EXAMPLES", c.Example)
	section(out, "SEE ALSO", m.see)
}

// synopsis are the flags as a usage line has them; those that the line names already are left out.
func synopsis(c *cobra.Command) string {
	var flags strings.Builder
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || strings.Contains(c.Use, "--"+f.Name) {
			return
		}
		value, _ := pflag.UnquoteUsage(f)
		if value != "" {
			value = " " + value
		}
		fmt.Fprintf(&flags, " [--%s%s]", f.Name, value)
	})
	return flags.String()
}

// section prints a heading and its text, with two spaces in front of each line.
func section(out io.Writer, heading, text string) {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return
	}
	if heading != "NAME" {
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out, heading)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line != "" && !strings.HasPrefix(line, "  ") {
			line = "  " + line
		}
		fmt.Fprintln(out, line)
	}
}

// allVariables lists all variables, as docs/configuration.md does.
func allVariables() string {
	var b strings.Builder
	b.WriteString("An empty variable is an unset one. NAME_FILE, where it is named, is a file\nthat holds the value instead. docs/configuration.md says the same as a table.\n")
	group := ""
	for _, v := range Variables() {
		if v.Group != group {
			group = v.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		name := v.Name
		if v.Secret {
			separator := ", "
			if len("  "+name+separator+name+"_FILE") > manualWidth {
				separator = ",\n  "
			}
			name += separator + name + "_FILE"
		}
		text := strings.ReplaceAll(v.Doc, "`", "")
		if len(v.OneOf) > 0 {
			text += " One of " + strings.Join(v.OneOf, ", ") + "."
		}
		if holds := cmp.Or(v.Default, v.Unset); holds != "" {
			text += " Default: " + holds + "."
		}
		if v.Example != "" {
			text += " For example " + v.Example
		}
		fmt.Fprintf(&b, "  %s\n%s", name, wrap(text, "      ", manualWidth))
	}
	b.WriteString(`
Read by the libraries that it is built on:
  HTTPS_PROXY, HTTP_PROXY, NO_PROXY
      The way to the API, the login and the OIDC token endpoint.
  SSL_CERT_FILE, SSL_CERT_DIR
      Authorities to trust for the API, the login, the registry and the OIDC
      token endpoint.
  AWS_REGION, AWS_PROFILE, AWS_WEB_IDENTITY_TOKEN_FILE and AWS' others
      Credentials for AWS_MSK_IAM, found as every AWS SDK finds them.
  GOMEMLIMIT, GOGC
      When memory is collected. GOMEMLIMIT: 90 % of the container's limit.`)
	return b.String()
}

// paragraphs wraps each paragraph of a text to the page.
func paragraphs(text string) string {
	all := strings.Split(text, "\n\n")
	for i, p := range all {
		all[i] = wrap(p, "  ", manualWidth)
	}
	return strings.Join(all, "\n")
}

// wrap breaks a text into lines of at most width characters, indent included.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+n > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String() + "\n"
}
