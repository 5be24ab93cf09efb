package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/sandbox"
)

// moments are faults of a moment, which must leave nothing behind.
func moments() []scenario {
	const moment = 3 * time.Second
	notFound := func(e sandbox.Endpoint) func(*play) []sandbox.Fault {
		return always(sandbox.Fault{Kind: sandbox.StatusCode, Status: 404, Endpoint: e})
	}
	// Older than what realtime holds: without the query mapping it looks as if it had left retention.
	old := func(p *play) {
		p.past(50)
		p.world.Org.BackfillGrants(50, p.began.Add(-17*24*time.Hour), p.began.Add(-16*24*time.Hour))
	}
	farBack := map[string]string{"BACKFILL_FROM": "20d", "BACKFILL_CHUNK": "10d"}
	passes := func(p *play) { p.begins(); p.lasts(moment, nothing) }
	live := func(p *play) {
		p.begins()
		for range 8 {
			p.world.Org.EmitGrants(10)
			p.lasts(500*time.Millisecond, nothing)
		}
	}
	list := []scenario{
		{name: "404 of the query mapping at the start", api: "auto", set: farBack, made: old, faults: notFound(sandbox.EndpointMapping), during: passes},
		{name: "404 of the query mapping midway", api: "auto", set: farBack, made: old, faults: notFound(sandbox.EndpointMapping), during: passes, midway: true},
		{name: "404 of the realtime mapping midway", api: "auto", set: farBack, made: old, faults: notFound(sandbox.EndpointRealtimeMapping), during: passes, midway: true},
		{name: "the query mapping lacks the service at the start", api: "auto", set: farBack, made: old, during: passes,
			faults: always(sandbox.Fault{Kind: sandbox.LacksService, Service: service, Endpoint: sandbox.EndpointMapping})},
		{name: "both mappings lack the service midway", api: "auto", set: farBack, made: old, during: passes, midway: true,
			faults: always(sandbox.Fault{Kind: sandbox.LacksService, Service: service})},
		{name: "empty mappings midway", api: "auto", set: farBack, made: old, during: passes, midway: true,
			faults: always(sandbox.Fault{Kind: sandbox.EmptyMapping})},
		{name: "empty mappings at the start", api: "auto", set: map[string]string{"GENESYS_SERVICES": ""},
			faults: always(sandbox.Fault{Kind: sandbox.EmptyMapping}), during: saysSo},
		{name: "an empty query mapping at the start", api: "query", set: map[string]string{"GENESYS_SERVICES": ""},
			faults: always(sandbox.Fault{Kind: sandbox.EmptyMapping}), during: saysSo},
		{name: "one 404 of auditlogs at the start", api: "auto", set: map[string]string{"GENESYS_SERVICES": ""},
			org: func(o *sandbox.Options) { o.Dialects = nil }, made: withLogins, during: onlyConfiguration,
			faults: always(sandbox.Fault{Kind: sandbox.StatusCode, Status: 404, Endpoint: sandbox.EndpointAuditlogs, Count: 1})},
	}
	for name, f := range map[string]sandbox.Fault{
		"a gateway's": {Kind: sandbox.HTML, Status: 400, Count: 1}, "the API's": {Kind: sandbox.StatusCode, Status: 400, Count: 1},
	} {
		for api, e := range map[string]sandbox.Endpoint{
			"auditlogs": sandbox.EndpointAuditlogs, "query": sandbox.EndpointMapping, "realtime": sandbox.EndpointRealtimeMapping,
		} {
			f.Endpoint = e
			list = append(list, scenario{name: fmt.Sprintf("one 400 at the start of %s, %s", api, name), api: api, faults: always(f)})
		}
	}
	for _, api := range []string{"auditlogs", "auto"} {
		for name, shift := range map[string]time.Duration{"ahead": 3 * time.Hour, "behind": -3 * time.Hour} {
			for _, midway := range []bool{false, true} {
				list = append(list, scenario{
					name: fmt.Sprintf("the clock three hours %s, %s, midway %t", name, api, midway), api: api,
					clock: sandbox.ClockError{Shift: shift}, midway: midway, during: live,
				})
			}
		}
		list = append(list, scenario{name: "clock and events ten seconds ahead, " + api, api: api,
			clock: sandbox.ClockError{Shift: 10 * time.Second, Events: true},
			during: func(p *play) {
				live(p)
				p.meanwhile("the events of an organisation whose clock is ahead are published", p.everything)
			}})
	}
	slices.SortFunc(list, func(a, b scenario) int { return strings.Compare(a.name, b.name) })
	return list
}

// saysSo waits until it is said that there is nothing to be read.
func saysSo(p *play) {
	p.begins()
	p.until(30*time.Second, "it says that it reads nothing", func(l look) string {
		if l.status.LastError == nil {
			return "lastError is null"
		}
		return ""
	})
}

// hiddenLogin is the id of an event that the usual filter hides.
const hiddenLogin = "6f1c3c5e-1111-4c1e-8a5e-000000000001"

func withLogins(p *play) {
	p.past(300)
	p.raw(sandbox.Raw{At: p.began.Add(-10 * time.Minute), Type: "login", Service: service}, hiddenLogin)
	p.hidden, p.unseen = hiddenLogin, 1
}

// onlyConfiguration waits until all but the login is published, which never is.
func onlyConfiguration(p *play) {
	p.meanwhile("configuration is published", p.everything)
	p.lasts(3*time.Second, func(l look) string {
		switch {
		case len(l.raw[hiddenLogin]) > 0:
			return "what the filter excludes was published"
		case l.status.API != string(sandbox.Auditlogs):
			return "the API is " + l.status.API
		}
		return ""
	})
}

