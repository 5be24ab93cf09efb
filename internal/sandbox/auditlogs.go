package sandbox

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const maxPageSize = 1000

// question is a request to dialect auditlogs, understood.
type question struct {
	from, until int64 // milliseconds; until is exclusive
	pageSize    int
	filter      string
	match       func(*event) bool
	start       place // the first event that may be on the page
}

// auditlogs is GET /api/v2/auditlogs.
func (o *Org) auditlogs(c *call) *answer {
	q, refusal := o.understand(c)
	if refusal != nil {
		return refusal
	}
	oldest := o.eventTime().Add(-o.options.Retention).UnixMilli()
	if q.from < oldest {
		o.stats.violate(func(v *Violations) { v.OutsideRetention++ })
		q.start = later(q.start, place{at: oldest})
	}
	switch {
	case c.fault.is(EmptyPage):
		return o.auditlogsPage(q, nil, o.pageToken(q, q.start, c.now))
	case c.fault.is(StuckPage):
		page, _ := o.journal.page(q.start, q.until, q.pageSize, q.match)
		return o.auditlogsPage(q, page, o.sameToken(c, q))
	case c.fault.is(MovingPages):
		o.disturb(q, c.fault.events())
		fallthrough
	case c.fault.is(Repeat):
		q.start = o.journal.before(q.start, q.from, c.fault.events(), q.match)
	}
	page, more := o.journal.page(q.start, q.until, q.pageSize, q.match)
	page, more = o.cappedPage(c, q, page, more)
	if len(page) == q.pageSize && q.vary().chance(0.3) {
		more = true // a last page that is full may promise one that is empty
	}
	nextPage := ""
	if more {
		nextPage = o.pageToken(q, page[len(page)-1].place().next(), c.now)
	}
	return o.auditlogsPage(q, page, nextPage)
}

// vary decides what the documentation leaves open, by what was asked.
func (q question) vary() *dice {
	d := roll(q.fingerprint(), uint64(q.start.at)^q.start.seq<<20^uint64(q.pageSize))
	return &d
}

// sameToken is the token of the page that is asked for.
func (o *Org) sameToken(c *call, q question) string {
	if token := c.URL.Query().Get("pageToken"); token != "" {
		return token
	}
	return o.pageToken(q, q.start, c.now)
}

func later(a, b place) place {
	if a.at < b.at {
		return b
	}
	return a
}

// disturb makes events appear on both sides of a cursor. Those before it are
// late ones, which this chain of pages shows only if it goes back far enough.
func (o *Org) disturb(q question, n int) {
	for range n {
		before := q.from + (max(q.start.at, q.from)-q.from)/2
		after := (max(q.start.at, q.from) + q.until) / 2
		o.EmitBulk(time.UnixMilli(before), 1)
		o.EmitBulk(time.UnixMilli(after), 1)
	}
}

// understand reads the request; a refusal says what is wrong with it.
func (o *Org) understand(c *call) (q question, refusal *answer) {
	params := c.URL.Query()
	if params.Get("dateFrom") == "" || params.Get("dateTo") == "" {
		o.stats.violate(func(v *Violations) { v.MissingDates++ })
		pause(c.Context(), o.options.MissingDateHang)
		return q, failure(http.StatusRequestTimeout, "request.timeout", "The request timed out.")
	}
	from, okFrom := parseInstant(params.Get("dateFrom"))
	until, okUntil := parseInstant(params.Get("dateTo"))
	if !okFrom || !okUntil {
		return q, badRequest("dateFrom and dateTo are UTC times like 2026-01-02T15:04:05.000Z")
	}
	if from > until {
		return q, badRequest("dateFrom is after dateTo")
	}
	q = question{from: from, until: until, pageSize: 25, filter: params.Get("filter"), start: place{at: from}}
	if text := params.Get("pageSize"); text != "" {
		size, err := strconv.Atoi(text)
		if err != nil || size < 1 || size > maxPageSize {
			return q, badRequest("pageSize is 1 to 1000")
		}
		q.pageSize = size
	}
	var ok bool
	if q.match, ok = parseFilter(q.filter); !ok {
		return q, badRequest("filter is key=value, several joined by commas")
	}
	if token := params.Get("pageToken"); token != "" {
		if q.start, ok = o.openPageToken(token, q, c.now); !ok {
			return q, invalidPageToken()
		}
	}
	return q, nil
}

