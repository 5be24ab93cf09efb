package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/sandbox"
)

// childVariable makes the test binary behave as the connector: tests that kill
// a process start themselves again with it.
const childVariable = "CONNECTOR_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(run(os.Args[1:]))
	}
	if os.Getenv(worldVariable) != "" {
		os.Exit(serveWorlds(os.Getenv(worldVariable)))
	}
	flag.Parse()
	// Tests that run at the same time mostly wait, for an organisation that is slow on purpose.
	if at := flag.Lookup("test.parallel"); at.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := at.Value.Set("3"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// content is what an independent read-committed consumer (franz-go) finds in Kafka.
type content struct {
	raw     map[string][]*kgo.Record
	changes map[string][]*kgo.Record // by audit id
	log     []*kgo.Record
	tombs   []*kgo.Record     // of both topics
	notes   map[string][]byte // of events that were erased, by audit id
	older   bool              // records without an index are of a version that kept no log
}

// readTopic reads what is committed up to now.
func readTopic(ctx context.Context, brokers []string, topic string) ([]*kgo.Record, error) {
	records, err := readLog(ctx, brokers, topic)
	return slices.DeleteFunc(records, func(r *kgo.Record) bool { return r.Attrs.IsControl() }), err
}

// readLog reads to the last stable offset of each partition, with the control
// records that end transactions, for a log may end in one.
func readLog(ctx context.Context, brokers []string, topic string) ([]*kgo.Record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			from[end.Partition], left[end.Partition] = kgo.NewOffset().AtStart(), end.Offset
		}
	})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read %s, left %v: %w", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			records = append(records, r)
		})
	}
	return records, nil
}

func readContent(brokers []string, raw, changes, log string) (content, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := content{raw: map[string][]*kgo.Record{}, changes: map[string][]*kgo.Record{}}
	records, err := readTopic(ctx, brokers, raw)
	if err != nil {
		return c, err
	}
	for _, r := range c.values(records) {
		c.raw[string(r.Key)] = append(c.raw[string(r.Key)], r)
	}
	if records, err = readTopic(ctx, brokers, changes); err != nil {
		return c, err
	}
	for _, r := range c.values(records) {
		id := string(r.Key)
		id = id[:strings.LastIndexByte(id, ':')]
		c.changes[id] = append(c.changes[id], r)
	}
	if log != "" {
		c.log, err = readTopic(ctx, brokers, log)
	}
	return c, err
}

// values are the records that have one; the others are kept as tombstones.
func (c *content) values(records []*kgo.Record) (list []*kgo.Record) {
	for _, r := range records {
		if r.Value == nil {
			c.tombs = append(c.tombs, r)
		} else {
			list = append(list, r)
		}
	}
	return list
}

// readNotes reads who erased what.
func (c *content) readNotes(brokers []string, topic string) error {
	records, err := readTopic(context.Background(), brokers, topic)
	c.notes = map[string][]byte{}
	for _, r := range records {
		if id, ok := strings.CutPrefix(string(r.Key), "default/erased/"); ok {
			c.notes[id] = r.Value
		}
	}
	return err
}

// verdict is what is wrong with the content, by kind, as ids.
type verdict struct{ missing, duplicate, altered, incomplete, invented, unproved []string }

func (v verdict) ok() bool {
	return len(v.missing)+len(v.duplicate)+len(v.altered)+len(v.incomplete)+len(v.invented)+len(v.unproved) == 0
}

func (v verdict) String() string {
	return fmt.Sprintf("%d missing %q, %d duplicate %q, %d altered %q, %d incomplete %q, %d invented %q, %d not proved %q",
		len(v.missing), first(v.missing), len(v.duplicate), first(v.duplicate), len(v.altered), first(v.altered),
		len(v.incomplete), first(v.incomplete), len(v.invented), first(v.invented), len(v.unproved), first(v.unproved))
}

func first(ids []string) []string { return ids[:min(3, len(ids))] }

// decoderFor reads the changes as they are framed: by a registry's id, or single-object encoded.
func decoderFor(c content) *codec.Decoder {
	var framing []byte
	for _, records := range c.changes {
		if v := records[0].Value; len(v) > 5 && v[0] == 0 {
			framing = v[:5]
		}
		break
	}
	decoder, err := codec.NewDecoder(framing)
	if err != nil {
		panic(err)
	}
	return decoder
}

// judge holds the content against what the API showed: each event once, its
// bytes equal to the first showing's or another's, its changes complete.
func judge(c content, shown map[string]sandbox.Truth) verdict {
	v := verdict{unproved: unproved(c)}
	decoder := decoderFor(c)
	for _, r := range c.tombs {
		id := headerOf(r, "audit-id")
		if c.notes[id] == nil {
			v.invented = append(v.invented, "a tombstone of "+id)
		}
	}
	for id, truth := range shown {
		records := c.raw[id]
		switch {
		case c.notes[id] != nil && len(records) == 0:
			continue
		case len(records) == 0:
			v.missing = append(v.missing, id)
			continue
		case len(records) > 1:
			v.duplicate = append(v.duplicate, id)
		}
		r := records[0]
		sum := sha256.Sum256(r.Value)
		if !slices.ContainsFunc(truth.Bodies, func(b []byte) bool { return string(b) == string(r.Value) }) ||
			headerOf(r, "sha256") != hex.EncodeToString(sum[:]) {
			v.altered = append(v.altered, id)
		}
		if !complete(decoder, id, c.changes[id]) {
			v.incomplete = append(v.incomplete, id)
		}
	}
	for id := range c.raw {
		if _, ok := shown[id]; !ok {
			v.invented = append(v.invented, id)
		}
	}
	return v
}

// complete tells whether the records are changeIndex 0 to changeCount-1, once each, in order.
func complete(decoder *codec.Decoder, id string, records []*kgo.Record) bool {
	for i, r := range records {
		change, err := decoder.Decode(r.Value)
		if err != nil || change.Index != i || change.Count != len(records) || change.AuditID != id ||
			string(r.Key) != id+":"+strconv.Itoa(i) {
			return false
		}
	}
	return len(records) > 0
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}
