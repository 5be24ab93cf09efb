package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/txn"
)

// lines runs "connector history --json".
func (s *scene) lines(id string, o historyOptions) (list []changeLine) {
	s.Helper()
	var out bytes.Buffer
	o.asJSON = true
	if err := printHistory(s.Context(), envconfig.MapLookuper(s.env), id, o, &out); err != nil {
		s.Fatal(err)
	}
	for d := json.NewDecoder(&out); d.More(); {
		var l changeLine
		if err := d.Decode(&l); err != nil {
			s.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

// TestHistoryHasEveryChangeOfAnObjectAndNoOther, oldest first; and so of a person.
func TestHistoryHasEveryChangeOfAnObjectAndNoOther(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.Odd, o.OtherTypes = 0.1, -1
	s := newScene(t, nil, o)
	s.world.Org.Backfill(800, time.Now().Add(-20*time.Hour), time.Now().Add(-time.Minute))
	s.world.Org.EmitGrants(60)
	_, stop := s.start()
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
	if err != nil {
		t.Fatal(err)
	}
	decoder := decoderFor(c)
	entities, members := map[string][]audit.Change{}, map[string][]audit.Change{}
	for _, records := range c.changes {
		for _, r := range records {
			change, err := decoder.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			if change.EntityID != nil {
				entities[*change.EntityID] = append(entities[*change.EntityID], change)
			}
			if change.MemberID != nil {
				members[*change.MemberID] = append(members[*change.MemberID], change)
			}
		}
	}
	looked := 0
	for _, of := range []struct {
		all map[string][]audit.Change
		o   historyOptions
	}{{entities, historyOptions{}}, {members, historyOptions{member: true}}} {
		for id, want := range of.all {
			if len(want) < 3 || strings.TrimSpace(id) == "" {
				continue
			}
			got := s.lines(id, of.o)
			if len(got) != len(want) || !slices.IsSortedFunc(got, func(a, b changeLine) int { return strings.Compare(a.Timestamp, b.Timestamp) }) {
				t.Errorf("%q: %d changes of %d, in this order: %+v", id, len(got), len(want), got)
			}
			if looked++; looked%12 == 0 {
				break
			}
		}
	}
	if looked < 15 {
		t.Errorf("only %d ids have changes", looked)
	}
	var text bytes.Buffer
	for id := range members {
		if err := printHistory(t.Context(), envconfig.MapLookuper(s.env), id, historyOptions{member: true, from: "1d"}, &text); err != nil {
			t.Fatal(err)
		}
		break
	}
	if !strings.Contains(text.String(), "ROLE") && !strings.Contains(text.String(), "member") {
		t.Errorf("in words:\n%s", text.String())
	}
	if got := s.lines("no such id", historyOptions{}); len(got) != 0 {
		t.Errorf("of an unknown id: %v", got)
	}
}

// BenchmarkHistory is the cost of a record of the changes topic that is of another object,
// as nearly all are.
func BenchmarkHistory(b *testing.B) {
	h := &history{id: "3fa85f64-5717-4562-b3fc-2c963f66afa6", needle: []byte("3fa85f64-5717-4562-b3fc-2c963f66afa6"), org: "default"}
	r := &txn.Record{Value: bytes.Repeat([]byte("0123456789abcdef-"), 25)}
	b.SetBytes(int64(len(r.Value)))
	for b.Loop() {
		if err := h.take(r); err != nil {
			b.Fatal(err)
		}
	}
}
