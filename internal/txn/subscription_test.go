package txn

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
)

// Replicas of the version before this one, with their one partition, say and understand exactly these bytes.
func TestSubscriptionOfOnePartition(t *testing.T) {
	for _, c := range []struct {
		name     string
		standing standing
		encoded  string
		read     standing
	}{
		{"a newcomer", standing{name: "pod-1"}, "0001" + "00000001" + "0001" + "74" + "00000009" + "00000000" + "706f642d31" + "00000000",
			standing{name: "pod-1"}},
		{"an owner", standing{name: "pod-1", generation: 258, joined: 3, gained: 4, owned: []holding{{0, 7}}}, "0001" + "00000001" + "0001" + "74" + "00000009" + "00000102" + "706f642d31" + "00000000",
			standing{name: "pod-1", generation: 258, owned: []holding{{0, 258}}}},
		{"one that gave it back", standing{generation: 9, resting: []int32{0}}, "0001" + "00000001" + "0001" + "74" + "00000004" + "ffffffff" + "00000000",
			standing{resting: []int32{0}}},
	} {
		encoded, err := subscription("t", 1, c.standing)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(encoded); got != c.encoded {
			t.Errorf("%s: %s, not %s", c.name, got, c.encoded)
		}
		golden, _ := hex.DecodeString(c.encoded)
		if got := readSubscription(protocolOne, golden); !reflect.DeepEqual(got, c.read) {
			t.Errorf("%s: read as %+v", c.name, got)
		}
	}
}

// Whoever makes the assignment in a group of both versions, this one or the one before, it is the same.
func TestAssignAsTheVersionBefore(t *testing.T) {
	claim := func(metadata []byte) int32 {
		var s consumer.Subscription
		if err := protocol.Unmarshal(metadata, consumer.MaxVersionSupported, &s); err != nil {
			t.Fatal(err)
		}
		return int32(binary.BigEndian.Uint32(s.UserData))
	}
	before := func(ids []string, metadata map[string][]byte) string {
		return slices.MinFunc(ids, func(a, b string) int {
			return cmp.Or(cmp.Compare(claim(metadata[b]), claim(metadata[a])), cmp.Compare(a, b))
		})
	}
	for range 2000 {
		var ids []string
		var members []candidate
		metadata := map[string][]byte{}
		for i := range 1 + rand.IntN(4) {
			id := fmt.Sprint(rand.IntN(100), "-", i)
			s := standing{generation: 5 + rand.Int32N(3), joined: rand.Int32N(5)}
			switch rand.IntN(3) {
			case 0:
				s.owned = []holding{{0, 1 + rand.Int32N(5)}}
			case 1:
				s.resting = []int32{0}
			}
			encoded, err := subscription("t", 1, s)
			if err != nil {
				t.Fatal(err)
			}
			ids, metadata[id] = append(ids, id), encoded
			members = append(members, candidate{id, readSubscription(protocolOne, encoded)})
		}
		want := before(ids, metadata)
		for i, given := range assign(1, members) {
			if (len(given) == 1) != (members[i].id == want) {
				t.Fatalf("%s is given %v, not %s, of %+v", members[i].id, given, want, members)
			}
		}
	}
}

func TestSubscriptionOfManyPartitions(t *testing.T) {
	s := standing{name: "pod-1", generation: 300, joined: 2, gained: 299,
		owned: []holding{{0, 2}, {1, 2}, {2, 299}, {11, 299}}, stopping: []int32{3, 5}, resting: []int32{4, 1000}}
	const golden = "ac0202ab0205706f642d31" + // generation, joined, gained, name
		"0002ac02" + "000103" + "000100" + "000101" + "000100" + "050103" + "dc070101" // gap, length, 0 stopping, 1 resting, 2 + age
	if got := hex.EncodeToString(appendStanding(nil, s)); got != golden {
		t.Errorf("%s, not %s", got, golden)
	}
	encoded, err := subscription("t", 2, s)
	if err != nil {
		t.Fatal(err)
	}
	if got := readSubscription(protocolMany, encoded); !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, not %+v", got, s)
	}
	var foreign consumer.Subscription
	if err := protocol.Unmarshal(encoded, consumer.MaxVersionSupported, &foreign); err != nil || !slices.Equal(foreign.Topics, []string{"t"}) {
		t.Errorf("other tools read %+v, %v", foreign, err)
	}
}

// A hundred of ten thousand partitions, each gained at another time and without a neighbour, are told in a few hundred
// bytes; those of a fresh group in a few.
func TestSubscriptionIsSmall(t *testing.T) {
	s := standing{name: "connector-7d9c6b5f4-x2x7q", generation: 100_000}
	for i := range int32(100) {
		s.owned = append(s.owned, holding{partition: i * 100, since: 100_000 - rand.Int32N(10_000)})
	}
	if n := len(appendStanding(nil, s)); n > 500 {
		t.Errorf("%d bytes", n)
	}
	s.owned = s.owned[:0]
	for i := range int32(10_000) {
		s.owned = append(s.owned, holding{partition: i, since: 100_000})
	}
	if n := len(appendStanding(nil, s)); n > 50 {
		t.Errorf("%d bytes for neighbours", n)
	}
}

// What somebody else wrote as user data is no standing, and nothing breaks.
func FuzzReadStanding(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(appendStanding(nil, standing{name: "a", generation: 9, owned: []holding{{1, 2}, {2, 2}}, stopping: []int32{7}}))
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0xff, 0xff, 0x7f, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readClaim(b)
		s, err := readStanding(b)
		if err != nil {
			return
		}
		for _, h := range s.owned {
			if h.partition < 0 || h.partition >= maxPartitions || h.since > s.generation {
				t.Fatalf("%+v", h)
			}
		}
		assign(4, []candidate{{"a", s}, {"b", standing{generation: math.MaxInt32}}})
	})
}
