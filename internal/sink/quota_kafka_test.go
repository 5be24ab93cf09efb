//go:build kafka

package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/health"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/offsets"
	"genesys-audit-connector/internal/poller"
	"genesys-audit-connector/internal/txn"
)

// TestProducerQuota: with a quota of a few kilobytes a second no commit fails for good, there
// is progress in every minute, what is small goes soon though much is waiting, and people are told.
func TestProducerQuota(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{})
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	var running sync.WaitGroup
	for _, rate := range []int{5_000, 20_000} {
		running.Go(func() {
			t.Run(fmt.Sprint("rate=", rate), func(t *testing.T) { testProducerQuota(t, kafka.Brokers(), admin, rate) })
		})
	}
	running.Wait()
}

func testProducerQuota(t *testing.T, brokers []string, admin *kadm.Client, rate int) {
	id := fmt.Sprint("quota-", rate)
	name := "client-id"
	results, err := admin.AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: name, Name: &id}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: float64(rate)}},
	}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	s := newQuotaScene(t, brokers, id)
	began := time.Now()
	s.bulk(4000) // as nobody knows of the quota yet
	t.Logf("the first step took %v; throttled %v, %.0f s told", time.Since(began).Round(time.Millisecond), s.Throttled(), s.producer.Stats().ThrottledSeconds)
	if !s.Throttled() || s.producer.Stats().ThrottledSeconds < 5 {
		t.Fatal("the quota does not throttle: nothing is shown")
	}

	const lasts, window = 45 * time.Second, 15 * time.Second
	before := s.producer.Stats().Bytes
	progress := make([]int, lasts/window)
	tails, slowest := 0, time.Duration(0)
	for began, due := time.Now(), time.Now(); time.Since(began) < lasts; {
		if time.Now().After(due) {
			at := time.Now()
			s.tail()
			slowest = max(slowest, time.Since(at))
			tails++
			due = at.Add(3 * time.Second)
			continue
		}
		events, _ := s.Capacity()
		if s.bulk(events) {
			progress[min(len(progress)-1, int(time.Since(began)/window))] += events
		}
	}
	sent := float64(s.producer.Stats().Bytes-before) / lasts.Seconds()
	t.Logf("%.0f bytes a second; bulk events per %v: %v; %d tail steps, the slowest took %v; waits refused %d times", sent, window, progress, tails, slowest, s.refused)
	for i, n := range progress {
		if n == 0 {
			t.Errorf("no progress of the bulk in part %d of %d", i+1, len(progress))
		}
	}
	if tails < 8 || slowest > 2*time.Second {
		t.Errorf("%d tail steps, the slowest took %v", tails, slowest)
	}
	if sent > 2*float64(rate) {
		t.Errorf("%.0f bytes a second are not what the quota allows", sent)
	}
	s.expectTold()
	s.expectAllOnce(brokers)
}

// quotaScene writes steps of events that cannot be compressed to less than a half.
type quotaScene struct {
	*testing.T
	*Sink
	topic   string
	random  *rand.Rand
	written map[string]bool
	refused int

	mu      sync.Mutex
	reports []error
}

func newQuotaScene(t *testing.T, brokers []string, id string) *quotaScene {
	s := &quotaScene{T: t, topic: id + "-raw", random: rand.New(rand.NewPCG(1, 2)), written: map[string]bool{}}
	cluster := txn.Dial(txn.Config{Brokers: brokers, ClientID: id, Report: func(subject health.Subject, err error) {
		if !subject.Warning || subject.Kind != health.Kafka || !strings.Contains(subject.Op, "quota") {
			t.Errorf("reported: %+v: %v", subject, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports = append(s.reports, err)
	}})
	t.Cleanup(cluster.Close)
	names := []txn.TopicSpec{{Name: s.topic, Partitions: partitions}, {Name: id + "-changes", Partitions: partitions}, {Name: id + "-offsets", Partitions: 1}}
	if _, err := cluster.EnsureTopics(t.Context(), names, true); err != nil {
		t.Fatal(err)
	}
	producer, err := cluster.NewProducer(txn.ProducerConfig{TransactionalID: id, Compression: txn.LZ4})
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
	s.Sink = New(Config{
		Org: "acme", Raw: Topic{Name: names[0].Name, Partitions: partitions}, Changes: Topic{Name: names[1].Name, Partitions: partitions}, Offsets: names[2].Name,
	}, producer, encoder)
	return s
}

// step makes a step of new events, each of some 500 bytes of JSON.
func (s *quotaScene) step(events int) *poller.Step {
	step := &poller.Step{Ledgers: map[string]offsets.Ledger{}}
	for range events {
		noise := make([]byte, 200)
		for i := range noise {
			noise[i] = byte('a' + s.random.IntN(26))
		}
		id := fmt.Sprintf("%016x-%016x", s.random.Uint64(), s.random.Uint64())
		step.Events = append(step.Events, publication(s.T, fmt.Sprintf(
			`{"auditId":%q,"timestamp":%q,"action":"Update","entityType":"queue","entityId":"q-%d","before":{"name":%q},"after":{"name":%q}}`,
			id, time.Now().UTC().Format(audit.TimeFormat), s.random.IntN(50), noise[:100], noise[100:])))
	}
	return step
}

// bulk writes a step that may have to wait, and reports whether it was written.
func (s *quotaScene) bulk(events int) bool { return s.commit(s.step(events)) }

// tail writes the step of one new event, which may not be kept waiting.
func (s *quotaScene) tail() {
	s.Helper()
	if !s.commit(s.step(1)) {
		s.Error("a small step is held up")
	}
}

func (s *quotaScene) commit(step *poller.Step) bool {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	err := s.Commit(ctx, step)
	switch {
	case errors.Is(err, txn.ErrThrottled) && errors.Is(err, poller.ErrNotWritten):
		s.refused++
		return false
	case err != nil:
		s.Fatal(err)
	}
	for _, e := range step.Events {
		s.written[e.Event.ID] = true
	}
	return true
}

func (s *quotaScene) expectTold() {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) == 0 || !errors.Is(s.reports[0], txn.ErrThrottled) {
		s.Errorf("reports: %v", s.reports)
	}
	s.Logf("reported %d times, such as: %v", len(s.reports), s.reports[len(s.reports)-1])
}

// expectAllOnce checks that every event that was said to be written is there once, and no other.
func (s *quotaScene) expectAllOnce(brokers []string) {
	s.Helper()
	r := &rig{brokers: brokers}
	times := map[string]int{}
	for _, rec := range r.read(s.T, s.topic, len(s.written)) {
		times[string(rec.Key)]++
	}
	if len(times) != len(s.written) {
		s.Errorf("%d events are there, %d were written", len(times), len(s.written))
	}
	for id, n := range times {
		if n != 1 || !s.written[id] {
			s.Errorf("%s is there %d times; written: %v", id, n, s.written[id])
		}
	}
}
