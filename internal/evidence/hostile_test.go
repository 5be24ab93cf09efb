package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// forged is a record of the log that somebody wrote who knows the format.
func forged(first uint64, count int, leaves []byte, size uint64) LogItem {
	c := Checkpoint{Origin: Origin("acme"), Size: size, Time: day, Coverage: HashOf([]byte("{}"))}
	r := Record{Org: "acme", First: first, Count: count, Leaves: leaves, Size: size, Root: c.Root[:], Time: Time{day}, Coverage: []byte("{}"), Checkpoint: c.body()}
	value, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return LogItem{Key: r.AppendKey(nil), Value: value}
}

// TestRecordsWithImpossibleNumbersAreDamage, and end nothing.
func TestRecordsWithImpossibleNumbersAreDamage(t *testing.T) {
	for name, item := range map[string]LogItem{
		"a count whose bytes overflow":       forged(0, 1<<59, nil, 1<<59),
		"an index that an int64 cannot hold": forged(1<<63, 1, make([]byte, HashSize), 1<<63+1),
		"a size that an uint64 cannot hold":  forged(1<<64-1, 1, make([]byte, HashSize), 0),
		"no entries":                         forged(0, 0, nil, 0),
		"fewer entries than none":            forged(5, -1, nil, 4),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := ParseRecord(item.Key, item.Value); err == nil {
				t.Errorf("it is taken: %+v", r)
			}
			w := newWorld(t, Keys{}, "")
			w.log = append([]LogItem{item}, w.log...)
			if r := w.verify(t); r.Counts[Damaged] != 1 {
				t.Errorf("%v", r.Counts)
			}
		})
	}
}

// TestARecordOfTheLogIsTakenAsItWasWrittenOrNotAtAll: what no hash is over is held against
// what one is over.
func TestARecordOfTheLogIsTakenAsItWasWrittenOrNotAtAll(t *testing.T) {
	w := newWorld(t, Keys{}, "")
	item := w.log[3]
	for name, value := range map[string][]byte{
		"another time":     bytes.Replace(item.Value, []byte(`,"time":"2`), []byte(`,"time":"1`), 1),
		"something behind": append(bytes.Clone(item.Value), `{"org":"other"}`...),
	} {
		if bytes.Equal(value, item.Value) {
			t.Fatal(name, "nothing is changed")
		}
		if _, err := ParseRecord(item.Key, value); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// FuzzVerify: whatever stands in the topic, it ends without a panic.
func FuzzVerify(f *testing.F) {
	w := newWorld(f, Keys{}, "")
	for _, i := range []int{0, 7} {
		f.Add(string(w.log[i].Key), w.log[i].Value)
	}
	over := forged(0, 1<<59, nil, 1<<59)
	f.Add(string(over.Key), over.Value)
	f.Add("acme/stamp/"+strings.Repeat("0", 20), []byte(`{"org":"acme","token":"MAA="}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		in := Input{Org: "acme", Log: list([]LogItem{{Key: []byte(key), Value: value}, w.log[0], w.log[1]})}
		for p := range w.raw {
			in.Raw = append(in.Raw, Partition{fmt.Sprint("raw ", p), 0, list(w.raw[p])})
		}
		if _, err := Verify(t.Context(), in, nil); err != nil {
			t.Error(err)
		}
	})
}
