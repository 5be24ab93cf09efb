package offsets

import (
	"encoding/json"
	"testing"
	"time"
)

func verifiedRecord(t *testing.T, org string, v Verification) record {
	t.Helper()
	value, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return record{AppendVerifiedKey(nil, org), value}
}

func newestRecord(org string, at time.Time) record {
	return record{AppendNewestKey(nil, org), AppendNewestValue(nil, at)}
}

func TestFacts(t *testing.T) {
	s := NewState(org)
	apply := func(r record) {
		t.Helper()
		if err := s.Apply(r.key, r.value); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Facts.Newest().IsZero() || s.Facts.Verified() != nil {
		t.Error("there are facts of nothing")
	}
	first := Verification{At: minute(100), From: minute(0), To: minute(60), Missing: 7}
	second := Verification{At: minute(200), From: minute(50), To: minute(60), Repaired: 7}
	apply(newestRecord(org, minute(5)))
	apply(newestRecord(org, minute(3))) // of an older self that was late
	apply(verifiedRecord(t, org, first))
	if got := s.Facts.Newest(); !got.Equal(minute(5)) {
		t.Errorf("newest %s", got)
	}
	if got := s.Facts.Verified(); *got != first {
		t.Errorf("verified %+v", got)
	}
	apply(verifiedRecord(t, org, second))
	apply(newestRecord("acme", minute(50)))
	apply(verifiedRecord(t, "acme", first))
	apply(seenRecord(org, "x", minute(70)))
	if got := s.Facts.Verified(); *got != second || !s.Facts.Newest().Equal(minute(5)) {
		t.Errorf("verified %+v, newest %s", got, s.Facts.Newest())
	}
	// A newer version may say more.
	apply(record{AppendVerifiedKey(nil, org), []byte(`{"at":"2026-03-01T12:00:00Z","from":"2026-03-01T10:00:00Z","to":"2026-03-01T11:00:00Z","missing":1,"repaired":2,"altered":3}`)})
	if got := s.Facts.Verified(); got.Missing != 1 || got.Repaired != 2 {
		t.Errorf("verified %+v", got)
	}
}

// TestNewestOfIDs is what tells the newest event of a topic that holds no facts.
func TestNewestOfIDs(t *testing.T) {
	var s IDs
	if got := s.Newest(minute(100)); !got.IsZero() {
		t.Errorf("of no ids it is %s", got)
	}
	for i := range 1000 {
		s.Add(string(rune('a'+i%26))+minute(i).String(), minute(i))
	}
	s.Add("forever", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	for limit, want := range map[time.Time]time.Time{
		minute(5000): minute(999), minute(500): minute(499), minute(500).Add(time.Millisecond): minute(500), minute(0): {},
	} {
		if got := s.Newest(limit); !got.Equal(want) {
			t.Errorf("before %s it is %s, not %s", limit, got, want)
		}
	}
}
