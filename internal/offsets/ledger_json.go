package offsets

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/jsonscan"
)

// ledgerVersion is the one version of a ledger's JSON that is read and written.
const ledgerVersion = 1

// VersionError says that a ledger was written by another version of the
// program. It must stop the connector: starting that stream anew would publish
// again what is published already.
type VersionError struct {
	Key     string // of the record; "" where only its value was parsed
	Version string // as it is spelled
}

func (e *VersionError) Error() string {
	where := ""
	if e.Key != "" {
		where = " at " + quote([]byte(e.Key))
	}
	return fmt.Sprintf("the ledger%s has version %.40s and this program knows version %d only: run the version that wrote it, or a newer one",
		where, e.Version, ledgerVersion)
}

// MarshalJSON is AppendJSON.
func (l Ledger) MarshalJSON() ([]byte, error) { return l.AppendJSON(nil), nil }

// AppendJSON appends the ledger's one spelling. Times are UTC in milliseconds.
func (l Ledger) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"version":`...)
	dst = strconv.AppendInt(dst, ledgerVersion, 10)
	dst = appendInstant(dst, `,"start":`, l.Start)
	dst = appendSet(append(dst, `,"covered":`...), l.Covered)
	dst = appendSet(append(dst, `,"wanted":`...), l.Wanted)
	dst = append(dst, `,"gaps":[`...)
	for i, g := range l.Gaps {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTime(append(dst, `{"from":`...), g.From)
		dst = appendTime(append(dst, `,"to":`...), g.To)
		dst = appendString(append(dst, `,"reason":`...), g.Reason)
		if g.ID != "" {
			dst = appendString(append(dst, `,"id":`...), g.ID)
			dst = strconv.AppendInt(append(dst, `,"size":`...), int64(g.Size), 10)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"sweeps":{`...)
	for i, age := range slices.Sorted(maps.Keys(l.Sweeps)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, FormatAge(age))
		dst = appendTime(append(dst, ':'), l.Sweeps[age])
	}
	dst = appendInstant(append(dst, '}'), `,"forgotten":`, l.Forgotten)
	return append(dst, '}')
}

// appendInstant appends a member that is left out where t is the zero time.
func appendInstant(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendTime(append(dst, name...), t)
}

func appendTime(dst []byte, t time.Time) []byte {
	dst = t.UTC().AppendFormat(append(dst, '"'), audit.TimeFormat)
	return append(dst, '"')
}

func appendSet(dst []byte, s audit.IntervalSet) []byte {
	dst = append(dst, '[')
	for i, iv := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTime(append(dst, '['), iv.From)
		dst = appendTime(append(dst, ','), iv.To)
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

// appendString appends s as encoding/json does: what is no UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("offsets: encoding/json refuses a string: " + err.Error())
	}
	return append(dst, b...)
}

// ParseLedger reads what AppendJSON wrote. It refuses everything else rather
// than guess: another version with a *VersionError, and also members that it
// does not know, because they would be lost when the ledger is written again.
func ParseLedger(b []byte) (Ledger, error) {
	var doc jsonscan.Doc
	if err := doc.Parse(b); err != nil {
		return Ledger{}, fmt.Errorf("parse ledger: %w", err)
	}
	version := doc.Root().Get("version")
	if version.Kind() != jsonscan.Number {
		return Ledger{}, errors.New("parse ledger: it has no version")
	}
	if v := version.Text(); v != strconv.Itoa(ledgerVersion) { // as it is spelled: 1.0 is not 1
		return Ledger{}, &VersionError{Version: v}
	}
	l, err := parseLedger(doc.Root())
	if err != nil {
		return Ledger{}, fmt.Errorf("parse ledger: %w", err)
	}
	return l, nil
}

func parseLedger(root jsonscan.Value) (l Ledger, err error) {
	l.Sweeps = make(map[time.Duration]time.Time)
	var buf []byte
	for m := root.Members(); m.Next() && err == nil; {
		switch v := m.Value(); string(m.Key().View(&buf)) {
		case "version":
		case "start":
			l.Start, err = parseTime(v)
		case "covered":
			l.Covered, err = parseSet(v)
		case "wanted":
			l.Wanted, err = parseSet(v)
		case "gaps":
			l.Gaps, err = parseGaps(v)
		case "sweeps":
			err = parseSweeps(v, l.Sweeps)
		case "forgotten":
			l.Forgotten, err = parseTime(v)
		default:
			err = errors.New("it is not known here")
		}
		if err != nil {
			err = fmt.Errorf("member %.40q: %w", m.Key().Text(), err)
		}
	}
	if err == nil {
		err = l.consistent()
	}
	return l, err
}

