//go:build kafka

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genesys-audit-connector/internal/doctor"
	"genesys-audit-connector/internal/kafkatest"
)

// TestConnectorLivesOnTokensOfTenSeconds: on Kafka's own validator, with an endpoint that
// is away for a while and with keys that change, every event is there once. While nothing
// but time happens, no transaction is even aborted.
func TestConnectorLivesOnTokensOfTenSeconds(t *testing.T) {
	const life, secret = 10 * time.Second, "canary-1c0e +&"
	issuer := kafkatest.NewIssuer(t, kafkatest.Issuing{
		Client: "connector", Secret: secret, Subject: "connector", Audience: kafkatest.Audience, Life: life,
	})
	cluster := kafkatest.Start(t, kafkatest.Options{Issuer: issuer})
	o := unlimited()
	o.OtherTypes = -1
	s := newScene(t, cluster.Brokers(), o)
	for name, value := range map[string]string{
		"KAFKA_BROKERS": strings.Join(cluster.SecureBrokers(), ","), "KAFKA_SESSION_TIMEOUT": "6s", "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
		"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": issuer.TokenURL(),
		"KAFKA_SASL_OAUTHBEARER_CLIENT_ID":          "connector", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": secret,
		"KAFKA_SASL_OAUTHBEARER_EXTENSIONS": "traceId=1",
	} {
		s.env[name] = value
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.log = log
	_, stop := s.start()
	quiet := s.emitting()
	defer quiet()

	time.Sleep(5 * life / 2)
	if committed, aborted := s.transactions(); committed == 0 || aborted > 0 {
		t.Errorf("%d transactions were committed and %d aborted while tokens ended", committed, aborted)
	}
	issuer.Rotate(true)
	time.Sleep(life)
	issuer.Change(func(i *kafkatest.Issuing) { i.Down = true })
	time.Sleep(life * 4 / 10) // less than a token has left when it is renewed, or a little more
	issuer.Change(func(i *kafkatest.Issuing) { i.Down = false })
	time.Sleep(life)
	issuer.Rotate(false) // what was given out is worth nothing at once
	time.Sleep(3 * life / 2)
	quiet()
	s.published(60 * time.Second)
	if err := stop(); err != nil {
		t.Error(err)
	}
	committed, aborted := s.transactions()
	said, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions committed, %d aborted, %d tokens; refusals in the log: %d", committed, aborted, issuer.Given(), strings.Count(string(said), "not accepted"))

	for name, c := range map[string]struct {
		settings map[string]string
		change   func(*kafkatest.Issuing)
		cause    string
	}{
		"refused by the endpoint": {
			map[string]string{"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "canary-of-another"}, func(*kafkatest.Issuing) {},
			"token endpoint " + issuer.TokenURL() + " answers 401: invalid_client",
		},
		"refused by the brokers": {
			nil, func(i *kafkatest.Issuing) { i.Audience = "another" }, `the token is not accepted: status "invalid_token"`,
		},
		"an endpoint that is down": {
			nil, func(i *kafkatest.Issuing) { i.Down = true }, "token endpoint " + issuer.TokenURL() + " answers 503",
		},
	} {
		var before kafkatest.Issuing
		issuer.Change(func(i *kafkatest.Issuing) { before = *i; c.change(i) })
		report, err := s.checks(c.settings)
		issuer.Change(func(i *kafkatest.Issuing) { *i = before })
		found := report.notOK()["SASL"]
		if err == nil || found.Status != doctor.Failed || !strings.HasSuffix(found.Detail, c.cause) || !strings.Contains(found.Hint, "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL") {
			t.Errorf("%s: %v, %+v", name, err, report.notOK())
		}
	}
	if strings.Contains(string(said), "canary") || strings.Contains(string(said), "eyJ") { // as every JWT begins
		t.Error("a secret or a token is in the log")
	}
	t.Logf("the connector said:\n%s", tailOf(string(said)))
	if t.Failed() {
		t.Logf("the connector said:\n%s", tailOf(string(said)))
	}
}
