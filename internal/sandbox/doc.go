// Package sandbox is a simulated Genesys Cloud organisation and a Kafka broker
// that lives in the process: what the demo, the tests and the clients of other
// languages run against where no real organisation may be touched.
//
// It promises three things. The organisation answers as the real one is
// documented to (OAuth, the three audit dialects, limits, page tokens). It is
// deterministic by Options.Seed: the same calls make the same events, byte for
// byte. And it knows the truth: Org.Truth lists every event it ever showed,
// under the id that a consumer must know it by.
//
// It knows nothing of the connector, imports none of its packages, and so
// cannot share a mistake with it.
//
// Where to look:
//
//	fault.go      every fault that can be injected, one constant each
//	scope.go      which requests a fault is about: a service, an interval, its length, its age, what the answer holds
//	condition.go  faults beside others: caps, ties, what realtime leaves out, mappings
//	clock.go      a clock that is wrong
//	oddity.go     every odd event that can be made, by name
//	org.go        Options: what the organisation is like
//	emit.go       making events: Emit, Backfill, Run, lateness
//	truth.go      what was shown, for checkers
//	control.go    the same from another process: /sandbox/…
//	limit.go      rate limits and the other consumers that eat them
//	exchange.go   the way of a request: limit, fault, token, handler, delivery
//	auditlogs.go, query.go, realtime.go   the dialects
//	world.go, scene*.go   who does what in this organisation
//	server.go, broker.go  addresses of its own, and the embedded broker
package sandbox