func badRequest(message string) *answer {
	return failure(http.StatusBadRequest, "bad.request", message)
}

func invalidPageToken() *answer {
	return failure(http.StatusBadRequest, "invalid.page.token", "The page token is invalid or has expired.")
}

// parseInstant takes ISO 8601 in UTC with up to three digits of a second.
func parseInstant(text string) (int64, bool) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !strings.HasSuffix(text, "Z") || t.Nanosecond()%int(time.Millisecond) != 0 {
		return 0, false
	}
	return t.UnixMilli(), true
}

// parseFilter makes a match of key=value[,key=value…]. Values are compared as
// they are: a wrong one, or a key that no event has, matches nothing.
func parseFilter(filter string) (match func(*event) bool, ok bool) {
	if filter == "" {
		return func(*event) bool { return true }, true
	}
	type condition struct{ key, value string }
	var conditions []condition
	for part := range strings.SplitSeq(filter, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, false
		}
		conditions = append(conditions, condition{key, value})
	}
	return func(e *event) bool {
		for _, c := range conditions {
			if e.attribute(c.key) != c.value || c.value == "" {
				return false
			}
		}
		return true
	}, true
}

// attribute is what the organisation files an event under; its body may say
// something else, or nothing.
func (e *event) attribute(key string) string {
	switch key {
	case "type":
		return e.scene.typ
	case "entityType":
		return e.scene.flatType
	case "action":
		return e.scene.action
	case "entityId":
		return e.scene.entityID
	case "entityName":
		return e.scene.entityName
	case "userId":
		return e.actor.id
	case "userName":
		return e.actor.name
	case "auditId":
		return e.id
	case "serviceName":
		return e.scene.service
	}
	return ""
}

// auditlogsPage writes a page. Everything that the documentation leaves open
// varies with what was asked: where nextPage stands and how its absence looks,
// white space between events, fields that only look like the real ones.
func (o *Org) auditlogsPage(q question, page []*event, token string) *answer {
	vary := q.vary()
	nextPage := pick(vary, []string{"", `"nextPage":null,`, `"nextPage":"",`})
	if token != "" {
		nextPage = `"nextPage":"` + token + `",`
	}
	separator := pick(vary, []string{",", ", ", ",\n  ", " ,"})
	first := vary.chance(0.5)

	buffer := buffers.Get().(*[]byte)
	body := append((*buffer)[:0], '{')
	if first {
		body = append(body, nextPage...)
	}
	if vary.chance(0.3) {
		body = append(body, `"facets":{"entities":[{"auditId":"decoy"}],"nextPage":"decoy"},`...)
	}
	body = append(body, `"entities":[`...)
	for i, e := range page {
		if i > 0 {
			body = append(body, separator...)
		}
		body = append(body, e.flat...)
	}
	body = append(body, "],"...)
	if !first {
		body = append(body, nextPage...)
	}
	body = append(body, `"pageSize":`...)
	body = append(strconv.AppendInt(body, int64(q.pageSize), 10), '}')

	a := jsonAnswer(http.StatusOK, body)
	a.buffer, a.shown, a.form = buffer, page, formAuditlogs
	return a
}

// The page token names a place, the question it belongs to, and when it was
// given. It is sealed by a checksum, so that a made-up or altered one is
// refused, and means the same after a restart.

func (o *Org) pageToken(q question, next place, now time.Time) string {
	return o.seal("p", uint64(next.at), next.seq, q.fingerprint(), uint64(now.UnixMilli()))
}

func (o *Org) openPageToken(token string, q question, now time.Time) (place, bool) {
	n, ok := o.unseal("p", token, 4)
	if !ok || n[2] != q.fingerprint() || o.outlived(n[3], o.options.PageTokenLife, now) {
		return place{}, false
	}
	return place{at: int64(n[0]), seq: n[1]}, true
}

// outlived tells whether something made at a time has reached its age limit; 0
// is none.
func (o *Org) outlived(made uint64, life time.Duration, now time.Time) bool {
	return life > 0 && now.UnixMilli()-int64(made) >= life.Milliseconds()
}

func (q question) fingerprint() uint64 {
	d := roll(uint64(q.from), uint64(q.until))
	for _, b := range []byte(url.QueryEscape(q.filter)) {
		d = roll(uint64(d), uint64(b))
	}
	return uint64(d)
}
