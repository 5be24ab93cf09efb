// Package offsets is the content of the compacted offsets topic: which events
// were published (IDs), what each stream knows about time (Ledger), work that
// was handed in (Request), the sealed refresh token, and the evidence log's state.
//
// It promises that State.Apply, given the topic's records in their order, holds
// what the records that are left after any compaction say, that no two things
// share a key, and that a ledger is read exactly or refused. It turns records
// into state and state into records, and refuses to know how they travel
// (Kafka) and when anything is read, swept or forgotten (poller).
package offsets

import (
	"bytes"
	"errors"
)

// State is everything that the topic says about one organisation. It is not
// safe for concurrent use.
type State struct {
	IDs *IDs
	// Erased are the ids of events that were erased; the time of each says nothing.
	Erased   *IDs
	Ledgers  map[string]Ledger  // by stream
	Requests map[string]Request // by id
	Token    []byte             // sealed; nil for none
	Log      []byte             // state of the evidence log; nil for none
	Facts    *Facts             // never nil; safe for concurrent use, unlike the rest
	// Damaged has the streams whose ledger is there and cannot be read. Such a
	// stream must not start anew: what was published would be published again.
	Damaged map[string]error

	org string
}

// NewState is what an empty topic says about org.
func NewState(org string) *State {
	return &State{
		IDs: new(IDs), Erased: new(IDs), Ledgers: make(map[string]Ledger), Requests: make(map[string]Request),
		Damaged: make(map[string]error), Facts: new(Facts), org: org,
	}
}

// Apply takes one record in; a nil value is a tombstone. Nothing of key and
// value is kept. Other organisations' records change nothing. A record that is
// not one of ours is a *RecordError and can be skipped; a *VersionError cannot.
func (s *State) Apply(key, value []byte) error {
	org, kind, name, ok := splitKey(key)
	switch {
	case !ok:
		return &RecordError{Key: string(key), Want: "<org>/seen/<id>, <org>/ledger/<stream>, <org>/request/<id>, <org>/erased/<id>, <org>/token, <org>/log, <org>/newest or <org>/verified"}
	case string(org) != s.org:
		return nil
	}
	switch string(kind) {
	case seenKind:
		return s.applySeen(key, name, value)
	case ledgerKind:
		return s.applyLedger(key, string(name), value)
	case requestKind:
		return s.applyRequest(key, value)
	case erasedKind:
		s.applyErased(name, value)
		return nil
	case logKind:
		s.Log = bytes.Clone(value)
		return nil
	case newestKind, verifiedKind:
		return s.Facts.Apply(s.org, key, value)
	default:
		if s.Token = bytes.Clone(value); value != nil && len(value) == 0 {
			s.Token = nil
			return &RecordError{Key: string(key), Want: "a sealed token"}
		}
		return nil
	}
}

func (s *State) applySeen(key, id, value []byte) error {
	if value == nil {
		s.IDs.Remove(view(id))
		return nil
	}
	ms, ok := parseSeen(value)
	if !ok {
		// An id that was remembered stays so: better that than an event twice.
		return &RecordError{Key: string(key), Want: "a time in milliseconds since 1970"}
	}
	s.IDs.add(view(id), ms)
	return nil
}

// applyErased takes in a note, whatever it says: an event that may have been erased is
// never published again.
func (s *State) applyErased(id, value []byte) {
	if value == nil {
		s.Erased.Remove(view(id))
		return
	}
	s.Erased.add(view(id), 0)
}

func (s *State) applyLedger(key []byte, stream string, value []byte) error {
	delete(s.Ledgers, stream)
	delete(s.Damaged, stream)
	if value == nil {
		return nil
	}
	l, err := ParseLedger(value)
	var version *VersionError
	switch {
	case errors.As(err, &version):
		version.Key = string(key)
		return version
	case err != nil:
		s.Damaged[stream] = err
		return &RecordError{Key: string(key), Want: "a ledger", Err: err}
	}
	s.Ledgers[stream] = l
	return nil
}

func (s *State) applyRequest(key, value []byte) error {
	id, r, err := ParseRequest(s.org, key, value)
	if r == nil {
		delete(s.Requests, id)
		return err
	}
	s.Requests[id] = *r
	return nil
}
