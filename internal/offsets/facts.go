package offsets

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Facts are what people want to know of an organisation over all processes. Nothing that is
// published depends on them. They are safe for concurrent use.
type Facts struct {
	mu       sync.Mutex // protects what follows
	newest   time.Time
	verified *Verification
}

// Verification is what "connector verify" found when it ended last.
type Verification struct {
	At       time.Time `json:"at"`
	From     time.Time `json:"from"` // what was compared
	To       time.Time `json:"to"`
	Missing  int       `json:"missing"`  // events that it left missing
	Repaired int       `json:"repaired"` // events that it had published
}

// Newest is the newest event's own time; zero where no event is known of.
func (f *Facts) Newest() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}

// Saw takes note of an event of that time.
func (f *Facts) Saw(event time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if event.After(f.newest) {
		f.newest = event
	}
}

// Verified is the last verification, which nobody may change; nil for none.
func (f *Facts) Verified() *Verification {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.verified
}

// AppendNewestKey appends the key of the newest event's time.
func AppendNewestKey(dst []byte, org string) []byte { return appendKind(dst, org, newestKind) }

// AppendNewestValue appends what stands there.
func AppendNewestValue(dst []byte, t time.Time) []byte { return audit.AppendTime(dst, t) }

// AppendVerifiedKey appends the key of the last verification; its value is its JSON.
func AppendVerifiedKey(dst []byte, org string) []byte { return appendKind(dst, org, verifiedKind) }

// Apply takes one of org's records in, if it holds a fact: any other changes nothing. A fact
// that cannot be read is a *RecordError.
func (f *Facts) Apply(org string, key, value []byte) error {
	owner, kind, _, ok := splitKey(key)
	if !ok || string(owner) != org || value == nil {
		return nil
	}
	switch string(kind) {
	case newestKind:
		t, ok := audit.ParseTime(string(value))
		if !ok {
			return &RecordError{Key: string(key), Want: "a time"}
		}
		f.Saw(t)
	case verifiedKind:
		v := new(Verification)
		err := json.Unmarshal(value, v) // members that a newer version adds do no harm
		if err == nil {
			err = v.check()
		}
		if err != nil {
			return &RecordError{Key: string(key), Want: "a verification", Err: err}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.verified = v
	}
	return nil
}

func (v *Verification) check() error {
	switch {
	case v.At.IsZero() || v.To.Before(v.From):
		return errors.New("it has no time, or an interval that ends before it begins")
	case v.Missing < 0 || v.Repaired < 0:
		return fmt.Errorf("%d events missing, %d repaired", v.Missing, v.Repaired)
	}
	return nil
}
