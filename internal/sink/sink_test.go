package sink

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

const (
	rawTopic, changesTopic, offsetsTopic = "raw", "changes", "offsets"
	partitions                           = 3
	transactionTimeout                   = 5 * time.Second // for which a refusal that passes is retried inside of a step
)

// rig is a Sink on an embedded broker whose raw topic takes small records only.
type rig struct {
	*Sink
	fake    *kfake.Cluster
	brokers []string
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, rawTopic, changesTopic), kfake.SeedTopics(1, offsetsTopic),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	cluster := txn.Dial(txn.Config{Brokers: fake.ListenAddrs()})
	t.Cleanup(cluster.Close)
	producer, err := cluster.NewProducer(txn.ProducerConfig{TransactionalID: "sink", Compression: txn.LZ4, TransactionTimeout: transactionTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	if err := producer.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	encoder, err := codec.NewEncoder(codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Org = "acme"
	cfg.Raw, cfg.Changes, cfg.Offsets = Topic{Name: rawTopic, Partitions: partitions}, Topic{Name: changesTopic, Partitions: partitions}, offsetsTopic
	return &rig{New(cfg, producer, encoder), fake, fake.ListenAddrs()}
}

// publication is an event of this JSON, read in an interval that begins at its time.
func publication(t *testing.T, body string) poller.Publication {
	t.Helper()
	var doc jsonscan.Doc
	if err := doc.Parse([]byte(body)); err != nil {
		t.Fatal(err)
	}
	ev := audit.NewEvent(doc.Root())
	at := ev.Time
	if at.IsZero() {
		at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	return poller.Publication{Event: &ev, At: at, Remember: at}
}

// read is what a read-committed consumer of another make finds in a topic, n records.
func (r *rig) read(t *testing.T, topic string, n int) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records of %s: %v", len(records), n, topic, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

const queueEvent = `{"auditId":"1b4e28ba-2fa1-11d2-883f-0016d3cca427","timestamp":"2026-01-15T14:32:10.123Z","action":"Update",` +
	`"entityType":"queue","entityId":"q-1", "before":{"name":"a","n":1},"after":{"name":"b","n":2}}`

func headers(r *kgo.Record) string {
	var b strings.Builder
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s=%s ", h.Key, h.Value)
	}
	return strings.TrimSpace(b.String())
}

func TestStepIsWrittenWhole(t *testing.T) {
	r := newRig(t, Config{})
	pub := publication(t, queueEvent)
	ledger := offsets.Ledger{Start: pub.At}.Cover(audit.Interval{From: pub.At, To: pub.At.Add(time.Second)})
	step := &poller.Step{
		Events: []poller.Publication{pub}, Ledgers: map[string]offsets.Ledger{"s": ledger}, Forget: []string{"old"},
		Remember: []poller.Remembered{{ID: "again", At: pub.At}}, Done: []string{"work"}, Token: []byte("sealed"),
	}
	before := time.Now().Truncate(time.Millisecond)
	if err := r.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(queueEvent))
	want := "audit-id=1b4e28ba-2fa1-11d2-883f-0016d3cca427 org=acme entity-type=queue action=Update event-time=2026-01-15T14:32:10.123Z sha256=" + hex.EncodeToString(sum[:])
	raw := r.read(t, rawTopic, 1)[0]
	if string(raw.Value) != queueEvent || string(raw.Key) != pub.Event.ID || headers(raw) != want {
		t.Errorf("raw record %s: %s\n%s", raw.Key, raw.Value, headers(raw))
	}
	if raw.Timestamp.Before(before) || raw.Partition != txn.Partition([]byte("q-1"), partitions) {
		t.Errorf("raw record at %s in partition %d", raw.Timestamp, raw.Partition)
	}
	for i, change := range r.read(t, changesTopic, 2) {
		id, index, count, err := codec.Position(change.Value)
		if err != nil || id != pub.Event.ID || index != i || count != 2 || string(change.Key) != fmt.Sprintf("%s:%d", id, i) ||
			change.Partition != raw.Partition || headers(change) != want {
			t.Errorf("change %d: %s is %d of %d of %s: %v\n%s", i, change.Key, index, count, id, err, headers(change))
		}
	}
	state := offsets.NewState("acme")
	state.IDs.Add("old", pub.At)
	for _, rec := range r.read(t, offsetsTopic, 6) {
		if err := state.Apply(rec.Key, rec.Value); err != nil {
			t.Error(err)
		}
	}
	if !state.IDs.Has(pub.Event.ID) || !state.IDs.Has("again") || state.IDs.Has("old") || string(state.Token) != "sealed" ||
		len(state.Requests) != 0 || !state.Ledgers["s"].Covered.Contains(pub.At) {
		t.Errorf("the offsets topic says %+v", state)
	}
	if changes, problems, _ := r.Totals(); changes != 2 || problems != 0 || len(r.Recent()) != 2 {
		t.Errorf("%d changes, %d problems, %d recent", changes, problems, len(r.Recent()))
	}
}

// The newest event's own time is kept in the step's own transaction, and only where it is newer.
func TestNewestEventIsKept(t *testing.T) {
	r := newRig(t, Config{})
	facts := new(offsets.Facts)
	r.Facts(facts)
	event := func(id string, at time.Time, remember time.Time) poller.Publication {
		body := fmt.Sprintf(`{"id":%q,"eventDate":%q,"entityType":"QUEUE"}`, id, at.UTC().Format(audit.TimeFormat))
		pub := publication(t, body)
		if !pub.Event.Time.Equal(at) {
			t.Fatalf("the event is of %s", pub.Event.Time)
		}
		pub.Remember = remember
		return pub
	}
	old := time.Date(2026, 1, 15, 14, 32, 10, 0, time.UTC)
	never := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	ahead := time.Now().Add(time.Minute).Truncate(time.Millisecond) // the API's clock may be ahead
	written := 0
	for _, c := range []struct {
		events []poller.Publication
		want   time.Time
		writes int
	}{
		{nil, time.Time{}, 0},
		{[]poller.Publication{event("a", old, old), event("b", old.Add(-time.Hour), old.Add(-time.Hour))}, old, 1},
		{[]poller.Publication{event("c", old.Add(-time.Minute), old.Add(-time.Minute))}, old, 0},
		{[]poller.Publication{event("d", old.Add(time.Hour), never)}, old.Add(time.Hour), 1},
		{[]poller.Publication{event("e", ahead.Add(24*time.Hour), never)}, old.Add(time.Hour), 0}, // it claims anything
		{[]poller.Publication{event("f", ahead, ahead)}, ahead, 1},
	} {
		if err := r.Commit(t.Context(), &poller.Step{Events: c.events, Remember: []poller.Remembered{{ID: "x", At: old}}}); err != nil {
			t.Fatal(err)
		}
		written += 1 + len(c.events) + c.writes
		state := offsets.NewState("acme")
		for _, rec := range r.read(t, offsetsTopic, written) {
			if err := state.Apply(rec.Key, rec.Value); err != nil {
				t.Error(err)
			}
		}
		if got := state.Facts.Newest(); !got.Equal(c.want) || !facts.Newest().Equal(c.want) {
			t.Errorf("it is %s in the topic and %s in memory, not %s", got, facts.Newest(), c.want)
		}
	}
}

// An event that lacks everything has neither header nor entity.
func TestHeadersWithoutValueAreLeftOut(t *testing.T) {
	r := newRig(t, Config{})
	pub := publication(t, `{"x":1}`)
	if err := r.Commit(t.Context(), &poller.Step{Events: []poller.Publication{pub}}); err != nil {
		t.Fatal(err)
	}
	raw := r.read(t, rawTopic, 1)[0]
	var names []string
	for _, h := range raw.Headers {
		names = append(names, h.Key)
	}
	if got := strings.Join(names, " "); got != "audit-id org sha256 error" {
		t.Errorf("headers %s", got)
	}
	if raw.Partition != txn.Partition(raw.Key, partitions) {
		t.Errorf("an event without an entity is in partition %d", raw.Partition)
	}
}

func TestEventTime(t *testing.T) {
	r := newRig(t, Config{EventTime: true})
	past, future := publication(t, queueEvent), publication(t, `{"auditId":"f","timestamp":"2999-01-01T00:00:00Z"}`)
	if err := r.Commit(t.Context(), &poller.Step{Events: []poller.Publication{past, future}}); err != nil {
		t.Fatal(err)
	}
	for _, rec := range r.read(t, rawTopic, 2) {
		switch string(rec.Key) {
		case "f":
			if rec.Timestamp.After(time.Now()) {
				t.Errorf("a record is dated %s, later than now", rec.Timestamp)
			}
		default:
			if !rec.Timestamp.Equal(past.At) {
				t.Errorf("a record is dated %s, its event %s", rec.Timestamp, past.At)
			}
		}
	}
}

// tooLarge is an event that no topic takes.
func tooLarge(t *testing.T) poller.Publication {
	t.Helper()
	noise := make([]byte, 40_000)
	seed := sha256.Sum256(nil)
	for i := range noise {
		if i%32 == 0 {
			seed = sha256.Sum256(seed[:])
		}
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[seed[i%32]&63] // it cannot be compressed much
	}
	return publication(t, `{"auditId":"huge","note":"`+string(noise)+`"}`)
}

// What a topic does not take is named, nothing of its step is written, and the
// step goes through without it.
func TestTooLargeIsNamed(t *testing.T) {
	r := newRig(t, Config{})
	small, huge := publication(t, queueEvent), tooLarge(t)
	step := &poller.Step{Events: []poller.Publication{small, huge}}
	err := r.Commit(t.Context(), step)
	var refused *poller.RefusedError
	if !errors.As(err, &refused) || refused.ID != "huge" || refused.Topic != rawTopic || refused.Size < 20_000 {
		t.Fatalf("%v: %+v", err, refused)
	}
	step.Events = step.Events[:1]
	if err := r.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if got := r.read(t, rawTopic, 1); len(got) != 1 || string(got[0].Key) != small.Event.ID {
		t.Errorf("raw topic: %v", got)
	}
}

// expectOnce checks that the raw topic holds this event once, and nothing else.
func (r *rig) expectOnce(t *testing.T, id string) {
	t.Helper()
	got := r.read(t, rawTopic, 1)
	for _, rec := range got {
		if string(rec.Key) != id || len(got) != 1 {
			t.Errorf("the raw topic holds %d records, one of %s", len(got), rec.Key)
		}
	}
}

// A topic that takes nothing for as long as a transaction may last: Commit tries once, says
// that nothing was written, and the same step can be written later, in the same Sink.
func TestRefusedStepIsTriedOnceAndMayBeTriedAgain(t *testing.T) {
	r := newRig(t, Config{})
	step := &poller.Step{Events: []poller.Publication{publication(t, queueEvent)}}
	for _, code := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend} {
		fault := r.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: rawTopic, Err: code, Count: -1})
		began := time.Now()
		err := r.Commit(t.Context(), step)
		if !errors.Is(err, poller.ErrNotWritten) || !errors.Is(err, txn.ErrRetry) {
			t.Fatalf("%s: %v", code.Message, err)
		}
		if took := time.Since(began); took > transactionTimeout {
			t.Errorf("%s: one attempt took %v", code.Message, took)
		}
		fault.Remove()
	}
	if err := r.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	r.expectOnce(t, step.Events[0].Event.ID)
	if _, _, unknown := r.Totals(); unknown != 0 {
		t.Errorf("%d steps are said to have ended in doubt", unknown)
	}
}