// consistent reports where the ledger contradicts itself.
func (l Ledger) consistent() error {
	type claim struct {
		audit.Interval
		refused bool // a single event that a topic did not take
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
	var end, endRefused time.Time
	for _, c := range claims {
		if c.From.Before(end) || (!c.refused && c.From.Before(endRefused)) {
			return fmt.Errorf("more than one of covered, wanted and gaps holds %s", c.From.Format(audit.TimeFormat))
		}
		last := &end
		if c.refused {
			last = &endRefused
		}
		if c.To.After(*last) {
			*last = c.To
		}
	}
	return nil
}

// errKind says that a value has not the type that it should have.
var errKind = errors.New("it has another type than it should have")

// parseTime also reads the year 1, which audit.ParseTime keeps for "no time".
func parseTime(v jsonscan.Value) (time.Time, error) {
	if v.Kind() != jsonscan.String {
		return time.Time{}, errKind
	}
	var buf []byte
	t, err := time.Parse(time.RFC3339, view(v.View(&buf)))
	if err != nil {
		return time.Time{}, err
	}
	if t = t.UTC().Truncate(time.Millisecond); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, errors.New("the year is not one of 1 to 9999")
	}
	return t, nil
}

func parseSet(v jsonscan.Value) (audit.IntervalSet, error) {
	if v.Kind() != jsonscan.Array {
		return nil, errKind
	}
	var list []audit.Interval
	for e := v.Elements(); e.Next(); {
		iv, err := parseInterval(e.Value())
		if err != nil {
			return nil, err
		}
		list = append(list, iv)
	}
	return joined(list), nil
}

func parseInterval(v jsonscan.Value) (iv audit.Interval, err error) {
	if v.Kind() != jsonscan.Array {
		return iv, errKind
	}
	n := 0
	for e := v.Elements(); e.Next() && err == nil; n++ {
		switch n {
		case 0:
			iv.From, err = parseTime(e.Value())
		case 1:
			iv.To, err = parseTime(e.Value())
		}
	}
	if err == nil && (n != 2 || iv.Empty()) {
		err = errors.New("an interval is not a time and a later one")
	}
	return iv, err
}

// joined is the union of the intervals; one pass where they are sorted and do
// not touch, as AppendJSON writes them.
func joined(list []audit.Interval) audit.IntervalSet {
	for i := 1; i < len(list); i++ {
		if !list[i].From.After(list[i-1].To) {
			return audit.NewIntervalSet(list...)
		}
	}
	return list
}

func parseGaps(v jsonscan.Value) ([]Gap, error) {
	if v.Kind() != jsonscan.Array {
		return nil, errKind
	}
	var gaps []Gap
	for e := v.Elements(); e.Next(); {
		g, err := parseGap(e.Value())
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, g)
	}
	return tidy(gaps), nil
}

func parseGap(v jsonscan.Value) (g Gap, err error) {
	if v.Kind() != jsonscan.Object {
		return g, errKind
	}
	var buf []byte
	for m := v.Members(); m.Next() && err == nil; {
		switch v := m.Value(); string(m.Key().View(&buf)) {
		case "from":
			g.From, err = parseTime(v)
		case "to":
			g.To, err = parseTime(v)
		case "reason":
			g.Reason, err = parseString(v)
		case "id":
			g.ID, err = parseString(v)
		case "size":
			if g.Size, err = strconv.Atoi(v.Text()); err == nil && v.Kind() != jsonscan.Number {
				err = errKind
			}
		default:
			err = fmt.Errorf("a gap has no %.40q", m.Key().Text())
		}
	}
	if err == nil && (g.Empty() || (g.ID == "" && g.Size != 0)) {
		err = errors.New("a gap is not from a time to a later one, or has a size and no id")
	}
	return g, err
}

func parseString(v jsonscan.Value) (string, error) {
	if v.Kind() != jsonscan.String {
		return "", errKind
	}
	return v.Text(), nil
}

func parseSweeps(v jsonscan.Value, marks map[time.Duration]time.Time) error {
	if v.Kind() != jsonscan.Object {
		return errKind
	}
	for m := v.Members(); m.Next(); {
		age, err := ParseAge(m.Key().Text())
		if err != nil {
			return err
		}
		if marks[age], err = parseTime(m.Value()); err != nil {
			return err
		}
	}
	return nil
}
