package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"genesys-audit-connector/internal/audit"
	"genesys-audit-connector/internal/genesys"
)

// How long a look at the API may take. The client tries again by itself what
// passes by itself, and waits for its turn when others use the limit up.
const (
	tokenTime  = 30 * time.Second
	openTime   = time.Minute
	streamTime = 30 * time.Second
	eventsTime = 3 * time.Minute // for all streams together
)

// API is the organisation's API and its login.
type API struct {
	URL, LoginURL string
	// Client has not been opened. It is nil where there is a refresh token: the
	// login would replace it, and a running connector's would be dead.
	Client *genesys.Client
	// Notes are those of the client's logger.
	Notes *Notes
	// Start is where reading begins, for a clock that says now and an API that
	// holds events for retention.
	Start func(now time.Time, retention time.Duration) time.Time
	// Reserve is how many requests are always to be left.
	Reserve int
	// Names says that names of ids are looked up.
	Names bool
}

const (
	nameToken      = "token"
	nameAPI        = "audit API"
	namePermission = "permission"
	nameDivisions  = "divisions"
	nameTaxonomy   = "taxonomy"
	nameEvents     = "events"
	nameRetention  = "retention"
	nameNames      = "names"
	nameClock      = "clock"
	nameRate       = "rate limit"
)

func (a API) examine(e examination) {
	login := e.look("login host", hostTime, func(ctx context.Context, f *finding) {
		host(ctx, f, a.LoginURL, "GENESYS_REGION (or GENESYS_LOGIN_URL)")
	})
	api := e.look("API host", hostTime, func(ctx context.Context, f *finding) {
		host(ctx, f, a.URL, "GENESYS_REGION (or GENESYS_API_URL)")
	})
	rest := []string{nameAPI, namePermission, nameDivisions, nameTaxonomy, nameEvents, nameRetention, nameNames, nameClock, nameRate}
	if !a.Names {
		rest = slices.DeleteFunc(rest, func(name string) bool { return name == nameNames })
	}
	switch {
	case a.Client == nil:
		e.judge(nameToken, func(f *finding) {
			f.warn("not asked for: GENESYS_REFRESH_TOKEN is set, and to use a refresh token may replace it, which would lock the running connector out",
				"ask the running connector: connector status")
		})
		e.skip("it needs a token", rest...)
		return
	case login == Failed:
		e.skip("the login host cannot be reached", nameToken)
		e.skip("it needs a token", rest...)
		return
	}
	token := e.look(nameToken, tokenTime, func(ctx context.Context, f *finding) {
		if err := a.Client.Login(ctx); err != nil {
			a.refuse(ctx, f, err)
			return
		}
		f.ok("the login host gives one")
	})
	switch {
	case token == Failed:
		e.skip("it needs a token", rest...)
	case api == Failed:
		e.skip("the API host cannot be reached", rest...)
	default:
		a.examineAudits(e)
	}
}

// refuse tells of an error of the client what to do about it.
func (a API) refuse(ctx context.Context, f *finding, err error) {
	var credentials *genesys.CredentialsError
	var status *genesys.StatusError
	var redirect *genesys.RedirectError
	var between *genesys.InterceptedError
	switch {
	case errors.As(err, &credentials):
		f.fail(strings.TrimSpace(fmt.Sprintf("%s: %d %s", credentials.By, credentials.Status, credentials.Code)), credentials.Hint)
	case errors.As(err, &status):
		f.fail(strings.TrimSuffix(status.Error(), ": "+status.Hint), status.Hint)
	case errors.As(err, &redirect):
		f.fail(redirect.Error(), "is GENESYS_REGION (or GENESYS_API_URL, GENESYS_LOGIN_URL) right?")
	case errors.As(err, &between):
		f.fail(between.Error(), "does a firewall or proxy let it through, and is GENESYS_REGION (or GENESYS_API_URL, GENESYS_LOGIN_URL) right?")
	case ctx.Err() != nil:
		f.fail(context.Cause(ctx).Error(), "the API is slow, or others use its limit up: look again later")
	default:
		f.fail(err.Error(), "this may pass: look again later. If it does not, is there a proxy or gateway in between that answers itself?")
	}
}