// Whatever a topic or a broker refuses for a reason that lasts is no end of the term: nothing
// was written, the error says at once what to do, and the step goes through when that is done.
func TestLastingRefusalNamesItsCure(t *testing.T) {
	for _, test := range []struct {
		code      *kerr.Error
		topic     string
		eventTime bool
		words     []string
	}{
		{kerr.InvalidTimestamp, rawTopic, true, []string{"topic raw", "message.timestamp.before.max.ms", "KAFKA_RECORD_TIME=publish"}},
		{kerr.InvalidTimestamp, rawTopic, false, []string{"topic raw", "message.timestamp.after.max.ms", "clock of this host"}},
		{kerr.InvalidTimestamp, offsetsTopic, true, []string{"topic offsets", "clock of this host"}},
		{kerr.InvalidRecord, changesTopic, false, []string{"topic changes", "validated by the broker"}},
		{kerr.PolicyViolation, rawTopic, false, []string{"topic raw", "policy"}},
		{kerr.InvalidConfig, rawTopic, false, []string{"configuration of topic raw"}},
		{kerr.UnsupportedForMessageFormat, rawTopic, false, []string{"message.format.version of topic raw"}},
		{kerr.UnsupportedCompressionType, rawTopic, false, []string{"topic raw", "KAFKA_COMPRESSION"}},
		{kerr.TopicAuthorizationFailed, rawTopic, false, []string{"not authorized", "Write on topic raw"}},
		{kerr.ClusterAuthorizationFailed, rawTopic, false, []string{"not authorized"}},
		{kerr.InvalidTopicException, rawTopic, false, []string{"raw-"}},
		{kerr.MessageTooLarge, offsetsTopic, false, []string{"max.message.bytes of topic offsets"}},
	} {
		t.Run(fmt.Sprintf("%s of %s", test.code.Message, test.topic), func(t *testing.T) {
			r := newRig(t, Config{EventTime: test.eventTime})
			step := &poller.Step{Events: []poller.Publication{publication(t, queueEvent)}}
			fault := r.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: test.topic, Err: test.code, Count: -1})
			for range 2 {
				began := time.Now()
				err := r.Commit(t.Context(), step)
				if !errors.Is(err, poller.ErrNotWritten) || errors.Is(err, txn.ErrFatal) {
					t.Fatal(err)
				}
				for _, word := range test.words {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%v does not say %q", err, word)
					}
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it took %v", took)
				}
			}
			fault.Remove()
			if err := r.Commit(t.Context(), step); err != nil {
				t.Fatal(err)
			}
			r.expectOnce(t, step.Events[0].Event.ID)
		})
	}
}

