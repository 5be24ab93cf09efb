package offsets

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// TestErasedIsKnownByItsNote, whatever the note says, until the note is taken away.
func TestErasedIsKnownByItsNote(t *testing.T) {
	s := NewState("acme")
	key := AppendErasedKey(nil, "acme", "a/b")
	for _, note := range []string{`{"by":"somebody"}`, "{", ""} {
		if err := s.Apply(key, []byte(note)); err != nil || !s.Erased.Has("a/b") || s.IDs.Has("a/b") {
			t.Errorf("note %q: %v", note, err)
		}
	}
	if err := s.Apply(AppendErasedKey(nil, "other", "c"), []byte("{}")); err != nil || s.Erased.Has("c") {
		t.Errorf("another organisation's: %v", err)
	}
	if id, ok := ErasedID("acme", key); id != "a/b" || !ok {
		t.Errorf("%q, %t", id, ok)
	}
	for _, other := range [][]byte{AppendSeenKey(nil, "acme", "a"), AppendErasedKey(nil, "other", "a"), []byte("acme/erased/"), []byte("acme/erased")} {
		if id, ok := ErasedID("acme", other); ok {
			t.Errorf("%s is of %q", other, id)
		}
	}
	if err := s.Apply(key, nil); err != nil || s.Erased.Has("a/b") || s.Erased.Len() != 0 {
		t.Errorf("taken away: %v", err)
	}
}

// TestAllYieldsEachIDOnce, however often pages were split.
func TestAllYieldsEachIDOnce(t *testing.T) {
	var ids IDs
	want := map[string]int{}
	for i := range 3000 {
		id := fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761, i)
		if i%3 == 0 {
			id = fmt.Sprint("event ", i)
		}
		ids.Add(id, time.Time{})
		want[id] = 1
	}
	got := map[string]int{}
	for id := range ids.All() {
		got[id]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d ids, want %d", len(got), len(want))
	}
	for range ids.All() {
		break // which ends it
	}
}

// TestRequestToErase keeps who and why, and is refused without.
func TestRequestToErase(t *testing.T) {
	r := Request{Kind: KindErase, IDs: []string{"a"}, By: "somebody", Reason: "asked for"}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	_, back, err := ParseRequest("acme", AppendRequestKey(nil, "acme", "r"), text)
	if err != nil || back.Kind != r.Kind || !slices.Equal(back.IDs, r.IDs) || back.By != r.By || back.Reason != r.Reason {
		t.Errorf("%s is %+v, %v", text, back, err)
	}
	for _, wrong := range []Request{
		{Kind: KindErase, By: "b", Reason: "r"}, {Kind: KindErase, IDs: r.IDs, Reason: "r"}, {Kind: KindErase, IDs: r.IDs, By: "b", Reason: " "},
		{Kind: "remove", IDs: r.IDs, By: "b", Reason: "r"},
	} {
		if text, err := json.Marshal(wrong); err == nil {
			t.Errorf("%s", text)
		}
	}
}
