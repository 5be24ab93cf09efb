package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/verify"
)

// erase runs "connector erase" and returns what it prints.
func (s *scene) erase(o eraseOptions) (string, error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if o.by == "" {
		o.by = "dpo@example"
	}
	if o.reason == "" {
		o.reason = "request 4711"
	}
	if err := o.check(); err != nil {
		return "", usageError{err}
	}
	var out bytes.Buffer
	err := erase(ctx, s.command(), o, &out)
	return out.String(), err
}

// content is what is in Kafka, with the notes of what was erased.
func (s *scene) content() content {
	s.Helper()
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], s.env["KAFKA_TOPIC_EVIDENCE"])
	if err == nil {
		err = c.readNotes(s.brokers, s.env["KAFKA_TOPIC_OFFSETS"])
	}
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// decoded are the changes of an event.
func (c content) decoded(id string) (list []audit.Change) {
	decoder := decoderFor(c)
	for _, r := range c.changes[id] {
		change, err := decoder.Decode(r.Value)
		if err != nil {
			panic(err)
		}
		list = append(list, change)
	}
	return list
}

// compacted has the broker compact all topics, whose tombstones it removes too where
// retention is "0". Compaction leaves the newest batch alone: something follows.
func (s *scene) compacted(retention string) {
	s.Helper()
	admin := s.admin()
	for _, variable := range []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES"} {
		set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "delete.retention.ms", Value: &retention}}
		if _, err := admin.AlterTopicConfigs(s.Context(), set, s.env[variable]); err != nil {
			s.Fatal(err)
		}
	}
	s.world.Org.Emit(40)
	s.awaited(30*time.Second, "newer events are published", func() bool { return judge(s.content(), s.world.Org.Shown()).ok() })
	s.world.Broker.Compact()
}

// erasableScene is a connector at work on topics that can be erased from.
func erasableScene(t *testing.T) (s *scene, stop func() error) {
	t.Helper()
	s = settled(t, 100)
	s.env["KAFKA_ERASABLE"] = "true"
	s.world.Org.EmitGrants(10)
	_, stop = s.start()
	s.published(60 * time.Second)
	return s, stop
}

