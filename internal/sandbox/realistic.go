package sandbox

import "time"

// Realistic is an organisation as live ones were seen to be: no dialect
// auditlogs, 58 services of which realtime shows 46 and not all of those,
// queries that take three seconds, results that are several files, realtime that
// times out on more than a day and refuses a sixth request at once, limits of
// families of routes beside the token's 300 a minute.
func Realistic(seed uint64) Options {
	minute := func(requests int) Limit { return Limit{Requests: requests, Window: time.Minute} }
	o := Load(seed)
	o.FamilyLimits = map[Family]Limit{FamilyQuery: minute(150), FamilyRealtime: minute(200), FamilyNames: minute(100)}
	o.Lateness = Lateness{Probability: 0.05, Min: time.Second, Max: 20 * time.Second}
	return o
}

// Load is the same organisation as a load to measure with: nothing odd, nothing
// late, and no limit but the token's 300 a minute. Give it events with
// ServerOptions.Rate or Org.Run.
func Load(seed uint64) Options {
	return Options{
		Seed:         seed,
		Dialects:     []Dialect{Query, Realtime},
		Odd:          -1,
		InFlight:     5,
		QueryDelay:   3 * time.Second,
		RealtimeSpan: 24 * time.Hour,
		RealtimeHang: 10 * time.Second,
		DownloadOver: 2000,
		Files:        &Files{Events: 2000},
	}
}
