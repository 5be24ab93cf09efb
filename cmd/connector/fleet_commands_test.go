package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/txn"
)

// ownKeys gives each organisation a key of its own and returns the verifiers' lines.
func (s *fleetScene) ownKeys() (verifiers map[string]string) {
	s.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.Fatal(err)
	}
	verifiers = map[string]string{}
	for _, org := range s.names() {
		secret, verifier, err := evidence.GenerateKey(org, nil)
		if err != nil {
			s.Fatal(err)
		}
		verifiers[org] = verifier
		if err := os.WriteFile(filepath.Join(filepath.Dir(s.file), "key-"+org), []byte(secret+"\n"), 0o600); err != nil {
			s.Fatal(err)
		}
		text = bytes.Replace(text, []byte("  - name: "+org+"\n"), []byte("  - name: "+org+"\n    EVIDENCE_KEY_FILE: key-"+org+"\n"), 1)
	}
	if err := os.WriteFile(s.file, text, 0o600); err != nil {
		s.Fatal(err)
	}
	return verifiers
}

func (s *fleetScene) eraseOf(org, id string) error {
	s.Helper()
	cfg, err := loadOne(envconfig.MapLookuper(s.env), org)
	if err != nil {
		s.Fatal(err)
	}
	a, err := newCommandApp(cfg)
	if err != nil {
		s.Fatal(err)
	}
	defer a.close()
	var out bytes.Buffer
	return erase(s.Context(), a, eraseOptions{ids: []string{id}, reason: "request 4711", by: "dpo@example"}, &out)
}

// TestCommandsLookAtOneOrganisation of several that share the topics: erase, evidence verify
// and evidence export, which signs with the organisation's own key.
func TestCommandsLookAtOneOrganisation(t *testing.T) {
	t.Parallel()
	s := newFleetScene(t, nil, 2, 40)
	s.env["KAFKA_ERASABLE"] = "true"
	verifiers := s.ownKeys()
	_, stop := s.replica()
	s.complete(30*time.Second, s.names()...)
	c, err := readContent(s.brokers, s.env["KAFKA_TOPIC_RAW"], s.env["KAFKA_TOPIC_CHANGES"], "")
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Sorted(maps.Keys(c.of("org-1").raw))
	if err := s.eraseOf("org-0", ids[0]); err == nil || !strings.Contains(err.Error(), "nothing was erased") {
		t.Errorf("an event of another organisation: %v", err)
	}
	if err := s.eraseOf("org-1", ids[0]); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := s.eraseOf("org-1", ids[1]); err != nil {
		t.Errorf("where no replica runs: %v", err)
	}
	env := envconfig.MapLookuper(s.env)
	of := erasures{}
	for _, org := range s.names() {
		tombstone := &txn.Record{Key: []byte(org), Headers: []txn.Header{{Key: "org", Value: []byte(org)}}}
		if !of.take(tombstone, "org-0") || of.keys[org] != (org == "org-0") {
			t.Errorf("history of org-0 takes an erasure of %s for its own: %t", org, of.keys[org])
		}
	}
	for org, verifier := range verifiers {
		var out bytes.Buffer
		if err := verifyEvidence(t.Context(), env, evidenceOptions{org: org, keys: []string{verifier}}, &out); err != nil {
			t.Errorf("%s: %v: %s", org, err, out.String())
		}
		o := exportOptions{from: "2000-01-01", file: filepath.Join(t.TempDir(), org+".zip"), org: org}
		if err := exportEvidence(t.Context(), env, o, time.Now(), &out); err != nil {
			t.Fatalf("%s: %v", org, err)
		}
		files := unzipped(t, o.file)
		if !strings.Contains(files["SHA256SUMS.note"], "\n— genesys-audit-connector/"+org+" ") {
			t.Errorf("%s: the export is signed so: %s", org, files["SHA256SUMS.note"])
		}
		for id, records := range c.raw {
			if headerOf(records[0], "org") != org && strings.Contains(files["evidence.jsonl"]+files["erased.jsonl"], id) {
				t.Errorf("%s: the export has an event of another organisation", org)
			}
		}
	}
	if err := os.Remove(filepath.Join(filepath.Dir(s.file), "key-org-0")); err != nil {
		t.Fatal(err)
	}
	o := exportOptions{from: "2000-01-01", file: filepath.Join(t.TempDir(), "unsigned.zip"), org: "org-0"}
	if err := exportEvidence(t.Context(), env, o, time.Now(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), `organisation "org-0": EVIDENCE_KEY_FILE: cannot read`) {
		t.Errorf("without the key's file: %v", err)
	}
}
