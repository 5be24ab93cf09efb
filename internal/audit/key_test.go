package audit

import (
	"strings"
	"testing"
)

func TestNamesOfKeys(t *testing.T) {
	for key, want := range map[string]string{
		"": "", "a": "a", "a.b": "a|b", `a["b.c"].d`: "a|b.c|d", `["x\"y"]`: `x"y`, `["a"]["b"]`: "a|b", "a..b": "a||b", "a.": "a|",
		"[a]": "[a]", `["a`: `["a`, "QueueMember/q:u:joined": "QueueMember/q:u:joined", `[""]`: "",
	} {
		var got []string
		for _, s := range KeyNames(nil, []byte(key)) {
			got = append(got, string(s))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q, want %s", key, got, want)
		}
	}
}

// TestKeysAreReadAsTheyAreWritten, whatever characters their names have.
func TestKeysAreReadAsTheyAreWritten(t *testing.T) {
	names := []string{"a", "a.b", "", `x"y`, "[", "]", "\\", "é\n", "*"}
	for _, first := range names {
		for _, second := range names {
			key := AppendKeyName(AppendKeyName(nil, []byte(first)), []byte(second))
			got := KeyNames(nil, key)
			if len(got) != 2 || string(got[0]) != first || string(got[1]) != second {
				t.Errorf("%q, %q: %s is read as %q", first, second, key, got)
			}
		}
	}
}
