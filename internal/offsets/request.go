package offsets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// The kinds of a Request.
const (
	KindBackfill = "backfill" // read what is not covered
	KindRepair   = "repair"   // publish what is missing
	KindErase    = "erase"    // remove events for good
)

// Request is work that a command hands to the active replica through the topic.
type Request struct {
	Kind     string    // one of those above
	From, To time.Time // the interval, never empty; of an erasure neither counts
	IDs      []string  // of the events that are missing, or to be erased
	Created  time.Time
	By       string // who asked: for the log, and for the note of an erasure
	Reason   string // of an erasure
}

// requestJSON is a Request as the topic holds it.
type requestJSON struct {
	Kind    string    `json:"kind"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	IDs     []string  `json:"ids,omitempty"`
	Created time.Time `json:"created"`
	By      string    `json:"by"`
	Reason  string    `json:"reason,omitempty"`
}

// MarshalJSON refuses a request that UnmarshalJSON would refuse.
func (r Request) MarshalJSON() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(requestJSON{r.Kind, r.From.UTC(), r.To.UTC(), r.IDs, r.Created.UTC(), r.By, r.Reason})
}

// UnmarshalJSON refuses what is no request, and members that it does not know:
// work must not be done otherwise than it was asked for.
func (r *Request) UnmarshalJSON(b []byte) error {
	var j requestJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	got := Request{
		Kind: j.Kind, From: wholeMilli(j.From), To: wholeMilli(j.To),
		IDs: j.IDs, Created: wholeMilli(j.Created), By: j.By, Reason: j.Reason,
	}
	if err := got.check(); err != nil {
		return err
	}
	*r = got
	return nil
}

func wholeMilli(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func (r *Request) check() error {
	switch {
	case r.Kind != KindBackfill && r.Kind != KindRepair && r.Kind != KindErase:
		return fmt.Errorf("request: kind %.40q is none of %s, %s and %s", r.Kind, KindBackfill, KindRepair, KindErase)
	case r.Kind == KindErase && (len(r.IDs) == 0 || strings.TrimSpace(r.By) == "" || strings.TrimSpace(r.Reason) == ""):
		return errors.New("request: an erasure has no ids, nobody who asks for it, or no reason")
	case r.Kind != KindErase && audit.Interval{From: wholeMilli(r.From), To: wholeMilli(r.To)}.Empty():
		return errors.New("request: to is not after from")
	case slices.ContainsFunc(r.IDs, func(id string) bool { return id == "" || len(id) > audit.MaxIDBytes }):
		return fmt.Errorf("request: an id has not 1 to %d bytes", audit.MaxIDBytes)
	}
	return nil
}

// ParseRequest tells whether a record is a request of org. id is "" where it is
// not; the request is nil where the record is a request's tombstone. A request
// that cannot be read is a *RecordError.
func ParseRequest(org string, key, value []byte) (id string, r *Request, err error) {
	owner, kind, name, ok := splitKey(key)
	if !ok || string(owner) != org || string(kind) != requestKind {
		return "", nil, nil
	}
	if value == nil {
		return string(name), nil, nil
	}
	r = new(Request)
	if err := json.Unmarshal(value, r); err != nil {
		return string(name), nil, &RecordError{Key: string(key), Want: "a request", Err: err}
	}
	return string(name), r, nil
}