// TestEraseRemovesAnEventForGood and nothing else: raw record and changes are gone, the
// evidence log proves who did it, and nothing brings it back: neither the tail nor a sweep,
// nor verify --repair, nor a restart; also where the tombstones themselves are gone.
func TestEraseRemovesAnEventForGood(t *testing.T) {
	t.Parallel()
	s, stop := erasableScene(t)
	before := s.content()
	ids := slices.SortedFunc(maps.Keys(before.raw), func(a, b string) int {
		return strings.Compare(headerOf(before.raw[a][0], "event-time"), headerOf(before.raw[b][0], "event-time"))
	})
	gone := []string{ids[3], ids[len(ids)-1]} // the tail and the sweeps still meet the newest
	slices.Sort(gone)
	out, err := s.erase(eraseOptions{ids: append(gone, gone[0])})
	if err != nil || !strings.Contains(out, "erased 2 events") {
		t.Fatalf("%v: %s", err, out)
	}
	c := s.content()
	wantTombstones(t, before, c, gone)
	if v := judge(c, s.world.Org.Shown()); !v.ok() {
		t.Error(v)
	}
	s.wantErased(gone, 2)
	s.compacted("86400000")
	if c = s.content(); len(c.raw[gone[0]])+len(c.raw[gone[1]])+len(c.changes[gone[0]])+len(c.changes[gone[1]]) > 0 || len(c.tombs) == 0 {
		t.Fatalf("after compaction: %d tombstones: the case shows nothing", len(c.tombs))
	}
	s.compacted("0")
	s.compacted("0")
	if c = s.content(); len(c.tombs) > 0 {
		t.Fatalf("%d tombstones are left: the case shows nothing", len(c.tombs))
	}
	s.wantErased(gone, 0)
	if r, err := s.verify(verifyOptions{repair: true}); err != nil || !r.OK {
		t.Errorf("verify --repair: %v, %+v", err, r.Findings)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	_, stop = s.start()
	s.world.Org.Emit(5)
	s.awaited(30*time.Second, "all is right after a restart", func() bool { return judge(s.content(), s.world.Org.Shown()).ok() })
	if c = s.content(); len(c.raw[gone[0]])+len(c.raw[gone[1]]) > 0 {
		t.Error("an erased event was published again")
	}
	if out, err := s.erase(eraseOptions{ids: gone[:1]}); err != nil || !strings.Contains(out, `was erased before, by "dpo@example"`) || len(s.content().notes) != 2 {
		t.Errorf("again: %v: %s", err, out)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// wantTombstones holds the tombstones against the records that they are for.
func wantTombstones(t *testing.T, before, after content, ids []string) {
	t.Helper()
	want := map[string]*kgo.Record{}
	for _, id := range ids {
		for _, r := range slices.Concat(before.raw[id], before.changes[id]) {
			want[r.Topic+" "+string(r.Key)] = r
		}
	}
	if len(after.tombs) != len(want) {
		t.Errorf("%d tombstones for %d records", len(after.tombs), len(want))
	}
	for _, r := range after.tombs {
		of := want[r.Topic+" "+string(r.Key)]
		if of == nil || of.Partition != r.Partition || !of.Timestamp.Equal(r.Timestamp) || headerOf(r, "org") != "default" || headerOf(r, "audit-id") != headerOf(of, "audit-id") {
			t.Errorf("tombstone %s in partition %d of %s, at %s: %v", r.Key, r.Partition, r.Topic, r.Timestamp, r.Headers)
		}
	}
}

// wantErased holds what both verifications say of erased events.
func (s *scene) wantErased(ids []string, present int) {
	s.Helper()
	r := s.evidenceReport(evidenceOptions{})
	var erased []string
	for _, e := range r.Erased {
		if e.By != "dpo@example" || e.Reason != "request 4711" || time.Since(e.Time) > time.Minute || e.Entry == nil {
			s.Errorf("%+v", e)
		}
		if e.Present {
			present--
		}
		erased = append(erased, e.ID)
	}
	if slices.Sort(erased); !r.OK || !slices.Equal(erased, ids) || r.Removed != uint64(len(ids)) || r.Verified+r.Removed+r.Young != r.Size || present != 0 {
		s.Errorf("evidence verify: %+v", r)
	}
	v, err := s.verify(verifyOptions{})
	if err != nil || !v.OK || v.Erased != len(ids) {
		s.Errorf("verify: %v, %+v", err, v)
	}
}

// TestWhatAnErasureCannotHide: evidence verify names a null value that nobody accounts
// for, a note that was altered, and one that was taken away.
func TestWhatAnErasureCannotHide(t *testing.T) {
	t.Parallel()
	s, stop := erasableScene(t)
	ids := slices.Sorted(maps.Keys(s.content().raw))
	if _, err := s.erase(eraseOptions{ids: ids[:1]}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK {
		t.Fatalf("%+v", r)
	}
	key := []byte("default/erased/" + ids[0])
	note := s.content().notes[ids[0]]
	set := func(value []byte) {
		s.produce(&kgo.Record{Topic: s.env["KAFKA_TOPIC_OFFSETS"], Key: key, Value: value})
	}
	expect := func(what string, kind evidence.Kind, id string) {
		t.Helper()
		r := s.evidenceReport(evidenceOptions{})
		if !slices.ContainsFunc(r.Findings, func(f evidence.Finding) bool { return f.Kind == kind && f.ID == id }) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	set(bytes.Replace(note, []byte("request 4711"), []byte("request 4712"), 1))
	expect("an altered note", evidence.Altered, ids[0])
	set([]byte("{"))
	expect("a note that is not readable", evidence.Altered, ids[0])
	set(nil)
	expect("no note", evidence.Inserted, ids[0])
	set(note)
	if r := s.evidenceReport(evidenceOptions{}); !r.OK {
		t.Errorf("the note is back: %+v", r)
	}
	var other map[string]any
	if err := json.Unmarshal(note, &other); err != nil {
		t.Fatal(err)
	}
	other["auditId"], other["entry"] = ids[1], 5
	forged, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	s.produce(&kgo.Record{Topic: s.env["KAFKA_TOPIC_OFFSETS"], Key: []byte("default/erased/" + ids[1]), Value: forged})
	expect("a note that nobody logged", evidence.Altered, ids[1])
	s.produce(&kgo.Record{Topic: s.env["KAFKA_TOPIC_RAW"], Key: []byte(ids[2]), Headers: []kgo.RecordHeader{{Key: "org", Value: []byte("default")}}})
	expect("a null value of nobody", evidence.Inserted, ids[2])
}

// TestErasureIsOneTransaction: whichever of its requests is cut, before or after it is
// applied, each event is erased once, note, entry and tombstones together.
func TestErasureIsOneTransaction(t *testing.T) {
	t.Parallel()
	const addPartitions, endTxn = 24, 26
	s := newTrouble(t)
	s.env["KAFKA_ERASABLE"] = "true"
	s.world.Org.EmitGrants(20)
	_, stop := s.start()
	s.published(60 * time.Second)
	before := s.content()
	ids := slices.Sorted(maps.Keys(before.raw))
	var gone []string
	for _, request := range []int16{addPartitions, endTxn} {
		for _, when := range []kafkatest.When{kafkatest.Before, kafkatest.After} {
			gone = append(gone, ids[len(gone)])
			fired := s.proxy.CutOnce(request, when)
			if out, err := s.erase(eraseOptions{ids: gone[len(gone)-1:]}); err != nil {
				t.Fatalf("request %d cut %s: %v: %s", request, when, err, out)
			}
			select {
			case <-fired:
			default:
				t.Errorf("request %d was not cut %s: the case shows nothing", request, when)
			}
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	c := s.content()
	wantTombstones(t, before, c, gone)
	entries := int64(0)
	for _, r := range c.log {
		var e evidenceRecord
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		entries = max(entries, int64(e.Size))
	}
	if v := judge(c, s.world.Org.Shown()); !v.ok() || len(c.notes) != len(gone) || entries != int64(len(ids)+len(gone)) {
		t.Errorf("%d notes, %d entries: %s", len(c.notes), entries, v)
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK || len(r.Erased) != len(gone) {
		t.Errorf("%+v", r)
	}
}

// TestEraseOfAPerson finds what the person did, was subject of, or came to, and asks.
func TestEraseOfAPerson(t *testing.T) {
	t.Parallel()
	s, stop := erasableScene(t)
	c := s.content()
	users, members := map[string][]string{}, map[string][]string{}
	for id := range c.raw {
		for _, change := range c.decoded(id) {
			for _, who := range []*string{change.UserID, change.EntityID} {
				if who != nil && !slices.Contains(users[*who], id) {
					users[*who] = append(users[*who], id)
				}
			}
			if m := change.MemberID; m != nil && !slices.Contains(members[*m], id) {
				members[*m] = append(members[*m], id)
			}
		}
	}
	some := func(of map[string][]string) (who string) {
		for id, events := range of {
			if len(events) > len(of[who]) && len(events) < len(c.raw)/2 {
				who = id
			}
		}
		return who
	}
	user, member := some(users), some(members)
	if user == "" || member == "" {
		t.Fatal("there is nobody")
	}
	var usage usageError
	if _, err := s.erase(eraseOptions{user: user}); !errors.As(err, &usage) {
		t.Errorf("without a terminal: %v", err)
	}
	asked := ""
	out, err := s.erase(eraseOptions{member: member, confirm: func(q string) bool { asked = q; return false }})
	if !errors.Is(err, errNotConfirmed) || len(s.content().notes) > 0 {
		t.Errorf("refused: %v", err)
	}
	for _, id := range members[member] {
		if !strings.Contains(out, id) {
			t.Errorf("event %s is not listed, and it asks %q:\n%s", id, asked, out)
		}
	}
	if out, err = s.erase(eraseOptions{member: member, confirm: func(string) bool { return true }}); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, _ = s.erase(eraseOptions{member: user, confirm: func(string) bool { return false }}); !strings.Contains(out, "not among these: ") || !slices.ContainsFunc(users[user], func(id string) bool { return strings.Contains(out, id) }) {
		t.Errorf("events that have the id elsewhere are not told:\n%s", out)
	}
	if err := stop(); err != nil { // then this process takes part in the election
		t.Error(err)
	}
	if out, err = s.erase(eraseOptions{user: user, yes: true}); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	want := slices.Compact(slices.Sorted(slices.Values(slices.Concat(members[member], users[user]))))
	if got := slices.Sorted(maps.Keys(s.content().notes)); !slices.Equal(got, want) {
		t.Errorf("%d events are erased, want %d", len(got), len(want))
	}
	if out, err = s.erase(eraseOptions{user: user, yes: true}); err != nil || !strings.Contains(out, "nothing to erase") {
		t.Errorf("again: %v: %s", err, out)
	}
	if lines := s.lines(member, historyOptions{member: true}); len(lines) > 0 {
		t.Errorf("history shows %d of their changes", len(lines))
	}
}

// TestEraseRefusesWhatItCannotDo, and writes nothing then.
func TestEraseRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	s := settled(t, 20)
	s.start()
	s.published(30 * time.Second)
	id := slices.Sorted(maps.Keys(s.content().raw))[0]
	var usage usageError
	_, err := s.erase(eraseOptions{ids: []string{id}})
	if !errors.As(err, &usage) {
		t.Fatalf("not compacted: %v", err)
	}
	for _, variable := range []string{"KAFKA_TOPIC_RAW", "KAFKA_TOPIC_CHANGES"} {
		if want := "--alter --topic " + s.env[variable] + " --add-config cleanup.policy=compact,"; !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), variable) {
			t.Errorf("%q is not in %q", want, err)
		}
		policy := "compact"
		if _, err := s.admin().AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}, s.env[variable]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.erase(eraseOptions{ids: []string{id, "unknown"}}); err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), `"unknown"`) {
		t.Errorf("an unknown id: %v", err)
	}
	if c := s.content(); len(c.tombs)+len(c.notes) > 0 {
		t.Errorf("%d tombstones, %d notes", len(c.tombs), len(c.notes))
	}
	for name, o := range map[string]eraseOptions{
		"nothing": {}, "two": {ids: []string{"a"}, user: "b"}, "a blank id": {ids: []string{" "}}, "a blank reason": {ids: []string{"a"}, reason: " "},
		"a long reason": {ids: []string{"a"}, reason: strings.Repeat("x", maxReason+1)},
	} {
		if _, err := s.erase(o); !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.erase(eraseOptions{ids: []string{id}}); err != nil {
		t.Error(err)
	}
	if r, err := s.verify(verifyOptions{}); err != nil || len(r.IDs(verify.Missing)) > 0 {
		t.Errorf("%v: %+v", err, r)
	}
}
