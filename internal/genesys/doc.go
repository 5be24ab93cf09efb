// Package genesys is the client of the audit API of Genesys Cloud: OAuth, the
// pacing of requests, and the dialects in which the same events are served.
//
// It promises that a Read which returns nil has handed over every event that
// the API showed for the interval, bytes untouched, and that nothing in its answers
// says that there are more; that an answer which is not
// whole is never taken for an empty one; that no request is sent which the
// API's own headers say will be refused; and that no secret and no token gets
// into an error, a log line or a URL. It refuses to know Kafka and Avro, and
// keeps no memory of what was read.
//
// Where to look:
//
//	client.go      Config, Client: Now, Read
//	open.go        Open: token, clock, dialect, streams
//	pacer.go       when a request may be sent; quota.go what the headers say
//	send.go        one request: token, deadline, size limit, what a status means
//	chain.go       one request again and again; following pages
//	proof.go       when an answer counts as whole
//	lasting.go     what has to last before it counts
//	memory.go      the budget of all answers in memory
//	auditlogs.go, query.go, realtime.go   the dialects; results.go what a query found; pending.go queries that run for long
//	baseline.go, services.go   filter and services, checked against what the API knows
//	names.go       what ids are called
//	oauth.go, seal.go   tokens; refresh tokens that are replaced when used
//	clock.go       the API's clock
package genesys
