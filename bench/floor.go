package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/codec"
	"genesys-audit-connector/internal/jsonscan"
	"genesys-audit-connector/internal/retry"
)

// The floor is what no connector on kafka-go comes under, to hold the connector
// against on a machine whose speed nobody knows: the same pages are fetched and
// scanned once, one raw and one Avro record an event are written by RawProduce
// with lz4. It has no transactions, no dedupe, no ids, no headers, no changes, no
// quota and no second attempt.

// floorVariable makes this program the floor, which reads the organisation at
// that address.
const floorVariable = "BENCH_FLOOR"

const floorPartitions = 3

// floorResult is what the floor prints when it is done.
type floorResult struct {
	Events       int
	Took         time.Duration
	User, System time.Duration
	RSS, Peak    float64
}

// runFloor starts the floor on topics of its own and waits for it.
func (s *stage) runFloor(ctx context.Context, o options) (r floorResult, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		return r, err
	}
	defer client.Close()
	raw, changes, _ := topics("floor")
	// CreateTopics tells of topics that exist in its answer, not by an error: the second run writes to the first one's.
	if _, err := kadm.NewClient(client).CreateTopics(ctx, floorPartitions, 1, nil, raw, changes); err != nil {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	c := exec.CommandContext(ctx, self, "-brokers", strings.Join(s.brokers, ","), "-events", strconv.Itoa(o.events))
	c.Env = append(os.Environ(), floorVariable+"="+s.world)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}

// serveFloor is the floor: it reads and writes all events, and prints what that took.
func serveFloor(world string, o options) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	raw, changes, _ := topics("floor")
	f := &floor{
		world: world, raw: raw, changes: changes, fingerprint: codec.Fingerprint(),
		client: &kafka.Client{Addr: kafka.TCP(strings.Split(o.brokers, ",")...), Transport: &kafka.Transport{}},
	}
	if err := f.login(ctx); err != nil {
		return err
	}
	began := time.Now()
	user, system := used()
	if err := f.readAll(ctx); err != nil {
		return err
	}
	if f.events < o.events {
		return fmt.Errorf("the floor found %d of %d events", f.events, o.events)
	}
	r := floorResult{Events: f.events, Took: time.Since(began)}
	endUser, endSystem := used()
	r.User, r.System = endUser-user, endSystem-system
	var err error
	if r.RSS, r.Peak, err = memory(os.Getpid()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// used is the CPU time of this process.
func used() (user, system time.Duration) {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // of oneself it cannot fail
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

type floor struct {
	world, token string
	raw, changes string
	client       *kafka.Client
	fingerprint  uint64
	doc          jsonscan.Doc
	body, batch  bytes.Buffer
	text         []byte
	events       int
	pages        int
}

func (f *floor) login(ctx context.Context) error {
	form := strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.world+"/oauth/token", form)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("sandbox", "sandbox-secret")
	if err := f.fetch(req); err != nil {
		return err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	err = json.Unmarshal(f.body.Bytes(), &answer)
	f.token = answer.Token
	return err
}

// fetch reads a whole answer into f.body.
func (f *floor) fetch(req *http.Request) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	f.body.Reset()
	if _, err := io.Copy(&f.body, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", req.URL.Path, resp.Status)
	}
	return nil
}

// readAll reads page after page of the last day and writes each.
func (f *floor) readAll(ctx context.Context) error {
	now := time.Now().UTC()
	query := url.Values{
		"filter": {"type=configuration"}, "pageSize": {"1000"},
		"dateFrom": {now.Add(-24 * time.Hour).Format(audit.TimeFormat)}, "dateTo": {now.Format(audit.TimeFormat)},
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.world+"/api/v2/auditlogs?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+f.token)
		if err := f.fetch(req); err != nil {
			return err
		}
		if err := f.doc.Parse(f.body.Bytes()); err != nil {
			return err
		}
		var entities, next jsonscan.Value
		for m := f.doc.Root().Members(); m.Next(); {
			switch string(m.Key().View(&f.text)) {
			case "entities":
				entities = m.Value()
			case "nextPage":
				next = m.Value()
			}
		}
		if err := f.write(ctx, entities); err != nil {
			return err
		}
		if next.Kind() != jsonscan.String || next.Text() == "" {
			return nil
		}
		query.Set("pageToken", next.Text())
	}
}

// write sends the page's raw records as one batch and its Avro records as another.
func (f *floor) write(ctx context.Context, entities jsonscan.Value) error {
	var raw, changes []kafka.Record
	now := time.Now()
	for e := entities.Elements(); e.Next(); {
		id, value := f.record(e.Value())
		raw = append(raw, kafka.Record{Time: now, Key: kafka.NewBytes(id), Value: kafka.NewBytes(e.Value().Raw())})
		changes = append(changes, kafka.Record{Time: now, Key: kafka.NewBytes(id), Value: kafka.NewBytes(value)})
	}
	f.pages++
	f.events += len(raw)
	return errors.Join(f.produce(ctx, f.raw, raw), f.produce(ctx, f.changes, changes))
}

func (f *floor) produce(ctx context.Context, topic string, records []kafka.Record) error {
	if len(records) == 0 {
		return nil
	}
	batch := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(kafka.Lz4), Records: kafka.NewRecordReader(records...)}
	f.batch.Reset()
	if _, err := batch.WriteTo(&f.batch); err != nil {
		return err
	}
	// A topic that was just created has its leaders a moment later.
	early := func(err error) bool {
		return errors.Is(err, kafka.NotLeaderForPartition) || errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, kafka.LeaderNotAvailable)
	}
	return retry.Do(ctx, retry.Backoff{First: 50 * time.Millisecond, Most: time.Second}, early, nil, func() error {
		answer, err := f.client.RawProduce(ctx, &kafka.RawProduceRequest{
			Topic: topic, Partition: f.pages % floorPartitions, RequiredAcks: kafka.RequireAll,
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(f.batch.Bytes())},
		})
		if err != nil {
			return err
		}
		return answer.Error
	})
}

// record returns an event's id and an Avro record of it, which says what the event
// says of itself, and of its changes nothing (changeType NONE).
func (f *floor) record(event jsonscan.Value) (id, value []byte) {
	var fields [8][]byte
	names := [...]string{"auditId", "timestamp", "userId", "userName", "action", "entityType", "entityId", "entityName"}
	for m := event.Members(); m.Next(); {
		for i, name := range names {
			if m.Key().Is(name) && m.Value().Kind() == jsonscan.String {
				fields[i] = m.Value().View(&f.text)
			}
		}
	}
	text := func(dst, s []byte) []byte { return append(binary.AppendVarint(dst, int64(len(s))), s...) }
	at, _ := audit.ParseTime(string(fields[1]))
	v := append(make([]byte, 0, 256), 0xC3, 0x01)
	v = binary.LittleEndian.AppendUint64(v, f.fingerprint)
	v = text(v, fields[0])
	v = binary.AppendVarint(binary.AppendVarint(v, 0), 1) // changeIndex, changeCount
	v = binary.AppendVarint(v, at.UnixMilli())
	for i, s := range fields[2:] {
		if nullable := i != 2 && i != 3; nullable { // action and entityType are not
			v = append(v, 2)
		}
		v = text(v, s)
	}
	// configurationKey null, NONE, no values, both ABSENT; the rest null or empty.
	v = append(v, 0, 8, 0, 0, 0, 0)
	return fields[0], append(v, make([]byte, 8)...)
}
