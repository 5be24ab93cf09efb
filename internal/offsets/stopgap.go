package offsets

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

type Ledger struct {
	Start           time.Time
	Covered, Wanted audit.IntervalSet
	Gaps            []Gap
	Sweeps          map[time.Duration]time.Time
	Forgotten       time.Time
}
type Gap struct {
	audit.Interval
	Reason string
	ID     string
	Size   int
}

func (l Ledger) Clone() Ledger {
	l.Gaps = slices.Clone(l.Gaps)
	l.Sweeps = maps.Clone(l.Sweeps)
	if l.Sweeps == nil {
		l.Sweeps = map[time.Duration]time.Time{}
	}
	return l
}
func (l Ledger) holes(s audit.IntervalSet) audit.IntervalSet {
	for _, g := range l.Gaps {
		if g.ID != "" {
			s = s.Remove(g.Interval)
		}
	}
	return s
}
func (l Ledger) Cover(iv audit.Interval) Ledger {
	l = l.Clone()
	l.Covered = l.holes(l.Covered.Add(iv))
	l.Wanted = l.Wanted.Remove(iv)
	var kept []Gap
	for _, g := range l.Gaps {
		if g.ID != "" {
			kept = append(kept, g)
			continue
		}
		for _, r := range audit.NewIntervalSet(g.Interval).Remove(iv) {
			g.Interval = r
			kept = append(kept, g)
		}
	}
	l.Gaps = kept
	return l
}
func (l Ledger) Want(iv audit.Interval) Ledger {
	l = l.Clone()
	l.Wanted = l.Wanted.Union(l.holes(audit.NewIntervalSet(iv).Subtract(l.Covered)))
	return l
}
func (l Ledger) AddGap(g Gap) Ledger {
	l = l.Clone()
	l.Gaps = slices.DeleteFunc(l.Gaps, func(o Gap) bool { return o.ID != "" && o.ID == g.ID })
	l.Gaps = append(l.Gaps, g)
	l.Covered = l.Covered.Remove(g.Interval)
	l.Wanted = l.Wanted.Remove(g.Interval)
	return l
}
func (l Ledger) Heal(id string) Ledger {
	l = l.Clone()
	for _, g := range l.Gaps {
		if g.ID == id {
			l.Gaps = slices.DeleteFunc(l.Gaps, func(o Gap) bool { return o.ID == id })
			return l.Cover(g.Interval)
		}
	}
	return l
}
func FormatAge(d time.Duration) string { return d.String() }

type ledgerJSON struct {
	Version          int
	Start, Forgotten time.Time
	Covered, Wanted  audit.IntervalSet
	Gaps             []Gap
	Sweeps           map[string]time.Time
}

func (l Ledger) MarshalJSON() ([]byte, error) {
	j := ledgerJSON{1, l.Start, l.Forgotten, l.Covered, l.Wanted, nil, map[string]time.Time{}}
	for k, v := range l.Sweeps {
		j.Sweeps[k.String()] = v
	}
	type gap struct {
		From, To   time.Time
		Reason, ID string
		Size       int
	}
	m := map[string]any{"v": j}
	var gs []gap
	for _, g := range l.Gaps {
		gs = append(gs, gap{g.From, g.To, g.Reason, g.ID, g.Size})
	}
	m["g"] = gs
	return json.Marshal(m)
}
func ParseLedger(b []byte) (Ledger, error) {
	var m struct {
		V ledgerJSON
		G []struct {
			From, To   time.Time
			Reason, ID string
			Size       int
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Ledger{}, err
	}
	l := Ledger{Start: m.V.Start, Forgotten: m.V.Forgotten, Covered: m.V.Covered, Wanted: m.V.Wanted, Sweeps: map[time.Duration]time.Time{}}
	for k, v := range m.V.Sweeps {
		d, _ := time.ParseDuration(k)
		l.Sweeps[d] = v
	}
	for _, g := range m.G {
		l.Gaps = append(l.Gaps, Gap{audit.Interval{From: g.From, To: g.To}, g.Reason, g.ID, g.Size})
	}
	return l, nil
}

type IDs struct{ m map[string]time.Time }

func (s *IDs) Add(id string, t time.Time) { s.m[id] = t }
func (s *IDs) Has(id string) bool         { _, ok := s.m[id]; return ok }
func (s *IDs) Remove(id string)           { delete(s.m, id) }
func (s *IDs) Len() int                   { return len(s.m) }
func (s *IDs) Before(t time.Time, n int, keep func(time.Time) bool, f func(string)) {
	for id, at := range s.m {
		if at.Before(t) && !keep(at) && n > 0 {
			f(id)
			n--
		}
	}
}

type Request struct {
	Kind     string
	From, To time.Time
	IDs      []string
}
type State struct {
	org      string
	IDs      *IDs
	Ledgers  map[string]Ledger
	Requests map[string]Request
	Token    []byte
}

func NewState(org string) *State {
	return &State{org, &IDs{map[string]time.Time{}}, map[string]Ledger{}, map[string]Request{}, nil}
}

type RecordError struct{ error }
type VersionError struct{ error }

func (s *State) Apply(key, value []byte) error {
	k, ok := strings.CutPrefix(string(key), s.org+"/")
	if !ok {
		return nil
	}
	if id, ok := strings.CutPrefix(k, "seen/"); ok {
		if value == nil {
			s.IDs.Remove(id)
			return nil
		}
		n, _ := strconv.ParseInt(string(value), 10, 64)
		s.IDs.Add(id, time.UnixMilli(n).UTC())
	} else if n, ok := strings.CutPrefix(k, "ledger/"); ok {
		l, err := ParseLedger(value)
		s.Ledgers[n] = l
		return err
	}
	return nil
}
func AppendSeenKey(dst []byte, org, id string) []byte { return fmt.Appendf(dst, "%s/seen/%s", org, id) }
func AppendLedgerKey(dst []byte, org, id string) []byte {
	return fmt.Appendf(dst, "%s/ledger/%s", org, id)
}
func AppendRequestKey(dst []byte, org, id string) []byte {
	return fmt.Appendf(dst, "%s/request/%s", org, id)
}
func AppendTokenKey(dst []byte, org string) []byte { return fmt.Appendf(dst, "%s/token", org) }
func AppendSeenValue(dst []byte, t time.Time) []byte {
	return strconv.AppendInt(dst, t.UnixMilli(), 10)
}
func ParseRequest(org string, key, value []byte) (string, *Request, error) {
	return "", nil, errors.ErrUnsupported
}
