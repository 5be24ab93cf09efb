package offsets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"genesys-audit-connector/internal/audit"
)

// The versions of a ledger's JSON. The newest is written, all of them are read.
// Version 1 had neither begun nor kept, and of its gaps those without an id were expired.
const (
	ledgerVersion = 2
	ledgerBefore  = 1
)

// VersionError says that a ledger was written by another version of the
// program. It must stop the connector: starting that stream anew would publish
// again what is published already.
type VersionError struct {
	Key     string // of the record; "" where only its value was parsed
	Version string // as it is spelled
	MovedTo string // the topic that it was moved to; "" for a ledger of another version
}

func (e *VersionError) Error() string {
	where := ""
	if e.Key != "" {
		where = " at " + quote([]byte(e.Key))
	}
	if e.MovedTo != "" {
		return fmt.Sprintf("the ledger%s was moved to topic %s: what goes on with it is whoever uses that one as KAFKA_TOPIC_OFFSETS", where, e.MovedTo)
	}
	return fmt.Sprintf("the ledger%s has version %.40s and this program knows versions up to %d: run the version that wrote it, or a newer one",
		where, e.Version, ledgerVersion)
}

// ledgerJSON is a Ledger as the topic holds it. Times are UTC in milliseconds.
type ledgerJSON struct {
	Version   json.RawMessage    `json:"version"`
	Start     instant            `json:"start,omitzero"`
	Covered   setJSON            `json:"covered"`
	Wanted    setJSON            `json:"wanted"`
	Begun     setJSON            `json:"begun,omitempty"`
	Gaps      []gapJSON          `json:"gaps"`
	Sweeps    map[string]instant `json:"sweeps"` // by sweep age
	Forgotten instant            `json:"forgotten,omitzero"`
	Kept      instant            `json:"kept,omitzero"`
}

type gapJSON struct {
	From   instant `json:"from"`
	To     instant `json:"to"`
	Kind   GapKind `json:"kind,omitempty"`
	Reason string  `json:"reason"`
	ID     string  `json:"id,omitempty"`
	Size   int     `json:"size,omitempty"`
}

// instant is a time in the one spelling of a ledger.
type instant time.Time

func (t instant) IsZero() bool { return time.Time(t).IsZero() }

func (t instant) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, audit.TimeFormat), nil
}

// UnmarshalText also reads the year 1, which audit.ParseTime keeps for "no time".
func (t *instant) UnmarshalText(b []byte) error {
	parsed, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return err
	}
	if parsed = wholeMilli(parsed); parsed.Year() < 1 || parsed.Year() > 9999 {
		return errors.New("the year is not one of 1 to 9999")
	}
	*t = instant(parsed)
	return nil
}

// setJSON is an interval set: pairs of a time and a later one.
type setJSON [][]instant

func newSetJSON(s audit.IntervalSet) setJSON {
	list := make(setJSON, len(s))
	for i, iv := range s {
		list[i] = []instant{instant(iv.From), instant(iv.To)}
	}
	return list
}

func (s setJSON) set() (audit.IntervalSet, error) {
	var list []audit.Interval
	for _, pair := range s {
		if len(pair) != 2 || !time.Time(pair[1]).After(time.Time(pair[0])) {
			return nil, errors.New("an interval is not a time and a later one")
		}
		list = append(list, audit.Interval{From: time.Time(pair[0]), To: time.Time(pair[1])})
	}
	return joined(list), nil
}

// joined is the union of the intervals; one pass where they are sorted and do
// not touch, as a ledger is written.
func joined(list []audit.Interval) audit.IntervalSet {
	for i := 1; i < len(list); i++ {
		if !list[i].From.After(list[i-1].To) {
			return audit.NewIntervalSet(list...)
		}
	}
	return list
}

// MarshalJSON writes the newest version.
func (l Ledger) MarshalJSON() ([]byte, error) {
	j := ledgerJSON{
		Version: fmt.Append(nil, ledgerVersion), Start: instant(l.Start), Forgotten: instant(l.Forgotten), Kept: instant(l.Kept),
		Covered: newSetJSON(l.Covered), Wanted: newSetJSON(l.Wanted), Begun: newSetJSON(l.Begun),
		Gaps: make([]gapJSON, 0, len(l.Gaps)), Sweeps: make(map[string]instant, len(l.Sweeps)),
	}
	for _, g := range l.Gaps {
		j.Gaps = append(j.Gaps, gapJSON{instant(g.From), instant(g.To), g.Kind, g.Reason, g.ID, g.Size})
	}
	for age, mark := range l.Sweeps {
		j.Sweeps[FormatAge(age)] = instant(mark)
	}
	return json.Marshal(j)
}