// A step whose fate is unknown is never said not to have been written.
func TestDoubtIsNotCalledNotWritten(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.EndTxn} {
		r := newRig(t, Config{})
		r.fake.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.UnknownServerError})
		err := r.Commit(t.Context(), &poller.Step{Events: []poller.Publication{publication(t, queueEvent)}})
		if !errors.Is(err, txn.ErrFatal) || errors.Is(err, poller.ErrNotWritten) {
			t.Errorf("%s: %v", key.Name(), err)
		}
		if _, _, unknown := r.Totals(); unknown != 1 {
			t.Errorf("%s: %d steps in doubt", key.Name(), unknown)
		}
	}
}

// A step of as much as Capacity says comes to the budget, whatever the steps before held.
func TestCapacityFollowsWhatStepsCost(t *testing.T) {
	step := func(events, bytes int) *poller.Step {
		s := &poller.Step{}
		for range events {
			s.Events = append(s.Events, poller.Publication{Event: &audit.Event{Raw: make([]byte, bytes)}})
		}
		return s
	}
	var c cost
	if events, bytes := c.within(10_000); events != 9 || bytes != 10_000 {
		t.Errorf("with nothing known: %d events, %d bytes", events, bytes)
	}
	c.add(step(0, 0), 5000) // no event: it says nothing of events
	c.add(step(100, 1000), 25_000)
	if events, bytes := c.within(10_000); events != 40 || bytes != 40_000 {
		t.Errorf("%d events, %d bytes; a quarter of the JSON is sent", events, bytes)
	}
	c.add(step(100, 1000), 50_000)
	if events, _ := c.within(12_500); events != 30 { // 125,000 of 62,500 bytes for 150
		t.Errorf("%d events; the newest step counts most", events)
	}
	if events, bytes := c.within(1); events != 1 || bytes < 1 {
		t.Errorf("%d events, %d bytes; there is always one", events, bytes)
	}
	r := newRig(t, Config{})
	if events, bytes := r.Capacity(); events != 4000 || bytes != 2<<20 || r.Throttled() {
		t.Errorf("without a quota: %d events, %d bytes", events, bytes)
	}
}

