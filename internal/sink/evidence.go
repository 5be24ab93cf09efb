package sink

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

// Log gives the Sink the evidence log as the offsets topic has it, and its topic, at the
// beginning of a term and never while Commit runs. The Sink owns it from then on; nil is
// for none.
func (s *Sink) Log(log *evidence.Log, to Topic) {
	s.log, s.logTo = log, to
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoint = evidence.Checkpoint{}
	if log != nil {
		s.checkpoint = log.Newest()
	}
}

// Checkpoint is the newest one that is durable; zero where there is none.
func (s *Sink) Checkpoint() evidence.Checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkpoint
}

// logged takes note that the log's part of the step is durable.
func (s *Sink) logged() {
	if s.log == nil {
		return
	}
	s.log.Commit()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoint = s.log.Newest()
}

// evidence writes what the step adds to the evidence log, and the log's state.
func (s *Sink) evidence(step *poller.Step, now time.Time) error {
	if s.log == nil || len(step.Events) == 0 && len(step.Erase) == 0 {
		return nil
	}
	known := maps.Clone(step.Known)
	if known == nil {
		known = map[string]offsets.Ledger{}
	}
	maps.Copy(known, step.Ledgers)
	sealed, err := s.log.Seal(now, coverageOf(known))
	if err != nil {
		return err
	}
	if s.value, err = json.Marshal(sealed.Record); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	s.key = sealed.Record.AppendKey(s.key[:0])
	record := txn.Record{Key: s.key, Value: s.value, Time: now.UnixMilli()}
	if err := s.producer.Produce(s.logTo.Name, s.logTo.Partition(s.cfg.Org), &record); err != nil {
		return err
	}
	s.key = offsets.AppendLogKey(s.key[:0], s.cfg.Org)
	return s.offset(s.key, sealed.State, now)
}

// coverage is what is known of a stream's time, in the form of /api/status.
type coverage struct {
	Covered audit.IntervalSet `json:"covered"`
	Wanted  audit.IntervalSet `json:"wanted"`
	Gaps    []gap             `json:"gaps"`
}

type gap struct {
	From   evidence.Time `json:"from"`
	To     evidence.Time `json:"to"`
	Reason string        `json:"reason"`
}

func coverageOf(ledgers map[string]offsets.Ledger) map[string]coverage {
	all := make(map[string]coverage, len(ledgers))
	for stream, l := range ledgers {
		c := coverage{Covered: l.Covered, Wanted: l.Wanted, Gaps: make([]gap, len(l.Gaps))}
		for i, g := range l.Gaps {
			c.Gaps[i] = gap{evidence.Time{Time: g.From}, evidence.Time{Time: g.To}, g.Reason}
		}
		all[stream] = c
	}
	return all
}
