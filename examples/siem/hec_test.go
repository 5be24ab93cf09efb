package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/examples/consumer"
	"genesys-audit-connector/examples/consumer/consumertest"
)

// collector is an HTTP Event Collector that does something wrong with the first requests it gets.
type collector struct {
	received
	faults []collectorFault
	acks   int64
	polled int
}

// collectorFault answers a request, or does not; take is what a collector does that works.
type collectorFault func(w http.ResponseWriter, r *http.Request, take func())

func answer(status int, text string) collectorFault {
	return func(w http.ResponseWriter, _ *http.Request, _ func()) { w.WriteHeader(status); fmt.Fprint(w, text) }
}

var (
	busy  = answer(503, `{"text":"Server is busy","code":9}`)
	token = answer(403, `{"text":"Invalid token","code":4}`)
	index = answer(400, `{"text":"Incorrect index","code":7,"invalid-event-number":1}`)
	html  = answer(502, `<html>Bad Gateway</html>`)
	empty = answer(200, ``)
	other = answer(200, `{"status":"ok"}`) // not a collector's
)

func hangUp(w http.ResponseWriter, _ *http.Request, _ func()) {
	conn, _, _ := w.(http.Hijacker).Hijack()
	_ = conn.Close()
}

// takeAndHangUp applies the request; the sender cannot know.
func takeAndHangUp(w http.ResponseWriter, r *http.Request, take func()) {
	take()
	hangUp(w, r, take)
}

// hang waits until the sender has given up.
func hang(_ http.ResponseWriter, r *http.Request, _ func()) { <-r.Context().Done() }

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Splunk secret" || r.Method != "POST" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/services/collector/ack" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.polled++
		fmt.Fprintf(w, `{"acks":{"%d":%t}}`, c.acks, c.polled > 1)
		return
	}
	take := func() {
		var ids []string
		for d := json.NewDecoder(bytes.NewReader(body)); ; {
			var e struct {
				Time   float64
				Event  struct{ Metadata struct{ UID string } }
				Fields struct {
					ID string `json:"event_id"`
				}
			}
			if err := d.Decode(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil || e.Fields.ID != e.Event.Metadata.UID || e.Time == 0 {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"text":"Invalid data format","code":6}`)
				return
			}
			ids = append(ids, e.Fields.ID)
		}
		c.add(ids...)
	}
	c.mu.Lock()
	var fault collectorFault
	if len(c.faults) > 0 {
		fault, c.faults = c.faults[0], c.faults[1:]
	}
	c.mu.Unlock()
	if fault != nil {
		fault(w, r, take)
		return
	}
	take()
	fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, c.acks)
}

func (c *collector) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.faults)
}

func hecEnv(url string) map[string]string {
	return map[string]string{"SPLUNK_HEC_URL": url, "SPLUNK_HEC_TOKEN": "secret", "SPLUNK_HEC_TIMEOUT": "1s"}
}

// TestCollectorFails has every fault, then the collector down while the program is restarted.
func TestCollectorFails(t *testing.T) {
	topic := consumertest.New(t)
	c := &collector{faults: []collectorFault{busy, hangUp, takeAndHangUp, html, token, empty, other, hang, index}}
	server := httptest.NewServer(c)
	defer server.Close()
	topic.Abort(topic.Events(10)...)
	ids := topic.Commit(topic.Events(100)...)
	stop := startSIEM(t, topic, hecEnv(server.URL))
	consumertest.Await(t, "everything arrives", patience, func() bool { return c.left() == 0 && c.has(ids) })
	c.mu.Lock()
	for range 100 {
		c.faults = append(c.faults, busy)
	}
	c.mu.Unlock()
	ids = append(ids, topic.Commit(topic.Events(30)...)...)
	consumertest.Await(t, "an attempt", patience, func() bool { return c.left() < 100 })
	stop()
	if topic.Lag("genesys-siem-hec") == 0 {
		t.Error("what was not delivered is committed")
	}
	c.mu.Lock()
	c.faults = nil
	c.mu.Unlock()
	startSIEM(t, topic, hecEnv(server.URL))
	consumertest.Await(t, "everything arrives", patience, func() bool { return c.has(ids) && topic.Lag("genesys-siem-hec") == 0 })
	if repeats := c.judge(t, ids); repeats == 0 {
		t.Error("the request that was taken and not answered was not repeated")
	}
}

// TestIndexed waits for the indexers, where it is told to.
func TestIndexed(t *testing.T) {
	topic := consumertest.New(t)
	c := &collector{acks: 41}
	server := httptest.NewServer(c)
	defer server.Close()
	ids := topic.Commit(topic.Events(10)...)
	env := hecEnv(server.URL)
	env["SPLUNK_HEC_ACK"] = "true"
	startSIEM(t, topic, env)
	consumertest.Await(t, "everything arrives", patience, func() bool { return topic.Lag("genesys-siem-hec") == 0 })
	c.judge(t, ids)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.polled < 2 {
		t.Error("committed before the indexers had acknowledged")
	}
}

// TestOneRefused finds the one event of a batch that the collector does not take.
func TestOneRefused(t *testing.T) {
	for _, refusal := range []collectorFault{answer(400, `{"text":"Invalid data format","code":6}`), answer(413, "too large")} {
		messages := make([]consumer.Message, 20)
		for i := range messages {
			messages[i] = sample(func(m *consumer.Message) { m.ID = strconv.Itoa(i) })
		}
		var got []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte(`"event_id":"13"`)) {
				refusal(w, r, nil)
				return
			}
			for line := range bytes.Lines(body) {
				var e struct{ Fields map[string]string }
				if err := json.Unmarshal(line, &e); err != nil {
					t.Error(err)
				}
				got = append(got, e.Fields["event_id"])
			}
			fmt.Fprint(w, `{"text":"Success","code":0}`)
		}))
		h, err := newHEC(hecConfig{URL: server.URL, Token: "secret", Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		rest := messages
		for len(rest) > 0 {
			n, err := h.deliver(t.Context(), rest)
			if errors.Is(err, consumer.ErrRefused) {
				if n != 0 || rest[0].ID != "13" {
					t.Fatalf("%s was refused", rest[0].ID)
				}
				n, err = 1, nil // as ON_REFUSED=skip does
			}
			if err != nil || n == 0 {
				t.Fatalf("%d: %v", n, err)
			}
			rest = rest[n:]
		}
		server.Close()
		if len(got) != 19 || got[12] != "12" || got[13] != "14" {
			t.Errorf("got %q", got)
		}
	}
}

// TestLargeEvents splits what is too much for one request.
func TestLargeEvents(t *testing.T) {
	h := &hec{}
	messages := make([]consumer.Message, 4)
	for i := range messages {
		messages[i] = sample(func(m *consumer.Message) { m.New = text(strings.Repeat("x", 200<<10)) })
	}
	body, n, err := h.encode(messages)
	if err != nil || n != 2 || len(body) > hecBody || !bytes.HasSuffix(body, []byte("}\n")) {
		t.Errorf("%d events in %d bytes: %v", n, len(body), err)
	}
	messages[0].New = text(strings.Repeat("x", 2<<20))
	if _, n, err = h.encode(messages); err != nil || n != 1 {
		t.Errorf("a large one: %d events, %v", n, err)
	}
}
