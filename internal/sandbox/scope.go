package sandbox

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// scope is what a request asks for: a service and an interval of time. A page
// of results asks for what its query was about.
type scope struct {
	service     string
	from, until int64 // milliseconds; until is exclusive
	interval    bool  // from and until are known
}

// scopeOf reads what a request asks for, once, and only where a fault wants to know.
func (c *call) scopeOf() scope {
	if c.asks == nil {
		asks := c.readScope()
		c.asks = &asks
	}
	return *c.asks
}

func (c *call) readScope() (s scope) {
	switch c.endpoint {
	case EndpointAuditlogs:
		params := c.URL.Query()
		from, okFrom := parseInstant(params.Get("dateFrom"))
		until, okUntil := parseInstant(params.Get("dateTo"))
		return scope{serviceIn(params), from, until, okFrom && okUntil}
	case EndpointSubmit, EndpointRealtime:
		var q inquiry
		if json.Unmarshal(c.sent, &q) != nil {
			return scope{}
		}
		from, until, _ := strings.Cut(q.Interval, "/")
		s.service = q.ServiceName
		var okFrom, okUntil bool
		s.from, okFrom = parseZoneless(from)
		s.until, okUntil = parseZoneless(until)
		s.interval = okFrom && okUntil
	case EndpointStatus, EndpointResults, EndpointDownload:
		id := c.PathValue("id")
		if c.endpoint == EndpointDownload {
			id = strings.TrimPrefix(c.URL.Path, "/audits/")
		}
		c.org.jobs.mu.Lock()
		defer c.org.jobs.mu.Unlock()
		if j := c.org.jobs.byID[id]; j != nil {
			return scope{j.asked.ServiceName, j.asked.from, j.asked.until, true}
		}
	}
	return s
}

// serviceIn returns the service that a filter of dialect auditlogs names, "" for none.
func serviceIn(params url.Values) string {
	for part := range strings.SplitSeq(params.Get("filter"), ",") {
		if value, ok := strings.CutPrefix(part, "serviceName="); ok {
			return value
		}
	}
	return ""
}

// AllServices is, as a fault's Service, what asks for no single one.
const AllServices = "*"

// meets reports whether a request is in the fault's scope.
func (f *Fault) meets(c *call) bool {
	if f.Service == "" && !f.bounded() && f.Longer == 0 && f.Older == 0 && f.Younger == 0 {
		return true
	}
	s := c.scopeOf()
	if f.Service != "" && f.Kind != LacksService && f.Service != s.service && (f.Service != AllServices || s.service != "") {
		return false
	}
	if f.Longer > 0 && (!s.interval || s.until-s.from <= f.Longer.Milliseconds()) {
		return false
	}
	if f.Older > 0 && (!s.interval || s.until > c.now.Add(-f.Older).UnixMilli()) {
		return false
	}
	if f.Younger > 0 && (!s.interval || s.until <= c.now.Add(-f.Younger).UnixMilli()) {
		return false
	}
	if !f.bounded() || f.Holding {
		return true
	}
	from, until := f.bounds()
	return s.interval && s.from < until && from < s.until
}

// bounded reports whether the fault is about a stretch of time.
func (f *Fault) bounded() bool { return !f.From.IsZero() || !f.Until.IsZero() }

// bounds are From and Until in milliseconds; without Until it is the millisecond of From.
func (f *Fault) bounds() (from, until int64) {
	from, until = f.From.UnixMilli(), f.Until.UnixMilli()
	if f.From.IsZero() {
		from = 0
	}
	if f.Until.IsZero() {
		until = from + 1
	}
	return from, until
}

// holds reports whether an answer has an event of the fault's stretch of time.
func (f *Fault) holds(a *answer) bool {
	from, until := f.bounds()
	for _, e := range a.shown {
		if from <= e.at && e.at < until {
			return true
		}
	}
	return false
}

// Poison makes every request go wrong whose answer would hold an event of the
// millisecond of at, with a status (0: a body that is no JSON), until it is cleared.
func Poison(at time.Time, status int) Fault {
	f := Fault{Kind: StatusCode, Status: status, From: at, Holding: true, Count: -1}
	if status == 0 {
		f.Kind = HTML
	}
	return f
}
