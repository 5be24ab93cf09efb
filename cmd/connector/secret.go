package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// Secret is a text that never prints. One that comes from a file is read again
// whenever it is used, so that a rotated secret is taken without a restart.
// Copies share one source.
type Secret struct {
	source *secretSource // nil for a secret that is not set; a pointer, so that reflection finds no text here
}

type secretSource struct {
	path string // "" for a secret that does not come from a file

	mu   sync.Mutex
	text string // the last good one
}

// NewSecret returns a secret that does not change; "" is one that is not set.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&secretSource{text: text}}
}

// openSecret returns the secret in a file.
func openSecret(path string) (Secret, error) {
	text, err := readSecret(path)
	if err != nil {
		return Secret{}, err
	}
	return Secret{&secretSource{path: path, text: text}}, nil
}

// IsSet tells whether there is a secret.
func (s Secret) IsSet() bool { return s.source != nil }

// Value is the secret's text as it is now, "" where it is not set. While its
// file is missing, empty or unreadable, as it may be for a moment when it is
// replaced, the text is the last that it held.
func (s Secret) Value() string {
	if s.source == nil {
		return ""
	}
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	if s.source.path != "" {
		if text, err := readSecret(s.source.path); err == nil {
			s.source.text = text
		}
	}
	return s.source.text
}

// EnvDecode takes the variable's own value.
func (s *Secret) EnvDecode(text string) error {
	*s = NewSecret(text)
	return nil
}

// maxSecretBytes is far more than any secret has, and keeps a wrong path from filling the memory.
const maxSecretBytes = 64 << 10

var errSecretEmpty, errSecretLong = errors.New("the file is empty"), errors.New("the file is too long for a secret")

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	switch text := cutNewline(string(content)); {
	case err != nil:
		return "", err
	case len(content) > maxSecretBytes:
		return "", errSecretLong
	case strings.TrimSpace(text) == "":
		return "", errSecretEmpty
	default:
		return text, nil
	}
}

// cutNewline cuts the end of line that editors and echo leave behind a secret.
func cutNewline(text string) string { return strings.TrimRight(text, "\r\n") }

const redacted = "[redacted]"

// String hides the text, and so do all other ways to print a Secret.
func (s Secret) String() string {
	if s.source == nil {
		return ""
	}
	return redacted
}

// GoString hides the text.
func (s Secret) GoString() string { return fmt.Sprintf("Secret(%q)", s.String()) }

// Format hides the text from every verb.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		io.WriteString(f, s.GoString())
		return
	}
	io.WriteString(f, s.String())
}

// MarshalText hides the text from encoders, that of JSON (and so zap's) among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Equal reports whether both are read from the same file, or are the same text.
func (s Secret) Equal(other Secret) bool {
	if s.source == nil || other.source == nil || s.source == other.source {
		return s.source == other.source
	}
	if s.source.path != "" || other.source.path != "" {
		return s.source.path == other.source.path
	}
	return s.source.text == other.source.text // which does not change
}
