package txn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
)

// The names of the group protocols. Members of one group must have the same one, so replicas with one partition and
// with many do not mix.
const (
	protocolOne  = "active-standby" // since version 1: replicas of all versions get on
	protocolMany = "spread"
)

func protocolFor(partitions int32) string {
	if partitions == 1 {
		return protocolOne
	}
	return protocolMany
}

// subscription is what a member says of itself when it joins: its topic, and its standing as user data.
func subscription(topic string, partitions int32, s standing) ([]byte, error) {
	data := appendStanding(nil, s)
	if partitions == 1 {
		data = appendClaim(nil, s)
	}
	return protocol.Marshal(consumer.MaxVersionSupported, consumer.Subscription{
		Version: consumer.MaxVersionSupported, Topics: []string{topic}, UserData: data,
	})
}

// readSubscription returns the standing of a member, an empty one where it is not one of ours.
func readSubscription(name string, metadata []byte) standing {
	var sub consumer.Subscription
	if err := protocol.Unmarshal(metadata, consumer.MaxVersionSupported, &sub); err != nil {
		return standing{}
	}
	read := readStanding
	if name == protocolOne {
		read = readClaim
	}
	s, err := read(sub.UserData)
	if err != nil {
		return standing{}
	}
	return s
}

// Claims to the only partition: the last generation in which it was the member's, or one of these.
const (
	noClaim  int32 = 0
	resigned int32 = -1 // it had the partition and gave it back: anyone else is to be preferred
)

// appendClaim encodes a standing for protocolOne: the claim, then the name.
func appendClaim(b []byte, s standing) []byte {
	claim := noClaim
	switch {
	case len(s.owned) > 0:
		claim = s.generation
	case len(s.resting) > 0:
		claim = resigned
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(claim)), s.name...)
}

func readClaim(b []byte) (standing, error) {
	if len(b) < 4 {
		return standing{}, errMalformed
	}
	s := standing{name: string(b[4:])}
	switch claim := int32(binary.BigEndian.Uint32(b)); {
	case claim > 0:
		s.generation, s.owned = claim, []holding{{partition: 0, since: claim}}
	case claim == resigned:
		s.resting = []int32{0}
	}
	return s, nil
}

var errMalformed = errors.New("user data is malformed")

// What a run of partitions is to its member. An owned one is told by runOwned + its age in generations.
const (
	runStopping = iota
	runResting
	runOwned
)

// appendStanding encodes a standing for protocolMany, all numbers as varints: generation, joined, gained, the length of
// the name and the name; then, by partition, runs of neighbours alike: the distance from the end of the run before, the
// length, and what they are to the member.
func appendStanding(b []byte, s standing) []byte {
	for _, n := range []int32{s.generation, s.joined, s.gained, int32(len(s.name))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(b, s.name...)
	type run struct{ first, n, kind int32 }
	var all []run
	for _, h := range s.owned {
		all = append(all, run{h.partition, 1, runOwned + s.generation - h.since})
	}
	for _, p := range s.stopping {
		all = append(all, run{p, 1, runStopping})
	}
	for _, p := range s.resting {
		all = append(all, run{p, 1, runResting})
	}
	slices.SortFunc(all, func(a, b run) int { return int(a.first) - int(b.first) })
	end := int32(0)
	for len(all) > 0 {
		r := all[0]
		for all = all[1:]; len(all) > 0 && all[0].kind == r.kind && all[0].first == r.first+r.n; all = all[1:] {
			r.n++
		}
		for _, n := range []int32{r.first - end, r.n, r.kind} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		end = r.first + r.n
	}
	return b
}

// maxPartitions bounds what user data is taken for.
const maxPartitions = 1 << 20

func readStanding(b []byte) (standing, error) {
	var s standing
	next := func(most int32) int32 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(most) {
			b = nil
			return nobody
		}
		b = b[size:]
		return int32(n)
	}
	const large = math.MaxInt32 - maxPartitions
	s.generation, s.joined, s.gained = next(large), next(large), next(large)
	length := next(large)
	if length < 0 || int(length) > len(b) {
		return standing{}, errMalformed
	}
	s.name, b = string(b[:length]), b[length:]
	for end := int32(0); len(b) > 0; {
		gap, n, kind := next(maxPartitions), next(maxPartitions), next(large)
		if gap < 0 || n <= 0 || kind < 0 || end+gap+n > maxPartitions {
			return standing{}, fmt.Errorf("%w: run of partitions", errMalformed)
		}
		for p := end + gap; p < end+gap+n; p++ {
			switch kind {
			case runStopping:
				s.stopping = append(s.stopping, p)
			case runResting:
				s.resting = append(s.resting, p)
			default:
				s.owned = append(s.owned, holding{partition: p, since: s.generation - (kind - runOwned)})
			}
		}
		end += gap + n
	}
	return s, nil
}

// assignment encodes what a member is given.
func assignment(topic string, partitions []int32) ([]byte, error) {
	a := consumer.Assignment{Version: consumer.MaxVersionSupported}
	if len(partitions) > 0 {
		a.AssignedPartitions = []consumer.TopicPartition{{Topic: topic, Partitions: partitions}}
	}
	return protocol.Marshal(consumer.MaxVersionSupported, a)
}

// readAssignment returns the partitions that a member is given. One that waits has none.
func readAssignment(encoded []byte) ([]int32, error) {
	if len(encoded) == 0 {
		return nil, nil
	}
	var a consumer.Assignment
	if err := protocol.Unmarshal(encoded, consumer.MaxVersionSupported, &a); err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	var all []int32
	for _, t := range a.AssignedPartitions {
		all = append(all, t.Partitions...)
	}
	return all, nil
}
