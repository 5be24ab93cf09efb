//go:build kafka

package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"genesys-audit-connector/internal/sandbox"
)

// chaosAPI is what the organisation of a seed serves: every other one only the
// dialects of services.
func chaosAPI(seed uint64) (api string, served []sandbox.Dialect) {
	if seed%2 == 0 {
		return "auditlogs", []sandbox.Dialect{sandbox.Auditlogs}
	}
	return "auto", []sandbox.Dialect{sandbox.Query, sandbox.Realtime}
}

// apiTrouble is something that the API does for a while.
type apiTrouble struct {
	name   string
	faults []sandbox.Fault
	clock  time.Duration // by which its clock is wrong
}

// apiTroubles are all of them; now and dice choose the details.
func apiTroubles(now time.Time, dice *rand.Rand) []apiTrouble {
	some := pick(dice, []string{"Routing", "PeoplePermissions", "Groups"})
	from := now.Add(-time.Duration(dice.Int64N(int64(20 * time.Second))))
	if dice.IntN(2) == 0 { // in what is backfilled
		from = now.Add(-time.Duration(dice.Int64N(int64(20 * time.Hour))))
	}
	until := from.Add(time.Duration(1+dice.IntN(300)) * time.Millisecond)
	at := pick(dice, []int{500, 1000, 2000, 5000})
	poison := func(kind sandbox.FaultKind, status int) []sandbox.Fault {
		return []sandbox.Fault{{Kind: kind, Status: status, From: from, Until: until, Holding: true}}
	}
	one := func(f sandbox.Fault) []sandbox.Fault { return []sandbox.Fault{f} }
	return []apiTrouble{
		{name: "cap", faults: one(sandbox.Fault{Kind: sandbox.Cap, Events: at})},
		{name: "cap, the last page repeated", faults: one(sandbox.Fault{Kind: sandbox.CapRepeat, Events: at})},
		{name: "cap of total", faults: one(sandbox.Fault{Kind: sandbox.CapTotal, Events: at})},
		{name: "cap of pageCount", faults: one(sandbox.Fault{Kind: sandbox.CapPages, Events: at})},
		{name: "ties", faults: one(sandbox.Fault{Kind: sandbox.Ties})},
		{name: "no total", faults: []sandbox.Fault{{Kind: sandbox.NoTotal}, {Kind: sandbox.NoPageCount}}},
		{name: "short pages", faults: one(sandbox.Fault{Kind: sandbox.ShortPage, Events: 1 + dice.IntN(3)})},
		{name: "long intervals time out", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 504, Longer: time.Hour})},
		{name: "poison, 500", faults: poison(sandbox.StatusCode, 500)},
		{name: "poison, no JSON", faults: poison(sandbox.HTML, 0)},
		{name: "poison, 422", faults: poison(sandbox.StatusCode, 422)},
		{name: "interval, 503", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, From: from, Until: until})},
		{name: "later pages, 400", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 400, Page: "later"})},
		{name: "queries fail", faults: one(sandbox.Fault{Kind: sandbox.QueryFailed, From: from, Until: until})},
		{name: "slow queries", faults: one(sandbox.Fault{Kind: sandbox.QuerySlow, Delay: 4 * time.Second})},
		{name: "mapping, 404", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 404, Endpoint: sandbox.EndpointMapping})},
		{name: "realtime mapping, 404", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 404, Endpoint: sandbox.EndpointRealtimeMapping})},
		{name: "empty mappings", faults: one(sandbox.Fault{Kind: sandbox.EmptyMapping})},
		{name: "mappings lack " + some, faults: one(sandbox.Fault{Kind: sandbox.LacksService, Service: some})},
		{name: "auditlogs, 404", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 404, Endpoint: sandbox.EndpointAuditlogs})},
		{name: "a gateway's 400", faults: one(sandbox.Fault{Kind: sandbox.HTML, Status: 400})},
		{name: "400", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 400})},
		{name: "BOM", faults: []sandbox.Fault{{Kind: sandbox.BOM}, {Kind: sandbox.BOM, Endpoint: sandbox.EndpointToken}}},
		{name: "firewall", faults: one(sandbox.Fault{Kind: sandbox.Firewall})},
		{name: some + " refused", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 403, Service: some})},
		{name: "sweeps of " + some + " fail", faults: one(sandbox.Fault{Kind: sandbox.StatusCode, Status: 500, Service: some, Older: 3 * time.Second})},
		{name: "clock ahead", clock: 3 * time.Hour},
		{name: "clock behind", clock: -3 * time.Hour},
	}
}

func pick[T any](dice *rand.Rand, from []T) T { return from[dice.IntN(len(from))] }

// troubleAPI lets the API do one of them until the move is over.
func (c *chaos) troubleAPI(m move) {
	dice := rand.New(rand.NewPCG(c.seed, uint64(m.api)))
	trouble := pick(dice, apiTroubles(time.Now(), dice))
	if trouble.clock != 0 {
		if !c.clock.TryLock() {
			return
		}
		c.world.Org.SetClock(sandbox.ClockError{Shift: trouble.clock})
		c.undo(m, func() { defer c.clock.Unlock(); c.world.Org.SetClock(sandbox.ClockError{}) })
	}
	for i := range trouble.faults {
		trouble.faults[i].For = m.hold
	}
	if err := c.world.Org.Inject(trouble.faults...); err != nil {
		c.Fatal(err)
	}
	c.note(m, trouble.name)
	c.figures[fmt.Sprintf("API does: %s", trouble.name)]++
}
