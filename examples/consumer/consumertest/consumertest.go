// Package consumertest is a changes topic for tests of its consumers: an
// embedded broker behind a proxy (or a real one), and records that are the
// connector's, in transactions that commit or abort.
//
// Records come from the connector's encoder, but reach the broker through
// franz-go, which shares no code with what reads them.
package consumertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/kafkatest"
	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/txn"
)

// Partitions is how many the topic has.
const Partitions = 3

// Org is the name of the organisation that the records are of.
const Org = "acme"

// Topic is a changes topic and a producer to it.
type Topic struct {
	Name    string
	Brokers []string
	Proxy   *kafkatest.Proxy // nil in front of a broker that was given

	t        testing.TB
	producer *kgo.Client
	admin    *kadm.Client
	encoder  *codec.Encoder
	made     uint64 // organisations
}

// New starts an embedded broker with a topic.
func New(t testing.TB) *Topic {
	t.Helper()
	proxy := kafkatest.NewProxy(t)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(proxy.Listen), kfake.GroupMinSessionTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	topic := On(t, fake.ListenAddrs(), fmt.Sprintf("t%d.changes", rand.Uint32()), nil)
	topic.Proxy = proxy
	return topic
}

// On makes the topic on a broker. framing is what stands in front of its values,
// nil for single-object encoding.
func On(t testing.TB, brokers []string, name string, framing []byte) *Topic {
	t.Helper()
	c := &Topic{t: t, Brokers: brokers, Name: name}
	var err error
	c.encoder, err = codec.NewEncoder(codec.Options{Framing: framing})
	c.must(err)
	c.producer, err = kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(c.Name), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	c.must(err)
	t.Cleanup(c.producer.Close)
	c.admin = kadm.NewClient(c.producer)
	_, err = c.admin.CreateTopic(c.within(), Partitions, 1, nil, c.Name)
	c.must(err)
	return c
}

// Events makes events of a simulated organisation, in dialect auditlogs, that
// happened during the last minute.
func (c *Topic) Events(n int) [][]byte {
	c.t.Helper()
	c.made++
	org := sandbox.New(sandbox.Options{Seed: c.made, OtherTypes: -1})
	from, to := time.Now().Add(-time.Minute), time.Now()
	org.Backfill(n, from, to)
	return c.read(org, from, to)
}

// Grants makes events by which somebody gets a role, now.
func (c *Topic) Grants(n int) [][]byte {
	c.t.Helper()
	c.made++
	org := sandbox.New(sandbox.Options{Seed: c.made, OtherTypes: -1})
	org.EmitGrants(n)
	return c.read(org, time.Now().Add(-time.Minute), time.Now().Add(time.Second))
}

// read asks the organisation for its events, as any client would.
func (c *Topic) read(org *sandbox.Org, from, to time.Time) [][]byte {
	c.t.Helper()
	ask := func(r *http.Request, answer any) {
		w := httptest.NewRecorder()
		org.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			c.t.Fatalf("%s: %d %s", r.URL, w.Code, w.Body)
		}
		c.must(json.Unmarshal(w.Body.Bytes(), answer))
	}
	login := httptest.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials"))
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	login.SetBasicAuth("sandbox", "sandbox-secret")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	ask(login, &token)
	query := url.Values{
		"filter": {"type=configuration"}, "pageSize": {"1000"},
		"dateFrom": {from.UTC().Format(audit.TimeFormat)}, "dateTo": {to.UTC().Format(audit.TimeFormat)},
	}
	var events [][]byte
	seen := map[string]bool{} // an id that is used twice is published once
	for {
		var page struct {
			Entities []json.RawMessage
			NextPage string
		}
		r := httptest.NewRequest("GET", "/api/v2/auditlogs?"+query.Encode(), nil)
		r.Header.Set("Authorization", "Bearer "+token.AccessToken)
		ask(r, &page)
		for _, body := range page.Entities {
			if id := c.event(body).ID; !seen[id] {
				seen[id] = true
				events = append(events, body)
			}
		}
		if page.NextPage == "" {
			return events
		}
		query.Set("pageToken", page.NextPage)
	}
}

// Commit writes the changes of events in one transaction, published now, and returns their ids.
func (c *Topic) Commit(events ...[]byte) []string { return c.CommitAt(time.Now(), events...) }

