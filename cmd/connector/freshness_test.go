package main

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"genesys-audit-connector/internal/sandbox"
	"genesys-audit-connector/internal/web"
)

// freshness is how long events take from being shown to Kafka, in an organisation
// of 58 services of which realtime shows 46, with 300 requests a minute of which the
// connector takes 0.7, and queries of 3 seconds.
type freshness struct {
	all, grants       []time.Duration // sorted; grants are PeoplePermissions'
	refused, requests int
}

func measureFreshness(t testing.TB, length time.Duration, change func(*sandbox.Options), env map[string]string) (f freshness) {
	t.Helper()
	o := sandbox.Load(3)
	change(&o)
	s := newScene(t, nil, o)
	for name, value := range map[string]string{
		"GENESYS_AUDIT_API": "auto", "GENESYS_RATE_LIMIT": "300/1m", "GENESYS_RATE_SHARE": "0.7", "GENESYS_REQUEST_TIMEOUT": "30s",
		"POLL_INTERVAL": "5s", "POLL_OVERLAP": "2m", "SWEEP_AGES": "10m,1h,6h,24h", "BACKFILL_FROM": "2h",
	} {
		s.env[name] = value
	}
	for name, value := range env {
		s.env[name] = value
	}
	s.world.Org.Backfill(2000, time.Now().Add(-2*time.Hour), time.Now())
	a, _ := s.start()
	s.awaited(2*time.Minute, "a first poll", func() bool {
		streams := a.Snapshot().Streams
		return len(streams) > 0 && slices.ContainsFunc(streams, func(w web.Stream) bool { return !w.LastPoll.IsZero() })
	})
	began := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	for beat := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-beat.C {
		s.world.Org.Emit(1)
		if time.Since(began)%(2*time.Second) < 100*time.Millisecond {
			s.world.Org.EmitGrants(1)
		}
	}
	ended := time.Now()
	time.Sleep(30 * time.Second)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(s.env["KAFKA_TOPIC_RAW"]),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	reading, done := context.WithTimeout(t.Context(), 5*time.Second)
	defer done()
	for reading.Err() == nil {
		client.PollFetches(reading).EachRecord(func(r *kgo.Record) {
			var e struct {
				EventDate   time.Time
				ServiceName string
			}
			if json.Unmarshal(r.Value, &e) != nil || e.EventDate.Before(began) || e.EventDate.After(ended) {
				return
			}
			f.all = append(f.all, r.Timestamp.Sub(e.EventDate))
			if e.ServiceName == "PeoplePermissions" {
				f.grants = append(f.grants, r.Timestamp.Sub(e.EventDate))
			}
		})
	}
	slices.Sort(f.all)
	slices.Sort(f.grants)
	for _, n := range a.source.Requests() {
		f.requests += int(n.Count)
		if n.Status == 429 {
			f.refused += int(n.Count)
		}
	}
	return f
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*p/100]
}

// BenchmarkFreshness prints how fresh events are in Kafka. A record's own time
// stands for its being there: the commit takes some milliseconds more.
//
//	go test -run '^$' -bench Freshness -benchtime 1x ./cmd/connector
func BenchmarkFreshness(b *testing.B) {
	for _, bc := range []struct {
		name   string
		change func(*sandbox.Options)
		env    map[string]string
	}{
		{"one query for all services", func(*sandbox.Options) {}, nil},
		{"a query a service", func(o *sandbox.Options) { o.RequireService = true }, nil},
		{"queries limited to 30 a minute, a backfill of 20 days", func(o *sandbox.Options) {
			o.FamilyLimits = map[sandbox.Family]sandbox.Limit{sandbox.FamilyQuery: {Requests: 30, Window: time.Minute}}
		}, map[string]string{"BACKFILL_FROM": "20d"}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			for b.Loop() {
				f := measureFreshness(b, 90*time.Second, bc.change, bc.env)
				for name, list := range map[string][]time.Duration{"all": f.all, "grants": f.grants} {
					b.ReportMetric(percentile(list, 50).Seconds(), name+"-p50-s")
					b.ReportMetric(percentile(list, 99).Seconds(), name+"-p99-s")
				}
				b.ReportMetric(float64(len(f.all)), "events")
				b.ReportMetric(float64(f.requests), "requests")
				b.ReportMetric(float64(f.refused), "429s")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
