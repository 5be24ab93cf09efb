package main

import (
	"fmt"
	"time"

	"genesys-audit-connector/internal/sandbox"
)

// always arms faults for any number of requests.
func always(list ...sandbox.Fault) func(*play) []sandbox.Fault {
	for i := range list {
		if list[i].Count == 0 && list[i].For == 0 {
			list[i].Count = -1
		}
	}
	return func(*play) []sandbox.Fault { return list }
}

// beliefs are answers that must not be believed.
func beliefs() (list []scenario) {
	capped := func(api string, kind sandbox.FaultKind, at, events int) {
		list = append(list, scenario{
			name: fmt.Sprintf("%s %d of %d events in %s", kind, at, events, api), api: api,
			made: func(p *play) { p.past(events) }, faults: always(sandbox.Fault{Kind: kind, Events: at}),
		})
	}
	capped("realtime", sandbox.Cap, 10_000, 12_000)
	capped("realtime", sandbox.Cap, 5_000, 6_000)
	for _, kind := range []sandbox.FaultKind{sandbox.Cap, sandbox.CapRepeat, sandbox.CapTotal, sandbox.CapPages} {
		capped("realtime", kind, 1_000, 1_500)
	}
	capped("query", sandbox.Cap, 1_000, 1_500)
	capped("auditlogs", sandbox.Cap, 1_000, 2_500)
	capped("auditlogs", sandbox.Cap, 2_000, 2_500)

	silent := func(name string, faults ...sandbox.Fault) {
		list = append(list, scenario{name: name, api: "realtime", made: func(p *play) { p.past(1_200) }, faults: always(faults...)})
	}
	noTotal, noPages := sandbox.Fault{Kind: sandbox.NoTotal}, sandbox.Fault{Kind: sandbox.NoPageCount}
	silent("realtime without total", noTotal)
	silent("realtime without pageCount", noPages)
	silent("realtime without both", noTotal, noPages)
	silent("last pages shorter than total says", sandbox.Fault{Kind: sandbox.ShortPage, Events: 1, Count: 4})
	silent("pages shorter than total says, of old intervals", sandbox.Fault{Kind: sandbox.ShortPage, Events: 7, Count: 4, Older: time.Second})

	window := func(name string, f sandbox.Fault) {
		f.Endpoint, f.Longer = sandbox.EndpointRealtime, 24*time.Hour
		list = append(list, scenario{
			name: name, api: "realtime", set: map[string]string{"BACKFILL_FROM": "72h", "BACKFILL_CHUNK": "48h"}, faults: always(f),
			made: func(p *play) {
				p.world.Org.BackfillGrants(300, p.began.Add(-70*time.Hour), p.began.Add(-time.Minute))
			},
		})
	}
	window("realtime times out on more than a day", sandbox.Fault{Kind: sandbox.StatusCode, Status: 504})
	window("realtime hangs on more than a day", sandbox.Fault{Kind: sandbox.Hang, Delay: 10 * time.Second})

	// Pages of ties that are in another order each time show some events twice and
	// others never: nothing may be believed covered, and nothing be lost afterwards.
	return append(list, scenario{
		name: "ties in another order each time", api: "realtime", faults: always(sandbox.Fault{Kind: sandbox.Ties}), waste: 2_000_000,
		made: func(p *play) {
			p.past(100)
			p.world.Org.BackfillGrants(1_200, p.poisoned(), p.poisoned())
		},
		during: func(p *play) {
			p.meanwhile("the ties are published, or a gap with its reason", func(l look) string {
				missing := p.everything(l)
				if p.allButPoison(l) == "" {
					return ""
				}
				return missing
			})
		},
	})
}

// poisons are intervals that cannot be read for good.
func poisons() (list []scenario) {
	poison := func(name, api string, faults ...sandbox.Fault) {
		list = append(list, scenario{
			name: name + " in " + api, api: api, slow: 2, // each half fails some times
			made: func(p *play) {
				p.past(600)
				p.world.Org.BackfillGrants(1, p.poisoned(), p.poisoned())
			},
			faults: func(p *play) (list []sandbox.Fault) {
				for _, f := range faults {
					f.From, f.Count = p.poisoned(), -1
					list = append(list, f)
				}
				return list
			},
			during: func(p *play) {
				p.meanwhile("everything but the poisoned millisecond is published", p.allButPoison)
				p.world.Org.EmitGrants(5)
				p.until(healLimit, "new events pass it by", p.allButPoison)
			},
		})
	}
	for _, api := range []string{"auditlogs", "realtime", "query"} {
		poison("a poisoned event answers 500", api, sandbox.Fault{Kind: sandbox.StatusCode, Status: 500, Holding: true})
		poison("a poisoned event's page is no JSON", api, sandbox.Fault{Kind: sandbox.HTML, Holding: true})
	}
	poison("a poisoned event's page is refused with 422", "auditlogs", sandbox.Fault{Kind: sandbox.StatusCode, Status: 422, Holding: true})
	poison("an interval answers 503", "auditlogs", sandbox.Fault{Kind: sandbox.StatusCode, Status: 503, Endpoint: sandbox.EndpointAuditlogs})
	poison("a poisoned event's answer is cut", "auditlogs", sandbox.Fault{Kind: sandbox.CutJSON, Holding: true})
	poison("a query that always fails", "query", sandbox.Fault{Kind: sandbox.QueryFailed})
	poison("a query that is always cancelled", "query", sandbox.Fault{Kind: sandbox.QueryCancelled})

	// 4xx behind a good first page: the poisoned event can be read where it stands on a first page.
	for _, status := range []int{400, 422} {
		list = append(list, scenario{
			name: fmt.Sprintf("%d behind a good first page", status), api: "auditlogs", waste: 60_000,
			made: func(p *play) { p.past(2_500) },
			faults: always(sandbox.Fault{Kind: sandbox.StatusCode, Status: status, Page: "later",
				Endpoint: sandbox.EndpointAuditlogs}),
		})
	}
	return append(list, scenario{
		name: "a slow query", api: "query", made: func(p *play) { p.past(600) },
		faults: always(sandbox.Fault{Kind: sandbox.QuerySlow, Delay: 8 * time.Second, Longer: 10 * time.Minute}),
		during: func(p *play) {
			p.world.Org.EmitGrants(20)
			live := func(t sandbox.Truth) bool { return t.Time < p.began.UnixMilli() }
			p.until(7*time.Second, "new events do not wait for it", func(l look) string { return p.all(l, live) })
			p.meanwhile("everything is published", p.everything)
			if n := p.world.Org.Stats().Faults[sandbox.QuerySlow]; n > 3 {
				p.Errorf("the slow query was submitted %d times", n)
			}
		},
	})
}
