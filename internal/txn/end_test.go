package txn

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/health"
)

// A leader that was just elected tells a high watermark that lags (KIP-207); the end was
// told by the leader before. Reading goes on to that end.
func TestLaggingHighWatermarkDoesNotEndReading(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	c := dialFake(t, fake)
	p := newProducer(t, c, ProducerConfig{})
	ready(t, p)
	write(t, p, "one")
	commit(t, p)
	r := c.NewReader(topicLog, 0, First)
	defer r.Close()
	n := 0
	count := func(*Record) error { n++; return nil }
	if err := r.ReadToEnd(within(t, 10*time.Second), count); err != nil {
		t.Fatal(err)
	}
	at := r.Offset()
	write(t, p, "two")
	commit(t, p)
	var lagged atomic.Int32
	rewriteAnswers(t, proxy, kmsg.Fetch, kmsg.NewPtrFetchResponse, func(res *kmsg.FetchResponse) bool {
		if lagged.Add(1) > 3 {
			return false
		}
		rp := &res.Topics[0].Partitions[0]
		rp.HighWatermark, rp.LastStableOffset, rp.RecordBatches = at, at, nil
		return true
	})
	if err := r.ReadToEnd(within(t, 10*time.Second), count); err != nil || n != 2 || lagged.Load() <= 3 {
		t.Errorf("%d of 2 committed records were read, after %d answers: %v", n, lagged.Load(), err)
	}
}

// A log that an unclean election has cut off never reaches the end that it had: that is an
// error, and soon.
func TestCutOffLogIsAnError(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	c := dialFake(t, fake)
	p := newProducer(t, c, ProducerConfig{})
	ready(t, p)
	write(t, p, "one")
	commit(t, p)
	var asked atomic.Int32
	rewriteAnswers(t, proxy, kmsg.ListOffsets, kmsg.NewPtrListOffsetsResponse, func(res *kmsg.ListOffsetsResponse) bool {
		if asked.Add(1) > 1 {
			return false
		}
		res.Topics[0].Partitions[0].Offset += 5 // what the leader before had
		return true
	})
	r := c.NewReader(topicLog, 0, 0)
	defer r.Close()
	n := 0
	began := time.Now()
	err := r.ReadToEnd(within(t, 20*time.Second), func(*Record) error { n++; return nil })
	if !errors.Is(err, ErrOutOfRange) || !strings.Contains(err.Error(), "cut off") || n != 1 {
		t.Errorf("%d records, then %v", n, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// testHangingTransactionIsNamed: somebody else's transaction is open and holds the reader
// back; who that is is reported after a while, and that it is over when it is.
func testHangingTransactionIsNamed(t *testing.T, brokers []string) {
	const hanging = "somebody-else"
	var mu sync.Mutex
	var reports []error
	c := Dial(Config{Brokers: brokers, ClientID: "txn-test", Report: func(s health.Subject, err error) {
		mu.Lock()
		defer mu.Unlock()
		if s.Kind != health.Kafka || s.Of != where(topicLog, 0) {
			t.Errorf("reported as %+v", s)
		}
		reports = append(reports, err)
	}})
	t.Cleanup(c.Close)
	other := newProducer(t, c, ProducerConfig{TransactionalID: hanging})
	ready(t, other)
	write(t, other, t.Name())
	ctx := within(t, 30*time.Second)
	for _, step := range []func() error{
		func() error { return other.sealAll(ctx) }, func() error { return other.addPartitions(ctx) }, func() error { return other.sendAll(ctx) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	r := c.NewReader(topicLog, 0, First)
	defer r.Close()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- r.ReadToEnd(within(t, 40*time.Second), func(*Record) error { return nil }) }()
	var named *HangingError
	for named == nil && time.Since(began) < 20*time.Second {
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		if len(reports) > 0 {
			errors.As(reports[0], &named)
		}
		mu.Unlock()
	}
	if named == nil || named.ProducerID != other.producerID || named.TransactionalID != hanging || named.Since.IsZero() ||
		!strings.Contains(named.Error(), hanging) || time.Since(began) < hangAfter {
		t.Fatalf("reported after %v: %+v", time.Since(began), named)
	}
	if err := other.Abort(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(reports) != 2 || reports[1] != nil {
		t.Errorf("reports: %v", reports)
	}
}

func TestHangingTransactionIsNamed(t *testing.T) {
	fake, _ := fakeKafka(t, 2)
	testHangingTransactionIsNamed(t, fake.ListenAddrs())
}

// Where broker and connector know no common version of a request, the error says of which,
// and which versions either knows.
func TestVersionsThatDoNotMeetAreNamed(t *testing.T) {
	for _, c := range []struct {
		request kmsg.Key
		served  [2]int16
		want    string
		try     func(*testing.T, *Cluster) error
	}{
		{kmsg.Fetch, [2]int16{12, 18}, "versions 12 to 18 of Fetch and version 11 is wanted", func(t *testing.T, c *Cluster) error {
			r := c.NewReader(topicLog, 0, 0)
			defer r.Close()
			return r.Poll(within(t, 5*time.Second), time.Second, nil)
		}},
		{kmsg.Produce, [2]int16{0, 2}, "versions 0 to 2 of Produce and versions 3 to 8 is wanted", func(t *testing.T, c *Cluster) error {
			p := newProducer(t, c, ProducerConfig{})
			ready(t, p)
			write(t, p, "one")
			return p.Commit(within(t, 5*time.Second))
		}},
		{kmsg.InitProducerID, [2]int16{9, 9}, "version 9 of InitProducerId and versions 0 to 4 is wanted", func(t *testing.T, c *Cluster) error {
			return newProducer(t, c, ProducerConfig{}).Init(within(t, 5*time.Second))
		}},
		{kmsg.Metadata, [2]int16{-1, -1}, "no version of Metadata and versions 0 to 8 is wanted", func(t *testing.T, c *Cluster) error {
			_, err := c.Partitions(within(t, 5*time.Second), topicLog)
			return err
		}},
	} {
		t.Run(c.request.Name(), func(t *testing.T) {
			fake, proxy := fakeKafka(t, 1)
			rewriteAnswers(t, proxy, kmsg.ApiVersions, kmsg.NewPtrApiVersionsResponse, func(res *kmsg.ApiVersionsResponse) bool {
				for i := range res.ApiKeys {
					if k := &res.ApiKeys[i]; k.ApiKey != int16(c.request) {
						continue
					} else if c.served[0] < 0 {
						res.ApiKeys = append(res.ApiKeys[:i], res.ApiKeys[i+1:]...)
						break
					} else {
						k.MinVersion, k.MaxVersion = c.served[0], c.served[1]
					}
				}
				return true
			})
			began := time.Now()
			err := c.try(t, dialFake(t, fake))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A cluster that names no controller makes topics all the same: any broker passes it on.
func TestTopicsAreCreatedWithoutAController(t *testing.T) {
	fake, proxy := fakeKafka(t, 1)
	rewriteAnswers(t, proxy, kmsg.Metadata, kmsg.NewPtrMetadataResponse, func(res *kmsg.MetadataResponse) bool {
		res.ControllerID = -1
		return true
	})
	topics, err := dialFake(t, fake).EnsureTopics(within(t, 10*time.Second), []TopicSpec{{Name: "made", Partitions: 2}}, true)
	if err != nil || !topics[0].Created || topics[0].Partitions != 2 {
		t.Errorf("%+v, %v", topics, err)
	}
}
