package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/sethvargo/go-envconfig"
	"go.uber.org/zap"

	"genesys-audit-connector/internal/txn"
)

// mechanism is that of a right configuration with these settings.
func mechanism(t *testing.T, settings ...string) sasl.Mechanism {
	t.Helper()
	return load(t, append(settings, "KAFKA_TLS=true")...).Kafka.SASL.Mechanism(zap.NewNop())
}

func firstMessage(t *testing.T, m sasl.Mechanism) string {
	t.Helper()
	_, first, err := m.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(first)
}

func TestSASL(t *testing.T) {
	if load(t).Kafka.SASL.Mechanism(zap.NewNop()) != nil {
		t.Error("a mechanism without SASL")
	}
	password := filepath.Join(t.TempDir(), "password")
	tests := []struct {
		mechanism string
		first     func(password string) string // what the first message begins with
	}{
		{"PLAIN", func(password string) string { return "\x00user\x00" + password }},
		{"SCRAM-SHA-256", func(string) string { return "n,,n=user,r=" }},
		{"SCRAM-SHA-512", func(string) string { return "n,,n=user,r=" }},
	}
	for _, tt := range tests {
		writeFile(t, password, "old\n")
		m := load(t, "KAFKA_TLS=true", "KAFKA_SASL_MECHANISM="+tt.mechanism, "KAFKA_SASL_USERNAME=user", "KAFKA_SASL_PASSWORD_FILE="+password).Kafka.SASL.Mechanism(zap.NewNop())
		if m.Name() != tt.mechanism {
			t.Errorf("%s calls itself %s", tt.mechanism, m.Name())
		}
		for _, current := range []string{"old", "new"} {
			writeFile(t, password, current)
			_, first, err := m.Start(context.Background())
			if err != nil || !strings.HasPrefix(string(first), tt.first(current)) {
				t.Errorf("%s: first message %q, %v", tt.mechanism, first, err)
			}
		}
	}
}

func TestBearerTokenComesFromTheEndpoint(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, "right")
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch id, password, _ := r.BasicAuth(); {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case id != "client" || password != "right" || r.PostFormValue("scope") != "kafka other":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		default:
			_, _ = io.WriteString(w, `{"access_token":"of-the-endpoint","expires_in":3600}`)
		}
	}))
	defer server.Close()
	settings := []string{
		"KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=" + server.URL, "KAFKA_SASL_OAUTHBEARER_CLIENT_ID=client",
		"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE=" + secret, "KAFKA_SASL_OAUTHBEARER_SCOPE=kafka other",
		"KAFKA_SASL_OAUTHBEARER_EXTENSIONS=logicalCluster=lkc-1, identityPoolId=pool=2",
	}
	m := mechanism(t, settings...)
	if m.Name() != "OAUTHBEARER" {
		t.Errorf("it calls itself %s", m.Name())
	}
	want := "n,,\x01auth=Bearer of-the-endpoint\x01identityPoolId=pool=2\x01logicalCluster=lkc-1\x01\x01"
	if got := firstMessage(t, m); got != want {
		t.Errorf("first message %q, want %q", got, want)
	}

	// What the endpoint refuses is waited for like a wrong password; what passes is tried again.
	writeFile(t, secret, "wrong")
	_, _, err := mechanism(t, settings...).Start(t.Context())
	if !errors.Is(err, txn.ErrUnauthorized) || !errors.Is(err, txn.ErrAbort) || !strings.Contains(err.Error(), server.URL+" answers 401: invalid_client") {
		t.Errorf("a wrong secret: %v", err)
	}
	down.Store(true)
	_, _, err = mechanism(t, settings...).Start(t.Context())
	if err == nil || errors.Is(err, txn.ErrUnauthorized) || !strings.HasSuffix(err.Error(), "answers 503") {
		t.Errorf("an endpoint that is down: %v", err)
	}
}

func TestBearerTokenIsReadFromItsFileAtEachConnection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, "one\n")
	m := mechanism(t, "KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE="+file)
	for _, token := range []string{"one", "two"} {
		writeFile(t, file, token+"\n")
		if got, want := firstMessage(t, m), "n,,\x01auth=Bearer "+token+"\x01\x01"; got != want {
			t.Errorf("first message %q, want %q", got, want)
		}
	}
}

func TestMSKTokenIsSignedForTheRegionThatIsSetOrAWSOwn(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "absent", "AWS_SHARED_CREDENTIALS_FILE": "absent",
	} {
		t.Setenv(name, value)
	}
	_, err := Load(envconfig.MapLookuper(environment([]string{"KAFKA_TLS=true", "KAFKA_SASL_MECHANISM=AWS_MSK_IAM"})))
	if want := "KAFKA_AWS_REGION: is not set; expected the cluster's region, here or in AWS_REGION, for example eu-west-1"; fmt.Sprint(err) != want {
		t.Errorf("without a region: %v", err)
	}
	t.Setenv("AWS_REGION", "eu-west-1")
	for region, settings := range map[string][]string{"eu-west-1": nil, "eu-west-2": {"KAFKA_AWS_REGION=eu-west-2"}} {
		cfg := load(t, append(settings, "KAFKA_TLS=true", "KAFKA_SASL_MECHANISM=AWS_MSK_IAM")...)
		m := cfg.Kafka.SASL.Mechanism(zap.NewNop())
		if len(cfg.Warnings) > 0 || m.Name() != "OAUTHBEARER" || cfg.Kafka.SASL.AWS.Region != region {
			t.Errorf("%s: warnings %q, it calls itself %s, signs for %s", region, cfg.Warnings, m.Name(), cfg.Kafka.SASL.AWS.Region)
		}
		// That the signature is right is for internal/mskiam to show.
		token := strings.TrimSuffix(strings.TrimPrefix(firstMessage(t, m), "n,,\x01auth=Bearer "), "\x01\x01")
		if text, err := base64.RawURLEncoding.DecodeString(token); err != nil || !strings.HasPrefix(string(text), "https://kafka."+region+".amazonaws.com/?") {
			t.Errorf("%s: token %q, %v", region, text, err)
		}
	}
	t.Setenv("AWS_PROFILE", "absent-profile")
	_, err = Load(envconfig.MapLookuper(environment([]string{"KAFKA_TLS=true", "KAFKA_SASL_MECHANISM=AWS_MSK_IAM"})))
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "KAFKA_AWS_REGION: is not set, and AWS' own settings cannot be read: ") || !strings.Contains(got, "absent-profile") {
		t.Errorf("a profile that is not there: %v", err)
	}
}