// examineAudits looks at what needs a token and the API. The limits are told at
// the end, for every answer before shows them.
func (a API) examineAudits(e examination) {
	defer a.examineLimits(e)
	defer a.examineNames(e)
	var opened opening
	if e.look(nameAPI, openTime, func(ctx context.Context, f *finding) { opened = a.open(ctx, f) }) == Failed {
		e.skip("the audit API does not answer as it should", namePermission, nameDivisions, nameTaxonomy, nameEvents, nameRetention)
		return
	}
	if e.look(namePermission, streamTime, func(ctx context.Context, f *finding) { a.permission(ctx, f, opened) }) == Failed {
		e.skip("it needs the permission", nameDivisions, nameTaxonomy, nameEvents, nameRetention)
		return
	}
	a.examineDivisions(e)
	if e.judge(nameTaxonomy, func(f *finding) { opened.taxonomy(f) }) == Failed {
		e.skip("what to read is not known", nameEvents, nameRetention)
		return
	}
	a.examineStreams(e, opened.streams)
}

// opening is what came of opening the API: streams, or what it has against us.
type opening struct {
	streams   []audit.Stream
	forbidden error                 // of the permission
	wrong     []*genesys.ValueError // of the taxonomy
	warnings  []string              // of the taxonomy
}

// open opens the API. What is about the permission or the taxonomy is told under
// their names, not under that of the API, which has answered.
func (a API) open(ctx context.Context, f *finding) (o opening) {
	a.Notes.take()
	streams, err := a.Client.Open(ctx)
	o.streams, o.warnings = streams, a.Notes.take()
	refused, _ := errors.AsType[*genesys.CredentialsError](err)
	o.wrong = wrongValues(err)
	switch {
	case err == nil:
		f.ok("dialect " + a.Client.API())
		a.served(f)
	case refused != nil && refused.Status == http.StatusForbidden:
		o.forbidden = err
		f.ok("it answers")
	case o.wrong != nil:
		f.ok("it answers")
	default:
		a.refuse(ctx, f, err)
	}
	return o
}

// served tells what the dialects that know services serve.
func (a API) served(f *finding) {
	s := a.Client.Served()
	switch {
	case len(s.Query) > 0 && s.Whole != nil && *s.Whole:
		f.ok(fmt.Sprintf("query serves %d services and takes one query for all of them", len(s.Query)))
	case len(s.Query) > 0 && s.Whole != nil:
		f.ok(fmt.Sprintf("query serves %d services and wants a query for each", len(s.Query)))
	case len(s.Query) > 0:
		f.ok(fmt.Sprintf("query serves %d services", len(s.Query)))
	}
	if len(s.Realtime) == 0 {
		return
	}
	lacks := 0
	for _, service := range s.Query {
		if !slices.Contains(s.Realtime, service) {
			lacks++
		}
	}
	f.ok(fmt.Sprintf("realtime serves %d, and lacks %d that query has", len(s.Realtime), lacks))
}

