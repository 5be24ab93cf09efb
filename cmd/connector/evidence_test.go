package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/evidence"
)

// evidenceReport runs "connector evidence verify --json" with the scene's Kafka variables alone.
func (s *scene) evidenceReport(o evidenceOptions) (r evidence.Report) {
	s.Helper()
	env := map[string]string{}
	for name, value := range s.env {
		if strings.HasPrefix(name, "KAFKA_") {
			env[name] = value
		}
	}
	var out bytes.Buffer
	o.asJSON = true
	err := verifyEvidence(s.Context(), envconfig.MapLookuper(env), o, &out)
	if jsonErr := json.Unmarshal(out.Bytes(), &r); jsonErr != nil {
		s.Fatalf("%v, %v: %q", err, jsonErr, out.String())
	}
	if r.OK != (err == nil) || !r.OK && !errors.Is(err, errTampered) {
		s.Errorf("ok is %t, and it ends with %v", r.OK, err)
	}
	return r
}

// signedScene is a connector at work that signs; and the verifier's line.
func signedScene(t *testing.T) (s *scene, verifier string, stop func() error) {
	t.Helper()
	signer, verifier, err := evidence.GenerateKey("default", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := unlimited()
	o.Odd, o.OtherTypes = 0.2, -1
	s = newScene(t, nil, o)
	s.env["EVIDENCE_KEY"] = signer
	s.world.Org.Backfill(1000, time.Now().Add(-20*time.Hour), time.Now().Add(-time.Minute))
	_, stop = s.start()
	s.published(60 * time.Second)
	return s, verifier, stop
}

// TestEvidenceVerifyPassesAWholeLogAndNamesWhatIsWrong, from Kafka alone.
func TestEvidenceVerifyPassesAWholeLogAndNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	s, verifier, stop := signedScene(t)
	resp, err := http.Get("http://" + s.addr + "/evidence/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, text)
	}
	kept := filepath.Join(t.TempDir(), "checkpoint.txt")
	if err := os.WriteFile(kept, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.world.Org.Emit(50)
	s.published(20 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	all := evidenceOptions{checkpoints: []string{filepath.Dir(kept)}, keys: []string{verifier}}
	_, _, shown := s.world.Org.Counts()
	if r := s.evidenceReport(all); !r.OK || r.Verified != uint64(shown) || r.Checkpoints != 1 {
		t.Errorf("%d events shown: %+v", shown, r)
	}
	var newest bytes.Buffer
	if err := printCheckpoint(t.Context(), envconfig.MapLookuper(s.env), "", &newest); err != nil || newest.String() == string(text) {
		t.Errorf("the newest checkpoint: %q, %v", newest.String(), err)
	} else if c, err := evidence.ParseCheckpoint(newest.Bytes()); err != nil || c.Size != uint64(shown) {
		t.Errorf("the newest checkpoint: %+v, %v", c, err)
	}
	_, stranger, err := evidence.GenerateKey("default", nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.evidenceReport(evidenceOptions{keys: []string{stranger}}); r.Counts[evidence.Signer] == 0 {
		t.Errorf("an unknown signer: %+v", r)
	}
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wrong := 0
	for _, records := range c.raw {
		if at, ok := audit.ParseTime(headerOf(records[0], "event-time")); !ok || time.Since(at) < time.Hour {
			continue
		}
		added := *records[0]
		added.Headers = nil
		for _, h := range records[0].Headers {
			if h.Key == "log-index" {
				h.Value = strconv.AppendInt(nil, int64(shown+wrong*10), 10)
			}
			added.Headers = append(added.Headers, h)
		}
		if err := client.ProduceSync(t.Context(), &added).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if wrong++; wrong == 3 {
			break
		}
	}
	if r := s.evidenceReport(evidenceOptions{from: "1m"}); !r.OK {
		t.Errorf("what is wrong with older events is named: %+v", r)
	}
	if r := s.evidenceReport(all); r.Counts[evidence.Inserted] != wrong || len(r.Counts) != 1 {
		t.Errorf("%d records added: %+v", wrong, r)
	}
}

// TestEvidenceLogIsMadeAgainWithoutItsState: the offsets topic is lost, and with it where
// the log was.
func TestEvidenceLogIsMadeAgainWithoutItsState(t *testing.T) {
	t.Parallel()
	s, _, stop := signedScene(t)
	if err := stop(); err != nil {
		t.Error(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), s.env["KAFKA_TOPIC_OFFSETS"]); err != nil {
		t.Fatal(err)
	}
	_, stop = s.start()
	s.world.Org.Emit(50)
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK {
		t.Errorf("%+v", r)
	}
}

// TestEvidenceTopicThatIsNotThere: where no log has begun, the connector works without one
// and says so; one that has begun is never left out in silence.
func TestEvidenceTopicThatIsNotThere(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, nil, o)
	s.env["EVIDENCE"] = "false"
	s.world.Org.Backfill(100, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	_, stop := s.start()
	s.publishedWithoutLog(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	delete(s.env, "EVIDENCE")
	s.env["KAFKA_CREATE_TOPICS"] = "false"
	a, stop := s.start()
	s.world.Org.Emit(20)
	s.publishedWithoutLog(60 * time.Second)
	snapshot := a.Snapshot()
	if e := snapshot.Status().LastError; e == nil || !strings.Contains(*e, "no evidence log is kept") || snapshot.NotReady != "" {
		t.Errorf("it says %v, not ready %q", e, snapshot.NotReady)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	s.env["KAFKA_CREATE_TOPICS"] = "true"
	_, stop = s.start()
	s.world.Org.Emit(20)
	s.older = true
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	r := s.evidenceReport(evidenceOptions{})
	if !r.OK || r.Verified < 20 || r.Uncovered == 0 {
		t.Errorf("%+v", r)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), s.env["KAFKA_TOPIC_EVIDENCE"]); err != nil {
		t.Fatal(err)
	}
	s.env["KAFKA_CREATE_TOPICS"] = "false"
	_, stop = s.start()
	select {
	case <-s.over:
	case <-time.After(60 * time.Second):
		t.Error("it goes on")
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "KAFKA_TOPIC_EVIDENCE: the evidence log has begun there") {
		t.Errorf("it ends with %v", err)
	}
}

// publishedWithoutLog is published for a connector that keeps no evidence log.
func (s *scene) publishedWithoutLog(within time.Duration) {
	s.Helper()
	deadline := time.Now().Add(within)
	for {
		c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
		c.older = true
		made, visible, shown := s.world.Org.Counts()
		v := judge(c, s.world.Org.Shown())
		if err == nil && v.ok() && visible == shown && made == visible {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%d events made, %d visible, %d shown; %s; %v", made, visible, shown, v, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestEvidenceTopicThatIsNotTheOneOfTheState: where the topic was deleted, nothing makes an
// empty one in its place; where the offsets topic is older than the log, no index is used twice.
func TestEvidenceTopicThatIsNotTheOneOfTheState(t *testing.T) {
	t.Parallel()
	s, _, stop := signedScene(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	state := func() (newest *kgo.Record) {
		records, err := readTopic(t.Context(), s.brokers, s.env["KAFKA_TOPIC_OFFSETS"])
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if string(r.Key) == "default/log" {
				newest = &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}
			}
		}
		return newest
	}
	older := state()
	s.world.Org.Emit(50)
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := client.ProduceSync(t.Context(), older).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_, stop = s.start()
	s.world.Org.Emit(50)
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if r := s.evidenceReport(evidenceOptions{}); !r.OK {
		t.Errorf("the state was older than the log: %+v", r)
	}
	ends := func(why string) {
		t.Helper()
		_, stop := s.start()
		select {
		case <-s.over:
		case <-time.After(60 * time.Second):
			t.Error("it goes on:", why)
		}
		if err := stop(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("it ends with %v; want %q", err, why)
		}
	}
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteTopic(t.Context(), s.env["KAFKA_TOPIC_EVIDENCE"]); err != nil {
		t.Fatal(err)
	}
	ends("does not exist")
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, s.env["KAFKA_TOPIC_EVIDENCE"]); err != nil {
		t.Fatal(err)
	}
	ends("there are no records of it")
}