// ParseLedger reads what MarshalJSON writes or wrote. It refuses everything else
// rather than guess: another version with a *VersionError, and also members that
// it does not know, because they would be lost when the ledger is written again.
func ParseLedger(b []byte) (Ledger, error) {
	var version struct {
		Version json.RawMessage `json:"version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Ledger{}, fmt.Errorf("parse ledger: %w", err)
	}
	v := string(version.Version) // as it is spelled: 1.0 is not 1
	if v == "" || v[0] < '0' || v[0] > '9' {
		return Ledger{}, errors.New("parse ledger: it has no version")
	}
	if v != fmt.Sprint(ledgerVersion) && v != fmt.Sprint(ledgerBefore) {
		_, moved, _ := ParseMoved(b)
		return Ledger{}, &VersionError{Version: v, MovedTo: moved}
	}
	var j ledgerJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return Ledger{}, fmt.Errorf("parse ledger: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Ledger{}, errors.New("parse ledger: something comes behind it")
	}
	l, err := j.ledger(v == fmt.Sprint(ledgerBefore))
	if err == nil {
		err = l.consistent()
	}
	if err != nil {
		return Ledger{}, fmt.Errorf("parse ledger: %w", err)
	}
	return l, nil
}

// ledger is the Ledger that j tells of.
func (j *ledgerJSON) ledger(before bool) (l Ledger, err error) {
	l = Ledger{Start: time.Time(j.Start), Forgotten: time.Time(j.Forgotten), Kept: time.Time(j.Kept), Sweeps: make(map[time.Duration]time.Time)}
	for _, s := range []struct {
		from setJSON
		to   *audit.IntervalSet
	}{{j.Covered, &l.Covered}, {j.Wanted, &l.Wanted}, {j.Begun, &l.Begun}} {
		if *s.to, err = s.from.set(); err != nil {
			return l, err
		}
	}
	for age, mark := range j.Sweeps {
		d, err := ParseAge(age)
		if err != nil {
			return l, err
		}
		l.Sweeps[d] = time.Time(mark)
	}
	for _, g := range j.Gaps {
		gap := Gap{audit.Interval{From: time.Time(g.From), To: time.Time(g.To)}, g.Kind, g.Reason, g.ID, g.Size}
		if before {
			gap.Kind = Expired
			if g.ID != "" {
				gap.Kind = Refused
			}
		}
		if err := gap.check(); err != nil {
			return l, err
		}
		l.Gaps = append(l.Gaps, gap)
	}
	l.Gaps = tidy(l.Gaps)
	if before {
		l.Begun = l.Wanted // nobody wrote down which of it was begun
	}
	return l, nil
}

func (g Gap) check() error {
	switch {
	case g.Empty():
		return errors.New("a gap is not from a time to a later one")
	case g.Kind != Expired && g.Kind != Refused && g.Kind != Unreadable:
		return fmt.Errorf("a gap of kind %.40q", g.Kind)
	case g.ID == "" && g.Size != 0, g.ID != "" && g.Kind != Refused:
		return errors.New("only a gap of one refused event has an id and a size")
	}
	return nil
}

// consistent reports where the ledger contradicts itself.
func (l Ledger) consistent() error {
	type claim struct {
		audit.Interval
		single bool // one event that a topic refused
	}
	claims := make([]claim, 0, len(l.Covered)+len(l.Wanted)+len(l.Gaps))
	for _, set := range []audit.IntervalSet{l.Covered, l.Wanted} {
		for _, iv := range set {
			claims = append(claims, claim{iv, false})
		}
	}
	for _, g := range l.Gaps {
		claims = append(claims, claim{g.Interval, g.ID != ""})
	}
	slices.SortFunc(claims, func(a, b claim) int { return a.From.Compare(b.From) })
	var end, endSingle time.Time
	for _, c := range claims {
		if c.From.Before(end) || (!c.single && c.From.Before(endSingle)) {
			return fmt.Errorf("more than one of covered, wanted and gaps holds %s", c.From.Format(audit.TimeFormat))
		}
		last := &end
		if c.single {
			last = &endSingle
		}
		if c.To.After(*last) {
			*last = c.To
		}
	}
	return nil
}
