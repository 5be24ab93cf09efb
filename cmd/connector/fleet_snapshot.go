package main

import (
	"context"
	"slices"
	"time"

	"genesys-audit-connector/internal/txn"
	"genesys-audit-connector/internal/web"
)

// hours counts the events of an organisation by the hour that they were published in.
type hours struct {
	counted int // of the organisation's own count
	hour    time.Time
	events  [24]uint64 // the current hour last
}

// count adds what was published since the last call, to the current hour.
func (h *hours) count(now time.Time, published int) {
	if now = now.Truncate(time.Hour); h.hour.IsZero() {
		h.hour = now
	}
	for ; h.hour.Before(now); h.hour = h.hour.Add(time.Hour) {
		copy(h.events[:], h.events[1:])
		h.events[len(h.events)-1] = 0
	}
	if published < h.counted { // it was started anew
		h.counted = 0
	}
	h.events[len(h.events)-1] += uint64(published - h.counted)
	h.counted = published
}

// countHours counts the events of those that are led here, until ctx ends.
func (f *fleetApp) countHours(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			f.mu.Lock()
			f.count(now)
			f.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func (f *fleetApp) count(now time.Time) {
	for name, o := range f.led {
		if f.hours[name] == nil {
			f.hours[name] = new(hours)
		}
		f.hours[name].count(now, o.stats.Counts().Published)
	}
	for name := range f.hours {
		if f.led[name] == nil {
			delete(f.hours, name)
		}
	}
}

// Fleet is what the overview, its API and the metrics show.
func (f *fleetApp) Fleet() web.Fleet {
	v, commit := build()
	now := time.Now()
	s := web.Fleet{Replica: f.name, Version: v, Commit: commit, Now: now, Started: f.started}
	for _, failure := range f.health.Failing() {
		if failure.Subject == orgsFileSubject {
			s.OrgsFileError = failure.Err.Error()
		}
	}
	s.Failures = failures(append(f.health.Past(), f.health.Failing()...))
	members := f.group()
	for _, m := range members {
		s.Members = append(s.Members, web.Member{Name: m.Name, Partitions: len(m.Partitions)})
	}
	f.mu.Lock()
	f.count(now)
	assembled := f.fleet != nil
	for _, cfg := range f.configs {
		s.Organisations = append(s.Organisations, f.summary(cfg, members))
	}
	led := make(map[string]*organisation, len(f.led))
	for name, o := range f.led {
		led[name] = o
	}
	f.mu.Unlock()
	for i := range s.Organisations {
		line := &s.Organisations[i]
		if o := led[line.Org]; o != nil {
			snapshot := o.Snapshot()
			filled := snapshot.Summary()
			filled.Partition, filled.Replica, filled.Hourly = line.Partition, f.name, line.Hourly
			if line.LastError != "" {
				filled.LastError, filled.Warning = line.LastError, false
			}
			*line = filled
		}
	}
	role := web.Standby
	if !assembled {
		role = web.Starting
	}
	s.NotReady = notReady(role, assembled, f.health.Failing())
	return s
}

// summary is the line of an organisation as far as it is known without asking it.
func (f *fleetApp) summary(cfg Config, members []txn.Member) web.Summary {
	line := web.Summary{Org: cfg.Org, Role: web.Standby, Partition: cfg.offsetsPartition()}
	if i := slices.IndexFunc(members, func(m txn.Member) bool { return slices.Contains(m.Partitions, line.Partition) }); i >= 0 {
		line.Replica = members[i].Name
	}
	if err := f.broken[cfg.Org]; err != nil {
		line.Role, line.LastError = web.Starting, err.Error()
	}
	if h := f.hours[cfg.Org]; h != nil {
		line.Hourly = h.events
	}
	return line
}

// Organisation is the page of one that is led here.
func (f *fleetApp) Organisation(name string) (web.Snapshot, bool) {
	f.mu.Lock()
	o := f.led[name]
	f.mu.Unlock()
	if o == nil {
		return web.Snapshot{}, false
	}
	return o.Snapshot(), true
}