// wrongValues are all that are joined in an error.
func wrongValues(err error) []*genesys.ValueError {
	switch e := err.(type) {
	case *genesys.ValueError:
		return []*genesys.ValueError{e}
	case interface{ Unwrap() error }:
		return wrongValues(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*genesys.ValueError
		for _, inner := range e.Unwrap() {
			all = append(all, wrongValues(inner)...)
		}
		return all
	}
	return nil
}

// permission reads a little, for the dialects with services show their taxonomy
// to whoever has a token. An error of another kind is told with the events.
func (a API) permission(ctx context.Context, f *finding, o opening) {
	err := o.forbidden
	switch {
	case err == nil && o.wrong != nil:
		f.add(Skipped, "not looked at: what to read is not known", "")
		return
	case err == nil && len(o.streams) > 0:
		_, err = a.first(ctx, o.streams[0], recent(a.Client.Now()))
	}
	if errors.Is(err, genesys.ErrCredentials) {
		a.refuse(ctx, f, err)
		return
	}
	f.ok("audits may be read")
}

func (o opening) taxonomy(f *finding) {
	for _, w := range o.wrong {
		hint := "correct " + w.Variable
		if w.Suggestion != "" {
			hint += fmt.Sprintf(": %s is there", w.Suggestion)
		}
		f.fail(fmt.Sprintf("%s=%s: %s", w.Variable, w.Value, w.Reason), hint)
	}
	if o.wrong != nil {
		return
	}
	if len(o.streams) == 1 {
		f.ok(subject(o.streams[0]))
	} else {
		f.ok(fmt.Sprintf("%d services", len(o.streams)))
	}
	for _, w := range o.warnings {
		f.warn(w, "is it spelt as the API spells it? If so, nothing is wrong: it has not happened yet")
	}
}

// subject is what a stream asks for: a filter or a service.
func subject(s audit.Stream) string {
	_, what, _ := strings.Cut(s.Name, ":")
	return what
}

// examineStreams reads a little of every stream, and the oldest of the first one.
func (a API) examineStreams(e examination, streams []audit.Stream) {
	ctx, cancel := context.WithTimeoutCause(e.ctx, eventsTime, fmt.Errorf("all streams together took longer than %s", eventsTime))
	defer cancel()
	for _, s := range streams {
		examination{ctx, e.tell}.look(nameEvents+" "+subject(s), streamTime, func(ctx context.Context, f *finding) {
			if _, err := a.first(ctx, s, recent(a.Client.Now())); err != nil {
				a.refuse(ctx, f, err)
				return
			}
			f.ok("they can be read")
		})
	}
	if len(streams) > 0 {
		e.look(nameRetention, openTime, func(ctx context.Context, f *finding) { a.retention(ctx, f, streams[0]) })
	}
}

// recent is an interval that is short enough to be read in a moment.
func recent(now time.Time) audit.Interval {
	now = now.Truncate(time.Millisecond)
	return audit.Interval{From: now.Add(-10 * time.Minute), To: now}
}

var errSeen = errors.New("seen enough")

// first reads the first page of an interval and returns how many events there are on it.
func (a API) first(ctx context.Context, s audit.Stream, i audit.Interval) (events int, err error) {
	err = a.Client.Read(ctx, audit.Read{Stream: s.Name, Interval: i, Purpose: audit.Sweep}, func(p audit.Page, _ bool) error {
		events = len(p.Events)
		p.Release()
		return errSeen
	})
	if errors.Is(err, errSeen) {
		err = nil
	}
	return events, err
}

const day = 24 * time.Hour

// retention looks whether the API really holds events for as long as it is
// believed to: an interval that it has let go is answered with nothing, as one
// in which nothing happened.
func (a API) retention(ctx context.Context, f *finding, s audit.Stream) {
	if s.Retention <= 0 {
		f.ok("for ever")
		return
	}
	now := a.Client.Now().Truncate(time.Millisecond)
	edge := audit.Interval{From: now.Add(time.Minute - s.Retention)}
	edge.To = edge.From.Add(min(7*day, s.Retention/2))
	events, err := a.first(ctx, s, edge)
	if err != nil {
		f.warn(fmt.Sprintf("%s, but its oldest events cannot be read: %v", days(s.Retention), cause(ctx, err)), "look again later")
		return
	}
	start := a.Start(now, s.Retention)
	switch {
	case start.Before(now.Add(-s.Retention - time.Minute)):
		f.warn(fmt.Sprintf("%s, and BACKFILL_FROM begins %s before that", days(s.Retention), days(now.Add(-s.Retention).Sub(start).Round(time.Hour))),
			"what is older cannot be read and will be a gap; GENESYS_RETENTION says how far back the API holds events")
	case events > 0:
		f.ok(days(s.Retention) + ": its oldest events are there")
	case start.Before(edge.To):
		f.warn(fmt.Sprintf("%s, but there is no event before %s", days(s.Retention), edge.To.Format(time.DateOnly)),
			"was the organisation that young or quiet? If not, the API holds less: set GENESYS_RETENTION to that")
	default:
		f.ok(fmt.Sprintf("%s; no event before %s", days(s.Retention), edge.To.Format(time.DateOnly)))
	}
}

// days words a duration as its variable does.
func days(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// How far clocks may be apart. An API's answer tells its clock to a second.
const (
	clockNear = 5 * time.Second
	clockFar  = 5 * time.Minute
)

// examineLimits looks at what every answer of the API tells.
func (a API) examineLimits(e examination) {
	e.judge(nameClock, func(f *finding) {
		offset, known := a.Client.ClockOffset()
		offset = offset.Round(time.Second)
		hint := "mend this machine's time (NTP). Reading goes by the API's clock, but records carry this one, and brokers refuse records from more than an hour ahead (message.timestamp.after.max.ms)"
		switch {
		case !known:
			f.warn("the API did not tell its time", "")
		case offset.Abs() > clockFar:
			f.fail("the API's clock less ours: "+offset.String(), hint)
		case offset.Abs() > clockNear:
			f.warn("the API's clock less ours: "+offset.String(), hint)
		default:
			f.ok(fmt.Sprintf("within %s of the API's", max(offset.Abs(), time.Second)))
		}
	})
	e.judge(nameRate, func(f *finding) {
		r := a.Client.Rate()
		detail := fmt.Sprintf("%d of %d requests in %s are left", r.Remaining, r.Limit, r.Window)
		if r.Others > 0 {
			detail += fmt.Sprintf(", others took %d", r.Others)
		}
		if r.Remaining <= a.Reserve {
			f.warn(detail, fmt.Sprintf("at or below GENESYS_RATE_RESERVE=%d the connector reads very slowly: who else uses this limit?", a.Reserve))
			return
		}
		f.ok(detail)
	})
}
