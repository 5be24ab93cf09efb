package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestManual wants a page for each command, with what a page must have, that
// fits a terminal of 80 columns.
func TestManual(t *testing.T) {
	pages := map[string][]string{"": {"COMMANDS", "EXAMPLES"}}
	for _, c := range newRoot().Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			pages[c.Name()] = []string{"EXAMPLES"}
		}
	}
	for _, v := range Variables() {
		pages["run"] = append(pages["run"], "\n  "+v.Name)
	}
	for name, wanted := range pages {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs([]string{name, "--help"})
		if name == "" {
			root.SetArgs([]string{"--help"})
		}
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		for _, want := range append(wanted, "NAME\n", "SYNOPSIS\n", "DESCRIPTION\n", "OPTIONS\n", "EXIT STATUS\n") {
			if !strings.Contains(out.String(), want) {
				t.Errorf("connector %s --help lacks %q", name, want)
			}
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > manualWidth {
				t.Errorf("connector %s --help has a line of %d characters: %s", name, n, line)
			}
		}
	}
}