// refused is the service that goes wrong where another must not.
const refused = "Routing"

// others are faults that are named wrongly, and faults of one that must not be those of all.
func others() []scenario {
	two := map[string]string{"GENESYS_SERVICES": service + "," + refused, "SWEEP_AGES": "5s,10s"}
	list := []scenario{
		slowTail(),
		{name: "one service is refused, another's late events are found", api: "query", set: two, made: twoServices, during: lateEventsOfTheOther,
			faults: always(sandbox.Fault{Kind: sandbox.StatusCode, Status: http.StatusForbidden, Service: refused})},
		{name: "one service's sweeps fail, another's late events are found", api: "query", set: two, made: twoServices, during: lateEventsOfTheOther,
			faults: always(sandbox.Fault{Kind: sandbox.StatusCode, Status: 500, Service: refused, Older: 2 * time.Second})},
	}
	for api, e := range map[string]sandbox.Endpoint{
		"auditlogs": sandbox.EndpointAuditlogs, "query": sandbox.EndpointSubmit, "realtime": sandbox.EndpointRealtime,
	} {
		list = append(list, scenario{name: "a byte order mark before everything, " + api, api: api,
			faults: always(sandbox.Fault{Kind: sandbox.BOM}, sandbox.Fault{Kind: sandbox.BOM, Endpoint: sandbox.EndpointToken})})
		list = append(list, scenario{name: "a firewall, " + api, api: api, midway: true, during: noMissingPermission,
			faults: always(sandbox.Fault{Kind: sandbox.Firewall, Endpoint: e, RetryAfter: time.Second})})
	}
	return list
}

// twoServices is a past of both.
func twoServices(p *play) {
	for i := range 200 {
		at := p.began.Add(-time.Hour + time.Duration(i)*15*time.Second)
		p.raw(sandbox.Raw{At: at, Service: service}, fmt.Sprintf("past-%d", i))
		p.raw(sandbox.Raw{At: at, Service: refused}, fmt.Sprintf("%s-past-%d", refused, i))
	}
}

// lateEventsOfTheOther waits until all of the service that works is published,
// late events too, and says which answer of the API was at fault with the other.
func lateEventsOfTheOther(p *play) {
	ofOther := func(t sandbox.Truth) bool { return strings.HasPrefix(t.ID, refused) }
	mine := func(l look) string { return p.all(l, ofOther) }
	p.meanwhile("the past of the service that works is published", mine)
	for i := range 3 { // until the other service is put off for some time, and beyond
		for n := range 5 {
			late := sandbox.Raw{At: time.Now(), Delay: 3 * time.Second, Service: service}
			p.raw(late, fmt.Sprintf("late-%d-%d", i, n))
		}
		p.lasts(3*time.Second, nothing)
	}
	p.until(healLimit, "late events of the service that works are published", mine)
	ids := map[string]bool{}
	p.until(healLimit, "lastError names the answer that was at fault", func(l look) string {
		for _, r := range p.world.Org.Requests() {
			if r.Fault != "" {
				ids[r.CorrelationID] = true
			}
		}
		for id := range ids {
			if strings.Contains(l.status.lastError(), id) {
				return ""
			}
		}
		return fmt.Sprintf("lastError is %q, without an id of support's", l.status.lastError())
	})
	p.lasts(4*time.Second, func(l look) string { // which no success of the other may clear
		if l.status.LastError == nil {
			return "lastError is null though one service cannot be read"
		}
		return ""
	})
}

// slowTail is a tail that takes longer than a sweep age, of a time in which all
// events are shown late: the sweep must not pass it.
func slowTail() scenario {
	return scenario{
		name: "a tail that takes longer than a sweep age", api: "auditlogs", midway: true,
		set: map[string]string{"POLL_INTERVAL": "1s", "POLL_OVERLAP": "3s", "SWEEP_AGES": "2s", "GENESYS_REQUEST_TIMEOUT": "20s"},
		faults: always(sandbox.Fault{Kind: sandbox.Slow, Endpoint: sandbox.EndpointAuditlogs, Delay: 6 * time.Second,
			Younger: 1900 * time.Millisecond}), // the tail, not the sweep
		during: func(p *play) {
			for n := range 120 {
				p.raw(sandbox.Raw{At: time.Now(), Delay: 1500 * time.Millisecond}, fmt.Sprintf("late-%d", n))
				time.Sleep(100 * time.Millisecond)
			}
		},
	}
}

// noMissingPermission waits until the firewall is reported, as what it is.
func noMissingPermission(p *play) {
	alarm := regexp.MustCompile(`(?m)^genesys_audit_failing\{[^}]*kind="credentials"[^}]*\} [1-9]`)
	right := func(l look) string {
		metrics, err := p.get("/metrics")
		if err != nil {
			return err.Error()
		}
		if line := alarm.FindString(string(metrics)); line != "" {
			return "the credentials alarm rings: " + line
		}
		if said := l.status.lastError(); strings.Contains(said, "permission") {
			return "lastError speaks of a permission: " + said
		}
		return ""
	}
	p.until(30*time.Second, "the firewall is reported", func(l look) string {
		if wrong := right(l); wrong != "" {
			p.Fatal(wrong)
		}
		if l.status.LastError == nil {
			return "lastError is null"
		}
		return ""
	})
	p.lasts(2*time.Second, right)
}