func TestFencedEndsTheTerm(t *testing.T) {
	r := newRig(t, Config{})
	cluster := txn.Dial(txn.Config{Brokers: r.brokers})
	defer cluster.Close()
	newer, err := cluster.NewProducer(txn.ProducerConfig{TransactionalID: "sink"})
	if err != nil {
		t.Fatal(err)
	}
	defer newer.Close()
	if err := newer.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = r.Commit(t.Context(), &poller.Step{Events: []poller.Publication{publication(t, queueEvent)}})
	if !errors.Is(err, txn.ErrFenced) {
		t.Errorf("Commit of a fenced sink: %v", err)
	}
}

// The newest fifty change records are shown, and only committed ones.
func TestRecent(t *testing.T) {
	var r recent
	r.start()
	for i := range 120 {
		r.add([]byte{byte(i)})
	}
	if len(r.newest()) != 0 {
		t.Error("records are shown that were not committed")
	}
	r.keep()
	r.start()
	r.add([]byte{200})
	r.keep()
	got := r.newest()
	if len(got) != recentChanges || got[0][0] != 200 || got[1][0] != 119 || got[49][0] != 71 {
		t.Errorf("%v", got)
	}
}

// What was erased is not shown any more.
func TestRecentForgetsWhatWasErased(t *testing.T) {
	r := newRig(t, Config{})
	step := &poller.Step{}
	for _, id := range []string{"a", "b"} {
		step.Events = append(step.Events, publication(t, `{"auditId":"`+id+`","before":{"n":1,"m":1},"after":{"n":2,"m":2}}`))
	}
	if err := r.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(t.Context(), &poller.Step{Erase: []poller.Erasure{{ID: "b", By: "dpo", Reason: "x", Records: poller.Records{Index: -1}}}}); err != nil {
		t.Fatal(err)
	}
	newest := r.Recent()
	if len(newest) != 2 {
		t.Fatalf("%d changes are shown", len(newest))
	}
	for _, value := range newest {
		if id, _, _, err := codec.Position(value); err != nil || id != "a" {
			t.Errorf("event %q is shown: %v", id, err)
		}
	}
	if r.Forget(func(id string) bool { return id == "a" }); len(r.Recent()) > 0 {
		t.Error("what another replica erased is shown")
	}
}

// Of a step that has more than fifty changes, those of its last events are shown.
func TestRecentOfALargeStep(t *testing.T) {
	r := newRig(t, Config{})
	step := &poller.Step{}
	for i := range recentChanges + 20 {
		step.Events = append(step.Events, publication(t, fmt.Sprintf(`{"auditId":"%d","before":{"n":1,"m":1},"after":{"n":2,"m":2}}`, i)))
	}
	if err := r.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	newest := r.Recent()
	if len(newest) != recentChanges {
		t.Fatalf("%d changes are shown", len(newest))
	}
	for i, value := range newest {
		n := 2*len(step.Events) - 1 - i
		if id, index, _, err := codec.Position(value); err != nil || id != strconv.Itoa(n/2) || index != n%2 {
			t.Errorf("change %d is %d of event %s: %v", i, index, id, err)
		}
	}
}
