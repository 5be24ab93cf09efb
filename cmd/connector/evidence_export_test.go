package main

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/evidence/export"
	"genesys-audit-connector/internal/txn"
)

// exported runs "connector evidence export" and returns the ZIP.
func (s *scene) exported(o exportOptions, now time.Time) (path string, err error) {
	s.Helper()
	if o.file == "" {
		o.file = filepath.Join(s.TempDir(), "export.zip")
	}
	env := map[string]string{}
	for name, value := range s.env {
		if strings.HasPrefix(name, "KAFKA_") || name == "EVIDENCE_KEY" {
			env[name] = value
		}
	}
	err = exportEvidence(s.Context(), envconfig.MapLookuper(env), o, now, io.Discard)
	return o.file, err
}

// unzipped are the files of a ZIP.
func unzipped(t testing.TB, path string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	files := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return files
}

// lines are the lines of a text, which has to end with one.
func lines(t testing.TB, text string) []string {
	t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		t.Fatal("the last line has no end")
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// TestEvidenceExport: every event of the interval is in the ZIP, byte for byte and with a
// proof that another library accepts; the same input makes the same ZIP; conditions hold.
func TestEvidenceExport(t *testing.T) {
	t.Parallel()
	s, verifier, stop := signedScene(t)
	if err := stop(); err != nil {
		t.Error(err)
	}
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	path, err := s.exported(exportOptions{from: "2000-01-01"}, now)
	if err != nil {
		t.Fatal(err)
	}
	files := unzipped(t, path)
	var meta export.Summary
	if err := json.Unmarshal([]byte(files["export.json"]), &meta); err != nil {
		t.Fatal(err)
	}
	changes := 0
	for _, records := range c.changes {
		changes += len(records)
	}
	if meta.Events != len(c.raw) || meta.Changes != changes || meta.Unprovable != 0 {
		t.Errorf("%+v; %d events and %d changes are in Kafka", meta, len(c.raw), changes)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(files["changes.csv"], "\ufeff"))).ReadAll()
	if err != nil || len(rows) != changes+1 || !strings.HasPrefix(files["changes.csv"], "\ufeffauditId,") {
		t.Errorf("changes.csv has %d rows of %d changes, %v", len(rows), changes, err)
	}
	checkpoint, err := evidence.ParseCheckpoint([]byte(files["checkpoint.txt"]))
	if err != nil {
		t.Fatal(err)
	}
	known, err := note.NewVerifier(verifier)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Verify(note.VerifierList(known)); err != nil {
		t.Error(err)
	}
	if n, err := note.Open([]byte(files["SHA256SUMS.note"]), note.VerifierList(known)); err != nil || !strings.HasPrefix(n.Text, "genesys-audit-connector/default/export\nsha256:") {
		t.Errorf("the note: %v", err)
	}
	events := lines(t, files["events.jsonl"])
	for i, line := range lines(t, files["evidence.jsonl"]) {
		var row struct {
			Index int64
			ID    string
			Proof [][]byte
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		raw := []byte(events[i])
		if raw[0] == '"' {
			raw, err = base64.StdEncoding.DecodeString(strings.Trim(events[i], `"`))
		}
		if err != nil || len(c.raw[row.ID]) != 1 || !bytes.Equal(raw, c.raw[row.ID][0].Value) {
			t.Fatalf("event %q is not the one in Kafka: %.200s", row.ID, raw)
		}
		proof := make(tlog.RecordProof, len(row.Proof))
		for i, h := range row.Proof {
			proof[i] = tlog.Hash(h)
		}
		leaf := leafOf(row.ID, raw, c.changes[row.ID])
		if err := tlog.CheckRecord(proof, int64(checkpoint.Size), tlog.Hash(checkpoint.Root), row.Index, leaf); err != nil {
			t.Fatalf("event %q: %v", row.ID, err)
		}
	}
	again, err := s.exported(exportOptions{from: meta.From.Format(time.RFC3339Nano), to: meta.To.Format(time.RFC3339Nano), file: path + "2"}, now)
	if one, two := readFile(t, path), readFile(t, again); err != nil || !bytes.Equal(one, two) {
		t.Errorf("the same export again: %d and %d bytes, %v", len(one), len(two), err)
	}
	s.conditionsOfExport(rows)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// conditionsOfExport asks for some events only. rows are those of all changes.
func (s *scene) conditionsOfExport(rows [][]string) {
	s.Helper()
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	cell := func(row []string, name string) string { return row[column[name]] }
	sample := rows[len(rows)/2]
	for _, r := range rows[1:] {
		if cell(r, "entityId") != "" && cell(r, "userId") != "" && cell(r, "entityType") != "" {
			sample = r
			break
		}
	}
	for name, c := range map[string]struct {
		o  exportOptions
		is func(row []string) bool
	}{
		"entity": {exportOptions{from: "2000-01-01", entity: cell(sample, "entityId")}, func(r []string) bool { return cell(r, "entityId") == cell(sample, "entityId") }},
		"actor":  {exportOptions{from: "2000-01-01", actor: cell(sample, "userId")}, func(r []string) bool { return cell(r, "userId") == cell(sample, "userId") }},
		"type": {exportOptions{from: "2000-01-01", entityType: strings.ToUpper(cell(sample, "entityType"))}, func(r []string) bool {
			return strings.EqualFold(cell(r, "entityType"), cell(sample, "entityType"))
		}},
		"time": {exportOptions{from: "10h", to: cell(sample, "timestamp")}, func(r []string) bool {
			return cell(r, "timestamp") < cell(sample, "timestamp") && cell(r, "timestamp") >= time.Now().Add(-10*time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
		}},
	} {
		want := 0
		for _, r := range rows[1:] {
			if c.is(r) && r[1] == "0" {
				want++
			}
		}
		path, err := s.exported(c.o, time.Now())
		if err != nil && want > 0 {
			s.Errorf("%s: %v", name, err)
			continue
		}
		if name == "time" && want == 0 {
			continue // the sample is older than that
		}
		if got := strings.Count(unzipped(s, path)["events.jsonl"], "\n"); got != want || want == len(rows)-1 {
			s.Errorf("%s: %s events, want %d", name, strconv.Itoa(got), want)
		}
	}
}

// TestExportSaysWhatItLacks: events of before the log, erased ones, and what is not known
// where the offsets topic cannot be read; and what "connector verify" found last.
func TestExportSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, nil, o)
	s.env["EVIDENCE"] = "false"
	s.world.Org.Backfill(60, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	_, stop := s.start()
	s.publishedWithoutLog(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	delete(s.env, "EVIDENCE")
	_, stop = s.start()
	s.world.Org.Emit(20)
	s.older = true
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for key, value := range map[string]string{
		"default/erased/event-1": `{"who":"dpo","when":"2026-03-01T00:00:00Z","why":"Art. 17"}`, "default/erased/event-2": "not JSON",
		"other/erased/event-3": `{}`, "default/verified": `{"ok":true}`,
	} {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: s.env["KAFKA_TOPIC_OFFSETS"], Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	path, err := s.exported(exportOptions{from: "2h"}, time.Now())
	if !errors.Is(err, errTampered) { // these notes say too little, and the log has none of them
		t.Fatal(err)
	}
	files := unzipped(t, path)
	if want := `{"auditId":"event-1","note":{"who":"dpo","when":"2026-03-01T00:00:00Z","why":"Art. 17"}}` + "\n" + `{"auditId":"event-2","note":"not JSON"}` + "\n"; files["erased.jsonl"] != want {
		t.Errorf("erased: %s", files["erased.jsonl"])
	}
	for name, want := range map[string]string{
		"report.html": "60 events of this interval were published before the evidence log began", "export.json": `"beforeLog": 60`, "verify.json": `"api": {`,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
	if _, err := s.exported(exportOptions{from: "2h", file: path}, time.Now()); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over a file that is there: %v", err)
	}
	s.env["KAFKA_TOPIC_OFFSETS"] = "a.topic.that.is.not.there"
	if path, err = s.exported(exportOptions{from: "2h"}, time.Now()); err != nil || !strings.Contains(unzipped(t, path)["report.html"], "which there are is not known") {
		t.Errorf("without the offsets topic: %v", err)
	}
}

// TestExportWithoutARightOnTheNotes says that they are not known; what else keeps them from
// being read ends it.
func TestExportWithoutARightOnTheNotes(t *testing.T) {
	t.Parallel()
	var o export.Outcome
	if err := takeNotes(&o, nil, fmt.Errorf("KAFKA_TOPIC_OFFSETS: %w", txn.ErrUnauthorized)); err != nil || !strings.Contains(o.NoNotes, "KAFKA_TOPIC_OFFSETS: not authorized") {
		t.Errorf("%v, %q", err, o.NoNotes)
	}
	if err := takeNotes(&o, nil, io.ErrUnexpectedEOF); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}
