package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"genesys-audit-connector/internal/audit"
)

// TestPanicBesideThePoller: what looks for services beside the poller runs in a goroutine of
// its own, where a panic would end the process, and all organisations in it.
func TestPanicBesideThePoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{log: zap.NewNop(), lookForServices: time.Second} // without a source: to look panics
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		if err := (servicesTerm{app: a}).look(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ended with %v", err)
		}
		if n := a.health.Panics(); n != 3 {
			t.Errorf("%d panics were counted in three looks", n)
		}
	})
}

// TestPanicInALookup: the same of what looks names up.
func TestPanicInALookup(t *testing.T) {
	a := &app{log: zap.NewNop()}
	g := guardedNames{a, nil}
	if err := g.ListNames(t.Context(), audit.RoleKind, nil); err == nil {
		t.Error("a list that panics is no error")
	}
	if err := g.UserNames(t.Context(), nil, nil, nil); err == nil || a.health.Panics() != 2 {
		t.Errorf("a lookup that panics: %v, %d panics", err, a.health.Panics())
	}
}
