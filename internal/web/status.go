package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
)

// Status is the document at /api/status. Others rely on its names.
type Status struct {
	Org     string         `json:"org"`
	Role    Role           `json:"role"`
	API     string         `json:"api"`
	Version string         `json:"version"`
	Streams []StreamStatus `json:"streams"`
	Rate    RateStatus     `json:"rate"`
	Events  EventsStatus   `json:"events"`
	// NewestEvent is null where no event was ever published, or none is known of here.
	NewestEvent  *Instant            `json:"newestEvent"`
	LastVerified *VerificationStatus `json:"lastVerified"`
	Log          *LogStatus          `json:"log"`
	LastError    *string             `json:"lastError"`
}

// VerificationStatus is Status.LastVerified: null where "connector verify" never ended.
type VerificationStatus struct {
	At       Instant `json:"at"`
	From     Instant `json:"from"`
	To       Instant `json:"to"`
	Missing  int     `json:"missing"`
	Repaired int     `json:"repaired"`
}

// LogStatus is Status.Log: null where there is no evidence log, or nothing in it.
type LogStatus struct {
	Size   uint64 `json:"size"`
	Root   []byte `json:"root"` // base64, as in the checkpoint
	Signed bool   `json:"signed"`
}

// StreamStatus is one of Status.Streams.
type StreamStatus struct {
	Name       string            `json:"name"`
	Covered    audit.IntervalSet `json:"covered"`
	Wanted     audit.IntervalSet `json:"wanted"`
	Gaps       []GapStatus       `json:"gaps"`
	LagSeconds float64           `json:"lagSeconds"`
	LastPoll   *Instant          `json:"lastPoll"`
	Late       []LateStatus      `json:"late"`
	Backfill   *BackfillStatus   `json:"backfill,omitempty"` // while something is wanted
}

// BackfillStatus is when what is wanted is read. Resumes is null while that may
// happen, Done as long as nobody knows.
type BackfillStatus struct {
	Resumes *Instant `json:"resumes"`
	Done    *Instant `json:"done"`
}

// GapStatus is one of StreamStatus.Gaps.
type GapStatus struct {
	From   Instant `json:"from"`
	To     Instant `json:"to"`
	Reason string  `json:"reason"`
}

// LateStatus is how many events a re-read found that were at most as old as Age
// and older than the Age before it. The last one's Age is ">" and the oldest sweep's.
type LateStatus struct {
	Age    string `json:"age"`
	Events uint64 `json:"events"`
}

// RateStatus is Status.Rate.
type RateStatus struct {
	Limit            int     `json:"limit"`
	Window           string  `json:"window"`
	Used             int     `json:"used"`
	Remaining        int     `json:"remaining"`
	ThrottledSeconds float64 `json:"throttledSeconds"`
}

// EventsStatus is Status.Events.
type EventsStatus struct {
	Published  uint64 `json:"published"`
	Duplicates uint64 `json:"duplicates"`
	Changes    uint64 `json:"changes"`
	Errors     uint64 `json:"errors"`
}

// Instant is a time that JSON spells as the rest of the product does.
type Instant struct{ time.Time }

// MarshalJSON writes RFC 3339 in milliseconds, UTC.
func (t Instant) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format(audit.TimeFormat))
}

// Status is the snapshot as /api/status shows it.
func (s *Snapshot) Status() Status {
	doc := Status{
		Org: s.Org, Role: cmp.Or(s.Role, Starting), API: s.API, Version: s.Version,
		Streams: make([]StreamStatus, len(s.Streams)),
		Rate: RateStatus{
			Limit: s.Rate.Limit, Window: spell(s.Rate.Window), Used: s.Rate.Ours + s.Rate.Others,
			Remaining: s.Rate.Remaining, ThrottledSeconds: seconds(s.Rate.Throttled),
		},
		Events: EventsStatus{
			Published: s.Events.Published, Changes: s.Events.Changes, Errors: s.Events.Errors,
			Duplicates: s.duplicates(),
		},
	}
	for i := range s.Streams {
		doc.Streams[i] = s.Streams[i].status()
	}
	doc.NewestEvent, doc.LastVerified = instant(s.NewestEvent), s.LastVerified.status()
	if s.Log.Size > 0 {
		doc.Log = &LogStatus{s.Log.Size, s.Log.Root, s.Log.Signed}
	}
	if f, ok := s.lastFailure(); ok {
		doc.LastError = textOrNull(f.What + ": " + f.Err)
	}
	return doc
}

func (s *Stream) status() StreamStatus {
	doc := StreamStatus{
		Name: s.Name, Covered: s.Covered, Wanted: s.Wanted, Gaps: make([]GapStatus, len(s.Gaps)),
		LagSeconds: seconds(s.Lag), Late: []LateStatus{},
	}
	for i, g := range s.Gaps {
		doc.Gaps[i] = GapStatus{Instant{g.From}, Instant{g.To}, g.Reason}
	}
	doc.LastPoll = instant(s.LastPoll)
	if len(s.Wanted) > 0 {
		doc.Backfill = &BackfillStatus{instant(s.Backfill.Resumes), instant(s.Backfill.Done)}
	}
	for i := range s.Lateness.buckets() {
		doc.Late = append(doc.Late, LateStatus{s.Lateness.label(i), s.Lateness.at(i)})
	}
	return doc
}

func (v *Verification) status() *VerificationStatus {
	if v == nil {
		return nil
	}
	return &VerificationStatus{Instant{v.At}, Instant{v.From}, Instant{v.To}, v.Missing, v.Repaired}
}

// textOrNull is nil for "".
func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// instant is nil for zero.
func instant(t time.Time) *Instant {
	if t.IsZero() {
		return nil
	}
	return &Instant{t}
}

func (s *Snapshot) duplicates() uint64 {
	var n uint64
	for i := range s.Streams {
		n += s.Streams[i].Duplicates
	}
	return n
}

// lastFailure is the newest failure of those that last.
func (s *Snapshot) lastFailure() (Failure, bool) {
	var newest Failure
	for _, f := range s.Failures {
		if f.Ended.IsZero() && !f.Last.Before(newest.Last) {
			newest = f
		}
	}
	return newest, newest.What != "" || newest.Err != ""
}

// lasting are the failures that last, the longest standing first.
func (s *Snapshot) lasting() []Failure {
	list := slices.DeleteFunc(slices.Clone(s.Failures), func(f Failure) bool { return !f.Ended.IsZero() })
	slices.SortStableFunc(list, func(a, b Failure) int {
		if a.Warning != b.Warning { // what does not work comes before what works with a warning
			return map[bool]int{false: -1, true: 1}[a.Warning]
		}
		return a.Since.Compare(b.Since)
	})
	return list
}

// buckets is how many buckets a histogram has that says where they end.
func (h Histogram) buckets() int {
	if len(h.Bounds) == 0 {
		return 0
	}
	return len(h.Bounds) + 1
}

// label names bucket i by its upper bound.
func (h Histogram) label(i int) string {
	if i < len(h.Bounds) {
		return spell(fromSeconds(h.Bounds[i]))
	}
	return ">" + spell(fromSeconds(h.Bounds[len(h.Bounds)-1]))
}

func fromSeconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// seconds is d to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// spell writes a duration as the configuration does: "10s", "1h30m", "14d".
func spell(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	if d%(24*time.Hour) == 0 && d > 24*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
