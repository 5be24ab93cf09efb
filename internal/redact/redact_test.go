package redact

import (
	"strings"
	"testing"
)

func TestCleanTextHasNoSecretAndSteersNothing(t *testing.T) {
	for text, want := range map[string]string{
		"as it is":                          "as it is",
		"p&ss, p%26ss, p&amp;ss, cCZzcw==.": "[secret], [secret], [secret], [secret].",
		"a\x1b[2Jb\r\nc\u009bd\u202ee\x9b":  "a [2Jb c d e",
		strings.Repeat("ä", 40):             strings.Repeat("ä", 20) + "…",
	} {
		if got := Clean(text, 41, "p&ss", ""); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}
