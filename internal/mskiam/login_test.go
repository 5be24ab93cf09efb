package mskiam

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"genesys-audit-connector/internal/txn"
)

// TestBrokerThatVerifiesSignaturesLetsInWhoSignsAnew: the broker ends each session soon, as
// MSK does at the latest when the credentials end.
func TestBrokerThatVerifiesSignaturesLetsInWhoSignsAnew(t *testing.T) {
	environment(t, 0, keys)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	var mu sync.Mutex
	logins, region := 0, "eu-west-1"
	fake.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		res := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		if req.(*kmsg.SASLHandshakeRequest).Mechanism != "OAUTHBEARER" {
			res.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		}
		return res, nil, true
	})
	fake.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		res := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		res.SessionLifetimeMillis = 100
		text := string(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		token := strings.TrimSuffix(strings.TrimPrefix(text, "n,,\x01auth=Bearer "), "\x01\x01")
		if err := check(token, region, "STATIC", "session/+="); err != nil {
			res.ErrorCode, res.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr("Access denied")
			return res, nil, true
		}
		logins++
		return res, nil, true
	})
	s := New("eu-west-1", "")
	dial := func() *txn.Cluster {
		c := txn.Dial(txn.Config{Brokers: fake.ListenAddrs(), SASL: &txn.OAuthBearer{Token: s.Token, Refused: s.Refused}, DialTimeout: 10 * time.Second})
		t.Cleanup(c.Close)
		return c
	}
	cluster := dial()
	for range 3 {
		if _, err := cluster.Partitions(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // past the session's end
	}
	mu.Lock()
	if logins < 3 {
		t.Errorf("%d logins for 3 sessions", logins)
	}
	region = "eu-west-2"
	mu.Unlock()
	if _, err := dial().Partitions(t.Context(), "t"); !errors.Is(err, txn.ErrUnauthorized) || !strings.HasSuffix(err.Error(), "Access denied") {
		t.Errorf("a token for another region: %v", err)
	}
}
