package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (c *client) control(method, path, body string, want int) []byte {
	c.t.Helper()
	r := c.do(method, "/sandbox/"+path, []byte(body), nil)
	if r.err != nil || r.status != want {
		c.t.Fatalf("%s %s: %d %s %v, want %d", method, path, r.status, r.body, r.err, want)
	}
	return r.body
}

func TestControlFromAnotherProcess(t *testing.T) {
	c := serveOrg(t, Options{Seed: 1, Odd: -1, OtherTypes: -1})
	var keys []string
	emitted := c.control("POST", "emit", `{"count":3,"grants":2,"bulk":4,"at":"2026-03-02T11:30:00Z",
		"backfill":5,"from":"2026-03-02T11:00:00Z","to":"2026-03-02T11:30:00Z",
		"odd":["id null"],"raw":{"auditId":"mine", "x":1.0}}`, 200)
	if err := json.Unmarshal(emitted, &keys); err != nil || len(keys) != 16 || keys[15] != "mine" {
		t.Fatalf("%v in %s", err, emitted)
	}
	c.control("POST", "emit", `{"odd":["purple"]}`, 400)
	c.control("POST", "emit", `{`, 400)
	if got := c.readAll(hourWith()); len(got) != 14 { // the grants happen at noon, which is not in the interval
		t.Errorf("%d events", len(got))
	}
	settle(t, c.org)
	truth := map[string]TruthLine{}
	lines := bufio.NewScanner(bytes.NewReader(c.control("GET", "truth?bodies=1", "", 200)))
	for lines.Scan() {
		var line TruthLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		truth[line.ID] = line
	}
	mine := truth["mine"]
	if len(truth) != 16 || !mine.Shown || !mine.Visible || len(mine.SHA256) != 1 ||
		mine.SHA256[0] != digest([]byte(`{"auditId":"mine", "x":1.0}`)) || digest(mine.Bodies[0]) != mine.SHA256[0] {
		t.Errorf("%d ids, mine is %+v", len(truth), mine)
	}

	c.control("POST", "faults", `[{"kind":"too-many","retryAfter":"7s"},{"kind":"slow","delay":"1ms"}]`, 200)
	c.control("POST", "faults", `{"kind":"status","status":504}`, 200)
	c.control("POST", "faults", `{"kind":"earthquake"}`, 400)
	c.control("POST", "faults", `{"kind":"slow","delay":"soon"}`, 400)
	path := "/api/v2/auditlogs?" + hourWith().Encode()
	if r := c.get(path); r.status != 429 || r.header.Get("Retry-After") != "7" {
		t.Errorf("%d %q", r.status, r.header.Get("Retry-After"))
	}
	c.control("DELETE", "faults", "", 200)
	var stats Stats
	if err := json.Unmarshal(c.control("GET", "stats", "", 200), &stats); err != nil ||
		stats.Requests[EndpointAuditlogs][200] == 0 || stats.Requests[EndpointAuditlogs][429] != 1 ||
		stats.Faults[TooMany] != 1 || len(stats.ArmedFaults) != 0 || stats.MaxConcurrent != 1 || stats.Entities != 14 {
		t.Errorf("%v: %+v", err, stats)
	}
	var requests []Request
	if err := json.Unmarshal(c.control("GET", "requests", "", 200), &requests); err != nil ||
		len(requests) < 3 || requests[len(requests)-1].Fault != TooMany {
		t.Errorf("%v: %+v", err, requests)
	}

	c.control("POST", "late", `{"probability":1,"min":"1h","max":"1h"}`, 200)
	c.control("POST", "late", `{"probability":1,"min":"1h","max":"1m"}`, 400)
	c.control("POST", "emit", `{"count":1}`, 200)
	if made, visible, _ := c.org.Counts(); made != 17 || visible != 16 {
		t.Errorf("%d made, %d visible", made, visible)
	}
	c.control("POST", "credentials", `{"clientId":"new","clientSecret":"new-secret"}`, 200)
	c.control("DELETE", "tokens", "", 200)
	if r := c.get(path); r.status != 429 && r.status != 401 {
		t.Errorf("with a dead token: %d", r.status)
	}
	if r := c.form("new", "new-secret", "grant_type", "client_credentials"); r.status != 200 {
		t.Errorf("with the new credentials: %d", r.status)
	}
}

// Serve tells where it is, runs live events, and ends with its context.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	said, ready := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, ServerOptions{History: 100, Rate: 200, Broker: &BrokerOptions{}, Ready: ready})
	}()
	var where struct {
		API, Downloads, ClientID, ClientSecret string
		Brokers                                []string
	}
	if err := json.NewDecoder(said).Decode(&where); err != nil {
		t.Fatal(err)
	}
	if len(where.Brokers) != 1 || where.ClientID != "sandbox" || where.Downloads == where.API {
		t.Errorf("%+v", where)
	}
	deadline := time.Now().Add(5 * time.Second)
	for lines := 0; lines <= 100; {
		response, err := http.Get(where.API + "/sandbox/truth")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		lines = bytes.Count(body, []byte("\n"))
		if time.Now().After(deadline) {
			t.Fatalf("%d events, no live ones", lines)
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Serve does not end")
	}
	taken, err := listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := Serve(ctx, ServerOptions{Addr: taken.Addr().String()}); err == nil {
		t.Error("a port that is taken was had")
	}
}

// The broker keeps what was written, also where it is not closed, and makes no
// topic that nobody asked for.
func TestBrokerKeepsRecords(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	connect := func(b *Broker) *kgo.Client {
		client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ConsumeTopics("kept"), kgo.UnknownTopicRetries(0))
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	b, err := StartBroker(BrokerOptions{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	client := connect(b)
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "nowhere", Value: []byte("x")}).FirstErr(); err == nil {
		t.Error("a topic made itself")
	}
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "kept", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	client.Close()
	defer b.Close() // not before the next one has started: so it is after kill -9

	b, err = StartBroker(BrokerOptions{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	client = connect(b)
	defer client.Close()
	records := client.PollFetches(ctx).Records()
	if len(records) != 1 || string(records[0].Value) != "x" {
		t.Errorf("after a restart: %d records", len(records))
	}
}
