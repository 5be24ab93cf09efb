package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

// Find returns the records of the events with these ids, as far as they are there and
// committed. An event that was erased has some until compaction removes them.
func (a *Archive) Find(ctx context.Context, ids []string) (map[string]poller.Records, error) {
	s := search{org: a.Org, asked: make(map[string]bool, len(ids)), found: make(map[string]*discovery)}
	for _, id := range ids {
		s.asked[id] = true
	}
	for _, topic := range []struct {
		name string
		take func(*txn.Record) error
	}{{a.Topic, s.raw}, {a.Changes, s.change}} {
		err := a.Cluster.ReadTopic(ctx, topic.name, func(r *txn.Record) error {
			if a.Looked != nil {
				a.Looked()
			}
			return topic.take(r)
		})
		if err != nil {
			return nil, fmt.Errorf("look for events in topic %s: %w", topic.name, err)
		}
	}
	all := make(map[string]poller.Records, len(s.found))
	for id, d := range s.found {
		d.ChangesSum = d.hash.Sum()
		all[id] = d.Records
	}
	return all, nil
}

// search looks for the records of events.
type search struct {
	org   string
	asked map[string]bool
	found map[string]*discovery
}

// discovery is an event of which records were found.
type discovery struct {
	poller.Records
	hash evidence.Changes
}

// of returns the discovery that a record belongs to, nil where it was not asked for.
func (s *search) of(id []byte, r *txn.Record) *discovery {
	if r.Value == nil || !s.asked[string(id)] {
		return nil
	}
	ours, index, sum := false, int64(-1), [sha256.Size]byte{}
	for _, h := range r.Headers {
		switch h.Key {
		case "org":
			ours = string(h.Value) == s.org
		case "log-index":
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil {
				index = n
			}
		case "sha256":
			if hex.DecodedLen(len(h.Value)) == len(sum) {
				_, _ = hex.Decode(sum[:], h.Value) // where it is none, verification says so
			}
		}
	}
	if !ours {
		return nil
	}
	d := s.found[string(id)]
	if d == nil {
		d = &discovery{Records: poller.Records{Index: index, Sum: sum}}
		d.hash.Reset()
		s.found[string(id)] = d
	}
	return d
}

func (s *search) raw(r *txn.Record) error {
	if d := s.of(r.Key, r); d != nil && d.Raw == nil {
		d.Raw = &poller.Record{Key: string(r.Key), Partition: r.Partition, Time: r.Time}
		d.Sum = sha256.Sum256(r.Value)
	}
	return nil
}

func (s *search) change(r *txn.Record) error {
	end := bytes.LastIndexByte(r.Key, ':')
	if end < 0 {
		return nil
	}
	if d := s.of(r.Key[:end], r); d != nil {
		d.Changes = append(d.Changes, poller.Record{Key: string(r.Key), Partition: r.Partition, Time: r.Time})
		d.hash.Add(r.Value)
	}
	return nil
}

// erase writes the tombstones of an event, the note of its erasure and the entry of that
// in the evidence log.
func (s *Sink) erase(e *poller.Erasure, now time.Time) error {
	note, err := s.note(e)
	if err != nil {
		return err
	}
	headers := []txn.Header{{Key: "audit-id", Value: []byte(e.ID)}, {Key: "org", Value: []byte(s.cfg.Org)}}
	tombstone := func(topic Topic, r *poller.Record) error {
		return s.producer.Produce(topic.Name, r.Partition, &txn.Record{Key: []byte(r.Key), Time: topic.tombstoneTime(r.Time, now), Headers: headers})
	}
	if e.Records.Raw != nil {
		if err := tombstone(s.cfg.Raw, e.Records.Raw); err != nil {
			return err
		}
	}
	for i := range e.Records.Changes {
		if err := tombstone(s.cfg.Changes, &e.Records.Changes[i]); err != nil {
			return err
		}
	}
	if s.log != nil {
		if err := s.log.Erase(e.ID, note); err != nil {
			return err
		}
	}
	s.key = offsets.AppendErasedKey(s.key[:0], s.cfg.Org, e.ID)
	return s.offset(s.key, note, now)
}

// note is the note of an erasure: the same bytes at each attempt.
func (s *Sink) note(e *poller.Erasure) ([]byte, error) {
	r := &e.Records
	n := evidence.Erasure{
		Org: s.cfg.Org, ID: strings.ToValidUTF8(e.ID, "\ufffd"), Changes: len(r.Changes), By: e.By, Time: evidence.Time{Time: e.At}, Reason: e.Reason,
		SHA256: hex.EncodeToString(r.Sum[:]), ChangesSHA256: hex.EncodeToString(r.ChangesSum[:]),
	}
	if r.Index >= 0 {
		index := uint64(r.Index)
		n.Entry = &index
	}
	return json.Marshal(n)
}

// tombstoneTime is the time of a tombstone in milliseconds: that of the record which it
// removes, by which consumers may file it, or now where the topic takes none so old.
func (t Topic) tombstoneTime(of int64, now time.Time) int64 {
	if t.Oldest > 0 && now.Sub(time.UnixMilli(of)) > t.Oldest-min(t.Oldest/2, time.Hour) {
		return now.UnixMilli()
	}
	return of
}
