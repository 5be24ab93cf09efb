package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/web"
)

// services is an organisation that is read by service.
func services(t *testing.T, dialects ...sandbox.Dialect) *scene {
	return servicesOf(t, nil, func(o *sandbox.Options) {
		o.Dialects = dialects
		o.WholeRealtime = true // for a connector that is told to read realtime alone
	})
}

// servicesOf is an organisation whose dialect realtime lacks services and entity types.
func servicesOf(t *testing.T, brokers []string, change func(*sandbox.Options)) *scene {
	o := unlimited()
	o.Dialects, o.Odd, o.OtherTypes = []sandbox.Dialect{sandbox.Query, sandbox.Realtime}, -1, -1
	change(&o)
	s := newScene(t, brokers, o)
	s.env["BACKFILL_FROM"] = "3h"
	return s
}

func (s *scene) history() {
	s.world.Org.Backfill(200, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute))
}

func TestEveryDialectOnce(t *testing.T) {
	for name, served := range map[string][]sandbox.Dialect{
		"query": {sandbox.Query}, "realtime": {sandbox.Realtime}, "auto": {sandbox.Query, sandbox.Realtime},
	} {
		t.Run(name, func(t *testing.T) {
			s := services(t, served...)
			s.env["GENESYS_AUDIT_API"] = name
			_, stop := s.start()
			s.world.Org.EmitGrants(100) // realtime serves their service too
			if name != "realtime" {
				s.history()
				s.world.Org.Emit(100)
			}
			s.published(60 * time.Second)
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The same organisation, read through one dialect after the other: an event has
// the same id in all of them.
func TestAnotherDialectPublishesNothingTwice(t *testing.T) {
	s := services(t, sandbox.Query, sandbox.Realtime)
	s.history()
	for _, dialect := range []string{"query", "realtime", "auto", "query"} {
		s.env["GENESYS_AUDIT_API"] = dialect
		_, stop := s.start()
		s.world.Org.EmitGrants(50)
		s.published(60 * time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where one query asks for all services a new one needs no look; where each is
// asked for, one a minute.
func TestNewServiceIsReadWithoutRestart(t *testing.T) {
	t.Parallel()
	for _, each := range []bool{false, true} {
		t.Run(fmt.Sprintf("a query each %t", each), func(t *testing.T) {
			s := servicesOf(t, nil, func(o *sandbox.Options) { o.RequireService = each })
			s.history()
			s.env["GENESYS_AUDIT_API"] = "auto"
			a, _ := s.start(func(a *app) { a.lookForServices = 500 * time.Millisecond })
			s.published(60 * time.Second)
			event := sandbox.Raw{At: time.Now(), Service: "Quantum", EntityType: "Qubit", Action: "Entangle"}
			event.Body = []byte(`{"auditId":"0b5a9cf2-3f5e-4d1a-9d53-5f4a3ad3b2c1","timestamp":"` + event.At.UTC().Format(time.RFC3339Nano) + `"}`)
			event.Query = []byte(`{"id":"0b5a9cf2-3f5e-4d1a-9d53-5f4a3ad3b2c1","eventDate":"` + event.At.UTC().Format(time.RFC3339Nano) + `","serviceName":"Quantum"}`)
			if _, err := s.world.Org.EmitRaw(event); err != nil {
				t.Fatal(err)
			}
			s.published(60 * time.Second)
			if list := streamNames(a.Snapshot().Streams); slices.Contains(list, "query:Quantum") != each || slices.Contains(list, "query:*") == each {
				t.Errorf("streams %v", list)
			}
		})
	}
}

// TestQueriesOfAllServicesThatFail: they are taken and come to nothing. Services are asked
// for one by one, where the query of all has left off; what it could not read is
// published, and nothing twice.
func TestQueriesOfAllServicesThatFail(t *testing.T) {
	t.Parallel() // it takes a minute until that has lasted
	s := servicesOf(t, nil, func(o *sandbox.Options) { o.Dialects = []sandbox.Dialect{sandbox.Query} })
	s.env["GENESYS_AUDIT_API"] = "auto"
	s.history()
	a, stop := s.start(func(a *app) { a.lookForServices = 500 * time.Millisecond })
	s.published(60 * time.Second)
	if list := streamNames(a.Snapshot().Streams); !slices.Equal(list, []string{"query:*"}) {
		t.Fatalf("streams %v", list)
	}
	if err := s.world.Org.Inject(sandbox.Fault{Kind: sandbox.QueryFailed, Endpoint: sandbox.EndpointSubmit, Service: sandbox.AllServices, Count: -1}); err != nil {
		t.Fatal(err)
	}
	s.world.Org.Emit(100)
	s.published(5 * time.Minute)
	if list := streamNames(a.Snapshot().Streams); slices.Contains(list, "query:*") || len(list) < 10 {
		t.Errorf("streams %v", list)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	s.world.Org.Emit(100)
	a, _ = s.start()
	s.published(90 * time.Second)
	if list := streamNames(a.Snapshot().Streams); slices.Contains(list, "query:*") {
		t.Errorf("after a restart, streams %v", list)
	}
}

func streamNames(streams []web.Stream) []string {
	var list []string
	for _, s := range streams {
		list = append(list, s.Name)
	}
	return list
}
