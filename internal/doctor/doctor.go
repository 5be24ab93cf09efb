// Package doctor looks at everything that the connector needs, thing by thing,
// and says of each whether it is as it should be, how long it took to see, and
// what to do about it. It is a package of its own because it joins what no other
// one may: the API's client, Kafka's and the registry's, each of which knows its
// own refusals, while only here is it known what they mean to whoever operates
// the connector.
//
// It promises to change nothing and to disturb nobody, also where a connector
// runs with the same settings: no transactional id is initialised, no group
// joined, no topic or schema made, no refresh token used. Every look has an end,
// and what does not need what is broken is still looked at. No secret is told.
// It refuses to know variables, terminals and exit codes.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is how a thing is found.
type Status string

// The statuses, from good to bad.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, or was not looked at
	Failed  Status = "failed"
	Skipped Status = "skipped" // not looked at, which is nobody's fault, or that of what another check names
)

// Check is what was found of one thing.
type Check struct {
	Name    string  `json:"name"`
	Status  Status  `json:"status"`
	Seconds float64 `json:"seconds"`
	Detail  string  `json:"detail"`
	Hint    string  `json:"hint"` // what to do, one thing a line; "" for nothing
}

// Doctor is what is to be looked at.
type Doctor struct {
	API      API
	Kafka    Kafka
	Registry Registry
	Replica  Replica
}

// Run looks at one thing after the other and tells of each once it is known.
func (d *Doctor) Run(ctx context.Context, tell func(Check)) {
	e := examination{ctx, tell}
	d.API.examine(e)
	d.Kafka.examine(e)
	d.Registry.examine(e)
	d.Replica.examine(e)
}

// finding is the outcome of a look. It begins as good and gets worse by what is added.
type finding struct {
	status  Status
	details []string
	hints   []string
}

func (f *finding) ok(detail string) { f.add(OK, detail, "") }

func (f *finding) warn(detail, hint string) { f.add(Warning, detail, hint) }

func (f *finding) fail(detail, hint string) { f.add(Failed, detail, hint) }

func (f *finding) add(s Status, detail, hint string) {
	if f.status == "" || s == Failed || s == Warning && f.status == OK {
		f.status = s
	}
	if detail != "" {
		f.details = append(f.details, detail)
	}
	if hint != "" && !slices.Contains(f.hints, hint) {
		f.hints = append(f.hints, hint)
	}
}

// examination is a Run under way.
type examination struct {
	ctx  context.Context
	tell func(Check)
}

// look looks at one thing, for a limited time, and returns how it was found.
func (e examination) look(name string, within time.Duration, at func(context.Context, *finding)) Status {
	ctx, cancel := context.WithTimeoutCause(e.ctx, within, fmt.Errorf("it took longer than %s", within))
	defer cancel()
	return e.judge(name, func(f *finding) { at(ctx, f) })
}

// judge tells of what needs no time to be found.
func (e examination) judge(name string, by func(*finding)) Status {
	began := time.Now()
	var f finding
	by(&f)
	took := time.Since(began).Round(time.Millisecond)
	e.tell(Check{name, f.status, took.Seconds(), strings.Join(f.details, "; "), strings.Join(f.hints, "\n")})
	return f.status
}

// skip tells of things that cannot be looked at before something else is mended.
func (e examination) skip(because string, names ...string) {
	for _, name := range names {
		e.tell(Check{Name: name, Status: Skipped, Detail: "not looked at: " + because})
	}
}
