package evidence

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"

	"genesys-audit-connector/internal/audit"
)

// Checkpoint is what a log commits to at a moment. Whoever keeps one can prove of any
// later state of the log that it holds what it held then.
// Source: https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note
type Checkpoint struct {
	Origin   string
	Size     uint64
	Root     Hash
	Time     time.Time
	Coverage Hash   // of the coverage's JSON
	Text     string // as it was published, with its signatures
}

// Signed reports whether it carries a signature, by whomever.
func (c *Checkpoint) Signed() bool { return strings.Contains(c.Text, "\n\n") }

// body is the text without signatures: what is signed.
func (c *Checkpoint) body() string {
	b := log.Checkpoint{Origin: c.Origin, Size: c.Size, Hash: c.Root[:]}.Marshal()
	return fmt.Sprintf("%stime %s\ncoverage sha256:%x\n", b, c.Time.UTC().Format(audit.TimeFormat), c.Coverage)
}

// ParseCheckpoint reads a checkpoint, signed or not. It does not look at signatures:
// Verify does.
func ParseCheckpoint(text []byte) (Checkpoint, error) {
	c := Checkpoint{Text: string(text)}
	body, _, signed := strings.Cut(c.Text, "\n\n")
	if signed {
		body += "\n"
	}
	var head log.Checkpoint
	rest, err := head.Unmarshal([]byte(body))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("not a checkpoint: %w", err)
	}
	if len(head.Hash) != HashSize {
		return Checkpoint{}, fmt.Errorf("not a checkpoint: a root of %d bytes; want %d", len(head.Hash), HashSize)
	}
	c.Origin, c.Size = head.Origin, head.Size
	copy(c.Root[:], head.Hash)
	for line := range strings.Lines(string(rest)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch name {
		case "time":
			if c.Time, err = time.Parse(time.RFC3339, value); err != nil {
				return Checkpoint{}, fmt.Errorf("not a checkpoint: time %.60q is not RFC 3339", value)
			}
		case "coverage":
			sum, err := hex.DecodeString(strings.TrimPrefix(value, "sha256:"))
			if err != nil || len(sum) != HashSize {
				return Checkpoint{}, fmt.Errorf("not a checkpoint: coverage %.80q is not sha256:HEX", value)
			}
			copy(c.Coverage[:], sum)
		}
	}
	if c.body() != body {
		return Checkpoint{}, errors.New("not a checkpoint of this connector: it has no time, or no coverage, or lines that are not known")
	}
	return c, nil
}

// Verify returns the names of the known keys that have signed the checkpoint. Without
// one of them it is an error.
func (c *Checkpoint) Verify(known note.Verifiers) ([]string, error) {
	n, err := note.Open([]byte(c.Text), known)
	if err != nil {
		return nil, fmt.Errorf("checkpoint of size %d: %w", c.Size, err)
	}
	names := make([]string, len(n.Sigs))
	for i, s := range n.Sigs {
		names[i] = fmt.Sprintf("%s+%08x", s.Name, s.Hash)
	}
	return names, nil
}

// Keys sign checkpoints. The zero value signs nothing.
type Keys struct {
	// Current signs every checkpoint.
	Current note.Signer
	// Retired, where it is not nil, also signs the first one that Current signs, and so
	// vouches for it.
	Retired note.Signer
}

// ParseKeys reads the keys of EVIDENCE_KEY: the current one and, where it has taken the
// place of another, that one after white space. "" is no key.
func ParseKeys(text string) (Keys, error) {
	var k Keys
	for i, field := range strings.Fields(text) {
		signer, err := note.NewSigner(field)
		switch {
		case err != nil:
			return Keys{}, fmt.Errorf("key %d is not one that \"connector evidence key\" makes (PRIVATE+KEY+NAME+HASH+KEY)", i+1)
		case i == 0:
			k.Current = signer
		case i == 1:
			k.Retired = signer
		default:
			return Keys{}, errors.New("there are more than two keys: the current one, and the one before it")
		}
	}
	return k, nil
}

// sign makes c.Text. before is the checkpoint before it.
func (k Keys) sign(c *Checkpoint, before Checkpoint) error {
	c.Text = c.body()
	if k.Current == nil {
		return nil
	}
	signers := []note.Signer{k.Current}
	if k.Retired != nil && !before.signedBy(k.Current) {
		signers = append(signers, k.Retired)
	}
	text, err := note.Sign(&note.Note{Text: c.Text}, signers...)
	if err != nil {
		return fmt.Errorf("sign a checkpoint: %w", err)
	}
	c.Text = string(text)
	return nil
}

// signedBy reports whether there is a signature by the key, right or wrong.
func (c *Checkpoint) signedBy(key note.Signer) bool {
	_, err := note.Open([]byte(c.Text), note.VerifierList(nameOnly{key}))
	return err == nil
}

// nameOnly is the verifier of a key of which only name and hash matter.
type nameOnly struct{ key note.Signer }

func (n nameOnly) Name() string               { return n.key.Name() }
func (n nameOnly) KeyHash() uint32            { return n.key.KeyHash() }
func (n nameOnly) Verify([]byte, []byte) bool { return true }

// GenerateKey makes a key pair for an organisation's log: signer is the secret of
// EVIDENCE_KEY, verifier what those hold who check.
func GenerateKey(org string, random io.Reader) (signer, verifier string, err error) {
	if random == nil {
		random = rand.Reader
	}
	return note.GenerateKey(random, Origin(org))
}