// CommitAt does the same, published at a time.
func (c *Topic) CommitAt(at time.Time, events ...[]byte) []string {
	c.t.Helper()
	return c.transact(at, kgo.TryCommit, events)
}

// Abort writes the changes of events and aborts, so that nobody must ever see them.
func (c *Topic) Abort(events ...[]byte) []string {
	c.t.Helper()
	return c.transact(time.Now(), kgo.TryAbort, events)
}

func (c *Topic) transact(at time.Time, end kgo.TransactionEndTry, events [][]byte) []string {
	c.t.Helper()
	c.must(c.producer.BeginTransaction())
	var ids []string
	for _, body := range events {
		records := c.Records(body, at)
		for _, r := range records {
			ids = append(ids, string(r.Key))
		}
		c.must(c.producer.ProduceSync(c.within(), records...).FirstErr())
	}
	c.must(c.producer.EndTransaction(c.within(), end))
	return ids
}

// Records are the change records of one event, as internal/sink writes them.
func (c *Topic) Records(body []byte, at time.Time) []*kgo.Record {
	c.t.Helper()
	event := c.event(body)
	meta := c.encoder.Normalise(&event, at)
	key := meta.EntityID
	if len(key) == 0 {
		key = []byte(event.ID)
	}
	records := make([]*kgo.Record, meta.Changes)
	for i := range records {
		records[i] = &kgo.Record{
			Topic: c.Name, Partition: txn.Partition(key, Partitions), Timestamp: at,
			Key: fmt.Appendf(nil, "%s:%d", event.ID, i), Value: slices.Clone(c.encoder.Record(i)),
			Headers: []kgo.RecordHeader{{Key: "audit-id", Value: []byte(event.ID)}, {Key: "org", Value: []byte(Org)}},
		}
	}
	return records
}

func (c *Topic) event(body []byte) audit.Event {
	c.t.Helper()
	var doc jsonscan.Doc
	c.must(doc.Parse(body))
	return audit.NewEvent(doc.Root())
}

// Foreign writes a record that is no change.
func (c *Topic) Foreign(partition int32) {
	c.t.Helper()
	c.must(c.producer.BeginTransaction())
	r := &kgo.Record{Topic: c.Name, Partition: partition, Key: []byte("foreign"), Value: []byte("no change")}
	c.must(c.producer.ProduceSync(c.within(), r).FirstErr())
	c.must(c.producer.EndTransaction(c.within(), kgo.TryCommit))
}

// Erase writes tombstones, as internal/sink does for records that are erased.
func (c *Topic) Erase(keys ...string) {
	c.t.Helper()
	c.must(c.producer.BeginTransaction())
	for i, key := range keys {
		r := &kgo.Record{
			Topic: c.Name, Partition: int32(i % Partitions), Key: []byte(key),
			Headers: []kgo.RecordHeader{{Key: "audit-id", Value: []byte(key[:strings.LastIndexByte(key, ':')])}, {Key: "org", Value: []byte(Org)}},
		}
		c.must(c.producer.ProduceSync(c.within(), r).FirstErr())
	}
	c.must(c.producer.EndTransaction(c.within(), kgo.TryCommit))
}

// DeleteAll deletes every record, as retention does.
func (c *Topic) DeleteAll() {
	c.t.Helper()
	ends, err := c.admin.ListEndOffsets(c.within(), c.Name)
	c.must(err)
	_, err = c.admin.DeleteRecords(c.within(), ends.Offsets())
	c.must(err)
}

// Lag is how many offsets a group has not committed yet, -1 while it has none
// for some partition that has records: of these partitions, or of all.
func (c *Topic) Lag(group string, partitions ...int32) int64 {
	c.t.Helper()
	ctx := c.within()
	ends, err := c.admin.ListCommittedOffsets(ctx, c.Name)
	c.must(err)
	committed, err := c.admin.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1
	}
	c.must(err)
	var lag int64
	ends.Each(func(end kadm.ListedOffset) {
		at, ok := committed.Lookup(c.Name, end.Partition)
		switch {
		case lag < 0 || end.Offset == 0 || len(partitions) > 0 && !slices.Contains(partitions, end.Partition):
		case !ok:
			lag = -1
		default:
			lag += end.Offset - at.At
		}
	})
	return lag
}

// Await waits until a condition holds; what says what that is.
func Await(t testing.TB, what string, within time.Duration, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

func (c *Topic) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *Topic) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}
