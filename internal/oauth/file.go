package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile is far more than any token has, and keeps a wrong path from filling the memory.
const maxFile = 64 << 10

var errLong = errors.New("the file is too long for a token")

// File is the path of a file with a token that something else renews. It is read at each
// use.
type File string

// Token returns the token that the file holds now.
func (f File) Token(context.Context) (Token, error) {
	text, err := f.read()
	var token Token
	if err == nil {
		token, err = parse(text)
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	if err != nil {
		return Token{}, fmt.Errorf("token file %s: %w", string(f), err)
	}
	return token, nil
}

// Refused reports whether the file holds another token by now than the one that was
// refused. Whoever renews it is not reached from here.
func (f File) Refused(value string) bool {
	token, err := f.Token(context.Background())
	return err == nil && token.Value != value
}

func (f File) read() (string, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxFile {
		return "", errLong
	}
	return strings.TrimSpace(string(content)), nil
}
