// Package sandbox is a simulated Genesys Cloud organisation and a Kafka broker
// that lives in the process: what the demo, the tests and the clients of other
// languages run against where no real organisation may be touched.
//
// It promises three things. The organisation answers as real ones are documented
// to and were seen to (OAuth, the three audit dialects, listings for names,
// limits, page tokens). It is deterministic by Options.Seed: the same calls make
// the same events, byte for byte. And it knows the truth: Org.Truth lists every
// event it ever showed, under the id that a consumer must know it by.
//
// It knows nothing of the connector, imports none of its packages, and so
// cannot share a mistake with it.
//
// Options{} is a patient organisation of all dialects. Realistic is one as live
// ones were seen; Load is the same as a load to measure with.
//
// # Where it is kinder than the real one, or a guess
//
//   - Which entity type and action belongs to which service, and what of it
//     dialect realtime lacks, is documented nowhere (services.txt). That there are
//     58 and 46, and types that realtime lacks, was seen; which ones was not.
//   - Dialect auditlogs tells names and whole snapshots of what the query dialects
//     show as ids only. No live organisation was seen that serves it.
//   - What happens is a few hundred scenes over and over: a user's version goes
//     from 12 to 13 each time, and names change only by SetName. Events of a service
//     come evenly over the day, without a nightly import.
//   - The limits of families of routes, of requests at once, and the time that a
//     query takes (always the same) are figures that somebody measured once, or
//     options. Real ones are not told and change.
//   - Retention ends at a millisecond; pages, files and queries do not change once
//     they were shown, unless a fault says so.
//   - Listings of names show what there is at once and at any time. Deleted roles,
//     queues and groups are not served; a deleted user is, and ?state must ask for
//     it where users are searched by id. Their permissions' names are those of the
//     vendor's documentation, where it has them.
//   - A refused login names the user whom it was for in entity; which of the real
//     one's say that is not known.
//
// Where to look:
//
//	fault.go      every fault that can be injected, one constant each
//	scope.go      which requests a fault is about: a service, an interval, its length, its age, what the answer holds
//	condition.go  faults beside others: caps, ties, what realtime leaves out, mappings
//	clock.go      a clock that is wrong
//	oddity.go     every odd event that can be made, by name
//	org.go        Options: what the organisation is like
//	realistic.go  Realistic and Load
//	emit.go       making events: Emit, EmitMembership, Backfill, Run, lateness
//	truth.go      what was shown, for checkers
//	control.go    the same from another process: /sandbox/…
//	limit.go, family.go   rate limits, families of routes, and the other consumers that eat them
//	exchange.go   the way of a request: limit, fault, token, permission, handler, delivery
//	auditlogs.go, query.go, realtime.go, download.go   the dialects
//	taxonomy.go, services.txt   services, entity types, actions
//	names.go      listings of users, roles, groups, divisions, OAuth clients, queues; permissions
//	world.go, scene*.go   who does what in this organisation
//	server.go, broker.go  addresses of its own, and the embedded broker
package sandbox
