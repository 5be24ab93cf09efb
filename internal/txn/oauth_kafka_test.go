//go:build kafka

package txn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"genesys-audit-connector/internal/kafkatest"
)

// Kafka's own validator accepts tokens of 10 s, and ends each session with its token.
const tokenLife = 10 * time.Second

func TestTokensOnRealKafka(t *testing.T) {
	issuer := kafkatest.NewIssuer(t, kafkatest.Issuing{Subject: "connector", Audience: kafkatest.Audience, Life: tokenLife})
	cluster := kafkatest.Start(t, kafkatest.Options{Issuer: issuer})
	testTopics(t, cluster.Brokers())
	dial := func(token func() string) *Cluster {
		c := Dial(Config{Brokers: cluster.SecureBrokers(), SASL: &OAuthBearer{
			Token: func(context.Context) (string, time.Time, error) { return token(), time.Time{}, nil }, Extensions: map[string]string{"traceId": "1"},
		}})
		t.Cleanup(c.Close)
		return c
	}
	t.Run("SessionsEndUnseen", func(t *testing.T) { testSessionsEndUnseen(t, dial(issuer.Token), cluster.Brokers(), issuer) })
	t.Run("LongPoll", func(t *testing.T) { testLongPollOutlivesItsSession(t, dial(issuer.Token)) })
	t.Run("Refused", func(t *testing.T) { testTokensAreRefused(t, dial, issuer) })
}

// testSessionsEndUnseen commits, reads and leads through several lives of a token. Nothing
// fails: not a commit, not a transaction that is open when its connection's session ends,
// not the reader, not the leadership.
func testSessionsEndUnseen(t *testing.T, c *Cluster, brokers []string, issuer *kafkatest.Issuer) {
	ctx, cancel := context.WithCancel(t.Context())
	var leads atomic.Int32
	election := c.NewElection(ElectionConfig{GroupID: "tokens", Topic: topicLog, SessionTimeout: 6 * time.Second})
	elected := make(chan error, 1)
	go func() { // ends with ctx
		elected <- election.Run(ctx, func(ctx context.Context, _ int32) error { leads.Add(1); <-ctx.Done(); return context.Cause(ctx) })
	}()
	read := make(chan error, 1)
	var records atomic.Int32
	go func() { // ends with ctx
		r := c.NewReader(topicLog, 0, First)
		defer r.Close()
		for ctx.Err() == nil {
			if err := r.ReadToEnd(ctx, func(*Record) error { records.Add(1); return nil }); err != nil && ctx.Err() == nil {
				read <- err
				return
			}
		}
		read <- nil
	}()
	p := newProducer(t, c, ProducerConfig{})
	ready(t, p)
	const lives = 4
	id, end := 0, time.Now().Add(lives*tokenLife)
	for ; time.Now().Before(end); id++ {
		write(t, p, fmt.Sprint(id))
		if id%100 == 50 {
			commitSlowly(t, p, tokenLife) // a session ends meanwhile
			continue
		}
		commit(t, p)
	}
	for waited := time.Now(); records.Load() < int32(id) && time.Since(waited) < 30*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-read; err != nil || records.Load() != int32(id) {
		t.Errorf("reader: %d of %d records, %v", records.Load(), id, err)
	}
	if err := <-elected; !errors.Is(err, context.Canceled) && err != nil || leads.Load() != 1 {
		t.Errorf("election: %v; %d leaderships", err, leads.Load())
	}
	got := committed(t, brokers)
	for i := range id {
		for where, n := range got[fmt.Sprint(i)] {
			if n != 1 {
				t.Errorf("transaction %d is %d times in %s", i, n, where)
			}
		}
		if len(got[fmt.Sprint(i)]) != 1+partitions {
			t.Errorf("transaction %d is in %v", i, got[fmt.Sprint(i)])
		}
	}
	t.Logf("%d transactions, %d records read, %d tokens", id, records.Load(), issuer.Given())
	if n := issuer.Given(); n < 3*lives {
		t.Errorf("%d tokens for 4 lives of 4 connections: sessions did not end", n)
	}
}

// commitSlowly is Commit with a pause before the end of the transaction.
func commitSlowly(t *testing.T, p *Producer, pause time.Duration) {
	t.Helper()
	ctx := within(t, pause+20*time.Second)
	err := errors.Join(p.prepare(ctx), p.addPartitions(ctx), p.sendAll(ctx))
	time.Sleep(pause)
	if err := errors.Join(err, p.end(ctx, true)); err != nil {
		t.Fatal(err)
	}
	p.discard()
	p.state = stateReady
}

// testLongPollOutlivesItsSession: a second member waits for a first one that does not come,
// longer than its session lasts. The answer still comes on that connection.
func testLongPollOutlivesItsSession(t *testing.T, c *Cluster) {
	config := ElectionConfig{GroupID: "long-poll", Partitions: 1, Topic: topicLog, SessionTimeout: 5 * tokenLife / 2}
	first, second := newMember(c, config), newMember(c, config)
	defer first.close()
	defer second.close()
	if owns, err := first.join(within(t, 30*time.Second), standing{}); err != nil || len(owns) != 1 {
		t.Fatalf("the first member: %v, %v", owns, err)
	}
	began := time.Now()
	if _, err := second.join(within(t, 60*time.Second), standing{}); err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	if waited := time.Since(began); waited < tokenLife {
		t.Errorf("waited %v only: no session ended meanwhile", waited)
	}
	if _, err := c.Partitions(within(t, 30*time.Second), topicLog); err != nil {
		t.Error(err)
	}
}

// testTokensAreRefused: what Kafka's validator says of each is named.
func testTokensAreRefused(t *testing.T, dial func(func() string) *Cluster, issuer *kafkatest.Issuer) {
	good := issuer.Token()
	issuer.Change(func(i *kafkatest.Issuing) { i.Audience = "another" })
	audience := issuer.Token()
	issuer.Change(func(i *kafkatest.Issuing) { i.Audience, i.Life = kafkatest.Audience, -time.Minute })
	expired := issuer.Token()
	issuer.Change(func(i *kafkatest.Issuing) { i.Life = tokenLife })
	for name, token := range map[string]string{
		"another audience": audience, "expired": expired, "no JWT": "opaque", "another signature": good[:len(good)-8] + "AAAAAAAA",
	} {
		ctx := within(t, 30*time.Second)
		_, err := dial(func() string { return token }).Partitions(ctx, topicLog)
		login, ok := errors.AsType[*LoginError](err)
		if !ok || login.Cause != `the token is not accepted: status "invalid_token"` || !errors.Is(err, ErrUnauthorized) || ctx.Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(fmt.Sprint(err), token) {
			t.Errorf("%s: the token is shown", name)
		}
	}
}
