package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/doctor"
)

// check runs "connector check" on the scene's settings, changed by these. It
// must end in a minute, whatever is broken.
func (s *scene) check(asJSON bool, settings map[string]string) (out string, err error) {
	s.Helper()
	env := maps.Clone(s.env)
	maps.Copy(env, settings)
	var b bytes.Buffer
	began := time.Now()
	err = check(s.Context(), envconfig.MapLookuper(env), nil, checkOptions{asJSON: asJSON}, &b)
	if took := time.Since(began); took > time.Minute {
		s.Errorf("the check took %s", took)
	}
	return b.String(), err
}

// checks are those of the JSON document.
func (s *scene) checks(settings map[string]string) (report checkReport, err error) {
	s.Helper()
	out, err := s.check(true, settings)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if e := decoder.Decode(&report); e != nil {
		s.Fatalf("no document: %v\n%s", e, out)
	}
	return report, err
}

// notOK are the checks that found something, by name.
func (r checkReport) notOK() map[string]doctor.Check {
	found := map[string]doctor.Check{}
	for _, c := range r.Checks {
		if c.Status != doctor.OK {
			found[c.Name] = c
		}
	}
	return found
}

// TestCheckOutput: what people read, with some of everything in it.
func TestCheckOutput(t *testing.T) {
	o := unlimited()
	o.Retention = 90 * 24 * time.Hour
	s := newScene(t, nil, o)
	for _, name := range []string{"RAW", "CHANGES", "OFFSETS", "EVIDENCE"} {
		s.env["KAFKA_TOPIC_"+name] = "genesys.audit." + strings.ToLower(name)
	}
	out, err := s.check(false, map[string]string{
		"KAFKA_GROUP_ID": "genesys-audit-acme", "ORG_NAME": "acme", "KAFKA_CREATE_TOPICS": "false", "POLL_INTERVAL": "1m", "BACKFILL_FROM": "retention",
	})
	if !errors.Is(err, errCheckFailed) {
		t.Errorf("error %v", err)
	}
	for pattern, word := range map[string]string{
		`127\.0\.0\.1:\d+`: "HOST:PORT", ` \d+\.\d\d s `: " 0.00 s ", `\d{4}-\d\d-\d\d`: "YYYY-MM-DD", `\d+ of 100000 requests in 1s`: "N of 100000 requests in 1s",
	} {
		out = regexp.MustCompile(pattern).ReplaceAllString(out, word)
	}
	golden := filepath.Join("testdata", "check.golden")
	if *update {
		writeFile(t, golden, out)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out != string(want) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// TestCheckExit: how the command ends, and its document.
func TestCheckExit(t *testing.T) {
	s := newScene(t, nil, unlimited())
	report, err := s.checks(nil)
	if err != nil || !report.OK || len(report.Checks) < 19 {
		t.Errorf("all is fine: %v, %+v", err, report)
	}
	for _, c := range report.Checks {
		// The scene's session time-out is below what brokers take unless told otherwise.
		// No connector runs that could tell how late events were.
		if c.Status != doctor.OK && c.Name != "configuration" && (c.Name != "lateness" || c.Status != doctor.Skipped) {
			t.Errorf("%+v", c)
		}
	}
	report, err = s.checks(map[string]string{"GENESYS_CLIENT_SECRET": "wrong"})
	if !errors.Is(err, errCheckFailed) || report.OK || report.notOK()["token"].Status != doctor.Failed {
		t.Errorf("something failed: %v, %+v", err, report)
	}
	report, err = s.checks(map[string]string{"KAFKA_BROKERS": "", "POLL_INTERVAL": "soon"})
	if _, usage := errors.AsType[usageError](err); !usage || report.OK || len(report.Checks) != 1 {
		t.Errorf("wrong configuration: %v, %+v", err, report)
	}
	for _, name := range []string{"KAFKA_BROKERS", "POLL_INTERVAL"} {
		if !strings.Contains(err.Error(), name) || !strings.Contains(report.Checks[0].Detail, name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	out, err := s.check(false, map[string]string{"KAFKA_BROKERS": ""})
	if _, usage := errors.AsType[usageError](err); !usage || out != "" {
		t.Errorf("wrong configuration: %v, and on stdout %q", err, out)
	}
	if _, err = s.check(false, map[string]string{"KAFKA_TLS": "true", "KAFKA_TLS_CA_FILE": "/nowhere"}); err == nil || errors.Is(err, errCheckFailed) {
		t.Errorf("no such file: %v", err)
	}
}

// TestCheckTellsNoSecret, whatever is wrong with them.
func TestCheckTellsNoSecret(t *testing.T) {
	const secret = "canary-5ecre7"
	s := newScene(t, nil, unlimited())
	secrets := map[string]string{
		"GENESYS_CLIENT_ID": secret + "1", "GENESYS_CLIENT_SECRET": secret + "2", "KAFKA_SASL_MECHANISM": "PLAIN",
		"KAFKA_SASL_USERNAME": secret + "3", "KAFKA_SASL_PASSWORD": secret + "4",
		"SCHEMA_REGISTRY_URL": s.world.URL, "SCHEMA_REGISTRY_USERNAME": secret + "5", "SCHEMA_REGISTRY_PASSWORD": secret + "6",
	}
	for _, refresh := range []string{"", secret + "7"} {
		secrets["GENESYS_REFRESH_TOKEN"] = refresh
		out, err := s.check(false, secrets)
		if !errors.Is(err, errCheckFailed) || strings.Contains(out+err.Error(), secret) || !strings.Contains(out, "failed   schema registry") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestCheckChangesNothing: beside a connector with the same settings, which
// publishes all the while and is not fenced, moved or hindered; and where
// nothing is there yet, nothing is made.
func TestCheckChangesNothing(t *testing.T) {
	o := unlimited()
	o.OtherTypes = -1 // what the filter does not match is never shown
	s := newScene(t, nil, o)
	admin := s.admin()
	if _, err := s.check(true, nil); err != nil {
		t.Error(err)
	}
	if topics, err := admin.ListTopics(t.Context()); err != nil || len(topics) != 0 {
		t.Errorf("topics %v, %v", topics.Names(), err)
	}

	a, stop := s.start()
	s.world.Org.Emit(20)
	s.published(30 * time.Second)
	before := s.generation(admin)
	for range 10 {
		s.world.Org.Emit(20)
		if report, err := s.checks(nil); err != nil {
			t.Errorf("%v: %+v", err, report.notOK())
		}
	}
	s.published(30 * time.Second)
	if after := s.generation(admin); after != before {
		t.Errorf("the group was %s and is %s", before, after)
	}
	if stats := a.producer.Stats(); stats.Aborts != 0 {
		t.Errorf("%+v", stats)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func (s *scene) admin() *kadm.Client {
	s.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// generation tells who is in the group, and which producer holds the transactional id.
func (s *scene) generation(admin *kadm.Client) string {
	s.Helper()
	id := s.env["KAFKA_GROUP_ID"]
	groups, err := admin.DescribeGroups(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	transactions, err := admin.DescribeTransactions(s.Context(), id)
	if err != nil || transactions[id].Err != nil {
		s.Fatal(err, transactions[id].Err)
	}
	var members []string
	for _, m := range groups[id].Members {
		members = append(members, m.MemberID)
	}
	return fmt.Sprintf("%s %v, producer %d/%d", groups[id].State, members, transactions[id].ProducerID, transactions[id].ProducerEpoch)
}

func TestCheckColours(t *testing.T) {
	var b bytes.Buffer
	newCheckPrinter(&b).print(doctor.Check{Name: "n", Status: doctor.Failed, Detail: "d", Hint: "one\ntwo"})
	plain := "failed   n                              0.00 s  d\n" + strings.Repeat(" ", checkColumn) + "→ one\n" + strings.Repeat(" ", checkColumn) + "→ two\n"
	if b.String() != plain {
		t.Errorf("got\n%swant\n%s", b.String(), plain)
	}
	b.Reset()
	(&checkPrinter{out: &b, colour: true}).print(doctor.Check{Name: "n", Status: doctor.Failed, Detail: "d"})
	if !strings.HasPrefix(b.String(), "\x1b[31mfailed \x1b[0m  n ") {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	on := &checkPrinter{out: &b, terminal: true} // there what failed comes last
	checks := []doctor.Check{{Name: "a", Status: doctor.Failed}, {Name: "b", Status: doctor.OK}, {Name: "c", Status: doctor.Skipped}}
	for _, c := range checks {
		on.print(c)
	}
	on.sum(checks)
	if !regexp.MustCompile(`(?s)^ok +b .*skipped +c .*failed +a .*1 ok, 0 with a warning, 1 skipped, 1 failed\n$`).MatchString(b.String()) {
		t.Errorf("on a terminal:\n%s", b.String())
	}
}

// TestCheckProcess: the process's exit codes, and hosts that speak TLS.
func TestCheckProcess(t *testing.T) {
	s := newScene(t, nil, unlimited())
	secure := httptest.NewTLSServer(s.world.Org)
	defer secure.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	s.env["GENESYS_API_URL"], s.env["GENESYS_LOGIN_URL"], s.env["SSL_CERT_FILE"] = secure.URL, secure.URL, authority
	for _, c := range []struct {
		variable, value string
		code            int
		says            string
	}{
		{"LOG_LEVEL", "debug", exitDone, ", TLS 1.3\n"},
		{"GENESYS_CLIENT_SECRET", "wrong", exitFailed, "failed   token"},
		{"GENESYS_AUDIT_API", "soap", exitUsage, "GENESYS_AUDIT_API: "},
	} {
		before := s.env[c.variable]
		s.env[c.variable] = c.value
		child := s.spawn("check")
		_ = child.Wait() // its exit code is looked at
		if code := child.ProcessState.ExitCode(); code != c.code || !strings.Contains(child.out.String(), c.says) {
			t.Errorf("%s=%s: exit code %d, want %d\n%s", c.variable, c.value, code, c.code, child.out)
		}
		s.env[c.variable] = before
	}
}

// TestCheckDoesNotSteerTerminals: what brokers, registries and endpoints say is printed, and
// they may say anything.
func TestCheckDoesNotSteerTerminals(t *testing.T) {
	var b bytes.Buffer
	newCheckPrinter(&b).print(doctor.Check{Name: "SASL", Status: doctor.Failed, Detail: "no\x1b[2J\r\nok \u009b31m\u202e", Hint: "one\ntwo\x1b]0;"})
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 || strings.ContainsAny(b.String(), "\x1b\r\u009b\u202e") || !strings.HasSuffix(lines[2], "→ two ]0;") {
		t.Errorf("%q", b.String())
	}
}
