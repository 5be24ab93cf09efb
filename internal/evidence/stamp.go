package evidence

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/notaryproject/tspclient-go"
)

// Stamp is an RFC 3161 time stamp of a checkpoint: an authority's word that the
// checkpoint was there at a time. It is a record of the evidence topic.
type Stamp struct {
	Org        string `json:"org"`
	Size       uint64 `json:"size"`
	Checkpoint string `json:"checkpoint"`
	Token      []byte `json:"token"` // TimeStampToken, DER
}

// stampPart tells a stamp's key from that of a record of entries.
const stampPart = "/stamp/"

// AppendKey appends the record's key: the organisation, "/stamp/", and the size in 20 digits.
func (s *Stamp) AppendKey(dst []byte) []byte {
	return fmt.Appendf(dst, "%s%s%020d", s.Org, stampPart, s.Size)
}

// IsStamp reports whether a key of the evidence topic is a stamp's.
func IsStamp(key []byte) bool { return strings.Contains(string(key), stampPart) }

// RequestStamp asks the authority at the address for a time stamp of the checkpoint.
func RequestStamp(ctx context.Context, client *http.Client, address, org string, c Checkpoint) (*Stamp, error) {
	authority, err := tspclient.NewHTTPTimestamper(client, address)
	if err != nil {
		return nil, err
	}
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: []byte(c.Text), HashAlgorithm: crypto.SHA256})
	if err != nil {
		return nil, err
	}
	response, err := authority.Timestamp(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := response.Validate(request); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return &Stamp{Org: org, Size: c.Size, Checkpoint: c.Text, Token: response.TimestampToken.FullBytes}, nil
}

// ParseStamp reads a record of the evidence topic.
func ParseStamp(key, value []byte) (*Stamp, error) {
	var s Stamp
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, fmt.Errorf("time stamp %.100q is not readable: %w", key, err)
	}
	c, err := ParseCheckpoint([]byte(s.Checkpoint))
	if err != nil {
		return nil, fmt.Errorf("time stamp %.100q: %w", key, err)
	}
	if string(s.AppendKey(nil)) != string(key) || c.Size != s.Size || c.Origin != Origin(s.Org) {
		return nil, fmt.Errorf("time stamp %.100q is of another checkpoint", key)
	}
	return &s, nil
}

// Time is when the authority saw the checkpoint. roots are the authorities that are
// believed; with nil it is only looked at whether the stamp is of this checkpoint.
func (s *Stamp) Time(ctx context.Context, roots *x509.CertPool) (time.Time, error) {
	token, err := tspclient.ParseSignedToken(s.Token)
	if err != nil {
		return time.Time{}, fmt.Errorf("time stamp of size %d: %w", s.Size, err)
	}
	info, err := token.Info()
	if err != nil {
		return time.Time{}, fmt.Errorf("time stamp of size %d: %w", s.Size, err)
	}
	if _, err := info.Validate([]byte(s.Checkpoint)); err != nil {
		return time.Time{}, fmt.Errorf("time stamp of size %d: %w", s.Size, err)
	}
	if roots == nil {
		return info.GenTime, nil
	}
	// The authority's certificate may have expired since.
	if _, err := token.Verify(ctx, x509.VerifyOptions{Roots: roots, CurrentTime: info.GenTime}); err != nil {
		return time.Time{}, fmt.Errorf("time stamp of size %d: %w", s.Size, err)
	}
	return info.GenTime, nil
}

// stamped takes a stamp that stands in the log: it must be of a checkpoint that was.
func (v *verifier) stamped(ctx context.Context, item LogItem) {
	s, err := ParseStamp(item.Key, item.Value)
	if err != nil {
		v.find(Damaged, -1, "", "offset %d: %v", item.Offset, err)
		return
	}
	at, err := s.Time(ctx, v.in.Authorities)
	if err != nil {
		v.find(Signer, int64(s.Size)-1, "", "offset %d: %v", item.Offset, err)
		return
	}
	c, err := ParseCheckpoint([]byte(s.Checkpoint))
	if err == nil {
		err = v.past(c)
	}
	if err != nil {
		v.find(Inconsistent, int64(s.Size)-1, "", "the time stamp of %s: %v", at.UTC().Format(time.RFC3339), err)
		return
	}
	v.report.Stamps++
	if at.After(v.report.Stamped) {
		v.report.Stamped = at
	}
}

// pastRoots is how many transactions may lie between a checkpoint and its time stamp,
// which is asked for when nothing waits for it.
const pastRoots = 1 << 16

// remember keeps the root of a size, for time stamps that come later.
func (v *verifier) remember(size uint64, root Hash) {
	if len(v.order) == pastRoots {
		delete(v.roots, v.order[0])
		v.order = v.order[1:]
	}
	v.order = append(v.order, size)
	v.roots[size] = root
}

var errAnotherLog = errors.New("it is of another log")

// past holds a checkpoint against the log as it was read already.
func (v *verifier) past(c Checkpoint) error {
	root, ok := v.roots[c.Size]
	switch {
	case v.rootless:
		return errors.New("the log cannot be held against it: a record of it is lost")
	case !ok || root != c.Root:
		return errAnotherLog
	}
	return nil
}
