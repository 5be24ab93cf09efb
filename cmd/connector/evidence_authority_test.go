//go:build kafka || evidence

package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/evidence"
)

// authority is a real time stamping authority: openssl ts behind HTTP. It returns its
// address and the file of its own authority's certificate.
func authority(t *testing.T, refuse func() bool) (address, ca string) {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	const config = `
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:true
[authority]
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = ours
[ours]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
signer_digest = sha256
accuracy = secs:1
`
	for name, text := range map[string]string{"openssl.cnf": config, "serial": "01\n"} {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl := func(args ...string) error {
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("openssl %s: %v\n%s", args[0], err, out)
		}
		return err
	}
	for _, args := range []string{
		"req -x509 -config openssl.cnf -extensions ca -newkey rsa:2048 -nodes -subj /CN=CA -days 2 -keyout ca.key -out ca.pem",
		"req -config openssl.cnf -newkey rsa:2048 -nodes -subj /CN=TSA -keyout tsa.key -out tsa.csr",
		"x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile openssl.cnf -extensions authority -out tsa.pem",
	} {
		if err := openssl(strings.Fields(args)...); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil || refuse() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := os.WriteFile(path("query"), query, 0o600); err != nil {
			t.Error(err)
		}
		if err := openssl(strings.Fields("ts -reply -config openssl.cnf -queryfile query -signer tsa.pem -inkey tsa.key -out answer")...); err != nil {
			t.Error(err)
		}
		answer, err := os.ReadFile(path("answer"))
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, path("ca.pem")
}

// checkedOffline runs examples/evidence/verify.py.
func checkedOffline(t testing.TB, path string, args ...string) (out string, ok bool) {
	t.Helper()
	python, err := filepath.Abs("../../.cache/evidence/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(python, append([]string{"../../examples/evidence/verify.py", path}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("verify.py (scripts/python-install evidence examples/evidence/requirements.txt): %v\n%s", err, text)
	}
	return string(text), err == nil
}

// stamped waits for so many time stamps.
func (s *scene) stamped(least int) {
	s.Helper()
	s.awaited(2*time.Minute, "time stamps", func() bool {
		records, err := readTopic(s.Context(), s.brokers, s.env["KAFKA_TOPIC_EVIDENCE"])
		n := 0
		for _, r := range records {
			if evidence.IsStamp(r.Key) {
				n++
			}
		}
		return err == nil && n >= least
	})
}
