package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/evidence"
	"genesys-audit-connector/internal/sink"
)

// TestATimeStampThatFailsIsNotNamedByAStandby: the next leader asks for it.
func TestATimeStampThatFailsIsNotNamedByAStandby(t *testing.T) {
	t.Parallel()
	log, err := evidence.Open("acme", nil, evidence.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	log.Begin()
	if err := log.Append("id", evidence.Hash{}, evidence.Hash{}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Seal(time.Now(), json.RawMessage("{}")); err != nil {
		t.Fatal(err)
	}
	log.Commit()
	a := &app{log: zap.NewNop(), sink: sink.New(sink.Config{Org: "acme"}, nil, nil)}
	a.cfg.Evidence.TSAURL, a.cfg.Evidence.TSAInterval = "http://127.0.0.1:1/", time.Hour // refuses
	a.sink.Log(log, sink.Topic{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan struct{})
	go func() { a.stampCheckpoints(ctx); close(ended) }()
	for deadline := time.Now().Add(30 * time.Second); len(a.health.Failing()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the authority is not reached, and nobody is told")
		}
	}
	stop()
	<-ended
	if failing := a.health.Failing(); len(failing) != 0 {
		t.Errorf("%+v", failing)
	}
}
