package oauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFileIsReadAtEachUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for _, c := range []struct {
		content, value string
		end            time.Time
	}{
		{"opaque-token_1.2~+/==\n", "opaque-token_1.2~+/==", time.Time{}},
		{"\n " + jwt(`{"exp":1900000000}`) + " \r\n", jwt(`{"exp":1900000000}`), time.Unix(1900000000, 0)},
		{jwt(`{"exp":"soon"}`), jwt(`{"exp":"soon"}`), time.Time{}},
		{jwt(`{"exp":1e300}`), jwt(`{"exp":1e300}`), time.Time{}},
		{"a.b.c", "a.b.c", time.Time{}},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := File(path).Token(t.Context())
		if err != nil || token.Value != c.value || !token.Expires.Equal(c.end) {
			t.Errorf("%q: %q ends %v, %v", c.content, token.Value, token.Expires, err)
		}
		if File(path).Refused(c.value) || !File(path).Refused("the one before") {
			t.Errorf("%q: cannot tell a renewed token", c.content)
		}
	}
}

func TestFileWithoutATokenIsNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	for content, message := range map[string]string{
		" \n":                         "there is no token in it",
		"secret one\nsecret two":      "it holds other characters than a bearer token has (RFC 6750, 2.1)",
		strings.Repeat("a", 1+64<<10): "the file is too long for a token",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := File(path).Token(t.Context()); err == nil || err.Error() != "token file "+path+": "+message {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	if _, err := File(dir + "/none").Token(t.Context()); err == nil || err.Error() != "token file "+dir+"/none: no such file or directory" {
		t.Errorf("%v", err)
	}
}

func TestTokenNeverPrints(t *testing.T) {
	token := Token{Value: "tell-nobody", Expires: time.Now()}
	if text := fmt.Sprintf("%v %+v %#v %s %q %x %v", token, token, token, token, token, token, &token); strings.Contains(text, "tell") || strings.Contains(text, "7465") {
		t.Error(text)
	}
}
